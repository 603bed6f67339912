import type { Logger } from 'pino'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { AgentbusError, assertNever, messageOf } from '../contracts/errors.js'
import type { Actor } from '../contracts/actor.js'
import {
  extendLease,
  reportAdmitted,
  reportDeadline,
  reportDeliveryUnclear,
  reportEndedWithoutClose,
  reportLost,
  reportRefused,
  reportReleased,
  reportUndelivered,
  type WorkerReport,
} from '../ledger/deliver-attempt.js'
import { countDelivered, countUndelivered, hasRestarted, recordProbe } from '../ledger/gateway-health.js'
import type { DeliveryTarget, LeaseDecision } from '../ledger/lease-job.js'
import { iso, type AttemptRow, type JobRow } from '../ledger/rows.js'
import type { AdmitOutcome, HookClient, JoinOutcome } from '../openclaw/hook-client.js'
import type { HookBodies } from '../openclaw/render-hook.js'
import type { DeliveryEntry } from '../queues/catalogue.js'
import type { AttemptWatches, Watch } from './attempt-watches.js'
import { childSignal } from './child-signal.js'
import type { DeliveryEnd } from './delivery-error.js'
import type { LeaseAhead } from './lease-ahead.js'
import { leaseRequest, type Leaser } from './lease-request.js'
import type { Place } from './places.js'
import type { ShortLeases } from './short-leases.js'

export interface DeliverDeps extends Leaser {
  readonly hooks: HookClient
  readonly watches: AttemptWatches
  readonly shortLeases: ShortLeases
  readonly ahead: Pick<LeaseAhead, 'take'>
  readonly log: Logger
  /** The hook token a reference names. @throws AgentbusError when it cannot be read */
  readonly hookToken: (tokenRef: string) => string
  /** The bytes to post for an attempt; the same whenever and wherever it is called. */
  readonly hookBodies: (attempt: AttemptRow) => Promise<HookBodies>
  /** Milliseconds between the end of a run and "it never closed". */
  readonly completionGraceMs: number
  readonly breakerFailures: number
  /** Gateways with failures to forget at the next admission; the gates refresh it from the ledger. */
  readonly failing: Set<string>
  /** Milliseconds the gateway has to admit a run. Its own limit is 15 s. */
  readonly admissionTimeoutMs: number
}

/** One delivery under way: what every step of it needs. */
interface Delivery {
  readonly deps: DeliverDeps
  readonly job: JobRow
  readonly attempt: AttemptRow
  readonly target: DeliveryTarget
  readonly report: WorkerReport
  readonly entryGeneration: number
  readonly reattached: boolean
  readonly signal: AbortSignal
  readonly watch: Watch
  /** When the attempt ends at the latest, by this process's clock. The agent can move it; {@link deadline} learns that. */
  deadlineMs: number
}

type Step<T> = { readonly kind: 'go'; readonly value: T } | { readonly kind: 'end'; readonly end: DeliveryEnd }

const go = <T>(value: T): Step<T> => ({ kind: 'go', value })
const end = (delivered: DeliveryEnd): Step<never> => ({ kind: 'end', end: delivered })

/**
 * One queue entry's whole life in a worker: lease, admit, join, wait for the terminal write, settle.
 * `place` is what it takes of its agent's concurrency here. `signal` aborts at shutdown; the entry is then handed back and the next worker re-attaches.
 */
export async function deliver(deps: DeliverDeps, entry: DeliveryEntry, place: Place, signal: AbortSignal): Promise<DeliveryEnd> {
  const early = await deps.ahead.take(entry)
  const decision = early?.started ?? (await deps.ledger.lease(leaseRequest(deps, entry)))
  switch (decision.kind) {
    case 'skip':
      return { kind: 'done', outcome: `dropped: ${decision.code}` }
    case 'hold':
      return { kind: 'delay', ms: decision.retryInMs, outcome: decision.reason }
    case 'parked':
      return { kind: 'done', outcome: `parked: ${decision.reason}` }
    case 'busy':
      return { kind: 'busy', ms: decision.retryInMs, heldBy: decision.heldBy }
    case 'not_yet':
      return { kind: 'delay', ms: decision.retryInMs, outcome: 'not due yet' }
    case 'start':
    case 'reattach': {
      if (decision.kind === 'start') deps.shortLeases.lookAtJob(decision.target.agentId, decision.job)
      const about = { job_id: entry.job_id, attempt_id: decision.attempt.id, agent: decision.target.agentId, gateway: decision.target.gatewayId }
      deps.log.debug({ event: 'delivery.began', ...about, reattached: decision.kind === 'reattach' }, 'a delivery began')
      place.slot = decision.attempt.slot
      const watch = early?.watch ?? deps.watches.watch(decision.attempt.id)
      const ended = await attend(deps, entry, { decision, watch, signal }).finally(() => watch.stop())
      deps.log.debug({ event: 'delivery.ended', ...about, end: ended.kind, ...('outcome' in ended ? { outcome: ended.outcome } : {}) }, 'a delivery ended')
      return ended
    }
    default:
      return assertNever(decision)
  }
}

/** An attempt to attend to, and what tells of its end and of this process's. */
interface Held {
  readonly decision: Extract<LeaseDecision, { kind: 'start' | 'reattach' }>
  readonly watch: Watch
  readonly signal: AbortSignal
}

async function attend(deps: DeliverDeps, entry: DeliveryEntry, { decision, watch, signal }: Held): Promise<DeliveryEnd> {
  const { job, attempt, target } = decision
  const actor: Actor = { kind: 'worker', id: deps.workerId }
  const delivery: Delivery = {
    deps,
    job,
    attempt,
    target,
    report: {
      jobId: job.id as JobId,
      attemptId: attempt.id as AttemptId,
      actor,
      random: deps.ledger.random(),
      retryBaseSeconds: deps.ledger.retryBaseSeconds,
    },
    entryGeneration: entry.generation,
    reattached: decision.kind === 'reattach',
    signal,
    watch,
    deadlineMs: Date.parse(iso(attempt.deadline_at)),
  }
  const alive = await checkStillAlive(delivery)
  if (alive.kind === 'end') return alive.end
  const post = await prepare(delivery)
  if (post.kind === 'end') return post.end
  const admitted = await admit(delivery, post.value)
  if (admitted.kind === 'end') return admitted.end
  // A turn in the main session cannot be joined: only the agent's word or the deadline ends it.
  return job.session_mode === 'main' ? waitWithoutJoin(delivery) : awaitClose(delivery, post.value)
}

/** What both posts need. */
interface Post {
  readonly token: string
  readonly bodies: HookBodies
}

/** A gateway that booted after the attempt began has lost the run; posting again would start a second one blindly. */
async function checkStillAlive(d: Delivery): Promise<Step<void>> {
  if (!d.reattached) return go(undefined)
  const probe = await d.deps.hooks.probe({ baseUrl: d.target.baseUrl, deadlineMs: 3_000 })
  if (!probe.ready) {
    await d.deps.ledger.run((tx) =>
      countUndelivered(tx, d.target.gatewayId, { actor: d.report.actor, reason: `probe: ${probe.reason}`, threshold: d.deps.breakerFailures, nowMs: d.deps.ledger.nowMs() }),
    )
    return end({ kind: 'delay', ms: 1_000, outcome: 'the gateway of an open attempt is away' })
  }
  if (!lostItsRuns(d.attempt, probe.bootedAtMs)) return go(undefined)
  return end(await lost(d, `The gateway restarted at ${new Date(probe.bootedAtMs ?? 0).toISOString()}, after the attempt began.`))
}

/**
 * True when the gateway has booted since the attempt began. Boot is compared with boot where both are known, so that
 * clocks of different machines do not matter; the lease's time only tells a boot that was simply not noticed before.
 */
function lostItsRuns(attempt: AttemptRow, bootedAtMs: number | undefined): boolean {
  if (bootedAtMs === undefined) return false
  const leasedMs = Date.parse(iso(attempt.leased_at))
  if (attempt.gateway_booted_at === null) return bootedAtMs > leasedMs
  return hasRestarted(attempt.gateway_booted_at, bootedAtMs) && bootedAtMs > leasedMs - 2_000
}

async function prepare(d: Delivery): Promise<Step<Post>> {
  try {
    const token = d.deps.hookToken(d.target.tokenRef)
    const bodies = await d.deps.hookBodies(d.attempt)
    return go({ token, bodies })
  } catch (error) {
    // A ledger that is away is no fault of the job: as at any other step, the entry comes again and the attempt is taken on.
    if (error instanceof AgentbusError && error.code === 'AGENTBUS_UNAVAILABLE') throw error
    if (!(error instanceof AgentbusError)) {
      await d.deps.ledger.run((tx) => reportReleased(tx, d.report, 'The worker could not prepare the hook.'))
      throw error
    }
    const reason = error.message
    await d.deps.ledger.run((tx) => reportRefused(tx, d.report, { reason }))
    return end({ kind: 'done', outcome: 'blocked: refused' })
  }
}

function request(d: Delivery, post: Post, body: string, deadlineMs: number) {
  return {
    gateway: { baseUrl: d.target.baseUrl, hookPath: d.target.hookPath },
    token: post.token,
    body,
    idempotencyKey: d.attempt.id,
    deadlineMs,
    signal: d.signal,
  }
}

/** The first post: the gateway answers as soon as it has admitted the run. Skipped when an earlier worker saw that. */
async function admit(d: Delivery, post: Post): Promise<Step<void>> {
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

type Happened = { readonly what: 'closed' } | { readonly what: 'shutdown' } | { readonly what: 'join'; readonly answer: JoinOutcome }

/** The second post joins the run; whichever comes first ends the wait: the terminal write, the run, the deadline, shutdown. */
async function awaitClose(d: Delivery, post: Post): Promise<DeliveryEnd> {
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
async function waitWithoutJoin(d: Delivery): Promise<DeliveryEnd> {
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

async function lost(d: Delivery, reason: string): Promise<DeliveryEnd> {
  await d.deps.ledger.run((tx) => reportLost(tx, d.report, reason))
  return endFromLedger(d)
}

/** @returns undefined when the agent has asked for more time: the wait goes on */
async function deadline(d: Delivery): Promise<DeliveryEnd | undefined> {
  const { leftMs } = await d.deps.ledger.run((tx) => reportDeadline(tx, d.report))
  if (leftMs === undefined) return endFromLedger(d)
  d.deadlineMs = d.deps.clock.nowMs() + Math.ceil(leftMs)
  return undefined
}

/** The attempt is over: the job's row says what the entry becomes. */
async function endFromLedger(d: Delivery): Promise<DeliveryEnd> {
  const job = await d.deps.ledger.jobStanding(d.job.id as JobId)
  if (job.generation !== d.entryGeneration) return { kind: 'done', outcome: `superseded by generation ${job.generation}` }
  switch (job.status) {
    case 'failed':
    case 'dead':
      return { kind: 'dead', error: job.last_error ?? job.status }
    case 'queued':
      return { kind: 'retry', ms: Math.max(0, Date.parse(iso(job.run_after)) - d.deps.clock.nowMs()), error: job.last_error ?? 'the attempt failed' }
    case 'leased':
    case 'running':
      return { kind: 'delay', ms: 1_000, outcome: 'another attempt holds the job' }
    default:
      return { kind: 'done', outcome: job.status }
  }
}
