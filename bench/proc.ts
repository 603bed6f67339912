import { readdir, readFile } from 'node:fs/promises'
import { platform } from 'node:os'

/** What Linux says of processes. @throws on another system: memory and idle time are measured there alone */
export function requireProc(): void {
  if (platform() !== 'linux') throw new Error('The section memory reads /proc and runs on Linux alone; leave it out with --only.')
}

/** Fields of `/proc/<pid>/stat` after the name, which may hold spaces. */
async function stat(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

export async function parentOf(pid: number): Promise<number> {
  return Number((await stat(pid))[1])
}

export async function childrenOf(pid: number): Promise<number[]> {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const parents = await Promise.all(all.map(async (one) => ({ one, parent: await parentOf(one).catch(() => undefined) })))
  return parents.filter(({ parent }) => parent === pid).map(({ one }) => one)
}

/** Clock ticks per second of `/proc/<pid>/stat`: 100 on every Linux that Node runs on. */
const TICKS = 100

/** Seconds of a core that a process has used since it began. */
export async function cpuSeconds(pid: number): Promise<number> {
  const fields = await stat(pid)
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

const KIB = 1_024

/** Bytes that are in memory for a process. */
export async function rssBytes(pid: number): Promise<number> {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib ?? Number.NaN) * KIB
}

/** The same, with its share alone of what it has in common with others: PostgreSQL's processes all map the same buffers. */
export async function pssBytes(pid: number): Promise<number> {
  const kib = /^Pss:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]
  return Number(kib ?? Number.NaN) * KIB
}
