import { loadSettings } from '../config/settings.js'
import { readSigningKey } from '../config/signing-key.js'
import type { Checkpoint } from '../ledger/audit/checkpoint-text.js'
import { recordRestore } from '../ledger/audit/record-restore.js'
import { signerOf, type Signer } from '../ledger/audit/signing.js'
import { takeCheckpoint } from '../ledger/audit/take-checkpoint.js'
import { openDatabase, type Database } from '../ledger/database.js'
import { LONGEST_MS } from './end-era.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import type { ServerIo } from './server-commands.js'
import { lookAtStores, requireMigrated } from './stores.js'

/**
 * `agentbus checkpoint`: takes what is due and prints a line `seq:hash` with what it covers for each. `--after-restore` records
 * first that the ledger was restored from a dump; `--public-key` prints the public part of the signing key instead.
 */
export async function checkpoint(io: ServerIo, flags: { readonly publicKey?: true; readonly afterRestore?: true }): Promise<void> {
  const settings = loadSettings(io.env)
  const signer = settings.signingKey === undefined ? undefined : signerOf(readSigningKey(settings.signingKey, io.env))
  if (flags.publicKey === true) {
    if (signer === undefined) throw new CliError('AGENTBUS_SIGNING_KEY is not set, so there is no public key.', EXIT.usage)
    io.stdout.write(signer.publicKeyPem)
    return
  }
  const { databaseUrl } = await lookAtStores(settings)
  await requireMigrated(databaseUrl)
  // A restore is recorded over everything, which may take long.
  const silence = flags.afterRestore === true ? { silenceMs: LONGEST_MS } : {}
  const database = openDatabase({ url: databaseUrl, poolSize: 3, applicationName: 'agentbus', onError: () => undefined, ...silence })
  try {
    if (flags.afterRestore === true) await record(io, database, signer)
    else await takeAll(io, database, signer)
  } finally {
    await database.close()
  }
}

async function takeAll(io: ServerIo, database: Database, signer: Signer | undefined): Promise<void> {
  for (let count = 0; ; count += 1) {
    const taken = await takeCheckpoint(database.db, { signer })
    if (taken.kind === 'taken') {
      io.stdout.write(lineOf(taken.checkpoint))
      continue
    }
    if (taken.kind === 'behind') {
      throw new CliError(
        `Transactions are numbered below ${taken.last}, up to which checkpoints reach: the ledger was restored from a dump into another cluster. Record that with agentbus checkpoint --after-restore; see docs/audit.md.`,
        EXIT.violated,
      )
    }
    if (count === 0) io.stdout.write(taken.kind === 'busy' ? 'Another process takes a checkpoint at this moment.\n' : 'There is nothing new to cover.\n')
    return
  }
}

async function record(io: ServerIo, database: Database, signer: Signer | undefined): Promise<void> {
  const recorded = await recordRestore(database.db, { signer })
  switch (recorded.kind) {
    case 'recorded': {
      for (const one of recorded.checkpoints) io.stdout.write(lineOf(one))
      const since = recorded.writtenSince === 0 ? '' : ` ${recorded.writtenSince} rows that were written since belong to the new era.`
      io.stdout.write(`The restore is on record: checkpoints go on, and those from before still cover what was restored.${since}\n`)
      return
    }
    case 'nothing':
      io.stdout.write('The ledger has no history, so there is no restore to record.\n')
      return
    case 'busy':
      throw new CliError('Another process takes a checkpoint at this moment. Nothing was recorded; run it again.', EXIT.unavailable)
    case 'rows_in_the_past':
      throw new CliError(
        `Row ${recorded.seq} of job ${recorded.jobId} lies where checkpoints should know it, and they do not. Nothing was recorded: run agentbus verify, which names what differs.`,
        EXIT.violated,
      )
  }
}

function lineOf({ seq, hash, rows, jobs, records, key_id, restored_to }: Checkpoint): string {
  const restore = restored_to === null ? '' : ', after a restore'
  return `${seq}:${hash}  ${rows} rows of ${jobs} jobs${restore}, ${key_id === null ? 'not signed' : `signed by ${key_id}`}; ${records ?? 0} rows of other histories\n`
}
