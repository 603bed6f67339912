import { randomUUID } from 'node:crypto'
import { createPostgresBackend, Queue, Worker, type JobProgress, type PostgresConnectionOptions, type PostgresQueueBackend } from 'bullmq'
import type { BusProcessor, BusQueue, BusWorker } from '../../queues/backend.js'
import { ledgerBackoff } from '../../processors/delivery-error.js'
import { deliveryOptions, MAX_STALLED_COUNT } from '../../queues/catalogue.js'
import { openBareBackend, type Where } from '../stores.js'
import { payloadOf, type System } from './system.js'

/** On a machine that is too busy, BullMQ takes an entry for stalled; it is then run again, as agentbus has it, and not buried. */
const AS_AGENTBUS = { maxStalledCount: MAX_STALLED_COUNT, settings: { backoffStrategy: ledgerBackoff } }

interface Opened {
  readonly queue: BusQueue
  readonly openWorker: (processor: BusProcessor) => BusWorker
  readonly close: () => Promise<void>
}

/** One BullMQ queue and one worker, connected as agentbus connects them: one small pool for all. */
export async function openBareBullmq(where: Where, concurrency: number): Promise<System> {
  const backend = openBareBackend(where.queue)
  const name = `bare-${randomUUID()}`
  return systemOf(`bare BullMQ on ${where.queue.kind === 'redis' ? 'Redis' : 'PostgreSQL'}`, {
    queue: backend.openQueue(name),
    openWorker: (processor) => backend.openWorker(name, processor, { concurrency, ...AS_AGENTBUS }),
    close: () => backend.close(),
  })
}

/** The same on PostgreSQL as BullMQ's own documentation connects it: queue and worker with a pool each. */
export async function openBullmqAsItComes(where: Where, concurrency: number): Promise<System> {
  const name = `bare-${randomUUID()}`
  const connection: PostgresConnectionOptions = where.databaseUrl
  const queue = new Queue(name, { connection }, createPostgresBackend)
  return systemOf('bare BullMQ on PostgreSQL, own pools', {
    queue: queue as unknown as BusQueue,
    openWorker: (processor) =>
      new Worker<Record<string, unknown>, unknown, string, PostgresQueueBackend, JobProgress, PostgresConnectionOptions>(
        name,
        processor,
        { connection, concurrency },
        createPostgresBackend,
      ) as unknown as BusWorker,
    close: async () => undefined,
  })
}

/** Entries have the options of agentbus's deliveries, in both. */
async function systemOf(name: string, { queue, openWorker, close }: Opened): Promise<System> {
  const options = (): ReturnType<typeof deliveryOptions> => deliveryOptions({ jobId: randomUUID(), generation: 1, priority: 100, maxAttempts: 5, delayMs: 0 })
  await queue.waitUntilReady()
  const stops: (() => Promise<void>)[] = [close, () => queue.close()]
  let ended = 0
  return {
    name,
    enqueue: (number) => queue.add('bench', payloadOf(number), options()),
    enqueueMany: (numbers) => queue.addBulk(numbers.map((number) => ({ name: 'bench', data: payloadOf(number), opts: options() }))),
    work: async (onRun) => {
      const worker = openWorker(async (job) => {
        onRun(Number(job.data['number']))
        return { outcome: 'succeeded' }
      })
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
