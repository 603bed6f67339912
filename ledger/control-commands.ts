import { MOST_NAMED, type CancelFlowBody, type CancelledFlow, type ControlAnswer, type ControlScope, type ResumeBody, type SetControlBody } from '../contracts/controls.js'
import { AgentbusError, isCode, type ErrorCode } from '../contracts/errors.js'
import type { WorkflowRunId } from '../contracts/workflows.js'
import { asCaller, type CallerDeps } from './as-caller.js'
import { actorOf, type CommandContext } from './caller.js'
import { cancelFlow } from './cancel-flow.js'
import { listControls } from './control-queries.js'
import { resumeControl, setControl, type ControlRow } from './controls.js'
import type { Db, Tx } from './database.js'
import { amendAnswer } from './idempotency.js'
import { cancelledSince, cancelRunning } from './keep-controls.js'
import { requireRight } from './policies.js'

export interface ControlCommandDeps extends CallerDeps {
  /** Reads outside a transaction. @throws AGENTBUS_UNAVAILABLE when the ledger is away or too slow */
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  /** Cancels a run of a workflow, and answers the jobs that still run. @throws AGENTBUS_WORKFLOW_OVER, AGENTBUS_WORKFLOW_NOT_FOUND */
  readonly cancelWorkflow: (
    context: CommandContext,
    id: WorkflowRunId,
    body: { readonly reason: string; readonly running: 'leave' | 'cancel' },
  ) => Promise<CancelledFlow & { replayed?: boolean }>
}

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set(['AGENTBUS_FORBIDDEN', 'AGENTBUS_UNAUTHORIZED', 'AGENTBUS_CONTROL_CONFLICT'])

/** What stops and starts work: for operators, and agents to whom the fleet file gives the right `control`. */
export class ControlCommands {
  readonly #deps: ControlCommandDeps

  constructor(deps: ControlCommandDeps) {
    this.#deps = deps
  }

  /**
   * Puts a control in force; once this has answered, no lease takes what is in its scope. What it cancels is cancelled
   * afterwards, so that the stop itself does not wait for that.
   * @throws AGENTBUS_FORBIDDEN, AGENTBUS_NOT_FOUND, AGENTBUS_ORDER_NOT_FOUND, AGENTBUS_CONTROL_CONFLICT
   */
  async set(context: CommandContext, body: SetControlBody): Promise<ControlAnswer & { created: boolean; replayed?: boolean }> {
    const other = body.replace ? 'replace' : 'refuse'
    return this.#set(context, (tx) =>
      setControl(tx, { ...body, target: body.target ?? '', actor: actorOf(context.caller), forSeconds: body.for_seconds, running: body.running, other }),
    )
  }

  /** A pause of the older kind, which leaves any control that is in force there as it is. @returns whether it is a new one */
  async pause(context: CommandContext, what: { readonly scope: ControlScope; readonly target: string; readonly reason: string }): Promise<boolean> {
    const { changed } = await this.#set(context, (tx) => setControl(tx, { action: 'pause', ...what, actor: actorOf(context.caller), running: 'leave', other: 'keep' }))
    return changed
  }

  async #set(context: CommandContext, work: (tx: Tx) => Promise<{ control: ControlRow; changed: boolean }>): Promise<ControlAnswer & { created: boolean; replayed?: boolean }> {
    let setAt = 0
    const answer = await asCaller(this.#deps, context, LEAVES_A_ROW, async (tx) => {
      await requireRight(tx, context.caller, 'control', 'stop work')
      const { control, changed } = await work(tx)
      setAt = Number(control.last_seq)
      return { control: await viewOf(tx, Number(control.id)), changed, cancelled: 0, created: changed && Number(control.last_seq) === 1 }
    })
    if (answer.replayed === true || answer.control === null || answer.control.running !== 'cancel') return answer
    const { id } = answer.control
    await cancelRunning(this.#deps.run, id)
    // Those, too, that a worker process has cancelled first: each looks twice a second for what a control asks of it.
    const cancelled = await this.#deps.read((db) => cancelledSince(db, { controlId: id, seq: setAt }))
    if (cancelled === 0) return answer
    const amended = { ...answer, cancelled, control: await this.#deps.read((db) => viewOf(db, id)) }
    await this.#deps.run((tx) => amendAnswer(tx, context, amended))
    return amended
  }

  /** Lets work start again. What was held is published by whoever looks next, which this wakes. @throws AGENTBUS_FORBIDDEN, AGENTBUS_NOT_FOUND, AGENTBUS_ORDER_NOT_FOUND */
  async resume(context: CommandContext, body: ResumeBody): Promise<ControlAnswer & { replayed?: boolean }> {
    return asCaller(this.#deps, context, LEAVES_A_ROW, async (tx): Promise<ControlAnswer> => {
      await requireRight(tx, context.caller, 'control', 'let work start again')
      const lifted = await resumeControl(tx, { scope: body.scope, target: body.target ?? '', reason: body.reason, actor: actorOf(context.caller) })
      return { control: lifted === undefined ? null : await viewOf(tx, Number(lifted.id)), changed: lifted !== undefined, cancelled: 0 }
    })
  }

  /** Cancels all jobs that belong together. @throws AGENTBUS_FORBIDDEN, AGENTBUS_JOB_NOT_FOUND, AGENTBUS_WORKFLOW_NOT_FOUND, AGENTBUS_WORKFLOW_OVER */
  async cancelFlow(context: CommandContext, body: CancelFlowBody): Promise<CancelledFlow & { replayed?: boolean }> {
    if (body.workflow_run_id !== undefined) return this.#cancelRun(context, body.workflow_run_id, body)
    // Many transactions: the key is taken first, and answered when all are done. A repeat goes on where this one ended.
    const known = await asCaller(this.#deps, context, LEAVES_A_ROW, async (tx) => {
      await requireRight(tx, context.caller, 'control', 'cancel what belongs together')
      return { answer: null as CancelledFlow | null }
    })
    if (known.replayed === true && known.answer !== null) return { ...known.answer, replayed: true }
    const answer = await cancelFlow(this.#deps.run, { body, actor: actorOf(context.caller) })
    await this.#deps.run((tx) => amendAnswer(tx, context, { answer }))
    return answer
  }

  /** The run and the jobs of its steps in one transaction; then what those jobs have made, of which the run knows nothing. */
  async #cancelRun(context: CommandContext, id: WorkflowRunId, body: CancelFlowBody): Promise<CancelledFlow & { replayed?: boolean }> {
    await this.#mayCancelFlows(context)
    const run = await this.#deps.cancelWorkflow(context, id, body).catch((error: unknown) => {
      if (isCode(error, 'AGENTBUS_WORKFLOW_OVER')) return undefined
      throw error
    })
    const made = await cancelFlow(this.#deps.run, { body, actor: actorOf(context.caller) })
    // A run that is over may have left work behind; one that has not is told so.
    if (run === undefined && made.cancelled === 0) return this.#deps.cancelWorkflow(context, id, body)
    const named = new Set(made.jobs.map((job) => job.id))
    return {
      cancelled: (run?.cancelled ?? 0) + made.cancelled,
      left_running: made.left_running,
      jobs: [...(run?.jobs ?? []).filter((job) => !named.has(job.id)), ...made.jobs].slice(0, MOST_NAMED),
      ...(run?.replayed === true ? { replayed: true } : {}),
    }
  }

  async #mayCancelFlows({ caller }: CommandContext): Promise<void> {
    try {
      await this.#deps.run((tx) => requireRight(tx, caller, 'control', 'cancel what belongs together'))
    } catch (error) {
      if (error instanceof AgentbusError) await this.#deps.refused(caller, error, {})
      throw error
    }
  }
}

async function viewOf(db: Db | Tx, id: number): Promise<ControlAnswer['control']> {
  return (await listControls(db, { id }))[0] ?? null
}
