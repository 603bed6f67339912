import { sql } from 'drizzle-orm'
import { bigint, check, doublePrecision, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex } from 'drizzle-orm/pg-core'
import { byTransaction, instant, writtenIn } from './columns.js'
import { actorKind, controlScope } from './enums.js'

/**
 * What is or was stopped: one open row per scope and target. What a row says of its beginning never changes, one that is
 * lifted never changes at all, and each change has a row in `control_changes`.
 */
export const controls = pgTable(
  'controls',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    action: text('action').notNull().default('pause'),
    scope: controlScope('scope').notNull(),
    target: text('target').notNull().default(''),
    reason: text('reason').notNull(),
    set_by_kind: actorKind('set_by_kind').notNull(),
    set_by: text('set_by').notNull(),
    set_at: instant('set_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    /** From then on it stops nothing, whether or not anybody has lifted it yet. */
    until_at: instant('until_at'),
    /** What becomes of what runs in the scope. */
    running: text('running').notNull().default('leave'),
    drained_at: instant('drained_at'),
    lifted_by_kind: actorKind('lifted_by_kind'),
    lifted_by: text('lifted_by'),
    lifted_at: instant('lifted_at'),
    lifted_because: text('lifted_because'),
    lift_reason: text('lift_reason'),
    /** Seq of the newest row of its history; 0 for one that is older than the history. */
    last_seq: integer('last_seq').notNull().default(0),
  },
  (t) => [
    check('controls_action_check', sql`${t.action} in ('pause', 'drain', 'freeze') and (${t.action} <> 'drain' or ${t.scope}::text = 'agent')`),
    check('controls_freeze_check', sql`(${t.action} = 'freeze') = (${t.scope}::text in ('promotions', 'conversions'))`),
    check('controls_running_check', sql`${t.running} in ('leave', 'cancel') and (${t.running} = 'leave' or ${t.action} = 'pause')`),
    check('controls_target_check', sql`(${t.scope}::text in ('everything', 'promotions', 'conversions')) = (${t.target} = '')`),
    check('controls_until_check', sql`${t.until_at} is null or ${t.until_at} > ${t.set_at}`),
    check('controls_drained_check', sql`${t.drained_at} is null or ${t.action} = 'drain'`),
    check('controls_lifted_check', sql`(${t.lifted_at} is null) = (${t.lifted_by} is null)`),
    check('controls_lifted_because_check', sql`${t.lifted_because} is null or (${t.lifted_because} in ('resumed', 'expired', 'replaced') and ${t.lifted_at} is not null)`),
    uniqueIndex('controls_open_idx')
      .on(t.scope, t.target)
      .where(sql`lifted_at is null`),
  ],
)

/** The history of each control. Append-only. */
export const control_changes = pgTable(
  'control_changes',
  {
    control_id: bigint('control_id', { mode: 'number' })
      .notNull()
      .references(() => controls.id),
    seq: integer('seq').notNull(),
    id: bigint('id', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
    change: text('change').notNull(),
    reason: text('reason').notNull(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    details: jsonb('details').notNull().default({}).$type<Record<string, unknown>>(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    xact: writtenIn(),
  },
  (t) => [
    primaryKey({ columns: [t.control_id, t.seq] }),
    uniqueIndex('control_changes_id_idx').on(t.id),
    check('control_changes_change_check', sql`${t.change} in ('set', 'running_cancelled', 'drained', 'resumed', 'expired', 'replaced') and (${t.change} = 'set') = (${t.seq} = 1)`),
    byTransaction('control_changes'),
  ],
)

/** What callers may still send within the rates of `limits`: a bucket per caller and limit. Unlogged: a crash fills them again. */
export const rate_buckets = pgTable(
  'rate_buckets',
  {
    caller: text('caller').notNull(),
    limit_name: text('limit_name').notNull(),
    tokens: doublePrecision('tokens').notNull(),
    filled_at: instant('filled_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.caller, t.limit_name] }), index('rate_buckets_filled_idx').on(t.filled_at)],
)
