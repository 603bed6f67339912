import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'

/** Reads JSON from an option: literal, `@file`, or `-` for standard input, which one option of a command may use. */
export class JsonInput {
  readonly #io: Io
  #stdinTakenBy: string | undefined

  constructor(io: Io) {
    this.#io = io
  }

  /** @throws CliError (usage) when it is not JSON or the file cannot be read */
  async read(option: string, value: string): Promise<unknown> {
    const text = await this.#text(option, value)
    try {
      return JSON.parse(text)
    } catch (error) {
      throw new CliError(`${option}: not valid JSON (${error instanceof Error ? error.message : 'unreadable'}).`, EXIT.usage)
    }
  }

  async #text(option: string, value: string): Promise<string> {
    if (value === '-') return this.#stdin(option)
    if (!value.startsWith('@')) return value
    const file = path.resolve(this.#io.cwd, value.slice(1))
    try {
      return await readFile(file, 'utf8')
    } catch {
      throw new CliError(`${option}: cannot read the file ${value.slice(1)}.`, EXIT.usage)
    }
  }

  async #stdin(option: string): Promise<string> {
    if (this.#stdinTakenBy !== undefined) throw new CliError(`${option}: standard input was read for ${this.#stdinTakenBy} already.`, EXIT.usage)
    this.#stdinTakenBy = option
    const chunks: Buffer[] = []
    for await (const chunk of this.#io.stdin) chunks.push(Buffer.from(chunk))
    return Buffer.concat(chunks).toString('utf8')
  }
}
