import { sql, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { canMove, isTerminal, type AttemptStatus, type JobStatus, type TransitionReason } from '../contracts/job-states.js'
import type { Db, Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import type { JobRow } from './rows.js'

declare const locked: unique symbol

/** A job row read under its row lock in this transaction. Only {@link lockJob} makes one. */
export type LockedJob = JobRow & {
  readonly [locked]: true
  /** Whether the lease of the current attempt still ran when the job was locked; undefined when nobody asked. */
  readonly lease_alive?: boolean | null
  /** Whether anything waited for the job at its last move; undefined when it was only locked. */
  readonly has_waiters?: boolean
}

/** How the attempt that holds the job ends, in the same statement as the job's move. */
export interface AttemptEnd {
  readonly status: Exclude<AttemptStatus, 'leased' | 'running'>
  /** Stable code of why it ended. */
  readonly outcome: string
  readonly error?: string | undefined
  readonly summary?: string | undefined
  readonly hookStatus?: number | undefined
  readonly hookResponse?: Record<string, unknown> | undefined
  readonly taskRef?: string | undefined
  readonly sessionKey?: string | undefined
}

export interface Move {
  readonly to: JobStatus
  readonly reason: TransitionReason
  readonly actor: Actor
  readonly note?: string | undefined
  readonly details?: Record<string, unknown> | undefined
  /** Which attempt the row belongs to; the job's current one when left out. */
  readonly attemptId?: AttemptId | undefined
  /** Other columns of the job that change with the move. */
  readonly set?: JobChanges
  /** Required when the move takes the job away from an open attempt, and only then. */
  readonly endAttempt?: AttemptEnd | undefined
  /** The attempt has been admitted; written with the move to `running`. */
  readonly admit?: { readonly runId: string; readonly httpStatus: number; readonly response: Record<string, unknown> } | undefined
  /** Whether the ended attempt counts against max_attempts. */
  readonly burn?: boolean
  /** `publish` enqueues under a new generation; `remove` takes the entry out of the queue. */
  readonly queue?: 'publish' | 'remove'
}

/** The columns a move may change beside the state itself. A key that is absent stays as it is. */
export interface JobChanges {
  readonly run_after?: SQL
  readonly result?: Record<string, unknown>
  readonly summary?: string | undefined
  readonly max_attempts?: number
  readonly blocked_reason?: string
  readonly blocked_owner?: string
  readonly unblock_action?: string | null
  readonly look_again_at?: string | null
  readonly waits_for?: Record<string, unknown> | null
  readonly last_error?: string
  readonly last_error_code?: string
  readonly current_attempt_id?: string
}

/** Locks the job's row for the rest of the transaction. @throws AGENTBUS_JOB_NOT_FOUND */
export async function lockJob(tx: Tx, id: JobId): Promise<LockedJob> {
  const { rows } = await tx.execute(sql`
    select j.*, (select a.leased_until > clock_timestamp() from job_attempts a where a.id = j.current_attempt_id) as lease_alive
    from jobs j where j.id = ${id} for update of j`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${id}.`, { job_id: id })
  return row as LockedJob
}

/** Adopts a row that a statement of the caller has locked (`for update`) in this transaction. */
export function adoptLocked(row: JobRow): LockedJob {
  return row as LockedJob
}

const isHeld = (status: JobStatus): boolean => status === 'leased' || status === 'running'

/**
 * The only writer of jobs.status. Under the row lock it checks the table of legal moves and, in one statement,
 * updates the job, appends the history row, ends or admits the attempt, and writes the outbox row.
 * The lock makes `seq` gapless and in commit order.
 * @throws AGENTBUS_ILLEGAL_TRANSITION
 */
export async function move(tx: Tx, job: LockedJob, to: Move): Promise<LockedJob> {
  if (!canMove(job.status, to.to)) {
    throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${job.id} is ${job.status}; it cannot become ${to.to}.`, {
      job_id: job.id,
      from: job.status,
      to: to.to,
    })
  }
  const leavesAttempt = isHeld(job.status) && !isHeld(to.to)
  if (leavesAttempt !== (to.endAttempt !== undefined)) throw new Error(`move ${job.status} → ${to.to} and the end of its attempt must go together`)

  const attemptId = to.attemptId ?? to.set?.current_attempt_id ?? job.current_attempt_id
  const { rows } = await tx.execute(sql`
    with moved as (
      update jobs set ${sql.join(assignments(job, to), sql`, `)}
      where id = ${job.id} and last_seq = ${job.last_seq}
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select id, last_seq, 'move', ${job.status}::job_status, status, ${to.reason}::transition_reason, ${to.note ?? null}, ${attemptId ?? null}::uuid,
        ${to.actor.kind}::actor_kind, ${to.actor.id}, ${JSON.stringify(to.details ?? {})}::jsonb
      from moved
    )${attemptPart(job, to)}${queuePart(to)}
    select moved.*${isTerminal(to.to) ? WAITERS : sql``} from moved`)
  const row = rows[0]
  if (row === undefined) throw new Error(`job ${job.id} changed under its lock`)
  if (to.queue !== undefined) hintAfterCommit(tx, { outbox: true })
  if (leavesAttempt && job.current_attempt_id !== null) hintAfterCommit(tx, { closed: [job.current_attempt_id] })
  return row as LockedJob
}

/** Read after the row lock: whoever makes a job wait for this one must lock it first, so nobody is overlooked. */
const WAITERS = sql`, (exists (select from job_dependencies d where d.depends_on_job_id = moved.id)
  or exists (select from jobs b where b.status = 'blocked' and b.waits_for ->> 'kind' = 'job' and b.waits_for ->> 'job_id' = moved.id::text)) as has_waiters`

function assignments(job: LockedJob, to: Move): SQL[] {
  const set = to.set ?? {}
  const parts: SQL[] = [
    sql`status = ${to.to}::job_status`,
    sql`last_seq = last_seq + 1`,
    sql`updated_at = clock_timestamp()`,
    sql`finished_at = ${isTerminal(to.to) ? sql`clock_timestamp()` : sql`null`}`,
  ]
  if (to.to !== 'leased' && to.to !== 'running') parts.push(sql`current_attempt_id = null`)
  if (to.to === 'leased') parts.push(sql`held_reason = null`)
  if (to.queue === 'publish') parts.push(sql`generation = generation + 1`)
  if (to.burn === true) parts.push(sql`attempt_count = attempt_count + 1`)
  if (job.buried_at !== null) parts.push(sql`buried_at = null`)
  if (to.to !== 'blocked' && job.status === 'blocked') {
    parts.push(sql`blocked_reason = null, blocked_owner = null, unblock_action = null, look_again_at = null, waits_for = null`)
  }
  if (set.current_attempt_id !== undefined) parts.push(sql`current_attempt_id = ${set.current_attempt_id}::uuid`)
  if (set.run_after !== undefined) parts.push(sql`run_after = ${set.run_after}`)
  if (set.result !== undefined) parts.push(sql`result = ${JSON.stringify(set.result)}::jsonb`)
  if (set.summary !== undefined) parts.push(sql`summary = ${set.summary}`)
  if (set.max_attempts !== undefined) parts.push(sql`max_attempts = ${set.max_attempts}`)
  if (set.blocked_reason !== undefined) parts.push(sql`blocked_reason = ${set.blocked_reason}`)
  if (set.blocked_owner !== undefined) parts.push(sql`blocked_owner = ${set.blocked_owner}`)
  if (set.unblock_action !== undefined) parts.push(sql`unblock_action = ${set.unblock_action}`)
  if (set.look_again_at !== undefined) parts.push(sql`look_again_at = ${set.look_again_at}::timestamptz`)
  if (set.waits_for !== undefined) parts.push(sql`waits_for = ${set.waits_for === null ? null : JSON.stringify(set.waits_for)}::jsonb`)
  if (set.last_error !== undefined) parts.push(sql`last_error = ${set.last_error}`)
  if (set.last_error_code !== undefined) parts.push(sql`last_error_code = ${set.last_error_code}`)
  return parts
}

function attemptPart(job: LockedJob, to: Move): SQL {
  if (to.endAttempt !== undefined) {
    const end = to.endAttempt
    return sql`, ended as (
      update job_attempts set status = ${end.status}::attempt_status, burned = ${to.burn === true}, finished_at = clock_timestamp(),
        outcome_code = ${end.outcome}, error = ${end.error ?? null}, summary = coalesce(${end.summary ?? null}, summary),
        hook_status = coalesce(${end.hookStatus ?? null}::int, hook_status),
        hook_response = coalesce(${end.hookResponse === undefined ? null : JSON.stringify(end.hookResponse)}::jsonb, hook_response),
        openclaw_task_ref = coalesce(${end.taskRef ?? null}, openclaw_task_ref),
        openclaw_session_key = coalesce(${end.sessionKey ?? null}, openclaw_session_key)
      where id = ${job.current_attempt_id}::uuid
    )`
  }
  if (to.admit !== undefined) {
    return sql`, admitted as (
      update job_attempts set status = 'running', admitted_at = clock_timestamp(), openclaw_task_ref = ${to.admit.runId},
        hook_status = ${to.admit.httpStatus}, hook_response = ${JSON.stringify(to.admit.response)}::jsonb
      where id = ${job.current_attempt_id}::uuid
    )`
  }
  if (to.to === 'running') {
    return sql`, admitted as (update job_attempts set status = 'running' where id = ${job.current_attempt_id}::uuid)`
  }
  return sql``
}

function queuePart(to: Move): SQL {
  if (to.queue === undefined) return sql``
  return sql`, queued as (
    insert into outbox (kind, job_id, agent_id, generation) select ${to.queue}::outbox_kind, id, target_agent, generation from moved
  )`
}

/**
 * The move leased → running as one guarded statement, for the commonest case: the attempt still holds its job.
 * The WHERE is the check of the legal move, and the UPDATE takes the row lock that {@link move} takes.
 * @returns false when the job is not `leased` by this attempt; nothing was written then
 */
export async function setRunningIfLeased(
  db: Db,
  what: {
    readonly jobId: JobId
    readonly attemptId: AttemptId
    readonly actor: Actor
    readonly runId: string
    readonly httpStatus: number
    readonly response: Record<string, unknown>
  },
): Promise<boolean> {
  const { rows } = await db.execute(sql`
    with moved as (
      update jobs set status = 'running', last_seq = last_seq + 1, updated_at = clock_timestamp()
      where id = ${what.jobId}::uuid and status = 'leased' and current_attempt_id = ${what.attemptId}::uuid
      returning id, last_seq, current_attempt_id
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, details)
      select id, last_seq, 'move', 'leased', 'running', 'admitted', current_attempt_id, ${what.actor.kind}::actor_kind, ${what.actor.id},
        jsonb_build_object('run_id', ${what.runId}::text)
      from moved
    ), admitted as (
      update job_attempts set status = 'running', admitted_at = clock_timestamp(), openclaw_task_ref = ${what.runId}, hook_status = ${what.httpStatus},
        hook_response = ${JSON.stringify(what.response)}::jsonb
      where id in (select current_attempt_id from moved)
    )
    select 1 from moved`)
  return rows.length > 0
}

export interface Note {
  readonly reason: TransitionReason
  readonly actor: Actor
  readonly note?: string | undefined
  readonly details?: Record<string, unknown> | undefined
  readonly attemptId?: string | undefined
  /** Enqueue again under a new generation: the state is right, the queue is not. */
  readonly republish?: boolean
}

/** Appends a history row that changes no state: progress, renewals, re-attachment, mends. */
export async function note(tx: Tx, job: LockedJob, what: Note): Promise<LockedJob> {
  const republish = what.republish === true
  const { rows } = await tx.execute(sql`
    with noted as (
      update jobs set last_seq = last_seq + 1, updated_at = clock_timestamp()${republish ? sql`, generation = generation + 1` : sql``}
      where id = ${job.id} and last_seq = ${job.last_seq}
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select id, last_seq, 'note', status, status, ${what.reason}::transition_reason, ${what.note ?? null}, ${what.attemptId ?? job.current_attempt_id}::uuid,
        ${what.actor.kind}::actor_kind, ${what.actor.id}, ${JSON.stringify(what.details ?? {})}::jsonb
      from noted
    )${republish ? sql`, queued as (insert into outbox (kind, job_id, agent_id, generation) select 'publish', id, target_agent, generation from noted)` : sql``}
    select * from noted`)
  const row = rows[0]
  if (row === undefined) throw new Error(`job ${job.id} changed under its lock`)
  if (republish) hintAfterCommit(tx, { outbox: true })
  return row as LockedJob
}
