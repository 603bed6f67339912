import { z } from 'zod'
import { isBusTopic } from './bus-topics.js'
import { AgentId, AttemptId, EventId, JobId, Namespace } from './ids.js'
import { LIMITS } from './request-limits.js'
import { JsonObject, storableText } from './text.js'
import { Topic } from './topics.js'

const timestamp = z.iso.datetime({ offset: true })
const key = storableText({ min: 1, max: LIMITS.key })

/** The body of `POST /v1/events`, and an event emitted in the same transaction as a close. */
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
