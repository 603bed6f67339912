import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { QUEUE_POOL, type Stores } from '../cli/stores.js'
import { createLogger } from '../config/logger.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { findRedisServer, startPrivateRedis } from '../embedded/private-redis.js'
import { probePostgres } from '../embedded/probe-stores.js'
import { migrateLedger } from '../ledger/database.js'
import type { QueueBackend } from '../queues/backend.js'
import { createPostgresBackend, migrateQueueStore } from '../queues/postgres-backend.js'
import { createRedisBackend } from '../queues/redis-backend.js'

const TEMPLATE = 'migrated'

/** What a system under measurement is given to keep its data in. */
export type Where = Pick<Stores, 'databaseUrl' | 'queue'>

export interface BenchStores {
  /** One for each queue backend that was asked for and is to be had: Redis only when its server is on PATH. */
  readonly places: readonly Where[]
  /** A database of its own on the same PostgreSQL, migrated for BullMQ: the peers' tables are not in the ledger's way. */
  readonly peers: Where
  readonly postgresVersion: string
  /** Makes another migrated database on the same server, and says where its ledger and queues are. */
  readonly another: (name: string) => Promise<readonly Where[]>
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
  // Migrated once: every database of the run is a copy of this one.
  await createDatabase(postgres.url, TEMPLATE)
  await migrateLedger(inDatabase(postgres.url, TEMPLATE))
  await migrateQueueStore(inDatabase(postgres.url, TEMPLATE))
  let databases = 0
  const another = async (name: string): Promise<Where[]> => {
    const databaseUrl = await createDatabase(postgres.url, name, TEMPLATE)
    const places: Where[] = []
    // Two ledgers on one queue store would each take it for wiped.
    if (redis !== undefined) places.push({ databaseUrl, queue: { kind: 'redis', url: `${redis.url}/${databases}` } })
    if (backend !== 'redis') places.push({ databaseUrl, queue: { kind: 'postgres', url: databaseUrl } })
    databases += 1
    return places
  }
  const places = await another('young')
  const peersUrl = await createDatabase(postgres.url, 'peers', TEMPLATE)
  const { version } = await probePostgres(postgres.url)
  return {
    places,
    peers: { databaseUrl: peersUrl, queue: { kind: 'postgres', url: peersUrl } },
    postgresVersion: version,
    another,
    stop: async () => {
      await redis?.stop()
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function createDatabase(serverUrl: string, name: string, template = 'template0'): Promise<string> {
  const client = new pg.Client({ connectionString: serverUrl })
  await client.connect()
  await client.query(`create database ${client.escapeIdentifier(name)} template ${client.escapeIdentifier(template)}`)
  await client.end()
  return inDatabase(serverUrl, name)
}

function inDatabase(serverUrl: string, name: string): string {
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return url.href
}

/** The queues of a system that has no ledger: connected as agentbus connects them, under a prefix of their own; what they lose nobody else has. */
export function openBareBackend(queue: Where['queue']): QueueBackend {
  const onError = (): void => undefined
  return queue.kind === 'redis'
    ? createRedisBackend({ url: queue.url, prefix: 'baseline', onError })
    : createPostgresBackend({ url: queue.url, poolSize: QUEUE_POOL, durable: true, onError })
}
