import { afterEach, beforeEach, expect, test } from 'vitest'
import { migrateQueueStore } from '../../queues/postgres-backend.js'
import { freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

async function withOptions(): Promise<string[]> {
  const { rows } = await t.database.pool.query<{ name: string }>(
    `select oid::regclass::text as name from pg_class where reloptions @> '{autovacuum_vacuum_threshold=20000,autovacuum_analyze_threshold=20000,autovacuum_vacuum_insert_threshold=20000}' order by 1`,
  )
  return rows.map(({ name }) => name)
}

test('tables that every job writes to are vacuumed when there is something to gain, those of queues as well', async () => {
  await migrateQueueStore(t.url)

  expect(await withOptions()).toEqual(['bullmq.event', 'bullmq.job', 'job_attempts', 'job_transitions', 'jobs', 'outbox', 'prompts'])
})

test('what somebody has set for a queue table stays', async () => {
  await migrateQueueStore(t.url)
  await t.database.pool.query('alter table bullmq.job set (autovacuum_vacuum_threshold = 77)')

  await migrateQueueStore(t.url)

  const { rows } = await t.database.pool.query<{ options: string[] }>(`select reloptions as options from pg_class where oid = 'bullmq.job'::regclass`)
  expect(rows[0]?.options).toContain('autovacuum_vacuum_threshold=77')
})
