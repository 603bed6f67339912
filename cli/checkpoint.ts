import { loadSettings } from '../config/settings.js'
import { readSigningKey } from '../config/signing-key.js'
import { signerOf } from '../ledger/audit/signing.js'
import { takeCheckpoint } from '../ledger/audit/take-checkpoint.js'
import { openDatabase } from '../ledger/database.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import type { ServerIo } from './server-commands.js'
import { lookAtStores, requireMigrated } from './stores.js'

/**
 * `agentbus checkpoint`: takes what is due and prints a line `seq:hash` with what it covers for each. `--public-key` prints the
 * public part of the signing key instead.
 */
export async function checkpoint(io: ServerIo, flags: { readonly publicKey?: true }): Promise<void> {
  const settings = loadSettings(io.env)
  const signer = settings.signingKey === undefined ? undefined : signerOf(readSigningKey(settings.signingKey, io.env))
  if (flags.publicKey === true) {
    if (signer === undefined) throw new CliError('AGENTBUS_SIGNING_KEY is not set, so there is no public key.', EXIT.usage)
    io.stdout.write(signer.publicKeyPem)
    return
  }
  const { databaseUrl } = await lookAtStores(settings)
  await requireMigrated(databaseUrl)
  const database = openDatabase({ url: databaseUrl, poolSize: 3, applicationName: 'agentbus', onError: () => undefined })
  try {
    for (let count = 0; ; count += 1) {
      const taken = await takeCheckpoint(database.db, { signer })
      if (taken.kind === 'taken') {
        const { seq, hash, rows, jobs, key_id } = taken.checkpoint
        io.stdout.write(`${seq}:${hash}  ${rows} rows of ${jobs} jobs, ${key_id === null ? 'not signed' : `signed by ${key_id}`}\n`)
        continue
      }
      if (taken.kind === 'behind') {
        throw new CliError(
          `Transactions are numbered below ${taken.last}, up to which checkpoints reach: the ledger was restored from a dump into another cluster. See docs/audit.md.`,
          EXIT.violated,
        )
      }
      if (count === 0) io.stdout.write(taken.kind === 'busy' ? 'Another process takes a checkpoint at this moment.\n' : 'There is nothing new to cover.\n')
      return
    }
  } finally {
    await database.close()
  }
}
