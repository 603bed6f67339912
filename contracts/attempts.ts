import { z } from 'zod'
import { AgentId, AttemptId, JobId, Namespace } from './ids.js'
import { AttemptStatus } from './job-states.js'
import { JobView } from './jobs.js'
import { LIMITS } from './request-limits.js'
import { JsonObject, storableText } from './text.js'

const timestamp = z.iso.datetime({ offset: true })

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
export const runReference = {
  summary: storableText({ max: LIMITS.summary }).optional(),
  openclaw_task_ref: storableText({ min: 1, max: 300 }).optional(),
  openclaw_session_key: storableText({ min: 1, max: 300 }).optional(),
}

export const MarkRunningBody = z.strictObject({ ...runReference, openclaw_meta: JsonObject.default({}) }).meta({ id: 'MarkRunning' })
export type MarkRunningBody = z.infer<typeof MarkRunningBody>

export const ProgressBody = z.strictObject({ note: storableText({ min: 1, max: LIMITS.summary }), details: JsonObject.default({}) }).meta({ id: 'Progress' })
export type ProgressBody = z.infer<typeof ProgressBody>

export const RenewBody = z.strictObject({ lease_seconds: z.int().min(5).max(86_400).default(600) }).meta({ id: 'Renew' })
export type RenewBody = z.infer<typeof RenewBody>

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
