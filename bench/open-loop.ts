/** Milliseconds since 1970 with fractions; processes of one machine may compare theirs. */
export const nowMs = (): number => performance.timeOrigin + performance.now()

/** Resolves at `dueMs`, or at once when that has passed. */
export function until(dueMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - nowMs())))
}

/**
 * Begins `count` acts at fixed times, whether or not the earlier ones have ended: a system that is slow for a moment gets
 * no rest from it, and what waited in the meantime is measured too. Resolves when the last act has ended.
 */
export async function openLoop(
  schedule: { readonly startMs: number; readonly count: number; readonly perSecond: number },
  act: (at: number, dueMs: number) => Promise<void>,
): Promise<void> {
  const all: Promise<void>[] = []
  for (let at = 0; at < schedule.count; at += 1) {
    const dueMs = schedule.startMs + (at * 1_000) / schedule.perSecond
    await until(dueMs)
    all.push(act(at, dueMs))
  }
  await Promise.all(all)
}
