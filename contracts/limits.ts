import { z } from 'zod'
import { AgentId } from './ids.js'
import { LANES, type Lane } from './job-states.js'

/** The names that a refusal gives. */
export const LIMIT_NAMES = ['queue_depth_per_agent', 'queue_depth_per_lane', 'open_jobs_per_source', 'jobs_per_second_per_caller', 'bytes_per_second_per_caller'] as const
export type LimitName = (typeof LIMIT_NAMES)[number]

/** A limit in jobs, or null for none. */
const Jobs = z.int().min(0).max(100_000_000).nullable()
const Rate = z.number().gt(0).max(1_000_000_000).nullable()

const PER_LANE = Object.fromEntries(LANES.map((lane) => [lane, Jobs.optional()])) as Record<Lane, z.ZodOptional<typeof Jobs>>

/** The section `limits` of `fleet.yaml`: how much work may wait, and how fast it may come. Null means: no limit. */
export const LimitsConfig = z
  .strictObject({
    /** Jobs that wait to begin, for each agent; and those that wait for any agent that can do them, together. */
    queue_depth_per_agent: Jobs.default(100_000),
    /** The same for each lane, over all agents. */
    queue_depth_per_lane: Jobs.default(null),
    /** Jobs that an agent has sent to others, or to itself, and that are not over. */
    open_jobs_per_source: Jobs.default(100_000),
    /** Jobs that one caller may make: an agent with all its tokens and runs, or each name of an operator's token. Ten seconds' worth may come at once. */
    jobs_per_second_per_caller: Rate.default(null),
    /** Bytes of JSON that one caller has kept for good: jobs, events, findings, progress notes, entries of project logs, thoughts and decisions about them. */
    bytes_per_second_per_caller: Rate.default(null),
    /** For single agents: instead of what is said above. */
    agents: z.record(AgentId, z.strictObject({ queue_depth: Jobs.optional(), open_jobs: Jobs.optional() })).default({}),
    /** For single lanes. */
    lanes: z.strictObject(PER_LANE).prefault({}),
    /** What `Retry-After` says when a queue is full. */
    retry_after_seconds: z.int().min(1).max(3_600).default(5),
  })
  .meta({ id: 'LimitsConfig' })
export type LimitsConfig = z.infer<typeof LimitsConfig>
