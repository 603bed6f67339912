import { spawn } from 'node:child_process'

/** The user a program runs as; undefined: as this process. */
export interface RunAs {
  readonly uid: number
  readonly gid: number
}

export interface RunResult {
  readonly code: number
  readonly output: string
}

const KEPT_OUTPUT = 64 * 1024

/**
 * Runs a program to its end, as another user where asked, in its own session so that Ctrl-C at the terminal
 * does not hit it, and with an environment of its own: PG* variables of the caller would redirect it, and
 * its language would translate messages that are read. Never rejects for an exit code; -1: it could not start.
 */
export function runAs({ program, args, cwd, user }: { program: string; args: readonly string[]; cwd: string; user: RunAs | undefined }): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      detached: true,
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', HOME: cwd },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
    })
    let output = ''
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString('utf8')).slice(-KEPT_OUTPUT)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.once('error', (error) => resolve({ code: -1, output: error.message }))
    child.once('close', (code) => resolve({ code: code ?? -1, output }))
  })
}

/** The last line a program said, for an error message. */
export function lastLine({ output, code }: RunResult): string {
  return output.trim().split('\n').at(-1)?.trim() || `exit code ${code}`
}
