import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { JobId } from '../../contracts/ids.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { inTransaction } from '../../ledger/database.js'
import { Grouped } from '../../ledger/grouped.js'
import { lockJob } from '../../ledger/transition.js'
import { aJob, freshLedger, OPERATOR, type TestJob, type TestLedger } from '../support/ledger.js'

let t: TestLedger

beforeAll(async () => {
  t = await freshLedger()
})

afterAll(() => t.close())

const body = (more: Record<string, unknown>): CreateJobBody => CreateJobBody.parse({ target_agent: 'devops', subject: 'grouped', ...more })

const closeOf = (job: TestJob) => t.ledger.jobs.complete(job.as, job.id, CompleteJobBody.parse({}))

/** Work that records its groups and ends when it is told to. */
function recorded() {
  const groups: number[][] = []
  const open: (() => void)[] = []
  const grouped = new Grouped<number, number>({
    most: 3,
    work: async (items) => {
      groups.push([...items])
      await new Promise<void>((resolve) => open.push(resolve))
      return items.map((item) => item * 10)
    },
  })
  return { groups, grouped, finish: () => open.shift()?.() }
}

test('an item alone goes at once; what comes meanwhile goes together, in order, at most so many at a time', async () => {
  const { groups, grouped, finish } = recorded()

  const first = grouped.do(1)
  await vi.waitUntil(() => groups.length === 1)
  const others = [2, 3, 4, 5].map((item) => grouped.do(item))
  finish()
  await vi.waitUntil(() => groups.length === 2)
  finish()
  await vi.waitUntil(() => groups.length === 3)
  finish()

  expect(await Promise.all([first, ...others])).toEqual([10, 20, 30, 40, 50])
  expect(groups).toEqual([[1], [2, 3, 4], [5]])
})

test('what PostgreSQL refuses for one item is tried one by one, and only that item fails', async () => {
  const groups: number[] = []
  const grouped = new Grouped<number, number>({
    most: 10,
    work: async (items) => {
      groups.push(items.length)
      const { rows } = await t.ledger.db.execute<{ n: number }>(sql`select 100 / n as n from unnest(${sql.param([...items])}::int[]) n`)
      return rows.map((row) => row.n)
    },
  })

  const results = await Promise.allSettled([5, 0, 20].map((item) => grouped.do(item)))

  expect(groups).toEqual([3, 1, 1, 1])
  expect(results.map((one) => (one.status === 'fulfilled' ? one.value : 'failed'))).toEqual([20, 'failed', 5])
})

test.each(['ECONNRESET', '57P01', '08006'])('when the connection breaks (%s) nobody knows what was written, so nothing is tried again', async (code) => {
  let calls = 0
  const grouped = new Grouped<number, number>({
    most: 10,
    work: () => {
      calls += 1
      return Promise.reject(Object.assign(new Error('the connection broke'), { code }))
    },
  })

  const results = await Promise.allSettled([1, 2, 3].map((item) => grouped.do(item)))

  expect(calls).toBe(1)
  expect(results.every((one) => one.status === 'rejected')).toBe(true)
})

test('jobs that are created at the same time share statements; one that may not be created fails alone', async () => {
  const unknown = '00000000-0000-7000-8000-00000000dead' as JobId

  const results = await Promise.allSettled(
    Array.from({ length: 40 }, (_none, at) => t.ledger.jobs.create(OPERATOR, body({ subject: `job ${at}`, ...(at === 17 ? { parent_job_id: unknown } : {}) }))),
  )

  expect(results.filter((one) => one.status === 'rejected').map((one) => (one.reason as { code: string }).code)).toEqual(['AGENTBUS_JOB_NOT_FOUND'])
  const { rows } = await t.ledger.db.execute<{ statements: number }>(sql`
    select count(distinct xact)::int as statements from job_transitions where reason = 'created' and job_id in (select id from jobs where subject like 'job %')`)
  expect(rows[0]?.statements).toBeLessThan(20)
})

test('two that share a dedupe key in one group become one job', async () => {
  const made = await Promise.all(Array.from({ length: 8 }, () => t.ledger.jobs.create(OPERATOR, body({ dedupe_key: 'in one group' }))))

  expect(new Set(made.map(({ job }) => job.id)).size).toBe(1)
  expect(made.filter(({ created }) => created)).toHaveLength(1)
})

test('an attempt that closes twice at once closes once; the other is told so', async () => {
  const job = await aJob(t.ledger, 'running')

  const results = await Promise.allSettled([closeOf(job), closeOf(job), closeOf(job)])

  expect(results.map((one) => (one.status === 'fulfilled' ? one.value.status : (one.reason as { code: string }).code)).sort()).toEqual([
    'AGENTBUS_ALREADY_CLOSED',
    'AGENTBUS_ALREADY_CLOSED',
    'succeeded',
  ])
})

test('a job that a transaction holds waits by itself; the others that were closed with it do not', async () => {
  const held = await aJob(t.ledger, 'running')
  const free = await aJob(t.ledger, 'running')
  let closing: Promise<unknown> = Promise.resolve()

  const order: string[] = []
  await inTransaction(t.ledger.db, async (tx) => {
    await lockJob(tx, held.id)
    closing = closeOf(held).then(() => order.push('held'))
    await closeOf(free)
    order.push('free')
  })
  await closing

  expect(order).toEqual(['free', 'held'])
})
