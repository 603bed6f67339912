import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { Turns } from '../../ledger/turns.js'
import { CheckpointTaker } from '../../processors/checkpoint-taker.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

function takerOf(nowMs: () => number): CheckpointTaker {
  const turns = new Turns({ db: t.ledger.db, by: 'one' })
  return new CheckpointTaker({ ledger: t.ledger, log: createLogger({ level: 'silent' }), turns, signer: undefined, everyMs: 60_000, isStopped: () => false, nowMs })
}

/** Lets so many transactions go by in which nothing happens to a job. */
async function passTransactions(count: number): Promise<void> {
  await t.database.pool.query(`create table if not exists passing (n int);
    do $$ begin for n in 1..${count} loop begin insert into passing values (n); exception when others then raise; end; end loop; end $$`)
}

/** Waits until what was written last counts as ended: transactions of other tests on this server can hold it back. */
async function pastAll(): Promise<void> {
  await expect
    .poll(async () => (await t.database.pool.query('select 1 from job_transitions where xact >= pg_snapshot_xmin(pg_current_snapshot())')).rows.length, { timeout: 20_000 })
    .toBe(0)
}

/** The rows that each checkpoint covers. */
async function checkpoints(): Promise<number[]> {
  const { rows } = await t.database.pool.query<{ rows: number }>('select rows from audit_checkpoints order by seq')
  return rows.map((row) => row.rows)
}

test('a look that is not due takes small checkpoints when two thousand transactions wait, and none before', async () => {
  let nowMs = 0
  const taker = takerOf(() => nowMs)
  await aJob(t.ledger, 'cancelled')
  await pastAll()
  await taker.look()
  const early = await checkpoints()
  nowMs = 60_000
  await taker.look()
  const due = await checkpoints()

  await aJob(t.ledger, 'cancelled')
  await passTransactions(200)
  await pastAll()
  nowMs = 65_000
  await taker.look()
  const few = await checkpoints()
  await passTransactions(2_500)
  await aJob(t.ledger, 'cancelled')
  await pastAll()
  await taker.look()

  expect([early, due, few]).toEqual([[], [2], [2]])
  expect(await checkpoints()).toEqual([2, 2, 2])
})

test('who has not had the turn looks when it is due, and no sooner', async () => {
  let nowMs = 0
  const taker = takerOf(() => nowMs)
  await aJob(t.ledger, 'cancelled')
  await passTransactions(2_500)
  await pastAll()

  nowMs = 30_000
  await taker.look()

  expect(await checkpoints()).toEqual([])
})
