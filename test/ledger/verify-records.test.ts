import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EmitEventBody } from '../../contracts/events.js'
import { ReactionsConfig, SubscriptionConfig } from '../../contracts/subscriptions.js'
import { AccessLog } from '../../ledger/access-log.js'
import { aJob, freshLedger, OPERATOR, type TestJob, type TestLedger } from '../support/ledger.js'
import { found, kindsOf, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

async function subscribe(more: Record<string, unknown> = {}, reactions: Partial<ReactionsConfig> = {}): Promise<void> {
  const subscription = SubscriptionConfig.parse({ name: 'on-security', agent: 'devops', topic: 'security.*', ...more })
  await t.ledger.applyFleet(
    OPERATOR,
    { version: 1, gateways: [], agents: [], subscriptions: [subscription], reactions: ReactionsConfig.parse(reactions) },
    { dryRun: false, prune: false },
  )
}

const emit = (topic: string) => t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic }))

/** An event that made a job, one that joined it, and one that failed with an observation. */
async function reacted(): Promise<void> {
  await subscribe({ dedupe: 'same' })
  await emit('security.first')
  await emit('security.second')
  await subscribe({ name: 'broken', topic: 'odd.*', lane: 'reactive', subject: '{{payload.nothing}}', dedupe: '{{payload.nothing}}' })
  await emit('odd.one')
}

test('reactions, observations and reads hold', async () => {
  await reacted()
  await subscribe({ name: 'deep', topic: 'deep.*', agent: 'devops' })
  await emit('deep.one')

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

test('a filter by a job that is not there is no read of it, and a reaction that was put off is not stuck', async () => {
  const accesses = new AccessLog({ db: () => t.database.db, onError: () => undefined })
  accesses.note({ atMs: Date.now(), caller: OPERATOR.caller, route: '/v1/reactions', target: { job_id: 'x' }, jobId: '01a22390-81de-7781-8ead-f0b5dfaf0553', status: 200 })
  await accesses.stop()
  await reacted()
  await tamper(
    t.url,
    `update reactions set status = 'pending', done_at = null, job_id = null, created_at = now() - interval '2 hours', not_before = now() + interval '1 minute' where status = 'joined'`,
  )

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

describe('among reactions', () => {
  test.each([
    ['one that was deleted', `delete from reactions where status = 'made'`, ['reaction_deleted']],
    [
      'one that was bent to another event',
      `update reactions set event_id = (select max(event_id) from reactions) + 1 where status = 'made'`,
      ['reaction_contradicts_job', 'reaction_deleted'],
    ],
    ['one said to have joined what it made', `update reactions set status = 'joined' where status = 'made'`, ['reaction_deleted']],
    ['one said to have been cut, without a reason on record', `update reactions set status = 'cut', job_id = null, detail = 'x' where status = 'joined'`, ['reaction_unexplained']],
    ['a version of the subscription that never was', `update reactions set version = 99 where status = 'joined'`, ['subscription_version_unknown']],
    [
      'one that nobody makes',
      `update reactions set status = 'pending', done_at = null, job_id = null, created_at = now() - interval '2 hours' where status = 'joined'`,
      ['reaction_stuck'],
    ],
    ['the origin of a job', `update jobs set source_event_id = null, lineage = '{}' where source_event_id is not null`, ['job_origin_changed']],
  ])('%s is found and named', async (_what, change, kinds) => {
    await reacted()
    const { rows } = await t.database.pool.query<{ job_id: string }>(`select job_id from reactions where status = 'made' limit 1`)
    expect(rows).toHaveLength(1)

    await tamper(t.url, change)

    const results = await verifyNow(t.url)
    for (const kind of kinds) expect(found(results, kind).count).toBeGreaterThan(0)
  })
})

describe('among observations', () => {
  /** A chain that was cut: a reaction, and the observation that tells why. */
  async function cut(): Promise<void> {
    await subscribe({}, { max_hops: 1 })
    const { event } = await emit('security.first')
    await tamper(t.url, [`update events set hops = 5 where id = $1`, [event.id]])
    await t.database.pool.query(
      `insert into observations (kind, code, actor_kind, actor, detail, details) values ('drop', 'reaction_cut', 'system', 'subscription:on-security', 'x', jsonb_build_object('event_id', $1::text, 'subscription', 'on-security'))`,
      [String(event.id)],
    )
    await tamper(t.url, `update reactions set status = 'cut', detail = 'x', job_id = null`, `delete from outbox`)
    await tamper(t.url, `update jobs set source_event_id = null, lineage = '{}', hops = 0`)
  }

  test('one that was deleted, and one that tells of something that was not, are found', async () => {
    await cut()
    await tamper(t.url, `delete from observations where code = 'reaction_cut'`)
    const deleted = await verifyNow(t.url)
    await t.database.pool.query(
      `insert into observations (kind, code, actor_kind, actor, detail, details) values ('drop', 'reaction_failed', 'system', 'x', 'x', '{"event_id": "1", "subscription": "on-security"}')`,
    )

    expect(found(deleted, 'reaction_unexplained').row).toMatchObject({ status: 'cut', name: 'on-security' })
    expect(found(await verifyNow(t.url), 'observation_contradicts_reaction').row).toMatchObject({ code: 'reaction_failed' })
  })

  test('one that was bent to another attempt, or another job, is found', async () => {
    const [one, other] = [await aJob(t.ledger, 'succeeded'), await aJob(t.ledger, 'running')]
    await t.ledger.jobs.complete(one.as, one.id, { result: {}, findings: [], events: [], follow_ups: [] }).catch(() => undefined)
    const { rows } = await t.database.pool.query<{ id: number }>(`select id from observations where kind = 'late_answer'`)
    expect(kindsOf(await verifyNow(t.url))).toEqual([])

    await tamper(t.url, [`update observations set job_id = $1 where kind = 'late_answer'`, [other.id]])

    expect(rows).toHaveLength(1)
    expect(found(await verifyNow(t.url), 'observation_contradicts_attempt').row).toMatchObject({ observation_id: Number(rows[0]?.id), job_id: other.id })
  })
})

describe('among reads', () => {
  let job: TestJob
  beforeEach(async () => {
    await t.addAgent('auditor', {})
    job = await aJob(t.ledger, 'running')
    const log = new AccessLog({
      db: () => t.database.db,
      onError: (error) => {
        throw error
      },
    })
    const read = { atMs: Date.now(), route: '/v1/jobs/{id}', target: { id: job.id }, jobId: job.id, status: 200 }
    log.note({ ...read, caller: job.as.caller })
    log.note({ ...read, caller: { role: 'agent', tokenId: 'x', name: 'x', agentId: 'devops' as never } })
    log.note({ ...read, caller: OPERATOR.caller, jobId: '01920000-0000-7000-8000-000000000000', status: 404 })
    await log.stop()
  })

  test('all hold while nobody changed one', async () => {
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test.each([
    ['counted to another agent', `update accesses set agent_id = 'auditor' where actor_kind = 'attempt'`, 'read_of_another_agent'],
    ['by an agent, counted to another', `update accesses set agent_id = 'auditor' where actor_kind = 'agent'`, 'read_of_another_agent'],
    ['by an agent that nobody knows', `update accesses set agent_id = 'ghost', actor = 'ghost' where actor_kind = 'agent'`, 'read_of_unknown_agent'],
    ['moved out of its attempt', `update accesses set at = at - interval '1 day' where actor_kind = 'attempt'`, 'read_outside_attempt'],
    ['of an attempt that is not there', `update accesses set attempt_id = gen_random_uuid() where actor_kind = 'attempt'`, 'read_without_attempt'],
    ['taken off its attempt', `update accesses set attempt_id = null where actor_kind = 'attempt'`, 'read_without_attempt'],
    ['of a job that is not there', `update accesses set job_id = gen_random_uuid() where status = 200`, 'read_of_missing_job'],
  ])('one %s is found and named', async (_what, change, kind) => {
    await tamper(t.url, change)

    expect(found(await verifyNow(t.url), kind).row).toHaveProperty('access_id')
  })
})
