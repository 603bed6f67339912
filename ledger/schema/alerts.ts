import { sql } from 'drizzle-orm'
import { boolean, check, doublePrecision, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, instant, recordId, writtenIn } from './columns.js'
import { actorKind, alertDeliveryStatus, alertLevel, alertMove, alertNotice, alertReceiver, alertStatus } from './enums.js'
import { jobs } from './jobs.js'

type Json = Record<string, unknown>

/** Since when a figure is above its threshold while it has not lasted for long enough to be an alert. Not a history. */
export const alert_watches = pgTable('alert_watches', { rule: text('rule').notNull(), subject: text('subject').notNull(), since: instant('since').notNull() }, (t) => [
  primaryKey({ columns: [t.rule, t.subject] }),
])

/** One row per incident: a rule that holds for a subject, from its beginning to its end. */
export const alerts = pgTable(
  'alerts',
  {
    id: uuid('id').primaryKey(),
    rule: text('rule').notNull(),
    figure: text('figure').notNull(),
    subject: text('subject').notNull(),
    level: alertLevel('level').notNull(),
    status: alertStatus('status').notNull().default('open'),
    value: doublePrecision('value').notNull(),
    peak: doublePrecision('peak').notNull(),
    threshold: doublePrecision('threshold').notNull(),
    since: instant('since').notNull(),
    opened_at: instant('opened_at').notNull(),
    /** Since when the figure is down; it is over when that has lasted. */
    clear_since: instant('clear_since'),
    resolved_at: instant('resolved_at'),
    resolved_as: text('resolved_as'),
    acknowledged_at: instant('acknowledged_at'),
    acknowledged_by: text('acknowledged_by'),
    note: text('note'),
    /** When somebody is told, or told again; null: no more. */
    tell_at: instant('tell_at'),
    told: integer('told').notNull().default(0),
    last_seq: integer('last_seq').notNull().default(1),
  },
  (t) => [
    uniqueIndex('alerts_one_open_idx')
      .on(t.rule, t.subject)
      .where(sql`status = 'open'`),
    index('alerts_rule_idx').on(t.rule, t.id.desc()),
    check('alerts_resolved_check', sql`(${t.status} = 'resolved') = (${t.resolved_at} is not null) and (${t.status} = 'resolved') = (${t.resolved_as} is not null)`),
    check('alerts_acknowledged_check', sql`num_nonnulls(${t.acknowledged_at}, ${t.acknowledged_by}, ${t.note}) in (0, 3)`),
    check('alerts_told_check', sql`${t.told} >= 0 and ${t.peak} >= ${t.value}`),
    check('alerts_tell_check', sql`${t.tell_at} is null or (${t.status} = 'open' and ${t.acknowledged_at} is null)`),
  ],
)

/** What happened to each alert. Append-only. */
export const alert_history = pgTable(
  'alert_history',
  {
    alert_id: uuid('alert_id')
      .notNull()
      .references(() => alerts.id),
    seq: integer('seq').notNull(),
    move: alertMove('move').notNull(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    note: text('note'),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    at: instant('at').notNull(),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [primaryKey({ columns: [t.alert_id, t.seq] }), index('alert_history_at_idx').on(t.at), byTransaction('alert_history')],
)

/** Until when nobody is told of a rule, or of one subject of it. */
export const alert_silences = pgTable(
  'alert_silences',
  {
    id: uuid('id').primaryKey(),
    rule: text('rule').notNull(),
    subject: text('subject'),
    until: instant('until').notNull(),
    reason: text('reason').notNull(),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at').notNull(),
    lifted_at: instant('lifted_at'),
    lifted_by: text('lifted_by'),
    lift_reason: text('lift_reason'),
  },
  (t) => [
    index('alert_silences_until_idx').on(t.rule, t.until),
    check('alert_silences_lifted_check', sql`num_nonnulls(${t.lifted_at}, ${t.lifted_by}, ${t.lift_reason}) in (0, 3)`),
  ],
)

/** What a receiver is to be told: written with the row of the history that it tells, sent later, by any worker. Its id is the receiver's key against repeats. */
export const alert_deliveries = pgTable(
  'alert_deliveries',
  {
    id: uuid('id').primaryKey(),
    /** Null for a test of a rule. */
    alert_id: uuid('alert_id').references(() => alerts.id),
    seq: integer('seq'),
    rule: text('rule').notNull(),
    notice: alertNotice('notice').notNull(),
    receiver_kind: alertReceiver('receiver_kind').notNull(),
    receiver: text('receiver').notNull(),
    body: jsonb('body').notNull().$type<Json>(),
    status: alertDeliveryStatus('status').notNull().default('pending'),
    tries: integer('tries').notNull().default(0),
    next_try_at: instant('next_try_at').notNull(),
    job_id: uuid('job_id').references(() => jobs.id),
    created_at: instant('created_at').notNull(),
    done_at: instant('done_at'),
  },
  (t) => [
    uniqueIndex('alert_deliveries_once_idx')
      .on(t.alert_id, t.seq, t.receiver_kind, t.receiver)
      .where(sql`alert_id is not null`),
    index('alert_deliveries_due_idx')
      .on(t.next_try_at)
      .where(sql`status = 'pending'`),
    check('alert_deliveries_done_check', sql`(${t.status} = 'pending') = (${t.done_at} is null)`),
    check('alert_deliveries_alert_check', sql`(${t.notice} = 'test') = (${t.alert_id} is null) and (${t.alert_id} is null) = (${t.seq} is null)`),
    check('alert_deliveries_job_check', sql`${t.job_id} is null or ${t.receiver_kind} = 'agent'`),
  ],
)

/** Each try of a delivery and what came of it. Append-only. A number that is missing is a try whose process died. */
export const alert_attempts = pgTable(
  'alert_attempts',
  {
    delivery_id: uuid('delivery_id')
      .notNull()
      .references(() => alert_deliveries.id),
    try_no: integer('try_no').notNull(),
    ok: boolean('ok').notNull(),
    http_status: integer('http_status'),
    error: text('error'),
    ms: integer('ms').notNull(),
    worker: text('worker').notNull(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [primaryKey({ columns: [t.delivery_id, t.try_no] }), check('alert_attempts_error_check', sql`${t.ok} = (${t.error} is null)`), byTransaction('alert_attempts')],
)
