import { fork, type ChildProcess } from 'node:child_process'
import path from 'node:path'

/** Starts a file of this folder as a process of its own, so that what it does takes no turn from the system under measurement. */
export function child(file: string): ChildProcess {
  return fork(path.join(import.meta.dirname, file), { execArgv: ['--import', 'tsx'] })
}

/** The next message of a child. @throws when it ends before it has said anything: a benchmark must not wait for the dead */
export function next(process: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const heard = (message: unknown): void => {
      process.off('exit', ended)
      resolve(message)
    }
    const ended = (code: number | null): void => {
      process.off('message', heard)
      reject(new Error(`a process of the benchmark ended early (exit code ${code ?? 'none'})`))
    }
    process.once('message', heard)
    process.once('exit', ended)
  })
}
