import { DelayedError, ErrorCode, UnrecoverableError, WaitingError } from 'bullmq'
import type { Clock } from '../config/clock.js'
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

export interface Settling {
  readonly clock: Clock
  /** Called when the store would not put the entry off: it comes again when its lock has run out. */
  readonly onLeft: (error: unknown) => void
}

/** Waits between tries to put an entry off. An entry that is left takes up a place of its agent for seconds; most faults are over sooner. */
const AGAIN_MS = [100, 400, 1_600] as const

/** What a store says when the entry is not in this worker's hands any more: removed, or taken over. */
const NOT_OURS: ReadonlySet<unknown> = new Set([ErrorCode.JobNotExist, ErrorCode.JobLockNotExist, ErrorCode.JobNotInState, ErrorCode.JobLockMismatch])

async function putOff(job: BusJob, token: string | undefined, afterMs: number, { clock, onLeft }: Settling): Promise<void> {
  const dueMs = clock.nowMs() + afterMs
  for (const againMs of [...AGAIN_MS, undefined]) {
    try {
      return await job.moveToDelayed(dueMs, token)
    } catch (error) {
      if (error instanceof Error && 'code' in error && NOT_OURS.has(error.code)) return
      if (againMs === undefined) return onLeft(error)
      await clock.sleep(againMs)
    }
  }
}

/**
 * Ends the BullMQ job as the ledger decided. One that is to wait, and that the store does not put off in a few tries, stays as it is: its lock
 * runs out, and it comes again like that of a dead worker. On PostgreSQL ledger and store are away together, and as a failure it
 * would use up a try, though nothing has run.
 * @returns the entry's return value
 * @throws DelayedError, WaitingError, UnrecoverableError, AttemptFailedError, which BullMQ understands
 */
export async function settle(job: BusJob, token: string | undefined, end: DeliveryEnd, settling: Settling): Promise<{ outcome: string }> {
  switch (end.kind) {
    case 'done':
      return { outcome: end.outcome }
    case 'delay':
      await putOff(job, token, Math.max(1, Math.ceil(end.ms)), settling)
      throw new DelayedError(end.outcome)
    case 'busy':
      // Each look waits longer than the last, so that a long backlog does not keep a worker busy with looking.
      await putOff(job, token, Math.min(end.ms * Math.max(1, job.attemptsStarted), LONGEST_LOOK_MS), settling)
      throw new DelayedError('agent_busy')
    case 'hand_back':
      // Once: this worker stops, and has no time to try again.
      await job.moveToWait(token).catch(settling.onLeft)
      throw new WaitingError('handed back at shutdown')
    case 'retry':
      throw new AttemptFailedError(end.error, Math.max(0, Math.ceil(end.ms)))
    case 'dead':
      throw new UnrecoverableError(end.error)
  }
}
