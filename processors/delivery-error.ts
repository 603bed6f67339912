import { DelayedError, UnrecoverableError, WaitingError } from 'bullmq'
import type { BusJob } from '../queues/backend.js'

/**
 * How a delivery ended, as the ledger decided it. The one place that maps this to BullMQ is {@link settle}.
 * done: the entry has served. delay: not now, costs no attempt. busy: the same, since the entries `heldBy` hold all of
 * the agent's slots. retry: a failed attempt, another follows.
 * dead: a failed attempt, none follows. hand_back: this worker stops, the next re-attaches.
 */
export type DeliveryEnd =
  | { readonly kind: 'done'; readonly outcome: string }
  | { readonly kind: 'delay'; readonly ms: number; readonly outcome: string }
  | { readonly kind: 'busy'; readonly ms: number; readonly heldBy: readonly { readonly jobId: string; readonly generation: number }[] }
  | { readonly kind: 'retry'; readonly ms: number; readonly error: string }
  | { readonly kind: 'dead'; readonly error: string }
  | { readonly kind: 'hand_back' }

const LONGEST_LOOK_MS = 2_000

/** A failed attempt for BullMQ's own retry; it carries the ledger's delay to {@link ledgerBackoff}. */
export class AttemptFailedError extends Error {
  readonly delayMs: number

  constructor(message: string, delayMs: number) {
    super(message)
    this.name = 'AttemptFailedError'
    this.delayMs = delayMs
  }
}

/** BullMQ's backoff strategy `ledger`: the delay in milliseconds that the ledger chose. */
export function ledgerBackoff(_attemptsMade: number, _type: string | undefined, error: Error | undefined): number {
  return error instanceof AttemptFailedError ? error.delayMs : 1_000
}

/**
 * Ends the BullMQ job as the ledger decided. @returns the entry's return value
 * @throws DelayedError, WaitingError, UnrecoverableError, AttemptFailedError, which BullMQ understands
 */
export async function settle(job: BusJob, token: string | undefined, end: DeliveryEnd, nowMs: number): Promise<{ outcome: string }> {
  switch (end.kind) {
    case 'done':
      return { outcome: end.outcome }
    case 'delay':
      await job.moveToDelayed(nowMs + Math.max(1, Math.ceil(end.ms)), token)
      throw new DelayedError(end.outcome)
    case 'busy':
      // Each look waits longer than the last, so that a long backlog does not keep a worker busy with looking.
      await job.moveToDelayed(nowMs + Math.min(end.ms * Math.max(1, job.attemptsStarted), LONGEST_LOOK_MS), token)
      throw new DelayedError('agent_busy')
    case 'hand_back':
      await job.moveToWait(token)
      throw new WaitingError('handed back at shutdown')
    case 'retry':
      throw new AttemptFailedError(end.error, Math.max(0, Math.ceil(end.ms)))
    case 'dead':
      throw new UnrecoverableError(end.error)
  }
}
