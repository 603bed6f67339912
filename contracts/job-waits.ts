import { z } from 'zod'
import { JobId } from './ids.js'
import { JobStatus } from './job-states.js'

const WAIT = /^(\d{1,6})(ms|s|m)$/
const LONGEST_WAIT_MS = 300_000
const timestamp = z.iso.datetime({ offset: true })

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
