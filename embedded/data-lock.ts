import { randomBytes } from 'node:crypto'
import { link, readdir, readFile, readlink, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { systemClock } from '../config/clock.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { startOf, unlessGone } from './process-identity.js'

/*
 * The lock is the file `lock.<n>` with the highest n. To take over from a holder that is gone, a process
 * creates `lock.<n+1>`, which only one can. A file goes away only after a higher one exists, and a contender
 * that finds a higher one after creating its own gives way: so a slow contender that acts on what it saw
 * long ago can do no harm. (Unlinking a stale lock and creating a new one lets two contenders each remove
 * the other's.) Node has no flock.
 *
 * A lock file has its name only when it is whole: it is written as a draft, and linked or renamed. No death of its writer leaves an empty
 * or half one, but a crash of the machine, a full disk below, or a person may. Nobody can be asked by it then, yet a holder that lives
 * still touches it: so its age decides, as with another container, and nobody is locked out for good. One that cannot be read at all may
 * be anybody's, for as long as that lasts, and is left to whoever runs the machine.
 */

const Holder = z.object({ pid: z.int(), start: z.string(), space: z.string(), host: z.string(), released: z.boolean() })
type Holder = z.infer<typeof Holder>

/** A pid means nothing in another container, so there a sign of life decides: the age of the lock file. */
const HEARTBEAT_MS = 3_000
const SILENT_MS = 15_000
const LOCK_NAME = /^lock\.(\d{1,15})$/

export interface FolderLock {
  release(): Promise<void>
}

/**
 * @throws AgentbusError AGENTBUS_DATA_IN_USE naming the pid of the live holder, or the lock file of one that names none; AGENTBUS_CONFIG
 * when the lock file cannot be read
 */
export async function lockFolder(dir: string): Promise<FolderLock> {
  const mine: Holder = { pid: process.pid, start: (await startOf(process.pid)) ?? '', space: await pidSpace(), host: hostname(), released: false }
  const draft = join(dir, `lock-draft.${process.pid}.${randomBytes(6).toString('hex')}`)
  await writeFile(draft, JSON.stringify(mine), { mode: 0o600, flag: 'wx', flush: true })
  try {
    for (;;) {
      const top = await highest(dir)
      if (top !== undefined) await refuseIfHeld(dir, top, mine)
      const generation = (top ?? 0) + 1
      if (!(await createLink(draft, lockPath(dir, generation)))) continue
      if ((await highest(dir)) !== generation) continue
      await removeBelow(dir, generation)
      return hold(dir, generation, mine)
    }
  } finally {
    await unlink(draft).catch(() => undefined)
  }
}

function hold(dir: string, generation: number, mine: Holder): FolderLock {
  const path = lockPath(dir, generation)
  const heartbeat = setInterval(() => {
    const now = systemClock.nowMs() / 1000
    utimes(path, now, now).catch(() => undefined)
  }, HEARTBEAT_MS).unref()
  return {
    async release() {
      clearInterval(heartbeat)
      const note = `${path}.released`
      await writeFile(note, JSON.stringify({ ...mine, released: true }), { mode: 0o600, flush: true })
      await rename(note, path)
    },
  }
}

async function refuseIfHeld(dir: string, generation: number, mine: Holder): Promise<void> {
  const path = lockPath(dir, generation)
  const text = await readLock(dir, path)
  if (text === undefined) return
  const holder = parseHolder(text)
  if (holder === undefined) return refuseIfTouchedLately(dir, path)
  if (holder.released) return
  const isElsewhere = holder.space !== mine.space
  const isHeld = isElsewhere ? await wasTouchedLately(path) : (await startOf(holder.pid)) === holder.start
  if (!isHeld) return
  const where = isElsewhere ? ` on ${holder.host}` : ''
  throw new AgentbusError('AGENTBUS_DATA_IN_USE', `the data folder ${dir} is used by process ${holder.pid}${where}`, { dir, pid: holder.pid, host: holder.host })
}

/** Undefined when it has just been removed, for there is a higher one. @throws AgentbusError AGENTBUS_CONFIG for one that cannot be read: it may be held */
async function readLock(dir: string, path: string): Promise<string | undefined> {
  try {
    return await unlessGone(readFile(path, 'utf8'))
  } catch (error) {
    throw new AgentbusError(
      'AGENTBUS_CONFIG',
      `the lock file ${path} cannot be read (${messageOf(error)}): make it readable for this user, or remove it if no agentbus runs on that folder`,
      { dir, path },
      { cause: error },
    )
  }
}

/** For a lock file that names nobody: see the top of the file. */
async function refuseIfTouchedLately(dir: string, path: string): Promise<void> {
  if (!(await wasTouchedLately(path))) return
  throw new AgentbusError(
    'AGENTBUS_DATA_IN_USE',
    `the data folder ${dir} may be in use: its lock file ${path} is damaged and was just touched; stop the agentbus there, or start again in ${SILENT_MS / 1000} s`,
    { dir, path },
  )
}

/** False for one that was removed meanwhile. */
async function wasTouchedLately(path: string): Promise<boolean> {
  const found = await unlessGone(stat(path))
  return found !== undefined && Math.abs(systemClock.nowMs() - found.mtimeMs) < SILENT_MS
}

function parseHolder(text: string): Holder | undefined {
  try {
    return Holder.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** Which numbering of processes this one is in: one per container on Linux, else one per host. */
async function pidSpace(): Promise<string> {
  const namespace = await readlink('/proc/self/ns/pid').catch(() => '')
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  return `${boot.trim() === '' ? hostname() : boot.trim()} ${namespace}`
}

async function highest(dir: string): Promise<number | undefined> {
  const generations = (await readdir(dir)).map((name) => Number(LOCK_NAME.exec(name)?.[1] ?? 0))
  const top = Math.max(0, ...generations)
  return top === 0 ? undefined : top
}

async function removeBelow(dir: string, generation: number): Promise<void> {
  const old = (await readdir(dir)).filter((name) => Number(LOCK_NAME.exec(name)?.[1] ?? Infinity) < generation)
  for (const name of old) await unlink(join(dir, name)).catch(() => undefined)
}

async function createLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

function lockPath(dir: string, generation: number): string {
  return join(dir, `lock.${generation}`)
}
