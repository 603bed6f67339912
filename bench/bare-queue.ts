import { randomUUID } from 'node:crypto'
import { deliveryOptions } from '../queues/catalogue.js'
import { payloadOf } from './hand-off.js'
import { nowMs, openLoop } from './open-loop.js'
import { openBareBackend, type Where } from './stores.js'

/**
 * What a hand-off costs when nobody keeps books: one BullMQ queue and one worker in this process, from just before the call of
 * `add` until the processor is called. Entries carry the hand-off's payload and the options that agentbus gives its deliveries.
 * @returns milliseconds, in the order of the schedule
 */
export async function measureBareQueue(where: Where, schedule: { readonly count: number; readonly perSecond: number; readonly concurrency: number }): Promise<number[]> {
  const backend = openBareBackend(where.queue)
  // A name of its own each time: what an earlier round left behind is not this round's load.
  const name = `hand-off-${randomUUID()}`
  const queue = backend.openQueue(name)
  const latencies: number[] = []
  const arrived = new Map<number, () => void>()
  const sent = new Map<number, number>()
  const worker = backend.openWorker(
    name,
    async (job) => {
      const at = Number(job.data['hand_off'])
      latencies[at] = nowMs() - (sent.get(at) ?? Number.NaN)
      arrived.get(at)?.()
      return { outcome: 'succeeded' }
    },
    { concurrency: schedule.concurrency },
  )
  await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()])
  await openLoop({ ...schedule, startMs: nowMs() + 100 }, async (at) => {
    const seen = new Promise<void>((resolve) => arrived.set(at, resolve))
    sent.set(at, nowMs())
    await queue.add('reactive', payloadOf(at), deliveryOptions({ jobId: randomUUID(), generation: 1, priority: 100, maxAttempts: 5, delayMs: 0 }))
    await seen
  })
  await worker.close()
  await queue.close()
  await backend.close()
  return latencies
}
