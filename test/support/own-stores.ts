import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Redis } from 'ioredis'
import { createLogger } from '../../config/logger.js'
import { startEmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { findRedisServer } from '../../embedded/private-redis.js'
import { migrateLedger } from '../../ledger/database.js'
import { migrateQueueStore } from '../../queues/postgres-backend.js'

/** A Redis of this test's own, which may be killed, stopped and wiped. */
export interface OwnRedis {
  readonly url: string
  readonly process: () => ChildProcess
  start(): Promise<void>
  flushAll(): Promise<void>
  stop(): Promise<void>
}

/** @throws when no redis-server is on PATH */
export async function ownRedis(): Promise<OwnRedis> {
  const binary = findRedisServer(process.env['PATH'])
  if (binary === undefined) throw new Error('no redis-server on PATH')
  const dir = await mkdtemp(path.join(tmpdir(), 'agentbus-redis-'))
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let child: ChildProcess | undefined
  return {
    url,
    process: () => {
      if (child === undefined) throw new Error('redis is not started')
      return child
    },
    start: async () => {
      child = spawn(
        binary,
        ['--port', String(port), '--bind', '127.0.0.1', '--appendonly', 'yes', '--appendfsync', 'everysec', '--maxmemory-policy', 'noeviction', '--dir', dir, '--save', ''],
        { stdio: 'ignore' },
      )
      const probe = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 })
      probe.on('error', () => undefined)
      await probe.ping()
      probe.disconnect()
    },
    flushAll: async () => {
      const client = new Redis(url)
      await client.flushall()
      client.disconnect()
    },
    stop: async () => {
      child?.kill('SIGKILL')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** A PostgreSQL of this test's own with the limits of a default server, migrated. */
export async function ownPostgres(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-postgres-'))
  // PostgreSQL does not run as root: its own user must be able to walk into the folder.
  await chmod(folder, 0o755)
  const server = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log: createLogger({ level: 'error', pretty: false }) })
  await migrateLedger(server.url)
  await migrateQueueStore(server.url)
  return {
    url: server.url,
    stop: async () => {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A port that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
