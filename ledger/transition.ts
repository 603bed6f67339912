import { sql, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { canMove, isTerminal, type AttemptStatus, type JobStatus, type WrittenReason } from '../contracts/job-states.js'
import { canonicalJson, sha256 } from './canonical.js'
import type { Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import type { JobRow } from './rows.js'

declare const locked: unique symbol

/** A job row read under its row lock in this transaction. Only {@link lockJob} makes one. */
export type LockedJob = JobRow & {
  readonly [locked]: true
  /** Whether the lease of the current attempt still ran when the job was locked; undefined when nobody asked. */
  readonly lease_alive?: boolean | null
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
  readonly reason: WrittenReason
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
  /** After so many seconds of being blocked somebody is asked to plan anew. */
  readonly patience_seconds?: number
  readonly answer?: Record<string, unknown> | null
  readonly last_error?: string
  readonly last_error_code?: string
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
 * Writes jobs.status, as beside it only the grouped moves of the hot path do (open-attempts, grouped-moves; test/architecture/state-writers.test.ts holds the
 * list). Under the row lock it checks the table of legal moves and, in one statement, updates the job, appends the history row, ends or admits the attempt, and writes the outbox row.
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
  const moved = await writeMove(tx, job, to)
  if (moved === undefined) throw new Error(`job ${job.id} changed under its lock`)
  if (to.queue !== undefined) hintAfterCommit(tx, { outbox: true })
  if (to.endAttempt !== undefined && job.current_attempt_id !== null) hintAfterCommit(tx, { closed: [job.current_attempt_id] })
  if (isTerminal(to.to)) hintAfterCommit(tx, { over: [job.id] })
  return moved as LockedJob
}

/** Writes the move if the job is still at the version that was locked. */
async function writeMove(tx: Tx, job: LockedJob, to: Move): Promise<JobRow | undefined> {
  const leavesAttempt = isHeld(job.status) && !isHeld(to.to)
  if (leavesAttempt !== (to.endAttempt !== undefined)) throw new Error(`move ${job.status} → ${to.to} and the end of its attempt must go together`)

  const attemptId = to.attemptId ?? job.current_attempt_id
  const { rows } = await tx.execute(sql`
    with moved as (
      update jobs set ${sql.join(assignments(job, to), sql`, `)}
      where id = ${job.id} and last_seq = ${job.last_seq}
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select id, last_seq, 'move', ${job.status}::job_status, status, ${to.reason}::transition_reason, ${to.note ?? null}, ${attemptId ?? null}::uuid,
        ${to.actor.kind}::actor_kind, ${to.actor.id}, ${JSON.stringify(detailsOf(to))}::jsonb
      from moved
    )${attemptPart(job, to)}${queuePart(to.queue)}
    select * from moved`)
  return rows[0] as JobRow | undefined
}

/** What the chained row says of the move. A result is in the job's row, where the database's owner could change it: its hash is here. */
function detailsOf({ details, set }: Move): Record<string, unknown> {
  return { ...details, ...(set?.result === undefined ? {} : { result_hash: sha256(canonicalJson(set.result)) }) }
}

/** How long work may be blocked before somebody is asked to plan anew, as the fleet file says; else four hours. */
const PATIENCE_SECONDS = sql`coalesce((
  select (v.spec ->> 'patience_minutes')::float8 * 60 from fleet_versions v where v.kind = 'policy' and v.id = 'blocked' order by v.version desc limit 1), 14400)`

function assignments(job: LockedJob, to: Move): SQL[] {
  const set = to.set ?? {}
  const parts: SQL[] = [
    sql`status = ${to.to}::job_status`,
    sql`last_seq = jobs.last_seq + 1`,
    sql`updated_at = clock_timestamp()`,
    sql`finished_at = ${isTerminal(to.to) ? sql`clock_timestamp()` : sql`null`}`,
  ]
  if (to.to !== 'leased' && to.to !== 'running') parts.push(sql`current_attempt_id = null`)
  if (to.queue === 'publish') parts.push(sql`generation = generation + 1, held_by = null`)
  if (to.burn === true) parts.push(sql`attempt_count = attempt_count + 1`)
  if (job.buried_at !== null) parts.push(sql`buried_at = null`)
  if (to.to !== 'blocked' && job.status === 'blocked') {
    parts.push(sql`blocked_reason = null, blocked_owner = null, unblock_action = null, look_again_at = null, waits_for = null, blocked_at = null, escalate_at = null`)
  }
  if (set.run_after !== undefined) parts.push(sql`run_after = ${set.run_after}`)
  if (set.result !== undefined) parts.push(sql`result = ${JSON.stringify(set.result)}::jsonb`)
  if (set.summary !== undefined) parts.push(sql`summary = ${set.summary}`)
  if (set.max_attempts !== undefined) parts.push(sql`max_attempts = ${set.max_attempts}`)
  if (set.blocked_reason !== undefined) parts.push(sql`blocked_reason = ${set.blocked_reason}`)
  if (set.blocked_owner !== undefined) parts.push(sql`blocked_owner = ${set.blocked_owner}`)
  if (set.unblock_action !== undefined) parts.push(sql`unblock_action = ${set.unblock_action}`)
  if (set.look_again_at !== undefined) parts.push(sql`look_again_at = ${set.look_again_at}::timestamptz`)
  if (set.waits_for !== undefined) parts.push(sql`waits_for = ${set.waits_for === null ? null : JSON.stringify(set.waits_for)}::jsonb`)
  if (to.to === 'blocked') {
    parts.push(sql`blocked_at = clock_timestamp(), answer = null`)
    parts.push(sql`escalate_at = clock_timestamp() + make_interval(secs => ${set.patience_seconds === undefined ? PATIENCE_SECONDS : sql`${set.patience_seconds}::float8`})`)
  }
  if (set.answer !== undefined) parts.push(sql`answer = ${set.answer === null ? null : JSON.stringify(set.answer)}::jsonb`)
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
      where id = ${job.current_attempt_id}::uuid and exists (select from moved)
    )`
  }
  if (to.admit !== undefined) {
    return sql`, admitted as (
      update job_attempts set status = 'running', admitted_at = clock_timestamp(), openclaw_task_ref = ${to.admit.runId},
        hook_status = ${to.admit.httpStatus}, hook_response = ${JSON.stringify(to.admit.response)}::jsonb
      where id = ${job.current_attempt_id}::uuid and exists (select from moved)
    )`
  }
  if (to.to === 'running') {
    return sql`, admitted as (update job_attempts set status = 'running' where id = ${job.current_attempt_id}::uuid and exists (select from moved))`
  }
  return sql``
}

function queuePart(queue: Move['queue']): SQL {
  if (queue === undefined) return sql``
  return sql`, queued as (
    insert into outbox (kind, job_id, agent_id, generation) select ${queue}::outbox_kind, id, target_agent, generation from moved where target_agent is not null
  )`
}

export interface Note {
  readonly reason: WrittenReason
  readonly actor: Actor
  readonly note?: string | undefined
  readonly details?: Record<string, unknown> | undefined
  readonly attemptId?: string | undefined
  /** Enqueue again under a new generation: the state is right, the queue is not. */
  readonly republish?: boolean
  /** Gives a job that names capabilities to an agent, or takes it back with null. Goes with `republish`. */
  readonly assignTo?: string | null
}

/** Appends a history row that changes no state: progress, renewals, re-attachment, mends. */
export async function note(tx: Tx, job: LockedJob, what: Note): Promise<LockedJob> {
  const republish = what.republish === true
  const { rows } = await tx.execute(sql`
    with noted as (
      update jobs set last_seq = last_seq + 1, updated_at = clock_timestamp()${republish ? sql`, generation = generation + 1, held_by = null` : sql``}${
        what.assignTo === undefined ? sql`` : sql`, target_agent = ${what.assignTo}`
      }
      where id = ${job.id} and last_seq = ${job.last_seq}
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select id, last_seq, 'note', status, status, ${what.reason}::transition_reason, ${what.note ?? null}, ${what.attemptId ?? job.current_attempt_id}::uuid,
        ${what.actor.kind}::actor_kind, ${what.actor.id}, ${JSON.stringify(what.details ?? {})}::jsonb
      from noted
    )${republish ? sql`, queued as (insert into outbox (kind, job_id, agent_id, generation) select 'publish', id, target_agent, generation from noted where target_agent is not null)` : sql``}
    select * from noted`)
  const row = rows[0]
  if (row === undefined) throw new Error(`job ${job.id} changed under its lock`)
  if (republish) hintAfterCommit(tx, { outbox: true })
  return row as LockedJob
}
