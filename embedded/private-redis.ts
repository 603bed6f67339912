import { accessSync, constants, statSync } from 'node:fs'
import { mkdir, realpath } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { systemClock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'
import { programSearchPath } from '../config/search-path.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { loadOrCreateSecret } from './data-dir.js'
import { keepRedis } from './keep-redis.js'
import type { RedisPlace } from './redis-place.js'
import { adoptRedis, startRedis, stopRedis } from './redis-server.js'

const PROGRAMS = ['redis-server', 'valkey-server']

export interface PrivateRedis {
  /** For any client; holds the password. */
  readonly url: string
  /** From then on the server is not started again when it ends. */
  letGo(): void
  /** Ends the server, which writes out what it has, and kills one that hangs: within some ten seconds. To be called last, and harmless when repeated. */
  stop(): Promise<void>
}

/** The path of `redis-server` or `valkey-server`, or undefined when neither is on PATH. */
export function findRedisServer(searchPath = programSearchPath() ?? ''): string | undefined {
  const folders = searchPath.split(delimiter).filter((folder) => folder.startsWith('/'))
  return PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program))).find(isExecutable)
}

/**
 * A private Redis with its data in `dataDir`/redis, which the caller holds (see `openDataDir`): append-only file
 * synced every second, no eviction, 127.0.0.1 only, a random password that is on no command line. One that an
 * earlier agentbus left running is adopted. With `keepUp` it is started again whenever it ends without being asked to.
 *
 * @throws AgentbusError AGENTBUS_CONFIG or AGENTBUS_STORE_UNREACHABLE, with what to do.
 */
export async function startPrivateRedis({ dataDir, binary, log, keepUp = false }: { dataDir: string; binary: string; log: Logger; keepUp?: boolean }): Promise<PrivateRedis> {
  const place: RedisPlace = { home: await makeHome(dataDir), binary, password: await loadOrCreateSecret(dataDir, 'redis-password'), log, clock: systemClock }
  const adopted = await adoptRedis(place)
  const server = adopted ?? (await startRedis(place))
  const { pid, port } = server
  log.info({ event: adopted === undefined ? 'private_redis.started' : 'private_redis.adopted', pid, port, home: place.home }, 'the private Redis is up')
  const keeper = keepUp ? keepRedis(place, server) : undefined
  return {
    url: `redis://:${place.password}@127.0.0.1:${port}`,
    letGo() {
      keeper?.letGo()
    },
    async stop() {
      try {
        await keeper?.stop()
      } finally {
        await stopRedis(place)
      }
    },
  }
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

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
