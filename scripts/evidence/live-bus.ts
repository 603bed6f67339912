import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

const BIN = path.resolve('bin/agentbus.mjs')
const READY = 'Ctrl-C stops everything'

export interface Ran {
  readonly code: number
  readonly output: string
}

/** A bus of the proof's own: real processes, with stores and the gateway simulator in a temporary folder. */
export interface LiveBus {
  readonly folder: string
  readonly databaseUrl: string
  /** Runs `agentbus <args>` against it. */
  agentbus(...args: readonly string[]): Promise<Ran>
  stop(): Promise<void>
}

/** @throws when it does not come up, with what it said */
export async function startLiveBus(settings: Readonly<Record<string, string>> = {}): Promise<LiveBus> {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-evidence-'))
  // PostgreSQL does not run as root: its own user must be able to walk into the folder.
  await chmod(folder, 0o755)
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    AGENTBUS_DATA_DIR: path.join(folder, 'data'),
    AGENTBUS_PORT: '0',
    RETRY_SECONDS: '1',
    AGENTBUS_LOG_LEVEL: 'error',
    ...settings,
  }
  const up = spawn(process.execPath, [BIN, 'up'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(up, 'close')
  const stop = async (): Promise<void> => {
    if (up.exitCode === null && up.signalCode === null) up.kill('SIGTERM')
    await ended
    await rm(folder, { recursive: true, force: true })
  }
  let said = ''
  try {
    await new Promise<void>((resolve, reject) => {
      const hear = (chunk: Buffer): void => {
        said += chunk.toString()
        if (said.includes(READY)) resolve()
      }
      up.stdout.on('data', hear)
      up.stderr.on('data', hear)
      up.once('exit', (code) => reject(new Error(`agentbus up ended with ${code}: ${said}`)))
    })
    const { databaseUrl } = JSON.parse(await readFile(path.join(folder, 'data', 'runtime.json'), 'utf8')) as { databaseUrl: string }
    const client = { ...env, AGENTBUS_URL: /API:\s+(\S+)\/v1\s/.exec(said)?.[1] ?? '', AGENTBUS_TOKEN: /Token:\s+(\S+)/.exec(said)?.[1] ?? '' }
    return { folder, databaseUrl, agentbus: (...args) => run([process.execPath, BIN, ...args], client, folder), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Runs a program to its end. Both its outputs are kept, in the order in which they came. */
export async function run([program = '', ...args]: readonly string[], env: NodeJS.ProcessEnv, cwd: string = process.cwd()): Promise<Ran> {
  const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  const keep = (chunk: Buffer): void => {
    output += chunk.toString()
  }
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { code: code ?? -1, output: signal === null ? output : `${output}\nended by ${signal}\n` }
}
