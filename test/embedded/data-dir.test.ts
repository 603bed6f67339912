import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, readdir, readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadOrCreateSecret, openDataDir } from '../../embedded/data-dir.js'
import { isAlive, startOf } from '../../embedded/process-identity.js'
import { isRoot, NOBODY, onCleanup, startChild, tempFolder } from './processes.js'

const only = (names: string[]): string => names.find((name) => /^lock\.\d+$/.test(name)) ?? ''

describe('data folder', { timeout: 30_000 }, () => {
  test('it is made with its parents, for its owner alone', async () => {
    const path = join(await tempFolder(), 'a', 'b')

    const dir = await openDataDir(path)
    onCleanup(() => dir.release())

    expect((await stat(path)).mode & 0o777).toBe(0o700)
    expect((await readdir(path)).filter((name) => !name.startsWith('lock.'))).toEqual([])
  })

  test('a place where no folder can be is one clear error', async () => {
    const path = join(await tempFolder(), 'file')
    await writeFile(path, '')

    await expect(openDataDir(join(path, 'data'))).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG' })
    await expect(openDataDir(path)).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG' })
  })

  test.runIf(isRoot)('a folder that the user may not write is one clear error', async () => {
    const path = join(await tempFolder(), 'data')
    await mkdir(path)
    await chmod(path, 0o755)

    const child = await startChild(['lock', path], NOBODY)

    expect(child.answer).toMatchObject({ ready: false, code: 'AGENTBUS_CONFIG' })
  })

  test('a second process is refused and told which one holds it', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['lock', path])

    const second = openDataDir(path)

    await expect(second).rejects.toMatchObject({ code: 'AGENTBUS_DATA_IN_USE', fields: { pid: child.answer.pid } })
    await expect(second).rejects.toThrow(`process ${child.answer.pid}`)
  })

  test('the same process is refused too', async () => {
    const path = join(await tempFolder(), 'data')
    const dir = await openDataDir(path)
    onCleanup(() => dir.release())

    await expect(openDataDir(path)).rejects.toMatchObject({ code: 'AGENTBUS_DATA_IN_USE' })
  })

  test('once released it is free, and no old lock files pile up', async () => {
    const path = join(await tempFolder(), 'data')
    for (let round = 0; round < 3; round += 1) await (await openDataDir(path)).release()

    const dir = await openDataDir(path)
    onCleanup(() => dir.release())

    expect(await readdir(path)).toEqual(['lock.4'])
  })

  test('the lock of a killed process is taken over', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['lock', path])
    await child.kill()

    const dir = await openDataDir(path)
    onCleanup(() => dir.release())

    expect(JSON.parse(await readFile(join(path, only(await readdir(path))), 'utf8'))).toMatchObject({ pid: process.pid })
  })

  test('a pid that now belongs to another process does not hold it', async () => {
    const path = join(await tempFolder(), 'data')
    await (await openDataDir(path)).release()
    const lock = join(path, only(await readdir(path)))
    const noted = JSON.parse(await readFile(lock, 'utf8')) as Record<string, unknown>
    await writeFile(lock, JSON.stringify({ ...noted, start: 'long ago', released: false }))

    const dir = await openDataDir(path)
    onCleanup(() => dir.release())

    expect(dir.path).toBe(path)
  })

  test('another container holds it for as long as it shows signs of life', async () => {
    const path = join(await tempFolder(), 'data')
    await (await openDataDir(path)).release()
    const lock = join(path, only(await readdir(path)))
    const noted = JSON.parse(await readFile(lock, 'utf8')) as Record<string, unknown>
    await writeFile(lock, JSON.stringify({ ...noted, space: 'elsewhere', host: 'other', released: false }))

    await expect(openDataDir(path)).rejects.toThrow('on other')
  })

  test.each([
    ['is empty', ''],
    ['ends half-way', '{"pid":12,"start":"1'],
    ['names nobody', '{}'],
  ])('a lock file that %s holds it for as long as it is touched, and no longer', async (_how, text) => {
    const path = join(await tempFolder(), 'data')
    await mkdir(path)
    const lock = join(path, 'lock.3')
    await writeFile(lock, text)

    const early = openDataDir(path)
    await expect(early).rejects.toMatchObject({ code: 'AGENTBUS_DATA_IN_USE', message: expect.stringContaining(lock) as string })
    const long = new Date(Date.now() - 60_000)
    await utimes(lock, long, long)
    const dir = await openDataDir(path)
    onCleanup(() => dir.release())

    expect(await readdir(path)).toEqual(['lock.4'])
  })

  test('a lock file that was damaged under its holder is still its own', async () => {
    const path = join(await tempFolder(), 'data')
    const child = await startChild(['lock', path])
    const lock = join(path, only(await readdir(path)))
    await truncate(lock)
    const long = new Date(Date.now() - 60_000)
    await utimes(lock, long, long)

    await expect.poll(async () => (await stat(lock)).mtimeMs, { timeout: 10_000 }).toBeGreaterThan(long.getTime() + 1_000)

    await expect(openDataDir(path)).rejects.toMatchObject({ code: 'AGENTBUS_DATA_IN_USE' })
    await child.finish()
    const dir = await openDataDir(path)
    onCleanup(() => dir.release())
  })

  test('a lock file that cannot be read is taken for a lock, and the error says what to do', async () => {
    const path = join(await tempFolder(), 'data')
    // Of all that cannot be read this is refused to root as well.
    await mkdir(join(path, 'lock.3'), { recursive: true })

    const second = openDataDir(path)

    await expect(second).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG', fields: { path: join(path, 'lock.3') } })
    await expect(second).rejects.toThrow(/cannot be read \(EISDIR.*remove it if no agentbus runs on that folder/)
    expect(await readdir(path)).toEqual(['lock.3'])
  })

  test.runIf(isRoot)('a lock file of another user is taken for a lock, also when nobody has touched it for long', async () => {
    const path = join(await tempFolder({ owner: NOBODY }), 'data')
    await mkdir(path)
    await chown(path, NOBODY.uid, NOBODY.gid)
    await writeFile(join(path, 'lock.3'), '{}', { mode: 0o600 })
    const long = new Date(Date.now() - 60_000)
    await utimes(join(path, 'lock.3'), long, long)

    const child = await startChild(['lock', path], NOBODY)

    expect(child.answer).toMatchObject({ ready: false, code: 'AGENTBUS_CONFIG', message: expect.stringContaining('EACCES') as string })
    expect(await readdir(path)).toEqual(['lock.3'])
  })

  test('of 16 contenders for a stale lock one wins', { repeats: 30 }, async () => {
    const path = join(await tempFolder(), 'data')
    await (await openDataDir(path)).release()

    const settled = await Promise.allSettled(Array.from({ length: 16 }, () => openDataDir(path)))

    const won = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    for (const dir of won) onCleanup(() => dir.release())
    expect(won).toHaveLength(1)
  })
})

describe('secret', () => {
  test('it is made once, privately, and is the same ever after', async () => {
    const dir = await tempFolder()

    const made = await Promise.all(Array.from({ length: 16 }, () => loadOrCreateSecret(dir, 'key')))

    expect(new Set([...made, await loadOrCreateSecret(dir, 'key')]).size).toBe(1)
    expect(made[0]).toMatch(/^[0-9a-f]{64}$/)
    expect((await stat(join(dir, 'key'))).mode & 0o777).toBe(0o600)
    expect(await readdir(dir)).toEqual(['key'])
  })

  test('a damaged one is an error and stays as it is', async () => {
    const dir = await tempFolder()
    await writeFile(join(dir, 'key'), 'abc')

    await expect(loadOrCreateSecret(dir, 'key')).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG' })

    expect(await readFile(join(dir, 'key'), 'utf8')).toBe('abc')
  })
})

test('a process is alive until it ends, and has a start of its own', async () => {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'])
  const exited = once(child, 'exit')
  const pid = child.pid ?? 0

  expect(await startOf(pid)).not.toBeUndefined()
  child.kill('SIGKILL')
  await exited

  expect(await isAlive(pid)).toBe(false)
})
