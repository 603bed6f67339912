import pg from 'pg'
import { expect, test } from 'vitest'
import type { AttemptId } from '../../contracts/ids.js'
import { CompleteJobBody, CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { attemptCaller, freshLedger, leaseAs, ledgerAt, OPERATOR, type TestLedger } from '../support/ledger.js'

/** They hold all that is queued or open, and what was until the last vacuum. */
const GROWING = ['jobs_queued_idx', 'jobs_status_created_idx', 'jobs_ready_idx', 'job_attempts_expiry_idx']

/** Entries that were read of indexes; told by a session when it ends. */
async function entriesRead(url: string, indexes: readonly string[]): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<{ entries: string }>('select sum(idx_tup_read) as entries from pg_stat_user_indexes where indexrelname = any($1)', [indexes])
    return Number(rows[0]?.entries)
  } finally {
    await client.end()
  }
}

async function created(t: TestLedger, count: number): Promise<JobView[]> {
  const { items } = await t.ledger.jobs.createBatch(OPERATOR, {
    jobs: Array.from({ length: count }, (_none, n) => CreateJobBody.parse({ target_agent: 'devops', subject: `job ${n}` })),
  })
  return items.map(({ job }) => job)
}

async function run(t: TestLedger, { id, generation }: JobView): Promise<void> {
  const leased = await leaseAs(t.ledger, id, generation)
  if (leased.kind !== 'start') throw new Error(`not leased: ${leased.kind}`)
  const attemptId = leased.attempt.id as AttemptId
  const report = { jobId: id, attemptId, actor: { kind: 'worker' as const, id: 'w1' }, random: 0, retryBaseSeconds: 0 }
  await t.ledger.reportAdmitted(leased.job, report, { runId: 'run', httpStatus: 200, response: {} })
  await t.ledger.jobs.complete({ caller: attemptCaller(attemptId, id, 'devops') }, id, CompleteJobBody.parse({ summary: 'done' }))
}

test('what a job costs does not depend on how many are queued beside it, on a ledger whose statistics know of none', async () => {
  const t = await freshLedger()
  // PostgreSQL plans by what it has counted last: here that nothing is queued, so that an index over all that is looks empty.
  for (const job of await created(t, 30)) await run(t, job)
  await t.database.pool.query('vacuum analyze')

  const queued = await created(t, 400)
  await t.database.close()
  const before = await entriesRead(t.url, GROWING)
  const again = { ...t, ...ledgerAt(t.url) }
  for (const job of queued.slice(0, 20)) await run(again, job)
  await again.database.close()

  expect(await entriesRead(t.url, ['jobs_pkey'])).toBeGreaterThan(100)
  expect((await entriesRead(t.url, GROWING)) - before).toBeLessThan(20 * 5)
})
