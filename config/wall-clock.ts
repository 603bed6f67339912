const DAY_MS = 86_400_000
const clocks = new Map<string, Intl.DateTimeFormat>()

/** What a clock on the wall of a zone shows at `atMs`, in milliseconds as if it showed UTC. */
export function wallClock(timeZone: string, atMs: number): number {
  let clock = clocks.get(timeZone)
  if (clock === undefined) {
    const digits = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' } as const
    clock = new Intl.DateTimeFormat('en-GB', { timeZone, ...digits })
    clocks.set(timeZone, clock)
  }
  const shown = Object.fromEntries(clock.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]))
  return Date.UTC(shown['year'] ?? 0, (shown['month'] ?? 1) - 1, shown['day'], shown['hour'], shown['minute'], shown['second'])
}

/**
 * When a clock on the wall first shows `shownMs`; the moment at which it is put forward, when that leaves `shownMs` out.
 * Of a zone that changes its clocks once within two days at most, as all do.
 */
export function firstShown(timeZone: string, shownMs: number): number {
  const [before, after] = [shownMs - DAY_MS, shownMs + DAY_MS].map((near) => shownMs - (wallClock(timeZone, near) - near)) as [number, number]
  const first = Math.min(before, after)
  if (wallClock(timeZone, first) === shownMs) return first
  const last = Math.max(before, after)
  if (wallClock(timeZone, last) === shownMs) return last
  return whenPutForward(timeZone, first, last, shownMs)
}

/** Looks between a moment before the change and one after it. */
function whenPutForward(timeZone: string, fromMs: number, toMs: number, leftOutMs: number): number {
  let [low, high] = [fromMs, toMs]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (wallClock(timeZone, middle) > leftOutMs) high = middle
    else low = middle
  }
  return high
}
