/**
 * When a cron expression is due, worked out the slow way: every minute of the span is written in the zone's local time and
 * compared with the five fields. It shares nothing with the library the product uses.
 */
export function dueTimes(cron: string, timeZone: string, fromMs: number, toMs: number): number[] {
  const fields = cron.split(' ').map((text, at) => fieldOf(text, BOUNDS[at] ?? [0, 0]))
  const hasFixedHour = !/[*/]/.test(cron.split(' ')[1] ?? '')
  const due = new Set<number>()
  const seenLocal = new Set<number>()
  let before: number | undefined
  // From a day earlier, so that the first minutes know whether their local time came before.
  for (let at = fromMs - 86_400_000; at < toMs; at += 60_000) {
    const local = localOf(timeZone, at)
    // Clocks that jump ahead leave out local minutes; what was due in them is due at the end of the gap.
    for (let skipped = (before ?? local) + 60_000; before !== undefined && skipped < local; skipped += 60_000) {
      if (hasFixedHour && matches(fields, skipped) && at >= fromMs) due.add(at)
    }
    // A local time that comes a second time is due again only for an expression that goes on through all hours.
    const again = seenLocal.has(local)
    seenLocal.add(local)
    if (matches(fields, local) && at >= fromMs && !(hasFixedHour && again)) due.add(at)
    before = local
  }
  return [...due].sort((a, b) => a - b)
}

const BOUNDS = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 6],
] as const

function fieldOf(text: string, [low, high]: readonly [number, number]): { readonly any: boolean; readonly values: ReadonlySet<number> } {
  const values = new Set<number>()
  for (const part of text.split(',')) {
    const [range = '*', step = '1'] = part.split('/')
    const [from, to] = range === '*' ? [low, high] : range.split('-').map(Number)
    for (let value = from ?? low; value <= (to ?? from ?? high); value += Number(step)) values.add(value)
  }
  return { any: text === '*', values }
}

function matches(fields: readonly ReturnType<typeof fieldOf>[], local: number): boolean {
  const date = new Date(local)
  const [minute, hour, day, month, weekday] = fields
  if (minute === undefined || hour === undefined || day === undefined || month === undefined || weekday === undefined) throw new Error('five fields')
  if (!minute.values.has(date.getUTCMinutes()) || !hour.values.has(date.getUTCHours()) || !month.values.has(date.getUTCMonth() + 1)) return false
  const [dayHit, weekdayHit] = [day.values.has(date.getUTCDate()), weekday.values.has(date.getUTCDay())]
  return day.any || weekday.any ? dayHit && weekdayHit : dayHit || weekdayHit
}

const formats = new Map<string, Intl.DateTimeFormat>()

/** The local wall clock of an instant, as if it were UTC. */
function localOf(timeZone: string, atMs: number): number {
  let format = formats.get(timeZone)
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-GB', { timeZone, year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', hourCycle: 'h23' })
    formats.set(timeZone, format)
  }
  const part = Object.fromEntries(format.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]))
  return Date.UTC(part['year'] ?? 0, (part['month'] ?? 1) - 1, part['day'] ?? 1, part['hour'] ?? 0, part['minute'] ?? 0)
}
