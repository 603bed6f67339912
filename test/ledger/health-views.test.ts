import { afterEach, beforeEach, expect, test } from 'vitest'
import { aJob, aSlot, freshLedger, type TestLedger } from '../support/ledger.js'
import { tamper } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const rows = async (text: string): Promise<Record<string, unknown>[]> => (await t.database.pool.query<Record<string, unknown>>(text)).rows

/** The fields that the source thread names, without those of opportunities and ideas. */
const SNAPSHOT = [
  ...['namespace', 'queued_count', 'leased_count', 'running_count', 'blocked_count', 'failed_count', 'dead_count', 'expired_lease_count', 'retry_hotspot_count'],
  ...['oldest_queued_age_seconds', 'oldest_blocked_age_seconds', 'standing_runs_last_24h', 'standing_completed_last_24h', 'standing_no_work_last_24h', 'standing_blocked_last_24h'],
  ...['standing_failed_last_24h', 'standing_missed_last_24h', 'dispatcher_count', 'healthy_dispatcher_count', 'stale_dispatcher_count', 'last_dispatcher_seen_at'],
  ...['seconds_since_last_dispatcher_seen', 'leases_owned_total', 'busy_agents_total'],
]

test('the snapshot of an empty ledger is empty', async () => {
  expect(await rows('select * from system_health_snapshot_v')).toEqual([])
})

test('the snapshot counts queues, standing orders and processes of a namespace in one row', async () => {
  for (const status of ['queued', 'queued', 'running', 'blocked', 'failed', 'succeeded'] as const) await aJob(t.ledger, status)
  const dead = await aJob(t.ledger, 'dead', { max_attempts: 1 })
  const stuck = await aJob(t.ledger, 'leased')
  const { slotId } = await aSlot(t.ledger)
  await t.database.pool.query(`update standing_order_runs set slot_at = now() - interval '1 hour', grace_until = now() where id = $1`, [slotId])
  await t.database.pool.query(`insert into dispatcher_heartbeats (dispatcher_id, host, pid, last_seen, stopped_at, leases_owned, busy_agents)
    values ('alive', 'h', 1, now(), null, 3, 2), ('stale', 'h', 2, now() - interval '1 hour', null, 9, 9), ('stopped', 'h', 3, now(), now(), 9, 9)`)
  await tamper(t.url, [`update job_attempts set leased_until = now() - interval '1 minute' where id = $1`, [stuck.attemptId]])

  const [found, ...more] = await rows('select * from system_health_snapshot_v')

  expect(more).toEqual([])
  expect(Object.keys(found ?? {})).toEqual(expect.arrayContaining(SNAPSHOT))
  // Two jobs are leased: the stuck one, and the run of the slot.
  expect(found).toMatchObject({
    namespace: 'default',
    ...{ queued_count: '2', running_count: '1', blocked_count: '1', leased_count: '2', failed_count: '1', dead_count: '1', expired_lease_count: '1' },
    ...{ standing_runs_last_24h: '1', standing_missed_last_24h: '0' },
    ...{ dispatcher_count: '2', healthy_dispatcher_count: '1', stale_dispatcher_count: '1', leases_owned_total: '3', busy_agents_total: '2' },
  })
  expect(await rows('select id, attempt_no from stuck_jobs_v')).toEqual([{ id: stuck.id, attempt_no: 1 }])
  expect(await rows('select count(*)::int as n from ready_jobs_v')).toEqual([{ n: 2 }])
  await t.ledger.jobs.bury({ caller: { role: 'operator', tokenId: 'x', name: 'x' } }, dead.id, 'seen')
  expect(await rows('select dead_count, failed_count from queue_health_summary_v')).toEqual([{ dead_count: '0', failed_count: '1' }])
})

test('the views of the source thread are there, each with a comment', async () => {
  const names = ['queue_health_summary_v', 'standing_order_health_summary_v', 'dispatcher_health_summary_v', 'system_health_snapshot_v', 'ready_jobs_v', 'stuck_jobs_v']

  const found = await rows(`select relname as name from pg_class where relkind = 'v' and obj_description(oid, 'pg_class') is not null`)

  expect(found.map(({ name }) => name)).toEqual(expect.arrayContaining(names))
})
