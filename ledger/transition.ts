import { getTableColumns, sql, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { canMove, isTerminal, type AttemptStatus, type JobStatus, type TransitionReason } from '../contracts/job-states.js'
import type { Db, Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import { orderOfJob, pausedBy } from './paused-by.js'
import { agentOf, type AttemptRow, type JobRow } from './rows.js'
import { job_attempts } from './schema/index.js'

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
 * The only writer of jobs.status, together with {@link openAttempt}. Under the row lock it checks the table of legal moves
 * and, in one statement, updates the job, appends the history row, ends or admits the attempt, and writes the outbox row.
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
  const moved = await writeMove(tx, job, sql`from jobs j where j.id = ${job.id} and j.last_seq = ${job.last_seq}`, to)
  if (moved === undefined) throw new Error(`job ${job.id} changed under its lock`)
  if (to.queue !== undefined) hintAfterCommit(tx, { outbox: true })
  if (to.endAttempt !== undefined && job.current_attempt_id !== null) hintAfterCommit(tx, { closed: [job.current_attempt_id] })
  if (isTerminal(to.to)) hintAfterCommit(tx, { over: [job.id] })
  return moved as LockedJob
}

/**
 * A move out of `leased` without a lock taken before, as one statement that is its own transaction: the gateway admitted the
 * run of the attempt that has just been opened. It happens only if nobody has moved the job since.
 * @returns undefined when nothing was written; the caller then takes the lock and decides anew
 */
export function tryAdmit(db: Db, job: JobRow, to: Move & { readonly to: 'running' }): Promise<JobRow | undefined> {
  if (job.status !== 'leased') return Promise.resolve(undefined)
  return writeMove(db, job, sql`from jobs j where j.id = ${job.id} and j.last_seq = ${job.last_seq}`, to)
}

/**
 * The end of a job by the attempt that holds it, as one statement that is its own transaction. It happens only if the
 * attempt still holds the job, its lease runs, and nobody waits for the end of the job.
 * @returns undefined when nothing was written; the caller then takes the lock and decides anew
 */
export function tryEnd(db: Db, holder: { readonly jobId: JobId; readonly attemptId: AttemptId }, to: Move): Promise<JobRow | undefined> {
  const held = { id: holder.jobId, status: 'running', current_attempt_id: holder.attemptId, buried_at: null } as const
  if (!isTerminal(to.to) || !canMove('running', to.to) || !canMove('leased', to.to)) throw new Error(`${to.to} does not end a held job`)
  const unchanged = sql`
    from jobs j join job_attempts a on a.id = j.current_attempt_id
    where j.id = ${held.id} and a.id = ${held.current_attempt_id} and a.leased_until > clock_timestamp() and not j.awaited`
  return writeMove(db, held, unchanged, to)
}

/** What a move must know of the job as it is before. */
type Before = Pick<JobRow, 'id' | 'status' | 'current_attempt_id' | 'buried_at'>

/** Writes the move if `unchanged` still finds the job. */
async function writeMove(db: Db | Tx, job: Before, unchanged: SQL, to: Move): Promise<JobRow | undefined> {
  const leavesAttempt = isHeld(job.status) && !isHeld(to.to)
  if (leavesAttempt !== (to.endAttempt !== undefined)) throw new Error(`move ${job.status} → ${to.to} and the end of its attempt must go together`)

  const attemptId = to.attemptId ?? job.current_attempt_id
  const { rows } = await db.execute(sql`
    with before as (
      select j.id, j.status ${unchanged} for no key update of j
    ), moved as (
      update jobs set ${sql.join(assignments(job, to), sql`, `)}
      from before where jobs.id = before.id
      returning jobs.*
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select moved.id, moved.last_seq, 'move', before.status, moved.status, ${to.reason}::transition_reason, ${to.note ?? null}, ${attemptId ?? null}::uuid,
        ${to.actor.kind}::actor_kind, ${to.actor.id}, ${JSON.stringify(to.details ?? {})}::jsonb
      from moved join before on before.id = moved.id
    )${attemptPart(job, to)}${queuePart(to.queue)}
    select * from moved`)
  return rows[0] as JobRow | undefined
}

/** How long work may be blocked before somebody is asked to plan anew, as the fleet file says; else four hours. */
const PATIENCE_SECONDS = sql`coalesce((
  select (v.spec ->> 'patience_minutes')::float8 * 60 from fleet_versions v where v.kind = 'policy' and v.id = 'blocked' order by v.version desc limit 1), 14400)`

function assignments(job: Before, to: Move): SQL[] {
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

function attemptPart(job: Before, to: Move): SQL {
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

export interface NewAttempt {
  readonly id: AttemptId
  readonly attemptNo: number
  readonly gatewayId: string
  readonly leaseOwner: string
  readonly leaseSeconds: number
  readonly deadlineSeconds: number
  /** How many slots the agent has, and which of them were taken when they were last looked at. */
  readonly concurrency: number
  readonly takenSlots: readonly number[]
  readonly prompt: { readonly hash: string; readonly storedBody: string; readonly bytes: number; readonly contractVersion: string }
  readonly actor: Actor
  readonly details: Record<string, unknown>
  readonly queue?: Move['queue']
}

/** What came of {@link openAttempt}: `busy` when the agent has no free slot, `changed` when the job is not as it was read. */
export type Opened = { readonly kind: 'opened'; readonly job: JobRow; readonly attempt: AttemptRow } | { readonly kind: 'busy' } | { readonly kind: 'changed' }

/** Another worker may take the chosen slot first; then the slots are looked at again and one more is chosen. */
const SLOT_TRIES = 4

/** One of the free slots by chance, so that workers that choose at the same time seldom choose the same. */
function freeSlot(concurrency: number, taken: readonly number[]): number | undefined {
  const used = new Set(taken)
  const free = Array.from({ length: concurrency }, (_none, at) => at + 1).filter((slot) => !used.has(slot))
  return free[Math.floor(Math.random() * free.length)]
}

async function takenSlots(db: Db | Tx, agentId: string): Promise<number[]> {
  const { rows } = await db.execute<{ slot: number }>(sql`select slot from job_attempts where agent_id = ${agentId} and finished_at is null`)
  return rows.map((row) => row.slot)
}

const ATTEMPT_COLUMNS = sql.raw(
  Object.keys(getTableColumns(job_attempts))
    .map((name) => `opened.${name} as a_${name}`)
    .join(', '),
)

/**
 * The move queued → leased: a new attempt in a free slot of its agent, the prompt it will send, and the job's move with its
 * history row, in one statement. It happens only if the job is still as it was read, so it needs no lock of the caller's.
 */
export async function openAttempt(db: Db | Tx, job: JobRow, a: NewAttempt): Promise<Opened> {
  for (let tries = 0; tries < SLOT_TRIES; tries += 1) {
    const slot = freeSlot(a.concurrency, tries === 0 ? a.takenSlots : await takenSlots(db, agentOf(job)))
    if (slot === undefined) return { kind: 'busy' }
    const { rows } = await db.execute(sql`
      with held as (
        select id, target_agent, payload_hash from jobs where id = ${job.id} and last_seq = ${job.last_seq} and status = 'queued'
          and ${pausedBy({ lane: sql`jobs.lane::text`, agent: sql`jobs.target_agent`, gateway: sql`${a.gatewayId}`, order: orderOfJob(sql`jobs.standing_order_run_id`) })} is null
        for no key update
      ), prompt as (
        insert into prompts (hash, body, bytes) values (${a.prompt.hash}, ${a.prompt.storedBody}, ${a.prompt.bytes}) on conflict do nothing
      ), opened as (
        insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, lease_owner, leased_until, deadline_at, prompt_hash,
          contract_version, payload_hash, gateway_booted_at)
        select ${a.id}::uuid, held.id, ${a.attemptNo}::int, held.target_agent, g.id, ${slot}::int, ${a.leaseOwner},
          clock_timestamp() + make_interval(secs => ${Math.min(a.leaseSeconds, a.deadlineSeconds)}),
          clock_timestamp() + make_interval(secs => ${a.deadlineSeconds + 1}),
          ${a.prompt.hash}, ${a.prompt.contractVersion}, held.payload_hash, g.booted_at
        from held, gateways g where g.id = ${a.gatewayId}
        on conflict (agent_id, slot) where finished_at is null do nothing
        returning *
      ), moved as (
        update jobs set status = 'leased', last_seq = jobs.last_seq + 1, updated_at = clock_timestamp(), held_reason = null, held_by = null,
          current_attempt_id = opened.id${a.queue === 'publish' ? sql`, generation = jobs.generation + 1` : sql``}
        from opened where jobs.id = opened.job_id
        returning jobs.*
      ), logged as (
        insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, details)
        select id, last_seq, 'move', 'queued', 'leased', 'leased', current_attempt_id, ${a.actor.kind}::actor_kind, ${a.actor.id},
          ${JSON.stringify(a.details)}::jsonb
        from moved
      )${queuePart(a.queue)}
      select moved.*, ${ATTEMPT_COLUMNS}, exists (select from held) as x_held
      from (select 1) one left join (moved join opened on opened.job_id = moved.id) on true`)
    const row = rows[0] ?? {}
    if (row['x_held'] !== true) return { kind: 'changed' }
    if (row['a_id'] !== null) return { kind: 'opened', job: withoutPrefixed(row) as unknown as JobRow, attempt: prefixed(row, 'a_') as unknown as AttemptRow }
  }
  return { kind: 'busy' }
}

/** The columns of a joined row whose names start with `prefix`, without it. */
export function prefixed(row: Record<string, unknown>, prefix: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [])))
}

/** The columns of a joined row that carry no one-letter prefix. */
export function withoutPrefixed(row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([name]) => name[1] !== '_'))
}

export interface Note {
  readonly reason: TransitionReason
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
