import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { realpath } from 'node:fs/promises'
import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../config/clock.js'
import { findServerIn, isAlive, isServerIn, startOf, unlessGone, waitForExit } from '../../embedded/process-identity.js'
import { isRoot, NOBODY, onCleanup, tempFolder } from './processes.js'

const refusing = (code: string): Error => Object.assign(new Error(`refused with ${code}`), { code })

/** A process called sh that works in `folder` and was given it, as a server is, until the test ends. */
async function aServer(folder: string, user: { uid?: number; gid?: number } = {}): Promise<number> {
  const child = spawn('sh', ['-c', 'read line', 'sh', folder], { cwd: folder, stdio: ['pipe', 'ignore', 'ignore'], ...user })
  onCleanup(async () => child.kill('SIGKILL'))
  await once(child, 'spawn')
  return child.pid ?? 0
}

/** While `act` runs the system answers every question about a process with `code`. */
async function whileRefused<T>(code: string, act: () => Promise<T>): Promise<T> {
  const asked = vi.spyOn(process, 'kill').mockImplementation(() => {
    throw refusing(code)
  })
  try {
    return await act()
  } finally {
    asked.mockRestore()
  }
}

describe('a process', () => {
  test.each(['ENOENT', 'ESRCH'])('is gone when the system says %s', async (code) => {
    expect(await unlessGone(Promise.reject(refusing(code)))).toBeUndefined()
  })

  test.each(['EMFILE', 'ENFILE', 'EACCES', 'EIO'])('is not gone when it cannot be looked at for %s', async (code) => {
    await expect(unlessGone(Promise.reject(refusing(code)))).rejects.toThrow(code)
    await expect(whileRefused(code, () => isAlive(process.pid))).rejects.toThrow(code)
    await expect(whileRefused(code, () => isServerIn(process.pid, '/', 'node'))).rejects.toThrow(code)
  })

  test('that cannot be looked at has not ended in time', async () => {
    expect(await whileRefused('EMFILE', () => waitForExit({ pid: process.pid, clock: systemClock, limitMs: 0 }))).toBe(false)
  })

  test.each([0, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 40])('with the number %s cannot be', async (pid) => {
    expect(await startOf(pid)).toBeUndefined()
  })
})

describe.runIf(process.platform === 'linux')('a server', () => {
  test('is known by its working folder and its name', async () => {
    const folder = await realpath(await tempFolder())
    const pid = await aServer(folder)

    expect([await isServerIn(pid, folder, 'sh'), await isServerIn(pid, '/', 'sh'), await isServerIn(pid, folder, 'postgres')]).toEqual([true, false, false])
    expect(await findServerIn(folder, 'sh')).toBe(pid)
  })

  test.runIf(isRoot)('of another user is known to root', async () => {
    const folder = await realpath(await tempFolder({ owner: NOBODY }))
    const pid = await aServer(folder, NOBODY)

    expect([await isServerIn(pid, folder, 'sh'), await isServerIn(pid, '/', 'sh')]).toEqual([true, false])
  })
})
