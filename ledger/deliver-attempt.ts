import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { backoffOf, endAndRetry } from './close-attempt.js'
import type { Tx } from './database.js'
import { isFound } from './is-found.js'
import { observe } from './observe.js'
import { redeliveryDelayMs } from './retry-policy.js'
import type { AttemptRow, JobRow } from './rows.js'
import { lockJob, move, note, type LockedJob } from './transition.js'

/** What the worker that delivers an attempt tells the ledger. Each is a no-op when the attempt no longer holds the job. */
export interface WorkerReport {
  readonly jobId: JobId
  readonly attemptId: AttemptId
  readonly actor: Actor
  readonly random: number
  readonly retryBaseSeconds: number
}

/** The job after the report, and whether the report changed it. */
export interface Reported {
  readonly job: JobRow
  readonly applied: boolean
}

async function holding(tx: Tx, report: WorkerReport): Promise<{ job: LockedJob; holds: boolean }> {
  const job = await lockJob(tx, report.jobId)
  return { job, holds: job.current_attempt_id === report.attemptId }
}

export interface AdmittedRun {
  readonly runId: string
  readonly httpStatus: number
  readonly response: Record<string, unknown>
}

/** The gateway admitted the run. Legal only from `leased`: an agent may have closed first, then this is a no-op. */
export async function reportAdmitted(tx: Tx, report: WorkerReport, run: AdmittedRun): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  if (job.status === 'running') return reportSameRun(tx, job, report, run.runId)
  const to = { to: 'running', reason: 'admitted', actor: report.actor, admit: run, details: { run_id: run.runId } } as const
  return { job: await move(tx, job, to), applied: true }
}

/** A re-sent post that is answered with another run id tells that the gateway had forgotten the first run. */
async function reportSameRun(tx: Tx, job: LockedJob, report: WorkerReport, runId: string): Promise<Reported> {
  const { rows } = await tx.execute<{ openclaw_task_ref: string | null }>(sql`
    select openclaw_task_ref from job_attempts where id = ${report.attemptId}::uuid`)
  const known = rows[0]?.openclaw_task_ref ?? null
  if (known === runId) return { job, applied: false }
  await tx.execute(sql`
    update job_attempts set openclaw_task_ref = ${runId}, admitted_at = coalesce(admitted_at, clock_timestamp()) where id = ${report.attemptId}::uuid`)
  if (known === null) return { job, applied: true }
  const noted = await note(tx, job, { reason: 'run_replaced', actor: report.actor, details: { from_run: known, to_run: runId } })
  return { job: noted, applied: true }
}

export interface Undelivered {
  readonly reason: string
  readonly failures: number
  readonly retryAfterMs?: number | undefined
  readonly httpStatus?: number | undefined
}

/** Surely not delivered: the attempt is released, burns nothing, and the job waits. */
export async function reportUndelivered(tx: Tx, report: WorkerReport, why: Undelivered): Promise<Reported & { readonly retryInMs: number }> {
  const { job, holds } = await holding(tx, report)
  const retryInMs = redeliveryDelayMs({ failures: why.failures, retryAfterMs: why.retryAfterMs, random: report.random })
  if (!holds) return { job, applied: false, retryInMs }
  const queued = await move(tx, job, {
    to: 'queued',
    reason: 'undelivered',
    actor: report.actor,
    note: why.reason,
    details: { retry_in_ms: Math.round(retryInMs), http_status: why.httpStatus ?? null },
    endAttempt: { status: 'released', outcome: 'undelivered', error: why.reason, hookStatus: why.httpStatus },
    set: { run_after: sql`clock_timestamp() + make_interval(secs => ${retryInMs / 1000})` },
  })
  return { job: queued, applied: true, retryInMs }
}

/** Perhaps delivered: the attempt stays open, so that the next post carries the same key and bytes. */
export async function reportDeliveryUnclear(tx: Tx, report: WorkerReport, reason: string): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  const noted = await note(tx, job, { reason: 'held', actor: report.actor, note: reason, details: { reason: 'delivery_unclear' } })
  return { job: noted, applied: true }
}

/** Our mistake (every 3xx, every 4xx but 408, 409, 425 and 429): the job is blocked with the gateway's words. Burns no attempt, hammers nothing. */
export async function reportRefused(tx: Tx, report: WorkerReport, why: { readonly reason: string; readonly httpStatus?: number | undefined }): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  const status = why.httpStatus === undefined ? '' : ` with ${why.httpStatus}`
  const blocked = await move(tx, job, {
    to: 'blocked',
    reason: 'refused_by_gateway',
    actor: report.actor,
    note: why.reason,
    details: { http_status: why.httpStatus ?? null },
    endAttempt: { status: 'failed', outcome: 'refused_by_gateway', error: why.reason, hookStatus: why.httpStatus },
    set: {
      blocked_reason: `The gateway refused the hook${status}: ${why.reason}`,
      blocked_owner: 'operator',
      unblock_action: 'Correct the gateway, its token or the agent in fleet.yaml, then retry the job.',
      waits_for: { kind: 'person' },
      last_error: why.reason,
      last_error_code: 'refused_by_gateway',
    },
  })
  return { job: blocked, applied: true }
}

/** The run ended and no terminal write came within the grace. */
export async function reportEndedWithoutClose(
  tx: Tx,
  report: WorkerReport,
  completion: { readonly status: string; readonly response: Record<string, unknown> },
): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  const error = `The run ended (${completion.status}) and the agent closed the job neither before nor within the grace.`
  const after = await endAndRetry(tx, job, {
    actor: report.actor,
    reason: 'ended_without_terminal_write',
    end: { status: 'failed', outcome: 'ended_without_terminal_write', error, hookResponse: completion.response },
    delaySeconds: backoffOf(job, report),
    details: { completion_status: completion.status },
  })
  return { job: after, applied: true }
}

/**
 * Past the attempt's own deadline, which the gateway's timeout does not bound. An agent may have moved it meanwhile.
 * @returns with `leftMs`, milliseconds, while there is time left: then nothing was written
 */
export async function reportDeadline(tx: Tx, report: WorkerReport): Promise<Reported & { readonly leftMs?: number }> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  const { rows } = await tx.execute<{ left_ms: number }>(sql`
    select extract(epoch from deadline_at - clock_timestamp())::float8 * 1000 as left_ms from job_attempts where id = ${report.attemptId}::uuid`)
  const leftMs = rows[0]?.left_ms ?? 0
  if (leftMs > 0) return { job, applied: false, leftMs }
  const after = await endAndRetry(tx, job, {
    actor: report.actor,
    reason: 'deadline_exceeded',
    end: { status: 'timed_out', outcome: 'deadline_exceeded', error: 'The attempt passed its deadline.' },
    delaySeconds: backoffOf(job, report),
  })
  return { job: after, applied: true }
}

/** The gateway restarted or broke off in mid-run: nobody can say what the agent did. `on_lost` decides. */
export async function reportLost(tx: Tx, report: WorkerReport, reason: string): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  const end = { status: 'lost' as const, outcome: 'run_lost', error: reason }
  if (job.on_lost === 'block') {
    const blocked = await move(tx, job, {
      to: 'blocked',
      reason: 'run_lost',
      actor: report.actor,
      note: reason,
      endAttempt: end,
      burn: true,
      set: {
        blocked_reason: `The run was lost: ${reason} Nobody can say what the agent had done.`,
        blocked_owner: job.source_agent ?? 'operator',
        unblock_action: 'Check what the agent did, then retry or bury the job.',
        waits_for: { kind: 'person' },
        last_error: reason,
        last_error_code: 'run_lost',
      },
    })
    return { job: blocked, applied: true }
  }
  const after = await endAndRetry(tx, job, { actor: report.actor, reason: 'run_lost', end, delaySeconds: backoffOf(job, report) })
  return { job: after, applied: true }
}

/** A worker that cannot go on before anything was sent (no token, cannot render) gives the lease back. */
export async function reportReleased(tx: Tx, report: WorkerReport, reason: string): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds) return { job, applied: false }
  const queued = await move(tx, job, {
    to: 'queued',
    reason: 'released',
    actor: report.actor,
    note: reason,
    endAttempt: { status: 'released', outcome: 'released', error: reason },
  })
  return { job: queued, applied: true }
}

/**
 * Nobody has come for a job that was leased before its queue entry: whoever leased it gives it back, unless somebody else has taken it on.
 */
export async function giveBackLease(tx: Tx, report: WorkerReport, workerId: string): Promise<Reported> {
  const { job, holds } = await holding(tx, report)
  if (!holds || job.status !== 'leased') return { job, applied: false }
  const { rows } = await tx.execute(sql`select 1 from job_attempts where id = ${report.attemptId}::uuid and lease_owner = ${workerId}`)
  return rows.length === 0 ? { job, applied: false } : reportReleased(tx, report, 'Its queue entry did not come.')
}

/**
 * Extends the lease of the attempt that holds the job, never past its deadline. The worker calls it while it is attached.
 * @returns false when the attempt no longer holds the job
 */
export async function extendLease(tx: Tx, report: WorkerReport, seconds: number): Promise<boolean> {
  const { rows } = await tx.execute(sql`
    update job_attempts a set leased_until = least(a.deadline_at, greatest(a.leased_until, clock_timestamp() + make_interval(secs => ${seconds})))
    from jobs j
    where a.id = ${report.attemptId}::uuid and a.finished_at is null and j.id = a.job_id and j.current_attempt_id = a.id
    returning a.id`)
  return rows.length > 0
}

/**
 * What an agent learns when it asks for more time: the new end, after the fence. Moves the deadline if it must, and takes no
 * time away that the attempt already has.
 */
export async function renewLease(tx: Tx, job: LockedJob, attempt: Pick<AttemptRow, 'id'>, request: { readonly actor: Actor; readonly seconds: number }): Promise<AttemptRow> {
  const { rows } = await tx.execute(sql`
    update job_attempts set
      leased_until = greatest(leased_until, clock_timestamp() + make_interval(secs => ${request.seconds})),
      deadline_at = greatest(deadline_at, clock_timestamp() + make_interval(secs => ${request.seconds}))
    where id = ${attempt.id}::uuid returning *`)
  await note(tx, job, { reason: 'lease_renewed', actor: request.actor, details: { seconds: request.seconds } })
  return rows[0] as AttemptRow
}

/** Whether {@link reapExpired} has anything to do. Any open attempt counts; that it is its job's own is looked at under the lock. */
export const LEASES_EXPIRED = isFound(sql`job_attempts where finished_at is null and leased_until < statement_timestamp() order by leased_until`)

/** Takes jobs whose lease has run out and queues them again; each is a history row. Safe to run anywhere, at once. */
export async function reapExpired(
  tx: Tx,
  request: { readonly actor: Actor; readonly limit: number; readonly random: () => number; readonly retryBaseSeconds: number; readonly namespace?: string | undefined },
): Promise<JobRow[]> {
  const { rows } = await tx.execute(sql`
    select j.*, a.attempt_no as expired_no, a.leased_until as expired_at, a.deadline_at <= clock_timestamp() as past_deadline
    from job_attempts a join jobs j on j.id = a.job_id and j.current_attempt_id = a.id
    where a.finished_at is null and a.leased_until < clock_timestamp()
      and (${request.namespace ?? null}::text is null or j.namespace = ${request.namespace ?? null})
    order by a.leased_until
    limit ${request.limit}
    for update of j skip locked`)
  const reaped: JobRow[] = []
  for (const row of rows as (LockedJob & { expired_at: string; past_deadline: boolean })[]) {
    const stillExpired = await tx.execute(sql`
      select 1 from job_attempts where id = ${row.current_attempt_id}::uuid and finished_at is null and leased_until < clock_timestamp()`)
    if (stillExpired.rows.length === 0) continue
    const reason = row.past_deadline ? ('deadline_exceeded' as const) : ('lease_expired' as const)
    const error = `Nobody renewed the lease, which ran out at ${row.expired_at}.`
    reaped.push(
      await endAndRetry(tx, row, {
        actor: request.actor,
        reason,
        end: { status: 'timed_out', outcome: reason, error },
        delaySeconds: 0,
        queue: 'publish',
      }),
    )
  }
  return reaped
}

/** Whether {@link resumeDue} has anything to do. */
export const LOOK_AGAIN_DUE = isFound(sql`jobs where status = 'blocked' and look_again_at <= statement_timestamp() order by look_again_at`)

/** Queues blocked jobs whose time to look again has come. */
export async function resumeDue(tx: Tx, request: { readonly actor: Actor; readonly limit: number }): Promise<JobRow[]> {
  const { rows } = await tx.execute(sql`
    select * from jobs where status = 'blocked' and look_again_at <= clock_timestamp()
    order by look_again_at limit ${request.limit} for update skip locked`)
  const resumed: JobRow[] = []
  for (const row of rows as LockedJob[]) {
    resumed.push(await move(tx, row, { to: 'queued', reason: 'look_again', actor: request.actor, queue: 'publish' }))
  }
  return resumed
}

/** Records that a queue entry was changed by somebody else than the relay. */
export async function recordOutsideChange(
  tx: Tx,
  what: { readonly jobId: string; readonly agentId: string; readonly actor: Actor; readonly code: string; readonly detail: string },
): Promise<void> {
  await observe(tx, { kind: 'outside_change', code: what.code, actor: what.actor, jobId: what.jobId, agentId: what.agentId, detail: what.detail })
}
