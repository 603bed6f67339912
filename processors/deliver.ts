import type { Actor } from '../contracts/actor.js'
import { assertNever } from '../contracts/errors.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import type { LeaseDecision } from '../ledger/lease-job.js'
import { iso } from '../ledger/rows.js'
import type { DeliveryEntry } from '../queues/catalogue.js'
import { admitRun } from './admit-run.js'
import type { Watch } from './attempt-watches.js'
import type { DeliveryEnd } from './delivery-error.js'
import type { DeliverDeps, Delivery } from './delivery.js'
import { joinRun, waitWithoutJoin } from './join-run.js'
import { leaseRequest } from './lease-request.js'
import { checkStillAlive } from './lost-run.js'
import type { Place } from './places.js'
import { preparePost } from './prepare-post.js'

export type { DeliverDeps }

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
  const post = await preparePost(delivery)
  if (post.kind === 'end') return post.end
  const admitted = await admitRun(delivery, post.value)
  if (admitted.kind === 'end') return admitted.end
  // A turn in the main session cannot be joined: only the agent's word or the deadline ends it.
  return job.session_mode === 'main' ? waitWithoutJoin(delivery) : joinRun(delivery, post.value)
}
