import { sql } from 'drizzle-orm'
import { boolean, check, index, integer, jsonb, pgTable, primaryKey, text } from 'drizzle-orm/pg-core'
import { byTransaction, instant, recordId, writtenIn } from './columns.js'
import { actorKind, breakerState } from './enums.js'

/** OpenClaw gateways and what is known of their health. `token_ref` says where the token is; never the token. */
export const gateways = pgTable(
  'gateways',
  {
    id: text('id').primaryKey(),
    base_url: text('base_url').notNull(),
    hook_path: text('hook_path').notNull().default('/hooks'),
    token_ref: text('token_ref').notNull(),
    version: integer('version').notNull().default(1),
    breaker: breakerState('breaker').notNull().default('closed'),
    breaker_reason: text('breaker_reason'),
    breaker_changed_at: instant('breaker_changed_at'),
    /** Undelivered posts and failed probes in a row. */
    failures: integer('failures').notNull().default(0),
    /** How often the breaker opened without an admission in between; sets its patience. */
    reopened: integer('reopened').notNull().default(0),
    probe_after: instant('probe_after')
      .notNull()
      .default(sql`now()`),
    last_ready_at: instant('last_ready_at'),
    last_down_at: instant('last_down_at'),
    /** When the gateway's process started, from its own uptime; a later value means that its runs are lost. */
    booted_at: instant('booted_at'),
    created_at: instant('created_at')
      .notNull()
      .default(sql`now()`),
    updated_at: instant('updated_at')
      .notNull()
      .default(sql`now()`),
  },
  (t) => [
    check('gateways_id_check', sql`${t.id} ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'`),
    check('gateways_token_ref_check', sql`${t.token_ref} ~ '^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^[:space:]]+|simulator)$'`),
    check('gateways_open_breaker_says_why', sql`(${t.breaker} = 'open') = (${t.breaker_reason} is not null)`),
    check('gateways_failures_check', sql`${t.failures} >= 0 and ${t.reopened} >= 0`),
    index('gateways_probe_idx').on(t.probe_after),
  ],
)

export const agents = pgTable(
  'agents',
  {
    id: text('id').primaryKey(),
    gateway_id: text('gateway_id')
      .notNull()
      .references(() => gateways.id),
    gateway_agent_id: text('gateway_agent_id').notNull(),
    role: text('role'),
    concurrency: integer('concurrency').notNull().default(1),
    capabilities: text('capabilities')
      .array()
      .notNull()
      .default(sql`'{}'::text[]`),
    /** To whom it may send work: a list of rules, or null for anybody. */
    delegation: jsonb('delegation').$type<Record<string, unknown>[]>(),
    timeout_seconds: integer('timeout_seconds').notNull().default(600),
    lease_seconds: integer('lease_seconds').notNull().default(600),
    enabled: boolean('enabled').notNull().default(true),
    version: integer('version').notNull().default(1),
    created_at: instant('created_at')
      .notNull()
      .default(sql`now()`),
    updated_at: instant('updated_at')
      .notNull()
      .default(sql`now()`),
  },
  (t) => [
    check('agents_id_check', sql`${t.id} ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'`),
    check('agents_concurrency_check', sql`${t.concurrency} between 1 and 1000`),
    check('agents_seconds_check', sql`${t.timeout_seconds} between 1 and 86400 and ${t.lease_seconds} between 5 and 86400`),
    index('agents_gateway_idx').on(t.gateway_id),
  ],
)

/** Every definition that was ever in force, and from when. Append-only. */
export const fleet_versions = pgTable(
  'fleet_versions',
  {
    kind: text('kind').notNull(),
    id: text('id').notNull(),
    version: integer('version').notNull(),
    spec: jsonb('spec').notNull().$type<Record<string, unknown>>(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    valid_from: instant('valid_from')
      .notNull()
      .default(sql`clock_timestamp()`),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [
    primaryKey({ columns: [t.kind, t.id, t.version] }),
    check('fleet_versions_kind_check', sql`${t.kind} in ('gateway', 'agent', 'inbox', 'subscription', 'policy')`),
    byTransaction('fleet_versions'),
  ],
)

/** One row per worker process, renewed while it lives. */
export const dispatcher_heartbeats = pgTable(
  'dispatcher_heartbeats',
  {
    namespace: text('namespace').notNull().default('default'),
    dispatcher_id: text('dispatcher_id').notNull(),
    host: text('host').notNull(),
    pid: integer('pid').notNull(),
    started_at: instant('started_at')
      .notNull()
      .default(sql`now()`),
    last_seen: instant('last_seen')
      .notNull()
      .default(sql`now()`),
    stopped_at: instant('stopped_at'),
    leases_owned: integer('leases_owned').notNull().default(0),
    busy_agents: integer('busy_agents').notNull().default(0),
    metrics: jsonb('metrics').notNull().default({}).$type<Record<string, unknown>>(),
  },
  (t) => [
    primaryKey({ columns: [t.namespace, t.dispatcher_id] }),
    check('dispatcher_heartbeats_counts_check', sql`${t.leases_owned} >= 0 and ${t.busy_agents} >= 0`),
    index('dispatcher_heartbeats_last_seen_idx').on(t.last_seen),
  ],
)
