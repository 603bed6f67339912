import { expect, vi } from 'vitest'
import type { TestLedger } from './ledger.js'

/** Counts until every row is counted: a transaction that runs anywhere on the shared server is waited for. */
export async function countAll(t: TestLedger): Promise<void> {
  await vi.waitFor(
    async () => {
      await t.ledger.upkeep.countMetrics()
      const { rows } = await t.database.pool.query(`
        select from job_transitions where xact >= (select xact from metric_marks where source = 'job_transitions')
        union all select from standing_order_run_transitions where xact >= (select xact from metric_marks where source = 'standing_order_run_transitions')`)
      expect(rows).toHaveLength(0)
    },
    { timeout: 25_000, interval: 50 },
  )
}
