import { sql } from 'drizzle-orm'
import type { Db } from './database.js'

/**
 * Takes or prolongs a turn that one process has at a time; with 0 seconds it is given back. It runs out by itself when its
 * holder dies.
 */
export async function claimTurn(db: Db, turn: { readonly name: string; readonly by: string; readonly seconds: number }): Promise<boolean> {
  const { rows } = await db.execute(sql`
    insert into ledger_meta (key, value)
    values (${`turn:${turn.name}`}, to_char(clock_timestamp() + make_interval(secs => ${turn.seconds}), 'YYYY-MM-DD"T"HH24:MI:SS.USOF') || ' ' || ${turn.by})
    on conflict (key) do update set value = excluded.value
      where split_part(ledger_meta.value, ' ', 1)::timestamptz <= clock_timestamp() or split_part(ledger_meta.value, ' ', 2) = ${turn.by}
    returning 1`)
  return rows.length > 0
}

/**
 * The turns that one process comes back to all the time. It knows what it holds, and writes only when half of that is over; another
 * takes it no later than if each look had prolonged it. Two processes may both think that it is theirs when a clock jumps: a turn spares
 * work, and what must happen once is guarded where it happens.
 */
export class Turns {
  readonly #db: Db
  readonly #by: string
  /** When each turn that is held is prolonged, by `performance.now()`. */
  readonly #prolongAt = new Map<string, number>()

  constructor(options: { readonly db: Db; readonly by: string }) {
    this.#db = options.db
    this.#by = options.by
  }

  /** Whether it is this process's turn, which it then has for half of `seconds` at least. */
  async isMine(name: string, seconds: number): Promise<boolean> {
    // Before the ledger is asked: its own count begins later, so that this one is over first.
    const nowMs = performance.now()
    if (nowMs < (this.#prolongAt.get(name) ?? 0)) return true
    const isMine = await claimTurn(this.#db, { name, by: this.#by, seconds })
    if (isMine) this.#prolongAt.set(name, nowMs + seconds * 500)
    else this.#prolongAt.delete(name)
    return isMine
  }

  /** Lets another process have it at once. */
  async giveBack(name: string): Promise<void> {
    if (this.#prolongAt.delete(name)) await claimTurn(this.#db, { name, by: this.#by, seconds: 0 })
  }
}
