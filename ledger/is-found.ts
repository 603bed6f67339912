import { sql, type SQL } from 'drizzle-orm'
import type { Db } from './database.js'

/**
 * Whether there is a row: `from` is tables, conditions and an order, which has to be that of the index that is meant. With
 * `exists` PostgreSQL plans for the row that its statistics promise, and may go through a million finished rows to learn that none is
 * due; ordered and cut off, only the index is cheap. Times are compared with `statement_timestamp()`, by which an index can be
 * searched, unlike `clock_timestamp()`: what comes due after it is found by the next look.
 */
export function isFound(from: SQL): SQL {
  return sql`(select true from ${from} limit 1) is not null`
}

/**
 * Which of the conditions hold, in one statement. Each stands beside the transaction that it spares, and is as wide as that or wider: it
 * never says no when there is work.
 */
export async function whichHold<Name extends string>(db: Db, conditions: { readonly [N in Name]: SQL }): Promise<ReadonlySet<Name>> {
  const names = Object.keys(conditions) as Name[]
  const columns = names.map((name) => sql`${conditions[name]} as ${sql.identifier(name)}`)
  const { rows } = await db.execute(sql`select ${sql.join(columns, sql`, `)}`)
  return new Set(names.filter((name) => rows[0]?.[name] === true))
}
