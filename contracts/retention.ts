import { z } from 'zod'

const days = z.int().min(1).max(36_500).optional()

/**
 * The section `retention` of `fleet.yaml`: after how many days `agentbus prune` takes out what. Absent: it is kept for good.
 * Histories, checkpoints and the rows of jobs, attempts and events themselves are never pruned.
 */
export const RetentionConfig = z
  .strictObject({
    /** The texts that agents were sent; hash and size stay. */
    prompts_days: days,
    /** Payload, state, result and answer of jobs that are over. Dead letters wait until they are buried. */
    jobs_days: days,
    /** What gateways answered to attempts that are over. */
    attempts_days: days,
    /** Payloads of events. */
    events_days: days,
    /** Who read what: whole rows. */
    accesses_days: days,
    /** Refusals, mends and operator actions: whole rows. */
    observations_days: days,
  })
  .meta({ id: 'RetentionConfig' })
export type RetentionConfig = z.infer<typeof RetentionConfig>
