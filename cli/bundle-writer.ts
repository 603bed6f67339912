import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import { messageOf } from '../contracts/errors.js'
import { BUNDLE_FILES, type BundleFile } from '../ledger/audit/read-export.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { oneLine } from './printable.js'

/**
 * Writes the files of an audit bundle. A line that the disk did not take makes {@link write} or {@link close} reject: a bundle
 * that lacks lines must not pass for whole.
 */
export class BundleWriter {
  readonly #files: ReadonlyMap<BundleFile, WriteStream>

  /** @param folder which is there, and has none of the files */
  constructor(folder: string) {
    this.#files = new Map(BUNDLE_FILES.map((name) => [name, createWriteStream(path.join(folder, name), { mode: 0o600 })]))
    // Whoever writes next, or closes, is told. Without a listener it would end the process in the middle of its work.
    for (const file of this.#files.values()) file.on('error', () => undefined)
  }

  /** @throws CliError when this line or one before it could not be written */
  async write(name: BundleFile, line: string): Promise<void> {
    await this.#on(name, async (file) => {
      if (!file.write(`${line}\n`)) await once(file, 'drain')
    })
  }

  /** Everything is in the files. @throws CliError when something is not */
  async close(): Promise<void> {
    for (const name of BUNDLE_FILES) {
      await this.#on(name, async (file) => {
        file.end()
        await finished(file)
      })
    }
  }

  /** Lets go of the files, whatever is in them. */
  abandon(): void {
    for (const file of this.#files.values()) file.destroy()
  }

  async #on(name: BundleFile, work: (file: WriteStream) => Promise<void>): Promise<void> {
    const file = this.#files.get(name)
    if (file === undefined) throw new Error(`${name} is no file of a bundle`)
    try {
      if (file.errored !== null) throw file.errored
      await work(file)
    } catch (error) {
      throw new CliError(`${name} cannot be written: ${oneLine(messageOf(error))}. The bundle is not whole; remove it.`, EXIT.unexpected)
    }
  }
}
