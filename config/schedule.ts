import { Cron } from 'croner'
import type { Schedule, StandingOrderConfig } from '../contracts/standing-orders.js'

/** Says what is wrong with a cron expression in a time zone that exists, or undefined. Five fields, or six with seconds first. */
export function faultOfCron(cron: string, timeZone: string): string | undefined {
  const fields = cron.trim().split(/\s+/).length
  if (fields !== 5 && fields !== 6 && !cron.startsWith('@')) return 'a cron expression has five fields, or six with seconds first'
  try {
    const next = new Cron(cron, { timezone: timeZone, paused: true }).nextRun()
    return next === null ? 'is never due' : undefined
  } catch (error) {
    return `is not a cron expression: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** What is wrong with the schedules of orders, by index; the form of each is checked already. */
export function faultsOfSchedules(orders: readonly Pick<StandingOrderConfig, 'cron' | 'time_zone'>[]): { readonly index: number; readonly fault: string }[] {
  return orders.flatMap(({ cron, time_zone }, index) => {
    const fault = cron === undefined ? undefined : faultOfCron(cron, time_zone)
    return fault === undefined ? [] : [{ index, fault }]
  })
}

const parsed = new Map<string, Cron>()
const MOST_PARSED = 20_000

function cronOf(cron: string, timeZone: string): Cron {
  const key = `${timeZone} ${cron}`
  const known = parsed.get(key)
  if (known !== undefined) return known
  if (parsed.size >= MOST_PARSED) parsed.clear()
  const fresh = new Cron(cron, { timezone: timeZone, paused: true })
  parsed.set(key, fresh)
  return fresh
}

/**
 * The first slot after `afterMs`, in milliseconds since the epoch; undefined when there is none.
 *
 * Daylight saving: a local time that is skipped is due at the end of the gap; a fixed local time that happens twice is
 * due at the first of both; an expression with `*` or a step in its hours goes on through both hours.
 */
export function nextSlot(schedule: Schedule, afterMs: number): number | undefined {
  if ('everySeconds' in schedule) {
    const ms = schedule.everySeconds * 1_000
    return (Math.floor(afterMs / ms) + 1) * ms
  }
  const cron = cronOf(schedule.cron, schedule.timeZone)
  const isFixed = hasFixedHours(schedule.cron)
  let next = cron.nextRun(new Date(afterMs))
  // Croner keeps to this for an expression with one time of day only; `0,30 1 * * *` would be due four times.
  while (isFixed && next !== null && isRepeated(schedule.timeZone, next.getTime())) next = cron.nextRun(next)
  return next?.getTime()
}

function hasFixedHours(cron: string): boolean {
  const fields = cron.trim().split(/\s+/)
  const hours = fields.at(-4)
  return fields.length > 1 && hours !== undefined && !/[*/]/.test(hours)
}

/** No zone has changed by more at once since the seventies. */
const LONGEST_CHANGE_MS = 3 * 3_600_000

/** Whether the wall clock has shown the time of `atMs` before: clocks were put back a moment ago. */
function isRepeated(timeZone: string, atMs: number): boolean {
  const wall = wallClock(timeZone, atMs)
  const putBackBy = wallClock(timeZone, atMs - LONGEST_CHANGE_MS) + LONGEST_CHANGE_MS - wall
  return putBackBy > 0 && wallClock(timeZone, atMs - putBackBy) === wall
}

/** The slots in (`afterMs`, `untilMs`], at most `limit`, oldest first. */
export function slotsBetween(schedule: Schedule, afterMs: number, untilMs: number, limit: number): number[] {
  const slots: number[] = []
  for (let at = nextSlot(schedule, afterMs); at !== undefined && at <= untilMs && slots.length < limit; at = nextSlot(schedule, at)) slots.push(at)
  return slots
}

/** Whether the local time of `atMs` lies in one of the spans. */
export function isWithinHours(spans: readonly string[], timeZone: string, atMs: number): boolean {
  const minute = localMinute(timeZone, atMs)
  return spans.some((span) => {
    const [from = 0, to = 0] = span.split('-').map(minuteOf)
    return from <= to ? minute >= from && minute < to : minute >= from || minute < to
  })
}

function minuteOf(text: string): number {
  const [hours = 0, minutes = 0] = text.split(':').map(Number)
  return hours * 60 + minutes
}

const clocks = new Map<string, Intl.DateTimeFormat>()

function localMinute(timeZone: string, atMs: number): number {
  return Math.floor(wallClock(timeZone, atMs) / 60_000) % 1_440
}

/** What a clock on the wall shows, in milliseconds as if it showed UTC. */
function wallClock(timeZone: string, atMs: number): number {
  let clock = clocks.get(timeZone)
  if (clock === undefined) {
    const digits = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' } as const
    clock = new Intl.DateTimeFormat('en-GB', { timeZone, ...digits })
    clocks.set(timeZone, clock)
  }
  const shown = Object.fromEntries(clock.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]))
  return Date.UTC(shown['year'] ?? 0, (shown['month'] ?? 1) - 1, shown['day'], shown['hour'], shown['minute'], shown['second'])
}
