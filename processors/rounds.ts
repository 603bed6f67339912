import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'

/** Rounds come at different moments within this. All periods are multiples of it, so those that differ once never meet. */
const SPREAD_MS = 500
/** Its multiples, whatever their number, are spread evenly over the time between two whole ones. */
const GOLDEN = 0.618_033_988_75

/** Work that comes again and again. One that fails is logged, and its next round comes all the same. */
export class Rounds {
  readonly #log: Logger
  readonly #timers: NodeJS.Timeout[] = []
  readonly #under = new Set<Promise<void>>()
  #stopped = false

  constructor(log: Logger) {
    this.#log = log
  }

  get isStopped(): boolean {
    return this.#stopped
  }

  /**
   * Does the work every `ms` milliseconds, for the first time at most half a second before they are over; a round that is still under
   * way lets the next one fall out. No two rounds begin together: a delivery that comes just then would wait behind the statements of all.
   */
  every(ms: number, what: string, work: () => Promise<void>): void {
    const begin = this.alone(what, work)
    const at = this.#timers.length
    let dueMs = performance.now() + ms - ((at * GOLDEN) % 1) * Math.min(ms, SPREAD_MS)
    const wait = (): void => {
      this.#timers[at] = setTimeout(() => {
        if (this.#stopped) return
        begin()
        // By whole periods from the first on: an interval that once was late would go on with all that were late with it.
        dueMs += ms * Math.max(1, Math.ceil((performance.now() - dueMs) / ms))
        wait()
      }, dueMs - performance.now())
    }
    wait()
  }

  /** @returns what begins the work, unless it is under way still; then, and when the rounds are over, it does nothing */
  alone(what: string, work: () => Promise<void>): () => void {
    let busy = false
    return () => {
      if (busy || this.#stopped) return
      busy = true
      const run = this.once(what, work).finally(() => {
        busy = false
        this.#under.delete(run)
      })
      this.#under.add(run)
    }
  }

  /** Does the work now. Never rejects. */
  async once(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!this.#stopped) this.#log.warn({ event: 'maintenance.failed', what, err: messageOf(error) }, 'maintenance failed; it will try again')
    }
  }

  /** No round begins any more. */
  halt(): void {
    this.#stopped = true
    for (const timer of this.#timers) clearTimeout(timer)
  }

  /** Resolves when the rounds that were under way are through. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#under)
  }
}
