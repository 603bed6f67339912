import { customType, timestamp } from 'drizzle-orm/pg-core'

/** Raw bytes: hashes and nothing else. */
export const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' })

/** A transaction id that never wraps; tells which rows belong to transactions that have all ended. */
export const xid8 = customType<{ data: string }>({ dataType: () => 'xid8' })

/** Always with time zone, always microseconds, read as PostgreSQL's own text so that nothing is rounded. */
export const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'string', precision: 6 })
