import { execFile } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Clock } from '../config/clock.js'

const run = promisify(execFile)

/**
 * When a live process was started, as an opaque text, or undefined when there is no such process. Two
 * processes that got the same pid one after the other differ in it. A zombie counts as gone: in a container
 * without an init it stays forever.
 */
export async function startOf(pid: number): Promise<string | undefined> {
  if (!signalReaches(pid)) return undefined
  if (process.platform !== 'linux') return startByPs(pid)
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The name in parentheses may hold spaces and parentheses; after the last one come state (field 3) ... start (22).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  return fields[19]
}

export async function isAlive(pid: number): Promise<boolean> {
  return (await startOf(pid)) !== undefined
}

/**
 * Whether a live process is the server whose data lie in `dir` (a real path). Both PostgreSQL and Redis make
 * their data folder the working folder, so Linux can say for certain; elsewhere only the name is compared.
 */
export async function isServerIn(pid: number, dir: string, program: string): Promise<boolean> {
  if (!(await isAlive(pid))) return false
  if (process.platform === 'linux') {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    return cwd === dir && (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).includes(program)
  }
  const { stdout } = await ps(pid, 'command=')
  return stdout.includes(program)
}

/** On Linux, the pid of the server in `dir` even when no pid file names it; elsewhere undefined. */
export async function findServerIn(dir: string, program: string): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined
  for (const name of await readdir('/proc')) {
    if (/^\d+$/.test(name) && (await isServerIn(Number(name), dir, program))) return Number(name)
  }
  return undefined
}

/** True when the process ended in time. */
export async function waitForExit({ pid, clock, limitMs }: { pid: number; clock: Clock; limitMs: number }): Promise<boolean> {
  const until = clock.nowMs() + limitMs
  while (await isAlive(pid)) {
    if (clock.nowMs() >= until) return false
    await clock.sleep(20)
  }
  return true
}

function signalReaches(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

async function startByPs(pid: number): Promise<string | undefined> {
  if (process.platform === 'win32') return 'alive'
  const { stdout } = await ps(pid, 'stat=,lstart=')
  const [state = '', ...started] = stdout.trim().split(/\s+/)
  return state === '' || state.startsWith('Z') ? undefined : started.join(' ')
}

function ps(pid: number, columns: string): Promise<{ stdout: string }> {
  return run('ps', ['-o', columns, '-p', String(pid)], { env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } }).catch(() => ({ stdout: '' }))
}
