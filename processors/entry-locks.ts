import type { Clock } from '../config/clock.js'
import type { BusJob, BusWorker } from '../queues/backend.js'

/** An entry in hand, and whose it is. BullMQ names both in what it calls its processor with. */
export interface EntryInHand {
  readonly worker: BusWorker
  readonly job: BusJob
  readonly token: string | undefined
}

interface Held {
  readonly worker: BusWorker
  readonly id: string
  readonly token: string
  /** By `performance.now()`: when it was taken, or when its lock was asked for last. */
  askedMs: number
}

/** A lock is asked for again when a sixth of its time is over, as BullMQ would; looked for is twice as often, so that not all are asked for at once. */
const ASK_AFTER = 1 / 6
const LOOK_EVERY = 1 / 12

/**
 * Extends the locks of the entries that this process has in hand, for all of its workers with one timer. BullMQ has a timer for
 * each worker, which also runs while there is nothing to extend: a thousand idle agents were woken 750 times a second by it. A lock
 * is asked for when it is at most a quarter through; BullMQ asks at a third. Without an entry in hand there is no timer.
 */
export class EntryLocks {
  readonly #lockMs: number
  readonly #clock: Clock
  /** A set of entries and not of ids: one that is put off for a moment may be in hand anew before it is let go of. */
  readonly #held = new Set<Held>()
  /** Workers that wait for the store's answer. They are not asked again meanwhile, and hold up no other. */
  readonly #asking = new Set<BusWorker>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: { readonly lockMs: number; readonly clock: Clock }) {
    this.#lockMs = options.lockMs
    this.#clock = options.clock
  }

  /** Does the work on an entry, and keeps its lock until that is settled: as BullMQ does, until the processor has returned. */
  async during<T>({ worker, job, token }: EntryInHand, work: () => Promise<T>): Promise<T> {
    if (job.id === undefined || token === undefined) return work()
    // Taken when BullMQ fetched it: of many that it fetches one after another, the first waits for the last.
    const sinceMs = job.processedOn === undefined ? 0 : Math.max(0, this.#clock.nowMs() - job.processedOn)
    const held: Held = { worker, id: job.id, token, askedMs: performance.now() - sinceMs }
    this.#held.add(held)
    this.#timer ??= setInterval(() => this.#look(), this.#lockMs * LOOK_EVERY)
    try {
      return await work()
    } finally {
      this.#held.delete(held)
      if (this.#held.size === 0) {
        clearInterval(this.#timer)
        this.#timer = undefined
      }
    }
  }

  #look(): void {
    const nowMs = performance.now()
    const due = new Map<BusWorker, Held[]>()
    for (const held of this.#held) {
      if (nowMs - held.askedMs < this.#lockMs * ASK_AFTER || this.#asking.has(held.worker)) continue
      held.askedMs = nowMs
      const own = due.get(held.worker)
      if (own === undefined) due.set(held.worker, [held])
      else own.push(held)
    }
    for (const [worker, entries] of due) void this.#extend(worker, entries)
  }

  /** One command for all entries of a worker. Never rejects: what fails is told by the worker's own events, and tried again. */
  async #extend(worker: BusWorker, entries: readonly Held[]): Promise<void> {
    this.#asking.add(worker)
    try {
      const failed = await worker.extendJobLocks(
        entries.map(({ id }) => id),
        entries.map(({ token }) => token),
        this.#lockMs,
      )
      // One that was settled while the store was asked has no lock any more, and needs none.
      const lost = entries.filter((held) => failed.includes(held.id) && this.#held.has(held)).map(({ id }) => id)
      if (lost.length > 0) worker.emit('lockRenewalFailed', lost)
      for (const id of lost) worker.emit('error', new Error(`could not renew lock for job ${id}`))
    } catch (error) {
      worker.emit('error', error instanceof Error ? error : new Error(String(error)))
    } finally {
      this.#asking.delete(worker)
    }
  }
}
