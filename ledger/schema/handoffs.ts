import { sql } from 'drizzle-orm'
import { bigint, boolean, check, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, instant, recordId, writtenIn } from './columns.js'
import { actorKind, agentState, reactionStatus } from './enums.js'
import { agents } from './fleet.js'
import { events } from './history.js'
import { jobs } from './jobs.js'

type Json = Record<string, unknown>

/** Who reacts to which topics, as it is now. What it was, and from when, is in `fleet_versions`. */
export const subscriptions = pgTable(
  'subscriptions',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    name: text('name').notNull(),
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    /** A topic, a pattern that ends in `.*`, or `*`. */
    topic: text('topic').notNull(),
    definition: jsonb('definition').notNull().$type<Json>(),
    enabled: boolean('enabled').notNull(),
    version: integer('version').notNull(),
    updated_at: instant('updated_at')
      .notNull()
      .default(sql`clock_timestamp()`),
  },
  (t) => [
    uniqueIndex('subscriptions_name_idx').on(t.namespace, t.name),
    index('subscriptions_topic_idx')
      .on(t.namespace, t.topic)
      .where(sql`enabled`),
    check('subscriptions_name_check', sql`${t.name} ~ '^[a-z0-9][a-z0-9._-]{0,99}$'`),
    check('subscriptions_version_check', sql`${t.version} >= 1`),
  ],
)

/** What each subscription made of each event that matched it: one row, so that nothing reacts twice. */
export const reactions = pgTable(
  'reactions',
  {
    event_id: bigint('event_id', { mode: 'bigint' })
      .notNull()
      .references(() => events.id),
    subscription_id: uuid('subscription_id')
      .notNull()
      .references(() => subscriptions.id),
    /** The version of the subscription that matched. */
    version: integer('version').notNull(),
    status: reactionStatus('status').notNull().default('pending'),
    job_id: uuid('job_id').references(() => jobs.id),
    finding_id: uuid('finding_id'),
    /** Why nothing came of it. */
    detail: text('detail'),
    /** A limit kept it back: it is tried again then. */
    not_before: instant('not_before'),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    done_at: instant('done_at'),
  },
  (t) => [
    primaryKey({ columns: [t.event_id, t.subscription_id] }),
    check('reactions_done_check', sql`(${t.status} = 'pending') = (${t.done_at} is null)`),
    check('reactions_made_check', sql`${t.status} not in ('made', 'joined') or ${t.job_id} is not null or ${t.finding_id} is not null`),
    check('reactions_detail_check', sql`${t.status} not in ('cut', 'refused', 'failed') or ${t.detail} is not null`),
    index('reactions_pending_idx')
      .on(t.event_id, t.subscription_id)
      .where(sql`status = 'pending'`),
    index('reactions_job_idx')
      .on(t.job_id)
      .where(sql`job_id is not null`),
    index('reactions_subscription_idx').on(t.subscription_id, t.event_id.desc()),
  ],
)

/** What an agent is doing, as last seen by the watch; and when it was last given work by capability. */
export const agent_states = pgTable(
  'agent_states',
  {
    agent_id: text('agent_id')
      .primaryKey()
      .references(() => agents.id),
    state: agentState('state').notNull(),
    since: instant('since').notNull(),
    last_assigned_at: instant('last_assigned_at'),
    assigned_count: bigint('assigned_count', { mode: 'number' }).notNull().default(0),
  },
  (t) => [check('agent_states_assigned_check', sql`${t.assigned_count} >= 0`)],
)

/** Every change of an agent's state that the watch saw. Append-only. */
export const agent_state_changes = pgTable(
  'agent_state_changes',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    from_state: agentState('from_state'),
    to_state: agentState('to_state').notNull(),
    reason: text('reason'),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    xact: writtenIn(),
  },
  (t) => [index('agent_state_changes_agent_idx').on(t.agent_id, t.id.desc()), byTransaction('agent_state_changes')],
)

/** The log of a project: everyone appends. Append-only. */
export const project_log = pgTable(
  'project_log',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    namespace: text('namespace').notNull().default('default'),
    project: text('project').notNull(),
    entry: text('entry').notNull(),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    agent_id: text('agent_id'),
    job_id: uuid('job_id').references(() => jobs.id),
    attempt_id: uuid('attempt_id'),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    xact: writtenIn(),
  },
  (t) => [
    check('project_log_project_check', sql`${t.project} ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'`),
    index('project_log_project_idx').on(t.namespace, t.project, t.id.desc()),
    index('project_log_agent_idx')
      .on(t.agent_id, t.at)
      .where(sql`agent_id is not null`),
    byTransaction('project_log'),
  ],
)

/** Every status of a project; the newest version holds. One role writes it. Append-only. */
export const project_statuses = pgTable(
  'project_statuses',
  {
    namespace: text('namespace').notNull().default('default'),
    project: text('project').notNull(),
    version: integer('version').notNull(),
    status: text('status').notNull(),
    body: text('body').notNull().default(''),
    agent_id: text('agent_id'),
    job_id: uuid('job_id').references(() => jobs.id),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [
    primaryKey({ columns: [t.namespace, t.project, t.version] }),
    check('project_statuses_project_check', sql`${t.project} ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$' and ${t.version} >= 1`),
    byTransaction('project_statuses'),
  ],
)
