import { createReadStream } from 'node:fs'
import path from 'node:path'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { oneLine } from '../printable.js'

/** More than this the API refuses; reading on would only end in a 413, and of a device never. */
const MAX_BYTES = 262_144

/** Reads JSON from an option: literal, `@file`, or `-` for standard input, which one option of a command may use. */
export class JsonInput {
  readonly #io: Io
  #stdinTakenBy: string | undefined

  constructor(io: Io) {
    this.#io = io
  }

  /** @throws CliError (usage) when it is not JSON or cannot be read */
  async read(option: string, value: string): Promise<unknown> {
    const text = await this.#text(option, value)
    try {
      return JSON.parse(text.replace(/^\uFEFF/, ''))
    } catch (error) {
      throw new CliError(`${option} is not valid JSON: ${whyOf(error)}. Give JSON, @file, or - for standard input.`, EXIT.usage)
    }
  }

  async #text(option: string, value: string): Promise<string> {
    if (value === '-') return this.#stdin(option)
    if (!value.startsWith('@')) return value
    return collect(option, `the file ${value.slice(1)}`, createReadStream(path.resolve(this.#io.cwd, value.slice(1))))
  }

  async #stdin(option: string): Promise<string> {
    if (this.#stdinTakenBy !== undefined) {
      throw new CliError(`${option} cannot be read from standard input: ${this.#stdinTakenBy} was read from it. Put one of them into a file.`, EXIT.usage)
    }
    this.#stdinTakenBy = option
    return collect(option, 'standard input', this.#io.stdin)
  }
}

async function collect(option: string, source: string, stream: AsyncIterable<Buffer | string>): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of stream) {
      const part = Buffer.from(chunk)
      bytes += part.length
      if (bytes > MAX_BYTES) break
      chunks.push(part)
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new CliError(`${option}: ${source} cannot be read (${code}).`, EXIT.usage)
  }
  if (bytes > MAX_BYTES) throw new CliError(`${option}: ${source} is larger than the 256 KiB that the API takes. Put large material elsewhere and reference it.`, EXIT.usage)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    throw new CliError(`${option}: ${source} is not UTF-8 text.`, EXIT.usage)
  }
}

/** Without the piece of the text that Node quotes: it could be a secret put in the wrong place. */
function whyOf(error: unknown): string {
  const message = error instanceof Error ? error.message : 'unreadable'
  return oneLine(message.replace(/,? (\.\.\.)?"[^]*"(\.\.\.)? is not valid JSON$/, ''), 200)
}
