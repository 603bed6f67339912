import { getTableName, is } from 'drizzle-orm'
import { PgTable } from 'drizzle-orm/pg-core'
import * as schema from '../schema/index.js'

/** The tables of a ledger. What somebody else has put beside them is in no backup, and no restore drops it. */
export const LEDGER_TABLES: readonly string[] = Object.values(schema).flatMap((one) => (is(one, PgTable) ? [getTableName(one)] : []))
