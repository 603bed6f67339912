import { z } from 'zod'
import { askedApproval, ApprovalId } from './approvals.js'
import { runReference } from './attempts.js'
import { EmitEventBody } from './events.js'
import { Filter } from './filters.js'
import { FileFindingBody } from './findings.js'
import { AgentId, JobId } from './ids.js'
import { CreateJobBody } from './jobs.js'
import { LIMITS } from './request-limits.js'
import { JsonObject, reasonText, storableText, Time } from './text.js'
import { TopicPattern } from './topics.js'

/** What may come with the close of a job: all of it is written with the close, or nothing is. */
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
