import { z } from 'zod'
import { ActorKind } from './actor.js'
import { askedApproval, ApprovalId } from './approvals.js'
import { Filter } from './filters.js'
import { AgentId, JobId, Namespace, uuid } from './ids.js'
import { Lane, OnLost } from './job-states.js'
import { pathsOf } from './templates.js'
import { JsonObject, reasonText, storableText } from './text.js'
import { WORKFLOW_RUN_STATUSES, WORKFLOW_STEP_STATUSES } from './workflow-states.js'

export const WorkflowRunStatus = z.enum(WORKFLOW_RUN_STATUSES)
export type WorkflowRunStatus = z.infer<typeof WorkflowRunStatus>
export const WorkflowStepStatus = z.enum(WORKFLOW_STEP_STATUSES)
export type WorkflowStepStatus = z.infer<typeof WorkflowStepStatus>

export const WorkflowName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,99}$/, 'lower-case letters, digits, dot, underscore and hyphen; at most 100')
export const WorkflowRunId = uuid().brand<'WorkflowRunId'>()
export type WorkflowRunId = z.infer<typeof WorkflowRunId>
const StepId = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,49}$/, 'lower-case letters, digits, underscore and hyphen; at most 50')
const InputName = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,49}$/i, 'letters, digits, underscore and hyphen; at most 50')

/** One step: a job for an agent, a job for whoever is able, or a decision. */
export const WorkflowStep = z
  .strictObject({
    id: StepId,
    agent: AgentId.optional(),
    capabilities: z
      .array(storableText({ min: 1, max: 100 }))
      .min(1)
      .max(20)
      .optional(),
    approval: z.strictObject(askedApproval).optional(),
    /** Steps that must have ended before. */
    needs: z.array(StepId).max(100).default([]),
    /** What must hold of `inputs` and `steps`; else the step is skipped. */
    if: Filter.default({}),
    subject: storableText({ min: 1, max: 500 }).optional(),
    payload: JsonObject.default({}),
    job_type: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/, 'letters, digits, dot, underscore, colon and hyphen; at most 100')
      .default('workflow.step'),
    lane: Lane.default('reactive'),
    priority: z.int().min(1).max(1000).default(100),
    timeout_seconds: z.int().min(1).max(86_400).optional(),
    max_attempts: z.int().min(1).max(100).default(3),
    on_lost: OnLost.default('retry'),
    /** `continue`: what needs this step goes on and sees its status. */
    on_failure: z.enum(['fail', 'continue']).default('fail'),
    /** What becomes of this step when one that it needs was skipped. */
    when_skipped: z.enum(['skip', 'run']).default('skip'),
  })
  .refine((step) => [step.agent, step.capabilities, step.approval].filter((one) => one !== undefined).length === 1, {
    error: 'names exactly one of agent, capabilities and approval',
    path: ['id'],
  })
export type WorkflowStep = z.infer<typeof WorkflowStep>

/** A workflow as it is posted, or stands in a file. */
export const WorkflowDefinition = z
  .strictObject({
    name: WorkflowName,
    namespace: Namespace.default('default'),
    description: storableText({ max: 4_000 }).default(''),
    inputs: z
      .record(InputName, z.strictObject({ required: z.boolean().default(true), default: z.json().optional(), description: storableText({ max: 1_000 }).optional() }))
      .default({}),
    steps: z.array(WorkflowStep).min(1).max(200),
    /** What a run answers: values with `{{inputs.x}}` and `{{steps.id.result.path}}`. */
    outputs: JsonObject.default({}),
  })
  .superRefine((workflow, ctx) => {
    for (const { path, fault } of faultsOfWorkflow(workflow)) ctx.addIssue({ code: 'custom', path: [...path], message: fault })
  })
  .meta({ id: 'Workflow' })
export type WorkflowDefinition = z.infer<typeof WorkflowDefinition>

interface Fault {
  readonly path: readonly (string | number)[]
  readonly fault: string
}

interface Shape {
  readonly inputs: Readonly<Record<string, unknown>>
  readonly steps: readonly WorkflowStep[]
  readonly outputs: Readonly<Record<string, unknown>>
}

/** What no type sees: names used twice, steps that do not exist, cycles, and values that are not there when they are used. */
function faultsOfWorkflow(workflow: Shape): Fault[] {
  const faults: Fault[] = []
  const ids = new Set<string>()
  for (const [at, { id }] of workflow.steps.entries()) {
    if (ids.has(id)) faults.push({ path: ['steps', at, 'id'], fault: `step ${id} is defined twice` })
    ids.add(id)
  }
  for (const [at, { id, needs }] of workflow.steps.entries()) {
    for (const [place, need] of needs.entries()) {
      if (need === id) faults.push({ path: ['steps', at, 'needs', place], fault: `step ${id} needs itself` })
      else if (!ids.has(need)) faults.push({ path: ['steps', at, 'needs', place], fault: `step ${need} is not defined` })
    }
  }
  if (faults.length > 0) return faults
  const before = closureOf(workflow.steps)
  for (const [at, step] of workflow.steps.entries()) {
    if (before.get(step.id)?.has(step.id) === true) faults.push({ path: ['steps', at, 'needs'], fault: `step ${step.id} needs itself by way of others` })
  }
  if (faults.length > 0) return faults
  for (const [at, step] of workflow.steps.entries()) {
    const there = before.get(step.id) ?? new Set()
    const check = (key: string, paths: readonly string[]): void => {
      for (const path of paths) {
        const fault = faultOfPath(path, workflow.inputs, there, `step ${step.id} does not need it`)
        if (fault !== undefined) faults.push({ path: ['steps', at, key], fault })
      }
    }
    check('if', Object.keys(step.if))
    check('subject', pathsOf(step.subject))
    check('payload', pathsOf(step.payload))
    check('approval', pathsOf(step.approval))
  }
  for (const [name, value] of Object.entries(workflow.outputs)) {
    for (const path of pathsOf(value)) {
      const fault = faultOfPath(path, workflow.inputs, ids, 'it is not defined')
      if (fault !== undefined) faults.push({ path: ['outputs', name], fault })
    }
  }
  return faults
}

function faultOfPath(path: string, inputs: Readonly<Record<string, unknown>>, steps: ReadonlySet<string>, why: string): string | undefined {
  const [kind, name] = path.split('.')
  if (kind === 'inputs') return name !== undefined && Object.hasOwn(inputs, name) ? undefined : `{{${path}}}: input ${name ?? ''} is not declared`
  if (kind === 'steps') return name !== undefined && steps.has(name) ? undefined : `{{${path}}}: step ${name ?? ''} cannot be used here: ${why}`
  if (kind === 'run') return undefined
  return `{{${path}}}: begins with neither inputs, steps nor run`
}

/** For each step, every step that surely has ended before it. */
function closureOf(steps: readonly WorkflowStep[]): Map<string, Set<string>> {
  const needs = new Map(steps.map((step) => [step.id, step.needs]))
  const closure = new Map<string, Set<string>>()
  for (const { id } of steps) {
    const seen = new Set<string>()
    const open = [...(needs.get(id) ?? [])]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (seen.has(next)) continue
      seen.add(next)
      open.push(...(needs.get(next) ?? []))
    }
    closure.set(id, seen)
  }
  return closure
}

export const StartWorkflowBody = z
  .strictObject({
    inputs: JsonObject.default({}),
    /** Absent: the newest. */
    version: z.int().min(1).optional(),
    /** While a run with this key is open, it is answered instead of a second one. */
    dedupe_key: storableText({ min: 1, max: 200 }).optional(),
    correlation_key: storableText({ min: 1, max: 200 }).optional(),
    /** In whose name the jobs are sent; its delegation rules hold. An agent always starts in its own name. */
    source_agent: AgentId.optional(),
  })
  .meta({ id: 'StartWorkflow' })
export type StartWorkflowBody = z.infer<typeof StartWorkflowBody>

export const CancelWorkflowBody = z
  .strictObject({
    reason: reasonText(4_000),
    /** What is running already is left to end, or cancelled as well. */
    running: z.enum(['leave', 'cancel']).default('leave'),
  })
  .meta({ id: 'CancelWorkflow' })
export type CancelWorkflowBody = z.infer<typeof CancelWorkflowBody>

const timestamp = z.iso.datetime({ offset: true })

export const WorkflowView = z
  .object({ name: WorkflowName, namespace: Namespace, version: z.int(), definition: WorkflowDefinition, hash: z.string(), created_by: z.string(), created_at: timestamp })
  .meta({ id: 'WorkflowVersion' })
export type WorkflowView = z.infer<typeof WorkflowView>

export const WorkflowRunView = z
  .object({
    id: WorkflowRunId,
    namespace: Namespace,
    workflow: WorkflowName,
    workflow_version: z.int(),
    status: WorkflowRunStatus,
    inputs: z.record(z.string(), z.unknown()),
    outputs: z.record(z.string(), z.unknown()).nullable(),
    source_agent: AgentId.nullable(),
    dedupe_key: z.string().nullable(),
    correlation_key: z.string(),
    last_error: z.string().nullable(),
    version: z.int(),
    created_by: z.string(),
    created_at: timestamp,
    finished_at: timestamp.nullable(),
  })
  .meta({ id: 'WorkflowRun' })
export type WorkflowRunView = z.infer<typeof WorkflowRunView>

export const WorkflowStepView = z
  .object({
    step: z.string(),
    status: WorkflowStepStatus,
    job_id: JobId.nullable(),
    approval_id: ApprovalId.nullable(),
    /** Of its job, while that is open: who has it and how far it is. */
    job_status: z.string().nullable(),
    agent: AgentId.nullable(),
    result: z.record(z.string(), z.unknown()).nullable(),
    reason: z.string().nullable(),
    started_at: timestamp.nullable(),
    finished_at: timestamp.nullable(),
  })
  .meta({ id: 'WorkflowStepState' })
export type WorkflowStepView = z.infer<typeof WorkflowStepView>

export const WorkflowRunHistory = z
  .object({
    run: WorkflowRunView,
    steps: z.array(WorkflowStepView),
    transitions: z.array(
      z.object({
        seq: z.int(),
        step: z.string().nullable(),
        from_status: z.string().nullable(),
        to_status: z.string(),
        reason: z.string().nullable(),
        details: z.record(z.string(), z.unknown()),
        actor_kind: ActorKind,
        actor: z.string(),
        at: timestamp,
      }),
    ),
  })
  .meta({ id: 'WorkflowRunHistory' })
export type WorkflowRunHistory = z.infer<typeof WorkflowRunHistory>

export const ListWorkflowRunsQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    workflow: WorkflowName.optional(),
    status: WorkflowRunStatus.optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListWorkflowRuns' })
export type ListWorkflowRunsQuery = z.infer<typeof ListWorkflowRunsQuery>
