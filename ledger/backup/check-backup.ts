import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { AgentbusError, messageOf } from '../../contracts/errors.js'
import { readManifest, type Manifest } from './manifest.js'

/**
 * Reads a backup to its end and compares every file with the manifest, before anything is done with it.
 * @throws AgentbusError AGENTBUS_BACKUP naming the file that is missing or not what it was
 */
export async function checkBackup(folder: string): Promise<Manifest> {
  const manifest = await readManifest(folder)
  for (const { file, bytes, sha256 } of manifest.tables) {
    const hash = createHash('sha256')
    let found = 0
    try {
      await pipeline(createReadStream(path.join(folder, file)), async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) {
          hash.update(chunk)
          found += chunk.length
        }
      })
    } catch (error) {
      throw new AgentbusError('AGENTBUS_BACKUP', `${file} of the backup cannot be read: ${messageOf(error)}`, { file }, { cause: error })
    }
    if (found !== bytes || hash.digest('hex') !== sha256) {
      throw new AgentbusError('AGENTBUS_BACKUP', `${file} of the backup is not what was written: it has ${found} bytes of ${bytes}, or another content.`, { file })
    }
  }
  return manifest
}
