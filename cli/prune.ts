import { systemClock } from '../config/clock.js'
import { loadSettings } from '../config/settings.js'
import { openDatabase } from '../ledger/database.js'
import { pruneLedger, type Pruned } from '../ledger/prune/prune.js'
import { jsonText } from './printable.js'
import type { ServerIo } from './server-commands.js'
import { lookAtStores, requireMigrated } from './stores.js'

export interface PruneFlags {
  readonly dryRun?: true
  readonly json?: true
}

/** `agentbus prune`: takes out what the section `retention` of the fleet file no longer keeps. Run it from cron. */
export async function prune(io: ServerIo, flags: PruneFlags): Promise<void> {
  const settings = loadSettings(io.env)
  const { databaseUrl } = await lookAtStores(settings)
  await requireMigrated(databaseUrl)
  const dryRun = flags.dryRun === true
  const database = openDatabase({ url: databaseUrl, poolSize: 2, applicationName: 'agentbus-prune', onError: () => undefined })
  try {
    const done = await pruneLedger(database.db, { nowMs: systemClock.nowMs(), actor: { kind: 'operator', id: 'agentbus prune' }, dryRun })
    if (flags.json === true) io.stdout.write(`${jsonText({ dry_run: dryRun, pruned: done })}\n`)
    else io.stdout.write(told(done, dryRun))
  } finally {
    await database.close()
  }
}

function told(done: readonly Pruned[], dryRun: boolean): string {
  if (done.length === 0) return 'No retention rule is in force, so everything is kept. Name some in the section `retention` of the fleet file, and run agentbus apply.\n'
  return done
    .map(({ kind, days, before, rows }) => `${kind.padEnd(13)} ${rows.toLocaleString('en')} ${dryRun ? 'would be pruned' : 'pruned'}: older than ${days} days (before ${before})\n`)
    .join('')
}
