import { sql } from 'drizzle-orm'
import { MOST_NAMED, type CancelledFlow } from '../contracts/controls.js'
import { AgentbusError, type ErrorCode } from '../contracts/errors.js'
import { uuidv7, type AgentId, type JobId } from '../contracts/ids.js'
import type { CancelWorkflowBody, StartWorkflowBody, WorkflowDefinition, WorkflowRunHistory, WorkflowRunId, WorkflowView } from '../contracts/workflows.js'
import { advance, end, giveUp } from './advance-workflow.js'
import { canonicalJson, sha256 } from './canonical.js'
import { asCaller, type CallerDeps } from './as-caller.js'
import { actorOf, agentOfCaller, type Caller, type CommandContext } from './caller.js'
import type { Tx } from './database.js'
import { cancelJob } from './operate-job.js'
import { limitsOf, type Counted } from './limits.js'
import { requireRight } from './policies.js'
import { cancelUnstarted } from './release-dependents.js'
import { lockJob, note } from './transition.js'
import { runHistory, workflowView, type WorkflowRow } from './workflow-queries.js'
import { lockRun, moveStep } from './workflow-rows.js'

/** Defining, starting and cancelling workflows: for operators, and agents to whom the fleet file gives the right. */
export class WorkflowCommands {
  readonly #deps: CallerDeps

  constructor(deps: CallerDeps) {
    this.#deps = deps
  }

  /** Puts a workflow in force: the same text again is the same version, another is the next. Runs keep the version they began with. @throws AGENTBUS_FORBIDDEN for an agent that would change an operator's */
  define(context: CommandContext, definition: WorkflowDefinition): Promise<{ workflow: WorkflowView; created: boolean; replayed?: boolean }> {
    return this.#once(context, 'define workflows', async (tx) => {
      const { namespace, name } = definition
      await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`workflow:${namespace}/${name}`}, 0))`)
      const hash = sha256(canonicalJson(definition))
      const known = await newest(tx, namespace, name)
      if (known?.hash === hash) return { workflow: workflowView(known), created: false }
      if (known?.created_by.startsWith('operator:') === true && agentOfCaller(context.caller) !== undefined) {
        // Whoever may start it could take out the decision that stands in its way.
        throw new AgentbusError('AGENTBUS_FORBIDDEN', `Workflow ${name} was put in force by an operator; an agent may start it, and define others.`, { workflow: name })
      }
      await mustKnowAgents(tx, definition)
      const { rows } = await tx.execute(sql`
        insert into workflows (namespace, name, version, definition, hash, created_by)
        values (${namespace}, ${name}, ${(known?.version ?? 0) + 1}, ${JSON.stringify(definition)}::jsonb, ${hash}, ${by(context)}) returning *`)
      return { workflow: workflowView(rows[0] as unknown as WorkflowRow), created: true }
    })
  }

  /** Starts a run, or answers the open one with its dedupe key. @throws AGENTBUS_WORKFLOW_NOT_FOUND, AGENTBUS_BAD_REQUEST */
  start(
    context: CommandContext,
    workflow: { readonly namespace: string; readonly name: string },
    body: StartWorkflowBody,
  ): Promise<{ run: WorkflowRunHistory; created: boolean; replayed?: boolean }> {
    return this.#once(context, 'start workflows', async (tx) => {
      const source = sourceOf(context.caller, body.source_agent)
      const found = await newest(tx, workflow.namespace, workflow.name, body.version)
      if (found === undefined) {
        throw new AgentbusError(
          'AGENTBUS_WORKFLOW_NOT_FOUND',
          `No workflow ${workflow.name}${body.version === undefined ? '' : ` version ${body.version}`} in namespace ${workflow.namespace}.`,
        )
      }
      const definition = workflowView(found).definition
      const inputs = checkedInputs(definition, body.inputs)
      const id = uuidv7(this.#deps.nowMs())
      const { rows } = await tx.execute<{ id: string }>(sql`
        insert into workflow_runs (id, namespace, workflow, version, status, inputs, source_agent, dedupe_key, correlation_key, last_seq, created_by)
        values (${id}::uuid, ${found.namespace}, ${found.name}, ${found.version}, 'running', ${JSON.stringify(inputs)}::jsonb, ${source ?? null},
          ${body.dedupe_key ?? null}, ${body.correlation_key ?? `workflow:${id}`}, 1, ${by(context)})
        on conflict (namespace, workflow, dedupe_key) where dedupe_key is not null and finished_at is null do nothing returning id`)
      if (rows.length === 0) return { run: await runHistory(tx, await openRun(tx, found, body)), created: false }
      const actor = actorOf(context.caller)
      await tx.execute(sql`
        insert into workflow_transitions (run_id, seq, to_status, reason, actor_kind, actor) values (${id}::uuid, 1, 'running', 'started', ${actor.kind}::actor_kind, ${actor.id})`)
      await tx.execute(sql`
        insert into workflow_steps (run_id, step) select ${id}::uuid, step from unnest(${sql.param(definition.steps.map((step) => step.id))}::text[]) as step`)
      await cancelUnstarted(tx, await advance(tx, await lockRun(tx, id), this.#deps.nowMs()), 'the run fails')
      const first = await firstJobsOf(tx, id)
      await limitsOf(tx).mustFit(tx, first)
      await this.#deps.rates.takeStarted(tx, context.caller, first.length, body)
      return { run: await runHistory(tx, id as WorkflowRunId), created: true }
    })
  }

  /**
   * Cancels a run: what has not started is cancelled; what runs is left to end, and named in the answer and its own
   * history, or cancelled too. @throws AGENTBUS_WORKFLOW_OVER
   */
  cancel(context: CommandContext, id: WorkflowRunId, body: CancelWorkflowBody): Promise<{ run: WorkflowRunHistory; still_running: JobId[]; replayed?: boolean }> {
    return this.#once(context, 'cancel workflows', async (tx) => {
      const nowMs = this.#deps.nowMs()
      const actor = actorOf(context.caller)
      const jobs = await tx.execute<{ id: JobId }>(sql`
        select j.id from jobs j join workflow_steps s on s.job_id = j.id where s.run_id = ${id}::uuid and s.status = 'running' order by j.id for update of j`)
      const run = await lockRun(tx, id)
      if (run.status !== 'running') throw new AgentbusError('AGENTBUS_WORKFLOW_OVER', `Workflow run ${id} is ${run.status}.`, { run_id: id, status: run.status })
      await giveUp(tx, run, actor, body.reason, nowMs)
      for (const step of [...run.steps.values()].filter(({ status }) => status === 'running')) {
        await moveStep(tx, run, step.step, { to: 'cancelled', actor, reason: body.reason, details: { job_id: step.job_id } })
      }
      run.lastError = body.reason
      await end(tx, run, 'cancelled', actor, nowMs)
      const stillRunning: JobId[] = []
      for (const { id: jobId } of jobs.rows) {
        const job = await lockJob(tx, jobId)
        const isHeld = job.status === 'leased' || job.status === 'running'
        if (!isHeld || body.running === 'cancel') {
          await cancelJob(tx, job, { actor, reason: `Workflow run ${id} was cancelled: ${body.reason}` })
          continue
        }
        stillRunning.push(jobId)
        await note(tx, job, { reason: 'outside_change', actor, note: `Workflow run ${id} was cancelled: ${body.reason}`, details: { change: 'workflow_cancelled', run_id: id } })
      }
      return { run: await runHistory(tx, id), still_running: stillRunning }
    })
  }

  /** {@link cancel}, told as the jobs that were cancelled and those that still run. */
  async cancelWithJobs(context: CommandContext, id: WorkflowRunId, body: CancelWorkflowBody): Promise<CancelledFlow & { replayed?: boolean }> {
    const { still_running: left, replayed } = await this.cancel(context, id, body)
    const all = await this.#deps.run((tx) => jobsOfRun(tx, id))
    const jobs = all.filter((job) => job.status === 'cancelled' || left.includes(job.id))
    const cancelled = jobs.filter(({ status }) => status === 'cancelled').length
    return { cancelled, left_running: left.length, jobs: jobs.slice(0, MOST_NAMED), ...(replayed === true ? { replayed } : {}) }
  }

  #once<T extends Record<string, unknown>>(context: CommandContext, what: string, work: (tx: Tx) => Promise<T>): Promise<T & { replayed?: boolean }> {
    return asCaller(this.#deps, context, LEAVES_A_ROW, async (tx) => {
      await requireRight(tx, context.caller, 'workflow', what)
      return work(tx)
    })
  }
}

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set([
  'AGENTBUS_FORBIDDEN',
  'AGENTBUS_UNAUTHORIZED',
  'AGENTBUS_WORKFLOW_OVER',
  'AGENTBUS_DELEGATION_REFUSED',
  'AGENTBUS_LIMIT_REACHED',
])

/** What a run makes at its start is held against the limits. Once it has begun it goes on: its later steps count, and are never refused. */
async function firstJobsOf(tx: Tx, id: string): Promise<Counted[]> {
  const { rows } = await tx.execute(sql`select j.target_agent, j.lane, j.source_agent from jobs j join workflow_steps s on s.job_id = j.id where s.run_id = ${id}::uuid`)
  return rows as unknown as Counted[]
}

async function jobsOfRun(tx: Tx, id: WorkflowRunId): Promise<CancelledFlow['jobs']> {
  const { rows } = await tx.execute(sql`
    select j.id, j.status, j.target_agent, j.subject
    from jobs j join workflow_steps s on s.job_id = j.id where s.run_id = ${id}::uuid order by j.id`)
  return rows as unknown as CancelledFlow['jobs']
}

function by(context: CommandContext): string {
  const { kind, id } = actorOf(context.caller)
  return `${kind}:${id}`
}

/** An agent starts in its own name; an operator in nobody's, or in one that it names. */
function sourceOf(caller: Caller, asked: AgentId | undefined): AgentId | undefined {
  if (caller.role !== 'agent' && caller.role !== 'attempt') return asked
  if (asked === undefined || asked === caller.agentId) return caller.agentId
  throw new AgentbusError('AGENTBUS_FORBIDDEN', `The token of agent ${caller.agentId} cannot act as another agent.`)
}

async function newest(tx: Tx, namespace: string, name: string, version?: number): Promise<WorkflowRow | undefined> {
  const { rows } = await tx.execute(sql`
    select * from workflows where namespace = ${namespace} and name = ${name} and (${version ?? null}::int is null or version = ${version ?? null}::int)
    order by version desc limit 1`)
  return rows[0] as unknown as WorkflowRow | undefined
}

async function openRun(tx: Tx, workflow: WorkflowRow, body: StartWorkflowBody): Promise<WorkflowRunId> {
  const { rows } = await tx.execute<{ id: WorkflowRunId }>(sql`
    select id from workflow_runs where namespace = ${workflow.namespace} and workflow = ${workflow.name} and dedupe_key = ${body.dedupe_key ?? null} and finished_at is null`)
  const found = rows[0]
  if (found === undefined) throw new AgentbusError('AGENTBUS_WORKFLOW_OVER', 'The run with this dedupe key has ended this moment; start it again.')
  return found.id
}

async function mustKnowAgents(tx: Tx, definition: WorkflowDefinition): Promise<void> {
  const named = [...new Set(definition.steps.flatMap(({ agent }) => agent ?? []))]
  const { rows } = await tx.execute<{ id: string }>(sql`select id from agents where id = any(${sql.param(named)}::text[])`)
  const known = new Set(rows.map((row) => row.id))
  const at = definition.steps.findIndex(({ agent }) => agent !== undefined && !known.has(agent))
  if (at >= 0) throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `steps.${at}.agent: no agent has the id ${definition.steps[at]?.agent ?? ''}.`, { field: `steps.${at}.agent` })
}

function checkedInputs(definition: WorkflowDefinition, given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(definition.inputs, name))
  if (unknown.length > 0)
    throw new AgentbusError('AGENTBUS_BAD_REQUEST', `inputs.${unknown[0] ?? ''}: workflow ${definition.name} declares no such input.`, { field: `inputs.${unknown[0] ?? ''}` })
  const inputs: Record<string, unknown> = {}
  for (const [name, { required, default: otherwise }] of Object.entries(definition.inputs)) {
    // Not by `given[name]` alone: an input may be called what every object has, such as `constructor`.
    const value = (Object.hasOwn(given, name) ? given[name] : undefined) ?? otherwise
    if (value === undefined && required) throw new AgentbusError('AGENTBUS_BAD_REQUEST', `inputs.${name}: is required.`, { field: `inputs.${name}` })
    inputs[name] = value ?? null
  }
  return inputs
}
