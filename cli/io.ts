/** What a command reads and writes; given, so that tests run commands in process. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdin: AsyncIterable<Buffer | string>
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown }
  readonly cwd: string
}

/** Ends a command with one line for people and an exit code. */
export class CliError extends Error {
  readonly exitCode: number
  /** What `--json` shows of it: the problem document, when the API sent one. */
  readonly problem: Record<string, unknown> | undefined

  constructor(message: string, exitCode: number, problem?: Record<string, unknown>) {
    super(message)
    this.name = 'CliError'
    this.exitCode = exitCode
    this.problem = problem
  }
}
