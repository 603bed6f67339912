import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Redis } from 'ioredis'
import { createLogger } from '../../config/logger.js'
import { startEmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { findRedisServer } from '../../embedded/private-redis.js'
import { migrateLedger } from '../../ledger/database.js'
import { migrateQueueStore } from '../../queues/postgres-backend.js'
import { copyCluster } from './prepared-postgres.js'

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

/** A PostgreSQL of this test's own, which may be killed and stopped. */
export interface OwnPostgres {
  /** Of the server that runs now: a new start may find its port taken. */
  readonly url: string
  /** Of the postmaster that runs now. */
  pid(): Promise<number>
  /** Starts it again after a kill. Resolves when it has recovered and takes connections. */
  start(): Promise<void>
  stop(): Promise<void>
}

/** With the limits of a default server, migrated: a copy of `prepared` when there is one, see prepared-postgres.ts. */
export async function ownPostgres({ prepared }: { readonly prepared?: string } = {}): Promise<OwnPostgres> {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-postgres-'))
  // PostgreSQL does not run as root: its own user must be able to walk into the folder.
  await chmod(folder, 0o755)
  const dataDir = path.join(folder, 'data')
  const launch = (): ReturnType<typeof startEmbeddedPostgres> => startEmbeddedPostgres({ dataDir, log: createLogger({ level: 'silent', pretty: false }) })
  if (prepared !== undefined) await copyCluster(prepared, dataDir)
  let server = await launch()
  if (prepared === undefined) {
    await migrateLedger(server.url)
    await migrateQueueStore(server.url)
  }
  return {
    get url() {
      return server.url
    },
    pid: () => postmasterPid(server.home),
    start: async () => {
      server = await launch()
    },
    stop: async () => {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The process id of the PostgreSQL whose files lie in `home`. */
async function postmasterPid(home: string): Promise<number> {
  for (const candidate of [home, path.join(home, 'data'), path.join(home, 'cluster')]) {
    const text = await readFile(path.join(candidate, 'postmaster.pid'), 'utf8').catch(() => undefined)
    if (text !== undefined) return Number(text.split('\n')[0])
  }
  throw new Error(`no postmaster.pid below ${home}`)
}

/** The processes that a process has started. */
export function childrenOf(pid: number): number[] {
  // It exits with 1 when there are none.
  const { stdout, error } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)])
  if (error !== undefined) throw error
  return stdout
    .toString()
    .split('\n')
    .map((line) => Number(line.trim()))
    .filter((child) => child > 0)
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
