import { z } from 'zod'
import { ActorKind } from './actor.js'
import { AgentId, AttemptId, JobId } from './ids.js'
import { JobStatus } from './job-states.js'
import { storableText, Time } from './text.js'

/** What a trace is about: one job with its whole lineage, everything under one correlation key, both together, or one agent in a window. */
export const TraceQuery = z
  .strictObject({
    job_id: JobId.optional(),
    correlation_key: storableText({ min: 1, max: 200 }).optional(),
    agent: AgentId.optional(),
    /** Start of the window, for an agent. */
    from: Time.optional(),
    /** Its end; absent: now. */
    to: Time.optional(),
    /** Whether the bytes that the agents were sent are wanted too, but for the tokens in them. */
    prompts: z.enum(['true', 'false']).default('false'),
  })
  .refine((query) => [query.job_id ?? query.correlation_key, query.agent].filter((one) => one !== undefined).length === 1, {
    error: 'name job_id, correlation_key or both; or agent and from',
    path: ['job_id'],
  })
  .refine((query) => query.agent === undefined || query.from !== undefined, { error: 'an agent is traced from some time on', path: ['from'] })
  .meta({ id: 'TraceQuery' })
export type TraceQuery = z.infer<typeof TraceQuery>

const timestamp = z.iso.datetime({ offset: true })

export const TraceView = z
  .object({
    correlation_key: z.string().nullable(),
    jobs: z.array(
      z.object({
        id: JobId,
        parent_job_id: JobId.nullable(),
        /** Jobs that had to succeed before it; they are in the story too, where there is room. */
        depends_on: z.array(JobId),
        /** How many hand-offs below the first job. */
        depth: z.int(),
        source_agent: AgentId.nullable(),
        target_agent: AgentId.nullable(),
        subject: z.string(),
        status: JobStatus,
        created_at: timestamp,
        finished_at: timestamp.nullable(),
      }),
    ),
    /** Everything that happened, in order of time; within a job in the order of its history. */
    entries: z.array(
      z.object({
        at: timestamp,
        /** `refused`: what was not allowed, or came too late. `observed`: mends, dropped queue entries, changes from outside, acts of operators. */
        kind: z.enum(['job', 'event', 'approval', 'workflow', 'slot', 'told', 'read', 'wrote', 'refused', 'observed', 'did']),
        job_id: JobId.nullable(),
        attempt_id: AttemptId.nullable(),
        /** The agent it is about. */
        agent: AgentId.nullable(),
        what: z.string(),
        by: z.object({ kind: ActorKind, id: z.string() }).nullable(),
        note: z.string().nullable(),
        correlation_key: z.string().nullable(),
        details: z.record(z.string(), z.unknown()),
      }),
    ),
    /** Whether there is more than one answer holds. */
    truncated: z.boolean(),
  })
  .meta({ id: 'Trace' })
export type TraceView = z.infer<typeof TraceView>
