import { sql } from 'drizzle-orm'
import { check, foreignKey, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { byTransaction, instant, recordId, writtenIn } from './columns.js'
import { actorKind, approvalStatus, workflowRunStatus, workflowStepStatus } from './enums.js'
import { agents } from './fleet.js'
import { jobs } from './jobs.js'

type Json = Record<string, unknown>

/** Every version of every workflow, as it was posted. Append-only; the newest version of a name is what starts. */
export const workflows = pgTable(
  'workflows',
  {
    namespace: text('namespace').notNull().default('default'),
    name: text('name').notNull(),
    version: integer('version').notNull(),
    definition: jsonb('definition').notNull().$type<Json>(),
    hash: text('hash').notNull(),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [
    primaryKey({ columns: [t.namespace, t.name, t.version] }),
    check('workflows_name_check', sql`${t.name} ~ '^[a-z0-9][a-z0-9._-]{0,99}$' and ${t.version} >= 1`),
    byTransaction('workflows'),
  ],
)

/** One run of a workflow. Its version of the definition never changes under it. */
export const workflow_runs = pgTable(
  'workflow_runs',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    workflow: text('workflow').notNull(),
    version: integer('version').notNull(),
    status: workflowRunStatus('status').notNull(),
    inputs: jsonb('inputs').notNull().$type<Json>(),
    outputs: jsonb('outputs').$type<Json>(),
    /** In whose name its jobs are sent: what that agent may delegate, the workflow may. Null: an operator. */
    source_agent: text('source_agent'),
    dedupe_key: text('dedupe_key'),
    correlation_key: text('correlation_key').notNull(),
    last_error: text('last_error'),
    /** Seq of the newest row of its history. */
    last_seq: integer('last_seq').notNull(),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    finished_at: instant('finished_at'),
  },
  (t) => [
    foreignKey({ columns: [t.namespace, t.workflow, t.version], foreignColumns: [workflows.namespace, workflows.name, workflows.version] }),
    check('workflow_runs_finished_check', sql`(${t.status} = 'running') = (${t.finished_at} is null)`),
    uniqueIndex('workflow_runs_dedupe_idx')
      .on(t.namespace, t.workflow, t.dedupe_key)
      .where(sql`dedupe_key is not null and finished_at is null`),
    index('workflow_runs_open_idx')
      .on(t.id)
      .where(sql`finished_at is null`),
    index('workflow_runs_workflow_idx').on(t.namespace, t.workflow, t.id.desc()),
  ],
)

/** What a person, or an agent that may, is asked to decide. */
export const approvals = pgTable(
  'approvals',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    subject: text('subject').notNull(),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    /** Who asked; null for an operator or the bus itself. */
    agent_id: text('agent_id').references(() => agents.id),
    job_id: uuid('job_id').references(() => jobs.id),
    workflow_run_id: uuid('workflow_run_id').references(() => workflow_runs.id),
    step: text('step'),
    correlation_key: text('correlation_key'),
    status: approvalStatus('status').notNull().default('pending'),
    last_seq: integer('last_seq').notNull().default(1),
    created_by: text('created_by').notNull(),
    created_at: instant('created_at')
      .notNull()
      .default(sql`clock_timestamp()`),
    expires_at: instant('expires_at'),
    decided_at: instant('decided_at'),
    decided_by: text('decided_by'),
    note: text('note'),
  },
  (t) => [
    check('approvals_decided_check', sql`(${t.status} = 'pending') = (${t.decided_at} is null) and (${t.status} = 'pending') = (${t.decided_by} is null)`),
    check('approvals_step_check', sql`(${t.workflow_run_id} is null) = (${t.step} is null)`),
    index('approvals_open_idx')
      .on(t.id.desc())
      .where(sql`status = 'pending'`),
    index('approvals_expiry_idx')
      .on(t.expires_at)
      .where(sql`status = 'pending' and expires_at is not null`),
    index('approvals_job_idx')
      .on(t.job_id)
      .where(sql`job_id is not null`),
    index('approvals_workflow_run_idx')
      .on(t.workflow_run_id)
      .where(sql`workflow_run_id is not null`),
  ],
)

/** Every move of an approval. Append-only. */
export const approval_transitions = pgTable(
  'approval_transitions',
  {
    approval_id: uuid('approval_id')
      .notNull()
      .references(() => approvals.id),
    seq: integer('seq').notNull(),
    to_status: approvalStatus('to_status').notNull(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    note: text('note'),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [primaryKey({ columns: [t.approval_id, t.seq] }), index('approval_transitions_actor_idx').on(t.actor, t.at), byTransaction('approval_transitions')],
)

/** Each step of each run: pending until what it needs is there, then a job or an approval. */
export const workflow_steps = pgTable(
  'workflow_steps',
  {
    run_id: uuid('run_id')
      .notNull()
      .references(() => workflow_runs.id),
    step: text('step').notNull(),
    status: workflowStepStatus('status').notNull().default('pending'),
    job_id: uuid('job_id').references(() => jobs.id),
    approval_id: uuid('approval_id').references(() => approvals.id),
    /** What it answered; for an approval the decision. */
    result: jsonb('result').$type<Json>(),
    reason: text('reason'),
    started_at: instant('started_at'),
    finished_at: instant('finished_at'),
  },
  (t) => [
    primaryKey({ columns: [t.run_id, t.step] }),
    check('workflow_steps_finished_check', sql`(${t.status} in ('pending', 'running')) = (${t.finished_at} is null)`),
    check('workflow_steps_started_check', sql`${t.status} <> 'running' or (${t.started_at} is not null and num_nonnulls(${t.job_id}, ${t.approval_id}) = 1)`),
    uniqueIndex('workflow_steps_job_idx')
      .on(t.job_id)
      .where(sql`job_id is not null`),
    uniqueIndex('workflow_steps_approval_idx')
      .on(t.approval_id)
      .where(sql`approval_id is not null`),
  ],
)

/** Every move of a run and of its steps. Append-only. */
export const workflow_transitions = pgTable(
  'workflow_transitions',
  {
    run_id: uuid('run_id')
      .notNull()
      .references(() => workflow_runs.id),
    seq: integer('seq').notNull(),
    /** Null for a move of the run itself. */
    step: text('step'),
    from_status: text('from_status'),
    to_status: text('to_status').notNull(),
    reason: text('reason'),
    details: jsonb('details').notNull().default({}).$type<Json>(),
    actor_kind: actorKind('actor_kind').notNull(),
    actor: text('actor').notNull(),
    at: instant('at')
      .notNull()
      .default(sql`clock_timestamp()`),
    record_id: recordId(),
    xact: writtenIn(),
  },
  (t) => [primaryKey({ columns: [t.run_id, t.seq] }), byTransaction('workflow_transitions')],
)
