import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { createLogger, type Logger } from '../config/logger.js'
import { loadSettings, type Settings } from '../config/settings.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import type { SignatureCheck } from '../ledger/audit/signing.js'
import { openToAuditors } from '../ledger/auditor-role.js'
import { checkBackup } from '../ledger/backup/check-backup.js'
import type { Manifest } from '../ledger/backup/manifest.js'
import { restoreBackup } from '../ledger/backup/restore-backup.js'
import type { CheckResult } from '../ledger/verify/report.js'
import { endEra } from './end-era.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { withLedgerServer } from './ledger-server.js'
import { NO_AUDITORS } from './no-auditors.js'
import { oneLine } from './printable.js'
import { publicKeys } from './public-keys.js'
import { rebuildScratch } from './rebuild-scratch.js'
import { resultLines } from './result-lines.js'
import type { ServerIo } from './server-commands.js'
import type { LookedAt } from './stores.js'
import { newestCheckpoint, verifyRestored } from './verify-restored.js'

export interface RestoreFlags {
  readonly from: string
  readonly drill?: true
  readonly replace?: true
  readonly publicKey?: string
}

interface Run {
  readonly io: ServerIo
  readonly settings: Settings
  readonly log: Logger
  readonly stores: LookedAt
  readonly folder: string
  readonly manifest: Manifest
  readonly keys: readonly SignatureCheck[]
}

/**
 * `agentbus restore`: puts a backup into the database of the settings and verifies what is there then. With `--drill` into a
 * scratch database, with queues under a scratch prefix, of which nothing is left.
 * @throws CliError with EXIT.violated when what was restored does not hold
 */
export async function restore(io: ServerIo, flags: RestoreFlags): Promise<void> {
  const settings = loadSettings(io.env)
  const log = createLogger({ level: 'error', pretty: settings.logPretty })
  const keys = await publicKeys(settings, io.env, flags.publicKey)
  const manifest = await checkBackup(flags.from)
  io.stdout.write(`The backup of ${manifest.made_at} is whole: ${manifest.tables.length} tables, each with the hash it was written with.\n`)
  await withLedgerServer(settings, log, async (stores) => {
    const run = { io, settings, log, stores, folder: flags.from, manifest, keys }
    if (flags.drill === true) await drill(run)
    else await restoreForGood(run, flags.replace === true)
  })
}

async function restoreForGood(run: Run, replace: boolean): Promise<void> {
  const { io } = run
  const url = run.stores.databaseUrl
  const checks = await restoreInto(run, url, replace)
  // Roles belong to the server: a new one knows nothing of the auditors of the old.
  if (!(await openToAuditors(url))) io.stdout.write(NO_AUDITORS)
  refuseFaults(checks)
  io.stdout.write('The ledger is restored and holds. Start the bus: it rebuilds every queue from the ledger, and entries that were made after the backup are not started.\n')
}

/** @returns what the checks say */
async function restoreInto({ io, settings, stores, folder, manifest, keys }: Run, url: string, replace: boolean): Promise<readonly CheckResult[]> {
  const { rows, countsAnew } = await restoreBackup({
    url,
    folder,
    manifest,
    replace,
    onTable: (table) => void (table.rows > 0 && io.stdout.write(`${table.name.padEnd(32)} ${table.rows.toLocaleString('en')} rows\n`)),
  })
  io.stdout.write(`${rows.toLocaleString('en')} rows are in the database.\n`)
  const newestKept = await newestCheckpoint(url)
  if (countsAnew) io.stdout.write(await endEra(url, settings, io.env))
  return verifyRestored({ url, secret: stores.secret, madeAt: manifest.made_at, keys, newestKept, onResult: (result) => io.stdout.write(resultLines(result)) })
}

async function drill(run: Run): Promise<void> {
  const { io, stores } = run
  const name = `agentbus_drill_${randomBytes(6).toString('hex')}`
  await asAdmin(stores.databaseUrl, `create database ${name} template template0`)
  io.stdout.write(`Scratch database ${name}\n`)
  const url = new URL(stores.databaseUrl)
  url.pathname = `/${name}`
  try {
    const checks = await restoreInto(run, url.toString(), false)
    const { jobs, parity } = await rebuildScratch({
      databaseUrl: url.toString(),
      queue: stores.queue.kind === 'redis' ? stores.queue : { kind: 'postgres', url: url.toString() },
      prefix: name,
      log: run.log,
    })
    io.stdout.write(`Queues were rebuilt under the prefix ${name}: ${jobs.toLocaleString('en')} jobs.\n${resultLines(parity)}`)
    refuseFaults([...checks, parity])
  } finally {
    await asAdmin(stores.databaseUrl, `drop database if exists ${name} with (force)`)
    io.stdout.write('The scratch database and its queues are removed.\n')
  }
  io.stdout.write('The drill went well: this backup can be restored.\n')
}

async function asAdmin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  try {
    await client.connect()
    await client.query(statement)
  } catch (error) {
    throw new AgentbusError(
      'AGENTBUS_CONFIG',
      `A drill makes and drops a scratch database, and this user cannot: ${oneLine(messageOf(error))}. Give it CREATEDB, or name a server where it has that.`,
      {},
      { cause: error },
    )
  } finally {
    await client.end().catch(() => undefined)
  }
}

function refuseFaults(checks: readonly CheckResult[]): void {
  const violated = checks.filter(({ verdict }) => verdict === 'violated').map(({ check }) => check)
  if (violated.length > 0)
    throw new CliError(`What was restored does not hold: ${violated.join(', ')}. The ledger was so when it was backed up, or the backup was changed.`, EXIT.violated)
  const unchecked = checks.filter(({ verdict }) => verdict === 'unchecked').map(({ check }) => check)
  if (unchecked.length > 0) throw new CliError(`It is restored, but not everything could be checked: ${unchecked.join(', ')}.`, EXIT.unchecked)
}
