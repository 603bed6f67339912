import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { Ledger } from '../ledger/ledger.js'
import { settleOutbox, type OutboxRow } from '../ledger/outbox.js'

/** Milliseconds for which rows are gathered, and how many are gathered at most. Far below the shortest claim, which lasts two seconds. */
const AFTER_MS = 150
const AT = 200
/** Milliseconds until what could not be deleted is tried again. */
const AGAIN_MS = 500
/** Remembered while the ledger is away. A row that is forgotten is published again once its claim has run out. */
const MOST = 10_000

/**
 * Outbox rows that the queue store was told of. They are deleted together and a moment later, so that nothing that is to be
 * published waits for it. A row whose deletion is lost is published once more, by whoever claims it next: while the store has
 * the entry it knows it by its id, and after that the ledger drops it at pick-up.
 */
export class ToldRows {
  readonly #options: { readonly ledger: Ledger; readonly log: Logger }
  /** By their number. Two rows have the same one only when PostgreSQL has lost the first: see {@link OutboxRow}. */
  readonly #rows = new Map<number, OutboxRow>()
  #timer: NodeJS.Timeout | undefined
  #deleting: Promise<void> | undefined
  #stopped = false

  constructor(options: { readonly ledger: Ledger; readonly log: Logger }) {
    this.#options = options
  }

  add(rows: readonly OutboxRow[]): void {
    for (const { id, kind, jobId, generation } of rows) this.#rows.set(id, { id, kind, jobId, generation })
    if (this.#rows.size >= AT) this.#deleteNow()
    else this.#deleteIn(AFTER_MS)
  }

  /** Whether the store was told of a row that is still there: its claim has run out before it was deleted. */
  has({ id, kind, jobId, generation }: OutboxRow): boolean {
    const told = this.#rows.get(id)
    return told !== undefined && told.kind === kind && told.jobId === jobId && told.generation === generation
  }

  #deleteIn(ms: number): void {
    if (this.#stopped || this.#timer !== undefined) return
    this.#timer = setTimeout(() => this.#deleteNow(), ms)
  }

  #deleteNow(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#deleting ??= this.#delete().then((done) => {
      this.#deleting = undefined
      if (this.#rows.size > 0) this.#deleteIn(done ? AFTER_MS : AGAIN_MS)
    })
  }

  /** Never rejects. @returns whether the rows are gone */
  async #delete(): Promise<boolean> {
    const rows = [...this.#rows.values()]
    try {
      await settleOutbox(this.#options.ledger.db, rows)
      for (const row of rows) if (this.#rows.get(row.id) === row) this.#rows.delete(row.id)
      return true
    } catch (error) {
      if (this.#rows.size > MOST) this.#rows.clear()
      if (!this.#stopped) this.#options.log.warn({ event: 'relay.failed', err: messageOf(error), rows: rows.length }, 'rows of what was published could not be deleted yet')
      return false
    }
  }

  /** Deletes what is left. What cannot be deleted now is published once more by another relay. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#deleting
    await this.#delete()
  }
}
