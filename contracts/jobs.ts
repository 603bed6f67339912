import { z } from 'zod'
import { FileFindingBody } from './findings.js'
import { AgentId, AttemptId, EventId, JobId, Namespace } from './ids.js'
import { AttemptStatus, JobStatus, Lane, OnDependencyDeath, OnLost, TransitionReason } from './job-states.js'
import { ActorKind } from './actor.js'
import { askedApproval, ApprovalId } from './approvals.js'
import { isBusTopic } from './bus-topics.js'
import { Filter } from './filters.js'
import { JsonObject, reasonText, storableText, Time } from './text.js'
import { Topic, TopicPattern } from './topics.js'

/** Limits on what one request may carry. Sizes are in characters unless named otherwise. */
export const LIMITS = {
  bodyBytes: 262_144,
  /** Of `POST /v1/fleet` by an operator: room for 10,000 agents and 10,000 standing orders. */
  fleetBodyBytes: 16_777_216,
  subject: 500,
  summary: 8_000,
  reason: 4_000,
  key: 200,
  dependencies: 100,
  followUps: 50,
  page: 200,
} as const

const timestamp = z.iso.datetime({ offset: true })
const key = storableText({ min: 1, max: LIMITS.key })
const Capabilities = z
  .array(storableText({ min: 1, max: 100 }))
  .min(1)
  .max(20)
  .refine((list) => new Set(list).size === list.length, 'names one twice')
export const JobType = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/, 'letters, digits, dot, underscore, colon and hyphen; at most 100')

/** The body of `POST /v1/jobs`. Field names are those of the source thread. */
export const CreateJobBody = z
  .strictObject({
    namespace: Namespace.default('default'),
    /** Whose work it is. Or `capabilities`: then the bus chooses. */
    target_agent: AgentId.optional(),
    /** What the agent must be able to do; an able one with a free place gets it. */
    capabilities: Capabilities.optional(),
    job_type: JobType.default('reactive'),
    subject: storableText({ min: 1, max: LIMITS.subject }),
    lane: Lane.default('reactive'),
    /** 1 to 1000; 1000 is the most urgent. */
    priority: z.int().min(1).max(1000).default(100),
    /** While a job with this key is open for the agent, the same job is answered instead of a second one. */
    dedupe_key: key.optional(),
    payload: JsonObject.default({}),
    state: JsonObject.default({}),
    /** Not before this time. */
    run_after: Time.optional(),
    max_attempts: z.int().min(1).max(100).default(5),
    /** Seconds the gateway gives one run. */
    timeout_seconds: z.int().min(1).max(86_400).optional(),
    /** Seconds an attempt may go without a renewal. */
    lease_seconds: z.int().min(5).max(86_400).optional(),
    on_lost: OnLost.default('retry'),
    parent_job_id: JobId.optional(),
    flow_key: key.optional(),
    correlation_key: key.optional(),
    source_agent: AgentId.optional(),
    depends_on: z.array(JobId).max(LIMITS.dependencies).default([]),
    on_dependency_death: OnDependencyDeath.default('block'),
  })
  .refine((body) => (body.target_agent === undefined) !== (body.capabilities === undefined), { error: 'name either target_agent or capabilities', path: ['target_agent'] })
  .meta({ id: 'CreateJob' })
export type CreateJobBody = z.infer<typeof CreateJobBody>

/** The body of `POST /v1/job-batches`: jobs that have nothing to do with each other, created together. */
export const CreateBatchBody = z.strictObject({ jobs: z.array(CreateJobBody).min(1).max(1_000) }).meta({ id: 'CreateJobBatch' })
export type CreateBatchBody = z.infer<typeof CreateBatchBody>

const GraphKey = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'letters, digits, dot, underscore and hyphen; at most 100')

/** A job of a graph: with a key of its own, by which the others name it. */
const GraphJob = z.strictObject({ key: GraphKey, needs: z.array(GraphKey).max(LIMITS.dependencies).default([]), ...CreateJobBody.shape })
export type GraphJob = z.infer<typeof GraphJob>

/** The body of `POST /v1/job-graphs`: jobs that depend on each other, created together. */
export const CreateGraphBody = z
  .strictObject({ jobs: z.array(GraphJob).min(1).max(LIMITS.page) })
  .superRefine(({ jobs }, ctx) => {
    const keys = new Set<string>()
    for (const [at, { key, target_agent: agent, capabilities }] of jobs.entries()) {
      if (keys.has(key)) ctx.addIssue({ code: 'custom', path: ['jobs', at, 'key'], message: `${key} is used twice` })
      keys.add(key)
      if ((agent === undefined) === (capabilities === undefined))
        ctx.addIssue({ code: 'custom', path: ['jobs', at, 'target_agent'], message: 'name either target_agent or capabilities' })
    }
  })
  .meta({ id: 'CreateJobGraph' })
export type CreateGraphBody = z.infer<typeof CreateGraphBody>

/** A job as the API shows it. Times are ISO 8601 in UTC. */
export const JobView = z
  .object({
    id: JobId,
    namespace: Namespace,
    /** Null while a job that names capabilities waits for an agent. */
    target_agent: AgentId.nullable(),
    capabilities: z.array(z.string()),
    source_agent: AgentId.nullable(),
    job_type: z.string(),
    subject: z.string(),
    lane: Lane,
    priority: z.int(),
    dedupe_key: z.string().nullable(),
    payload: z.record(z.string(), z.unknown()),
    payload_hash: z.string(),
    state: z.record(z.string(), z.unknown()),
    result: z.record(z.string(), z.unknown()).nullable(),
    summary: z.string().nullable(),
    status: JobStatus,
    /** Rises with every row of the history; the ETag. */
    version: z.int(),
    generation: z.int(),
    run_after: timestamp,
    attempt_count: z.int(),
    max_attempts: z.int(),
    timeout_seconds: z.int(),
    lease_seconds: z.int(),
    on_lost: OnLost,
    on_dependency_death: OnDependencyDeath,
    /** The slot of a standing order that this job is the run of. */
    standing_order_run_id: z.uuid().nullable(),
    /** How the gateway is called: a run of its own, or a turn in the agent's main session. */
    session_mode: z.enum(['isolated', 'main']),
    parent_job_id: JobId.nullable(),
    flow_key: z.string().nullable(),
    correlation_key: z.string().nullable(),
    current_attempt_id: AttemptId.nullable(),
    blocked_reason: z.string().nullable(),
    blocked_owner: z.string().nullable(),
    unblock_action: z.string().nullable(),
    look_again_at: timestamp.nullable(),
    waits_for: z.record(z.string(), z.unknown()).nullable(),
    blocked_at: timestamp.nullable(),
    escalate_at: timestamp.nullable(),
    /** What it waited for and got. */
    answer: z.record(z.string(), z.unknown()).nullable(),
    /** How many reactions to events led to it, and to which event it is one. */
    hops: z.int(),
    source_event_id: EventId.nullable(),
    last_error: z.string().nullable(),
    last_error_code: z.string().nullable(),
    created_by: z.string(),
    created_at: timestamp,
    updated_at: timestamp,
    finished_at: timestamp.nullable(),
    buried_at: timestamp.nullable(),
  })
  .meta({ id: 'Job' })
export type JobView = z.infer<typeof JobView>

/** One row of a job's append-only history. */
export const TransitionView = z
  .object({
    seq: z.int(),
    kind: z.enum(['move', 'note']),
    from_status: JobStatus.nullable(),
    to_status: JobStatus,
    reason: TransitionReason,
    note: z.string().nullable(),
    attempt_id: AttemptId.nullable(),
    actor_kind: ActorKind,
    actor: z.string(),
    details: z.record(z.string(), z.unknown()),
    at: timestamp,
    prev_hash: z.string(),
    hash: z.string(),
  })
  .meta({ id: 'Transition' })
export type TransitionView = z.infer<typeof TransitionView>

/** One run of an agent for a job. */
export const AttemptView = z
  .object({
    id: AttemptId,
    job_id: JobId,
    attempt_no: z.int(),
    agent_id: AgentId,
    gateway_id: z.string(),
    status: AttemptStatus,
    burned: z.boolean(),
    lease_owner: z.string(),
    leased_at: timestamp,
    leased_until: timestamp,
    deadline_at: timestamp,
    admitted_at: timestamp.nullable(),
    finished_at: timestamp.nullable(),
    outcome_code: z.string().nullable(),
    error: z.string().nullable(),
    summary: z.string().nullable(),
    prompt_hash: z.string(),
    contract_version: z.string(),
    payload_hash: z.string(),
    hook_status: z.int().nullable(),
    hook_response: z.record(z.string(), z.unknown()).nullable(),
    openclaw_task_ref: z.string().nullable(),
    openclaw_session_key: z.string().nullable(),
    openclaw_meta: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Attempt' })
export type AttemptView = z.infer<typeof AttemptView>

/** What the agent says about the run; kept on the attempt. */
const runReference = {
  summary: storableText({ max: LIMITS.summary }).optional(),
  openclaw_task_ref: storableText({ min: 1, max: 300 }).optional(),
  openclaw_session_key: storableText({ min: 1, max: 300 }).optional(),
}

/** An event emitted in the same transaction as a close. */
export const EmitEventBody = z
  .strictObject({
    namespace: Namespace.default('default'),
    topic: Topic.refine((topic) => !isBusTopic(topic), 'is said by the bus alone: whoever reacts to it must be able to believe it'),
    source_agent: AgentId.optional(),
    source_job_id: JobId.optional(),
    dedupe_key: key.optional(),
    correlation_key: key.optional(),
    payload: JsonObject.default({}),
  })
  .meta({ id: 'EmitEvent' })
export type EmitEventBody = z.infer<typeof EmitEventBody>

export const inTheSameTransaction = {
  findings: z.array(FileFindingBody).max(LIMITS.followUps).default([]),
  events: z.array(EmitEventBody).max(LIMITS.followUps).default([]),
  follow_ups: z.array(CreateJobBody).max(LIMITS.followUps).default([]),
}

/** What a blocked job waits for. It is requeued when that arrives. */
export const WaitsFor = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('job'), job_id: JobId }),
  z.strictObject({ kind: z.literal('event'), topic: TopicPattern, filter: Filter.default({}) }),
  z.strictObject({ kind: z.literal('approval'), approval_id: ApprovalId.optional(), ...askedApproval }),
  z.strictObject({ kind: z.literal('agent'), agent: AgentId }),
  z.strictObject({ kind: z.literal('time') }),
  z.strictObject({ kind: z.literal('person') }),
])
export type WaitsFor = z.infer<typeof WaitsFor>

export const CompleteJobBody = z.strictObject({ ...runReference, result: JsonObject.default({}), ...inTheSameTransaction }).meta({ id: 'CompleteJob' })
export type CompleteJobBody = z.infer<typeof CompleteJobBody>

export const BlockJobBody = z
  .strictObject({
    ...runReference,
    blocked_reason: reasonText(LIMITS.reason),
    /** Who can unblock it: an agent, a role, a person. */
    blocked_owner: storableText({ min: 1, max: 200 }).default('operator'),
    /** What would unblock it. */
    unblock_action: storableText({ min: 1, max: LIMITS.reason }).optional(),
    /** When to look again; after this the job is queued again by itself. */
    look_again_at: Time.optional(),
    /** After so many seconds somebody is asked to plan anew; absent: as the fleet file says. */
    patience_seconds: z.int().min(1).max(31_536_000).optional(),
    waits_for: WaitsFor.optional(),
    result: JsonObject.default({}),
    ...inTheSameTransaction,
  })
  .meta({ id: 'BlockJob' })
export type BlockJobBody = z.infer<typeof BlockJobBody>

export const FailJobBody = z
  .strictObject({
    ...runReference,
    last_error: storableText({ min: 1, max: LIMITS.reason }),
    /** Present: try again after that many seconds, as long as attempts are left. Absent: terminally invalid. */
    retry_seconds: z.int().min(0).max(2_592_000).optional(),
    result: JsonObject.default({}),
    ...inTheSameTransaction,
  })
  .meta({ id: 'FailJob' })
export type FailJobBody = z.infer<typeof FailJobBody>

export const ProgressBody = z.strictObject({ note: storableText({ min: 1, max: LIMITS.summary }), details: JsonObject.default({}) }).meta({ id: 'Progress' })
export type ProgressBody = z.infer<typeof ProgressBody>

export const MarkRunningBody = z.strictObject({ ...runReference, openclaw_meta: JsonObject.default({}) }).meta({ id: 'MarkRunning' })
export type MarkRunningBody = z.infer<typeof MarkRunningBody>

export const RenewBody = z.strictObject({ lease_seconds: z.int().min(5).max(86_400).default(600) }).meta({ id: 'Renew' })
export type RenewBody = z.infer<typeof RenewBody>

export const ReasonBody = z.strictObject({ reason: reasonText(LIMITS.reason) }).meta({ id: 'Reason' })
export type ReasonBody = z.infer<typeof ReasonBody>

export const UnblockBody = z
  .strictObject({
    reason: reasonText(LIMITS.reason),
    /** What the next attempt is told. */
    answer: JsonObject.default({}),
  })
  .meta({ id: 'UnblockJob' })
export type UnblockBody = z.infer<typeof UnblockBody>

export const ListBlockedQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    agent: AgentId.optional(),
    limit: z.coerce.number().int().min(1).max(LIMITS.page).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListBlocked' })
export type ListBlockedQuery = z.infer<typeof ListBlockedQuery>

export const RetryBody = z
  .strictObject({
    reason: reasonText(LIMITS.reason),
    /** Added to max_attempts, so that a dead job may run again. */
    extra_attempts: z.int().min(1).max(100).default(1),
    run_after: Time.optional(),
    /** Also what is queued already, or holds an attempt: that attempt ends as cancelled, and its late answer is refused. */
    force: z.boolean().optional(),
  })
  .meta({ id: 'RetryJob' })
export type RetryBody = z.infer<typeof RetryBody>

const WAIT = /^(\d{1,6})(ms|s|m)$/
const LONGEST_WAIT_MS = 300_000

/** Milliseconds of a wait such as `30s`; NaN for anything else. */
export function waitMs(text: string): number {
  const [, amount, unit] = WAIT.exec(text) ?? []
  return amount === undefined ? NaN : Number(amount) * (unit === 'ms' ? 1 : unit === 's' ? 1_000 : 60_000)
}

/** How long a client waits for the end of a job. */
export const Wait = z
  .string()
  .regex(WAIT, 'a number with ms, s or m, such as 30s')
  .refine((text) => waitMs(text) <= LONGEST_WAIT_MS, 'is longer than five minutes')
export const WaitQuery = z.strictObject({ wait: Wait.optional() }).meta({ id: 'WaitForJob' })
export type WaitQuery = z.infer<typeof WaitQuery>

/** What came of a job, or how far it is. */
export const JobResult = z
  .object({
    job_id: JobId,
    status: JobStatus,
    /** False while it goes on; then the rest is empty, or what an earlier attempt left. */
    over: z.boolean(),
    summary: z.string().nullable(),
    result: z.record(z.string(), z.unknown()).nullable(),
    blocked_reason: z.string().nullable(),
    last_error: z.string().nullable(),
    finished_at: timestamp.nullable(),
  })
  .meta({ id: 'JobResult' })
export type JobResult = z.infer<typeof JobResult>

export const ListJobsQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    target_agent: AgentId.optional(),
    status: JobStatus.optional(),
    flow_key: key.optional(),
    correlation_key: key.optional(),
    parent_job_id: JobId.optional(),
    limit: z.coerce.number().int().min(1).max(LIMITS.page).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListJobs' })
export type ListJobsQuery = z.infer<typeof ListJobsQuery>

export const ClaimJobsBody = z
  .strictObject({
    namespace: Namespace.default('default'),
    lease_owner: storableText({ min: 1, max: 200 }),
    lease_seconds: z.int().min(5).max(86_400).default(600),
    limit: z.int().min(1).max(50).default(1),
    target_agent: AgentId.optional(),
  })
  .meta({ id: 'ClaimJobs' })
export type ClaimJobsBody = z.infer<typeof ClaimJobsBody>

/** A job claimed by hand: with the attempt's own token, which alone may close it. */
export const ClaimedJob = z.object({ job: JobView, attempt: AttemptView, attempt_token: z.string() }).meta({ id: 'ClaimedJob' })
export type ClaimedJob = z.infer<typeof ClaimedJob>

export const EventView = z
  .object({
    id: EventId,
    namespace: Namespace,
    topic: z.string(),
    source_agent: AgentId.nullable(),
    source_job_id: JobId.nullable(),
    source_attempt_id: AttemptId.nullable(),
    dedupe_key: z.string().nullable(),
    correlation_key: z.string().nullable(),
    payload: z.record(z.string(), z.unknown()),
    hops: z.int(),
    created_by: z.string(),
    created_at: timestamp,
  })
  .meta({ id: 'Event' })
export type EventView = z.infer<typeof EventView>

export const ListEventsQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    /** A topic, or a pattern that ends in `.*`. */
    topic: storableText({ min: 1, max: 200 }).optional(),
    source_job_id: JobId.optional(),
    order: z.enum(['asc', 'desc']).default('asc'),
    limit: z.coerce.number().int().min(1).max(LIMITS.page).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListEvents' })
export type ListEventsQuery = z.infer<typeof ListEventsQuery>
