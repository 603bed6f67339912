import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import { fits } from '../contracts/filters.js'
import type { JobId } from '../contracts/ids.js'
import { faultsOf } from '../contracts/issues.js'
import { CreateJobBody } from '../contracts/jobs.js'
import { fill, fillText } from '../contracts/templates.js'
import type { WorkflowStep } from '../contracts/workflows.js'
import { askApproval, withdrawApproval, type ApprovalRow } from './ask-approval.js'
import { createJob } from './create-job.js'
import type { Tx } from './database.js'
import { emitEvent } from './emit-event.js'
import type { JobRow } from './rows.js'
import { closeRun, lockRun, moveStep, stepOf, type LockedRun, type StepRow } from './workflow-rows.js'

/** Jobs that the run no longer wants. The caller cancels those that have not started; it knows how a job ends, this does not. */
export type Unwanted = readonly JobId[]

/** In the transaction that ends the job of a step: the run takes it down and goes on. */
export async function stepJobEnded(tx: Tx, job: JobRow): Promise<Unwanted> {
  const { rows } = await tx.execute<{ run_id: string; step: string }>(sql`select run_id, step from workflow_steps where job_id = ${job.id}::uuid and status = 'running'`)
  const found = rows[0]
  if (found === undefined) return []
  const run = await lockRun(tx, found.run_id)
  if (run.status !== 'running' || run.steps.get(found.step)?.status !== 'running') return []
  const result = { ...job.result }
  if (job.status === 'succeeded') await moveStep(tx, run, found.step, { to: 'succeeded', actor: SYSTEM_ACTOR, result, details: { job_id: job.id } })
  else {
    const reason = `job ${job.id} is ${job.status}${job.last_error === null ? '' : `: ${job.last_error}`}`
    await moveStep(tx, run, found.step, {
      to: job.status === 'cancelled' ? 'cancelled' : 'failed',
      actor: SYSTEM_ACTOR,
      reason: reason.slice(0, 2_000),
      result,
      details: { job_id: job.id },
    })
    failIfItMust(run, found.step, reason)
  }
  return advance(tx, run, Date.parse(job.updated_at))
}

/** In the transaction of a decision. */
export async function stepDecided(tx: Tx, approval: ApprovalRow, nowMs: number): Promise<Unwanted> {
  if (approval.workflow_run_id === null || approval.step === null) return []
  const run = await lockRun(tx, approval.workflow_run_id)
  if (run.status !== 'running' || run.steps.get(approval.step)?.status !== 'running') return []
  const result = { decision: approval.status, note: approval.note, decided_by: approval.decided_by }
  const details = { approval_id: approval.id }
  if (approval.status === 'approved') await moveStep(tx, run, approval.step, { to: 'succeeded', actor: SYSTEM_ACTOR, result, details })
  else {
    const reason = `the approval was ${approval.status}${approval.note === null ? '' : `: ${approval.note}`}`
    await moveStep(tx, run, approval.step, { to: 'failed', actor: SYSTEM_ACTOR, reason, result, details })
    failIfItMust(run, approval.step, reason)
  }
  return advance(tx, run, nowMs)
}

/** The first failure that is not to be passed over: nothing new starts, and the run fails when what runs has ended. */
function failIfItMust(run: LockedRun, step: string, reason: string): void {
  if (run.lastError === null && stepOf(run, step).on_failure === 'fail') run.lastError = `${step}: ${reason}`.slice(0, 2_000)
}

const isOver = (step: StepRow | undefined): boolean => step !== undefined && step.status !== 'pending' && step.status !== 'running'

/** Starts every step that can start, and ends the run when nothing is left. */
export async function advance(tx: Tx, run: LockedRun, nowMs: number): Promise<Unwanted> {
  for (let moved = true; moved && run.lastError === null;) {
    moved = false
    for (const step of run.definition.steps) {
      if (run.steps.get(step.id)?.status !== 'pending' || !step.needs.every((id) => isOver(run.steps.get(id)))) continue
      await startStep(tx, run, step, nowMs)
      moved = true
      if (run.lastError !== null) break
    }
  }
  const unwanted = run.lastError === null ? [] : await giveUp(tx, run, SYSTEM_ACTOR, 'the run fails', nowMs)
  const left = [...run.steps.values()].filter((step) => !isOver(step))
  if (left.length === 0) await end(tx, run, run.lastError === null ? 'succeeded' : 'failed', SYSTEM_ACTOR, nowMs)
  else await closeRun(tx, run, SYSTEM_ACTOR)
  return unwanted
}

/** Ends the run. What it answers, it answers with the event too. */
export async function end(tx: Tx, run: LockedRun, as: 'succeeded' | 'failed' | 'cancelled', actor: Actor, nowMs: number): Promise<void> {
  run.status = as === 'succeeded' ? withOutputs(run) : as
  const row = await closeRun(tx, run, actor)
  await emitEvent(
    tx,
    {
      namespace: row.namespace,
      topic: `workflows.${run.status}`,
      correlation_key: row.correlation_key,
      ...(row.source_agent === null ? {} : { source_agent: row.source_agent as never }),
      payload: { run_id: row.id, workflow: row.workflow, version: row.version, outputs: row.outputs, last_error: row.last_error },
    },
    { actor, nowMs },
  )
}

/** Outputs that cannot be stored fail the run. They must not fail the transaction: that is the close of an agent who did its part. */
function withOutputs(run: LockedRun): 'succeeded' | 'failed' {
  try {
    run.outputs = fill(run.definition.outputs, dataOf(run)) as Record<string, unknown>
    return 'succeeded'
  } catch (error) {
    if (!(error instanceof AgentbusError)) throw error
    run.lastError = `outputs: ${error.message}`
    return 'failed'
  }
}

/**
 * Cancels what has not begun: pending steps and open questions at once; jobs are named to the caller, who cancels those
 * that nobody has started.
 */
export async function giveUp(tx: Tx, run: LockedRun, actor: Actor, reason: string, nowMs: number): Promise<Unwanted> {
  const unwanted: JobId[] = []
  for (const step of run.steps.values()) {
    if (step.status === 'pending') await moveStep(tx, run, step.step, { to: 'cancelled', actor, reason })
    else if (step.status === 'running' && step.approval_id !== null) {
      await withdrawApproval(tx, step.approval_id, { actor, note: reason, nowMs })
      await moveStep(tx, run, step.step, { to: 'cancelled', actor, reason })
    } else if (step.status === 'running' && step.job_id !== null) unwanted.push(step.job_id as JobId)
  }
  return unwanted
}

/** What texts, payloads and conditions may name. */
function dataOf(run: LockedRun) {
  const steps = Object.fromEntries([...run.steps.values()].map(({ step, status, result, reason }) => [step, { status, result: result ?? {}, reason }]))
  return { inputs: run.row.inputs, steps, run: { id: run.row.id, workflow: run.row.workflow, correlation_key: run.row.correlation_key } }
}

async function startStep(tx: Tx, run: LockedRun, step: WorkflowStep, nowMs: number): Promise<void> {
  const data = dataOf(run)
  const skipped = step.needs.filter((id) => run.steps.get(id)?.status === 'skipped')
  if (skipped.length > 0 && step.when_skipped === 'skip') {
    return moveStep(tx, run, step.id, { to: 'skipped', actor: SYSTEM_ACTOR, reason: `${skipped.join(', ')} was skipped` })
  }
  if (!fits(step.if, data)) return moveStep(tx, run, step.id, { to: 'skipped', actor: SYSTEM_ACTOR, reason: 'its condition does not hold' })
  try {
    await (step.approval === undefined ? sendJob(tx, run, step, data, nowMs) : ask(tx, run, step, step.approval, data, nowMs))
  } catch (error) {
    if (!(error instanceof AgentbusError)) throw error
    await moveStep(tx, run, step.id, { to: 'failed', actor: SYSTEM_ACTOR, reason: error.message.slice(0, 2_000), details: { code: error.code } })
    failIfItMust(run, step.id, error.message)
  }
}

async function ask(tx: Tx, run: LockedRun, step: WorkflowStep, wanted: NonNullable<WorkflowStep['approval']>, data: unknown, nowMs: number): Promise<void> {
  const approval = await askApproval(tx, {
    namespace: run.row.namespace,
    subject: (fillText(wanted.subject ?? step.subject ?? `${run.row.workflow}: ${step.id}`, data) || step.id).slice(0, 500),
    details: fill(wanted.details, data) as Record<string, unknown>,
    agentId: run.row.source_agent ?? undefined,
    workflow: { runId: run.row.id, step: step.id },
    correlationKey: run.row.correlation_key,
    expiresInSeconds: wanted.expires_in_seconds,
    actor: actorOf(run),
    nowMs,
  })
  await moveStep(tx, run, step.id, { to: 'running', actor: SYSTEM_ACTOR, approvalId: approval.id, details: { approval_id: approval.id } })
}

async function sendJob(tx: Tx, run: LockedRun, step: WorkflowStep, data: unknown, nowMs: number): Promise<void> {
  const body = CreateJobBody.safeParse({
    namespace: run.row.namespace,
    ...(step.agent === undefined ? { capabilities: step.capabilities } : { target_agent: step.agent }),
    job_type: step.job_type,
    subject: (fillText(step.subject ?? `${run.row.workflow}: ${step.id}`, data) || step.id).slice(0, 500),
    payload: fill(step.payload, data),
    lane: step.lane,
    priority: step.priority,
    max_attempts: step.max_attempts,
    timeout_seconds: step.timeout_seconds,
    on_lost: step.on_lost,
    flow_key: `workflow:${run.row.id}`,
    correlation_key: run.row.correlation_key,
    source_agent: run.row.source_agent ?? undefined,
  })
  if (!body.success) throw new AgentbusError('AGENTBUS_BAD_REQUEST', faultsOf(body.error.issues))
  const { job } = await createJob(tx, body.data, { actor: actorOf(run), nowMs, awaited: true })
  await moveStep(tx, run, step.id, { to: 'running', actor: SYSTEM_ACTOR, jobId: job.id, details: { job_id: job.id } })
}

function actorOf(run: LockedRun): Actor {
  return { kind: SYSTEM_ACTOR.kind, id: `workflow:${run.row.workflow}` }
}
