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
