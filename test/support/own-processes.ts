import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import path from 'node:path'

const MAIN = path.resolve('dist/cli/main.js')

/** Settings under which the bus notices a loss within seconds, so that a test need not wait for minutes. */
export const FAST = {
  AGENTBUS_LOCK_MS: '2000',
  AGENTBUS_STALLED_CHECK_MS: '1000',
  AGENTBUS_PROBE_SECONDS: '1',
  RETRY_SECONDS: '1',
  AGENTBUS_SWEEP_SECONDS: '5',
  AGENTBUS_LOG_LEVEL: 'warn',
}

/** What a process says is kept up to this many characters, the newest. */
const KEPT = 6_000

export interface OwnProcess {
  readonly child: ChildProcess
  /** Rejects when the process ends before it works. */
  readonly started: Promise<void>
  /** The end of its log so far. */
  readonly said: () => string
}

/** Starts a real `agentbus worker` or `agentbus api` from the build. */
export function spawnRole(role: 'worker' | 'api', env: Record<string, string>): OwnProcess {
  const id = `${role}-${randomBytes(3).toString('hex')}`
  const child = spawn(process.execPath, [MAIN, role], { env: { AGENTBUS_WORKER_ID: id, ...env, AGENTBUS_LOG_LEVEL: 'info' }, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  const started = new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-KEPT)
      // It is the process's word that it works.
      if (said.includes('"event":"started"')) resolve()
    })
    child.on('exit', (code) => reject(new Error(`the process ended with ${code}: ${said}`)))
  })
  return { child, started, said: () => said }
}
