import type { InferSelectModel, SQL } from 'drizzle-orm'
import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentId } from '../contracts/ids.js'
import { WorkflowDefinition, type ListWorkflowRunsQuery, type WorkflowRunHistory, type WorkflowRunId, type WorkflowRunView, type WorkflowView } from '../contracts/workflows.js'
import type { Db, Tx } from './database.js'
import { page, uuidCursor, type Page } from './queries.js'
import { iso } from './rows.js'
import type { workflows } from './schema/index.js'
import { runView, stepView, type RunRow, type StepRow } from './workflow-rows.js'

export type WorkflowRow = InferSelectModel<typeof workflows>

export function workflowView(row: WorkflowRow): WorkflowView {
  return {
    name: row.name,
    namespace: row.namespace,
    version: row.version,
    definition: WorkflowDefinition.parse(row.definition),
    hash: row.hash,
    created_by: row.created_by,
    created_at: iso(row.created_at),
  }
}

/** The newest version of every workflow. */
export async function listWorkflows(db: Db): Promise<WorkflowView[]> {
  const { rows } = await db.execute(sql`select distinct on (namespace, name) * from workflows order by namespace, name, version desc limit 10000`)
  return (rows as unknown as WorkflowRow[]).map(workflowView)
}

/** One workflow, its newest version or the one asked for. @throws AGENTBUS_WORKFLOW_NOT_FOUND */
export async function getWorkflow(db: Db, what: { readonly namespace: string; readonly name: string; readonly version?: number | undefined }): Promise<WorkflowView> {
  const { rows } = await db.execute(sql`
    select * from workflows where namespace = ${what.namespace} and name = ${what.name}
      and (${what.version ?? null}::int is null or version = ${what.version ?? null}::int) order by version desc limit 1`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_WORKFLOW_NOT_FOUND', `No workflow has the name ${what.name} in namespace ${what.namespace}.`)
  return workflowView(row as unknown as WorkflowRow)
}

/** Runs, newest first; keyset paging on the id. `inNameOf`: only those of that agent. */
export async function listWorkflowRuns(db: Db, query: ListWorkflowRunsQuery, inNameOf?: AgentId): Promise<Page<WorkflowRunView>> {
  const where: SQL[] = [sql`true`]
  if (inNameOf !== undefined) where.push(sql`source_agent = ${inNameOf}`)
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.workflow !== undefined) where.push(sql`workflow = ${query.workflow}`)
  if (query.status !== undefined) where.push(query.status === 'running' ? sql`finished_at is null` : sql`status = ${query.status}::workflow_run_status`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from workflow_runs where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as RunRow[]).map(runView), query.limit, (run) => run.id)
}

/** One run with its steps, in the order of the workflow, and everything that happened. @throws AGENTBUS_WORKFLOW_NOT_FOUND */
export async function runHistory(db: Db | Tx, id: WorkflowRunId): Promise<WorkflowRunHistory> {
  const found = await db.execute(sql`
    select r.*, w.definition as f_definition from workflow_runs r join workflows w on w.namespace = r.namespace and w.name = r.workflow and w.version = r.version
    where r.id = ${id}::uuid`)
  const row = found.rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_WORKFLOW_NOT_FOUND', `No workflow run has the id ${id}.`, { run_id: id })
  const order = new Map(WorkflowDefinition.parse(row['f_definition']).steps.map((step, at) => [step.id, at]))
  const steps = await db.execute(sql`
    select s.*, j.status::text as job_status, j.target_agent as agent from workflow_steps s left join jobs j on j.id = s.job_id where s.run_id = ${id}::uuid`)
  const transitions = await db.execute(sql`
    select seq, step, from_status, to_status, reason, details, actor_kind, actor, at from workflow_transitions where run_id = ${id}::uuid order by seq limit 10000`)
  return {
    run: runView(row as unknown as RunRow),
    steps: (steps.rows as unknown as StepRow[]).map(stepView).sort((a, b) => (order.get(a.step) ?? 0) - (order.get(b.step) ?? 0)),
    transitions: transitions.rows.map((one) => ({ ...(one as unknown as WorkflowRunHistory['transitions'][number]), at: iso(String(one['at'])) })),
  }
}
