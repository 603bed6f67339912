import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import { isTerminal } from '../contracts/job-states.js'
import type { RetryBody } from '../contracts/job-operations.js'
import type { Tx } from './database.js'
import { observe } from './observe.js'
import { releaseDependents } from './release-dependents.js'
import type { JobRow } from './rows.js'
import { move, note, type LockedJob } from './transition.js'

/** Cancels an open job. A run that is under way is not stopped by it, but its answer will be refused. @throws AGENTBUS_ILLEGAL_TRANSITION */
export async function cancelJob(tx: Tx, job: LockedJob, by: { readonly actor: Actor; readonly reason: string; readonly details?: Record<string, unknown> }): Promise<JobRow> {
  const cancelled = await move(tx, job, {
    to: 'cancelled',
    reason: 'cancelled',
    actor: by.actor,
    note: by.reason,
    details: by.details,
    endAttempt: job.current_attempt_id === null ? undefined : { status: 'cancelled', outcome: 'cancelled', error: by.reason },
    queue: 'remove',
  })
  await releaseDependents(tx, cancelled)
  return cancelled
}

/**
 * Queues a failed, dead, cancelled, blocked or waiting job again, with room for more attempts. With force also one that is
 * queued, which is then due, and one that holds an attempt, which ends as cancelled: its late answer is refused.
 * @throws AGENTBUS_ILLEGAL_TRANSITION for one that succeeded, and without force for one that is queued or held
 */
export async function retryJob(tx: Tx, job: LockedJob, by: { readonly actor: Actor; readonly body: RetryBody }): Promise<JobRow> {
  const isHeld = job.status === 'leased' || job.status === 'running'
  if (by.body.force === true && job.status === 'queued') return promoteJob(tx, job, { actor: by.actor, reason: by.body.reason })
  if (isHeld && by.body.force !== true) {
    throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${job.id} is ${job.status}; cancel it first.`, { job_id: job.id, from: job.status, to: 'queued' })
  }
  if (job.pruned_by !== null) {
    throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `What job ${job.id} was given has been pruned; it cannot run again. Create a new job.`, {
      job_id: job.id,
      pruned_by: job.pruned_by,
    })
  }
  if (isTerminal(job.status) && job.dedupe_key !== null) await refuseSecondOpen(tx, job)
  const max = Math.max(job.max_attempts, job.attempt_count + by.body.extra_attempts)
  return move(tx, job, {
    to: 'queued',
    reason: job.status === 'blocked' || job.status === 'waiting' ? 'unblocked' : 'operator_retry',
    actor: by.actor,
    note: by.body.reason,
    details: { ...(max === job.max_attempts ? {} : { max_attempts: { from: job.max_attempts, to: max } }), ...(isHeld ? { forced: true } : {}) },
    endAttempt: isHeld ? { status: 'cancelled', outcome: 'operator_retry', error: by.body.reason } : undefined,
    set: {
      max_attempts: max,
      run_after: by.body.run_after === undefined ? sql`clock_timestamp()` : sql`${by.body.run_after}::timestamptz`,
    },
    queue: 'publish',
  })
}

async function refuseSecondOpen(tx: Tx, job: LockedJob): Promise<void> {
  const { rows } = await tx.execute<{ id: string }>(sql`
    select id from jobs where namespace = ${job.namespace} and dedupe_key = ${job.dedupe_key} and finished_at is null
      and ${job.capabilities.length > 0 ? sql`cardinality(capabilities) > 0` : sql`cardinality(capabilities) = 0 and target_agent = ${job.target_agent}`}`)
  const other = rows[0]
  if (other === undefined) return
  throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${other.id} with the same dedupe key is open; a second one may not be.`, { job_id: job.id, open_job_id: other.id })
}

/**
 * Makes an open job a dead letter, whatever it is doing: an attempt that holds it ends as cancelled, and its late answer is
 * refused. One that is a dead letter already stays as it is. @throws AGENTBUS_ILLEGAL_TRANSITION for one that is over otherwise
 */
export async function forceDead(tx: Tx, job: LockedJob, by: { readonly actor: Actor; readonly reason: string }): Promise<LockedJob> {
  if (job.status === 'dead') return job
  const dead = await move(tx, job, {
    to: 'dead',
    reason: 'operator_dead',
    actor: by.actor,
    note: by.reason,
    endAttempt: job.current_attempt_id === null ? undefined : { status: 'cancelled', outcome: 'operator_dead', error: by.reason },
    set: { last_error: by.reason, last_error_code: 'operator_dead' },
    queue: 'remove',
  })
  await releaseDependents(tx, dead)
  return dead
}

/** Lays a dead letter to rest: it leaves the list of dead letters. An open job that nobody runs is forced dead first. */
export async function buryJob(tx: Tx, job: LockedJob, by: { readonly actor: Actor; readonly reason: string }): Promise<JobRow> {
  if (job.buried_at !== null) return job
  let dead = job
  if (job.status !== 'failed' && job.status !== 'dead') {
    if (job.status === 'leased' || job.status === 'running') {
      throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${job.id} is ${job.status}; cancel it first.`, { job_id: job.id, from: job.status, to: 'dead' })
    }
    dead = await forceDead(tx, job, by)
  }
  await tx.execute(sql`update jobs set buried_at = clock_timestamp() where id = ${dead.id}::uuid`)
  const buried = await note(tx, dead, { reason: 'buried', actor: by.actor, note: by.reason })
  await observe(tx, { kind: 'operator_action', code: 'buried', actor: by.actor, jobId: job.id, agentId: job.target_agent ?? undefined, detail: by.reason })
  return buried
}

/** Makes a delayed job due now. @throws AGENTBUS_ILLEGAL_TRANSITION unless it is queued */
export async function promoteJob(tx: Tx, job: LockedJob, by: { readonly actor: Actor; readonly reason: string }): Promise<JobRow> {
  if (job.status !== 'queued') {
    throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${job.id} is ${job.status}, not queued.`, { job_id: job.id, from: job.status })
  }
  await tx.execute(sql`update jobs set run_after = clock_timestamp() where id = ${job.id}::uuid`)
  return note(tx, job, { reason: 'outside_change', actor: by.actor, note: by.reason, details: { change: 'promoted', run_after_was: job.run_after }, republish: true })
}
