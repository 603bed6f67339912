import { sql } from 'drizzle-orm'
import pg from 'pg'
import { afterEach, expect, test } from 'vitest'
import { startTestBus, type TestBus } from '../support/bus.js'

let t: TestBus
afterEach(() => t.stop())

const outboxRows = async (): Promise<number> => (await t.ledger.outboxLag()).rows

/** Keeps every deletion of an outbox row waiting. @returns what ends that */
async function holdDeletions(): Promise<() => Promise<void>> {
  const holder = new pg.Client({ connectionString: t.stores.databaseUrl })
  await holder.connect()
  await holder.query('select pg_advisory_lock(4711)')
  await holder.query(`create function held() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(4711); return old; end $$`)
  await holder.query('create trigger held before delete on outbox for each row execute function held()')
  return () => holder.end()
}

test('what comes next is published while rows of what was published cannot be deleted; later they are, and nothing has run twice', async () => {
  t = await startTestBus()
  const letGo = await holdDeletions()

  for (let at = 0; at < 3; at += 1) {
    const job = await t.enqueue()
    await t.until(job.id, ({ status }) => status === 'succeeded', 10_000)
  }

  const held = await outboxRows()
  await letGo()
  expect(held).toBeGreaterThanOrEqual(3)
  await expect.poll(outboxRows, { timeout: 10_000 }).toBe(0)
  expect(t.gateway.runs()).toHaveLength(3)
})

test('a row that is there again after its entry was made, as when its deletion was lost, starts nothing twice', async () => {
  t = await startTestBus()
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => (finish = resolve))
  t.behave(async (hands) => {
    await finished
    await hands.complete()
  })
  const job = await t.enqueue()
  await t.until(job.id, ({ status }) => status === 'running')
  await expect.poll(outboxRows).toBe(0)

  await t.ledger.db.execute(sql`insert into outbox (kind, job_id, agent_id, generation) values ('publish', ${job.id}::uuid, 'devops', 1)`)
  t.ledger.hints.give({ outbox: true })
  await expect.poll(outboxRows).toBe(0)
  finish()

  await t.until(job.id, ({ status }) => status === 'succeeded')
  expect(t.gateway.runs()).toHaveLength(1)
  expect(await t.ledger.jobAttempts(job.id)).toHaveLength(1)
})

test('a process that stops leaves no rows of what it has published', async () => {
  t = await startTestBus()
  const job = await t.enqueue()
  await t.until(job.id, ({ status }) => status === 'succeeded')

  await t.bus.stop()

  const client = new pg.Client({ connectionString: t.stores.databaseUrl })
  await client.connect()
  const { rows } = await client.query('select id, job_id from outbox')
  await client.end()
  expect(rows).toEqual([])
})
