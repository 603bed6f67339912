import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findServerIn, isServerIn, unlessGone } from './process-identity.js'

/** Of the name of `redis-server` and `valkey-server` as the system knows it. */
export const NAME_PART = '-server'

/**
 * By the folder of a server: the process that this one has started or adopted there last, until it hears of its end. A pid file may be
 * missing or empty, and only Linux finds a server without one.
 */
const lastPids = new Map<string, number>()

/** To be called as soon as there is such a process: from then on it is found. */
export function notePid(home: string, pid: number): void {
  lastPids.set(home, pid)
}

/** To be called when that process has ended: its number may be another's soon. */
export function forgetPid(home: string, pid: number): void {
  if (lastPids.get(home) === pid) lastPids.delete(home)
}

/**
 * The process of the server in this folder, a real path. By its working folder: its port alone could be a stranger's by now. One that was
 * killed together with agentbus before it wrote its pid file is found too: two servers would ruin the file.
 * @throws when it cannot be told
 */
export async function runningPid(home: string): Promise<number | undefined> {
  const inFile = Number((await unlessGone(readFile(join(home, 'redis.pid'), 'utf8'))) ?? '')
  if (await isServerIn(inFile, home, NAME_PART)) return inFile
  const last = lastPids.get(home)
  if (last !== undefined && (await isServerIn(last, home, NAME_PART))) return last
  return findServerIn(home, NAME_PART)
}
