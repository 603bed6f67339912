import { nowMs } from './open-loop.js'
import type { System } from './systems/system.js'

/** Runs `work` for each number below `count`, `callers` at a time: each caller begins the next when its last has been answered. */
export async function inParallel(count: number, callers: number, work: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (next < count) {
        next += 1
        await work(next - 1)
      }
    }),
  )
}

export interface Rate {
  readonly perSecond: number
  readonly ended: number
  readonly seconds: number
}

/** Resolves when `count` jobs have ended, or at `latestMs`. @returns how many have, and when that was seen */
async function untilEnded(system: System, count: number, latestMs: number): Promise<{ ended: number; atMs: number }> {
  for (;;) {
    const ended = await system.ended()
    const atMs = nowMs()
    if (ended >= count || atMs >= latestMs) return { ended, atMs }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/**
 * From the first call of `enqueue` until the last of `jobs` has durably ended, with workers that are already there.
 * A system that would take longer than `mostMs` is measured by what it ended in that time.
 */
export async function measureRate(
  system: System,
  load: { readonly jobs: number; readonly callers: number; readonly warmUp: number; readonly mostMs: number; readonly batch?: number },
): Promise<Rate> {
  let ran = 0
  await system.work(() => (ran += 1))
  await inParallel(load.warmUp, load.callers, (at) => system.enqueue(at))
  const warm = await untilEnded(system, load.warmUp, nowMs() + load.mostMs / 4)
  const left = load.warmUp - warm.ended
  const startedMs = nowMs()
  const deadlineMs = startedMs + load.mostMs
  const ranBefore = ran
  if (load.batch === undefined) await inParallel(load.jobs, load.callers, (at) => system.enqueue(load.warmUp + at))
  else {
    const { batch } = load
    await inParallel(Math.ceil(load.jobs / batch), 4, (at) =>
      system.enqueueMany(Array.from({ length: Math.min(batch, load.jobs - at * batch) }, (_none, one) => load.warmUp + at * batch + one)),
    )
  }
  // Asking the store how far it is costs it time: it is asked when the workers have seen every job.
  while (ran - ranBefore < load.jobs + left && nowMs() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, 2))
  const { ended, atMs } = await untilEnded(system, load.warmUp + load.jobs, Math.max(deadlineMs, nowMs() + 1))
  const seconds = (atMs - startedMs) / 1_000
  return { perSecond: (ended - warm.ended) / seconds, ended: ended - warm.ended, seconds }
}
