import { sql } from 'drizzle-orm'
import { bigint, customType, index, timestamp } from 'drizzle-orm/pg-core'

/** Raw bytes: hashes and nothing else. */
export const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' })

/** A transaction id that never wraps; tells which rows belong to transactions that have all ended. */
export const xid8 = customType<{ data: string }>({ dataType: () => 'xid8' })

/** Always with time zone, always microseconds, read as PostgreSQL's own text so that nothing is rounded. */
export const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'string', precision: 6 })

/** The transaction that wrote the row: it decides which checkpoint covers it. */
export const writtenIn = () =>
  xid8('xact')
    .notNull()
    .default(sql`pg_current_xact_id()`)

/**
 * Finds the rows of a range of transactions. Rows lie in about their order, so a summary per 32 pages does it, and an insert pays next
 * to nothing. PostgreSQL has no BRIN for xid8, hence the cast.
 */
export const byTransaction = (table: string) =>
  index(`${table}_xact_idx`)
    .using('brin', sql`((xact::text)::bigint)`)
    .with({ pages_per_range: 32, autosummarize: true })

/** Numbers the rows of a history that has another primary key, in the order of their inserts: checkpoints list rows by it. */
export const recordId = () => bigint('record_id', { mode: 'number' }).notNull().generatedAlwaysAsIdentity()
