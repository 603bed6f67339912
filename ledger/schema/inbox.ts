import { sql } from 'drizzle-orm'
import { check, foreignKey, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, instant, recordId, writtenIn } from './columns.js'
import { actorKind, findingLevel, findingMove, findingStatus, messageStatus } from './enums.js'
import { agents } from './fleet.js'
import { job_attempts, jobs } from './jobs.js'

type Json = Record<string, unknown>

/** What agents have found, one open row per inbox, topic and subject, however often it is seen. */
export const findings = pgTable(
  'findings',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    /** Whose inbox it goes to. */
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    topic: text('topic').notNull(),
    subject_key: text('subject_key').notNull(),
    level: findingLevel('level').notNull(),
    body: text('body').notNull(),
    data: jsonb('data').notNull().default({}).$type<Json>(),
    /** Who filed it last; null for an operator. */
    source_agent: text('source_agent'),
    since: instant('since').notNull(),
    first_seen_at: instant('first_seen_at').notNull(),
    last_seen_at: instant('last_seen_at').notNull(),
    count: integer('count').notNull().default(1),
    last_raised_at: instant('last_raised_at'),
    /** How many times the nag policy has raised it. */
    nag_count: integer('nag_count').notNull().default(0),
    /** The step of the policy that raised it last, from 1. */
    nag_level: integer('nag_level').notNull().default(0),
    /** When it is raised for the first time, if the policy held it back until then. */
    raise_at: instant('raise_at'),
    status: findingStatus('status').notNull().default('open'),
    settled_at: instant('settled_at'),
    settled_as: text('settled_as'),
    /** Seq of the newest row of its history. */
    last_seq: integer('last_seq').notNull().default(0),
  },
  (t) => [
    uniqueIndex('findings_open_idx')
      .on(t.namespace, t.agent_id, t.topic, t.subject_key)
      .where(sql`status = 'open'`),
    index('findings_raise_idx')
      .on(t.raise_at)
      .where(sql`raise_at is not null`),
    index('findings_pending_result_idx')
      .on(t.subject_key)
      .where(sql`topic = 'pending_result' and status = 'open'`),
    index('findings_agent_idx').on(t.agent_id, t.id.desc()),
    index('findings_subject_idx').on(t.topic, t.subject_key, t.id.desc()),
    check('findings_count_check', sql`${t.count} >= 1 and ${t.nag_count} >= 0 and ${t.nag_level} >= 0`),
    check('findings_seen_check', sql`${t.last_seen_at} >= ${t.first_seen_at}`),
    check('findings_raised_check', sql`(${t.nag_count} = 0) = (${t.nag_level} = 0) and (${t.nag_count} = 0 or ${t.last_raised_at} is not null)`),
    check('findings_raise_at_check', sql`${t.raise_at} is null or (${t.nag_count} = 0 and ${t.status} = 'open')`),
    check(
      'findings_settled_check',
      sql`(${t.status} = 'settled') = (${t.settled_at} is not null) and (${t.settled_at} is null) = (${t.settled_as} is null) and coalesce(${t.settled_as} in ('settled', 'forgotten', 'answered'), true)`,
    ),
  ],
)

/** What coordinators read: one row for each time that a finding was raised. */
export const inbox_messages = pgTable(
  'inbox_messages',
  {
    id: uuid('id').primaryKey(),
    finding_id: uuid('finding_id')
      .notNull()
      .references(() => findings.id),
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    level: findingLevel('level').notNull(),
    tone: text('tone').notNull(),
    nag_level: integer('nag_level').notNull(),
    text: text('text').notNull(),
    status: messageStatus('status').notNull().default('unread'),
    created_at: instant('created_at').notNull(),
    /** Who holds it: `attempt:<id>` or `token:<id>`. */
    read_by: text('read_by'),
    read_attempt_id: uuid('read_attempt_id').references(() => job_attempts.id),
    read_at: instant('read_at'),
    /** When a reader that is no attempt has to give it back. */
    read_until: instant('read_until'),
    closed_at: instant('closed_at'),
    outcome: text('outcome'),
    note: text('note'),
  },
  (t) => [
    uniqueIndex('inbox_messages_one_open_idx')
      .on(t.finding_id)
      .where(sql`status in ('unread', 'read')`),
    index('inbox_messages_open_idx')
      .on(t.agent_id, t.level.desc(), t.id)
      .where(sql`status in ('unread', 'read')`),
    index('inbox_messages_finding_idx').on(t.finding_id, t.id),
    index('inbox_messages_agent_idx').on(t.agent_id, t.id.desc()),
    check(
      'inbox_messages_read_check',
      sql`(${t.read_by} is null) = (${t.read_at} is null) and (${t.status} not in ('read', 'acknowledged') or ${t.read_by} is not null) and (${t.status} <> 'unread' or ${t.read_by} is null)`,
    ),
    check('inbox_messages_holder_check', sql`${t.status} <> 'read' or (${t.read_attempt_id} is null) <> (${t.read_until} is null)`),
    check('inbox_messages_closed_check', sql`(${t.status} in ('acknowledged', 'withdrawn')) = (${t.closed_at} is not null)`),
    check(
      'inbox_messages_outcome_check',
      sql`(${t.status} = 'acknowledged') = (${t.outcome} is not null) and coalesce(${t.outcome} in ('delivered', 'dismissed', 'settled'), true)`,
    ),
  ],
)

/** Everything that happened to a finding and its messages. Append-only; gapless per finding. */
export const finding_history = pgTable(
  'finding_history',
  {
    finding_id: uuid('finding_id')
      .notNull()
      .references(() => findings.id),
    seq: integer('seq').notNull(),
    kind: findingMove('kind').notNull(),
    message_id: uuid('message_id').references(() => inbox_messages.id),
    job_id: uuid('job_id').references(() => jobs.id),
    attempt_id: uuid('attempt_id'),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    at: instant('at').notNull(),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [
    primaryKey({ columns: [t.finding_id, t.seq] }),
    foreignKey({ columns: [t.attempt_id], foreignColumns: [job_attempts.id] }),
    index('finding_history_attempt_idx')
      .on(t.attempt_id)
      .where(sql`attempt_id is not null`),
    index('finding_history_at_idx').on(t.at),
    check('finding_history_seq_check', sql`${t.seq} >= 1 and (${t.seq} > 1 or ${t.kind} = 'filed')`),
    check('finding_history_message_check', sql`${t.kind} in ('filed', 'settled') or ${t.message_id} is not null`),
    byTransaction('finding_history'),
  ],
)
