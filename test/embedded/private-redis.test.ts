import { execFile } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { openDataDir } from '../../embedded/data-dir.js'
import { findRedisServer, startPrivateRedis, type PrivateRedis } from '../../embedded/private-redis.js'
import { probeRedis } from '../../embedded/probe-stores.js'
import { isAlive } from '../../embedded/process-identity.js'
import { isRoot, killServer, NOBODY, onCleanup, serverPid, silent, startChild, tempFolder } from './processes.js'

const run = promisify(execFile)
const binary = findRedisServer() ?? ''

async function ask<T>(url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { retryStrategy: () => null })
  redis.on('error', () => undefined)
  try {
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}

async function startIn(path: string): Promise<PrivateRedis> {
  const dataDir = await openDataDir(path)
  onCleanup(() => dataDir.release())
  const store = await startPrivateRedis({ dataDir: dataDir.path, binary, log: silent })
  onCleanup(() => store.stop())
  return store
}

test('no redis-server is found where there is none', () => {
  expect(findRedisServer('/nowhere:relative')).toBeUndefined()
  expect(findRedisServer('')).toBeUndefined()
})

describe.skipIf(binary === '')('private Redis', { timeout: 60_000 }, () => {
  test('it keeps every key and an append-only file', async () => {
    const store = await startIn(join(await tempFolder(), 'data'))

    expect(await probeRedis(store.url)).toMatchObject({ policy: 'noeviction', aof: true })
  })

  test('the password is on no command line and its files are private', async () => {
    const path = join(await tempFolder(), 'data')
    const store = await startIn(path)
    const pid = await serverPid(join(path, 'redis', 'redis.pid'))

    const { stdout } = await run('ps', ['-ww', '-o', 'command=', '-p', String(pid)])

    expect(stdout).not.toContain(new URL(store.url).password)
    for (const file of ['redis-password', 'redis/redis.conf']) expect((await stat(join(path, file))).mode & 0o777).toBe(0o600)
    await expect(ask(store.url.replace(/:[0-9a-f]{64}@/, ':wrong@'), (redis) => redis.ping())).rejects.toThrow()
  })

  test('a stop saves, a second start finds it at the same address', async () => {
    const path = join(await tempFolder(), 'data')
    const first = await startIn(path)
    const pid = await serverPid(join(path, 'redis', 'redis.pid'))
    await ask(first.url, (redis) => redis.set('kept', '7'))
    await first.stop()
    await first.stop()
    expect(await isAlive(pid)).toBe(false)

    const second = await startPrivateRedis({ dataDir: path, binary, log: silent })
    onCleanup(() => second.stop())

    expect(second.url).toBe(first.url)
    expect(await ask(second.url, (redis) => redis.get('kept'))).toBe('7')
  })

  test('the server leads a session of its own, so Ctrl-C does not hit it', async () => {
    const path = join(await tempFolder(), 'data')
    await startIn(path)
    const pid = await serverPid(join(path, 'redis', 'redis.pid'))

    const { stdout } = await run('ps', ['-o', 'sid=,pgid=', '-p', String(pid)])

    expect(stdout.trim().split(/\s+/).map(Number)).toEqual([pid, pid])
  })

  test('a server whose agentbus was killed is adopted with its keys', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['redis', path, binary])
    const before = await serverPid(join(path, 'redis', 'redis.pid'))
    await ask(child.answer.url ?? '', (redis) => redis.set('kept', '7'))
    await child.kill()

    const store = await startIn(path)

    expect(await serverPid(join(path, 'redis', 'redis.pid'))).toBe(before)
    expect(await ask(store.url, (redis) => redis.get('kept'))).toBe('7')
  })

  test.runIf(process.platform === 'linux')('an orphan without a pid file is adopted, never doubled', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['redis', path, binary])
    const before = await serverPid(join(path, 'redis', 'redis.pid'))
    await child.kill()
    await run('rm', [join(path, 'redis', 'redis.pid')])

    const store = await startIn(path)

    expect(await ask(store.url, (redis) => redis.info('server'))).toContain(`process_id:${before}\r`)
  })

  test('a server that was killed starts again with what was synced', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['redis', path, binary])
    const before = await serverPid(join(path, 'redis', 'redis.pid'))
    await ask(child.answer.url ?? '', async (redis) => {
      await redis.config('SET', 'appendfsync', 'always')
      await redis.set('kept', '7')
    })
    await Promise.all([child.kill(), killServer(before)])

    const store = await startIn(path)

    expect(Number(await readFile(join(path, 'redis', 'redis.pid'), 'utf8'))).not.toBe(before)
    expect(await ask(store.url, (redis) => redis.get('kept'))).toBe('7')
  })

  test.runIf(isRoot)('a normal user can start, be killed and adopt', async () => {
    const path = join(await tempFolder({ owner: NOBODY }), 'data')
    const first = await startChild(['redis', path, binary], NOBODY)
    expect(first.answer).toMatchObject({ ready: true })
    const before = await serverPid(join(path, 'redis', 'redis.pid'))
    await first.kill()

    const second = await startChild(['redis', path, binary], NOBODY)

    expect(second.answer).toMatchObject({ ready: true, url: first.answer.url })
    await second.finish()
    expect(await isAlive(before)).toBe(false)
  })
})
