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

/** Starts a real `agentbus worker` or `agentbus api` from the build. `started` rejects when it ends before it works. */
export function spawnRole(role: 'worker' | 'api', env: Record<string, string>): { readonly child: ChildProcess; readonly started: Promise<void> } {
  const id = `${role}-${randomBytes(3).toString('hex')}`
  const child = spawn(process.execPath, [MAIN, role], { env: { AGENTBUS_WORKER_ID: id, ...env, AGENTBUS_LOG_LEVEL: 'info' }, stdio: ['ignore', 'ignore', 'pipe'] })
  return { child, started: untilStarted(child) }
}

/** Resolves when the process has logged that it works. */
async function untilStarted(child: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      said += chunk.toString()
      if (!said.includes('"event":"started"')) return
      // What it says later is nobody's: it is read, so that the pipe does not fill, and dropped.
      child.stderr?.off('data', hear)
      child.stderr?.resume()
      resolve()
    }
    child.stderr?.on('data', hear)
    child.on('exit', (code) => reject(new Error(`the process ended with ${code}: ${said}`)))
  })
}
