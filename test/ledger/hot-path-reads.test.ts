import pg from 'pg'
import { expect, test } from 'vitest'
import type { AttemptId } from '../../contracts/ids.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { lostEntries, republishBatch } from '../../ledger/queue-parity.js'
import type { Started } from '../../ledger/early-lease.js'
import { attemptCaller, freshLedger, leaseAs, ledgerAt, OPERATOR, renderForTests, type TestLedger } from '../support/ledger.js'

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

const WHO = { workerId: 'w-early', actor: { kind: 'worker', id: 'w-early' }, nowMs: Date.now(), deadlineMarginSeconds: 120, render: renderForTests } as const

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

test('nor does a job that is leased right behind its creation', async () => {
  const t = await freshLedger()
  for (const job of await created(t, 30)) await run(t, job)
  await t.database.pool.query('vacuum analyze')
  await created(t, 400)
  await t.database.close()
  const before = await entriesRead(t.url, GROWING)
  const again = { ...t, ...ledgerAt(t.url) }
  const leases: Promise<Started | undefined>[] = []
  again.ledger.publishBy({ claimSeconds: 60, isPublishing: () => true, publish: () => undefined })
  again.ledger.leaseEarlyFor({ offer: () => ({ request: WHO, takenSlots: [] }), expect: (_entry, lease) => void leases.push(lease) })
  await run(again, await again.ledger.getJob((await created(again, 1))[0]?.id as JobView['id']))

  for (let n = 0; n < 20; n += 1) {
    await again.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: `newborn ${n}` }))
    const started = await leases.at(-1)
    if (started !== undefined)
      await again.ledger.jobs.complete(
        { caller: attemptCaller(started.attempt.id as AttemptId, started.job.id as JobView['id'], 'devops') },
        started.job.id as JobView['id'],
        CompleteJobBody.parse({}),
      )
  }

  await again.database.close()
  expect((await Promise.all(leases)).filter((one) => one !== undefined)).toHaveLength(20)
  expect(await entriesRead(t.url, ['jobs_pkey'])).toBeGreaterThan(100)
  expect((await entriesRead(t.url, GROWING)) - before).toBeLessThan(20 * 5)
})

test('a rebuild goes by urgency and age, reads each job by its key, and leaves out what was moved since it was listed', async () => {
  const t = await freshLedger()
  for (const job of await created(t, 30)) await run(t, job)
  await t.database.pool.query('vacuum analyze')
  const queued = await created(t, 300)
  const urgent = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'urgent', priority: 900 }))
  const firstPage = await lostEntries(t.ledger.db, { after: undefined, limit: 200 })
  const secondPage = await lostEntries(t.ledger.db, { after: firstPage.at(-1), limit: 200 })
  await t.database.close()
  const before = await entriesRead(t.url, GROWING)
  const again = { ...t, ...ledgerAt(t.url) }
  await run(again, await again.ledger.getJob(queued[0]?.id as JobView['id']))

  const published = await republishBatch(again.ledger.db, { actor: { kind: 'reconciler', id: 'r' }, epoch: 'e', entries: [...firstPage, ...secondPage] })

  await again.database.close()
  expect([...firstPage, ...secondPage].map(({ jobId }) => jobId)).toEqual([urgent.job.id, ...queued.map(({ id }) => id).sort()])
  expect(published).toBe(300)
  expect((await entriesRead(t.url, GROWING)) - before).toBeLessThan(20)
})
