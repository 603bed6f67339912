import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Clock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { freePort } from './free-port.js'
import { findServerIn, isServerIn, unlessGone, waitForExit } from './process-identity.js'
import { untilChildEnded, untilOrphanEnded } from './until-ended.js'

/** Of the name of `redis-server` and `valkey-server` as the system knows it. */
const NAME_PART = '-server'
/** A large append-only file takes this long to load, and no longer. */
const START_LIMIT_MS = 300_000
/** For one answer of a server that is asked whether it is ready; whatever else has taken the port may never give one. */
const ANSWER_LIMIT_MS = 5_000
const STOP_LIMIT_MS = 60_000
const PORTS_TO_TRY = 10
const LOG_KEPT_BYTES = 10 * 1024 * 1024

/** Where a private Redis has its data, and what it is started with. */
export interface RedisPlace {
  /** The working folder of the server, a real path: nothing else of agentbus lies in it. */
  readonly home: string
  readonly binary: string
  readonly password: string
  readonly log: Logger
  readonly clock: Clock
}

/** A server that runs. */
export interface RedisServer {
  readonly pid: number
  readonly port: number
  /** Resolves when it has ended, whoever has ended it, or when `signal` is aborted. */
  untilEnded(signal: AbortSignal): Promise<void>
}

export interface AdoptOptions {
  /** Where it listens; not given: at the port that was noted when it was started. */
  readonly port?: number
  readonly signal?: AbortSignal
}

/**
 * The server that runs in this place already: an orphan, whose agentbus was killed. Undefined when none does, or when it ended
 * before it was ready.
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE; the reason of `signal` once that is aborted; whatever keeps from telling who runs
 */
export async function adoptRedis(place: RedisPlace, options: AdoptOptions = {}): Promise<RedisServer | undefined> {
  const pid = await runningPid(place)
  if (pid === undefined) return undefined
  const port = options.port ?? (await lastPort(place))
  if (port === undefined) {
    throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) runs, and ${portPath(place)} does not say at which port; stop that process`, { pid })
  }
  if (!(await isReady(place, { pid, port, mayRefuse: true, hasEnded: () => false, signal: options.signal }))) return undefined
  return { pid, port, untilEnded: (stopping) => untilOrphanEnded({ pid, dir: place.home, program: NAME_PART, clock: place.clock }, stopping) }
}

export interface StartOptions {
  /** Where it has to listen; not given: at the port of the last start, or at any other when that is taken. */
  readonly onlyPort?: number
  /** Breaks the start off. A server that loads its data by then goes on: end it with {@link stopRedis}. */
  readonly signal?: AbortSignal
}

/**
 * Starts the server in a session of its own, so that it outlives Ctrl-C and the death of agentbus.
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE; the reason of `signal` once that is aborted
 */
export async function startRedis(place: RedisPlace, { onlyPort, signal }: StartOptions = {}): Promise<RedisServer> {
  const last = await lastPort(place)
  for (let tried = 1; ; tried += 1) {
    signal?.throwIfAborted()
    // The only one is not tried out before: clients that look for the server there would be answered, and held, by the trial.
    const port = onlyPort ?? (await freePort(tried === 1 ? last : undefined))
    const launched = await launch(place, port, signal)
    if (typeof launched !== 'string') return launched
    const isTaken = /Address already in use|Could not create server TCP|Failed listening on port/.test(launched)
    if (isTaken && onlyPort !== undefined) throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', portTaken(onlyPort), { port: onlyPort, log: logPath(place) })
    if (isTaken && tried < PORTS_TO_TRY) continue
    throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis did not start: ${lastLineOf(launched)}; see ${logPath(place)}`, { log: logPath(place) })
  }
}

/**
 * Saves and ends the server, also one that loads its data still. Nothing happens when it is gone.
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE when it does not end; whatever keeps from telling who runs
 */
export async function stopRedis(place: RedisPlace): Promise<void> {
  const pid = await runningPid(place)
  if (pid === undefined) return
  const port = await lastPort(place)
  // The connection breaks as the server goes, which looks like a failure; SIGTERM then changes nothing.
  if (port === undefined) terminate(pid)
  else await shutDown(place, { pid, port }).catch(() => terminate(pid))
  if (await waitForExit({ pid, clock: place.clock, limitMs: STOP_LIMIT_MS })) return
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) did not stop; see ${logPath(place)}`, { pid })
}

/** @throws when the server at this port is another one, which is to go on */
function shutDown(place: RedisPlace, { pid, port }: { readonly pid: number; readonly port: number }): Promise<void> {
  return ask(place, { port, limitMs: STOP_LIMIT_MS }, async (redis) => {
    const answering = await pidOf(redis)
    if (answering !== pid) throw new Error(`process ${answering} answers at port ${port}`)
    await redis.shutdown('SAVE')
  })
}

/** Starts the server. @returns it, once it is ready, or what it wrote to its log before it gave up */
async function launch(place: RedisPlace, port: number, signal: AbortSignal | undefined): Promise<RedisServer | string> {
  await writeConfig(place, port)
  const offset = await rotatedLogSize(place)
  const out = await open(logPath(place), 'a', 0o600)
  const server = spawn(place.binary, ['redis.conf'], { cwd: place.home, detached: true, stdio: ['ignore', out.fd, out.fd], env: { LC_ALL: 'C', TZ: 'UTC' } })
  let hasEnded = false
  once(server, 'exit').then(
    () => (hasEnded = true),
    () => (hasEnded = true),
  )
  server.unref()
  await out.close()
  const { pid } = server
  if (pid !== undefined && (await isReady(place, { pid, port, mayRefuse: false, hasEnded: () => hasEnded, signal }))) {
    return { pid, port, untilEnded: (stopping) => untilChildEnded(server, stopping) }
  }
  return (await readFile(logPath(place))).subarray(offset).toString('utf8') || 'no word in its log'
}

interface Awaited {
  readonly pid: number
  readonly port: number
  /** Whether it can have another password than ours. One that was just started has ours, so whoever refuses that is somebody else. */
  readonly mayRefuse: boolean
  readonly hasEnded: () => boolean
  readonly signal: AbortSignal | undefined
}

/**
 * Asks until this server, and no other at the same port, answers with our password and has loaded its data; false when it ended before.
 * @throws the reason of `signal` once that is aborted and whoever stops the server will find it
 */
async function isReady(place: RedisPlace, { pid, port, mayRefuse, hasEnded, signal }: Awaited): Promise<boolean> {
  const until = place.clock.nowMs() + START_LIMIT_MS
  while (place.clock.nowMs() < until) {
    const answer = await whoAnswers(place, port)
    if (hasEnded()) return false
    if (answer === pid) return true
    if (mayRefuse && typeof answer === 'string' && /WRONGPASS|NOAUTH|invalid password/.test(answer)) {
      throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) refuses the password in redis-password; restore that file, or stop that process`, {
        pid,
        port,
      })
    }
    // One that cannot be looked at for the moment is there.
    if (!(await isServerIn(pid, place.home, NAME_PART).catch(() => true))) return false
    // Not earlier: one that has not written its pid file yet could be left behind.
    if (signal?.aborted === true && (await runningPid(place).catch(() => undefined)) === pid) signal.throwIfAborted()
    // Without the signal: once that is aborted there would be no wait any more.
    await place.clock.sleep(20)
  }
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) does not answer on port ${port}; see ${logPath(place)}`, { pid, port })
}

/** The pid of the server at a port, once it has loaded its data; else why it cannot be told. */
function whoAnswers(place: RedisPlace, port: number): Promise<number | string> {
  return ask(place, { port, limitMs: ANSWER_LIMIT_MS }, async (redis): Promise<number | string> => {
    const pid = await pidOf(redis)
    // Refused while it loads, unlike the question before.
    await redis.ping()
    return pid
  }).catch(messageOf)
}

async function pidOf(redis: Redis): Promise<number> {
  return Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1])
}

/** Asks the server at a port, and lets it take `limitMs` for each answer. @throws the first fault that there was */
async function ask<T>({ password }: RedisPlace, { port, limitMs }: { readonly port: number; readonly limitMs: number }, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    password,
    lazyConnect: true,
    connectTimeout: 5_000,
    commandTimeout: limitMs,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    enableReadyCheck: false,
  })
  // What a refused password is rejected with says only that the connection was closed.
  let firstFault: Error | undefined
  redis.on('error', (error: Error) => (firstFault ??= error))
  try {
    await redis.connect().catch((error: unknown) => {
      throw firstFault ?? error
    })
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}

/**
 * The process of the server in this place. By its working folder: its port alone could be a stranger's by now. One that was killed
 * together with agentbus before it wrote its pid file is found too: two servers would ruin the file.
 * @throws when it cannot be told
 */
async function runningPid({ home }: RedisPlace): Promise<number | undefined> {
  const noted = Number((await unlessGone(readFile(join(home, 'redis.pid'), 'utf8'))) ?? '')
  return (await isServerIn(noted, home, NAME_PART)) ? noted : findServerIn(home, NAME_PART)
}

function terminate(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // It is gone, which is what was wanted.
  }
}

async function writeConfig(place: RedisPlace, port: number): Promise<void> {
  const lines = [
    '# Written by agentbus at each start.',
    'bind 127.0.0.1',
    'protected-mode yes',
    `port ${port}`,
    `requirepass ${place.password}`,
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
  const draft = join(place.home, 'redis.conf.draft')
  await writeFile(draft, `${lines.join('\n')}\n`, { mode: 0o600 })
  await rename(draft, join(place.home, 'redis.conf'))
  await writeFile(portPath(place), `${port}\n`, { mode: 0o600 })
}

/** The port of the last start, so that a URL noted down stays good as long as the port is free. */
async function lastPort(place: RedisPlace): Promise<number | undefined> {
  const port = Number(await readFile(portPath(place), 'utf8').catch(() => ''))
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

async function rotatedLogSize(place: RedisPlace): Promise<number> {
  const size = (await stat(logPath(place)).catch(() => undefined))?.size ?? 0
  if (size <= LOG_KEPT_BYTES) return size
  await rename(logPath(place), `${logPath(place)}.1`)
  return 0
}

function portTaken(port: number): string {
  return `the private Redis did not start: port ${port} is taken by another program; stop it or restart agentbus`
}

function lastLineOf(said: string): string {
  return said.trim().split('\n').at(-1) ?? ''
}

function portPath({ home }: RedisPlace): string {
  return join(home, 'port')
}

function logPath({ home }: RedisPlace): string {
  return join(home, 'server.log')
}
