import { sql } from 'drizzle-orm'
import { check, integer, pgTable, text } from 'drizzle-orm/pg-core'
import { byTransaction, bytea, instant, writtenIn } from './columns.js'
import { actorKind } from './enums.js'

/**
 * What was pruned, a row per batch: how many rows, which, and the hash over what each of them held. Chained and append-only.
 * The guards of the pruned tables let go only of what a row of the same transaction names; see docs/decisions/0020-pruning.md.
 */
export const prunes = pgTable(
  'prunes',
  {
    seq: integer('seq').primaryKey(),
    /** What: `prompts`, `jobs`, `attempts`, `events`, `accesses` or `observations`. */
    kind: text('kind').notNull(),
    /** Only what is older than this. */
    before: instant('before').notNull(),
    rows: integer('rows').notNull(),
    first_key: text('first_key').notNull(),
    last_key: text('last_key').notNull(),
    /** SHA-256 over a line `key hash` for each row, in the order of their keys as bytes. */
    root: bytea('root').notNull(),
    /** Version of the policy `retention` in `fleet_versions` that asked for it. */
    policy_version: integer('policy_version').notNull(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    xact: writtenIn(),
    /** Both are filled in by the database. */
    prev_hash: bytea('prev_hash')
      .notNull()
      .default(sql`'\\x'::bytea`),
    hash: bytea('hash')
      .notNull()
      .default(sql`'\\x'::bytea`),
  },
  (t) => [
    check('prunes_kind_check', sql`${t.kind} in ('prompts', 'jobs', 'attempts', 'events', 'accesses', 'observations')`),
    check('prunes_rows_check', sql`${t.seq} >= 1 and ${t.rows} >= 1`),
    check('prunes_lengths_check', sql`octet_length(${t.root}) = 32 and octet_length(${t.prev_hash}) = 32 and octet_length(${t.hash}) = 32`),
    byTransaction('prunes'),
  ],
)
