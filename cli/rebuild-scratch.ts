import { sql } from 'drizzle-orm'
import type { Logger } from '../config/logger.js'
import { systemClock } from '../config/clock.js'
import { openDatabase } from '../ledger/database.js'
import { readEpoch } from '../ledger/epoch.js'
import { Ledger } from '../ledger/ledger.js'
import type { CheckResult } from '../ledger/verify/report.js'
import { within, type QueueBackend } from '../queues/backend.js'
import { checkParity } from '../queues/check-parity.js'
import { createPostgresBackend, migrateQueueStore } from '../queues/postgres-backend.js'
import { QueueRegistry } from '../queues/queue-registry.js'
import { Reconciler } from '../queues/reconciler.js'
import { createRedisBackend, forgetPrefix } from '../queues/redis-backend.js'
import { Relay } from '../queues/relay.js'
import { QUEUE_POOL, type QueueStore } from './stores.js'

export interface ScratchQueues {
  readonly databaseUrl: string
  readonly queue: QueueStore
  /** Nothing else may use it: everything below it is removed at the end. */
  readonly prefix: string
  readonly log: Logger
}

const POLL_MS = 50
const LIMIT_MS = 600_000
const CLOSE_MS = 5_000

/**
 * Rebuilds every queue of a ledger under a prefix of its own, by the code that a running bus uses, and compares both sides.
 * No worker runs on them. What was written is removed again. @returns how many jobs were published, and the comparison
 */
export async function rebuildScratch(scratch: ScratchQueues): Promise<{ readonly jobs: number; readonly parity: CheckResult }> {
  const database = openDatabase({ url: scratch.databaseUrl, poolSize: 4, applicationName: 'agentbus-drill', onError: () => undefined })
  const ledger = new Ledger({
    database,
    secret: 'no attempt is made and no token is checked here',
    retryBaseSeconds: 1,
    nowMs: () => systemClock.nowMs(),
    random: () => Math.random(),
    render: () => {
      throw new Error('nothing is delivered in a drill')
    },
  })
  const backend = await open(scratch)
  const queues = new QueueRegistry(backend)
  const reconciler = new Reconciler({ ledger, queues, log: scratch.log, processId: 'drill', sweepMs: LIMIT_MS, checkMs: LIMIT_MS, applySettings: async () => undefined })
  const relay = new Relay({ ledger, queues, log: scratch.log, pollMs: POLL_MS })
  try {
    await reconciler.start()
    if (((await readEpoch(ledger.db))?.rebuilds ?? 0) === 0) throw new Error('the queues could not be rebuilt; the log says why')
    relay.start()
    await outboxIsEmpty(ledger)
    const agents = (await ledger.listAgents()).map(({ id }) => id)
    const { rows } = await ledger.db.execute<{ n: number }>(sql`select (details ->> 'jobs')::int as n from observations where code = 'queue_rebuilt' order by id desc limit 1`)
    return { jobs: rows[0]?.n ?? 0, parity: await checkParity(ledger.db, queues, agents, 0) }
  } finally {
    await relay.stop()
    await reconciler.stop()
    // BullMQ never gives up on a store that went away.
    await within(CLOSE_MS, 'closing the queues', queues.close()).catch(() => undefined)
    await backend.close()
    await database.close()
    if (scratch.queue.kind === 'redis') await forgetPrefix(scratch.queue.url, scratch.prefix)
  }
}

async function open({ databaseUrl, queue, prefix }: ScratchQueues): Promise<QueueBackend> {
  if (queue.kind === 'redis') return createRedisBackend({ url: queue.url, prefix, onError: () => undefined })
  await migrateQueueStore(databaseUrl)
  return createPostgresBackend({ url: databaseUrl, poolSize: QUEUE_POOL, durable: false, onError: () => undefined })
}

/** The relay has told the store everything. @throws when it does not come to that */
async function outboxIsEmpty(ledger: Ledger): Promise<void> {
  const startedMs = performance.now()
  for (;;) {
    const { rows } = await ledger.db.execute<{ open: boolean }>(sql`select exists (select from outbox) as open`)
    if (rows[0]?.open !== true) return
    if (performance.now() - startedMs > LIMIT_MS) throw new Error('the queue store did not take what the ledger has for it')
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
