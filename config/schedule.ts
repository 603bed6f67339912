import { Cron } from 'croner'
import type { Schedule, StandingOrderConfig } from '../contracts/standing-orders.js'
import { firstShown, wallClock } from './wall-clock.js'

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
  const { cron, timeZone } = schedule
  if (hasFixedHours(cron)) return nextByWallClock(cron, timeZone, afterMs)
  return cronOf(cron, timeZone).nextRun(new Date(afterMs))?.getTime()
}

/** Shorthands such as `@daily` name one time of day: for those Croner keeps to the rule itself. */
function hasFixedHours(cron: string): boolean {
  const hours = cron.trim().split(/\s+/).at(-4)
  return hours !== undefined && !/[*/?]/.test(hours)
}

/**
 * What the clock on the wall shows is compared, and then it is asked when it shows that. Croner alone keeps to the rule for an expression with one time of day:
 * `0,30 1 * * *` would be due four times when clocks are put back, and `0,30 2 * * *` not at all when they are put forward.
 */
function nextByWallClock(cron: string, timeZone: string, afterMs: number): number | undefined {
  const onTheWall = cronOf(cron, 'UTC')
  let shown = onTheWall.nextRun(new Date(wallClock(timeZone, afterMs)))
  for (; shown !== null; shown = onTheWall.nextRun(shown)) {
    const at = firstShown(timeZone, shown.getTime())
    if (at > afterMs) return at
  }
  return undefined
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

function localMinute(timeZone: string, atMs: number): number {
  return Math.floor(wallClock(timeZone, atMs) / 60_000) % 1_440
}
