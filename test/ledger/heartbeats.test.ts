import { afterEach, beforeEach, expect, test } from 'vitest'
import { beat, forgetSilent, forgetStopped, stopBeating } from '../../ledger/heartbeats.js'
import { freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const ACTOR = { kind: 'system', id: 'w1' } as const
const heartbeat = (dispatcherId: string) => beat(t.ledger.db, { dispatcherId, host: 'h', pid: 7, leasesOwned: 0, busyAgents: 0, metrics: {} })
const forget = () => t.ledger.run((tx) => forgetSilent(tx, ACTOR))

test('a process that was killed counts as stale for an hour and then as gone, with a row that says when it was seen last', async () => {
  for (const id of ['alive', 'killed', 'killed-lately', 'stopped']) await heartbeat(id)
  await t.database.pool.query(`
    update dispatcher_heartbeats set last_seen = now() - case dispatcher_id when 'killed-lately' then interval '50 minutes' else interval '2 hours' end,
      stopped_at = case dispatcher_id when 'stopped' then now() end
    where dispatcher_id <> 'alive'`)

  const [first, second] = [await forget(), await forget()]

  expect([first, second]).toEqual([['killed'], []])
  const { rows } = await t.database.pool.query('select dispatcher_id from dispatcher_heartbeats order by 1')
  expect(rows.map(({ dispatcher_id: id }: { dispatcher_id: string }) => id)).toEqual(['alive', 'killed-lately', 'stopped'])
  const told = await t.database.pool.query('select code, actor, detail, details from observations')
  expect(told.rows).toMatchObject([{ code: 'worker_gone', actor: 'w1', detail: expect.stringContaining('killed'), details: { host: 'h', pid: 7 } }])
})

test('one that lives after all beats again', async () => {
  await heartbeat('paused')
  await t.database.pool.query(`update dispatcher_heartbeats set last_seen = now() - interval '2 hours'`)
  await forget()

  await heartbeat('paused')

  const { rows } = await t.database.pool.query("select dispatcher_id from dispatcher_heartbeats where last_seen > now() - interval '1 minute'")
  expect(rows).toEqual([{ dispatcher_id: 'paused' }])
})

test('a process that was stopped is named as stopped for a week, and then no more', async () => {
  for (const id of ['alive', 'stopped-long-ago', 'stopped-lately']) await heartbeat(id)
  for (const id of ['stopped-long-ago', 'stopped-lately']) await stopBeating(t.ledger.db, id)
  await t.database.pool.query(`
    update dispatcher_heartbeats set last_seen = stopped_at - d.ago, stopped_at = stopped_at - d.ago
    from (values ('stopped-long-ago', interval '8 days'), ('stopped-lately', interval '6 days')) d (id, ago) where dispatcher_id = d.id`)

  const forgotten = [await t.ledger.run(forgetStopped), await t.ledger.run(forgetStopped)]

  expect([forgotten, await forget()]).toEqual([[1, 0], []])
  const { rows } = await t.database.pool.query('select dispatcher_id, health from dispatcher_health_summary_v order by 1')
  expect(rows).toEqual([
    { dispatcher_id: 'alive', health: 'alive' },
    { dispatcher_id: 'stopped-lately', health: 'stopped' },
  ])
})
