import { randomUUID } from 'node:crypto'
import { getTableColumns, sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ClaimJobsBody } from '../../contracts/attempts.js'
import { EmitEventBody } from '../../contracts/events.js'
import { DelegationRule } from '../../contracts/fleet.js'
import { uuidv7, type AttemptId, type JobId } from '../../contracts/ids.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { claimByHand } from '../../ledger/claim-by-hand.js'
import type { Creator } from '../../ledger/create-job.js'
import { createMany, createTogether, type Created, type Creation } from '../../ledger/create-many.js'
import { canBeNewborn, createNewborn } from '../../ledger/create-newborn.js'
import { reportEndedWithoutClose } from '../../ledger/deliver-attempt.js'
import type { LeaseDecision } from '../../ledger/lease-job.js'
import type { JobRow } from '../../ledger/rows.js'
import { job_attempts, jobs } from '../../ledger/schema/index.js'
import { aJob, freshLedger, leaseAs, leaseUnderLock, OPERATOR, renderForTests, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const BY_OPERATOR: Creator = { actor: { kind: 'operator', id: 'test-operator' }, nowMs: Date.now() }

const bodyOf = (more: Record<string, unknown>): CreateJobBody => CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', ...more })
const creation = (more: Record<string, unknown>, by: Creator = BY_OPERATOR): Creation => ({ body: bodyOf(more), by, claimSeconds: 0, traceparent: undefined })

const EVERYTHING = {
  namespace: 'team-a',
  job_type: 'security.look',
  subject: 'Ein Straßenschild "quoted" \\ 東京 🚀',
  lane: 'coding',
  priority: 1_000,
  dedupe_key: 'the same',
  payload: { level: 3 },
  state: { seen: ['a', 'b'] },
  max_attempts: 100,
  timeout_seconds: 1,
  lease_seconds: 86_400,
  on_lost: 'block',
  on_dependency_death: 'cancel',
  flow_key: 'flow-1',
  correlation_key: 'incident-1',
  source_agent: 'auditor',
}

const BODIES: readonly (readonly [string, Record<string, unknown>])[] = [
  ['with nothing but its agent and subject', {}],
  ['with everything that it may name', EVERYTHING],
  ['for a later time', { run_after: '2031-05-06T07:08:09.123456+02:00' }],
  ['with nested objects', { payload: { z: { y: [{ x: null }, [], {}, [[true, false]]] }, a: '', '': 'no name' }, state: { deep: { deeper: { deepest: [1] } } } }],
  ['with text in any script', { payload: { 'один ключ': 'значение', text: '東京 🚀 e\u0301 \u2028 "\\/" \t\n\u007f' }, state: { 'ein Schlüssel': 'ß' } }],
  ['with numbers of any size', { payload: { numbers: [0, -0, 0.1, 1e21, 1e300, 5e-324, 1.7976931348623157e308, 2 ** 53, 2 ** 53 + 2, -(2 ** 70), 1 / 3] }, state: { n: 1e-7 } }],
]

/** What was sent and is kept may hold a negative zero, of which JSON, on its way here and out again, keeps the zero. */
function inJson(row: object): Record<string, unknown> {
  const { payload, state, ...columns } = row as Record<string, unknown>
  return { ...columns, payload: throughJson(payload), state: throughJson(state) }
}

function throughJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown
}

/** The row as it lies in the ledger, each column as a statement of the ledger reads it. */
async function stored(table: 'jobs' | 'job_attempts', id: string): Promise<Record<string, unknown>> {
  const { rows } = await t.ledger.db.execute(sql`select * from ${sql.identifier(table)} where id = ${id}::uuid`)
  return { ...there(rows[0]) }
}

const storedJob = async (id: string): Promise<Record<string, unknown>> => inJson(await stored('jobs', id))

function there<T>(found: T | undefined): T {
  if (found === undefined) throw new Error('it is not there')
  return found
}

const WAYS: readonly (readonly [string, (one: Creation) => Promise<JobRow>])[] = [
  ['alone', async (one) => there((await createTogether(t.database.grouped, [one]))[0]).job],
  [
    'in a batch',
    async ({ body, by }) => {
      const others = ['before it', 'after it'].map((subject) => CreateJobBody.parse({ target_agent: 'devops', subject, source_agent: body.source_agent }))
      const [first, last] = [there(others[0]), there(others[1])]
      const made = await t.ledger.run((tx) => createMany(tx, [first, body, last], by))
      return there(made[1]).job
    },
  ],
]

describe.each(WAYS)('a job that is created %s is answered as its row is', (_how, create) => {
  test.each(BODIES)('%s', async (_what, more) => {
    const job = await create(creation(more))

    expect(inJson(job)).toStrictEqual(await storedJob(job.id))
  })

  test('by an agent', async () => {
    await t.addAgent('auditor')

    const job = await create(creation({ source_agent: 'auditor' }, { actor: { kind: 'agent', id: 'auditor' }, nowMs: Date.now() }))

    expect(job.created_by).toBe('agent:auditor')
    expect(inJson(job)).toStrictEqual(await storedJob(job.id))
  })

  test('as the child of a job from which it has its keys and its place in a chain', async () => {
    const chain = { hops: 3, lineage: [randomUUID(), randomUUID()] }
    const parent = await create(creation({ flow_key: 'flow-1', correlation_key: 'incident-1' }, { ...BY_OPERATOR, chain }))

    const child = await create(creation({ parent_job_id: parent.id, correlation_key: 'incident-2' }))

    expect(child).toMatchObject({ parent_job_id: parent.id, flow_key: 'flow-1', correlation_key: 'incident-2', ...chain })
    expect(inJson(child)).toStrictEqual(await storedJob(child.id))
  })

  test('as the child of a reaction to an event', async () => {
    const subscription = SubscriptionConfig.parse({ name: 'on-security', agent: 'devops', topic: 'security.*' })
    await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], subscriptions: [subscription] }, { dryRun: false, prune: false })
    await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'security.alert', correlation_key: 'incident-1' }))
    const { rows } = await t.database.pool.query<{ id: string; lineage: string[] }>('select id, lineage from jobs where source_event_id is not null')
    const reaction = there(rows[0])

    const child = await create(creation({ parent_job_id: reaction.id }))

    expect(child).toMatchObject({ correlation_key: 'incident-1', source_event_id: null, hops: 1, lineage: reaction.lineage })
    expect(reaction.lineage).toHaveLength(1)
    expect(inJson(child)).toStrictEqual(await storedJob(child.id))
  })

  test('as a reaction to an event itself, for whose end somebody waits', async () => {
    const { event } = await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'security.alert' }))
    const chain = { hops: 2, lineage: [randomUUID()], eventId: event.id }

    const job = await create(creation({}, { actor: { kind: 'system', id: 'subscription:on-security' }, nowMs: Date.now(), awaited: true, chain }))

    expect(job).toMatchObject({ source_event_id: event.id, hops: 2, lineage: chain.lineage, awaited: true })
    expect(inJson(job)).toStrictEqual(await storedJob(job.id))
  })
})

describe('a newborn', () => {
  const newborn = (one: Creation): Promise<Created | undefined> => createNewborn(t.database.inOrder(), { ...one, id: uuidv7(one.by.nowMs) })
  const together = async (one: Creation): Promise<Created | undefined> => (await createTogether(t.database.grouped, [one]))[0]

  test.each(BODIES.filter(([, more]) => canBeNewborn(bodyOf(more), BY_OPERATOR)))('%s is answered as its row is', async (_what, more) => {
    const { job } = there(await newborn(creation(more)))

    expect(inJson(job)).toStrictEqual(await storedJob(job.id))
  })

  /** All that a creation writes, without what no two have in common. */
  async function written(made: Created | undefined): Promise<unknown> {
    const { id } = there(made).job
    const { rows } = await t.database.pool.query<{ job: object; history: object; entry: object }>(
      `select to_jsonb(j) - '{id,run_after,created_at,updated_at}'::text[] as job, to_jsonb(h) - '{job_id,id,xact,at,prev_hash,hash}'::text[] as history,
        to_jsonb(o) - '{id,job_id,created_at,claimed_until,available_at}'::text[] || jsonb_build_object('claimed', claimed_until > clock_timestamp()) as entry
       from jobs j join job_transitions h on h.job_id = j.id join outbox o on o.job_id = j.id where j.id = $1`,
      [id],
    )
    expect(rows).toHaveLength(1)
    await t.ledger.jobs.cancel(OPERATOR, id as JobId, 'so that the other may have its dedupe key')
    return rows[0]
  }

  const BY_AGENT: Creator = { actor: { kind: 'agent', id: 'auditor' }, nowMs: Date.now(), awaited: true }

  test.each([
    ...BODIES.filter(([, more]) => canBeNewborn(bodyOf(more), BY_OPERATOR)).map(([what, more]) => [what, creation(more)] as const),
    [
      'by an agent, for whose end somebody waits, in a trace',
      { ...creation({ source_agent: 'auditor' }, BY_AGENT), traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
    ] as const,
    ['that its creator publishes', { ...creation({}), claimSeconds: 60 }] as const,
  ])('%s is written as one of many is', async (_what, one) => {
    await t.addAgent('auditor')

    expect(await written(await newborn(one))).toStrictEqual(await written(await together(one)))
  })

  test('is none where the rules do not let its sender send it: nothing is written', async () => {
    await t.addAgent('auditor', { delegation: [DelegationRule.parse({ to: ['nobody-else'] })] })
    const one = creation({ source_agent: 'auditor' }, BY_AGENT)

    expect([await newborn(one), await together(one)]).toEqual([undefined, undefined])
    expect((await t.database.pool.query('select from jobs')).rowCount).toBe(0)
  })
})

test.each(BODIES)('who creates a job %s is answered what they will read of it', async (_what, more) => {
  const alone = await t.ledger.jobs.create(OPERATOR, bodyOf(more))
  const batch = await t.ledger.jobs.createBatch(OPERATOR, { jobs: [bodyOf({ ...more, namespace: 'another' })] })

  for (const { job, created } of [alone, there(batch.items[0])]) {
    expect(created).toBe(true)
    expect(inJson(job)).toStrictEqual(inJson(await t.ledger.getJob(job.id)))
  }
})

const LEASES: readonly (readonly [string, (id: JobId, generation: number) => Promise<LeaseDecision>])[] = [
  ['as workers lease', (id, generation) => leaseAs(t.ledger, id, generation)],
  ['under the lock', (id, generation) => leaseUnderLock(t.ledger, id, generation)],
]

const JOBS_TO_LEASE: readonly (readonly [string, () => Promise<JobId>])[] = [
  ['a new one', async () => (await aJob(t.ledger, 'queued')).id],
  ['one that names everything', async () => (await aJob(t.ledger, 'queued', EVERYTHING)).id],
  [
    'one that a pause has held',
    async () => {
      const { id } = await aJob(t.ledger, 'queued', { lane: 'coding' })
      const pause = (paused: boolean) => t.ledger.setPaused(OPERATOR, { scope: 'lane', target: 'coding', reason: 'a test', paused })
      await pause(true)
      expect(await leaseUnderLock(t.ledger, id, 1)).toMatchObject({ kind: 'parked' })
      await pause(false)
      return id
    },
  ],
  [
    'one whose first attempt came to nothing',
    async () => {
      const { id, attemptId } = await aJob(t.ledger, 'running')
      const report = { jobId: id, attemptId: attemptId as AttemptId, actor: { kind: 'worker', id: 'w1' }, random: 0, retryBaseSeconds: 0 } as const
      await t.ledger.run((tx) => reportEndedWithoutClose(tx, report, { status: 'ok', response: {} }))
      return id
    },
  ],
  [
    'one whose gateway is known to have booted',
    async () => {
      await t.database.pool.query(`update gateways set booted_at = clock_timestamp() - interval '1 hour'`)
      return (await aJob(t.ledger, 'queued')).id
    },
  ],
]

describe.each(LEASES)('a job that is leased %s, and its attempt, are answered as their rows are', (_how, lease) => {
  test.each(JOBS_TO_LEASE)('%s', async (_what, before) => {
    const id = await before()
    const { generation } = await t.ledger.getJob(id)

    const leased = await lease(id, generation)

    if (leased.kind !== 'start') throw new Error(`not leased: ${leased.kind}`)
    expect(inJson(leased.job)).toStrictEqual(await storedJob(id))
    expect({ ...leased.attempt }).toStrictEqual(await stored('job_attempts', leased.attempt.id))
  })
})

test('jobs that are claimed by hand, and their attempts, are answered as their rows are', async () => {
  await aJob(t.ledger, 'queued')
  await aJob(t.ledger, 'queued', EVERYTHING)
  const claim = (namespace: string) => ({ body: ClaimJobsBody.parse({ namespace, lease_owner: 'a person' }), actor: BY_OPERATOR.actor, nowMs: Date.now(), render: renderForTests })

  const claimed = await t.ledger.run(async (tx) => [...(await claimByHand(tx, claim('default'))), ...(await claimByHand(tx, claim('team-a')))])

  expect(claimed).toHaveLength(2)
  for (const { job, attempt } of claimed) {
    expect(inJson(job)).toStrictEqual(await storedJob(job.id))
    expect({ ...attempt }).toStrictEqual(await stored('job_attempts', attempt.id))
  }
})

test('a row that is built here has each column of its table and no other, so that a new column is thought of', async () => {
  const born = there((await createTogether(t.database.grouped, [creation({})]))[0]).job
  const leased = await leaseAs(t.ledger, born.id as JobId, 1)

  if (leased.kind !== 'start') throw new Error(`not leased: ${leased.kind}`)
  expect(Object.keys(born).sort()).toEqual(Object.keys(getTableColumns(jobs)).sort())
  expect(Object.keys(leased.job).sort()).toEqual(Object.keys(getTableColumns(jobs)).sort())
  expect(Object.keys(leased.attempt).sort()).toEqual(Object.keys(getTableColumns(job_attempts)).sort())
})
