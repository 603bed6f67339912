import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chown, open, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import type { Clock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'
import { AgentbusError } from '../contracts/errors.js'
import { freePort } from './free-port.js'
import type { PostgresBinaries } from './postgres-binaries.js'
import type { PostgresHome } from './postgres-home.js'
import { isServerIn, unlessGone, waitForExit } from './process-identity.js'
import { lastLine, runAs } from './run-as.js'
import { untilChildEnded, untilOrphanEnded } from './until-ended.js'

/** The superuser and the database of the embedded cluster. */
export const OWNER = 'agentbus'

export interface Cluster {
  readonly home: PostgresHome
  readonly binaries: PostgresBinaries
  readonly password: string
  readonly log: Logger
  readonly clock: Clock
}

/** A server that runs. */
export interface Postmaster {
  readonly port: number
  /** Resolves when it has ended, whoever has ended it, or when `signal` is aborted. */
  untilEnded(signal: AbortSignal): Promise<void>
}

interface PidFile {
  readonly pid: number
  readonly port: number
  readonly status: string
}

/** Recovery after a crash replays at most max_wal_size; slow disks take minutes for that. */
const START_LIMIT_MS = 600_000
/** Backends of a killed postmaster notice within a second or so; until they are gone a start is refused. */
const ORPHANS_LIMIT_MS = 30_000
const STOP_LIMIT_MS = 60_000
const PORTS_TO_TRY = 10
const LOG_KEPT_BYTES = 10 * 1024 * 1024
/** Above every pid there can be, so no live process has it. */
const NO_PID = 2_147_483_647

/**
 * The server that runs on this cluster already: an orphan, whose agentbus was killed. Undefined when
 * none does. A stale pid file that names a live stranger is defused, not removed: the shared memory key
 * in it is how PostgreSQL notices backends of the killed server that still write.
 *
 * @throws AgentbusError; the reason of `signal` once that is aborted; and, the pid file untouched, whatever keeps from telling who runs
 */
export async function adoptPostmaster(cluster: Cluster, signal?: AbortSignal): Promise<Postmaster | undefined> {
  const { home, clock, log } = cluster
  const until = clock.nowMs() + START_LIMIT_MS
  for (;;) {
    signal?.throwIfAborted()
    const file = await readPidFile(home.cluster)
    if (file === undefined) return undefined
    if (!(await isServerIn(file.pid, home.cluster, 'postgres'))) {
      await defusePidFile(cluster, file.pid)
      return undefined
    }
    if (file.status === 'ready') {
      await checkPassword(cluster, file.port)
      log.info({ event: 'embedded_postgres.adopted', pid: file.pid, port: file.port }, 'PostgreSQL was running already')
      return { port: file.port, untilEnded: (stopping) => untilOrphanEnded({ pid: file.pid, dir: home.cluster, program: 'postgres', clock }, stopping) }
    }
    if (clock.nowMs() >= until)
      throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the embedded PostgreSQL (process ${file.pid}) is neither ready nor gone; see ${logPath(home)}`, { pid: file.pid })
    await clock.sleep(50, signal)
  }
}

export interface StartOptions {
  /** Where it has to listen; not given: at the port of the last start, or at any other when that is taken. */
  readonly onlyPort?: number
  /** Breaks the start off. A server that recovers by then goes on, and its pid file names it: end it with {@link stopPostmaster}. */
  readonly signal?: AbortSignal
}

/**
 * Starts the server in a session of its own, so that it outlives Ctrl-C and the death of agentbus.
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE; the reason of `signal` once that is aborted
 */
export async function startPostmaster(cluster: Cluster, { onlyPort, signal }: StartOptions = {}): Promise<Postmaster> {
  const { home, clock, log } = cluster
  const orphansUntil = clock.nowMs() + ORPHANS_LIMIT_MS
  let preferred = await lastPort(home)
  for (let tried = 1; ;) {
    signal?.throwIfAborted()
    const port = onlyPort ?? (await freePort(preferred))
    await writeSettings(home, port)
    const { server, said } = await launch(cluster, signal)
    if (said === undefined) {
      await writeFile(portPath(home), `${port}\n`, { mode: 0o600 })
      log.info({ event: 'embedded_postgres.started', port, home: home.path }, 'PostgreSQL is up')
      return { port, untilEnded: (stopping) => untilChildEnded(server, stopping) }
    }
    const isTaken = /could not bind|could not create any TCP\/IP sockets|Address already in use/.test(said)
    if (isTaken && onlyPort !== undefined) throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', portTaken(onlyPort), { port: onlyPort, log: logPath(home) })
    if (isTaken && tried < PORTS_TO_TRY) {
      tried += 1
      preferred = undefined
      continue
    }
    if (/pre-existing shared memory block|lock file .* already exists/.test(said) && clock.nowMs() < orphansUntil) {
      await clock.sleep(100, signal)
      continue
    }
    throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the embedded PostgreSQL did not start: ${firstFatal(said)}; see ${logPath(home)}`, { log: logPath(home) })
  }
}

/** Stops the server in order (fast mode: open transactions are rolled back, a recovery is broken off). Nothing happens when it is gone. */
export async function stopPostmaster({ home, binaries, clock }: Cluster): Promise<void> {
  const file = await readPidFile(home.cluster)
  // pg_ctl signals whatever process has the pid in the file.
  if (file === undefined || !(await isServerIn(file.pid, home.cluster, 'postgres'))) return
  const args = ['-D', home.cluster, '-m', 'fast', '-w', '-t', String(STOP_LIMIT_MS / 1000), 'stop']
  const result = await runAs({ program: binaries.pgCtl, args, cwd: home.path, user: home.user })
  if (await waitForExit({ pid: file.pid, clock, limitMs: 5_000 })) return
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the embedded PostgreSQL (process ${file.pid}) did not stop: ${lastLine(result)}`, { pid: file.pid })
}

/**
 * Starts the server.
 * @returns it, once it is ready, or what it wrote to its log before it gave up
 * @throws the reason of `signal` once that is aborted and the pid file names the server, a moment after its start
 */
async function launch({ home, binaries, clock }: Cluster, signal: AbortSignal | undefined): Promise<{ readonly server: ChildProcess; readonly said?: string }> {
  const offset = await rotatedLogSize(home)
  const out = await open(logPath(home), 'a', 0o600)
  // Not by `pg_ctl start`, which goes through a shell with the paths half quoted.
  const server = spawn(binaries.postgres, ['-D', home.cluster], {
    cwd: home.path,
    detached: true,
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', HOME: home.path },
    stdio: ['ignore', out.fd, out.fd],
    ...(home.user === undefined ? {} : { uid: home.user.uid, gid: home.user.gid }),
  })
  let hasEnded = false
  const ended = once(server, 'exit').then(
    () => (hasEnded = true),
    () => (hasEnded = true),
  )
  server.unref()
  await out.close()
  const until = clock.nowMs() + START_LIMIT_MS
  while (!hasEnded && clock.nowMs() < until) {
    const file = await readPidFile(home.cluster).catch(() => undefined)
    if (file !== undefined && file.pid === server.pid) {
      if (file.status === 'ready') return { server }
      // Not earlier: without its pid file nobody could stop it.
      signal?.throwIfAborted()
    }
    // Without the signal: once that is aborted there would be no wait any more.
    await Promise.race([clock.sleep(20), ended])
  }
  return { server, said: (await readFile(logPath(home))).subarray(offset).toString('utf8') || 'no word in its log' }
}

/**
 * Lines of postmaster.pid: pid, data folder, start, port, socket folder, address, shared memory, status.
 * @throws when there is one that cannot be read: that is not a server that is gone
 */
async function readPidFile(cluster: string): Promise<PidFile | undefined> {
  const text = await unlessGone(readFile(join(cluster, 'postmaster.pid'), 'utf8'))
  if (text === undefined) return undefined
  const lines = text.split('\n')
  return { pid: Number(lines[0]), port: Number(lines[3]), status: (lines[7] ?? '').trim() }
}

async function defusePidFile({ home, log }: Cluster, pid: number): Promise<void> {
  const file = await unlessGone(open(join(home.cluster, 'postmaster.pid'), 'r+'))
  // A server that has ended in order meanwhile has taken its file away, and none is to be made in its place.
  if (file === undefined) return
  try {
    const [, ...rest] = (await file.readFile('utf8')).split('\n')
    await file.truncate(0)
    await file.write([NO_PID, ...rest].join('\n'), 0)
  } finally {
    await file.close()
  }
  log.warn({ event: 'embedded_postgres.stale_pid_file', pid }, 'a pid file of a killed server named a stranger')
}

async function writeSettings(home: PostgresHome, port: number): Promise<void> {
  const path = join(home.cluster, 'agentbus.conf')
  const lines = [
    '# Written by agentbus at each start. Own settings: ALTER SYSTEM, or the end of postgresql.conf.',
    `port = ${port}`,
    "listen_addresses = '127.0.0.1'",
    // TCP with a password works with every client; a socket path has a limit of 107 bytes.
    "unix_socket_directories = ''",
    'max_connections = 100',
    "shared_buffers = '64MB'",
    'fsync = on',
    'synchronous_commit = on',
    'password_encryption = scram-sha-256',
    "timezone = 'UTC'",
    "log_timezone = 'UTC'",
    'logging_collector = off',
    "log_destination = 'stderr'",
    "log_line_prefix = '%m [%p] '",
    "lc_messages = 'C'",
    'log_checkpoints = off',
  ]
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o600 })
  if (home.user !== undefined) await chown(path, home.user.uid, home.user.gid)
}

async function checkPassword({ home, password }: Cluster, port: number): Promise<void> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: OWNER, password, database: 'postgres', connectionTimeoutMillis: 5_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === '28P01')) return
    throw new AgentbusError('AGENTBUS_STORE_UNFIT', `the embedded PostgreSQL refuses the password in ${join(home.path, 'password')}; restore that file`, { home: home.path })
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function rotatedLogSize(home: PostgresHome): Promise<number> {
  const size = (await stat(logPath(home)).catch(() => undefined))?.size ?? 0
  if (size <= LOG_KEPT_BYTES) return size
  await rename(logPath(home), `${logPath(home)}.1`)
  return 0
}

/** The port of the last start, so that a URL noted down stays good as long as the port is free. */
async function lastPort(home: PostgresHome): Promise<number | undefined> {
  const port = Number(await readFile(portPath(home), 'utf8').catch(() => ''))
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

function portTaken(port: number): string {
  return `the embedded PostgreSQL did not start: port ${port} is taken by another program; stop it or restart agentbus`
}

function firstFatal(said: string): string {
  const line = said.split('\n').find((text) => /FATAL|PANIC|error/i.test(text)) ?? said.trim().split('\n').at(-1) ?? ''
  return line.replace(/^.*?(FATAL|PANIC):\s*/, '').trim()
}

function logPath(home: PostgresHome): string {
  return join(home.path, 'server.log')
}

function portPath(home: PostgresHome): string {
  return join(home.path, 'port')
}
