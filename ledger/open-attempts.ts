import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { AttemptId } from '../contracts/ids.js'
import type { Db, Tx } from './database.js'
import { orderOfJob, pausedBy } from './paused-by.js'
import { prebuilt } from './prebuilt.js'
import { agentOf, type AttemptRow, type JobRow } from './rows.js'

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
  /** The definitions that it was decided by, where a gateway will be called. Whoever claims a job by hand calls none. */
  readonly decidedBy?: { readonly agentVersion: number; readonly gatewayVersion: number }
  readonly prompt: { readonly hash: string; readonly storedBody: string; readonly bytes: number; readonly contractVersion: string }
  readonly actor: Actor
  readonly details: Record<string, unknown>
  /** The entry is taken out of the queue, for whoever claims a job without one. */
  readonly removeEntry?: boolean
}

/** An attempt that is about to be opened in a slot of its agent. */
export interface Opening {
  readonly job: JobRow
  readonly attempt: NewAttempt
  readonly slot: number
}

/** What came of it: `taken` when somebody else has the slot, `changed` when the job is not as it was read. */
export type Opened = { readonly kind: 'opened'; readonly job: JobRow; readonly attempt: AttemptRow } | { readonly kind: 'taken' } | { readonly kind: 'changed' }

/** Of a job `j` that is about to be sent to `w.gateway_id`. */
export const NOT_PAUSED = prebuilt(
  sql`${pausedBy({ lane: sql`j.lane::text`, agent: sql`j.target_agent`, gateway: sql`w.gateway_id`, order: orderOfJob(sql`j.standing_order_run_id`) })} is null`,
)

/** The agent of a job `j`, and its gateway, are as `w` says. A look of its own, as the one at pauses: joined to the jobs, agents and gateways could change the order in which jobs are locked. */
export const AS_DECIDED = prebuilt(sql`(select a.enabled and a.version = w.agent_version and g.id = w.gateway_id and g.version = w.gateway_version and g.breaker = 'closed'
          from agents a join gateways g on g.id = a.gateway_id where a.id = j.target_agent)`)

/**
 * The moves queued → leased: for each a new attempt in a free slot of its agent, the prompt it will send, and the job's move
 * with its history row, all in one statement. Each happens only if its job is still as it was read, so none needs a lock of
 * the caller's. No two of them may ask for the same slot.
 *
 * What was read before it may be old, or what was known of the agent from the last start. What guards which part of it:
 * - the job and its prompt: `last_seq`, which every move and every note raises, and `status`;
 * - its generation: by itself, for a breaker that closes raises it without a row in the history;
 * - that it is due: nothing puts a queued job off without raising `last_seq`;
 * - pauses and drains of lane, agent, gateway and order, and with them `held_by`: looked up anew;
 * - the agent: that it is enabled, looked up anew; its gateway, its name there and its concurrency, by the version of its definition;
 * - the gateway: its breaker, looked up anew; its address and token, by the version of its definition; its boot is written as it is now;
 * - free slots: the unique slot of an open attempt; the number of the attempt: `last_seq`, and unique as well.
 * `openNewborn` opens the first attempt of a job that was created a moment ago; it needs every one of these guards too.
 */
export async function openAttempts(db: Db | Tx, openings: readonly Opening[]): Promise<Opened[]> {
  const wanted = openings.map(({ job, attempt: a, slot }) => ({
    job_id: job.id,
    last_seq: job.last_seq,
    generation: job.generation,
    id: a.id,
    attempt_no: a.attemptNo,
    gateway_id: a.gatewayId,
    agent_version: a.decidedBy?.agentVersion,
    gateway_version: a.decidedBy?.gatewayVersion,
    slot,
    lease_owner: a.leaseOwner,
    lease_seconds: Math.min(a.leaseSeconds, a.deadlineSeconds),
    deadline_seconds: a.deadlineSeconds + 1,
    prompt_hash: a.prompt.hash,
    prompt_body: a.prompt.storedBody,
    prompt_bytes: a.prompt.bytes,
    contract_version: a.prompt.contractVersion,
    actor_kind: a.actor.kind,
    actor: a.actor.id,
    details: a.details,
    remove_entry: a.removeEntry === true,
  }))
  const { rows } = await db.execute(sql`
    with wanted as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb) as w (job_id uuid, last_seq int, generation int, id uuid, attempt_no int, gateway_id text,
        agent_version int, gateway_version int, slot int, lease_owner text, lease_seconds float8, deadline_seconds float8, prompt_hash text, prompt_body text,
        prompt_bytes int, contract_version text, actor_kind actor_kind, actor text, details jsonb, remove_entry boolean)
    ), held as (
      -- One job at a time by its key, in the order of keys. The limit keeps the conditions out of the lookup: with them inside,
      -- an index over all that is queued looks cheaper to the planner, and is read whole for each job.
      select j.id as job_id, j.target_agent, j.payload_hash
      from (select job_id, last_seq, generation, gateway_id, agent_version, gateway_version from wanted order by job_id) w cross join lateral (
        select id, last_seq, generation, status, lane, target_agent, payload_hash, standing_order_run_id from jobs where id = w.job_id limit 1 for no key update) j
      where j.last_seq = w.last_seq and j.generation = w.generation and j.status = 'queued' and (w.agent_version is null or ${AS_DECIDED}) and ${NOT_PAUSED}
    ), opened as (
      insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, lease_owner, leased_until, deadline_at, prompt_hash,
        contract_version, payload_hash, gateway_booted_at)
      select w.id, w.job_id, w.attempt_no, held.target_agent, g.id, w.slot, w.lease_owner,
        clock_timestamp() + make_interval(secs => w.lease_seconds), clock_timestamp() + make_interval(secs => w.deadline_seconds),
        w.prompt_hash, w.contract_version, held.payload_hash, g.booted_at
      from wanted w join held on held.job_id = w.job_id join gateways g on g.id = w.gateway_id
      on conflict (agent_id, slot) where finished_at is null do nothing
      returning *
    ), prompt as (
      -- Of what was opened alone: a text that nobody is sent would belong to no attempt, and retention would never find it.
      insert into prompts (hash, body, bytes)
      select distinct on (w.prompt_hash) w.prompt_hash, w.prompt_body, w.prompt_bytes from wanted w join opened on opened.id = w.id on conflict do nothing
    ), moved as (
      update jobs set status = 'leased', last_seq = jobs.last_seq + 1, updated_at = clock_timestamp(), held_reason = null, held_by = null, current_attempt_id = opened.id
      from opened where jobs.id = opened.job_id
      returning jobs.*
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, details)
      select moved.id, moved.last_seq, 'move', 'queued', 'leased', 'leased', moved.current_attempt_id, w.actor_kind, w.actor, w.details
      from moved join wanted w on w.id = moved.current_attempt_id
    ), removed as (
      insert into outbox (kind, job_id, agent_id, generation)
      select 'remove', moved.id, moved.target_agent, moved.generation from moved join wanted w on w.id = moved.current_attempt_id and w.remove_entry
    )
    select w.id, held.job_id is not null as held, moved.updated_at, opened.leased_at, opened.leased_until, opened.deadline_at, opened.gateway_booted_at, opened.payload_hash
    from wanted w left join held on held.job_id = w.job_id left join opened on opened.id = w.id left join moved on moved.id = opened.job_id`)
  const byId = new Map(rows.map((row) => [row['id'], row as unknown as Decided & { readonly held: boolean }]))
  return openings.map((opening): Opened => {
    const row = byId.get(opening.attempt.id)
    if (row?.held !== true) return { kind: 'changed' }
    if (row.updated_at === null) return { kind: 'taken' }
    return { kind: 'opened', ...openedRows(opening, { ...row, updated_at: row.updated_at }) }
  })
}

/** What the ledger decides about an attempt when it opens it; everything else is what it was asked for. */
type Decided = Pick<AttemptRow, 'leased_at' | 'leased_until' | 'deadline_at' | 'gateway_booted_at' | 'payload_hash'> & { readonly updated_at: string | null }

/** The same of one that was opened. */
export type OpenedAs = Decided & { readonly updated_at: string }

/** Both rows as they are now. To carry over eighty columns, of which six are news, costs more than a tenth of all that it takes to open an attempt. */
export function openedRows({ job, attempt: a, slot }: Opening, decided: OpenedAs): { readonly job: JobRow; readonly attempt: AttemptRow } {
  return {
    job: { ...job, status: 'leased', last_seq: job.last_seq + 1, updated_at: decided.updated_at, held_reason: null, held_by: null, current_attempt_id: a.id },
    attempt: {
      id: a.id,
      job_id: job.id,
      attempt_no: a.attemptNo,
      agent_id: agentOf(job),
      gateway_id: a.gatewayId,
      status: 'leased',
      slot,
      burned: false,
      lease_owner: a.leaseOwner,
      leased_at: decided.leased_at,
      leased_until: decided.leased_until,
      gateway_booted_at: decided.gateway_booted_at,
      deadline_at: decided.deadline_at,
      admitted_at: null,
      finished_at: null,
      outcome_code: null,
      error: null,
      summary: null,
      prompt_hash: a.prompt.hash,
      contract_version: a.prompt.contractVersion,
      payload_hash: decided.payload_hash,
      hook_status: null,
      hook_response: null,
      openclaw_task_ref: null,
      openclaw_session_key: null,
      openclaw_meta: {},
      pruned_by: null,
      pruned_hash: null,
    },
  }
}

/** Another worker may take the chosen slot first; then the slots are looked at again and one more is chosen. */
const SLOT_TRIES = 4

/** Opens one attempt, in another slot if the first choice is gone. */
export async function openAttempt(tx: Db | Tx, job: JobRow, attempt: NewAttempt): Promise<Exclude<Opened, { kind: 'taken' }> | { readonly kind: 'busy' }> {
  for (let tries = 0; tries < SLOT_TRIES; tries += 1) {
    const slot = freeSlot(attempt.concurrency, tries === 0 ? attempt.takenSlots : await takenSlots(tx, agentOf(job)))
    if (slot === undefined) return { kind: 'busy' }
    const [opened] = await openAttempts(tx, [{ job, attempt, slot }])
    if (opened !== undefined && opened.kind !== 'taken') return opened
  }
  return { kind: 'busy' }
}

/** One of the free slots by chance, so that workers that choose at the same time seldom choose the same. */
export function freeSlot(concurrency: number, taken: Iterable<number>): number | undefined {
  const used = new Set(taken)
  const free = Array.from({ length: concurrency }, (_none, at) => at + 1).filter((slot) => !used.has(slot))
  return free[Math.floor(Math.random() * free.length)]
}

async function takenSlots(tx: Db | Tx, agentId: string): Promise<number[]> {
  const { rows } = await tx.execute<{ slot: number }>(sql`select slot from job_attempts where agent_id = ${agentId} and finished_at is null`)
  return rows.map((row) => row.slot)
}
