import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { BlockJobBody, CompleteJobBody, FailJobBody } from '../contracts/closings.js'
import type { FinishStandingOrderBody } from '../contracts/standing-orders.js'
import { checkFence, closeAttempt, type CloseRequest, type Closing, type Fenced } from './close-attempt.js'
import type { Tx } from './database.js'
import type { JobRow } from './rows.js'
import { lockJob } from './transition.js'

/**
 * Closes the run of a standing order with what it found: the claim and its evidence go to the slot, the job closes, and
 * the slot with it, in one transaction. An attempt that no longer holds the job changes nothing and leaves a row.
 * @throws AGENTBUS_NOT_A_SLOT for a job that no standing order made
 */
export async function finishSlot(tx: Tx, request: CloseRequest, body: FinishStandingOrderBody): Promise<Fenced<JobRow>> {
  const job = await lockJob(tx, request.jobId)
  if (job.standing_order_run_id === null) {
    throw new AgentbusError('AGENTBUS_NOT_A_SLOT', `Job ${job.id} is not the run of a standing order; close it with complete, block or fail.`, { job_id: job.id })
  }
  const fence = await checkFence(tx, job, request, 'finish-standing-order')
  if (!fence.ok) return fence
  await tx.execute(sql`
    update standing_order_runs set claimed = ${body.outcome}::slot_status, summary = ${body.summary ?? null}, evidence = ${JSON.stringify(body.evidence)}::jsonb
    where id = ${job.standing_order_run_id}::uuid`)
  return closeAttempt(tx, request, closingOf(body))
}

function closingOf(body: FinishStandingOrderBody): Closing {
  const common = { result: body.evidence, summary: body.summary, findings: body.findings, events: body.events, follow_ups: body.follow_ups }
  switch (body.outcome) {
    case 'blocked':
      return { kind: 'block', body: { ...common, blocked_reason: body.blocked_reason ?? '', blocked_owner: body.blocked_owner ?? 'operator' } satisfies BlockJobBody }
    case 'failed':
      return { kind: 'fail', body: { ...common, last_error: body.last_error ?? '' } satisfies FailJobBody }
    default:
      return { kind: 'complete', body: common satisfies CompleteJobBody }
  }
}
