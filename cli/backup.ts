import { systemClock } from '../config/clock.js'
import { createLogger } from '../config/logger.js'
import { loadSettings } from '../config/settings.js'
import { writeBackup } from '../ledger/backup/write-backup.js'
import { withLedgerServer } from './ledger-server.js'
import type { ServerIo } from './server-commands.js'
import { requireMigrated } from './stores.js'

export interface BackupFlags {
  readonly out: string
}

/** `agentbus backup`: the whole ledger as it is at this moment, in a folder of its own. The bus may run meanwhile. */
export async function backup(io: ServerIo, flags: BackupFlags): Promise<void> {
  const settings = loadSettings(io.env)
  await withLedgerServer(settings, createLogger({ level: 'error', pretty: settings.logPretty }), async ({ databaseUrl }) => {
    await requireMigrated(databaseUrl)
    const made = await writeBackup({
      url: databaseUrl,
      folder: flags.out,
      nowMs: systemClock.nowMs(),
      onTable: ({ name, rows }) => io.stdout.write(`${name.padEnd(32)} ${rows.toLocaleString('en')} rows\n`),
    })
    const [rows, bytes] = [made.tables.reduce((sum, table) => sum + table.rows, 0), made.tables.reduce((sum, table) => sum + table.bytes, 0)]
    io.stdout.write(
      `The ledger of ${made.made_at} is in ${flags.out}: ${rows.toLocaleString('en')} rows, ${bytes.toLocaleString('en')} bytes. It holds prompts and payloads: keep it as you keep the ledger.\n` +
        'AGENTBUS_SECRET, the signing key and the tokens of gateways are not in it: keep them elsewhere.\n',
    )
  })
}
