import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { QUEUE_POOL, type Stores } from '../cli/stores.js'
import { createLogger } from '../config/logger.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { findRedisServer, startPrivateRedis } from '../embedded/private-redis.js'
import { probePostgres } from '../embedded/probe-stores.js'
import { migrateLedger } from '../ledger/database.js'
import type { QueueBackend } from '../queues/backend.js'
import { createPostgresBackend, migrateQueueStore } from '../queues/postgres-backend.js'
import { createRedisBackend } from '../queues/redis-backend.js'

/** What a system under measurement is given to keep its data in. */
export type Where = Pick<Stores, 'databaseUrl' | 'queue'>

export interface BenchStores {
  /** One for each queue backend that was asked for and is to be had: Redis only when its server is on PATH. */
  readonly places: readonly Where[]
  readonly postgresVersion: string
  /** Ends the servers and removes their data. */
  readonly stop: () => Promise<void>
}

/** Starts empty stores in a temporary folder and migrates them. `backend` is `redis`, `postgres` or `both`. */
export async function startStores(backend: string): Promise<BenchStores> {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
  await chmod(folder, 0o755)
  const dataDir = path.join(folder, 'data')
  const log = createLogger({ level: 'error', pretty: false })
  const postgres = await startEmbeddedPostgres({ dataDir, log })
  const binary = findRedisServer(process.env['PATH'])
  const redis = binary === undefined || backend === 'postgres' ? undefined : await startPrivateRedis({ dataDir, binary, log })
  await migrateLedger(postgres.url)
  await migrateQueueStore(postgres.url)
  const places: Where[] = []
  if (redis !== undefined) places.push({ databaseUrl: postgres.url, queue: { kind: 'redis', url: redis.url } })
  if (backend !== 'redis') places.push({ databaseUrl: postgres.url, queue: { kind: 'postgres', url: postgres.url } })
  const { version } = await probePostgres(postgres.url)
  return {
    places,
    postgresVersion: version,
    stop: async () => {
      await redis?.stop()
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The queues of a system that has no ledger: connected as agentbus connects them, under a prefix of their own. */
export function openBareBackend(queue: Where['queue']): QueueBackend {
  const onError = (): void => undefined
  return queue.kind === 'redis' ? createRedisBackend({ url: queue.url, prefix: 'baseline', onError }) : createPostgresBackend({ url: queue.url, poolSize: QUEUE_POOL, onError })
}
