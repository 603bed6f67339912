import { z } from 'zod'
import { ActorKind } from './actor.js'
import { JobId, Namespace } from './ids.js'
import { JobStatus } from './job-states.js'
import { LIMITS } from './request-limits.js'
import { reasonText, storableText, Time } from './text.js'
import { WorkflowRunId } from './workflows.js'

/** What can be stopped. An order is named `agent/name`; `promotions` and `conversions` are switches that ideas, memory candidates and opportunities obey. */
export const CONTROL_SCOPES = ['everything', 'lane', 'gateway', 'agent', 'order', 'promotions', 'conversions'] as const
export const ControlScope = z.enum(CONTROL_SCOPES)
export type ControlScope = z.infer<typeof ControlScope>

/** pause: nothing new starts. drain: the same for an agent, and it is told when nothing runs any more. freeze: whatever promotes or converts asks first, and is refused. */
export const CONTROL_ACTIONS = ['pause', 'drain', 'freeze'] as const
export const ControlAction = z.enum(CONTROL_ACTIONS)
export type ControlAction = z.infer<typeof ControlAction>

/** What becomes of jobs that hold an attempt when a pause begins. */
export const RunningPolicy = z.enum(['leave', 'cancel'])
export type RunningPolicy = z.infer<typeof RunningPolicy>

export const CONTROL_CHANGES = ['set', 'running_cancelled', 'drained', 'resumed', 'expired', 'replaced'] as const
export const ControlChangeKind = z.enum(CONTROL_CHANGES)
export type ControlChangeKind = z.infer<typeof ControlChangeKind>

/** Scopes that are one thing, and so have no target. */
const WHOLE: ReadonlySet<ControlScope> = new Set(['everything', 'promotions', 'conversions'])
const FREEZABLE: ReadonlySet<ControlScope> = new Set(['promotions', 'conversions'])

const Reason = reasonText(LIMITS.reason)
const target = storableText({ min: 1, max: 200 }).optional()

const targetFits = (body: { readonly scope: ControlScope; readonly target?: string | undefined }, ctx: z.RefinementCtx): void => {
  if (WHOLE.has(body.scope) === (body.target === undefined)) return
  ctx.addIssue({ code: 'custom', path: ['target'], message: WHOLE.has(body.scope) ? `is not for the scope ${body.scope}` : `is needed: which ${body.scope}` })
}

function actionFits({ action, scope, running }: { readonly action: ControlAction; readonly scope: ControlScope; readonly running: RunningPolicy }): string | undefined {
  if ((action === 'freeze') !== FREEZABLE.has(scope)) return action === 'freeze' ? 'only promotions and conversions can be frozen' : `${scope} can only be frozen`
  if (action === 'drain' && scope !== 'agent') return 'only an agent can be drained'
  if (running === 'cancel' && action !== 'pause') return 'only a pause can cancel what runs'
  return undefined
}

/** The longest that a control may be asked to last, in seconds. One without an end has no limit. */
const LONGEST_SECONDS = 366 * 86_400

export const SetControlBody = z
  .strictObject({
    action: ControlAction,
    scope: ControlScope,
    /** A lane, a gateway, an agent, or an order as `agent/name`. */
    target,
    reason: Reason,
    /** When it ends by itself. */
    until: Time.optional(),
    /** The same, in seconds from now by the ledger's clock. */
    for_seconds: z.int().min(1).max(LONGEST_SECONDS).optional(),
    /** `cancel` ends at once what holds an attempt in the scope; its late answer is refused. */
    running: RunningPolicy.default('leave'),
    /** Puts this one in the place of one that is in force with another action or end. */
    replace: z.boolean().default(false),
  })
  .superRefine(targetFits)
  .superRefine((body, ctx) => {
    const fault = actionFits(body)
    if (fault !== undefined) ctx.addIssue({ code: 'custom', path: ['action'], message: fault })
    if (body.until !== undefined && body.for_seconds !== undefined) ctx.addIssue({ code: 'custom', path: ['until'], message: 'give either until or for_seconds' })
  })
  .meta({ id: 'SetControl' })
export type SetControlBody = z.infer<typeof SetControlBody>

export const ResumeBody = z.strictObject({ scope: ControlScope, target, reason: Reason }).superRefine(targetFits).meta({ id: 'Resume' })
export type ResumeBody = z.infer<typeof ResumeBody>

const timestamp = z.iso.datetime({ offset: true })

/**
 * What keeps a drain from being over. `attempts`: those that are open. `transactions`: no attempt is open, but these write attempts, and may
 * have opened one that nobody sees yet. `next_look`: neither; the next process that looks, twice a second, writes down that it is drained.
 */
export const DrainWait = z
  .object({
    kind: z.enum(['attempts', 'transactions', 'next_look']),
    /** How many of them. */
    count: z.int(),
    /** When the oldest of the transactions began; null for anything else, and when PostgreSQL does not tell. */
    since: timestamp.nullable(),
  })
  .meta({ id: 'DrainWait' })
export type DrainWait = z.infer<typeof DrainWait>

/** A control, in force or over. */
export const ControlView = z
  .object({
    id: z.int(),
    action: ControlAction,
    scope: ControlScope,
    target: z.string().nullable(),
    reason: z.string(),
    by_kind: ActorKind,
    by: z.string(),
    since: timestamp,
    /** When it ends by itself; null: when somebody ends it. */
    until: timestamp.nullable(),
    running: RunningPolicy,
    in_force: z.boolean(),
    /** Jobs of the scope that hold an attempt now; null once it is over, and for a freeze. */
    still_running: z.int().nullable(),
    /** Of a drain that is in force and not over; null for anything else. */
    waits_for: DrainWait.nullable(),
    /** When an agent that is drained had nothing running any more. */
    drained_at: timestamp.nullable(),
    lifted_at: timestamp.nullable(),
    lifted_by_kind: ActorKind.nullable(),
    lifted_by: z.string().nullable(),
    lifted_because: z.enum(['resumed', 'expired', 'replaced']).nullable(),
    lift_reason: z.string().nullable(),
  })
  .meta({ id: 'Control' })
export type ControlView = z.infer<typeof ControlView>

export const ControlAnswer = z
  .object({
    /** The control that is in force now, or that was lifted; null when there was nothing to resume. */
    control: ControlView.nullable(),
    /** False when everything was so already. */
    changed: z.boolean(),
    /** Jobs that were cancelled in the same transaction. */
    cancelled: z.int(),
  })
  .meta({ id: 'ControlAnswer' })
export type ControlAnswer = z.infer<typeof ControlAnswer>

/** One row of the history of all controls. */
export const ControlChangeView = z
  .object({
    id: z.int(),
    control_id: z.int(),
    at: timestamp,
    change: ControlChangeKind,
    action: ControlAction,
    scope: ControlScope,
    target: z.string().nullable(),
    reason: z.string(),
    actor_kind: ActorKind,
    actor: z.string(),
    until: timestamp.nullable(),
    running: RunningPolicy,
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'ControlChange' })
export type ControlChangeView = z.infer<typeof ControlChangeView>

export const ListControlChangesQuery = z
  .strictObject({
    scope: ControlScope.optional(),
    target,
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(20).optional(),
  })
  .meta({ id: 'ListControlChanges' })
export type ListControlChangesQuery = z.infer<typeof ListControlChangesQuery>

/** Which jobs belong together: exactly one of the four. */
export const CancelFlowBody = z
  .strictObject({
    correlation_key: storableText({ min: 1, max: 200 }).optional(),
    flow_key: storableText({ min: 1, max: 200 }).optional(),
    /** The run itself is cancelled, with all jobs of its steps. */
    workflow_run_id: WorkflowRunId.optional(),
    /** This job, and all that descend from it. */
    job_id: JobId.optional(),
    /** For a key: in this namespace. */
    namespace: Namespace.default('default'),
    reason: Reason,
    /** `leave`: what holds an attempt goes on, and is named. */
    running: RunningPolicy.default('leave'),
  })
  .superRefine((body, ctx) => {
    const given = [body.correlation_key, body.flow_key, body.workflow_run_id, body.job_id].filter((one) => one !== undefined).length
    if (given !== 1) ctx.addIssue({ code: 'custom', path: [], message: 'give exactly one of correlation_key, flow_key, workflow_run_id and job_id' })
  })
  .meta({ id: 'CancelFlow' })
export type CancelFlowBody = z.infer<typeof CancelFlowBody>

/** How many jobs an answer names; all are counted. */
export const MOST_NAMED = 200

export const CancelledFlow = z
  .object({
    /** How many jobs were cancelled. */
    cancelled: z.int(),
    /** How many were left to run. */
    left_running: z.int(),
    /** The first of both, as they are now. */
    jobs: z.array(z.object({ id: JobId, status: JobStatus, target_agent: z.string().nullable(), subject: z.string() })).max(MOST_NAMED),
  })
  .meta({ id: 'CancelledFlow' })
export type CancelledFlow = z.infer<typeof CancelledFlow>
