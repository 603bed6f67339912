import { sql } from 'drizzle-orm'
import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { Ledger } from '../ledger/ledger.js'

/** Resolves when the attempt has ended in the ledger, whoever ended it. */
export interface Watch {
  readonly closed: Promise<void>
  /** Whether it has ended. */
  readonly isClosed: () => boolean
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
  /** Several of one attempt: an entry whose lock was lost is picked up again, by this process too, while its first delivery goes on. */
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #unlisten: () => void
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: { readonly ledger: Ledger; readonly log: Logger; readonly pollMs: number }) {
    this.#ledger = options.ledger
    this.#log = options.log
    this.#pollMs = options.pollMs
    this.#unlisten = options.ledger.hints.listen((hint) => {
      for (const id of hint.closed ?? []) this.#tell(id)
    })
    this.#schedule()
  }

  /** How many attempts this process attends. */
  get size(): number {
    return this.#waiting.size
  }

  watch(attemptId: string): Watch {
    let isClosed = false
    let resolve: () => void = () => undefined
    const closed = new Promise<void>((done) => {
      resolve = () => {
        isClosed = true
        done()
      }
    })
    const all = this.#waiting.get(attemptId) ?? new Set<() => void>()
    this.#waiting.set(attemptId, all.add(resolve))
    const stop = (): void => {
      all.delete(resolve)
      if (all.size === 0 && this.#waiting.get(attemptId) === all) this.#waiting.delete(attemptId)
    }
    return { closed, isClosed: () => isClosed, stop }
  }

  #tell(attemptId: string): void {
    for (const resolve of this.#waiting.get(attemptId) ?? []) resolve()
  }

  #schedule(): void {
    if (this.#stopped) return
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
      for (const row of rows) this.#tell(row.id)
    } catch (error) {
      this.#log.debug({ event: 'watch.poll_failed', err: messageOf(error) }, 'could not look for ended attempts')
    }
  }

  stop(): void {
    this.#stopped = true
    this.#unlisten()
    clearTimeout(this.#timer)
  }
}
