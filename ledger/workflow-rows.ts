import type { InferSelectModel } from 'drizzle-orm'
import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { ApprovalId } from '../contracts/approvals.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentId, JobId } from '../contracts/ids.js'
import {
  WorkflowDefinition,
  type WorkflowRunId,
  type WorkflowRunStatus,
  type WorkflowRunView,
  type WorkflowStep,
  type WorkflowStepStatus,
  type WorkflowStepView,
} from '../contracts/workflows.js'
import type { Tx } from './database.js'
import { iso } from './rows.js'
import type { workflow_runs, workflow_steps } from './schema/index.js'

export type RunRow = InferSelectModel<typeof workflow_runs>
export type StepRow = InferSelectModel<typeof workflow_steps>

/** A run locked in this transaction, with its steps. Moves change it here and write their history; {@link closeRun} writes the rest. */
export interface LockedRun {
  readonly row: RunRow
  readonly definition: WorkflowDefinition
  readonly steps: Map<string, StepRow>
  lastSeq: number
  status: WorkflowRunStatus
  lastError: string | null
  outputs: Record<string, unknown> | null
}

/** Locks a run with all its steps. @throws AGENTBUS_WORKFLOW_NOT_FOUND */
export async function lockRun(tx: Tx, id: WorkflowRunId | string): Promise<LockedRun> {
  const { rows } = await tx.execute(sql`
    select r.*, w.definition as f_definition from workflow_runs r
      join workflows w on w.namespace = r.namespace and w.name = r.workflow and w.version = r.version
    where r.id = ${id}::uuid for no key update of r`)
  const found = rows[0]
  if (found === undefined) throw new AgentbusError('AGENTBUS_WORKFLOW_NOT_FOUND', `No workflow run has the id ${id}.`, { run_id: id })
  const { f_definition, ...rest } = found
  const row = rest as unknown as RunRow
  const steps = await tx.execute(sql`select * from workflow_steps where run_id = ${id}::uuid`)
  return {
    row,
    definition: WorkflowDefinition.parse(f_definition),
    steps: new Map((steps.rows as unknown as StepRow[]).map((step) => [step.step, step])),
    lastSeq: row.last_seq,
    status: row.status,
    lastError: row.last_error,
    outputs: row.outputs,
  }
}

export interface StepMove {
  readonly to: Exclude<WorkflowStepStatus, 'pending'>
  readonly actor: Actor
  readonly reason?: string | undefined
  readonly result?: Record<string, unknown> | undefined
  readonly jobId?: string | undefined
  readonly approvalId?: string | undefined
  readonly details?: Record<string, unknown>
}

/** Moves a step, with its history row. */
export async function moveStep(tx: Tx, run: LockedRun, id: string, move: StepMove): Promise<void> {
  const before = run.steps.get(id)
  if (before === undefined) throw new Error(`run ${run.row.id} has no step ${id}`)
  run.lastSeq += 1
  const { rows } = await tx.execute(sql`
    with logged as (
      insert into workflow_transitions (run_id, seq, step, from_status, to_status, reason, details, actor_kind, actor)
      values (${run.row.id}::uuid, ${run.lastSeq}, ${id}, ${before.status}, ${move.to}, ${move.reason ?? null}, ${JSON.stringify(move.details ?? {})}::jsonb,
        ${move.actor.kind}::actor_kind, ${move.actor.id})
    )
    update workflow_steps set status = ${move.to}::workflow_step_status, reason = ${move.reason ?? null},
      job_id = coalesce(${move.jobId ?? null}::uuid, job_id), approval_id = coalesce(${move.approvalId ?? null}::uuid, approval_id),
      result = coalesce(${move.result === undefined ? null : JSON.stringify(move.result)}::jsonb, result),
      started_at = case when ${move.to === 'running'} then clock_timestamp() else started_at end,
      finished_at = case when ${move.to === 'running'} then null else clock_timestamp() end
    where run_id = ${run.row.id}::uuid and step = ${id} returning *`)
  run.steps.set(id, rows[0] as unknown as StepRow)
}

/** Writes what has become of the run itself; its end has a row of its own in the history. */
export async function closeRun(tx: Tx, run: LockedRun, actor: Actor): Promise<RunRow> {
  if (run.status !== 'running') {
    run.lastSeq += 1
    await tx.execute(sql`
      insert into workflow_transitions (run_id, seq, from_status, to_status, reason, actor_kind, actor)
      values (${run.row.id}::uuid, ${run.lastSeq}, 'running', ${run.status}, ${run.lastError}, ${actor.kind}::actor_kind, ${actor.id})`)
  }
  const { rows } = await tx.execute(sql`
    update workflow_runs set status = ${run.status}::workflow_run_status, last_seq = ${run.lastSeq}, last_error = ${run.lastError},
      outputs = ${run.outputs === null ? null : JSON.stringify(run.outputs)}::jsonb,
      finished_at = case when ${run.status === 'running'} then null else clock_timestamp() end
    where id = ${run.row.id}::uuid returning *`)
  return rows[0] as unknown as RunRow
}

export function stepOf(run: LockedRun, id: string): WorkflowStep {
  const step = run.definition.steps.find((one) => one.id === id)
  if (step === undefined) throw new Error(`workflow ${run.row.workflow} has no step ${id}`)
  return step
}

export function runView(row: RunRow): WorkflowRunView {
  return {
    id: row.id as WorkflowRunId,
    namespace: row.namespace,
    workflow: row.workflow,
    workflow_version: row.version,
    status: row.status,
    inputs: row.inputs,
    outputs: row.outputs,
    source_agent: row.source_agent as AgentId | null,
    dedupe_key: row.dedupe_key,
    correlation_key: row.correlation_key,
    last_error: row.last_error,
    version: row.last_seq,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    finished_at: row.finished_at === null ? null : iso(row.finished_at),
  }
}

export function stepView(row: StepRow & { readonly job_status?: string | null; readonly agent?: string | null }): WorkflowStepView {
  return {
    step: row.step,
    status: row.status,
    job_id: row.job_id as JobId | null,
    approval_id: row.approval_id as ApprovalId | null,
    job_status: row.job_status ?? null,
    agent: (row.agent ?? null) as AgentId | null,
    result: row.result,
    reason: row.reason,
    started_at: row.started_at === null ? null : iso(row.started_at),
    finished_at: row.finished_at === null ? null : iso(row.finished_at),
  }
}
