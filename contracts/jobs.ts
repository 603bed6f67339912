import { z } from 'zod'
import { ActorKind } from './actor.js'
import { AgentId, AttemptId, EventId, JobId, Namespace } from './ids.js'
import { JobStatus, Lane, OnDependencyDeath, OnLost, TransitionReason } from './job-states.js'
import { LIMITS } from './request-limits.js'
import { JsonObject, storableText, Time } from './text.js'

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

export const ListBlockedQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    agent: AgentId.optional(),
    limit: z.coerce.number().int().min(1).max(LIMITS.page).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListBlocked' })
export type ListBlockedQuery = z.infer<typeof ListBlockedQuery>
