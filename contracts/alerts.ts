import { z } from 'zod'
import { ActorKind } from './actor.js'
import { AgentId, JobId, uuid } from './ids.js'
import { HttpUrl, SecretRef } from './references.js'
import { reasonText, storableText, Time } from './text.js'

/** What a figure is counted for: one alert at a time for each of them. `fleet` is everything together. */
export const ALERT_SUBJECTS = ['fleet', 'agent', 'lane', 'gateway', 'order'] as const
type SubjectKind = (typeof ALERT_SUBJECTS)[number]

/** The figures that a rule can be about; the first of `by` is the default. With `window`, what is older than the window does not count. */
export const ALERT_FIGURES = {
  dead_letters: { by: ['agent', 'fleet'], window: true },
  missed_slots: { by: ['order', 'agent', 'fleet'], window: true },
  stale_workers: { by: ['fleet'], window: true },
  blocked_seconds: { by: ['agent', 'fleet'], window: false },
  breaker_open_seconds: { by: ['gateway'], window: false },
  queue_age_seconds: { by: ['agent', 'lane', 'fleet'], window: false },
  queue_depth: { by: ['agent', 'lane', 'fleet'], window: false },
  outbox_lag_seconds: { by: ['fleet'], window: false },
} as const satisfies Record<string, { by: readonly [SubjectKind, ...SubjectKind[]]; window: boolean }>
export type AlertFigure = keyof typeof ALERT_FIGURES
const FIGURE_NAMES = Object.keys(ALERT_FIGURES) as [AlertFigure, ...AlertFigure[]]

export const ALERT_LEVELS = ['warning', 'urgent'] as const
export const ALERT_STATUSES = ['open', 'resolved'] as const
export const ALERT_MOVES = ['opened', 'told', 'acknowledged', 'resolved'] as const
export const ALERT_NOTICES = ['opened', 'reminder', 'resolved', 'test'] as const
export const ALERT_RECEIVERS = ['webhook', 'agent'] as const
export const ALERT_DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const
export type AlertNotice = (typeof ALERT_NOTICES)[number]

const Name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'small letters, digits, dot, underscore and hyphen; first a letter or digit; at most 63')
export const AlertRuleName = Name.brand<'AlertRuleName'>()
export type AlertRuleName = z.infer<typeof AlertRuleName>

/** A place that alerts are posted to. Where the URL itself is a secret, it is given by reference like the key. */
export const AlertWebhook = z
  .strictObject({
    id: Name,
    url: z.union([SecretRef, HttpUrl], 'must be an http or https URL without user, password, query and fragment, or env:NAME or file:/path that names one'),
    /** The key of the signature. */
    secret: SecretRef,
    timeout_seconds: z.int().min(1).max(30).default(10),
  })
  .meta({ id: 'AlertWebhook' })
export type AlertWebhook = z.infer<typeof AlertWebhook>

const Receiver = z
  .strictObject({ webhook: Name.optional(), agent: AgentId.optional() })
  .refine(({ webhook, agent }) => (webhook === undefined) !== (agent === undefined), 'must name either a webhook or an agent')

const seconds = (max: number) => z.int().min(0).max(max)
const DAY = 86_400

export const AlertRule = z
  .strictObject({
    name: AlertRuleName,
    figure: z.enum(FIGURE_NAMES),
    by: z.enum(ALERT_SUBJECTS).optional(),
    /** It is an alert while the figure is larger than this. */
    above: z.number().min(0).max(1e12),
    /** It is over when the figure is this or less. Absent: `above`. */
    clear_at: z.number().min(0).max(1e12).optional(),
    /** So long the figure must be above before anybody is told. */
    for_seconds: seconds(7 * DAY).default(0),
    /** So long it must be down before it is over. */
    clear_for_seconds: seconds(7 * DAY).default(60),
    /** What is older does not count; for figures that count what has happened. */
    window_seconds: z
      .int()
      .min(60)
      .max(30 * DAY)
      .optional(),
    level: z.enum(ALERT_LEVELS).default('warning'),
    /** How often it is told again while it lasts; 0: never. */
    remind_seconds: seconds(30 * DAY).default(4 * 3_600),
    notify: z.array(Receiver).max(20).default([]),
  })
  .superRefine((rule, ctx) => {
    const figure = ALERT_FIGURES[rule.figure]
    const subjects: readonly SubjectKind[] = figure.by
    const fault = (path: string, message: string): void => void ctx.addIssue({ code: 'custom', path: [path], message })
    if (rule.by !== undefined && !subjects.includes(rule.by)) fault('by', `${rule.figure} is counted by ${subjects.join(', ')}`)
    if (rule.window_seconds !== undefined && !figure.window) fault('window_seconds', `${rule.figure} is a state of now and has no window`)
    if (rule.clear_at !== undefined && rule.clear_at > rule.above) fault('clear_at', 'must be at most `above`')
    if (rule.remind_seconds > 0 && rule.remind_seconds < 60) fault('remind_seconds', 'must be 0 (never) or at least 60')
  })
  .meta({ id: 'AlertRule' })
export type AlertRule = z.infer<typeof AlertRule>

/** What the rule counts by, and over which window, where it does not say. */
export function subjectOf(rule: AlertRule): SubjectKind {
  return rule.by ?? ALERT_FIGURES[rule.figure].by[0]
}
export const DEFAULT_WINDOW_SECONDS = 3_600

/** The section `alerts` of `fleet.yaml`. */
export const AlertsConfig = z
  .strictObject({ webhooks: z.array(AlertWebhook).max(50).default([]), rules: z.array(AlertRule).max(200).default([]) })
  .superRefine(({ webhooks, rules }, ctx) => {
    const ids = new Set<string>()
    for (const [at, { id }] of webhooks.entries()) {
      if (ids.has(id)) ctx.addIssue({ code: 'custom', path: ['webhooks', at, 'id'], message: `webhook ${id} is defined twice` })
      ids.add(id)
    }
    const names = new Set<string>()
    for (const [at, rule] of rules.entries()) {
      if (names.has(rule.name)) ctx.addIssue({ code: 'custom', path: ['rules', at, 'name'], message: `rule ${rule.name} is defined twice` })
      names.add(rule.name)
      const told = new Set<string>()
      for (const [place, { webhook, agent }] of rule.notify.entries()) {
        const receiver = `${webhook ?? ''} ${agent ?? ''}`
        if (told.has(receiver)) ctx.addIssue({ code: 'custom', path: ['rules', at, 'notify', place], message: 'is named twice' })
        told.add(receiver)
        if (webhook !== undefined && !ids.has(webhook))
          ctx.addIssue({ code: 'custom', path: ['rules', at, 'notify', place, 'webhook'], message: `webhook ${webhook} is not defined` })
      }
    }
  })
  .meta({ id: 'AlertsConfig' })
export type AlertsConfig = z.infer<typeof AlertsConfig>

export const AlertId = uuid().brand<'AlertId'>()
export type AlertId = z.infer<typeof AlertId>
export const SilenceId = uuid().brand<'SilenceId'>()
export type SilenceId = z.infer<typeof SilenceId>

const reason = reasonText(4_000)
const Subject = storableText({ min: 1, max: 200 })
export const AcknowledgeAlertBody = z.strictObject({ reason }).meta({ id: 'AcknowledgeAlert' })
export type AcknowledgeAlertBody = z.infer<typeof AcknowledgeAlertBody>
export const SilenceAlertBody = z.strictObject({ until: Time, reason, subject: Subject.optional() }).meta({ id: 'SilenceAlert' })
export type SilenceAlertBody = z.infer<typeof SilenceAlertBody>
export const LiftSilenceBody = z.strictObject({ reason }).meta({ id: 'LiftSilence' })
export type LiftSilenceBody = z.infer<typeof LiftSilenceBody>

export const ListAlertsQuery = z
  .strictObject({
    status: z.enum([...ALERT_STATUSES, 'any']).default('open'),
    rule: AlertRuleName.optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListAlerts' })
export type ListAlertsQuery = z.infer<typeof ListAlertsQuery>

const timestamp = z.iso.datetime({ offset: true })

export const AlertView = z
  .object({
    id: AlertId,
    rule: z.string(),
    figure: z.string(),
    subject: z.string(),
    level: z.enum(ALERT_LEVELS),
    status: z.enum(ALERT_STATUSES),
    /** What the figure is, what it was at its worst, and what it must not exceed. */
    value: z.number(),
    peak: z.number(),
    threshold: z.number(),
    since: timestamp,
    opened_at: timestamp,
    resolved_at: timestamp.nullable(),
    /** Why it is over: the figure went down, or the rule was taken out of the fleet file. */
    resolved_as: z.string().nullable(),
    acknowledged_at: timestamp.nullable(),
    acknowledged_by: z.string().nullable(),
    note: z.string().nullable(),
    silenced_until: timestamp.nullable(),
    told: z.int(),
    version: z.int(),
  })
  .meta({ id: 'Alert' })
export type AlertView = z.infer<typeof AlertView>

export const AlertDeliveryView = z
  .object({
    id: z.uuid(),
    rule: z.string(),
    notice: z.enum(ALERT_NOTICES),
    receiver_kind: z.enum(ALERT_RECEIVERS),
    receiver: z.string(),
    status: z.enum(ALERT_DELIVERY_STATUSES),
    tries: z.int(),
    next_try_at: timestamp,
    created_at: timestamp,
    done_at: timestamp.nullable(),
    /** The job that told an agent. */
    job_id: JobId.nullable(),
    attempts: z.array(
      z.object({ try_no: z.int(), at: timestamp, ok: z.boolean(), http_status: z.int().nullable(), error: z.string().nullable(), ms: z.int(), worker: z.string() }),
    ),
  })
  .meta({ id: 'AlertDelivery' })
export type AlertDeliveryView = z.infer<typeof AlertDeliveryView>

export const AlertHistory = z
  .object({
    alert: AlertView,
    history: z.array(
      z.object({
        seq: z.int(),
        move: z.enum(ALERT_MOVES),
        actor_kind: ActorKind,
        actor: z.string(),
        note: z.string().nullable(),
        details: z.record(z.string(), z.unknown()),
        at: timestamp,
      }),
    ),
    deliveries: z.array(AlertDeliveryView),
  })
  .meta({ id: 'AlertHistory' })
export type AlertHistory = z.infer<typeof AlertHistory>

export const SilenceView = z
  .object({
    id: SilenceId,
    rule: z.string(),
    /** Null: all subjects of the rule. */
    subject: z.string().nullable(),
    until: timestamp,
    reason: z.string(),
    created_by: z.string(),
    created_at: timestamp,
    lifted_at: timestamp.nullable(),
    lifted_by: z.string().nullable(),
    lift_reason: z.string().nullable(),
  })
  .meta({ id: 'AlertSilence' })
export type SilenceView = z.infer<typeof SilenceView>
