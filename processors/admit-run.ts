import { assertNever } from '../contracts/errors.js'
import { reportDeliveryUnclear, reportRefused, reportUndelivered } from '../ledger/deliver-attempt.js'
import { countDelivered, countUndelivered } from '../ledger/gateway-health.js'
import type { AdmitOutcome } from '../openclaw/hook-client.js'
import type { DeliveryEnd } from './delivery-error.js'
import { end, endFromLedger, go, type Delivery, type Step } from './delivery.js'
import { request, type Post } from './prepare-post.js'

/** The first post: the gateway answers as soon as it has admitted the run. Skipped when an earlier worker saw that. */
export async function admitRun(d: Delivery, post: Post): Promise<Step<void>> {
  if (d.attempt.status === 'running') return go(undefined)
  // Cancelled, say, between the lease and now: nothing of it is out yet.
  if (d.watch.isClosed()) return end(await endFromLedger(d))
  const answer = await firstPost(d, post)
  if (d.signal.aborted && answer.kind !== 'admitted') return end({ kind: 'hand_back' })
  noteAnswer(d, answer)
  switch (answer.kind) {
    case 'admitted': {
      const run = { runId: answer.runId, httpStatus: answer.httpStatus, response: { ...answer.body } }
      const holds = await d.deps.ledger.reportAdmitted(d.job, d.report, run)
      if (d.deps.failing.delete(d.target.gatewayId)) await d.deps.ledger.run((tx) => countDelivered(tx, d.target.gatewayId))
      return holds ? go(undefined) : end(await endFromLedger(d))
    }
    case 'undelivered':
      return end(await undelivered(d, answer))
    case 'refused':
      await d.deps.ledger.run((tx) => reportRefused(tx, d.report, { reason: answer.reason, httpStatus: answer.httpStatus }))
      return end(await endFromLedger(d))
    default:
      return assertNever(answer)
  }
}

/** What came of the call, with the ids of what it was for. A reason is cut and holds no token: the client has seen to that. */
function noteAnswer(d: Delivery, answer: AdmitOutcome): void {
  const about = { job_id: d.job.id, attempt_id: d.attempt.id, gateway: d.target.gatewayId, status: answer.httpStatus }
  if (answer.kind === 'admitted') d.deps.log.debug({ event: 'hook.admitted', ...about, run_id: answer.runId }, 'a gateway admitted a run')
  else d.deps.log.warn({ event: 'hook.failed', ...about, class: answer.kind, reason: answer.reason }, 'a hook was not delivered or refused')
}

/** A wake-up has no run of its own: it is admitted when the gateway has taken it, and named after the attempt. */
async function firstPost(d: Delivery, post: Post): Promise<AdmitOutcome> {
  const sent = request(d, post, post.bodies.admit, d.deps.admissionTimeoutMs)
  if (d.job.session_mode !== 'main') return d.deps.hooks.admit(sent)
  const woken = await d.deps.hooks.wake(sent)
  return woken.kind === 'woken' ? { kind: 'admitted', runId: `wake:${d.attempt.id}`, httpStatus: 200, body: woken.body } : woken
}

async function undelivered(d: Delivery, answer: { certain: boolean; reason: string; httpStatus?: number | undefined; retryAfterMs?: number | undefined }): Promise<DeliveryEnd> {
  const failures = await d.deps.ledger.run((tx) =>
    countUndelivered(tx, d.target.gatewayId, { actor: d.report.actor, reason: answer.reason, threshold: d.deps.breakerFailures, nowMs: d.deps.ledger.nowMs() }),
  )
  d.deps.failing.add(d.target.gatewayId)
  // Re-attached: an earlier post with this key may have been admitted, so the key must be kept.
  if (answer.certain && !d.reattached) {
    const reported = await d.deps.ledger.run((tx) => reportUndelivered(tx, d.report, { ...answer, failures }))
    return reported.applied ? { kind: 'delay', ms: reported.retryInMs, outcome: `undelivered: ${answer.reason}` } : endFromLedger(d)
  }
  const reported = await d.deps.ledger.run((tx) => reportDeliveryUnclear(tx, d.report, answer.reason))
  return reported.applied ? { kind: 'delay', ms: Math.max(1_000, answer.retryAfterMs ?? 0), outcome: `delivery unclear: ${answer.reason}` } : endFromLedger(d)
}
