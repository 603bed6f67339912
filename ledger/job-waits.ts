import { sql } from 'drizzle-orm'
import type { JobId } from '../contracts/ids.js'
import type { Db } from './database.js'
import type { HintBus } from './hints.js'

/** Milliseconds between looks for ends whose hint was lost. One statement for all that wait in this process. */
const LOOK_EVERY_MS = 5_000

/**
 * Clients that wait for the end of a job. A commit's hint wakes them; however many wait, PostgreSQL is asked once every
 * five seconds, for hints that were lost.
 */
export class JobWaits {
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #db: () => Db
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(hints: HintBus, db: () => Db) {
    this.#db = db
    hints.listen((hint) => {
      for (const id of hint.over ?? []) this.#wake(id)
    })
  }

  /** How many clients wait. */
  get size(): number {
    let size = 0
    for (const waiters of this.#waiting.values()) size += waiters.size
    return size
  }

  /**
   * Resolves when the job may be over, `ms` milliseconds have passed, `signal` aborts, or this process stops. Whoever waits
   * looks at the job before, after this has been called, and afterwards.
   */
  async until(id: JobId, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#stopped || signal.aborted) return
    await new Promise<void>((resolve) => {
      const waiters = this.#waiting.get(id) ?? new Set()
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        waiters.delete(done)
        if (waiters.size === 0 && this.#waiting.get(id) === waiters) this.#waiting.delete(id)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal.addEventListener('abort', done, { once: true })
      waiters.add(done)
      this.#waiting.set(id, waiters)
      this.#timer ??= setInterval(() => void this.#lookForLost(), LOOK_EVERY_MS).unref()
    })
  }

  #wake(id: string): void {
    for (const done of [...(this.#waiting.get(id) ?? [])]) done()
  }

  async #lookForLost(): Promise<void> {
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    const ids = [...this.#waiting.keys()]
    try {
      const { rows } = await this.#db().execute(sql`select id from jobs where id = any(${sql.param(ids)}::uuid[]) and finished_at is not null`)
      for (const row of rows) this.#wake(String(row['id']))
    } catch {
      // The ledger is away: the next look, or the end of the wait, tells the client.
    }
  }

  /** Ends all waits, so that a server can close. */
  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const id of [...this.#waiting.keys()]) this.#wake(id)
  }
}
