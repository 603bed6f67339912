import { sql } from 'drizzle-orm'
import { bigint, check, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, bytea, instant, writtenIn } from './columns.js'
import { actorKind, jobStatus, observationKind, transitionKind, transitionReason } from './enums.js'
import { job_attempts, jobs } from './jobs.js'

type Json = Record<string, unknown>

/**
 * The history of each job: append-only, gapless per job, hash-chained by a trigger that also refuses what is no legal move. Order by `seq`, never by time.
 * `id` and `xact` are for checkpoints over all histories.
 */
export const job_transitions = pgTable(
  'job_transitions',
  {
    job_id: uuid('job_id')
      .notNull()
      .references(() => jobs.id),
    seq: integer('seq').notNull(),
    id: bigint('id', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
    xact: writtenIn(),
    kind: transitionKind('kind').notNull(),
    from_status: jobStatus('from_status'),
    to_status: jobStatus('to_status').notNull(),
    reason: transitionReason('reason').notNull(),
    note: text('note'),
    attempt_id: uuid('attempt_id').references(() => job_attempts.id),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    prev_hash: bytea('prev_hash')
      .notNull()
      .default(sql`''::bytea`),
    hash: bytea('hash')
      .notNull()
      .default(sql`''::bytea`),
  },
  (t) => [
    primaryKey({ columns: [t.job_id, t.seq] }),
    uniqueIndex('job_transitions_id_idx').on(t.id),
    index('job_transitions_at_idx').on(t.at),
    index('job_transitions_actor_idx').on(t.actor, t.at),
    byTransaction('job_transitions'),
  ],
)

/** Facts. Append-only. */
export const events = pgTable(
  'events',
  {
    id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
    namespace: text('namespace').notNull().default('default'),
    topic: text('topic').notNull(),
    source_agent: text('source_agent'),
    source_job_id: uuid('source_job_id').references(() => jobs.id),
    source_attempt_id: uuid('source_attempt_id').references(() => job_attempts.id),
    dedupe_key: text('dedupe_key'),
    correlation_key: text('correlation_key'),
    payload: jsonb('payload').notNull().default({}).$type<Json>(),
    /** How many reactions lie between this event and the first one. */
    hops: integer('hops').notNull().default(0),
    /** By which subscriptions the way from the first event led here. */
    lineage: uuid('lineage')
      .array()
      .notNull()
      .default(sql`'{}'::uuid[]`),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    /** The row of `prunes` by which the payload was taken out, and the SHA-256 of what it was. */
    pruned_by: integer('pruned_by'),
    pruned_hash: bytea('pruned_hash'),
    xact: writtenIn(),
  },
  (t) => [
    index('events_pruned_idx')
      .on(t.pruned_by)
      .where(sql`pruned_by is not null`),
    check('events_hops_check', sql`${t.hops} >= 0 and cardinality(${t.lineage}) <= ${t.hops}`),
    uniqueIndex('events_dedupe_idx')
      .on(t.namespace, t.topic, t.dedupe_key)
      .where(sql`dedupe_key is not null`),
    index('events_topic_idx').on(sql`${t.topic} text_pattern_ops`, t.id),
    index('events_source_agent_idx')
      .on(t.source_agent, t.created_at)
      .where(sql`source_agent is not null`),
    index('events_correlation_idx')
      .on(t.correlation_key, t.id)
      .where(sql`correlation_key is not null`),
    index('events_source_job_idx')
      .on(t.source_job_id, t.id)
      .where(sql`source_job_id is not null`),
    byTransaction('events'),
  ],
)

/** Rule seven: every refusal, late answer, mend, dropped queue entry, change from outside and operator action. Append-only. */
export const observations = pgTable(
  'observations',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    kind: observationKind('kind').notNull(),
    code: text('code').notNull(),
    job_id: uuid('job_id'),
    attempt_id: uuid('attempt_id'),
    agent_id: text('agent_id'),
    gateway_id: text('gateway_id'),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    detail: text('detail').notNull(),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    xact: writtenIn(),
  },
  (t) => [
    index('observations_job_idx')
      .on(t.job_id, t.id)
      .where(sql`job_id is not null`),
    index('observations_kind_idx').on(t.kind, t.id),
    index('observations_at_idx').on(t.at),
    byTransaction('observations'),
  ],
)
