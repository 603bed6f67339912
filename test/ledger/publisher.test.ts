import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { CreateJobBody } from '../../contracts/jobs.js'
import { claimOutbox, settleOutbox, type OutboxItem } from '../../ledger/outbox.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const create = (more: Record<string, unknown> = {}) => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', ...more }))
const claim = () => claimOutbox(t.ledger.db, { limit: 10, leaseSeconds: 10 })

test('a process with a relay hands it what it has created, as the outbox would, and no other relay takes it meanwhile', async () => {
  const handed: OutboxItem[] = []
  t.ledger.publishBy({ claimSeconds: 60, isPublishing: () => true, publish: (item) => handed.push(item) })
  const soon = await create({ priority: 700, max_attempts: 5 })
  const later = await create({ run_after: new Date(Date.now() + 90_000).toISOString() })

  const claimed = await claim()

  expect(claimed).toEqual([])
  expect(handed.map(({ jobId }) => jobId)).toEqual([soon.job.id, later.job.id])
  expect(handed[0]).toMatchObject({ kind: 'publish', agentId: 'devops', generation: 1, priority: 700, subject: 'a job', maxAttempts: 5, delayMs: 0, current: true })
  expect(handed[1]?.delayMs).toBeGreaterThan(80_000)
  await t.database.pool.query(`update outbox set claimed_until = clock_timestamp() - interval '1 second'`)
  // The process has died: what it held is anybody's, and the same.
  expect((await claim()).map(({ id, jobId, priority, maxAttempts }) => ({ id, jobId, priority, maxAttempts }))).toEqual(
    handed.map(({ id, jobId, priority, maxAttempts }) => ({ id, jobId, priority, maxAttempts })),
  )
})

test('rows are deleted by a commit that does not wait for the disk; the next one of that connection does', async () => {
  // One connection for transactions, so that it is the same one that is asked.
  const one = await freshLedger({ poolSize: 3 })
  const { pool, db } = one.database
  await one.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job' }))
  const claimed = await claimOutbox(db, { limit: 10, leaseSeconds: 10 })
  await pool.query('create table seen (setting text)')
  await pool.query(`create function note() returns trigger language plpgsql as $$ begin insert into seen values (current_setting('synchronous_commit')); return old; end $$`)
  await pool.query('create trigger note before delete on outbox for each row execute function note()')

  await settleOutbox(db, claimed)

  const [during, after, left] = [await pool.query('select setting from seen'), await pool.query('show synchronous_commit'), await pool.query('select id from outbox')]
  await one.close()
  expect([during.rows, after.rows, left.rows]).toEqual([[{ setting: 'off' }], [{ synchronous_commit: 'on' }], []])
})

test('a process without a relay, or whose relay has stopped, leaves what it creates to any other', async () => {
  const handed: OutboxItem[] = []
  t.ledger.publishBy({ claimSeconds: 60, isPublishing: () => true, publish: (item) => handed.push(item) })()

  const { job } = await create()

  expect(handed).toEqual([])
  expect((await claim()).map(({ jobId }) => jobId)).toEqual([job.id])
})

test('of a number that is given out again, as after a failover that lost the last commits, only the row that was published is deleted', async () => {
  await create()
  const [row] = await claim()
  if (row === undefined) throw new Error('there is no row')
  const left = async (): Promise<number> => (await t.database.pool.query('select from outbox')).rows.length

  await settleOutbox(t.ledger.db, [{ ...row, generation: row.generation + 1 }])
  await settleOutbox(t.ledger.db, [{ ...row, kind: 'remove' }])
  await settleOutbox(t.ledger.db, [{ ...row, jobId: randomUUID() }])
  const before = await left()
  await settleOutbox(t.ledger.db, [{ ...row, id: row.id + 1 }, row])

  expect([before, await left()]).toEqual([1, 0])
})
