import { afterEach, beforeEach, expect, test } from 'vitest'
import { HintRelay } from '../../ledger/hint-relay.js'
import { Ledger } from '../../ledger/ledger.js'
import { aJob, freshLedger, OPERATOR, renderForTests, TEST_SECRET, type TestJob, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const forever = new AbortController().signal
const complete = (ledger: Ledger, run: TestJob) => ledger.jobs.complete(run.as, run.id, { result: { n: 1 }, findings: [], events: [], follow_ups: [] })
/** Another process's view of the same ledger. */
const another = (): Ledger => new Ledger({ database: t.database, secret: TEST_SECRET, retryBaseSeconds: 0, nowMs: Date.now, random: () => 0.5, render: renderForTests })

async function took(work: Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await work
  return performance.now() - startedMs
}

test('a wait ends with the job, by whatever way it ends', async () => {
  const [run, closing, failing, cancelled] = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running'), await aJob(t.ledger, 'queued')]
  const waits = [run, closing, failing, cancelled].map(({ id }) => t.ledger.untilOver(id, 60_000, forever))

  await complete(t.ledger, run)
  await t.ledger.jobs.complete({ ...closing.as, idempotency: { key: 'k', requestHash: 'h' } }, closing.id, { result: {}, findings: [], events: [], follow_ups: [] })
  await t.ledger.jobs.fail(failing.as, failing.id, { last_error: 'no', result: {}, findings: [], events: [], follow_ups: [] })
  await t.ledger.jobs.cancel(OPERATOR, cancelled.id, 'not wanted')

  expect((await Promise.all(waits)).map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'failed', 'cancelled'])
  expect(t.ledger.waits.size).toBe(0)
})

test('a job that is over is answered at once; one that goes on when the time has passed, the client has gone, or the process stops', async () => {
  const [over, open] = [await aJob(t.ledger, 'succeeded'), await aJob(t.ledger, 'running')]
  const gone = new AbortController()

  expect((await t.ledger.untilOver(over.id, 60_000, forever)).status).toBe('succeeded')
  expect((await t.ledger.untilOver(open.id, 30, forever)).status).toBe('running')
  const left = t.ledger.untilOver(open.id, 60_000, gone.signal)
  gone.abort()
  expect((await left).status).toBe('running')
  const stopped = t.ledger.untilOver(open.id, 60_000, forever)
  t.ledger.waits.stop()
  expect((await stopped).status).toBe('running')
  expect(t.ledger.waits.size).toBe(0)
})

test('the end of a job in another process is heard at once, and found without its hint too', async () => {
  const other = another()
  const relays = [t.ledger, other].map((ledger) => new HintRelay({ bus: ledger.hints, url: t.url, windowMs: 1, onError: () => undefined }))
  await Promise.all(relays.map((relay) => relay.start()))
  const heard = await aJob(t.ledger, 'running')
  const hearing = t.ledger.untilOver(heard.id, 60_000, forever)
  await complete(other, heard)
  const afterHint = await took(hearing)
  await Promise.all(relays.map((relay) => relay.stop()))

  const unheard = await aJob(t.ledger, 'running')
  const waiting = t.ledger.untilOver(unheard.id, 60_000, forever)
  await complete(other, unheard)
  const afterLook = await took(waiting)

  expect((await waiting).status).toBe('succeeded')
  // The look for lost hints comes every five seconds: what is sooner was a hint.
  expect(afterHint).toBeLessThan(3_000)
  expect(afterLook).toBeLessThan(20_000)
})

test('a thousand that wait cost PostgreSQL one statement every five seconds', async () => {
  const jobs = await Promise.all(Array.from({ length: 100 }, () => aJob(t.ledger, 'queued')))
  const gone = new AbortController()
  const waits = Array.from({ length: 1_000 }, (_none, at) => t.ledger.untilOver(jobs[at % 100]?.id ?? ('' as never), 120_000, gone.signal))
  await expect.poll(() => t.ledger.waits.size).toBe(1_000)
  const statements: string[] = []
  // Every statement of the ledger that waits goes over its pool; the first looks have all been answered.
  await expect.poll(() => t.database.pool.idleCount === t.database.pool.totalCount).toBe(true)
  t.database.pool.on('acquire', () => statements.push('a statement'))

  await new Promise((resolve) => setTimeout(resolve, 11_000))

  expect(statements.length).toBeGreaterThanOrEqual(1)
  expect(statements.length).toBeLessThanOrEqual(3)
  gone.abort()
  expect(new Set((await Promise.all(waits)).map(({ status }) => status))).toEqual(new Set(['queued']))
})
