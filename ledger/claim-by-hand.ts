import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { uuidv7, type AttemptId } from '../contracts/ids.js'
import type { ClaimJobsBody } from '../contracts/attempts.js'
import type { Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import type { DeliveryTarget, LeaseRequest } from './lease-job.js'
import { orderOfJob, pausedBy } from './paused-by.js'
import { agentOf, type AttemptRow, type JobRow } from './rows.js'
import { openAttempt } from './open-attempts.js'
import { adoptLocked, type LockedJob } from './transition.js'

export interface Claimed {
  readonly job: JobRow
  readonly attempt: AttemptRow
}

/**
 * Leases due jobs to a caller that pulls, most urgent first: no gateway is called. Their queue entries become stale.
 * The agent's concurrency, its pauses and its `enabled` hold here as well.
 */
export async function claimByHand(
  tx: Tx,
  request: { readonly body: ClaimJobsBody; readonly actor: Actor; readonly nowMs: number; readonly render: LeaseRequest['render'] },
): Promise<Claimed[]> {
  const { body } = request
  const claimed: Claimed[] = []
  const tried: string[] = []
  while (claimed.length < body.limit) {
    const { rows } = await tx.execute(sql`
      select j.* from jobs j join agents a on a.id = j.target_agent
      where j.status = 'queued' and j.namespace = ${body.namespace} and j.run_after <= clock_timestamp() and a.enabled
        and (${body.target_agent ?? null}::text is null or j.target_agent = ${body.target_agent ?? null})
        and not (j.id = any(${sql.param(tried)}::uuid[]))
        and ${pausedBy({ lane: sql`j.lane::text`, agent: sql`a.id`, gateway: sql`a.gateway_id`, order: orderOfJob(sql`j.standing_order_run_id`) })} is null
      order by j.priority desc, j.run_after, j.id
      limit 1 for update of j skip locked`)
    const row = rows[0]
    if (row === undefined) break
    const job = adoptLocked(row as JobRow)
    tried.push(job.id)
    const one = await claimOne(tx, job, request)
    if (one !== undefined) claimed.push(one)
  }
  return claimed
}

async function claimOne(tx: Tx, job: LockedJob, request: Parameters<typeof claimByHand>[1]): Promise<Claimed | undefined> {
  const { rows } = await tx.execute(sql`
    select a.gateway_agent_id, a.gateway_id, a.concurrency,
      array(select o.slot from job_attempts o where o.agent_id = a.id and o.finished_at is null) as taken_slots,
      (select coalesce(max(o.attempt_no), 0) from job_attempts o where o.job_id = ${job.id}::uuid) as attempts_so_far
    from agents a where a.id = ${job.target_agent}`)
  const agent = rows[0]
  if (agent === undefined) return undefined
  const id = uuidv7(request.nowMs) as AttemptId
  const attemptNo = Number(agent['attempts_so_far']) + 1
  const owner = `pull:${request.body.lease_owner}`
  const target: DeliveryTarget = {
    agentId: agentOf(job),
    gatewayAgentId: String(agent['gateway_agent_id']),
    gatewayId: String(agent['gateway_id']),
    baseUrl: '',
    hookPath: '',
    tokenRef: '',
    bootedAt: null,
  }
  const prompt = request.render(job, { id, attemptNo }, target)
  const opened = await openAttempt(tx, job, {
    id,
    attemptNo,
    gatewayId: target.gatewayId,
    leaseOwner: owner,
    leaseSeconds: request.body.lease_seconds,
    deadlineSeconds: Math.max(request.body.lease_seconds, job.timeout_seconds),
    concurrency: Number(agent['concurrency']),
    takenSlots: agent['taken_slots'] as number[],
    prompt,
    actor: request.actor,
    details: { attempt_no: attemptNo, claimed_by: request.body.lease_owner },
    removeEntry: true,
  })
  if (opened.kind !== 'opened') return undefined
  hintAfterCommit(tx, { outbox: true })
  return { job: opened.job, attempt: opened.attempt }
}
