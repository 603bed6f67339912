import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { uuidv7, type AttemptId, type JobId } from '../contracts/ids.js'
import { isTerminal } from '../contracts/job-states.js'
import type { Tx } from './database.js'
import { observe } from './observe.js'
import type { AttemptRow, JobRow } from './rows.js'
import { adoptLocked, move, note, type LockedJob } from './transition.js'

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

export type HoldReason = 'everything_paused' | 'lane_paused' | 'gateway_paused' | 'agent_paused' | 'agent_disabled' | 'breaker_open' | 'agent_busy'

/** The ledger's answer to a worker that has picked up a queue entry. */
export type LeaseDecision =
  | { readonly kind: 'start'; readonly job: JobRow; readonly attempt: AttemptRow; readonly target: DeliveryTarget }
  | { readonly kind: 'reattach'; readonly job: JobRow; readonly attempt: AttemptRow; readonly target: DeliveryTarget }
  | { readonly kind: 'hold'; readonly reason: HoldReason; readonly retryInMs: number }
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

interface AgentFacts {
  readonly gateway_id: string
  readonly gateway_agent_id: string
  readonly base_url: string
  readonly hook_path: string
  readonly token_ref: string
  readonly booted_at: string | null
  readonly enabled: boolean
  readonly concurrency: number
  readonly breaker: 'open' | 'closed'
  readonly paused: string | null
  readonly open_attempts: number
  readonly attempts_so_far: number
  readonly due_in_ms: number
}

/**
 * Decides what a picked-up queue entry means: start a new attempt, re-attach to the open one, hold, wait, or drop.
 * Every open attempt of an agent holds one of its slots, so that no two workers can together exceed its concurrency.
 */
export async function leaseJob(tx: Tx, request: LeaseRequest): Promise<LeaseDecision> {
  const found = await lockForLease(tx, request.jobId)
  if (found === undefined) {
    await drop(tx, request, undefined, 'unknown_job', 'The queue held an entry for a job that the ledger does not know.')
    return { kind: 'skip', code: 'unknown_job', job: undefined }
  }
  const { job, agent } = found
  if (job.generation !== request.generation) return skip(tx, request, job, 'stale_generation')
  if (job.status === 'leased' || job.status === 'running') return takeOver(tx, request, job, agent)
  if (job.status !== 'queued') return skip(tx, request, job, isTerminal(job.status) ? 'job_is_over' : `job_is_${job.status}`)

  if (agent.due_in_ms > 25) return { kind: 'not_yet', retryInMs: agent.due_in_ms }
  const hold = holdReason(agent)
  if (hold !== undefined) {
    await noteHold(tx, job, hold, request.actor)
    return { kind: 'hold', reason: hold, retryInMs: hold === 'agent_busy' ? 250 : 2_000 }
  }
  return start(tx, request, job, agent)
}

/**
 * Locks the job and reads what decides about it, in one statement. The count of open attempts may be stale by the time
 * it is used; the unique slot of {@link insertAttempt} is what no two workers can both have.
 */
async function lockForLease(tx: Tx, id: JobId): Promise<{ job: LockedJob; agent: AgentFacts } | undefined> {
  const { rows } = await tx.execute(sql`
    select j.*, a.gateway_id as f_gateway_id, a.gateway_agent_id as f_gateway_agent_id, a.enabled as f_enabled, a.concurrency as f_concurrency,
      g.base_url as f_base_url, g.hook_path as f_hook_path, g.token_ref as f_token_ref, g.booted_at as f_booted_at, g.breaker as f_breaker,
      (select c.scope::text from controls c
        where c.lifted_at is null
          and (c.scope = 'everything' or (c.scope = 'lane' and c.target = j.lane::text) or (c.scope = 'agent' and c.target = a.id)
            or (c.scope = 'gateway' and c.target = g.id))
        order by c.scope limit 1) as f_paused,
      (select count(*)::int from job_attempts o where o.agent_id = a.id and o.finished_at is null) as f_open_attempts,
      (select coalesce(max(o.attempt_no), 0) from job_attempts o where o.job_id = j.id) as f_attempts_so_far,
      extract(epoch from j.run_after - clock_timestamp())::float8 * 1000 as f_due_in_ms
    from jobs j join agents a on a.id = j.target_agent join gateways g on g.id = a.gateway_id
    where j.id = ${id}
    for update of j`)
  const row = rows[0]
  if (row === undefined) return undefined
  const job: Record<string, unknown> = {}
  const facts: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(row)) {
    if (name.startsWith('f_')) facts[name.slice(2)] = value
    else job[name] = value
  }
  return { job: adoptLocked(job as unknown as JobRow), agent: facts as unknown as AgentFacts }
}

function holdReason(agent: AgentFacts): HoldReason | undefined {
  if (agent.paused === 'everything') return 'everything_paused'
  if (agent.paused === 'lane') return 'lane_paused'
  if (agent.paused === 'gateway') return 'gateway_paused'
  if (agent.paused === 'agent') return 'agent_paused'
  if (!agent.enabled) return 'agent_disabled'
  if (agent.breaker === 'open') return 'breaker_open'
  if (agent.open_attempts >= agent.concurrency) return 'agent_busy'
  return undefined
}

/** One row when the reason to hold changes, not one per look. A busy agent is not a reason to tell. */
async function noteHold(tx: Tx, job: LockedJob, reason: HoldReason, actor: Actor): Promise<void> {
  if (reason === 'agent_busy' || job.held_reason === reason) return
  await tx.execute(sql`update jobs set held_reason = ${reason} where id = ${job.id}`)
  await note(tx, job, { reason: 'held', actor, details: { reason } })
}

async function start(tx: Tx, request: LeaseRequest, job: LockedJob, agent: AgentFacts): Promise<LeaseDecision> {
  const attemptId = uuidv7(request.nowMs) as AttemptId
  const attemptNo = agent.attempts_so_far + 1
  const target = targetOf(job, agent)
  const prompt = request.render(job, { id: attemptId, attemptNo }, target)
  const attempt = await insertAttempt(tx, {
    id: attemptId,
    attemptNo,
    job,
    gatewayId: agent.gateway_id,
    leaseOwner: request.workerId,
    leaseSeconds: job.lease_seconds,
    deadlineSeconds: job.timeout_seconds + request.deadlineMarginSeconds,
    concurrency: agent.concurrency,
    prompt,
  })
  if (attempt === undefined) return { kind: 'hold', reason: 'agent_busy', retryInMs: 50 }
  const leased = await move(tx, job, {
    to: 'leased',
    reason: 'leased',
    actor: request.actor,
    attemptId,
    set: { current_attempt_id: attemptId },
    details: { attempt_no: attemptNo, worker: request.workerId, prompt_hash: prompt.hash, contract_version: prompt.contractVersion },
  })
  return { kind: 'start', job: leased, attempt, target }
}

export interface NewAttempt {
  readonly id: AttemptId
  readonly attemptNo: number
  readonly job: LockedJob
  readonly gatewayId: string
  readonly leaseOwner: string
  readonly leaseSeconds: number
  readonly deadlineSeconds: number
  /** How many slots the agent has. */
  readonly concurrency: number
  readonly prompt: RenderedPrompt
}

/** Another worker may take the chosen slot first; then one more is chosen. */
const SLOT_TRIES = 4

/**
 * Writes the attempt, in a free slot of its agent, and the prompt it will send.
 * @returns undefined when the agent has no free slot
 */
export async function insertAttempt(tx: Tx, a: NewAttempt): Promise<AttemptRow | undefined> {
  for (let tries = 0; tries < SLOT_TRIES; tries += 1) {
    const { rows } = await tx.execute(sql`
      with free as (
        select s as slot from generate_series(1, ${a.concurrency}::int) s
        where not exists (select from job_attempts o where o.agent_id = ${a.job.target_agent} and o.slot = s and o.finished_at is null)
        order by random() limit 1
      ), prompt as (
        insert into prompts (hash, body, bytes) values (${a.prompt.hash}, ${a.prompt.storedBody}, ${a.prompt.bytes}) on conflict do nothing
      ), attempt as (
        insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, lease_owner, leased_until, deadline_at, prompt_hash,
          contract_version, payload_hash, gateway_booted_at)
        select ${a.id}::uuid, ${a.job.id}::uuid, ${a.attemptNo}::int, ${a.job.target_agent}, g.id, free.slot, ${a.leaseOwner},
          clock_timestamp() + make_interval(secs => ${Math.min(a.leaseSeconds, a.deadlineSeconds)}),
          clock_timestamp() + make_interval(secs => ${a.deadlineSeconds + 1}),
          ${a.prompt.hash}, ${a.prompt.contractVersion}, ${a.job.payload_hash}, g.booted_at
        from free, gateways g where g.id = ${a.gatewayId}
        on conflict (agent_id, slot) where finished_at is null do nothing
        returning *
      )
      select attempt.*, exists (select from free) as had_free from (select 1) one left join attempt on true`)
    const row = rows[0]
    if (row?.['id'] !== null && row?.['id'] !== undefined) return row as unknown as AttemptRow
    if (row?.['had_free'] !== true) return undefined
  }
  return undefined
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
  if (attempt.lease_owner !== request.workerId) {
    await tx.execute(sql`update job_attempts set lease_owner = ${request.workerId} where id = ${attempt.id}::uuid`)
    await note(tx, job, { reason: 'reattached', actor: request.actor, details: { from_worker: attempt.lease_owner, to_worker: request.workerId } })
  }
  return { kind: 'reattach', job, attempt: { ...attempt, lease_owner: request.workerId }, target: targetOf(job, agent) }
}

function targetOf(job: JobRow, agent: AgentFacts): DeliveryTarget {
  return {
    agentId: job.target_agent,
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
    agentId: job?.target_agent,
    detail,
    details: { entry_generation: request.generation },
  })
}
