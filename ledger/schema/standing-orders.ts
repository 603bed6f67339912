import { sql } from 'drizzle-orm'
import { bigint, boolean, check, foreignKey, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, instant, recordId, writtenIn } from './columns.js'
import { actorKind, slotStatus } from './enums.js'
import { agents } from './fleet.js'

/** Standing orders as they are now. What they were, and from when, is in `standing_order_versions`. */
export const standing_orders = pgTable(
  'standing_orders',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    name: text('name').notNull(),
    version: integer('version').notNull(),
    definition: jsonb('definition').notNull().$type<Record<string, unknown>>(),
    enabled: boolean('enabled').notNull(),
    in_force_from: instant('in_force_from').notNull(),
    /** Every slot up to and with this time exists as a row. */
    planned_until: instant('planned_until').notNull(),
    /** When the planner has to look again. */
    plan_at: instant('plan_at').notNull(),
  },
  (t) => [
    uniqueIndex('standing_orders_name_idx').on(t.namespace, t.agent_id, t.name),
    index('standing_orders_plan_idx')
      .on(t.plan_at)
      .where(sql`enabled`),
    check('standing_orders_name_check', sql`${t.name} ~ '^[a-z0-9][a-z0-9._-]{0,99}$'`),
    check('standing_orders_version_check', sql`${t.version} >= 1`),
  ],
)

/** Every definition that was ever in force, and from when. Append-only. */
export const standing_order_versions = pgTable(
  'standing_order_versions',
  {
    order_id: uuid('order_id')
      .notNull()
      .references(() => standing_orders.id),
    version: integer('version').notNull(),
    definition: jsonb('definition').notNull().$type<Record<string, unknown>>(),
    enabled: boolean('enabled').notNull(),
    in_force_from: instant('in_force_from').notNull(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [primaryKey({ columns: [t.order_id, t.version] }), byTransaction('standing_order_versions')],
)

/** The slots: one row for each due time of each order, made before it is due. */
export const standing_order_runs = pgTable(
  'standing_order_runs',
  {
    id: uuid('id').primaryKey(),
    order_id: uuid('order_id').notNull(),
    version: integer('version').notNull(),
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    slot_at: instant('slot_at').notNull(),
    grace_until: instant('grace_until').notNull(),
    /** When the keeper looks at it while it is expected: soon after its time, at the end of its grace, later while a catch-up waits. */
    look_at: instant('look_at').notNull(),
    status: slotStatus('status').notNull().default('expected'),
    /** Why it was skipped or missed. */
    cause: text('cause'),
    /** What started it: its own tick, the keeper that missed the tick, or the catch-up after an outage. */
    trigger: text('trigger'),
    unstated: boolean('unstated').notNull().default(false),
    /** What the agent claimed, before its job was closed. */
    claimed: slotStatus('claimed'),
    summary: text('summary'),
    evidence: jsonb('evidence').$type<Record<string, unknown>>(),
    details: jsonb('details').notNull().default({}).$type<Record<string, unknown>>(),
    /** Seq of the newest row of its history; 0 while it is only expected. */
    last_seq: integer('last_seq').notNull().default(0),
    started_at: instant('started_at'),
    finished_at: instant('finished_at'),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
  },
  (t) => [
    foreignKey({ columns: [t.order_id, t.version], foreignColumns: [standing_order_versions.order_id, standing_order_versions.version] }),
    uniqueIndex('standing_order_runs_slot_idx').on(t.order_id, t.slot_at),
    index('standing_order_runs_look_idx')
      .on(t.look_at)
      .where(sql`status = 'expected'`),
    index('standing_order_runs_open_idx')
      .on(t.order_id)
      .where(sql`status = 'started'`),
    index('standing_order_runs_finished_idx')
      .on(t.order_id, t.finished_at)
      .where(sql`started_at is not null`),
    index('standing_order_runs_slot_at_idx').on(t.slot_at),
    // What was missed in a month is a small part of its slots; who asks for it reads this alone.
    index('standing_order_runs_missed_idx')
      .on(t.slot_at, t.order_id, t.cause)
      .where(sql`status = 'missed'`),
    // For counts by day, which is how the view says it.
    index('standing_order_runs_day_idx')
      .using('brin', sql`((slot_at at time zone 'UTC')::date)`)
      .with({ pages_per_range: 32, autosummarize: true }),
    check('standing_order_runs_grace_check', sql`${t.grace_until} > ${t.slot_at}`),
    check('standing_order_runs_cause_check', sql`(${t.status} in ('skipped', 'missed')) = (${t.cause} is not null)`),
    check('standing_order_runs_started_check', sql`(${t.status} in ('expected', 'skipped', 'missed')) = (${t.started_at} is null)`),
    check('standing_order_runs_trigger_check', sql`(${t.started_at} is null) = (${t.trigger} is null) and coalesce(${t.trigger} in ('tick', 'keeper', 'catch_up'), true)`),
    check('standing_order_runs_finished_check', sql`(${t.status} in ('expected', 'started')) = (${t.finished_at} is null)`),
    check('standing_order_runs_unstated_check', sql`not ${t.unstated} or ${t.status} = 'completed'`),
    check('standing_order_runs_claimed_check', sql`coalesce(${t.claimed} in ('no_work', 'completed', 'blocked', 'failed'), true)`),
  ],
)

/** Every move of a slot. Append-only; written by `move_slot()` alone. */
export const standing_order_run_transitions = pgTable(
  'standing_order_run_transitions',
  {
    run_id: uuid('run_id')
      .notNull()
      .references(() => standing_order_runs.id),
    seq: integer('seq').notNull(),
    from_status: slotStatus('from_status').notNull(),
    to_status: slotStatus('to_status').notNull(),
    cause: text('cause'),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    details: jsonb('details').notNull().default({}).$type<Record<string, unknown>>(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    /** Tells the count of slots by outcome which rows are new to it. */
    xact: writtenIn(),
    record_id: recordId(),
  },
  (t) => [primaryKey({ columns: [t.run_id, t.seq] }), byTransaction('standing_order_run_transitions')],
)

/** When a part of the bus was seen alive: `workers`, `queue_store`, `gateway:<id>`. One row per uninterrupted stretch. */
export const presence = pgTable(
  'presence',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    component: text('component').notNull(),
    seen_from: instant('seen_from').notNull(),
    seen_until: instant('seen_until').notNull(),
  },
  (t) => [index('presence_component_idx').on(t.component, t.seen_until.desc()), check('presence_order_check', sql`${t.seen_until} >= ${t.seen_from}`)],
)
