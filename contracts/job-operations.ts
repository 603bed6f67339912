import { z } from 'zod'
import { LIMITS } from './request-limits.js'
import { JsonObject, reasonText, Time } from './text.js'

/** Why an operator does something to a job, an agent or a lane. */
export const ReasonBody = z.strictObject({ reason: reasonText(LIMITS.reason) }).meta({ id: 'Reason' })
export type ReasonBody = z.infer<typeof ReasonBody>

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

export const UnblockBody = z
  .strictObject({
    reason: reasonText(LIMITS.reason),
    /** What the next attempt is told. */
    answer: JsonObject.default({}),
  })
  .meta({ id: 'UnblockJob' })
export type UnblockBody = z.infer<typeof UnblockBody>
