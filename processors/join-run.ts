import { assertNever, messageOf } from '../contracts/errors.js'
import { extendLease, reportAdmitted, reportEndedWithoutClose } from '../ledger/deliver-attempt.js'
import { recordProbe } from '../ledger/gateway-health.js'
import type { JoinOutcome } from '../openclaw/hook-client.js'
import { childSignal } from './child-signal.js'
import type { DeliveryEnd } from './delivery-error.js'
import { deadline, endFromLedger, type Delivery } from './delivery.js'
import { lost, lostItsRuns } from './lost-run.js'
import { request, type Post } from './prepare-post.js'

type Happened = { readonly what: 'closed' } | { readonly what: 'shutdown' } | { readonly what: 'join'; readonly answer: JoinOutcome }

/** The second post joins the run; whichever comes first ends the wait: the terminal write, the run, the deadline, shutdown. */
export async function joinRun(d: Delivery, post: Post): Promise<DeliveryEnd> {
  for (;;) {
    const leftMs = d.deadlineMs - d.deps.clock.nowMs()
    if (leftMs <= 0) {
      const over = await deadline(d)
      if (over !== undefined) return over
      continue
    }
    const joinedAtMs = d.deps.clock.nowMs()
    const happened = await joinOnce(d, post, leftMs)
    if (happened.what === 'closed') return endFromLedger(d)
    if (happened.what === 'shutdown') return { kind: 'hand_back' }
    const { answer } = happened
    switch (answer.kind) {
      case 'completed':
        await noteReplacedRun(d, answer.runId)
        return ended(d, answer.completion)
      case 'deadline': {
        const over = await deadline(d)
        if (over !== undefined) return over
        break
      }
      case 'aborted':
        return d.signal.aborted ? { kind: 'hand_back' } : endFromLedger(d)
      case 'no_completion':
        return waitWithoutJoin(d)
      case 'broken':
      case 'refused': {
        const next = await afterBreak(d, answer.reason, joinedAtMs)
        if (next !== undefined) return next
        // The run is there still. Joins that break again and again would each wait a third of the lease before they renew it.
        renewLease(d)
        break
      }
      default:
        return assertNever(answer)
    }
  }
}

async function joinOnce(d: Delivery, post: Post, leftMs: number): Promise<Happened> {
  const own = childSignal(d.signal)
  const renewal = setInterval(() => renewLease(d), Math.max(1_000, (d.job.lease_seconds * 1_000) / 3))
  try {
    const joined = d.deps.hooks.join({ ...request(d, post, post.bodies.join, leftMs), signal: own.signal })
    return await Promise.race([
      joined.then((answer): Happened => ({ what: 'join', answer })),
      d.watch.closed.then((): Happened => ({ what: 'closed' })),
      // Of this join alone: a listener on the delivery's signal would stay, and keep the delivery in memory for good.
      aborted(own.signal).then((): Happened => ({ what: 'shutdown' })),
    ])
  } finally {
    clearInterval(renewal)
    own.end()
  }
}

/** One that fails is no harm: the next one comes in a third of the lease, and the worker goes on in any case. */
function renewLease(d: Delivery): void {
  void d.deps.ledger
    .run((tx) => extendLease(tx, d.report, d.job.lease_seconds))
    .catch((error: unknown) => d.deps.log.warn({ event: 'lease.extend_failed', attempt_id: d.attempt.id, err: messageOf(error) }, 'a lease could not be extended'))
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

/** A join that is answered for another run tells that the gateway had forgotten ours and ran the order anew: that is a row. */
async function noteReplacedRun(d: Delivery, runId: string): Promise<void> {
  await d.deps.ledger.run((tx) => reportAdmitted(tx, d.report, { runId, httpStatus: 200, response: {} }))
}

/** The run is over; the agent's last write may be a moment behind. */
async function ended(d: Delivery, completion: { readonly status: string } & Record<string, unknown>): Promise<DeliveryEnd> {
  const waited = await waitFor(d, d.deps.completionGraceMs)
  if (waited === 'shutdown') return { kind: 'hand_back' }
  if (waited === 'timeout') await d.deps.ledger.run((tx) => reportEndedWithoutClose(tx, d.report, { status: completion.status, response: { completion } }))
  return endFromLedger(d)
}

/** A gateway without completions: only the agent's write or the lease can end this. */
export async function waitWithoutJoin(d: Delivery): Promise<DeliveryEnd> {
  for (;;) {
    const waited = await waitFor(d, Math.max(0, d.deadlineMs - d.deps.clock.nowMs()))
    if (waited === 'shutdown') return { kind: 'hand_back' }
    if (waited === 'closed') return endFromLedger(d)
    const over = await deadline(d)
    if (over !== undefined) return over
  }
}

async function waitFor(d: Delivery, ms: number): Promise<'closed' | 'timeout' | 'shutdown'> {
  const own = childSignal(d.signal)
  try {
    return await Promise.race([
      d.watch.closed.then(() => 'closed' as const),
      d.deps.clock.sleep(ms, own.signal).then(
        () => (d.signal.aborted ? ('shutdown' as const) : ('timeout' as const)),
        () => 'shutdown' as const,
      ),
    ])
  } finally {
    own.end()
  }
}

/**
 * The connection to a run broke. A gateway that has restarted since has lost the run; one that has not still has it,
 * and the next join finds it. @returns undefined to join again
 */
async function afterBreak(d: Delivery, reason: string, joinedAtMs: number): Promise<DeliveryEnd | undefined> {
  let wasAway = false
  for (;;) {
    const probe = await d.deps.hooks.probe({ baseUrl: d.target.baseUrl, deadlineMs: 3_000 })
    await d.deps.ledger.run((tx) => recordProbe(tx, d.target.gatewayId, probe, { actor: d.report.actor, threshold: d.deps.breakerFailures, nowMs: d.deps.ledger.nowMs() }))
    if (probe.ready) {
      // Both times by this machine's clock: it was up when we joined, so a later boot is another life of it.
      const bootedSince = probe.bootedAtMs !== undefined && probe.bootedAtMs > joinedAtMs
      const restarted = probe.bootedAtMs === undefined ? wasAway : bootedSince || lostItsRuns(d.attempt, probe.bootedAtMs)
      if (restarted) return lost(d, `The gateway restarted in mid-run (${reason}).`)
    } else {
      wasAway = true
    }
    const waited = await waitFor(d, 1_000)
    if (waited === 'closed') return endFromLedger(d)
    if (waited === 'shutdown') return { kind: 'hand_back' }
    if (d.deps.clock.nowMs() >= d.deadlineMs) {
      const over = await deadline(d)
      if (over !== undefined) return over
    }
    if (probe.ready) return undefined
  }
}
