import { sql } from 'drizzle-orm'
import { bigint, boolean, check, index, integer, json, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { bytea, instant } from './columns.js'
import { outboxKind, tokenRole } from './enums.js'
import { agents } from './fleet.js'
import { jobs } from './jobs.js'

/** What the relay still has to tell the queue store. A row is deleted once the store has it. */
export const outbox = pgTable(
  'outbox',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    kind: outboxKind('kind').notNull(),
    job_id: uuid('job_id')
      .notNull()
      .references(() => jobs.id),
    agent_id: text('agent_id').notNull(),
    generation: integer('generation').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    /** A relay that dies leaves its claim; after this time another takes it. */
    claimed_until: instant('claimed_until')
      .notNull()
      .default(sql`'-infinity'::timestamptz`),
    tries: integer('tries').notNull().default(0),
  },
  (t) => [index('outbox_job_idx').on(t.job_id), index('outbox_claim_idx').on(t.claimed_until, t.id)],
)

/** Bearer tokens, by SHA-256. Attempt tokens are not here: they are derived and checked by their attempt. */
export const api_tokens = pgTable(
  'api_tokens',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    role: tokenRole('role').notNull(),
    agent_id: text('agent_id').references(() => agents.id),
    hash: bytea('hash').notNull(),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`now()`),
    expires_at: instant('expires_at'),
    revoked_at: instant('revoked_at'),
  },
  (t) => [
    check('api_tokens_agent_check', sql`(${t.role} = 'agent') = (${t.agent_id} is not null)`),
    check('api_tokens_hash_check', sql`octet_length(${t.hash}) = 32`),
    uniqueIndex('api_tokens_hash_idx').on(t.hash),
  ],
)

/** The answer to each request that came with an Idempotency-Key, written in the transaction of its command. */
export const idempotency_keys = pgTable(
  'idempotency_keys',
  {
    caller: text('caller').notNull(),
    key: text('key').notNull(),
    request_hash: text('request_hash').notNull(),
    /** json, not jsonb: a repeat is answered with the same bytes, in the same order. */
    response: json('response').$type<Record<string, unknown>>(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`now()`),
  },
  (t) => [primaryKey({ columns: [t.caller, t.key] }), index('idempotency_keys_created_idx').on(t.created_at)],
)

/** What the ledger expects to find in the queue store: one row per store. */
export const queue_epochs = pgTable(
  'queue_epochs',
  {
    id: boolean('id').primaryKey().default(true),
    epoch: uuid('epoch').notNull(),
    tick: bigint('tick', { mode: 'number' }).notNull().default(0),
    ticked_at: instant('ticked_at')
      .notNull()
      .default(sql`now()`),
    rebuilds: integer('rebuilds').notNull().default(0),
    /** While set and fresh, one process rebuilds; the others wait. */
    rebuilding_until: instant('rebuilding_until'),
    rebuilding_by: text('rebuilding_by'),
  },
  (t) => [check('queue_epochs_single_row', sql`${t.id}`)],
)

/** Facts about this ledger, such as the fingerprint of the key that attempt tokens are derived with. */
export const ledger_meta = pgTable('ledger_meta', {
  key: text('key').primaryKey(),
  value: text('value').notNull(),
  set_at: instant('set_at')
    .notNull()
    .default(sql`now()`),
})
