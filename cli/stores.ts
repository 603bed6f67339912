import { mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import type { Logger } from '../config/logger.js'
import { programSearchPath } from '../config/search-path.js'
import type { Settings } from '../config/settings.js'
import { AgentbusError } from '../contracts/errors.js'
import { loadOrCreateSecret, openDataDir, type DataDir } from '../embedded/data-dir.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { findRedisServer, startPrivateRedis } from '../embedded/private-redis.js'
import { checkConnectionBudget, probePostgres, probeRedis, redactUrl } from '../embedded/probe-stores.js'
import { isAlive } from '../embedded/process-identity.js'
import { migrateLedger, migrationState, openDatabase } from '../ledger/database.js'
import { migrateQueueStore } from '../queues/postgres-backend.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'

export type QueueStore = { readonly kind: 'redis'; readonly url: string } | { readonly kind: 'postgres'; readonly url: string }

/** The stores a process works on, probed and migrated. */
export interface Stores {
  readonly databaseUrl: string
  readonly queue: QueueStore
  readonly secret: string
  /** One line per default that was taken, for people. */
  readonly announcements: readonly string[]
  /** Stops what this process started and frees the data folder. To be called when nothing here uses a store any more. */
  stop(): Promise<void>
}

/** Stores of which this process has started some itself. */
export interface StartedStores extends Stores {
  /** From then on a store that ends is not started again. To be called as soon as a stop is asked for: who asks may have ended the servers too. */
  letGo(): void
}

/** What has been started so far: how it is stopped, how it is let go of, and what is told of it. */
interface Begun {
  /** Ends a server each. None needs another one, so they are stopped side by side: one that hangs must not use up the time of the others. */
  readonly servers: (() => Promise<void>)[]
  readonly letGo: (() => void)[]
  readonly announcements: string[]
}

/** What `agentbus up` tells other processes of the same machine about the stores it started. 0600. */
const Runtime = z.object({ pid: z.int(), databaseUrl: z.string(), queue: z.object({ kind: z.enum(['redis', 'postgres']), url: z.string() }) })

/** Connections of a process beside its two pools: the hint listener and a migration. */
const EXTRA_CONNECTIONS = 3

/** PostgreSQL connections that BullMQ's backend gets: its listener and a handful that all queues share. */
export const QUEUE_POOL = 8

/**
 * For `agentbus up`: takes the data folder, starts what is not configured, probes, migrates.
 * @throws AgentbusError with one clear sentence; what had been started by then is stopped again
 */
export async function startStores(settings: Settings, log: Logger): Promise<StartedStores> {
  const dataDir = await openDataDir(settings.dataDir)
  const begun: Begun = { servers: [], letGo: [], announcements: [] }
  const { servers, announcements } = begun
  const tried = (step: () => Promise<void>): Promise<void> => step().catch((error: unknown) => log.error({ event: 'stop.failed', err: error }, 'could not stop a store'))
  const undo: (() => Promise<void>)[] = [() => dataDir.release(), async () => void (await Promise.all(servers.splice(0).map(tried)))]
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await tried(step)
  }
  const letGo = (): void => {
    for (const one of begun.letGo) one()
  }
  try {
    const databaseUrl = settings.databaseUrl ?? (await embeddedPostgres(dataDir, log, begun))
    const queue = await chooseQueueStore(settings, dataDir, databaseUrl, log, begun)
    await readyStores(settings, { databaseUrl, queue }, log, announcements)
    const secret = settings.secret ?? (await loadOrCreateSecret(dataDir.path, 'secret'))
    const runtime = path.join(dataDir.path, 'runtime.json')
    await writePrivate(runtime, JSON.stringify({ pid: process.pid, databaseUrl, queue }))
    undo.push(() => unlink(runtime))
    return { databaseUrl, queue, secret, announcements, letGo, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** @returns its URL */
async function embeddedPostgres(dataDir: DataDir, log: Logger, begun: Begun): Promise<string> {
  const postgres = await startEmbeddedPostgres({ dataDir: dataDir.path, log, keepUp: true })
  begun.servers.push(() => postgres.stop())
  begun.letGo.push(() => postgres.letGo())
  begun.announcements.push('Ledger:  embedded PostgreSQL (DATABASE_URL is not set)')
  return postgres.url
}

async function chooseQueueStore(settings: Settings, dataDir: DataDir, databaseUrl: string, log: Logger, begun: Begun): Promise<QueueStore> {
  if (settings.queueBackend === 'postgres') return { kind: 'postgres', url: databaseUrl }
  if (settings.redisUrl !== undefined) return { kind: 'redis', url: settings.redisUrl }
  const binary = findRedisServer(programSearchPath())
  if (binary !== undefined) {
    const redis = await startPrivateRedis({ dataDir: dataDir.path, binary, log, keepUp: true })
    begun.servers.push(() => redis.stop())
    begun.letGo.push(() => redis.letGo())
    begun.announcements.push(`Queues:  a private ${path.basename(binary)} (REDIS_URL is not set)`)
    return { kind: 'redis', url: redis.url }
  }
  if (settings.queueBackend === 'redis') {
    throw new AgentbusError('AGENTBUS_CONFIG', 'AGENTBUS_QUEUE_BACKEND is redis, but REDIS_URL is not set and neither redis-server nor valkey-server is on PATH.')
  }
  begun.announcements.push("Queues:  BullMQ's PostgreSQL backend (REDIS_URL is not set, no redis-server on PATH); fine for a first run and small fleets")
  return { kind: 'postgres', url: databaseUrl }
}

/**
 * For `agentbus worker`, `api` and `migrate`: the configured stores, or those of an `agentbus up` that runs on the same data folder.
 * @throws AgentbusError AGENTBUS_CONFIG when neither is there
 */
export async function attachStores(settings: Settings, log: Logger): Promise<Stores> {
  const running = settings.databaseUrl === undefined ? await readRuntime(settings) : undefined
  const databaseUrl = settings.databaseUrl ?? running?.databaseUrl
  if (databaseUrl === undefined) {
    throw new AgentbusError('AGENTBUS_CONFIG', 'DATABASE_URL is not set, and no agentbus up runs on this data folder.')
  }
  const queue = queueOf(settings, databaseUrl, running?.queue)
  await readyStores(settings, { databaseUrl, queue }, log, [])
  return { databaseUrl, queue, secret: await sharedSecret(settings), announcements: [], stop: async () => undefined }
}

/** A ledger to look at: nothing was migrated and no store was started for it. */
export interface LookedAt {
  readonly databaseUrl: string
  readonly queue: QueueStore
  /** Undefined when it is neither set nor in the data folder; none is made. */
  readonly secret: string | undefined
}

/**
 * For commands that read the ledger and must leave it as it is: the configured stores, or those of an `agentbus up` that runs
 * on the same data folder. The queue store is not asked for.
 * @throws AgentbusError AGENTBUS_CONFIG when neither is there, AGENTBUS_STORE_UNREACHABLE when PostgreSQL does not answer
 */
export async function lookAtStores(settings: Settings): Promise<LookedAt> {
  const running = settings.databaseUrl === undefined ? await readRuntime(settings) : undefined
  const databaseUrl = settings.databaseUrl ?? running?.databaseUrl
  if (databaseUrl === undefined) throw new AgentbusError('AGENTBUS_CONFIG', 'DATABASE_URL is not set, and no agentbus up runs on this data folder.')
  await probePostgres(databaseUrl)
  const kept = await readFile(path.join(settings.dataDir, 'secret'), 'utf8').catch(() => undefined)
  return { databaseUrl, queue: queueOf(settings, databaseUrl, running?.queue), secret: settings.secret ?? kept?.trim() }
}

/** For commands that do not migrate. @throws CliError when the schema is not the one that this build knows */
export async function requireMigrated(databaseUrl: string): Promise<void> {
  const database = openDatabase({ url: databaseUrl, poolSize: 3, applicationName: 'agentbus', onError: () => undefined })
  try {
    const { known, applied } = await migrationState(database.pool)
    if (applied === known) return
    throw new CliError(`The ledger has ${applied} migrations, this build knows ${known}: run agentbus migrate, or the build that the ledger belongs to.`, EXIT.unchecked)
  } finally {
    await database.close()
  }
}

function queueOf(settings: Settings, databaseUrl: string, running: QueueStore | undefined): QueueStore {
  if (settings.queueBackend === 'postgres') return { kind: 'postgres', url: databaseUrl }
  if (settings.redisUrl !== undefined) return { kind: 'redis', url: settings.redisUrl }
  if (running !== undefined) return running
  if (settings.queueBackend === 'redis') throw new AgentbusError('AGENTBUS_CONFIG', 'AGENTBUS_QUEUE_BACKEND is redis, but REDIS_URL is not set.')
  return { kind: 'postgres', url: databaseUrl }
}

async function sharedSecret(settings: Settings): Promise<string> {
  if (settings.secret !== undefined) return settings.secret
  await mkdir(settings.dataDir, { recursive: true, mode: 0o700 })
  return loadOrCreateSecret(settings.dataDir, 'secret')
}

async function readRuntime(settings: Settings): Promise<{ databaseUrl: string; queue: QueueStore } | undefined> {
  const text = await readFile(path.join(settings.dataDir, 'runtime.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const parsed = Runtime.safeParse(jsonOf(text))
  if (!parsed.success || !(await isAlive(parsed.data.pid))) return undefined
  return parsed.data
}

/** Undefined for what is no JSON: a crash of the machine may leave a file empty. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Probes and migrates both stores before any BullMQ object is built, and checks that the connections will suffice. */
async function readyStores(settings: Settings, stores: { databaseUrl: string; queue: QueueStore }, log: Logger, announcements: string[]): Promise<void> {
  const facts = await probePostgres(stores.databaseUrl)
  if (stores.queue.kind === 'redis') {
    const redis = await probeRedis(stores.queue.url)
    for (const warning of redis.warnings) log.warn({ event: 'redis.warning', warning }, warning)
  }
  const needed = settings.pgPool + EXTRA_CONNECTIONS + (stores.queue.kind === 'postgres' ? QUEUE_POOL : 0)
  checkConnectionBudget({ needed, available: facts.maxConnections - facts.superuserReserved - facts.usedConnections })
  const { applied } = await migrateLedger(stores.databaseUrl)
  if (applied > 0) log.info({ event: 'ledger.migrated', applied }, 'the schema was brought up to date')
  if (stores.queue.kind === 'postgres') await migrateQueueStore(stores.queue.url)
  if (settings.databaseUrl !== undefined) announcements.push(`Ledger:  ${redactUrl(stores.databaseUrl)}`)
  if (settings.redisUrl !== undefined && stores.queue.kind === 'redis') announcements.push(`Queues:  ${redactUrl(stores.queue.url)}`)
}

/** Replaces a file that only its owner may read, in one step. */
export async function writePrivate(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}`
  await writeFile(draft, text, { mode: 0o600 })
  await rename(draft, file)
}
