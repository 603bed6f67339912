import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { systemClock } from '../../config/clock.js'
import { createLogger } from '../../config/logger.js'
import { isAlive, waitForExit } from '../../embedded/process-identity.js'

export const silent = createLogger({ level: 'silent', pretty: false })
export const isRoot = process.getuid?.() === 0
/** A user without rights, for tests that run as root. */
export const NOBODY = { uid: 65_534, gid: 65_534 } as const

const Answer = z.object({ ready: z.boolean(), pid: z.int().optional(), url: z.string().optional(), code: z.string().optional(), message: z.string().optional() })

export interface Child {
  readonly answer: z.infer<typeof Answer>
  readonly process: ChildProcess
  /** Ends it in order. */
  finish(): Promise<void>
  /** kill -9, and waits until it is gone. */
  kill(): Promise<void>
}

const cleanups: (() => Promise<unknown>)[] = []

/** Every one, also when one fails. After each test of any file: modules are shared by the files of a worker, so a hook that is registered here would be that of one file alone. */
export async function runCleanups(): Promise<void> {
  const faults: unknown[] = []
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup().catch((error: unknown) => faults.push(error))
  if (faults.length > 0) throw faults[0]
}

export function onCleanup(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup)
}

/** An empty folder that every user can pass; servers left in it are killed when the test ends. */
export async function tempFolder({ owner, mode = 0o755 }: { owner?: { uid: number; gid: number }; mode?: number } = {}): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'agentbus-test-'))
  await chmod(path, mode)
  if (owner !== undefined) await chown(path, owner.uid, owner.gid)
  onCleanup(() => rm(path, { recursive: true, force: true, maxRetries: 5 }))
  return path
}

/** Starts test/embedded/child.ts and waits for its one line. */
export async function startChild(args: readonly string[], user?: { uid: number; gid: number }): Promise<Child> {
  const script = fileURLToPath(new URL('child.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], { stdio: ['pipe', 'pipe', 'ignore'], env: { ...process.env, TMPDIR: tmpdir(), HOME: '/' }, ...user })
  const exited = once(child, 'exit')
  onCleanup(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const lines = createInterface({ input: child.stdout })
  const [line] = await Promise.race([once(lines, 'line'), exited.then(() => ['{"ready":false,"message":"ended without a word"}'])])
  return {
    answer: Answer.parse(JSON.parse(String(line))),
    process: child,
    async finish() {
      child.stdin.end()
      await exited
    },
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** The pid in the first line of a pid file; the process is killed when the test ends. */
export async function serverPid(path: string): Promise<number> {
  const pid = Number((await readFile(path, 'utf8')).split('\n')[0])
  onCleanup(() => killServer(pid))
  return pid
}

/** While `act` runs, this is a system without /proc: a server cannot be looked for by its folder, and `ps` tells of a process, as on any but Linux. */
export async function offLinux<T>(act: () => Promise<T>): Promise<T> {
  const { platform } = process
  Object.defineProperty(process, 'platform', { value: 'darwin' })
  try {
    return await act()
  } finally {
    Object.defineProperty(process, 'platform', { value: platform })
  }
}

export async function killServer(pid: number): Promise<void> {
  if (!(await isAlive(pid))) return
  process.kill(pid, 'SIGKILL')
  await waitForExit({ pid, clock: systemClock, limitMs: 10_000 })
}
