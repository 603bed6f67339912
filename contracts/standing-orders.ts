import { z } from 'zod'
import { AgentId, JobId, Namespace, uuid } from './ids.js'
import { Lane } from './job-states.js'
import { inTheSameTransaction } from './closings.js'
import { JsonObject, storableText, Time } from './text.js'

/** When a standing order is due: a cron expression read in a time zone, or a fixed interval counted from the epoch. */
export type Schedule = { readonly cron: string; readonly timeZone: string } | { readonly everySeconds: number }

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}

/** A span of the day, `HH:MM-HH:MM`, in the order's zone. The end is not part of it; a span may pass midnight. */
const HOURS = /^([01]\d|2[0-3]):([0-5]\d)-(([01]\d|2[0-3]):([0-5]\d)|24:00)$/

/** Every state of a slot: one due time of one standing order. */
export const SLOT_STATUSES = ['expected', 'started', 'no_work', 'completed', 'blocked', 'failed', 'skipped', 'missed'] as const
/** Those that a slot ends in. */
export const ENDED_SLOT_STATUSES = SLOT_STATUSES.filter((status) => status !== 'expected' && status !== 'started')
export const SlotStatus = z.enum(SLOT_STATUSES)
export type SlotStatus = z.infer<typeof SlotStatus>

/** Why a slot was skipped: decided before any gateway was called. */
export const SKIP_CAUSES = ['outside_active_hours', 'quiet_hours', 'agent_not_idle', 'paused', 'overlap', 'disabled'] as const
/** Why nobody started a slot in time. */
export const MISS_CAUSES = ['worker_down', 'queue_store_down', 'agent_offline', 'paused', 'disabled', 'overlap', 'agent_busy', 'catch_up_rule', 'unknown'] as const
export const SLOT_CAUSES = [...new Set([...SKIP_CAUSES, ...MISS_CAUSES])] as [string, ...string[]]
export type MissCause = (typeof MISS_CAUSES)[number]
export type SkipCause = (typeof SKIP_CAUSES)[number]

export const OrderName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,99}$/, 'lower-case letters, digits, dot, underscore and hyphen; first a letter or digit; at most 100')

export const SessionMode = z.enum(['isolated', 'main'])
export type SessionMode = z.infer<typeof SessionMode>
export const CatchUp = z.enum(['skip', 'latest', 'all'])
export const Overlap = z.enum(['skip', 'queue'])

export const TimeZone = z.string().max(100).refine(isTimeZone, 'is not a time zone of the IANA database')
const Hours = z.array(z.string().regex(HOURS, 'HH:MM-HH:MM')).min(1).max(10)

export const Guards = z.strictObject({
  /** Runs only within these spans of the local day. */
  active_hours: Hours.optional(),
  /** Never runs within these. */
  quiet_hours: Hours.optional(),
  /** Runs only when the agent has no other open work. */
  only_when_idle: z.boolean().default(false),
})

/** What an order says of itself, apart from whose it is and what it is called. */
const definition = {
  /** Five fields, or six with seconds first. Either this or `every_seconds`. */
  cron: z.string().max(200).optional(),
  every_seconds: z.int().min(1).max(31_536_000).optional(),
  time_zone: TimeZone.default('UTC'),
  lane: Lane.default('scheduled'),
  /** `isolated`: a fresh run of its own. `main`: wakes the agent's main session, with its context. */
  session: SessionMode.default('isolated'),
  message: storableText({ min: 1, max: 20_000 }),
  priority: z.int().min(1).max(1000).default(100),
  timeout_seconds: z.int().min(1).max(86_400).optional(),
  max_attempts: z.int().min(1).max(100).default(3),
  /** How long after its time a slot may still be started. */
  grace_seconds: z.int().min(1).max(86_400).default(300),
  catch_up: CatchUp.default('skip'),
  /** How many late slots `all` runs at most; the newest are kept. */
  catch_up_limit: z.int().min(1).max(1_000).default(10),
  /** How late a slot may be caught up. */
  catch_up_within_seconds: z.int().min(1).max(2_678_400).default(86_400),
  overlap: Overlap.default('skip'),
  guards: Guards.prefault({}),
  enabled: z.boolean().default(true),
}

const eitherCronOrInterval = (order: { readonly cron?: string | undefined; readonly every_seconds?: number | undefined }, ctx: z.RefinementCtx): void => {
  if ((order.cron === undefined) === (order.every_seconds === undefined)) {
    ctx.addIssue({ code: 'custom', path: ['cron'], message: 'give either cron or every_seconds' })
  }
}

/** One standing order of `fleet.yaml`. */
export const StandingOrderConfig = z
  .strictObject({ agent: AgentId, name: OrderName, ...definition })
  .superRefine(eitherCronOrInterval)
  .meta({ id: 'StandingOrderConfig' })
export type StandingOrderConfig = z.infer<typeof StandingOrderConfig>

/** The body of `PUT /v1/standing-orders/{agent}/{name}`: an order as in `fleet.yaml`, whose agent and name may stand in the path alone. */
export const SetStandingOrderBody = z
  .strictObject({ agent: AgentId.optional(), name: OrderName.optional(), ...definition })
  .superRefine(eitherCronOrInterval)
  .superRefine((order, ctx) => {
    if ((order.agent === undefined) === (order.name === undefined)) return
    ctx.addIssue({ code: 'custom', path: [order.agent === undefined ? 'agent' : 'name'], message: 'give both agent and name, or neither' })
  })
  .meta({ id: 'SetStandingOrder' })
export type SetStandingOrderBody = z.infer<typeof SetStandingOrderBody>

/** When the order is due. */
export function scheduleOf(order: Pick<StandingOrderConfig, 'cron' | 'every_seconds' | 'time_zone'>): Schedule {
  if (order.cron !== undefined) return { cron: order.cron, timeZone: order.time_zone }
  if (order.every_seconds !== undefined) return { everySeconds: order.every_seconds }
  throw new Error('an order has a cron expression or an interval')
}

/** `agent/name`, by which people and commands name an order. */
export function orderKey(order: { readonly agent: string; readonly name: string }): string {
  return `${order.agent}/${order.name}`
}

export const SlotId = uuid().brand<'SlotId'>()
export type SlotId = z.infer<typeof SlotId>
export const OrderId = uuid().brand<'OrderId'>()
export type OrderId = z.infer<typeof OrderId>

/** What an agent says of a run: the claim, and what it rests on. */
export const FinishStandingOrderBody = z
  .strictObject({
    outcome: z.enum(['no_work', 'completed', 'blocked', 'failed']),
    summary: storableText({ min: 1, max: 8_000 }).optional(),
    /** What was checked, counts, a cursor, a postcondition. */
    evidence: JsonObject.default({}),
    /** Required when blocked. */
    blocked_reason: storableText({ min: 1, max: 4_000 }).optional(),
    blocked_owner: storableText({ min: 1, max: 200 }).optional(),
    /** Required when failed. */
    last_error: storableText({ min: 1, max: 4_000 }).optional(),
    ...inTheSameTransaction,
  })
  .superRefine((body, ctx) => {
    if (body.outcome === 'blocked' && body.blocked_reason === undefined) ctx.addIssue({ code: 'custom', path: ['blocked_reason'], message: 'a blocked run says why' })
    if (body.outcome === 'no_work' && body.findings.length > 0)
      ctx.addIssue({ code: 'custom', path: ['findings'], message: 'a run that found nothing has no findings; its outcome is completed' })
    if (body.outcome === 'failed' && body.last_error === undefined) ctx.addIssue({ code: 'custom', path: ['last_error'], message: 'a failed run says what went wrong' })
  })
  .meta({ id: 'FinishStandingOrder' })
export type FinishStandingOrderBody = z.infer<typeof FinishStandingOrderBody>

const timestamp = z.iso.datetime({ offset: true })

export const SlotView = z
  .object({
    id: SlotId,
    order: z.string(),
    agent_id: AgentId,
    version: z.int(),
    slot_at: timestamp,
    grace_until: timestamp,
    status: SlotStatus,
    cause: z.string().nullable(),
    trigger: z.enum(['tick', 'keeper', 'catch_up']).nullable(),
    /** The job was closed without saying what the run found. */
    unstated: z.boolean(),
    summary: z.string().nullable(),
    evidence: z.record(z.string(), z.unknown()).nullable(),
    details: z.record(z.string(), z.unknown()),
    job_id: JobId.nullable(),
    started_at: timestamp.nullable(),
    finished_at: timestamp.nullable(),
  })
  .meta({ id: 'StandingOrderRun' })
export type SlotView = z.infer<typeof SlotView>

export const StandingOrderView = z
  .object({
    id: OrderId,
    namespace: Namespace,
    order: z.string(),
    agent_id: AgentId,
    name: z.string(),
    version: z.int(),
    in_force_from: timestamp,
    enabled: z.boolean(),
    definition: StandingOrderConfig,
    next_slot_at: timestamp.nullable(),
    last_slot: SlotView.nullable(),
  })
  .meta({ id: 'StandingOrder' })
export type StandingOrderView = z.infer<typeof StandingOrderView>

/** One line of `agentbus accountability`: every slot of the window is in exactly one of the counts after `expected`. */
export const AccountabilityLine = z
  .object({
    order: z.string(),
    agent_id: AgentId,
    expected: z.int(),
    /** Not yet started, and within its grace or its catch-up. */
    pending: z.int(),
    running: z.int(),
    no_work: z.int(),
    completed: z.int(),
    /** Part of `completed`: closed without saying what was found. */
    unstated: z.int(),
    blocked: z.int(),
    failed: z.int(),
    skipped: z.int(),
    missed: z.int(),
    /** Slots that the definitions then in force call for and that have no row; anything but 0 is a fault of the books. */
    unaccounted: z.int(),
  })
  .meta({ id: 'AccountabilityLine' })
export type AccountabilityLine = z.infer<typeof AccountabilityLine>

export const ListSlotsQuery = z
  .strictObject({
    /** `agent/name`. */
    order: storableText({ max: 200 }).optional(),
    agent: AgentId.optional(),
    status: SlotStatus.optional(),
    from: Time.optional(),
    to: Time.optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListSlots' })
export type ListSlotsQuery = z.infer<typeof ListSlotsQuery>

export const AccountabilityQuery = z.strictObject({
  from: Time,
  /** Default: now. */
  to: Time.optional(),
  agent: AgentId.optional(),
})
export type AccountabilityQuery = z.infer<typeof AccountabilityQuery>
