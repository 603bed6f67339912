import { chmod, mkdir, mkdtemp, rm, statfs } from 'node:fs/promises'
import { freemem, tmpdir } from 'node:os'
import path from 'node:path'
import { execFileSync } from 'node:child_process'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { createLogger } from '../../config/logger.js'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { findRedisServer, startPrivateRedis } from '../../embedded/private-redis.js'
import { OWNER } from '../../embedded/postmaster.js'
import { migrateLedger } from '../../ledger/database.js'
import { migrateQueueStore } from '../../queues/postgres-backend.js'
import { findOrInstall } from './debian-package.js'
import { keepCluster } from './prepared-postgres.js'

declare module 'vitest' {
  export interface ProvidedContext {
    postgresUrl: string
    templateDatabase: string
    /** A migrated cluster that runs nowhere, for `copyCluster`. */
    preparedPostgres: string
    redisUrl: string
  }
}

/** Where the Redis of the tests comes from: REDIS_URL, else a private server from PATH, else Debian's package. */
async function redis(dataDir: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const given = process.env['REDIS_URL']
  if (given !== undefined && given !== '') return { url: given, stop: async () => undefined }
  const binary = findOrInstall({
    find: () => findRedisServer(process.env['PATH']),
    debianPackage: 'redis-server',
    advice: 'The tests need a Redis: set REDIS_URL, or install one (Debian: apt-get install redis-server).',
  })
  return startPrivateRedis({ dataDir, binary, log: createLogger({ level: 'error', pretty: false }) })
}

/**
 * Nothing here outlives the run, and no test takes the power away: a process that is killed loses nothing by these. Tests that kill
 * PostgreSQL itself have a server of their own.
 */
const FOR_A_THROWAWAY_SERVER = ['fsync = off', 'full_page_writes = off']

/**
 * Two files run at a time, each with buses and processes of its own: together they need more connections than a default server has. It is made and migrated once;
 * what is kept in `prepared` is the same cluster with a default server's limits, for tests that start a PostgreSQL of their own.
 */
async function startRoomyPostgres(options: Parameters<typeof startEmbeddedPostgres>[0], prepared: string): Promise<EmbeddedPostgres> {
  const first = await startEmbeddedPostgres(options)
  await migrateLedger(first.url)
  await migrateQueueStore(first.url)
  const owner = new pg.Client({ connectionString: first.url })
  await owner.connect()
  await owner.query('alter system set max_connections = 400')
  for (const setting of FOR_A_THROWAWAY_SERVER) await owner.query(`alter system set ${setting}`)
  await owner.end()
  await first.stop()
  await keepCluster(first.home, prepared)
  return startEmbeddedPostgres(options)
}

/** Memory, where there is plenty: each database is a thousand small files, and tests make a thousand databases. */
async function fastestFolder(): Promise<string> {
  const shared = await statfs('/dev/shm').catch(() => undefined)
  const roomy = shared !== undefined && Math.min(shared.bavail * shared.bsize, freemem()) > 6 * 1024 ** 3
  return roomy ? '/dev/shm' : tmpdir()
}

/** Starts the real stores once for the whole run and migrates the template that each file clones. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Crash tests run the build as real processes.
  execFileSync('npm', ['run', 'build', '--silent'], { stdio: 'inherit' })
  const folder = await mkdtemp(path.join(await fastestFolder(), 'agentbus-test-'))
  // PostgreSQL does not run as root: its own user must be able to walk into the folder.
  await chmod(folder, 0o755)
  // For the folders that tests make, and for the processes that they start.
  const temporary = path.join(folder, 'tmp')
  await mkdir(temporary, { mode: 0o777 })
  await chmod(temporary, 0o1777)
  process.env['TMPDIR'] = temporary
  const log = createLogger({ level: 'error', pretty: false })
  const preparedPostgres = path.join(folder, 'prepared')
  const postgres = await startRoomyPostgres({ dataDir: path.join(folder, 'data'), log }, preparedPostgres)
  const store = await redis(path.join(folder, 'data'))
  const templateDatabase = 'agentbus_template'
  const admin = new pg.Client({ connectionString: postgres.url })
  await admin.connect()
  // By its files, with the one among them that tells a new connection of the catalog: so have its clones.
  await admin.query(`create database ${templateDatabase} template ${OWNER} strategy file_copy`)
  await admin.end()
  project.provide('postgresUrl', postgres.url)
  project.provide('templateDatabase', templateDatabase)
  project.provide('preparedPostgres', preparedPostgres)
  project.provide('redisUrl', store.url)
  return async () => {
    await store.stop()
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
