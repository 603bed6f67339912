import type { Settings } from '../config/settings.js'
import { readSigningKey } from '../config/signing-key.js'
import { recordRestore } from '../ledger/audit/record-restore.js'
import { signerOf } from '../ledger/audit/signing.js'
import { openDatabase } from '../ledger/database.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import type { ServerIo } from './server-commands.js'

/** A restore is recorded over everything, which may take long: milliseconds after which a silent ledger is given up. */
export const LONGEST_MS = 24 * 3_600_000

/**
 * This cluster numbers transactions below those of the restored rows: puts the restore on record as a checkpoint, so that
 * numbers may begin anew. @returns what a person should know of it
 */
export async function endEra(url: string, settings: Settings, env: ServerIo['env']): Promise<string> {
  const signer = settings.signingKey === undefined ? undefined : signerOf(readSigningKey(settings.signingKey, env))
  const database = openDatabase({ url, poolSize: 2, applicationName: 'agentbus-restore', onError: () => undefined, silenceMs: LONGEST_MS })
  try {
    const recorded = await recordRestore(database.db, { signer })
    switch (recorded.kind) {
      case 'recorded':
        return recorded.checkpoints.map(({ seq, hash, rows, records }) => `${seq}:${hash}  ${rows} rows, after a restore; ${records ?? 0} rows of other histories\n`).join('')
      case 'nothing':
        return ''
      case 'busy':
        throw new CliError('The ledger is restored, but another process takes a checkpoint at this moment: run agentbus checkpoint --after-restore.', EXIT.unavailable)
      case 'rows_in_the_past':
        throw new CliError(
          `The ledger is restored, but row ${recorded.seq} of job ${recorded.jobId} lies where checkpoints should know it, and they do not: run agentbus verify, which names what differs.`,
          EXIT.violated,
        )
    }
  } finally {
    await database.close()
  }
}
