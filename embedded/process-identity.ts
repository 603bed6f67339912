import { execFile } from 'node:child_process'
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Clock } from '../config/clock.js'

/*
 * A process is gone when the system says so, and only then. Whatever else keeps it from being looked at, such as too many open files,
 * throws: taken for an end it would have the pid file of a live server defused, or a second server started on the same data.
 */

const run = promisify(execFile)

/** No system gives out a higher one, and Node does not ask about it. */
const HIGHEST_PID = 2_147_483_647

/**
 * When a live process was started, as an opaque text, or undefined when there is no such process. Two
 * processes that got the same pid one after the other differ in it. A zombie counts as gone: in a container
 * without an init it stays forever.
 * @throws when it cannot be told
 */
export async function startOf(pid: number): Promise<string | undefined> {
  if (answerOf(pid) === 'gone') return undefined
  if (process.platform !== 'linux') return startByPs(pid)
  const line = await unlessGone(readFile(`/proc/${pid}/stat`, 'utf8'))
  if (line === undefined) return undefined
  // The name in parentheses may hold spaces and parentheses; after the last one come state (field 3) ... start (22).
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  return fields[19]
}

/** @throws when it cannot be told */
export async function isAlive(pid: number): Promise<boolean> {
  return (await startOf(pid)) !== undefined
}

/**
 * Whether a live process is the server whose data lie in `dir` (a real path). Both PostgreSQL and Redis make
 * their data folder the working folder, so Linux can say for certain; elsewhere only the name is compared.
 * @throws when it cannot be told
 */
export async function isServerIn(pid: number, dir: string, program: string): Promise<boolean> {
  const answer = answerOf(pid)
  // A server runs as the user of agentbus or, below root, as one whom root may signal.
  if (answer === 'gone' || (answer === 'refused' && process.getuid?.() !== 0)) return false
  if (!(await isAlive(pid))) return false
  if (process.platform === 'linux') return isServerOnLinux(pid, dir, program)
  return (await ps(pid, 'command=')).includes(program)
}

/** On Linux, the pid of the server in `dir` even when no pid file names it; elsewhere undefined. */
export async function findServerIn(dir: string, program: string): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined
  for (const name of await readdir('/proc')) {
    if (/^\d+$/.test(name) && (await isServerIn(Number(name), dir, program).catch(notOfOurs))) return Number(name)
  }
  return undefined
}

/** Of all processes of the machine some may not be looked into. Ours may: they run as the user that we are, or that root has chosen. */
function notOfOurs(error: unknown): false {
  if (error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM')) return false
  throw error
}

/** True when the process ended in time. One that cannot be looked at for the moment has not. */
export async function waitForExit({ pid, clock, limitMs }: { pid: number; clock: Clock; limitMs: number }): Promise<boolean> {
  const until = clock.nowMs() + limitMs
  while (await isAlive(pid).catch(() => true)) {
    if (clock.nowMs() >= until) return false
    await clock.sleep(20)
  }
  return true
}

/** What `looking` at a process gives, or undefined when there is none any more. @throws what else kept it from being looked at */
export async function unlessGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    if (saysGone(error)) return undefined
    throw error
  }
}

function saysGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')
}

/** What the system says to a signal that does nothing; `refused`: the process lives and is another user's. */
function answerOf(pid: number): 'reached' | 'refused' | 'gone' {
  if (!Number.isInteger(pid) || pid <= 0 || pid > HIGHEST_PID) return 'gone'
  try {
    process.kill(pid, 0)
    return 'reached'
  } catch (error) {
    if (saysGone(error)) return 'gone'
    if (error instanceof Error && 'code' in error && error.code === 'EPERM') return 'refused'
    throw error
  }
}

async function isServerOnLinux(pid: number, dir: string, program: string): Promise<boolean> {
  // Everybody may read the name, so strangers need not be looked at more closely.
  const name = await unlessGone(readFile(`/proc/${pid}/comm`, 'utf8'))
  if (name === undefined || !name.includes(program)) return false
  try {
    return (await readlink(`/proc/${pid}/cwd`)) === dir
  } catch (error) {
    if (saysGone(error)) return false
    // Root in a container may not look into a process of another user (CAP_SYS_PTRACE), such as the PostgreSQL that it has started.
    if ((await ownerOf(pid)) !== (await stat(dir)).uid) return false
    if ((await argumentsOf(pid)).includes(dir)) return true
    throw error
  }
}

/** From a file that everybody may read; undefined when the process is gone. */
async function ownerOf(pid: number): Promise<number | undefined> {
  const status = await unlessGone(readFile(`/proc/${pid}/status`, 'utf8'))
  const uid = /^Uid:\s+(\d+)/m.exec(status ?? '')?.[1]
  return uid === undefined ? undefined : Number(uid)
}

async function argumentsOf(pid: number): Promise<string[]> {
  return ((await unlessGone(readFile(`/proc/${pid}/cmdline`, 'utf8'))) ?? '').split('\0')
}

async function startByPs(pid: number): Promise<string | undefined> {
  if (process.platform === 'win32') return 'alive'
  const [state = '', ...started] = (await ps(pid, 'stat=,lstart=')).trim().split(/\s+/)
  return state === '' || state.startsWith('Z') ? undefined : started.join(' ')
}

/** These columns of a process; empty when there is none. */
async function ps(pid: number, columns: string): Promise<string> {
  try {
    const { stdout } = await run('ps', ['-o', columns, '-p', String(pid)], { env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } })
    return stdout
  } catch (error) {
    if (saysNoProcess(error)) return ''
    throw error
  }
}

/** `ps` ends with 1 for a process that is not there, without a word or with these. */
function saysNoProcess(error: unknown): boolean {
  if (!(error instanceof Error && 'code' in error && 'stderr' in error) || error.code !== 1) return false
  const said = String(error.stderr).trim()
  return said === '' || /no such process/i.test(said)
}
