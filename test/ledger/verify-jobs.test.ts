import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import type { JobStatus } from '../../contracts/job-states.js'
import { ClaimJobsBody } from '../../contracts/attempts.js'
import { BlockJobBody, CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { CreateBatchBody, CreateGraphBody, CreateJobBody } from '../../contracts/jobs.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { StartWorkflowBody } from '../../contracts/workflows.js'
import type { Tx } from '../../ledger/database.js'
import { reportDeadline, reportEndedWithoutClose, reportLost, reportRefused, reportReleased, reportUndelivered, type WorkerReport } from '../../ledger/deliver-attempt.js'
import { parseState, type VerifyState } from '../../ledger/verify/verify-state.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { coverAll, found, kindsOf, REHASH, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('ana', { capabilities: ['review'] })
})
afterEach(() => t.close())

/** Values that writers of JSON put into words in different ways. */
const ODD = { z: 1, a: { 10: 'ten', 9: 'nine', b: [1e21, 1e-7, 0.1, -0, 1e300, 2 ** 53, { y: null, x: 'Grüße \u2028 "😀" \\ \t' }] }, B: [], C: {} }

test('jobs hold however they came to be: alone, in a batch or a graph, by a follow-up, an event, a workflow, a standing order, by capability', async () => {
  const subscription = SubscriptionConfig.parse({ name: 'on-security', agent: 'ana', topic: 'security.*', payload: { level: '{{payload.z}}', n: 7 } })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], subscriptions: [subscription] }, { dryRun: false, prune: false })
  const one = (subject: string, more: Record<string, unknown> = {}) => ({ target_agent: 'devops', subject, payload: ODD, ...more })
  await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse(one('alone', { priority: 900, job_type: 'odd.one' })))
  await t.ledger.jobs.createBatch(OPERATOR, CreateBatchBody.parse({ jobs: [one('in a batch'), { capabilities: ['review'], subject: 'for whoever can', payload: ODD }] }))
  await t.ledger.upkeep.assign(10)
  await t.ledger.jobs.createGraph(OPERATOR, CreateGraphBody.parse({ jobs: [one('first', { key: 'a' }), one('second', { key: 'b', needs: ['a'] })] }))
  const running = await aJob(t.ledger, 'running', { payload: ODD })
  await t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({ follow_ups: [one('next')], events: [{ topic: 'security.found', payload: ODD }] }))
  const parsed = parseWorkflow('name: flow\nsteps:\n  - { id: build, agent: devops }\n')
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  await t.ledger.workflows.define(OPERATOR, parsed.workflow)
  await t.ledger.workflows.start(OPERATOR, { namespace: 'default', name: 'flow' }, StartWorkflowBody.parse({}))
  await aSlot(t.ledger)

  const results = await verifyNow(t.url)

  expect(kindsOf(results)).toEqual([])
  expect(results.find(({ check }) => check === 'payloads')).toMatchObject({ verdict: 'ok', examined: 10 })
  expect(results.find(({ check }) => check === 'definitions')).toMatchObject({ verdict: 'ok', examined: 1 })
})

/** A running job, and the report of its worker. */
async function running(overrides: Record<string, unknown> = {}): Promise<{ job: Awaited<ReturnType<typeof aJob>>; report: WorkerReport }> {
  const job = await aJob(t.ledger, 'running', overrides)
  if (job.attemptId === undefined) throw new Error('a running job has an attempt')
  return { job, report: { jobId: job.id, attemptId: job.attemptId, actor: { kind: 'worker', id: 'w1' }, random: 0, retryBaseSeconds: 0 } }
}

test('attempts hold however they ended', async () => {
  for (const status of ['succeeded', 'failed', 'blocked'] as const) await aJob(t.ledger, status)
  await aJob(t.ledger, 'dead', { max_attempts: 1 })
  const again = await running()
  await t.ledger.jobs.fail(again.job.as, again.job.id, FailJobBody.parse({ last_error: 'not now', retry_seconds: 60 }))
  const reports: ((tx: Tx, report: WorkerReport) => Promise<unknown>)[] = [
    (tx, report) => reportEndedWithoutClose(tx, report, { status: 'ok', response: {} }),
    (tx, report) => reportUndelivered(tx, report, { reason: 'refused', failures: 1 }),
    (tx, report) => reportRefused(tx, report, { reason: 'no such agent', httpStatus: 404 }),
    (tx, report) => reportLost(tx, report, 'the gateway restarted'),
    (tx, report) => reportReleased(tx, report, 'no token'),
  ]
  for (const tell of reports) {
    const { report } = await running()
    await t.ledger.run((tx) => tell(tx, report))
  }
  const kept = await running({ on_lost: 'block' })
  await t.ledger.run((tx) => reportLost(tx, kept.report, 'the gateway restarted'))
  const late = await running()
  await t.database.pool.query(`update job_attempts set leased_until = now() - interval '1 hour', deadline_at = now() - interval '1 hour' where id = $1`, [late.report.attemptId])
  await t.ledger.run((tx) => reportDeadline(tx, late.report))
  const expired = await running({ max_attempts: 1 })
  await t.database.pool.query(`update job_attempts set leased_until = now() - interval '1 hour' where id = $1`, [expired.report.attemptId])
  await t.ledger.upkeep.reap({ actor: { kind: 'system', id: 'reaper' }, limit: 10 })
  await t.ledger.jobs.cancel(OPERATOR, (await running()).job.id, 'no longer wanted')
  await t.ledger.jobs.forceDead(OPERATOR, (await running()).job.id, 'hopeless')
  await t.ledger.jobs.retry(OPERATOR, (await running()).job.id, { reason: 'anew', extra_attempts: 1, force: true })
  await t.ledger.claimJobs(OPERATOR, ClaimJobsBody.parse({ lease_owner: 'a person' }))

  const results = await verifyNow(t.url)

  const { rows } = await t.database.pool.query<{ outcome: string }>('select distinct outcome_code as outcome from job_attempts where finished_at is not null order by 1')
  expect(rows.map(({ outcome }) => outcome)).toEqual([
    'blocked_by_agent',
    'cancelled',
    'completed_by_agent',
    'deadline_exceeded',
    'ended_without_terminal_write',
    'failed_by_agent',
    'lease_expired',
    'operator_dead',
    'operator_retry',
    'refused_by_gateway',
    'released',
    'retry_asked_by_agent',
    'run_lost',
    'undelivered',
  ])
  expect(kindsOf(results)).toEqual([])
})

describe('a row that breaks a rule of jobs, as it could have been loaded past the triggers', () => {
  test.each([
    ['jobs_priority_check', 'priority = 0'],
    ['jobs_blocked_waits', 'look_again_at = now()'],
    ['jobs_hops_check', 'lineage = array[gen_random_uuid()]'],
    ['jobs_terminal_iff_finished', 'finished_at = now()'],
  ])('is found: %s', async (rule, change) => {
    const { id } = await aJob(t.ledger, 'queued')
    await tamper(t.url, [`update jobs set ${change} where id = $1`, [id]])

    expect(found(await verifyNow(t.url), 'job_inconsistent')).toMatchObject({ row: { job_id: id, status: 'queued', rule } })
  })

  test('is found by the part of it that a later check looks at', async () => {
    const { id } = await aJob(t.ledger, 'queued')
    const since = new Date(Date.now() + 3_600_000).toISOString()
    await tamper(t.url, [`update jobs set status = 'succeeded' where id = $1`, [id]])

    expect(found(await verifyNow(t.url, { since }), 'job_inconsistent')).toMatchObject({ row: { job_id: id, rule: 'jobs_terminal_iff_finished' } })
  })
})

test('a history that begins with anything but a creation is no legal one', async () => {
  const { id } = await aJob(t.ledger, 'queued')
  await tamper(t.url, [`update job_transitions set reason = 'admitted' where job_id = $1`, [id]], REHASH)

  expect(found(await verifyNow(t.url), 'illegal_move')).toMatchObject({ row: { job_id: id, seq: 1 } })
})

describe('what a job was given', () => {
  test.each([
    ['a changed payload', `payload = '{"pay": 1000}'`, ['payload_changed']],
    ['a payload that was taken out', `payload = '{}'`, ['payload_changed']],
    ['a changed hash', `payload_hash = repeat('0', 64)`, ['payload_hash_changed']],
    ['a changed payload with the hash made to fit', `payload = '{}', payload_hash = encode(sha256('{}'), 'hex')`, ['payload_changed', 'payload_hash_changed']],
    ['another type', `job_type = 'harmless'`, ['job_not_as_created']],
    ['another priority', `priority = 1`, ['job_not_as_created']],
    ['another agent', `target_agent = 'ana'`, ['job_not_as_created']],
    ['capabilities that it did not name', `capabilities = '{review}'`, ['job_not_as_created']],
  ])('%s is found and named', async (_what, change, kinds) => {
    const { id } = await aJob(t.ledger, 'queued', { payload: { pay: 1, to: 'them' }, job_type: 'payment', priority: 500 })
    await aJob(t.ledger, 'queued', { payload: { pay: 1, to: 'them' } })
    await tamper(t.url, [`update jobs set ${change} where id = $1`, [id]])

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(kinds.map((kind) => `payloads/${kind}`))
    for (const kind of kinds) expect(found(results, kind)).toMatchObject({ row: { job_id: id }, count: 1 })
  })

  test.each([
    ['a changed result', 'succeeded', `result = '{"found": 0}'`],
    ['a result that was taken out', 'succeeded', `result = null`],
    ['a changed result of a job that asked to be retried', 'queued', `result = '{"found": 0}'`],
    ['a result that nobody gave', 'cancelled', `result = '{"found": 0}'`],
  ] as const)('%s is found and named', async (_what, status, change) => {
    const { id, as } = await aJob(t.ledger, status === 'cancelled' ? 'cancelled' : 'running')
    if (status === 'succeeded') await t.ledger.jobs.complete(as, id, CompleteJobBody.parse({ result: { ...ODD, found: 3 } }))
    if (status === 'queued') await t.ledger.jobs.fail(as, id, FailJobBody.parse({ last_error: 'not now', retry_seconds: 60, result: { found: 3 } }))
    const { id: other, as: itself } = await aJob(t.ledger, 'running')
    await t.ledger.jobs.complete(itself, other, CompleteJobBody.parse({ result: ODD, follow_ups: [{ target_agent: 'ana', subject: 'next' }] }))
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
    await tamper(t.url, [`update jobs set ${change} where id = $1`, [id]])

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['payloads/result_changed'])
    expect(found(results, 'result_changed')).toMatchObject({ row: { job_id: id }, count: 1 })
  })

  test.each([
    ['payload', `payload = '{"level": 9}'`],
    ['topic', `topic = 'security.other'`],
  ])('a changed %s of the event that a job came of is found and named', async (_what, change) => {
    const subscription = SubscriptionConfig.parse({ name: 'on-security', agent: 'ana', topic: 'security.*' })
    await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], subscriptions: [subscription] }, { dryRun: false, prune: false })
    const { id, as } = await aJob(t.ledger, 'running')
    await t.ledger.jobs.complete(as, id, CompleteJobBody.parse({ events: [{ topic: 'security.found', payload: ODD }] }))
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
    const { rows } = await t.database.pool.query<{ id: string }>('select id from events where source_job_id = $1', [id])
    await tamper(t.url, [`update events set ${change} where id = $1`, [rows[0]?.id]])

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['reactions/event_changed'])
    expect(found(results, 'event_changed')).toMatchObject({ row: { event_id: Number(rows[0]?.id) }, count: 1 })
  })

  test('is found with --since when the job changed since, and when the check was stopped in the middle', async () => {
    const { id } = await aJob(t.ledger, 'cancelled', { payload: { n: 1 } })
    await tamper(t.url, [`update jobs set payload = '{}' where id = $1`, [id]])
    const states: VerifyState[] = []

    await verifyNow(t.url, { save: async (state) => void states.push(JSON.parse(JSON.stringify(state)) as VerifyState) })

    const stops = states.filter(({ open }) => open?.check === 'payloads')
    expect(stops).toHaveLength(1)
    for (const resume of stops) expect(found(await verifyNow(t.url, { resume }), 'payload_changed')).toMatchObject({ row: { job_id: id }, count: 1 })
    expect(kindsOf(await verifyNow(t.url, { since: new Date(Date.now() - 3_600_000).toISOString() }))).toEqual(['payloads/payload_changed'])
    expect(kindsOf(await verifyNow(t.url, { since: new Date(Date.now() + 3_600_000).toISOString() }))).toEqual([])
  })
})

test('with --since the state of an open job is looked at in any case', async () => {
  const { id } = await aJob(t.ledger, 'queued')
  await tamper(t.url, [`update jobs set status = 'waiting' where id = $1`, [id]])

  expect(found(await verifyNow(t.url, { since: new Date(Date.now() + 3_600_000).toISOString() }), 'state_differs')).toMatchObject({ row: { job_id: id } })
})

describe('what became of an attempt', () => {
  const CASES: readonly (readonly [what: string, status: JobStatus, change: string, kinds: readonly string[]])[] = [
    ['a failed one that is said to have succeeded', 'failed', `status = 'succeeded', outcome_code = 'completed_by_agent'`, ['attempt_contradicts_end']],
    ['another status alone', 'failed', `status = 'succeeded'`, ['attempt_contradicts_end']],
    ['another outcome alone', 'failed', `outcome_code = 'refused_by_gateway'`, ['attempt_contradicts_end']],
    ['the last one of a dead job', 'dead', `status = 'lost', outcome_code = 'run_lost'`, ['attempt_contradicts_end']],
    ['one that is over and should not be', 'running', `status = 'failed', finished_at = now(), outcome_code = 'failed_by_agent'`, ['attempt_disagrees', 'attempt_without_end']],
    [
      'one that is open again',
      'failed',
      `status = 'running', finished_at = null, outcome_code = null, leased_until = now() + interval '1 hour', deadline_at = now() + interval '1 hour'`,
      ['attempt_contradicts_end', 'attempt_disagrees'],
    ],
    ['another number', 'failed', 'attempt_no = 7', ['attempt_contradicts_lease']],
    ['another payload', 'failed', `payload_hash = repeat('0', 64)`, ['attempt_payload_differs']],
    ['another prompt', 'failed', 'prompt_hash = (select o.prompt_hash from job_attempts o where o.id <> a.id limit 1)', ['attempt_contradicts_lease']],
  ]
  test.each(CASES)('%s is found and named', async (_what, status, change, kinds) => {
    await aJob(t.ledger, 'succeeded')
    const { id, attemptId } = await aJob(t.ledger, status, { max_attempts: 1 })
    await tamper(t.url, [`update job_attempts a set ${change} where a.id = $1`, [attemptId]])

    const results = await verifyNow(t.url)

    expect(kindsOf(results).toSorted()).toEqual(kinds.map((kind) => `attempts/${kind}`))
    for (const kind of kinds) expect(found(results, kind)).toMatchObject({ row: { job_id: id, ...(kind === 'attempt_disagrees' ? {} : { attempt_id: attemptId }) }, count: 1 })
  })

  test('one that was put in is found and named', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [
      `insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, status, slot, lease_owner, leased_until, deadline_at, finished_at, outcome_code, prompt_hash, contract_version, payload_hash)
       select gen_random_uuid(), job_id, 2, agent_id, gateway_id, status, slot, 'w2', leased_until, deadline_at, finished_at, outcome_code, prompt_hash, contract_version, payload_hash
       from job_attempts where job_id = $1`,
      [id],
    ])

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['attempts/attempt_without_lease'])
    expect(found(results, 'attempt_without_lease')).toMatchObject({ row: { job_id: id, attempt_no: 2 }, count: 1 })
  })
})

test('every state that a run writes down is one that a run can go on from', async () => {
  await aSlot(t.ledger)
  const { id } = await aJob(t.ledger, 'blocked')
  await t.ledger.jobs.retry(OPERATOR, id, { reason: 'go on', extra_attempts: 1 })
  const asked = await aJob(t.ledger, 'running')
  await t.ledger.jobs.block(asked.as, asked.id, BlockJobBody.parse({ blocked_reason: 'needs a yes', waits_for: { kind: 'approval', subject: 'Deploy?' } }))
  await coverAll(t)
  // The link of the very last row is broken, so that the page ends with a row of which nothing is known yet.
  await tamper(t.url, `update job_transitions set prev_hash = sha256('x') where id = (select id from job_transitions order by job_id desc, seq desc limit 1)`)
  const states: unknown[] = []

  await verifyNow(t.url, { anchors: [{ seq: 1, hash: '0'.repeat(64) }], save: async (state) => void states.push(JSON.parse(JSON.stringify(state))) })

  expect(JSON.stringify(states)).toContain('"suspect"')
  for (const check of ['chains', 'checkpoints', 'payloads', 'slots', 'prompts']) expect(JSON.stringify(states)).toContain(`"open":{"check":"${check}"`)
  for (const state of states) expect(parseState(state)).toEqual({ state })
})
