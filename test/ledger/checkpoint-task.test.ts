import { expect, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { HookClient } from '../../openclaw/hook-client.js'
import { Maintenance } from '../../processors/maintenance.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'

function maintenanceOf(t: TestLedger, workerId: string, checkpointSeconds: number): { maintenance: Maintenance; close: () => Promise<void> } {
  const hooks = new HookClient()
  const maintenance = new Maintenance({
    ledger: t.ledger,
    hooks,
    log: createLogger({ level: 'silent', pretty: false }),
    workerId,
    pid: process.pid,
    probeSeconds: 60,
    breakerFailures: 3,
    checkpointSeconds,
    signer: undefined,
    load: () => ({ leasesOwned: 0, agents: 0 }),
    handOffsSoon: () => undefined,
  })
  return {
    maintenance,
    close: async () => {
      await maintenance.stop()
      await hooks.close()
    },
  }
}

test('workers take checkpoints by themselves, one of them at a time', async () => {
  const t = await freshLedger()
  await aJob(t.ledger, 'cancelled')
  const workers = [maintenanceOf(t, 'w1', 1), maintenanceOf(t, 'w2', 1)]
  await Promise.all(workers.map(({ maintenance }) => maintenance.start()))

  const covered = async (): Promise<number> => Number((await t.database.pool.query<{ rows: string }>('select coalesce(sum(rows), 0) as rows from audit_checkpoints')).rows[0]?.rows)

  await expect.poll(covered, { timeout: 20_000 }).toBe(2)
  const { rows } = await t.database.pool.query(`select 1 from ledger_meta where key = 'turn:checkpoints' and value ~ ' w[12]$'`)
  expect(rows).toHaveLength(1)
  await Promise.all(workers.map(({ close }) => close()))
  await t.close()
})
