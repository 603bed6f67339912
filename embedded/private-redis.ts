import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, statSync } from 'node:fs'
import { mkdir, open, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { Redis } from 'ioredis'
import { systemClock, type Clock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'
import { programSearchPath } from '../config/search-path.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { loadOrCreateSecret } from './data-dir.js'
import { freePort } from './free-port.js'
import { findServerIn, isServerIn, waitForExit } from './process-identity.js'

const PROGRAMS = ['redis-server', 'valkey-server']
/** Of the name of either program as the system knows it. */
const NAME_PART = '-server'
/** A large append-only file takes this long to load, and no longer. */
const START_LIMIT_MS = 300_000
const STOP_LIMIT_MS = 60_000
const PORTS_TO_TRY = 10
const LOG_KEPT_BYTES = 10 * 1024 * 1024

export interface PrivateRedis {
  /** For any client; holds the password. */
  readonly url: string
  /** Saves and ends the server; to be called last, and harmless when repeated. */
  stop(): Promise<void>
}

interface Server {
  /** The working folder of the server: nothing else of agentbus lies in it. */
  readonly home: string
  readonly binary: string
  readonly password: string
  readonly clock: Clock
}

interface Running {
  readonly pid: number
  readonly port: number
}

/** The path of `redis-server` or `valkey-server`, or undefined when neither is on PATH. */
export function findRedisServer(searchPath = programSearchPath() ?? ''): string | undefined {
  const folders = searchPath.split(delimiter).filter((folder) => folder.startsWith('/'))
  return PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program))).find(isExecutable)
}

/**
 * A private Redis with its data in `dataDir`/redis, which the caller holds (see `openDataDir`): append-only file
 * synced every second, no eviction, 127.0.0.1 only, a random password that is on no command line. One that an
 * earlier agentbus left running is adopted.
 *
 * @throws AgentbusError AGENTBUS_CONFIG or AGENTBUS_STORE_UNREACHABLE, with what to do.
 */
export async function startPrivateRedis({ dataDir, binary, log }: { dataDir: string; binary: string; log: Logger }): Promise<PrivateRedis> {
  const server: Server = { home: await makeHome(dataDir), binary, password: await loadOrCreateSecret(dataDir, 'redis-password'), clock: systemClock }
  const adopted = await adopt(server)
  const running = adopted ?? (await start(server))
  log.info({ event: adopted === undefined ? 'private_redis.started' : 'private_redis.adopted', ...running, home: server.home }, 'the private Redis is up')
  return { url: `redis://:${server.password}@127.0.0.1:${running.port}`, stop: () => stop(server, running) }
}

async function makeHome(dataDir: string): Promise<string> {
  const home = join(dataDir, 'redis')
  try {
    await mkdir(home, { recursive: true, mode: 0o700 })
    return await realpath(home)
  } catch (error) {
    throw new AgentbusError('AGENTBUS_CONFIG', `no place for the private Redis in ${home}: ${messageOf(error)}`, { home }, { cause: error })
  }
}

/**
 * By the working folder of the process: its port alone could be a stranger's by now. One that was killed
 * together with agentbus before it wrote its pid file is found too: two servers would ruin the file.
 */
async function adopt(server: Server): Promise<Running | undefined> {
  const noted = Number(await readText(join(server.home, 'redis.pid')))
  const pid = (await isServer(server, noted)) ? noted : await findServerIn(server.home, NAME_PART)
  if (pid === undefined) return undefined
  const port = Number(await readText(join(server.home, 'port')))
  return (await waitUntilReady(server, { pid, port }, () => false)) ? { pid, port } : undefined
}

async function start(server: Server): Promise<Running> {
  const last = Number(await readText(join(server.home, 'port')))
  for (let tried = 1; ; tried += 1) {
    const port = await freePort(tried === 1 && last > 0 && last < 65_536 ? last : undefined)
    await writeConfig(server, port)
    const offset = await rotatedLogSize(server)
    const out = await open(logPath(server), 'a', 0o600)
    const child = spawn(server.binary, ['redis.conf'], { cwd: server.home, detached: true, stdio: ['ignore', out.fd, out.fd], env: { LC_ALL: 'C', TZ: 'UTC' } })
    let hasEnded = false
    once(child, 'exit').then(
      () => (hasEnded = true),
      () => (hasEnded = true),
    )
    child.unref()
    await out.close()
    const isUp = child.pid !== undefined && (await waitUntilReady(server, { pid: child.pid, port }, () => hasEnded))
    if (isUp && child.pid !== undefined) return { pid: child.pid, port }
    const said = (await readFile(logPath(server))).subarray(offset).toString('utf8')
    if (/Address already in use|Could not create server TCP|Failed listening on port/.test(said) && tried < PORTS_TO_TRY) continue
    throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis did not start: ${said.trim().split('\n').at(-1)}; see ${logPath(server)}`, { log: logPath(server) })
  }
}

/** Asks until the server answers with our password and has loaded its data; false when it ended before. */
async function waitUntilReady(server: Server, { pid, port }: Running, hasEnded: () => boolean): Promise<boolean> {
  const until = server.clock.nowMs() + START_LIMIT_MS
  while (server.clock.nowMs() < until) {
    const answer = await ask(server, port, (redis) => redis.ping()).catch(messageOf)
    if (answer === 'PONG' && !hasEnded()) return true
    if (/WRONGPASS|NOAUTH|invalid password/.test(answer) && !hasEnded()) {
      throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) refuses the password in redis-password; restore that file, or stop that process`, {
        pid,
        port,
      })
    }
    // One that cannot be looked at for the moment is there.
    if (hasEnded() || !(await isServer(server, pid).catch(() => true))) return false
    await server.clock.sleep(20)
  }
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) does not answer on port ${port}; see ${logPath(server)}`, { pid, port })
}

async function stop(server: Server, { pid, port }: Running): Promise<void> {
  if (!(await isServer(server, pid))) return
  // The connection breaks as the server goes, which looks like a failure; SIGTERM then changes nothing.
  await ask(server, port, (redis) => redis.shutdown('SAVE')).catch(() => terminate(pid))
  if (await waitForExit({ pid, clock: server.clock, limitMs: STOP_LIMIT_MS })) return
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) did not stop; see ${logPath(server)}`, { pid, port })
}

function isServer(server: Server, pid: number): Promise<boolean> {
  return isServerIn(pid, server.home, NAME_PART)
}

function terminate(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // It is gone, which is what was wanted.
  }
}

async function ask<T>(server: Server, port: number, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    password: server.password,
    lazyConnect: true,
    connectTimeout: 5_000,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    enableReadyCheck: false,
  })
  redis.on('error', () => undefined)
  try {
    await redis.connect()
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}

async function writeConfig(server: Server, port: number): Promise<void> {
  const lines = [
    '# Written by agentbus at each start.',
    'bind 127.0.0.1',
    'protected-mode yes',
    `port ${port}`,
    `requirepass ${server.password}`,
    // Relative to the working folder, which is this one: no quoting of paths.
    'dir .',
    'pidfile redis.pid',
    'logfile ""',
    'daemonize no',
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    'maxmemory-policy noeviction',
  ]
  const draft = join(server.home, 'redis.conf.draft')
  await writeFile(draft, `${lines.join('\n')}\n`, { mode: 0o600 })
  await rename(draft, join(server.home, 'redis.conf'))
  await writeFile(join(server.home, 'port'), `${port}\n`, { mode: 0o600 })
}

async function rotatedLogSize(server: Server): Promise<number> {
  const size = (await stat(logPath(server)).catch(() => undefined))?.size ?? 0
  if (size <= LOG_KEPT_BYTES) return size
  await rename(logPath(server), `${logPath(server)}.1`)
  return 0
}

function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}

function logPath({ home }: Server): string {
  return join(home, 'server.log')
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
