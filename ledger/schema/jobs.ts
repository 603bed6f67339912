import { sql } from 'drizzle-orm'
import { bigint, boolean, check, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid, type AnyPgColumn } from 'drizzle-orm/pg-core'
import { bytea, instant } from './columns.js'
import { attemptStatus, jobStatus, lane, onDependencyDeath, onLost, sessionMode } from './enums.js'
import { agents, gateways } from './fleet.js'
import { standing_order_runs } from './standing-orders.js'

type Json = Record<string, unknown>

export const jobs = pgTable(
  'jobs',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    /** The slot of a standing order that this job is the run of. */
    standing_order_run_id: uuid('standing_order_run_id').references((): AnyPgColumn => standing_order_runs.id),
    /** How the gateway is called: a run of its own, or a turn in the agent's main session. */
    session_mode: sessionMode('session_mode').notNull().default('isolated'),
    /** The event that a subscription made it for. */
    source_event_id: bigint('source_event_id', { mode: 'bigint' }),
    /** How many reactions lie between it and the first event, and by which subscriptions. */
    hops: integer('hops').notNull().default(0),
    lineage: uuid('lineage')
      .array()
      .notNull()
      .default(sql`'{}'::uuid[]`),
    parent_job_id: uuid('parent_job_id').references((): AnyPgColumn => jobs.id),
    flow_key: text('flow_key'),
    correlation_key: text('correlation_key'),
    source_agent: text('source_agent'),
    /** Null while a job that names capabilities waits for an agent that has them. */
    target_agent: text('target_agent').references(() => agents.id),
    /** What its agent must be able to do; empty when the job named its agent. */
    capabilities: text('capabilities')
      .array()
      .notNull()
      .default(sql`'{}'::text[]`),
    job_type: text('job_type').notNull(),
    subject: text('subject').notNull(),
    lane: lane('lane').notNull().default('reactive'),
    priority: integer('priority').notNull().default(100),
    dedupe_key: text('dedupe_key'),
    payload: jsonb('payload').notNull().default({}).$type<Json>(),
    payload_hash: text('payload_hash').notNull(),
    state: jsonb('state').notNull().default({}).$type<Json>(),
    result: jsonb('result').$type<Json>(),
    summary: text('summary'),
    status: jobStatus('status').notNull(),
    /** Seq of the newest row in job_transitions; the version of the row. */
    last_seq: integer('last_seq').notNull(),
    /** Rises when the ledger enqueues anew, so that an older queue entry is recognised. */
    generation: integer('generation').notNull().default(1),
    run_after: instant('run_after').notNull(),
    attempt_count: integer('attempt_count').notNull().default(0),
    max_attempts: integer('max_attempts').notNull().default(5),
    timeout_seconds: integer('timeout_seconds').notNull(),
    lease_seconds: integer('lease_seconds').notNull(),
    on_lost: onLost('on_lost').notNull().default('retry'),
    on_dependency_death: onDependencyDeath('on_dependency_death').notNull().default('block'),
    current_attempt_id: uuid('current_attempt_id'),
    /** Whether another job has ever waited for this one to end; never reset. Its end then takes the lock and looks. */
    awaited: boolean('awaited').notNull().default(false),
    held_reason: text('held_reason'),
    /** The control that holds it: a queued job that has one has no entry in the queue until that control is over. */
    held_by: bigint('held_by', { mode: 'number' }),
    blocked_reason: text('blocked_reason'),
    blocked_owner: text('blocked_owner'),
    unblock_action: text('unblock_action'),
    look_again_at: instant('look_again_at'),
    waits_for: jsonb('waits_for').$type<Json>(),
    blocked_at: instant('blocked_at'),
    /** When somebody else is asked to plan anew, if it is still blocked then. */
    escalate_at: instant('escalate_at'),
    /** What it waited for and got; the next attempt is told. */
    answer: jsonb('answer').$type<Json>(),
    /** The row of `prunes` by which payload, state, result and answer were taken out, and the SHA-256 of what they were. */
    pruned_by: integer('pruned_by'),
    pruned_hash: bytea('pruned_hash'),
    last_error: text('last_error'),
    last_error_code: text('last_error_code'),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    updated_at: instant('updated_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    finished_at: instant('finished_at'),
    buried_at: instant('buried_at'),
  },
  // What must hold in each row is in the trigger jobs_are_consistent: PostgreSQL reads the text of a check anew for each statement, and every move of a job pays for it.
  (t) => [
    uniqueIndex('jobs_active_dedupe_idx')
      .on(t.namespace, t.target_agent, t.dedupe_key)
      .where(sql`dedupe_key is not null and finished_at is null and cardinality(capabilities) = 0`),
    uniqueIndex('jobs_routed_dedupe_idx')
      .on(t.namespace, t.dedupe_key)
      .where(sql`dedupe_key is not null and finished_at is null and cardinality(capabilities) > 0`),
    index('jobs_unassigned_idx')
      .on(t.priority.desc(), t.run_after, t.id)
      .where(sql`status = 'queued' and target_agent is null`),
    index('jobs_routed_idx')
      .on(t.target_agent)
      .where(sql`status = 'queued' and cardinality(capabilities) > 0`),
    index('jobs_ready_idx')
      .on(t.target_agent, t.priority.desc(), t.run_after, t.id)
      .where(sql`status = 'queued'`),
    // For depth and age by lane: read without the table, however long the queue is.
    index('jobs_queued_idx')
      .on(t.lane, t.target_agent, t.run_after)
      .where(sql`status = 'queued'`),
    index('jobs_open_idx')
      .on(t.target_agent, t.status)
      .where(sql`finished_at is null`),
    // For the limits: how much of a lane and of a sender is open. Few values, so they stay small.
    index('jobs_open_lane_idx')
      .on(t.lane, t.status)
      .where(sql`finished_at is null`),
    index('jobs_open_source_idx')
      .on(t.source_agent)
      .where(sql`finished_at is null and source_agent is not null`),
    index('jobs_parked_idx')
      .on(t.held_by, t.priority.desc(), t.run_after, t.id)
      .where(sql`status = 'queued' and held_by is not null`),
    index('jobs_blocked_look_idx')
      .on(t.look_again_at)
      .where(sql`status = 'blocked' and look_again_at is not null`),
    index('jobs_blocked_on_job_idx')
      .on(sql`(waits_for ->> 'job_id')`)
      .where(sql`status = 'blocked' and waits_for ->> 'kind' = 'job'`),
    index('jobs_blocked_on_event_idx')
      .on(sql`(waits_for ->> 'topic')`)
      .where(sql`status = 'blocked' and waits_for ->> 'kind' = 'event'`),
    index('jobs_blocked_on_agent_idx')
      .on(sql`(waits_for ->> 'agent')`)
      .where(sql`status = 'blocked' and waits_for ->> 'kind' = 'agent'`),
    index('jobs_blocked_on_approval_idx')
      .on(sql`(waits_for ->> 'approval_id')`)
      .where(sql`status = 'blocked' and waits_for ->> 'kind' = 'approval'`),
    index('jobs_escalate_idx')
      .on(t.escalate_at)
      .where(sql`escalate_at is not null`),
    index('jobs_blocked_idx')
      .on(t.blocked_at)
      .where(sql`status = 'blocked'`),
    index('jobs_dead_letters_idx')
      .on(t.finished_at.desc())
      .where(sql`status in ('failed', 'dead') and buried_at is null`),
    index('jobs_created_idx').on(t.namespace, t.id.desc()),
    // For what was made in a stretch of time. Rows lie in about that order; a summary per 32 pages costs an insert next to nothing.
    index('jobs_created_at_idx').using('brin', t.created_at).with({ pages_per_range: 32, autosummarize: true }),
    index('jobs_target_created_idx').on(t.target_agent, t.id.desc()),
    index('jobs_status_created_idx').on(t.status, t.id.desc()),
    index('jobs_flow_idx')
      .on(t.flow_key, t.id.desc())
      .where(sql`flow_key is not null`),
    index('jobs_correlation_idx')
      .on(t.correlation_key, t.id.desc())
      .where(sql`correlation_key is not null`),
    index('jobs_handed_over_idx')
      .on(t.created_at)
      .where(sql`finished_at is null and source_agent is not null`),
    uniqueIndex('jobs_standing_order_run_idx')
      .on(t.standing_order_run_id)
      .where(sql`standing_order_run_id is not null`),
    index('jobs_pruned_idx')
      .on(t.pruned_by)
      .where(sql`pruned_by is not null`),
    index('jobs_parent_idx')
      .on(t.parent_job_id)
      .where(sql`parent_job_id is not null`),
  ],
)

export const job_dependencies = pgTable(
  'job_dependencies',
  {
    job_id: uuid('job_id')
      .notNull()
      .references(() => jobs.id),
    depends_on_job_id: uuid('depends_on_job_id')
      .notNull()
      .references(() => jobs.id),
  },
  (t) => [
    primaryKey({ columns: [t.job_id, t.depends_on_job_id] }),
    check('job_dependencies_not_self', sql`${t.job_id} <> ${t.depends_on_job_id}`),
    index('job_dependencies_on_idx').on(t.depends_on_job_id),
  ],
)

/** The exact bytes an agent was sent, by SHA-256. The attempt's token is cut out of `body`; it can be derived again. */
export const prompts = pgTable(
  'prompts',
  {
    hash: text('hash').primaryKey(),
    body: text('body').notNull(),
    bytes: integer('bytes').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    /** The row of `prunes` by which the body was taken out; hash and size stay. */
    pruned_by: integer('pruned_by'),
  },
  (t) => [
    check('prompts_hash_check', sql`${t.hash} ~ '^[0-9a-f]{64}$'`),
    check('prompts_pruned_check', sql`${t.pruned_by} is null or ${t.body} = ''`),
    index('prompts_pruned_idx')
      .on(t.pruned_by)
      .where(sql`pruned_by is not null`),
  ],
)

/** One row per lease of a job. Closed rows never change again. */
export const job_attempts = pgTable(
  'job_attempts',
  {
    id: uuid('id').primaryKey(),
    job_id: uuid('job_id')
      .notNull()
      .references(() => jobs.id),
    attempt_no: integer('attempt_no').notNull(),
    agent_id: text('agent_id')
      .notNull()
      .references(() => agents.id),
    gateway_id: text('gateway_id')
      .notNull()
      .references(() => gateways.id),
    status: attemptStatus('status').notNull().default('leased'),
    /** Which of the agent's places it holds while open: a unique index makes the agent's concurrency a hard limit. */
    slot: integer('slot').notNull(),
    /** Whether it counts against max_attempts; decided when it ends. */
    burned: boolean('burned').notNull().default(false),
    lease_owner: text('lease_owner').notNull(),
    leased_at: instant('leased_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    leased_until: instant('leased_until').notNull(),
    /** When the gateway had booted, as known at the lease: a later boot means that the run is lost. */
    gateway_booted_at: instant('gateway_booted_at'),
    /** Past this no renewal helps. */
    deadline_at: instant('deadline_at').notNull(),
    admitted_at: instant('admitted_at'),
    finished_at: instant('finished_at'),
    outcome_code: text('outcome_code'),
    error: text('error'),
    summary: text('summary'),
    prompt_hash: text('prompt_hash')
      .notNull()
      .references(() => prompts.hash),
    contract_version: text('contract_version').notNull(),
    payload_hash: text('payload_hash').notNull(),
    hook_status: integer('hook_status'),
    hook_response: jsonb('hook_response').$type<Json>(),
    openclaw_task_ref: text('openclaw_task_ref'),
    openclaw_session_key: text('openclaw_session_key'),
    openclaw_meta: jsonb('openclaw_meta').notNull().default({}).$type<Json>(),
    /** The row of `prunes` by which `hook_response` and `openclaw_meta` were taken out, and the SHA-256 of what they were. */
    pruned_by: integer('pruned_by'),
    pruned_hash: bytea('pruned_hash'),
  },
  (t) => [
    check('job_attempts_no_check', sql`${t.attempt_no} >= 1`),
    check('job_attempts_open_iff_unfinished', sql`(${t.status} in ('leased', 'running')) = (${t.finished_at} is null)`),
    check('job_attempts_outcome_iff_finished', sql`(${t.finished_at} is null) = (${t.outcome_code} is null)`),
    check('job_attempts_lease_order', sql`${t.leased_until} <= ${t.deadline_at}`),
    check('job_attempts_slot_check', sql`${t.slot} between 1 and 1000`),
    uniqueIndex('job_attempts_slot_idx')
      .on(t.agent_id, t.slot)
      .where(sql`finished_at is null`),
    uniqueIndex('job_attempts_no_idx').on(t.job_id, t.attempt_no),
    uniqueIndex('job_attempts_one_open_idx')
      .on(t.job_id)
      .where(sql`finished_at is null`),
    index('job_attempts_expiry_idx')
      .on(t.leased_until)
      .where(sql`finished_at is null`),
    check('job_attempts_pruned_when_closed', sql`${t.pruned_by} is null or (${t.finished_at} is not null and ${t.pruned_hash} is not null)`),
    index('job_attempts_pruned_idx')
      .on(t.pruned_by)
      .where(sql`pruned_by is not null`),
    index('job_attempts_agent_idx').on(t.agent_id, t.leased_at.desc()),
  ],
)
