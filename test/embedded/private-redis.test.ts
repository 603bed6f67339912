import { execFile } from 'node:child_process'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { openDataDir } from '../../embedded/data-dir.js'
import { findRedisServer, startPrivateRedis, type PrivateRedis } from '../../embedded/private-redis.js'
import { probeRedis } from '../../embedded/probe-stores.js'
import { isAlive } from '../../embedded/process-identity.js'
import { isRoot, killServer, NOBODY, offLinux, onCleanup, serverPid, silent, startChild, tempFolder } from './processes.js'

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

async function startIn(path: string, program = binary): Promise<PrivateRedis> {
  const dataDir = await openDataDir(path)
  onCleanup(() => dataDir.release())
  const store = await startPrivateRedis({ dataDir: dataDir.path, binary: program, log: silent })
  onCleanup(() => store.stop())
  return store
}

/** One that is kept up, and what it says of that. */
async function keptIn(path: string): Promise<{ store: PrivateRedis; said: () => string }> {
  const lines: string[] = []
  const log = createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } })
  const dataDir = await openDataDir(path)
  onCleanup(() => dataDir.release())
  const store = await startPrivateRedis({ dataDir: dataDir.path, binary, log, keepUp: true })
  onCleanup(() => store.stop())
  return { store, said: () => lines.join('') }
}

/** Written to the disk before it is answered, so that a kill loses nothing. */
async function keep(url: string): Promise<void> {
  await ask(url, async (redis) => {
    await redis.config('SET', 'appendfsync', 'always')
    await redis.set('kept', '7')
  })
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

  test.each([
    ['started', 'missing', false],
    ['started', 'empty', false],
    ['adopted', 'missing', true],
  ] as const)('one that was %s and whose pid file is %s is stopped also where nobody can look for it', async (_how, pidFileIs, isAdopted) => {
    const path = join(await tempFolder(), 'data')
    const pidFile = join(path, 'redis', 'redis.pid')
    if (isAdopted) await (await startChild(['redis', path, binary])).kill()
    const store = await startIn(path)
    const pid = await serverPid(pidFile)
    await (pidFileIs === 'empty' ? writeFile(pidFile, '') : rm(pidFile))

    await offLinux(() => store.stop())

    expect(await isAlive(pid)).toBe(false)
  })

  test('one that runs without a pid file is not doubled by the process that has started it, also where nobody can look for it', async () => {
    const path = join(await tempFolder(), 'data')
    const pidFile = join(path, 'redis', 'redis.pid')
    await startIn(path)
    const before = await serverPid(pidFile)
    await rm(pidFile)

    const second = await offLinux(() => startPrivateRedis({ dataDir: path, binary, log: silent }))
    onCleanup(() => second.stop())

    expect(await ask(second.url, (redis) => redis.info('server'))).toContain(`process_id:${before}\r`)
  })

  test('one whose program is a wrapper, and so has another pid than the server, is started and stopped', async () => {
    const wrapper = join(await tempFolder(), 'redis-server')
    await writeFile(wrapper, `#!/bin/sh\n'${binary}' "$@"\nexit $?\n`, { mode: 0o755 })
    const path = join(await tempFolder(), 'data')
    const store = await startIn(path, wrapper)
    const pid = await serverPid(join(path, 'redis', 'redis.pid'))
    const answers = await ask(store.url, (redis) => redis.info('server'))

    await store.stop()

    expect(answers).toContain(`process_id:${pid}\r`)
    expect(await isAlive(pid)).toBe(false)
  })

  test('one that hangs is ended all the same, in half of the time that a stop of everything has, and loses nothing', async () => {
    const path = join(await tempFolder(), 'data')
    const store = await startIn(path)
    await keep(store.url)
    const pid = await serverPid(join(path, 'redis', 'redis.pid'))
    process.kill(pid, 'SIGSTOP')

    const beganMs = performance.now()
    await store.stop()
    const tookMs = performance.now() - beganMs
    const isLeft = await isAlive(pid)
    const next = await startPrivateRedis({ dataDir: path, binary, log: silent })
    onCleanup(() => next.stop())

    expect(isLeft).toBe(false)
    expect(tookMs).toBeLessThan(14_000)
    expect(await ask(next.url, (redis) => redis.get('kept'))).toBe('7')
  })

  test('a server that was killed starts again with what was synced', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['redis', path, binary])
    const before = await serverPid(join(path, 'redis', 'redis.pid'))
    await keep(child.answer.url ?? '')
    await Promise.all([child.kill(), killServer(before)])

    const store = await startIn(path)

    expect(Number(await readFile(join(path, 'redis', 'redis.pid'), 'utf8'))).not.toBe(before)
    expect(await ask(store.url, (redis) => redis.get('kept'))).toBe('7')
  })

  test.each([
    ['started', false],
    ['adopted', true],
  ])('one that is kept up and was %s answers again after it was killed, at the same address and with its keys, and says so', async (_how, isAdopted) => {
    const path = join(await tempFolder(), 'data')
    const pidFile = join(path, 'redis', 'redis.pid')
    if (isAdopted) await (await startChild(['redis', path, binary])).kill()
    const { store, said } = await keptIn(path)
    await keep(store.url)
    const before = await serverPid(pidFile)

    await killServer(before)
    await expect.poll(() => ask(store.url, (redis) => redis.ping()).catch(() => 'away'), { timeout: 30_000 }).toBe('PONG')
    const kept = await ask(store.url, (redis) => redis.get('kept'))
    await expect.poll(said, { timeout: 10_000 }).toContain('private_redis.restarted')
    const after = await serverPid(pidFile)
    await store.stop()

    expect(kept).toBe('7')
    expect([after === before, await isAlive(after)]).toEqual([false, false])
    expect(said()).toContain('private_redis.died')
  })

  test('one that is kept up is started again each time that it is killed', async () => {
    const path = join(await tempFolder(), 'data')
    const pidFile = join(path, 'redis', 'redis.pid')
    const { store, said } = await keptIn(path)
    const times = (): number => said().split('private_redis.restarted').length - 1

    for (let round = 1; round <= 2; round += 1) {
      await killServer(await serverPid(pidFile))
      await expect.poll(times, { timeout: 30_000 }).toBe(round)
    }

    expect(await ask(store.url, (redis) => redis.ping())).toBe('PONG')
  })

  test('one that was let go of stays down when it has ended, and its end is nothing to tell', async () => {
    const path = join(await tempFolder(), 'data')
    const { store, said } = await keptIn(path)
    const pid = await serverPid(join(path, 'redis', 'redis.pid'))

    store.letGo()
    await killServer(pid)
    await store.stop()

    expect(said()).toBe('')
    await expect(ask(store.url, (redis) => redis.ping())).rejects.toThrow()
  })

  test('one whose password was lost is not waited for: the error names the file', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['redis', path, binary])
    await serverPid(join(path, 'redis', 'redis.pid'))
    await child.kill()
    await writeFile(join(path, 'redis-password'), `${'0'.repeat(64)}\n`)

    const second = startPrivateRedis({ dataDir: path, binary, log: silent })

    await expect(second).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNREACHABLE', message: expect.stringContaining('redis-password') as string })
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
