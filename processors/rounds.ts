import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'

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

  /** Does the work every `ms` milliseconds; a round that is still under way lets the next one fall out. */
  every(ms: number, what: string, work: () => Promise<void>): void {
    let busy = false
    this.#timers.push(
      setInterval(() => {
        if (busy || this.#stopped) return
        busy = true
        const run = this.once(what, work).finally(() => {
          busy = false
          this.#under.delete(run)
        })
        this.#under.add(run)
      }, ms),
    )
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
    for (const timer of this.#timers) clearInterval(timer)
  }

  /** Resolves when the rounds that were under way are through. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#under)
  }
}
