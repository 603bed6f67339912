import { sql } from 'drizzle-orm'
import { bigint, check, doublePrecision, jsonb, pgTable, primaryKey, text } from 'drizzle-orm/pg-core'
import { xid8 } from './columns.js'

/** What has happened since the ledger began, counted once from the histories. `bucket` is the upper bound of a histogram's bucket, '' of anything else. */
export const metric_totals = pgTable(
  'metric_totals',
  {
    name: text('name').notNull(),
    labels: jsonb('labels').notNull().$type<Record<string, string>>(),
    bucket: text('bucket').notNull().default(''),
    count: bigint('count', { mode: 'number' }).notNull(),
    sum: doublePrecision('sum').notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.name, t.labels, t.bucket] }), check('metric_totals_count_check', sql`${t.count} >= 0`)],
)

/** Up to which transaction (exclusive) each source is counted. */
export const metric_marks = pgTable('metric_marks', { source: text('source').primaryKey(), xact: xid8('xact').notNull() })
