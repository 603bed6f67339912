import { sql } from 'drizzle-orm'
import type { Settings } from '../config/settings.js'
import { messageOf } from '../contracts/errors.js'
import { probeRedis } from '../embedded/probe-stores.js'
import type { Reader } from '../ledger/verify/reader.js'
import type { CheckResult } from '../ledger/verify/report.js'
import { within, type QueueBackend } from '../queues/backend.js'
import { checkParity } from '../queues/check-parity.js'
import { createPostgresBackend } from '../queues/postgres-backend.js'
import { QueueRegistry } from '../queues/queue-registry.js'
import { createRedisBackend } from '../queues/redis-backend.js'
import { oneLine } from './printable.js'
import { QUEUE_POOL, type LookedAt } from './stores.js'

const LIMIT_MS = 5_000

/** The parity of ledger and queues, when the queue store answers; otherwise a result that says why it was not checked. */
export async function verifyQueues(settings: Settings, stores: LookedAt, reader: Reader): Promise<CheckResult> {
  let backend: QueueBackend | undefined
  let queues: QueueRegistry | undefined
  try {
    // Asked before BullMQ is: it never gives up on a store that it cannot reach.
    await answers(stores, reader)
    backend = open(settings, stores)
    await backend.ping(LIMIT_MS)
    queues = new QueueRegistry(backend)
    const { rows } = await reader.db.execute<{ id: string }>(sql`select id from agents order by id`)
    return await checkParity(
      reader.db,
      queues,
      rows.map(({ id }) => id),
    )
  } catch (error) {
    return { check: 'queues', verdict: 'unchecked', examined: 0, violations: [], note: `the queue store could not be read: ${oneLine(messageOf(error), 300)}` }
  } finally {
    if (queues !== undefined) await within(LIMIT_MS, 'closing the queues', queues.close()).catch(() => undefined)
    await backend?.close().catch(() => undefined)
  }
}

async function answers(stores: LookedAt, reader: Reader): Promise<void> {
  if (stores.queue.kind === 'redis') {
    await probeRedis(stores.queue.url)
    return
  }
  const { rows } = await reader.db.execute<{ there: boolean }>(sql`select to_regnamespace('bullmq') is not null as there`)
  if (rows[0]?.there !== true) throw new Error('this database holds no queues; set REDIS_URL if Redis holds them')
}

function open(settings: Settings, stores: LookedAt): QueueBackend {
  return stores.queue.kind === 'redis'
    ? createRedisBackend({ url: stores.queue.url, prefix: settings.queuePrefix, onError: () => undefined })
    : createPostgresBackend({ url: stores.queue.url, poolSize: QUEUE_POOL, durable: false, onError: () => undefined })
}
