import { afterEach, beforeEach, expect, test } from 'vitest'
import { aJob, aSlot, freshLedger, type TestLedger } from '../support/ledger.js'
import { aMemory, anIdea, anOpportunity } from '../support/thoughts.js'
import { tamper } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const rows = async (text: string): Promise<Record<string, unknown>[]> => (await t.database.pool.query<Record<string, unknown>>(text)).rows

/** The fields that the source thread names. */
const SNAPSHOT = [
  ...['namespace', 'queued_count', 'leased_count', 'running_count', 'blocked_count', 'failed_count', 'dead_count', 'expired_lease_count', 'retry_hotspot_count'],
  ...['oldest_queued_age_seconds', 'oldest_blocked_age_seconds', 'standing_runs_last_24h', 'standing_completed_last_24h', 'standing_no_work_last_24h', 'standing_blocked_last_24h'],
  ...['standing_failed_last_24h', 'standing_missed_last_24h', 'dispatcher_count', 'healthy_dispatcher_count', 'stale_dispatcher_count', 'last_dispatcher_seen_at'],
  ...['seconds_since_last_dispatcher_seen', 'leases_owned_total', 'busy_agents_total'],
  ...['opp_new_count', 'opp_triaged_count', 'opp_accepted_count', 'opp_parked_count', 'opp_converted_count', 'opp_oldest_new_age_seconds'],
  ...['idea_new_count', 'idea_reviewed_count', 'idea_promoted_count', 'idea_archived_count', 'idea_oldest_new_age_seconds'],
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
    ...{ opp_new_count: '0', opp_converted_count: '0', opp_oldest_new_age_seconds: null, idea_new_count: '0', idea_archived_count: '0', idea_oldest_new_age_seconds: null },
  })
  expect(await rows('select id, attempt_no from stuck_jobs_v')).toEqual([{ id: stuck.id, attempt_no: 1 }])
  expect(await rows('select count(*)::int as n from ready_jobs_v')).toEqual([{ n: 2 }])
  await t.ledger.jobs.bury({ caller: { role: 'operator', tokenId: 'x', name: 'x' } }, dead.id, 'seen')
  expect(await rows('select dead_count, failed_count from queue_health_summary_v')).toEqual([{ dead_count: '0', failed_count: '1' }])
})

/** As many of each state as stand here, in two namespaces, and when the oldest that is new was made. */
async function thoughts(): Promise<void> {
  const { ledger } = t
  for (const status of ['new', 'new', 'reviewed', 'promoted_to_opportunity', 'archived', 'archived', 'archived'] as const) await anIdea(ledger, status)
  for (const status of ['new', 'triaged', 'accepted', 'accepted', 'rejected', 'parked', 'converted_to_job', 'converted_to_job'] as const) await anOpportunity(ledger, status)
  await anIdea(ledger, 'archived', { namespace: 'other' })
  await anOpportunity(ledger, 'rejected', { namespace: 'other' })
  await tamper(
    t.url,
    `update ideas set created_at = now() - interval '2 hours' where id = (select min(id::text)::uuid from ideas where status = 'new')`,
    `update ideas set created_at = now() - interval '9 hours' where status <> 'new'`,
    `update opportunities set created_at = now() - interval '3 hours' where id = (select min(id::text)::uuid from opportunities where status = 'new')`,
    `update opportunities set created_at = now() - interval '9 hours' where status <> 'new'`,
  )
}

test('the summaries of ideas and opportunities count each state by namespace, and tell how long the oldest has waited for a look', async () => {
  await thoughts()

  const found = [
    await rows(`select namespace, new_count::int, reviewed_count::int, promoted_count::int, archived_count::int, round(oldest_new_age_seconds / 3600)::int as hours
      from idea_health_summary_v order by namespace`),
    // Of the idea that was promoted there is one more that is new.
    await rows(`select namespace, new_count::int, triaged_count::int, accepted_count::int, rejected_count::int, parked_count::int, converted_count::int,
      round(oldest_new_age_seconds / 3600)::int as hours from opportunity_health_summary_v order by namespace`),
  ]

  expect(found).toEqual([
    [
      { namespace: 'default', new_count: 2, reviewed_count: 1, promoted_count: 1, archived_count: 3, hours: 2 },
      { namespace: 'other', new_count: 0, reviewed_count: 0, promoted_count: 0, archived_count: 1, hours: null },
    ],
    [
      { namespace: 'default', new_count: 2, triaged_count: 1, accepted_count: 2, rejected_count: 1, parked_count: 1, converted_count: 2, hours: 3 },
      { namespace: 'other', new_count: 0, triaged_count: 0, accepted_count: 0, rejected_count: 1, parked_count: 0, converted_count: 0, hours: null },
    ],
  ])
})

test('the snapshot tells of thoughts beside the work, also of a namespace that has nothing else', async () => {
  await thoughts()

  const found = await rows(`
    select namespace, queued_count::int as queued, dispatcher_count::int as dispatchers, opp_new_count::int, opp_triaged_count::int, opp_accepted_count::int, opp_parked_count::int,
      opp_converted_count::int, round(opp_oldest_new_age_seconds / 3600)::int as opp_hours, idea_new_count::int, idea_reviewed_count::int, idea_promoted_count::int,
      idea_archived_count::int, round(idea_oldest_new_age_seconds / 3600)::int as idea_hours
    from system_health_snapshot_v order by namespace`)

  expect(found).toEqual([
    {
      ...{ namespace: 'default', queued: 2, dispatchers: 0, opp_new_count: 2, opp_triaged_count: 1, opp_accepted_count: 2, opp_parked_count: 1, opp_converted_count: 2 },
      ...{ opp_hours: 3, idea_new_count: 2, idea_reviewed_count: 1, idea_promoted_count: 1, idea_archived_count: 3, idea_hours: 2 },
    },
    {
      ...{ namespace: 'other', queued: 0, dispatchers: 0, opp_new_count: 0, opp_triaged_count: 0, opp_accepted_count: 0, opp_parked_count: 0, opp_converted_count: 0 },
      ...{ opp_hours: null, idea_new_count: 0, idea_reviewed_count: 0, idea_promoted_count: 0, idea_archived_count: 1, idea_hours: null },
    },
  ])
})

test('what is open among opportunities, and what is in force among memories, are views of their own', async () => {
  const open: string[] = []
  for (const status of ['new', 'triaged', 'accepted', 'parked'] as const) open.push((await anOpportunity(t.ledger, status)).id)
  for (const status of ['rejected', 'converted_to_job'] as const) await anOpportunity(t.ledger, status)
  const ends = { expires_at: '2099-01-01T00:00:00Z' }
  const inForce = [await aMemory(t.ledger), await aMemory(t.ledger, 'active', {}, ends)].map(({ id }) => String(id))
  const over = await aMemory(t.ledger, 'active', {}, ends)
  for (const status of ['expired', 'archived'] as const) await aMemory(t.ledger, status)
  await tamper(t.url, [`update memories set expires_at = now() - interval '1 second' where id = $1`, [over.id]])

  const found = [await rows('select id::text as id from open_opportunities_v'), await rows('select id::text as id from active_memories_v')]

  expect(found.map((list) => list.map(({ id }) => id).sort())).toEqual([open.sort(), inForce.sort()])
})

test('the views of the source thread are there, each with a comment', async () => {
  const names = [
    ...['queue_health_summary_v', 'standing_order_health_summary_v', 'dispatcher_health_summary_v', 'system_health_snapshot_v', 'ready_jobs_v', 'stuck_jobs_v'],
    ...['opportunity_health_summary_v', 'idea_health_summary_v', 'open_opportunities_v', 'active_memories_v'],
  ]

  const found = await rows(`select relname as name from pg_class where relkind = 'v' and obj_description(oid, 'pg_class') is not null`)

  expect(found.map(({ name }) => name)).toEqual(expect.arrayContaining(names))
})
