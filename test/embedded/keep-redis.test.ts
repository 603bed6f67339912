import { once } from 'node:events'
import { readFile, realpath, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ManualClock, systemClock } from '../../config/clock.js'
import { createLogger, type Logger } from '../../config/logger.js'
import { keepRedis } from '../../embedded/keep-redis.js'
import { findRedisServer } from '../../embedded/private-redis.js'
import { isAlive } from '../../embedded/process-identity.js'
import type { RedisPlace } from '../../embedded/redis-place.js'
import { startRedis, stopRedis, type RedisServer } from '../../embedded/redis-server.js'
import { offLinux, onCleanup, serverPid, silent, tempFolder } from './processes.js'

const HAS_ENDED: RedisServer = { pid: 0, port: 54_321, untilEnded: async () => undefined }
const binary = findRedisServer() ?? ''

function aLog(): { log: Logger; said: () => string } {
  const lines: string[] = []
  return { log: createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } }), said: () => lines.join('') }
}

/** STAND-IN for a Redis that loads its data for long: it writes its pid into a file, answers nobody, and ends at SIGTERM. */
const loading = (pidFile: string): string => `#!/bin/sh
PATH=/usr/bin:/bin
sleep 60 &
trap 'kill $!; exit 0' TERM
echo "$$" > ${pidFile}
wait
`

async function aPlace(log: Logger, program = binary): Promise<RedisPlace> {
  return { home: await realpath(await tempFolder()), binary: program, password: 'a'.repeat(64), log, clock: systemClock }
}

async function loadingPlace(log: Logger, pidFile = 'redis.pid'): Promise<RedisPlace> {
  const program = join(await realpath(await tempFolder()), 'slow-server')
  await writeFile(program, loading(pidFile), { mode: 0o755 })
  return aPlace(log, program)
}

/** A program that has a port and says nothing. */
async function aStranger(): Promise<number> {
  const stranger = createServer().listen(0, '127.0.0.1')
  await once(stranger, 'listening')
  onCleanup(async () => stranger.close())
  return (stranger.address() as AddressInfo).port
}

describe('a Redis that is kept up', { timeout: 60_000 }, () => {
  test('and was let go of while a new start is waited for is not started', async () => {
    const { log, said } = aLog()
    const clock = new ManualClock()
    const place = { ...(await loadingPlace(log)), clock }
    const keeper = keepRedis(place, HAS_ENDED)
    await clock.whenAsleep()

    keeper.letGo()
    await keeper.stop()

    await expect(readFile(join(place.home, 'redis.pid'))).rejects.toThrow('ENOENT')
    expect(said()).not.toContain('private_redis.restarted')
  })

  test('and loads its data for long does not hold up a stop, which ends it', async () => {
    const { log, said } = aLog()
    const place = await loadingPlace(log)
    const pidFile = join(place.home, 'redis.pid')
    const keeper = keepRedis(place, HAS_ENDED)
    onCleanup(() => keeper.stop())
    await expect.poll(() => readFile(pidFile, 'utf8').catch(() => ''), { timeout: 20_000 }).toMatch(/^\d+\n/)
    const pid = await serverPid(pidFile)

    await keeper.stop()
    const wasLeft = await isAlive(pid)
    await stopRedis(place)

    expect([wasLeft, await isAlive(pid)]).toEqual([true, false])
    expect(said()).not.toMatch(/restarted/)
  })

  test.skipIf(binary === '')('and whose port another program has taken is not up again: the log says so, and what to do', async () => {
    const { log, said } = aLog()
    const place = await aPlace(log)
    const port = await aStranger()

    const keeper = keepRedis(place, { ...HAS_ENDED, port })
    onCleanup(() => keeper.stop())

    await expect.poll(said, { timeout: 30_000 }).toContain('private_redis.not_restarted')
    await keeper.stop()
    expect(said()).toContain(`port ${port} is taken by another program; stop it or restart agentbus`)
    expect(said()).not.toContain('private_redis.restarted')
  })

  test('by a keeper that fails is told of, and can be stopped', async () => {
    const { log, said } = aLog()
    const failing: RedisServer = { ...HAS_ENDED, untilEnded: () => Promise.reject(new Error('a fault')) }
    const keeper = keepRedis(await loadingPlace(log), failing)

    await keeper.stop()

    expect(said()).toContain('private_redis.not_kept')
    expect(said()).toContain('a fault')
  })
})

describe('a start of Redis', { timeout: 60_000 }, () => {
  test('that was broken off before it began starts nothing', async () => {
    const place = await loadingPlace(silent)

    const start = startRedis(place, { onlyPort: 54_321, signal: AbortSignal.abort(new Error('stopped')) })

    await expect(start).rejects.toThrow('stopped')
    await expect(readFile(join(place.home, 'redis.pid'))).rejects.toThrow('ENOENT')
  })

  test('is broken off also where its server has no pid file and nobody can look for it, and a stop ends that', async () => {
    const place = await loadingPlace(silent, 'told-to-the-test')
    const toldPid = join(place.home, 'told-to-the-test')
    const stopping = new AbortController()

    const pid = await offLinux(async () => {
      const start = startRedis(place, { signal: stopping.signal })
      await expect.poll(() => readFile(toldPid, 'utf8').catch(() => ''), { timeout: 20_000 }).toMatch(/^\d+\n/)
      stopping.abort(new Error('stopped'))
      await expect(start).rejects.toThrow('stopped')
      const left = await serverPid(toldPid)
      await stopRedis(place)
      return left
    })

    expect(await isAlive(pid)).toBe(false)
  })

  test.skipIf(binary === '')('does not take another Redis, which answers at its port, for its own', async () => {
    const other = await aPlace(silent)
    const { port } = await startRedis(other)
    onCleanup(() => stopRedis(other))
    const place = await aPlace(silent)

    const start = startRedis(place, { onlyPort: port })

    await expect(start).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNREACHABLE', message: expect.stringContaining(`port ${port} is taken`) as string })
  })
})
