import { AGENT_STATES } from './agents.js'

/** The topics of the events that the bus itself writes. docs/operations.md says what each means; a test compares both. */
export const BUS_TOPICS = [
  'gateway.breaker_opened',
  'gateway.breaker_closed',
  'gateway.restarted',
  'queue.rebuilt',
  'jobs.escalated',
  'reactions.cut',
  'approvals.asked',
  'approvals.approved',
  'approvals.rejected',
  'approvals.expired',
  'workflows.succeeded',
  'workflows.failed',
  'workflows.cancelled',
  'alerts.opened',
  'alerts.resolved',
  ...AGENT_STATES.map((state) => `agents.${state}` as const),
] as const
export type BusTopic = (typeof BUS_TOPICS)[number]

const TOPICS: ReadonlySet<string> = new Set(BUS_TOPICS)

/** Whether a topic belongs to the bus. Said by anybody else, a decision or the end of a workflow could be made up. */
export function isBusTopic(topic: string): topic is BusTopic {
  return TOPICS.has(topic)
}
