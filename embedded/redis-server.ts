import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { freePort } from './free-port.js'
import { isServerIn, waitForExit } from './process-identity.js'
import { lastPort, logPath, portPath, rotatedLogSize, writeConfig, type RedisPlace } from './redis-place.js'
import { forgetPid, NAME_PART, notePid, runningPid } from './running-redis.js'
import { untilChildEnded, untilOrphanEnded } from './until-ended.js'

/** A large append-only file takes this long to load, and no longer. */
const START_LIMIT_MS = 300_000
/** For a connection, and for each answer: a server that hangs, or whatever else has taken the port, may never give one. */
const ANSWER_LIMIT_MS = 3_000
/** For an end that was asked for, and for one by force. With the questions before it well below what `agentbus up` has for all its stopping. */
const END_LIMIT_MS = 4_000
const PORTS_TO_TRY = 10

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
  const running = await runningPid(place.home)
  if (running === undefined) return undefined
  const port = options.port ?? (await lastPort(place))
  if (port === undefined) {
    throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${running}) runs, and ${portPath(place)} does not say at which port; stop that process`, {
      pid: running,
    })
  }
  const pid = await readyPid(place, { pid: running, port, mayRefuse: true, hasEnded: () => false, signal: options.signal })
  if (pid === undefined) return undefined
  notePid(place.home, pid)
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
 * Ends the server, also one that loads its data still: it writes out its append-only file, which is all that it starts from. One that does
 * not end, as when it hangs, is killed; what its file lacks then is mended from the ledger. Nothing happens when it is gone.
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE when even that does not end it; whatever keeps from telling who runs
 */
export async function stopRedis(place: RedisPlace): Promise<void> {
  const pid = await runningPid(place.home)
  if (pid === undefined) return
  const port = await lastPort(place)
  if (port !== undefined) await shutDown(place, { pid, port })
  // Changes nothing for one that goes already.
  await endBy('SIGTERM', place, pid).catch(() => endBy('SIGKILL', place, pid))
  forgetPid(place.home, pid)
}

/** Asks the server to end, unless another one answers at this port, which is to go on. Never rejects: the connection breaks as it goes. */
async function shutDown(place: RedisPlace, { pid, port }: { readonly pid: number; readonly port: number }): Promise<void> {
  await ask(place, port, async (redis) => {
    // Without a snapshot, which nobody would read and which takes long: the append-only file has everything.
    if ((await pidOf(redis)) === pid) await redis.shutdown('NOSAVE')
  }).catch(() => undefined)
}

/** @throws AgentbusError AGENTBUS_STORE_UNREACHABLE when it has not ended in time */
async function endBy(signal: 'SIGTERM' | 'SIGKILL', place: RedisPlace, pid: number): Promise<void> {
  try {
    process.kill(pid, signal)
  } catch {
    // It is gone, which is what was wanted.
  }
  if (await waitForExit({ pid, clock: place.clock, limitMs: END_LIMIT_MS })) return
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) did not stop; see ${logPath(place)}`, { pid })
}

/** Starts the server. @returns it, once it is ready, or what it wrote to its log before it gave up */
async function launch(place: RedisPlace, port: number, signal: AbortSignal | undefined): Promise<RedisServer | string> {
  await writeConfig(place, port)
  const offset = await rotatedLogSize(place)
  const out = await open(logPath(place), 'a', 0o600)
  const server = spawn(place.binary, ['redis.conf'], { cwd: place.home, detached: true, stdio: ['ignore', out.fd, out.fd], env: { LC_ALL: 'C', TZ: 'UTC' } })
  const { pid: launched } = server
  let hasEnded = false
  const onEnd = (): void => {
    hasEnded = true
    if (launched !== undefined) forgetPid(place.home, launched)
  }
  once(server, 'exit').then(onEnd, onEnd)
  // Before anything is waited for: whatever breaks the start off, whoever stops the server finds it.
  if (launched !== undefined) notePid(place.home, launched)
  server.unref()
  await out.close()
  const pid = launched === undefined ? undefined : await readyPid(place, { pid: launched, port, mayRefuse: false, hasEnded: () => hasEnded, signal })
  if (pid !== undefined) {
    notePid(place.home, pid)
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
 * Asks until this server, and no other at the same port, answers with our password and has loaded its data.
 * @returns its process, which is another than `pid` where that is a wrapper; undefined when it ended before
 * @throws the reason of `signal` once that is aborted
 */
async function readyPid(place: RedisPlace, { pid, port, mayRefuse, hasEnded, signal }: Awaited): Promise<number | undefined> {
  const until = place.clock.nowMs() + START_LIMIT_MS
  while (place.clock.nowMs() < until) {
    const answer = await whoAnswers(place, port)
    if (hasEnded()) return undefined
    if (answer === pid || (typeof answer === 'number' && (await isRunningHere(place, answer)))) return answer
    if (mayRefuse && typeof answer === 'string' && /WRONGPASS|NOAUTH|invalid password/.test(answer)) {
      throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) refuses the password in redis-password; restore that file, or stop that process`, {
        pid,
        port,
      })
    }
    // One that cannot be looked at for the moment is there.
    if (!(await isServerIn(pid, place.home, NAME_PART).catch(() => true))) return undefined
    signal?.throwIfAborted()
    // Without the signal: once that is aborted there would be no wait any more.
    await place.clock.sleep(20)
  }
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the private Redis (process ${pid}) does not answer on port ${port}; see ${logPath(place)}`, { pid, port })
}

/** Whether this process is proven to be the server in this place. */
async function isRunningHere({ home }: RedisPlace, pid: number): Promise<boolean> {
  return (await runningPid(home).catch(() => undefined)) === pid
}

/** The pid of the server at a port, once it has loaded its data; else why it cannot be told. */
function whoAnswers(place: RedisPlace, port: number): Promise<number | string> {
  return ask(place, port, async (redis): Promise<number | string> => {
    const pid = await pidOf(redis)
    // Refused while it loads, unlike the question before.
    await redis.ping()
    return pid
  }).catch(messageOf)
}

async function pidOf(redis: Redis): Promise<number> {
  return Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1])
}

/** Asks the server at a port. @throws the first fault that there was */
async function ask<T>({ password }: RedisPlace, port: number, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    password,
    lazyConnect: true,
    connectTimeout: ANSWER_LIMIT_MS,
    commandTimeout: ANSWER_LIMIT_MS,
    // A server that hangs does not answer to the end of a connection either.
    disconnectTimeout: 500,
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

function portTaken(port: number): string {
  return `the private Redis did not start: port ${port} is taken by another program; stop it or restart agentbus`
}

function lastLineOf(said: string): string {
  return said.trim().split('\n').at(-1) ?? ''
}
