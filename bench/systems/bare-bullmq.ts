import { randomUUID } from 'node:crypto'
import { deliveryOptions } from '../../queues/catalogue.js'
import { openBareBackend, type Where } from '../stores.js'
import { payloadOf, type System } from './system.js'

/** One BullMQ queue and one worker, connected as agentbus connects them; entries have the options of agentbus's deliveries. */
export async function openBareBullmq(where: Where, concurrency: number): Promise<System> {
  const backend = openBareBackend(where.queue)
  const name = `bare-${randomUUID()}`
  const queue = backend.openQueue(name)
  await queue.waitUntilReady()
  const options = (): ReturnType<typeof deliveryOptions> => deliveryOptions({ jobId: randomUUID(), generation: 1, priority: 100, maxAttempts: 5, delayMs: 0 })
  const stops: (() => Promise<void>)[] = [() => backend.close(), () => queue.close()]
  let ended = 0
  return {
    name: `bare BullMQ on ${where.queue.kind === 'redis' ? 'Redis' : 'PostgreSQL'}`,
    enqueue: (number) => queue.add('bench', payloadOf(number), options()),
    enqueueMany: (numbers) => queue.addBulk(numbers.map((number) => ({ name: 'bench', data: payloadOf(number), opts: options() }))),
    work: async (onRun) => {
      const worker = backend.openWorker(
        name,
        async (job) => {
          onRun(Number(job.data['number']))
          return { outcome: 'succeeded' }
        },
        { concurrency },
      )
      worker.on('completed', () => (ended += 1))
      stops.push(() => worker.close())
      await worker.waitUntilReady()
    },
    ended: async () => ended,
    stop: async () => {
      for (const stop of stops.splice(0).reverse()) await stop()
    },
  }
}
