import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { uuidv7, type AttemptId, type JobId } from '../contracts/ids.js'
import { isTerminal } from '../contracts/job-states.js'
import type { Db, Tx } from './database.js'
import { observe } from './observe.js'
import { openAttempt, type NewAttempt } from './open-attempts.js'
import { prebuilt } from './prebuilt.js'
import { prefixed, withoutPrefixed } from './prefixed.js'
import { orderOfJob, pausedBy, pauseOf } from './paused-by.js'
import type { ExpectedEntry } from './queue-parity.js'
import { agentOf, type AttemptRow, type JobRow } from './rows.js'
import { adoptLocked, note, type LockedJob } from './transition.js'

/** The bytes an attempt will send. `storedBody` is what the ledger keeps: the same, with the attempt's token cut out. */
export interface RenderedPrompt {
  readonly hash: string
  readonly storedBody: string
  readonly bytes: number
  readonly contractVersion: string
}

/** What a worker needs to know of the gateway to deliver. */
export interface DeliveryTarget {
  readonly agentId: string
  readonly gatewayAgentId: string
  readonly gatewayId: string
  readonly baseUrl: string
  readonly hookPath: string
  readonly tokenRef: string
  readonly bootedAt: string | null
}

/** Why nothing of an agent may start. */
export type HoldReason = 'everything_paused' | 'lane_paused' | 'gateway_paused' | 'agent_paused' | 'order_paused' | 'agent_disabled' | 'breaker_open'

/** The ledger's answer to a worker that has picked up a queue entry. */
export type LeaseDecision =
  | { readonly kind: 'start'; readonly job: JobRow; readonly attempt: AttemptRow; readonly target: DeliveryTarget }
  | { readonly kind: 'reattach'; readonly job: JobRow; readonly attempt: AttemptRow; readonly target: DeliveryTarget }
  | { readonly kind: 'hold'; readonly reason: HoldReason; readonly retryInMs: number }
  /** A pause holds the job; its entry may go, for the end of the pause publishes another. */
  | { readonly kind: 'parked'; readonly reason: HoldReason }
  | { readonly kind: 'busy'; readonly retryInMs: number; readonly heldBy: readonly ExpectedEntry[] }
  | { readonly kind: 'not_yet'; readonly retryInMs: number }
  | { readonly kind: 'skip'; readonly code: string; readonly job: JobRow | undefined }

export interface LeaseRequest {
  readonly jobId: JobId
  /** The generation the queue entry was published under. */
  readonly generation: number
  readonly workerId: string
  readonly actor: Actor
  readonly nowMs: number
  /** Seconds added to the job's timeout to get the attempt's deadline. */
  readonly deadlineMarginSeconds: number
  readonly render: (job: JobRow, attempt: { id: AttemptId; attemptNo: number }, target: DeliveryTarget) => RenderedPrompt
}

/** How an agent and its gateway stand. */
export interface AgentFacts {
  readonly gateway_id: string
  readonly gateway_agent_id: string
  readonly base_url: string
  readonly hook_path: string
  readonly token_ref: string
  readonly booted_at: string | null
  /** Of the definitions; each change of one is a new version. */
  readonly agent_version: number
  readonly gateway_version: number
  readonly enabled: boolean
  readonly concurrency: number
  readonly breaker: 'open' | 'closed'
  readonly paused: string | null
  readonly taken_slots: readonly number[]
  readonly attempts_so_far: number
  readonly due_in_ms: number
  /** For jobs that name none of their own. */
  readonly timeout_seconds: number
  readonly lease_seconds: number
}

/**
 * Decides what a picked-up queue entry means: start a new attempt, re-attach to the open one, hold, wait, or drop.
 * Every open attempt of an agent holds one of its slots, so that no two workers can together exceed its concurrency.
 */
export async function leaseJob(tx: Tx, request: LeaseRequest): Promise<LeaseDecision> {
  const [found] = await readForLease(tx, [request.jobId], { lock: true })
  if (found === undefined) return notFound(tx, request)
  const { agent } = found
  const job = adoptLocked(found.job)
  if (job.generation !== request.generation) return skip(tx, request, job, 'stale_generation')
  if (job.status === 'leased' || job.status === 'running') return takeOver(tx, request, job, agent)
  if (job.status !== 'queued') return skip(tx, request, job, isTerminal(job.status) ? 'job_is_over' : `job_is_${job.status}`)

  if (agent.due_in_ms > 25) return { kind: 'not_yet', retryInMs: agent.due_in_ms }
  const hold = holdReason(agent)
  if (hold !== undefined) {
    const pause = pauseOf(agent.paused)
    await noteHold(tx, job, { reason: hold, controlId: pause?.controlId ?? null }, request.actor)
    return pause === undefined ? { kind: 'hold', reason: hold, retryInMs: 2_000 } : { kind: 'parked', reason: hold }
  }
  if (isBusy(agent)) return { kind: 'busy', retryInMs: 250, heldBy: await holdersOf(tx, agentOf(job)) }
  return start(tx, request, job, agent)
}

/** The job is not there, or its agent was taken from it at this moment: then it was published anew, or will be. */
async function notFound(tx: Tx, request: LeaseRequest): Promise<LeaseDecision> {
  const { rows } = await tx.execute(sql`select * from jobs where id = ${request.jobId}::uuid for update`)
  const row = rows[0]
  if (row !== undefined) return skip(tx, request, adoptLocked(row as JobRow), 'stale_generation')
  await drop(tx, request, undefined, 'unknown_job', 'The queue held an entry for a job that the ledger does not know.')
  return { kind: 'skip', code: 'unknown_job', job: undefined }
}

/** What a lease is decided from: the job, and how it stands with its agent and gateway. */
export interface LeaseFacts {
  readonly job: JobRow
  readonly agent: AgentFacts
}

/**
 * The attempt to open for a job in the commonest case: it is queued, due, and nothing holds it.
 * @returns undefined when it is any other case: {@link leaseJob} then decides under the job's lock
 */
export function plainLease({ job, agent }: LeaseFacts, request: LeaseRequest): { attempt: NewAttempt; target: DeliveryTarget } | undefined {
  if (job.generation !== request.generation || job.status !== 'queued' || agent.due_in_ms > 25 || holdReason(agent) !== undefined || isBusy(agent)) return undefined
  return newAttempt(request, job, agent)
}

const PAUSED = prebuilt(pausedBy({ lane: sql`j.lane::text`, agent: sql`a.id`, gateway: sql`g.id`, order: orderOfJob(sql`j.standing_order_run_id`) }))

/**
 * Reads jobs and what decides about them, in one statement, in the order of `ids`. Unless it is read under the lock all of it
 * may be stale by the time it is used: what then opens the attempt refuses what has changed ({@link openAttempts}). Whatever
 * is read here anew and decides about a lease needs a guard there.
 */
export async function readForLease(db: Db | Tx, ids: readonly JobId[], options: { readonly lock: boolean } = { lock: false }): Promise<(LeaseFacts | undefined)[]> {
  const { rows } = await db.execute(sql`
    with target as materialized (
      -- Once per agent, and in the order of the index over its slots: the one over leases holds what ended since the last vacuum.
      select a.*, array(select o.slot from job_attempts o where o.agent_id = a.id and o.finished_at is null order by o.slot) as f_taken_slots
      from agents a where a.id in (select target_agent from jobs where id = any(${sql.param([...ids])}::uuid[]))
    )
    select j.*, a.gateway_id as f_gateway_id, a.gateway_agent_id as f_gateway_agent_id, a.enabled as f_enabled, a.concurrency as f_concurrency,
      g.base_url as f_base_url, g.hook_path as f_hook_path, g.token_ref as f_token_ref, g.booted_at as f_booted_at, g.breaker as f_breaker,
      a.timeout_seconds as f_timeout_seconds, a.lease_seconds as f_lease_seconds,
      a.version as f_agent_version, g.version as f_gateway_version, ${PAUSED} as f_paused, a.f_taken_slots,
      (select coalesce(max(o.attempt_no), 0) from job_attempts o where o.job_id = j.id) as f_attempts_so_far,
      extract(epoch from j.run_after - clock_timestamp())::float8 * 1000 as f_due_in_ms
    from jobs j join target a on a.id = j.target_agent join gateways g on g.id = a.gateway_id
    where j.id = any(${sql.param([...ids])}::uuid[]) ${options.lock ? sql`order by j.id for update of j` : sql``}`)
  const found = new Map(rows.map((row) => [row['id'], { job: withoutPrefixed(row) as unknown as JobRow, agent: prefixed(row, 'f_') as unknown as AgentFacts }]))
  return ids.map((id) => found.get(id))
}

function holdReason(agent: AgentFacts): HoldReason | undefined {
  const pause = pauseOf(agent.paused)
  if (pause !== undefined) return `${pause.scope}_paused`
  if (!agent.enabled) return 'agent_disabled'
  if (agent.breaker === 'open') return 'breaker_open'
  return undefined
}

function isBusy(agent: AgentFacts): boolean {
  return agent.taken_slots.length >= agent.concurrency
}

/** The queue entries whose runs hold the agent's slots. One that no worker attends has to be picked up before any other can start. */
async function holdersOf(tx: Tx, agentId: string): Promise<ExpectedEntry[]> {
  const { rows } = await tx.execute(sql`
    select j.id, j.generation from job_attempts a join jobs j on j.id = a.job_id
    where a.agent_id = ${agentId} and a.finished_at is null and a.lease_owner not like 'pull:%'`)
  return rows.map((row) => ({ jobId: String(row['id']), generation: Number(row['generation']) }))
}

/** One row when the reason to hold changes, not one per look. A busy agent is not a reason to tell. */
async function noteHold(tx: Tx, job: LockedJob, { reason, controlId }: { readonly reason: HoldReason; readonly controlId: number | null }, actor: Actor): Promise<void> {
  if (job.held_reason === reason && job.held_by === controlId) return
  await tx.execute(sql`update jobs set held_reason = ${reason}, held_by = ${controlId}::bigint where id = ${job.id}`)
  if (job.held_reason === reason) return
  await note(tx, job, { reason: 'held', actor, details: { reason } })
}

async function start(tx: Tx, request: LeaseRequest, job: LockedJob, agent: AgentFacts): Promise<LeaseDecision> {
  const { attempt, target } = newAttempt(request, job, agent)
  const opened = await openAttempt(tx, job, attempt)
  if (opened.kind === 'opened') return { kind: 'start', job: opened.job, attempt: opened.attempt, target }
  // Another worker was a moment faster and attends to what it took.
  return { kind: 'busy', retryInMs: 50, heldBy: [] }
}

function newAttempt(request: LeaseRequest, job: JobRow, agent: AgentFacts): { attempt: NewAttempt; target: DeliveryTarget } {
  const id = uuidv7(request.nowMs) as AttemptId
  const attemptNo = agent.attempts_so_far + 1
  const target = targetOf(job, agent)
  const prompt = request.render(job, { id, attemptNo }, target)
  const attempt = {
    id,
    attemptNo,
    gatewayId: agent.gateway_id,
    leaseOwner: request.workerId,
    leaseSeconds: job.lease_seconds,
    deadlineSeconds: job.timeout_seconds + request.deadlineMarginSeconds,
    concurrency: agent.concurrency,
    takenSlots: agent.taken_slots,
    decidedBy: { agentVersion: agent.agent_version, gatewayVersion: agent.gateway_version },
    prompt,
    actor: request.actor,
    details: { attempt_no: attemptNo, worker: request.workerId, prompt_hash: prompt.hash, contract_version: prompt.contractVersion },
  }
  return { attempt, target }
}

/** The job is held already: by a worker that died, if the lease still lives, or by one whose lease has run out. */
async function takeOver(tx: Tx, request: LeaseRequest, job: LockedJob, agent: AgentFacts): Promise<LeaseDecision> {
  const { rows } = await tx.execute(sql`
    select *, leased_until > clock_timestamp() as alive
    from job_attempts where id = ${job.current_attempt_id}::uuid`)
  const attempt = rows[0] as (AttemptRow & { alive: boolean }) | undefined
  if (attempt === undefined) throw new Error(`job ${job.id} points at no attempt`)
  if (attempt.lease_owner.startsWith('pull:')) return skip(tx, request, job, 'claimed_by_hand')
  if (!attempt.alive) return { kind: 'not_yet', retryInMs: 1_000 }
  // Whether the gateway has it nobody knows: under a pause it must not be the re-attaching that starts it.
  if (attempt.status === 'leased' && agent.paused !== null) return { kind: 'not_yet', retryInMs: 1_000 }
  if (attempt.lease_owner !== request.workerId) {
    await tx.execute(sql`update job_attempts set lease_owner = ${request.workerId} where id = ${attempt.id}::uuid`)
    await note(tx, job, { reason: 'reattached', actor: request.actor, details: { from_worker: attempt.lease_owner, to_worker: request.workerId } })
  }
  return { kind: 'reattach', job, attempt: { ...attempt, lease_owner: request.workerId }, target: targetOf(job, agent) }
}

function targetOf(job: JobRow, agent: AgentFacts): DeliveryTarget {
  return {
    agentId: agentOf(job),
    gatewayAgentId: agent.gateway_agent_id,
    gatewayId: agent.gateway_id,
    baseUrl: agent.base_url,
    hookPath: agent.hook_path,
    tokenRef: agent.token_ref,
    bootedAt: agent.booted_at,
  }
}

async function skip(tx: Tx, request: LeaseRequest, job: LockedJob, code: string): Promise<LeaseDecision> {
  await drop(tx, request, job, code, `The queue entry was dropped: the job is ${job.status}, generation ${job.generation}.`)
  return { kind: 'skip', code, job }
}

async function drop(tx: Tx, request: LeaseRequest, job: JobRow | undefined, code: string, detail: string): Promise<void> {
  await observe(tx, {
    kind: 'drop',
    code,
    actor: request.actor,
    jobId: request.jobId,
    agentId: job?.target_agent ?? undefined,
    detail,
    details: { entry_generation: request.generation },
  })
}
