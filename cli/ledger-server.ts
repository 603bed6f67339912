import type { Settings } from '../config/settings.js'
import type { Logger } from '../config/logger.js'
import { openDataDir } from '../embedded/data-dir.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { lookAtStores, type LookedAt } from './stores.js'

/**
 * For commands that need PostgreSQL and no bus: the configured server, that of an `agentbus up` that runs on the same data
 * folder, or the embedded one, started for the time of the command.
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE when PostgreSQL does not answer
 */
export async function withLedgerServer<T>(settings: Settings, log: Logger, work: (stores: LookedAt) => Promise<T>): Promise<T> {
  const running = await lookAtStores(settings).catch((error: unknown) => {
    if (settings.databaseUrl !== undefined) throw error
    return undefined
  })
  if (running !== undefined) return work(running)
  const dataDir = await openDataDir(settings.dataDir)
  try {
    const postgres = await startEmbeddedPostgres({ dataDir: dataDir.path, log })
    try {
      return await work(await lookAtStores({ ...settings, databaseUrl: postgres.url }))
    } finally {
      await postgres.stop()
    }
  } finally {
    await dataDir.release()
  }
}
