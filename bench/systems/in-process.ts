import type { Entry, Load } from '../contestant.js'
import { nowMs, openLoop } from '../open-loop.js'
import { inParallel } from '../parallel.js'
import type { System } from './system.js'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
/** How long a system may take to work off what it was given. */
const WORK_OFF_MS = 180_000

/** Measures a system that is called by functions of this process. */
export function inProcess(system: System): Entry {
  /** When each job was sent, by number, and what its arrival is told to. */
  const sentMs = new Map<number, number>()
  let ran = 0
  let sent = 0
  let latencies: number[] = []
  const onRun = (number: number): void => {
    ran += 1
    const atMs = sentMs.get(number)
    if (atMs !== undefined) latencies.push(nowMs() - atMs)
    sentMs.delete(number)
  }
  const numbers = (count: number): number[] => Array.from({ length: count }, () => sent++)

  async function send(load: Load): Promise<void> {
    const all = numbers(load.jobs)
    const { batch } = load
    if (batch === undefined) return inParallel(all.length, load.callers, (at) => system.enqueue(all[at] ?? 0))
    return inParallel(Math.ceil(all.length / batch), load.callers, (at) => system.enqueueMany(all.slice(at * batch, (at + 1) * batch)))
  }

  /** Resolves when all that was sent has ended, or at `latestMs`. @returns how many have, and when that was seen */
  async function settle(latestMs: number): Promise<{ ended: number; atMs: number }> {
    // Asking the store how far it is costs it time: it is asked when the workers have seen every job.
    while (ran < sent && nowMs() < latestMs) await pause(2)
    for (;;) {
      const ended = await system.ended()
      const atMs = nowMs()
      if (ended >= sent || atMs >= latestMs) return { ended, atMs }
      await pause(2)
    }
  }

  /** A figure of a system that loses jobs would say nothing. */
  function refuse(ended: number): void {
    if (ended < sent) throw new Error(`${system.name}: ${sent - ended} of ${sent} jobs did not end in ${WORK_OFF_MS / 1_000} s`)
  }

  return {
    enqueue: async (load) => {
      const startedMs = nowMs()
      await send(load)
      return (load.jobs * 1_000) / (nowMs() - startedMs)
    },
    begin: async () => {
      await system.work(onRun)
      const { ended } = await settle(nowMs() + WORK_OFF_MS)
      refuse(ended)
    },
    rate: async (load, mostMs) => {
      const before = await system.ended()
      const startedMs = nowMs()
      await send(load)
      const { ended, atMs } = await settle(startedMs + (mostMs ?? WORK_OFF_MS))
      if (mostMs === undefined) refuse(ended)
      return ((ended - before) * 1_000) / (atMs - startedMs)
    },
    latency: async ({ jobs, perSecond }, mostMs) => {
      const startMs = nowMs() + 50
      const all = numbers(jobs)
      latencies = []
      await openLoop({ startMs, count: jobs, perSecond }, async (at) => {
        const number = all[at] ?? 0
        sentMs.set(number, nowMs())
        await system.enqueue(number)
      })
      await settle(startMs + (jobs * 1_000) / perSecond + mostMs)
      return latencies.length < jobs ? undefined : latencies
    },
    stop: () => system.stop(),
  }
}
