import { readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'

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

/** Writes what the server is started with, in one step, and notes its port. */
export async function writeConfig(place: RedisPlace, port: number): Promise<void> {
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
export async function lastPort(place: RedisPlace): Promise<number | undefined> {
  const port = Number(await readFile(portPath(place), 'utf8').catch(() => ''))
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

/** Puts a large log aside. @returns how many bytes the log has by now */
export async function rotatedLogSize(place: RedisPlace): Promise<number> {
  const size = (await stat(logPath(place)).catch(() => undefined))?.size ?? 0
  if (size <= LOG_KEPT_BYTES) return size
  await rename(logPath(place), `${logPath(place)}.1`)
  return 0
}

export function portPath({ home }: RedisPlace): string {
  return join(home, 'port')
}

export function logPath({ home }: RedisPlace): string {
  return join(home, 'server.log')
}
