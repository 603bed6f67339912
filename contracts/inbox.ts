import { z } from 'zod'
import { AgentId } from './ids.js'
import { TimeZone } from './standing-orders.js'
import { storableText } from './text.js'
import { TopicPattern } from './topics.js'

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export const Weekday = z.enum(WEEKDAYS)
export type Weekday = z.infer<typeof Weekday>

/** One step of a nag policy. */
export const NagStep = z.strictObject({
  /** How to say it; a word that the reader of the inbox is given. */
  tone: storableText({ min: 1, max: 50 }),
  /** How many times it is said so. */
  times: z.int().min(1).max(100).default(1),
  /** Not before the matter is so many days old. */
  after_days: z.number().min(0).max(3_650).default(0),
  /** What to say; `{subject}`, `{body}`, `{days}` and `{count}` are filled in. Without it: the body. */
  say: storableText({ min: 1, max: 1_000 }).optional(),
})
export type NagStep = z.infer<typeof NagStep>

/** How a finding that repeats is raised: step after step, and after the last one no more. */
export const NagPolicy = z.strictObject({
  topic: TopicPattern,
  steps: z.array(NagStep).min(1).max(20),
  /** Hours between two raises at least. */
  every_hours: z.number().min(0).max(8_760).default(24),
  /** On which days it is raised, in `time_zone`. */
  days: z
    .array(Weekday)
    .min(1)
    .max(7)
    .default([...WEEKDAYS]),
  time_zone: TimeZone.default('UTC'),
  /** Not seen for so many days, the matter is over: seen again, it begins anew. */
  forget_after_days: z.number().gt(0).max(3_650).default(30),
})
export type NagPolicy = z.infer<typeof NagPolicy>

/** What holds for topics that no policy names: polite, after three days firmer, after seven a question, then silence. */
export const DEFAULT_NAG: NagPolicy = NagPolicy.parse({
  topic: '*',
  steps: [
    { tone: 'polite' },
    { tone: 'firm', after_days: 3, say: '{body} (for {days} days)' },
    { tone: 'act or drop', after_days: 7, say: '{body} (for {days} days; is it still wanted?)' },
  ],
})

export const PendingResult = z.strictObject({
  enabled: z.boolean().default(true),
  /** Minutes that handed-over work may take before somebody is told. */
  after_minutes: z.number().gt(0).max(100_000).default(15),
  /** Who is told: the coordinator, or the agent that handed the work over. Without a coordinator always the latter. */
  to: z.enum(['coordinator', 'source']).default('coordinator'),
})

/** The section `inbox` of `fleet.yaml`. */
export const InboxConfig = z
  .strictObject({
    /** Whose inbox findings go to that name nobody. */
    coordinator: AgentId.optional(),
    /** The first one whose topic fits a finding holds for it. */
    policies: z.array(NagPolicy).max(1_000).default([]),
    pending_result: PendingResult.prefault({}),
  })
  .meta({ id: 'InboxConfig' })
export type InboxConfig = z.infer<typeof InboxConfig>

/** The policy that holds for a topic. */
export function policyFor(config: InboxConfig, topic: string): NagPolicy {
  return config.policies.find((policy) => fits(policy.topic, topic)) ?? DEFAULT_NAG
}

function fits(pattern: string, topic: string): boolean {
  if (pattern === '*' || pattern === topic) return true
  return pattern.endsWith('.*') && topic.startsWith(pattern.slice(0, -1))
}
