import { sql } from 'drizzle-orm'
import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { Ledger } from '../ledger/ledger.js'

/** Resolves when the attempt has ended in the ledger, whoever ended it. */
export interface Watch {
  readonly closed: Promise<void>
  readonly stop: () => void
}

/**
 * Tells deliveries that their attempt has ended: by a hint at once, and by one query for all of them every
 * `pollMs` for hints that were lost.
 */
export class AttemptWatches {
  readonly #ledger: Ledger
  readonly #log: Logger
  readonly #pollMs: number
  readonly #waiting = new Map<string, () => void>()
  readonly #unlisten: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(options: { readonly ledger: Ledger; readonly log: Logger; readonly pollMs: number }) {
    this.#ledger = options.ledger
    this.#log = options.log
    this.#pollMs = options.pollMs
    this.#unlisten = options.ledger.hints.listen((hint) => {
      for (const id of hint.closed ?? []) this.#waiting.get(id)?.()
    })
    this.#schedule()
  }

  /** How many attempts this process attends. */
  get size(): number {
    return this.#waiting.size
  }

  watch(attemptId: string): Watch {
    let resolve: () => void = () => undefined
    const closed = new Promise<void>((done) => {
      resolve = done
    })
    this.#waiting.set(attemptId, resolve)
    return { closed, stop: () => this.#waiting.delete(attemptId) }
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      void this.#poll().finally(() => this.#schedule())
    }, this.#pollMs)
    this.#timer.unref()
  }

  async #poll(): Promise<void> {
    if (this.#waiting.size === 0) return
    try {
      const { rows } = await this.#ledger.db.execute<{ id: string }>(sql`
        select id from job_attempts where id = any(${sql.param([...this.#waiting.keys()])}::uuid[]) and finished_at is not null`)
      for (const row of rows) this.#waiting.get(row.id)?.()
    } catch (error) {
      this.#log.debug({ event: 'watch.poll_failed', err: messageOf(error) }, 'could not look for ended attempts')
    }
  }

  stop(): void {
    this.#unlisten()
    clearTimeout(this.#timer)
  }
}
