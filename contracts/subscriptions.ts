import { z } from 'zod'
import { Filter } from './filters.js'
import { FindingLevel } from './findings.js'
import { AgentId, EventId, JobId, Namespace } from './ids.js'
import { Lane } from './job-states.js'
import { JsonObject, storableText } from './text.js'
import { TopicPattern } from './topics.js'

export const REACTION_STATUSES = ['pending', 'made', 'joined', 'cut', 'refused', 'failed'] as const
export const ReactionStatus = z.enum(REACTION_STATUSES)
export type ReactionStatus = z.infer<typeof ReactionStatus>

export const SubscriptionName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,99}$/, 'lower-case letters, digits, dot, underscore and hyphen; at most 100')

/** What becomes of an event. Texts may name `{{event.topic}}`, `{{event.id}}`, `{{event.source_agent}}` and `{{payload.<path>}}`. */
const Reaction = {
  subject: storableText({ min: 1, max: 500 }).default('{{event.topic}}'),
  /** Absent: the payload of the event, with where it came from. */
  payload: JsonObject.optional(),
}

export const SubscriptionConfig = z
  .strictObject({
    name: SubscriptionName,
    namespace: Namespace.default('default'),
    agent: AgentId,
    topic: TopicPattern,
    /** `job`: the agent acts now. `inbox`: it reads it when it looks the next time. */
    as: z.enum(['job', 'inbox']).default('job'),
    /** What must hold of the payload. */
    filter: Filter.default({}),
    ...Reaction,
    job_type: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/, 'letters, digits, dot, underscore, colon and hyphen; at most 100')
      .default('reactive'),
    lane: Lane.default('reactive'),
    priority: z.int().min(1).max(1000).default(100),
    max_attempts: z.int().min(1).max(100).default(5),
    timeout_seconds: z.int().min(1).max(86_400).optional(),
    /** While a job with this key is open for the agent, an event joins that job. For the inbox: the subject key. */
    dedupe: storableText({ min: 1, max: 200 }).optional(),
    /** Of a finding in the inbox. */
    level: FindingLevel.default('info'),
    /** Whether an agent is told of what it has said itself. */
    own_events: z.boolean().default(false),
    enabled: z.boolean().default(true),
  })
  .meta({ id: 'SubscriptionConfig' })
export type SubscriptionConfig = z.infer<typeof SubscriptionConfig>

export const SetSubscriptionBody = SubscriptionConfig.omit({ name: true }).meta({ id: 'SetSubscription' })
export type SetSubscriptionBody = z.infer<typeof SetSubscriptionBody>

/** The section `reactions` of `fleet.yaml`: how far a storm gets. */
export const ReactionsConfig = z
  .strictObject({
    /** So many reactions may lie between an event and the first one of its chain. */
    max_hops: z.int().min(1).max(1_000).default(16),
    /** So often one subscription may take part in one chain. */
    max_repeats: z.int().min(1).max(1_000).default(3),
    /** So many subscriptions react to one event at most. */
    max_fan_out: z.int().min(1).max(100_000).default(10_000),
  })
  .meta({ id: 'ReactionsConfig' })
export type ReactionsConfig = z.infer<typeof ReactionsConfig>

const timestamp = z.iso.datetime({ offset: true })

export const SubscriptionView = z.object({ id: z.uuid(), ...SubscriptionConfig.shape, version: z.int(), updated_at: timestamp }).meta({ id: 'Subscription' })
export type SubscriptionView = z.infer<typeof SubscriptionView>

/** What a subscription made of an event. */
export const ReactionView = z
  .object({
    event_id: EventId,
    topic: z.string(),
    subscription: z.string(),
    agent: AgentId,
    version: z.int(),
    status: ReactionStatus,
    job_id: JobId.nullable(),
    finding_id: z.uuid().nullable(),
    detail: z.string().nullable(),
    created_at: timestamp,
    done_at: timestamp.nullable(),
  })
  .meta({ id: 'Reaction' })
export type ReactionView = z.infer<typeof ReactionView>

export const ListReactionsQuery = z
  .strictObject({
    event_id: EventId.optional(),
    job_id: JobId.optional(),
    status: ReactionStatus.optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListReactions' })
export type ListReactionsQuery = z.infer<typeof ListReactionsQuery>
