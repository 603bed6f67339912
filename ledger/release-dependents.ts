import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../contracts/actor.js'
import { isTerminal, type JobStatus } from '../contracts/job-states.js'
import type { Tx } from './database.js'
import type { JobRow } from './rows.js'
import type { JobId } from '../contracts/ids.js'
import { stepJobEnded } from './advance-workflow.js'
import { adoptLocked, lockJob, move, note, type LockedJob } from './transition.js'
import { withdrawApprovals } from './ask-approval.js'
import { resume, type Condition } from './wake.js'

/**
 * Rule of hand-off: in the transaction that ends `job`, everything that waited for it moves on.
 * Dependents are locked in id order, so that two parents that end together cannot deadlock.
 */
export async function releaseDependents(tx: Tx, job: LockedJob): Promise<void> {
  if (!isTerminal(job.status) || !job.awaited) return
  const { rows } = await tx.execute(sql`
    select j.* from jobs j
    where j.status in ('waiting', 'blocked')
      and (j.id in (select d.job_id from job_dependencies d where d.depends_on_job_id = ${job.id})
        or (j.status = 'blocked' and j.waits_for ->> 'kind' = 'job' and j.waits_for ->> 'job_id' = ${job.id}::text))
    order by j.id
    for update of j`)
  for (const row of rows) await releaseOne(tx, adoptLocked(row as JobRow), job)
  await withdrawApprovals(tx, job.id, SYSTEM_ACTOR, `The job is ${job.status}.`)
  await cancelUnstarted(tx, await stepJobEnded(tx, job), 'The workflow run fails.')
}

/** Cancels those of the jobs that nobody has started; what runs is left to end. */
export async function cancelUnstarted(tx: Tx, ids: readonly JobId[], why: string): Promise<void> {
  for (const id of ids.toSorted()) {
    const job = await lockJob(tx, id)
    if (job.status !== 'waiting' && job.status !== 'queued' && job.status !== 'blocked') continue
    await releaseDependents(tx, await move(tx, job, { to: 'cancelled', reason: 'cancelled', actor: SYSTEM_ACTOR, note: why, queue: 'remove' }))
  }
}

/**
 * A job that has ended, as what another one waited for. What came of it is told only to an agent that may read it: any job
 * can be waited for, and waiting must not be a way to read.
 */
export async function endedJob(tx: Tx, id: string, waiting: Pick<JobRow, 'target_agent'>): Promise<Condition> {
  const { rows } = await tx.execute(sql`select id, status, summary, result, last_error, target_agent, source_agent from jobs where id = ${id}::uuid`)
  const ended = rows[0]
  if (ended === undefined) throw new Error(`job ${id} has gone`)
  const { status, summary, result, last_error, target_agent: agent, source_agent: source } = ended
  const reader = waiting.target_agent
  const mayRead = reader !== null && (reader === agent || reader === source)
  const told = mayRead ? { summary, result, last_error } : { withheld: `What came of it is not told: the job is neither to nor from ${reader ?? 'the agent that waits'}.` }
  return { details: { ended_job_id: id, ended_as: status }, answer: { kind: 'job', job_id: id, agent, status, ...told } }
}

async function releaseOne(tx: Tx, dependent: LockedJob, ended: LockedJob): Promise<void> {
  const details = { ended_job_id: ended.id, ended_as: ended.status }
  const waitsForThis = dependent.status === 'blocked' && dependent.waits_for?.['kind'] === 'job' && dependent.waits_for['job_id'] === ended.id
  if (waitsForThis) {
    const dependencyBlocked = dependent.waits_for?.['because'] === 'dependency_died'
    if (dependencyBlocked && ended.status !== 'succeeded') {
      // It was not done yet when the job came to wait for it, or it ended otherwise before.
      if (dependent.blocked_reason !== blockedOn(ended).blocked_reason) await waitFor(tx, dependent, ended, ended)
      return
    }
    const unmet = dependencyBlocked ? await unmetDependency(tx, dependent) : undefined
    if (unmet === undefined) await resume(tx, dependent, await endedJob(tx, ended.id, dependent))
    else await waitFor(tx, dependent, ended, unmet)
    return
  }
  if (dependent.status !== 'waiting') return
  if (ended.status === 'succeeded' || dependent.on_dependency_death === 'run') {
    if ((await unmetDependency(tx, dependent)) === undefined) {
      await move(tx, dependent, { to: 'queued', reason: 'dependencies_met', actor: SYSTEM_ACTOR, details, queue: 'publish' })
    }
    return
  }
  if (dependent.on_dependency_death === 'cancel') {
    const cancelled = await move(tx, dependent, {
      to: 'cancelled',
      reason: 'dependency_died',
      actor: SYSTEM_ACTOR,
      details,
      note: `It depends on job ${ended.id}, which ended as ${ended.status}.`,
    })
    await releaseDependents(tx, cancelled)
    return
  }
  await move(tx, dependent, {
    to: 'blocked',
    reason: 'dependency_died',
    actor: SYSTEM_ACTOR,
    details,
    set: { ...blockedOn(ended), blocked_owner: 'operator' },
  })
}

interface Dependency {
  readonly id: string
  readonly status: string
}

function blockedOn({ id, status }: Dependency) {
  return {
    blocked_reason: isTerminal(status as JobStatus) ? `It depends on job ${id}, which ended as ${status}.` : `It depends on job ${id}, which is not done yet.`,
    unblock_action: `Retry job ${id}, or retry this job to run it without.`,
    waits_for: { kind: 'job', job_id: id, because: 'dependency_died' },
  }
}

/** `ended` is not, or no longer, why the job is blocked as its row says: from now on `holds` is, as it stands. */
async function waitFor(tx: Tx, dependent: LockedJob, ended: LockedJob, holds: Dependency): Promise<void> {
  const { blocked_reason, unblock_action, waits_for } = blockedOn(holds)
  await tx.execute(sql`
    update jobs set blocked_reason = ${blocked_reason}, unblock_action = ${unblock_action}, waits_for = ${JSON.stringify(waits_for)}::jsonb where id = ${dependent.id}`)
  await note(tx, dependent, {
    reason: 'dependency_died',
    actor: SYSTEM_ACTOR,
    note: blocked_reason,
    details: { ended_job_id: ended.id, ended_as: ended.status, waits_for: holds.id },
  })
}

/** A dependency of the job that still holds it back: one that has ended first, for nothing but a retry will bring it. */
async function unmetDependency(tx: Tx, job: LockedJob): Promise<Dependency | undefined> {
  const { rows } = await tx.execute<{ id: string; status: string }>(sql`
    select p.id, p.status from job_dependencies d join jobs p on p.id = d.depends_on_job_id
    where d.job_id = ${job.id}
      and not (p.status = 'succeeded' or (${job.on_dependency_death} = 'run' and p.finished_at is not null))
    order by p.finished_at is null, p.id limit 1`)
  return rows[0]
}
