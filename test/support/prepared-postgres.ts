import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Keeps the cluster of a PostgreSQL that was stopped in order, for {@link copyCluster}: without what ALTER SYSTEM has set in it, and without the port that it had. */
export async function keepCluster(home: string, prepared: string): Promise<void> {
  await run('cp', ['-a', home, prepared])
  // Emptied and not removed, so that it stays the server's own.
  await writeFile(path.join(prepared, 'data', 'postgresql.auto.conf'), '')
  await rm(path.join(prepared, 'port'), { force: true })
}

/**
 * Lays a cluster into a data folder that has none yet: as a first start makes it, with the schemas of ledger and queue store in its database. Making and migrating
 * one takes seconds, a copy a fraction of one; a first start itself is shown in test/embedded and test/process.
 */
export async function copyCluster(prepared: string, dataDir: string): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  await run('cp', ['-a', prepared, path.join(dataDir, 'postgres')])
}
