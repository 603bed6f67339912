import { FINDING_LEVELS, type FindingLevel, type HeldBecause } from '../contracts/findings.js'
import { WEEKDAYS, type NagPolicy, type NagStep, type Weekday } from '../contracts/inbox.js'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

/** What decides whether a finding is raised. Times are milliseconds since the epoch. */
export interface NagState {
  readonly sinceMs: number
  readonly nagCount: number
  readonly lastRaisedMs: number | undefined
  /** A message about it is unread or not acknowledged. */
  readonly messageOpen: boolean
  /** It is worse than it was when it was raised last. */
  readonly worse: boolean
}

export type NagDecision =
  | { readonly raise: true; readonly step: NagStep; readonly level: number; readonly counts: boolean }
  | { readonly raise: false; readonly because: HeldBecause; readonly notBeforeMs: number | undefined }

/**
 * Whether a finding that was just seen is raised now, and in which tone. One that got worse is raised at once, whatever
 * the policy holds back, and without using up a step: silence was meant for the milder matter.
 */
export function decideNag(policy: NagPolicy, state: NagState, nowMs: number): NagDecision {
  if (state.messageOpen) return { raise: false, because: 'message_open', notBeforeMs: undefined }
  const next = stepAfter(policy, state.nagCount)
  if (state.worse && state.nagCount > 0) {
    const spoken = stepAfter(policy, state.nagCount - 1) ?? lastStep(policy)
    return { raise: true, ...spoken, counts: false }
  }
  if (next === undefined) return { raise: false, because: 'silent', notBeforeMs: undefined }
  const oldEnoughMs = state.sinceMs + next.step.after_days * DAY_MS
  if (nowMs < oldEnoughMs) return { raise: false, because: 'too_young', notBeforeMs: oldEnoughMs }
  const pausedUntilMs = state.lastRaisedMs === undefined ? nowMs : state.lastRaisedMs + policy.every_hours * HOUR_MS
  if (nowMs < pausedUntilMs) return { raise: false, because: 'too_soon', notBeforeMs: pausedUntilMs }
  if (!policy.days.includes(weekdayOf(nowMs, policy.time_zone))) return { raise: false, because: 'not_today', notBeforeMs: nextAllowedDay(policy, nowMs) }
  return { raise: true, ...next, counts: true }
}

/** The step that says it for the time after `count` times; undefined when the policy has fallen silent. */
function stepAfter(policy: NagPolicy, count: number): { step: NagStep; level: number } | undefined {
  let said = 0
  for (const [at, step] of policy.steps.entries()) {
    said += step.times
    if (count < said) return { step, level: at + 1 }
  }
  return undefined
}

function lastStep(policy: NagPolicy): { step: NagStep; level: number } {
  const step = policy.steps.at(-1)
  if (step === undefined) throw new Error('a nag policy has a step')
  return { step, level: policy.steps.length }
}

function weekdayOf(ms: number, timeZone: string): Weekday {
  const name = new Intl.DateTimeFormat('en', { weekday: 'short', timeZone }).format(ms).toLowerCase()
  const day = WEEKDAYS.find((weekday) => weekday === name)
  if (day === undefined) throw new Error(`no weekday is named ${name}`)
  return day
}

/** The first quarter of an hour that lies on an allowed day. Every time zone begins its days on one. */
function nextAllowedDay(policy: NagPolicy, nowMs: number): number {
  const quarterMs = HOUR_MS / 4
  for (let ms = Math.ceil(nowMs / quarterMs) * quarterMs; ms < nowMs + 8 * DAY_MS; ms += quarterMs) {
    if (policy.days.includes(weekdayOf(ms, policy.time_zone))) return ms
  }
  throw new Error('a nag policy has a day')
}

/** What the reader is told. */
export function sayNag(step: NagStep, about: { readonly subject: string; readonly body: string; readonly sinceMs: number; readonly count: number }, nowMs: number): string {
  if (step.say === undefined) return about.body
  const days = String(Math.max(0, Math.floor((nowMs - about.sinceMs) / DAY_MS)))
  const values: Record<string, string> = { subject: about.subject, body: about.body, days, count: String(about.count) }
  // One pass, so that a body with braces of its own stays as it is.
  return step.say.replace(/\{(subject|body|days|count)\}/g, (_whole, name: string) => values[name] ?? '')
}

export function isWorse(now: FindingLevel, before: FindingLevel): boolean {
  return FINDING_LEVELS.indexOf(now) > FINDING_LEVELS.indexOf(before)
}
