import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { Ledger } from '../ledger/ledger.js'

const BATCH = 100
/** Hints come by the hundred; between two rounds there is at least this. */
const PAUSE_MS = 20

/**
 * What a commit leaves to be done at once: reactions of a storm beyond its first page, and work that waits for an able
 * agent. It runs in every worker process, after each hint, and when {@link Maintenance} has found what a lost hint missed or time has
 * brought; each piece of work is claimed in the ledger.
 */
export class HandOffs {
  readonly #ledger: Ledger
  readonly #log: Logger
  #unlisten: () => void = () => undefined
  #running: Promise<void> | undefined
  #again = false
  #stopped = false

  constructor(options: { readonly ledger: Ledger; readonly log: Logger }) {
    this.#ledger = options.ledger
    this.#log = options.log
  }

  start(): void {
    this.#unlisten = this.#ledger.hints.listen((hint) => {
      if (hint.outbox === true || hint.fleet === true || (hint.closed?.length ?? 0) > 0) this.soon()
    })
  }

  /** One round at a time; what is hinted during a round gets a round of its own. */
  soon(): void {
    if (this.#stopped) return
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    this.#running = this.#rounds().finally(() => {
      this.#running = undefined
    })
  }

  async #rounds(): Promise<void> {
    do {
      this.#again = false
      try {
        const due = await this.#ledger.upkeep.handOffsDue()
        if (due.reactions) await this.#ledger.upkeep.reactToStorm(BATCH)
        if (due.routed) await this.#ledger.upkeep.assign(BATCH)
        await delay(PAUSE_MS)
      } catch (error) {
        if (!this.#stopped) this.#log.warn({ event: 'maintenance.failed', what: 'hand_offs', err: messageOf(error) }, 'maintenance failed; it will try again')
        return
      }
    } while (this.#again && !this.#stopped)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unlisten()
    await this.#running
  }
}
