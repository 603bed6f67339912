import { sql, type SQL } from 'drizzle-orm'
import { PgDialect } from 'drizzle-orm/pg-core'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ControlScope } from '../../contracts/controls.js'
import { AgentbusError } from '../../contracts/errors.js'
import { DelegationRule } from '../../contracts/fleet.js'
import type { AgentId, AttemptId, JobId } from '../../contracts/ids.js'
import type { JobStatus } from '../../contracts/job-states.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import type { CommandContext } from '../../ledger/caller.js'
import { constraintOf, type Database, type Db } from '../../ledger/database.js'
import { giveBackLease, reportAdmitted, type Reported, type WorkerReport } from '../../ledger/deliver-attempt.js'
import type { EarlyLeaser, Offer, Started } from '../../ledger/early-lease.js'
import type { OutboxItem } from '../../ledger/outbox.js'
import { aJob, freshLedger, leaseAs, OPERATOR, renderForTests, type TestJob, type TestLedger } from '../support/ledger.js'
import { hasSettled } from '../support/has-settled.js'
import { kindsOf, tamper, verifyNow } from '../support/verify.js'

/** A part of each statement that a creation can ask in order, and what it does. */
const STATEMENTS: readonly (readonly [string, string])[] = [
  ['insert into jobs ', 'create'],
  ['insert into job_attempts ', 'lease'],
  ['pg_logical_emit_message', 'wait for the disk'],
]

/** What is asked on the connections that each keep an order. A statement that a test holds back is asked when the test lets it go. */
function watchStatements(database: Database) {
  const dialect = new PgDialect()
  const asked: string[] = []
  const held = new Map<string, Promise<void>>()
  const watched = new Set<Db>()
  const { inOrder } = database
  vi.spyOn(database, 'inOrder').mockImplementation(() => {
    const db = inOrder()
    if (watched.has(db)) return db
    watched.add(db)
    const execute = db.execute.bind(db)
    const ask = async (statement: SQL): Promise<unknown> => {
      const { sql: text } = dialect.sqlToQuery(statement)
      const what = STATEMENTS.find(([part]) => text.includes(part))?.[1] ?? text
      asked.push(what)
      await held.get(what)
      return execute(statement)
    }
    vi.spyOn(db, 'execute').mockImplementation(ask as never)
    return db
  })
  const hold = (what: string): (() => void) => {
    let letGo: () => void = () => undefined
    const until = new Promise<void>((resolve) => {
      letGo = resolve
    })
    held.set(what, until)
    return letGo
  }
  const reached = (what: string): Promise<unknown> => vi.waitUntil(() => asked.includes(what), { timeout: 10_000, interval: 5 })
  return { asked, hold, reached }
}

/** The workers of this process as a creation sees them: they offer what a test says, and write down what they are to expect. */
class Workers implements EarlyLeaser {
  offered: Offer | undefined
  readonly expected: { readonly entry: Parameters<EarlyLeaser['expect']>[0]; readonly lease: Promise<Started | undefined> }[] = []

  readonly offer: EarlyLeaser['offer'] = () => this.offered
  readonly expect: EarlyLeaser['expect'] = (entry, lease) => {
    this.expected.push({ entry, lease })
  }

  /** What came of each lease. */
  leases(): Promise<(Started | undefined)[]> {
    return Promise.all(this.expected.map(({ lease }) => lease))
  }
}

let t: TestLedger
let workers: Workers
let statements: ReturnType<typeof watchStatements>
let withdraw: { readonly relay: () => void; readonly workers: () => void }
const handed: OutboxItem[] = []
/** False while the queue store refuses what the relay tells it. */
let isPublishing: boolean
beforeEach(async () => {
  t = await freshLedger()
  workers = new Workers()
  statements = watchStatements(t.database)
  handed.length = 0
  isPublishing = true
  const publisher = { claimSeconds: 60, isPublishing: () => isPublishing, publish: (item: OutboxItem): void => void handed.push(item) }
  withdraw = { relay: t.ledger.publishBy(publisher), workers: t.ledger.leaseEarlyFor(workers) }
})
afterEach(async () => {
  vi.restoreAllMocks()
  await t.close()
})

const bodyOf = (more: Record<string, unknown> = {}): CreateJobBody => CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', lane: 'coding', ...more })
const create = (more: Record<string, unknown> = {}, context: CommandContext = OPERATOR) => t.ledger.jobs.create(context, bodyOf(more))

/** From now on the workers would take what is created. */
function offers(takenSlots: readonly number[] = [], render = renderForTests): void {
  const actor = { kind: 'worker', id: 'w-early' } as const
  workers.offered = { request: { workerId: 'w-early', actor, nowMs: Date.now(), deadlineMarginSeconds: 120, render }, takenSlots }
}

/** Something of the agent was leased and is over: how the agent stands is known, and its slots are free. */
async function leasedBefore(agent = 'devops'): Promise<void> {
  workers.offered = undefined
  await aJob(t.ledger, 'succeeded', { target_agent: agent })
}

async function onlyLease(): Promise<Started> {
  const leases = await workers.leases()
  const [started] = leases
  if (started === undefined || leases.length !== 1) throw new Error(`one lease was to be taken, of ${leases.length}`)
  return started
}

const historyOf = async (id: JobId) => (await t.ledger.jobHistory(id)).transitions.map(({ seq, reason }) => `${seq} ${reason}`)
const publications = (id: JobId): number => handed.filter(({ jobId }) => jobId === id).length
const jobCount = async (): Promise<number> => (await t.database.pool.query('select from jobs')).rows.length
const run = (statement: string) => () => t.database.pool.query(statement)

describe('a job that workers of this process alone can take', () => {
  test('is leased right behind its creation, and the store is told of it once', async () => {
    await leasedBefore()
    offers()

    const { job, created } = await create()

    const { attempt, target } = await onlyLease()
    expect([created, job.status, job.version, job.current_attempt_id]).toEqual([true, 'queued', 1, null])
    expect(workers.expected[0]?.entry).toEqual({ jobId: job.id, agentId: 'devops', generation: 1 })
    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'leased', version: 2, current_attempt_id: attempt.id })
    expect(await historyOf(job.id)).toEqual(['1 created', '2 leased'])
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ id: attempt.id, attempt_no: 1, status: 'leased', lease_owner: 'w-early' }])
    expect(target).toMatchObject({ agentId: 'devops', gatewayId: 'gw', baseUrl: 'http://127.0.0.1:9' })
    expect(publications(job.id)).toBe(1)
    const { rows } = await t.database.pool.query('select kind, generation from outbox where job_id = $1', [job.id])
    expect(rows).toEqual([{ kind: 'publish', generation: 1 }])
  })

  test('has the prompt of its attempt stored, and a history that verifies', async () => {
    await leasedBefore()
    offers()

    const { job } = await create({ payload: { level: 3 } })

    const { attempt } = await onlyLease()
    expect((await t.ledger.getPrompt(attempt.id as AttemptId)).body).toBe(`job ${job.id} attempt ${attempt.id}`)
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('is handed to the workers, with its attempt, as the rows are', async () => {
    await leasedBefore()
    offers()
    const named = { namespace: 'team-a', job_type: 'security.look', priority: 900, dedupe_key: 'k', payload: { a: [1] }, state: { b: 2 }, max_attempts: 7, timeout_seconds: 11 }

    const { job } = await create({ ...named, lease_seconds: 22, on_lost: 'block', on_dependency_death: 'cancel', flow_key: 'f', correlation_key: 'c', source_agent: 'auditor' })

    const started = await onlyLease()
    const jobs = await t.ledger.db.execute(sql`select * from jobs where id = ${job.id}::uuid`)
    const attempts = await t.ledger.db.execute(sql`select * from job_attempts where id = ${started.attempt.id}::uuid`)
    expect({ ...started.job }).toStrictEqual({ ...jobs.rows[0] })
    expect({ ...started.attempt }).toStrictEqual({ ...attempts.rows[0] })
  })

  test('can be closed by the token of its attempt at once: who that is need not be asked', async () => {
    await leasedBefore()
    offers()
    const { job } = await create()
    const { attempt } = await onlyLease()
    const token = t.ledger.tokens.attempts.issue(attempt.id as AttemptId)
    const asks = vi.spyOn(t.database.single, 'execute')

    const caller = await t.ledger.tokens.authenticate(token)

    expect(caller).toEqual({ role: 'attempt', attemptId: attempt.id, jobId: job.id, agentId: 'devops' })
    expect(asks).not.toHaveBeenCalled()
  })

  test('is told to the store as soon as it is committed, and to its creator after the lease, whose commit waits for the disk', async () => {
    await leasedBefore()
    offers()
    const before = handed.length
    const letGo = statements.hold('lease')

    const creating = create()
    await statements.reached('lease')
    await vi.waitUntil(() => handed.length > before, { timeout: 10_000, interval: 5 })
    const answered = await hasSettled(t, creating)
    letGo()
    const { job, created } = await creating

    expect([answered, created, publications(job.id)]).toEqual([false, true, 1])
    expect(statements.asked).toEqual(['create', 'lease'])
    expect((await onlyLease()).job.id).toBe(job.id)
  })

  test('is created without waiting for the disk; its lease waits, and so does whatever comes after that on the connection', async () => {
    // One connection that keeps an order, so that it is the same one that is asked.
    const one = await freshLedger({ poolSize: 3 })
    await aJob(one.ledger, 'succeeded')
    one.ledger.publishBy({ claimSeconds: 60, isPublishing: () => true, publish: () => undefined })
    one.ledger.leaseEarlyFor(workers)
    offers()
    const { pool } = one.database
    await pool.query('create table seen (what text, setting text)')
    await pool.query(`
      create function note() returns trigger language plpgsql as $$
      begin insert into seen values (tg_table_name, current_setting('synchronous_commit')); return new; end $$`)
    for (const table of ['jobs', 'job_attempts']) await pool.query(`create trigger note before insert on ${table} for each row execute function note()`)

    await one.ledger.jobs.create(OPERATOR, bodyOf())

    const [during, after] = [await pool.query('select what, setting from seen'), await one.database.inOrder().execute(sql.raw('show synchronous_commit'))]
    await one.close()
    expect(during.rows).toEqual([
      { what: 'jobs', setting: 'off' },
      { what: 'job_attempts', setting: 'on' },
    ])
    expect(after.rows).toEqual([{ synchronous_commit: 'on' }])
  })
})

describe('a job is created as ever, and only queued', () => {
  test('while nothing is known of how its agent stands', async () => {
    offers()

    const { job, created } = await create()

    expect([created, publications(job.id)]).toEqual([true, 1])
    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect([workers.expected, statements.asked]).toEqual([[], []])
  })

  test.each(['relay', 'workers'] as const)('in a process without %s', async (which) => {
    await leasedBefore()
    offers()
    withdraw[which]()

    const { job, created } = await create()

    expect(created).toBe(true)
    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect([workers.expected, statements.asked]).toEqual([[], []])
  })

  test('while the queue store refuses what it is told: its entry would not come in a moment', async () => {
    await leasedBefore()
    offers()
    isPublishing = false

    const { job, created } = await create()

    const asked = [...statements.asked]
    isPublishing = true
    const next = await create()
    expect([created, publications(job.id), asked]).toEqual([true, 1, []])
    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect(await historyOf(next.job.id)).toEqual(['1 created', '2 leased'])
    expect(workers.expected.map(({ entry }) => entry.jobId)).toEqual([next.job.id])
  })

  test.each<[string, () => Promise<Record<string, unknown>>, JobStatus]>([
    ['it has a parent', async () => ({ parent_job_id: (await create()).job.id }), 'queued'],
    ['it is for a later time', async () => ({ run_after: new Date(Date.now() + 90_000).toISOString() }), 'queued'],
    ['it depends on another', async () => ({ depends_on: [(await create()).job.id] }), 'waiting'],
    ['it names capabilities, not an agent', async () => ({ target_agent: undefined, capabilities: ['ops'] }), 'queued'],
  ])('when %s', async (_why, more, status) => {
    await t.addAgent('able', { capabilities: ['ops'] })
    await leasedBefore('able')
    await leasedBefore()
    const named = await more()
    offers()

    const { job, created } = await create(named)

    expect(created).toBe(true)
    expect(await t.ledger.getJob(job.id)).toMatchObject({ status, version: 1 })
    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect([workers.expected, statements.asked]).toEqual([[], []])
  })

  test('when its creation has to be remembered for a repeat of the request', async () => {
    await leasedBefore()
    offers()

    const { job } = await create({}, { ...OPERATOR, idempotency: { key: 'k', requestHash: 'h' } })

    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect([workers.expected, statements.asked]).toEqual([[], []])
  })
})

/** Who created it is told after a commit that waits for the disk, and after no more than one. */
async function expectQueuedAndDurable(): Promise<void> {
  const letGo = statements.hold('wait for the disk')
  const creating = create()
  await statements.reached('wait for the disk')
  const answered = await hasSettled(t, creating)
  letGo()
  const { job, created } = await creating

  expect([answered, created, publications(job.id)]).toEqual([false, true, 1])
  expect(await historyOf(job.id)).toEqual(['1 created'])
  expect(await t.ledger.jobAttempts(job.id)).toEqual([])
}

describe('when something has changed since the agent was leased for', () => {
  const pause = (scope: ControlScope, target: string, paused: boolean) => () => t.ledger.setPaused(OPERATOR, { scope, target, reason: 'a test', paused })
  const nothing = async (): Promise<void> => undefined
  /** What changes, and how it ends. */
  const CHANGES: readonly (readonly [string, () => Promise<unknown>, () => Promise<unknown>])[] = [
    ['everything is paused', pause('everything', '', true), pause('everything', '', false)],
    ['the lane is paused', pause('lane', 'coding', true), pause('lane', 'coding', false)],
    ['the agent is paused', pause('agent', 'devops', true), pause('agent', 'devops', false)],
    ['the gateway is paused', pause('gateway', 'gw', true), pause('gateway', 'gw', false)],
    [
      'the agent is disabled behind the back of the fleet file',
      run(`update agents set enabled = false where id = 'devops'`),
      run(`update agents set enabled = true where id = 'devops'`),
    ],
    ['the agent is disabled', () => t.addAgent('devops', { concurrency: 100, enabled: false }), () => t.addAgent('devops', { concurrency: 100 })],
    ['the breaker is open', run(`update gateways set breaker = 'open', breaker_reason = 'a test'`), run(`update gateways set breaker = 'closed', breaker_reason = null`)],
    ['the agent has fewer places', () => t.addAgent('devops', { concurrency: 5 }), nothing],
    ['the gateway is somewhere else', () => t.addAgent('devops', { concurrency: 100, baseUrl: 'http://127.0.0.1:10' }), nothing],
  ]

  test.each(CHANGES)('a job is queued, and answered after a commit that waits for the disk: %s', async (_what, change) => {
    await leasedBefore()
    await change()
    offers()

    await expectQueuedAndDurable()

    expect(statements.asked).toEqual(['create', 'lease', 'wait for the disk'])
    expect(await workers.leases()).toEqual([undefined])
  })

  test.each(CHANGES)('a job is leased early again only when something was leased anew: %s', async (_what, change, end) => {
    await leasedBefore()
    await change()
    offers()
    await create()
    await end()

    const between = await create()
    await leasedBefore()
    offers()
    const again = await create()

    const [refused, started, ...more] = await workers.leases()
    expect([refused, more]).toEqual([undefined, []])
    expect(await historyOf(between.job.id)).toEqual(['1 created'])
    expect(await historyOf(again.job.id)).toEqual(['1 created', '2 leased'])
    expect([started?.job.id, started?.target.baseUrl]).toEqual([again.job.id, (await t.ledger.listGateways())[0]?.base_url])
  })

  test('a job is queued as well when the offer has no slot left', async () => {
    await t.addAgent('single', { concurrency: 1 })
    await leasedBefore('single')
    offers([1])

    const { job } = await create({ target_agent: 'single' })

    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect([workers.expected, statements.asked]).toEqual([[], ['create', 'wait for the disk']])
  })

  test('a job is queued as well when somebody has taken the slot that the offer knew as free', async () => {
    await t.addAgent('single', { concurrency: 1 })
    await aJob(t.ledger, 'leased', { target_agent: 'single' })
    offers()

    const { job } = await create({ target_agent: 'single' })

    expect(await historyOf(job.id)).toEqual(['1 created'])
    expect(await workers.leases()).toEqual([undefined])
    expect(statements.asked).toEqual(['create', 'lease', 'wait for the disk'])
  })
})

describe('a job that the ledger has lost before its creation could be acknowledged, as a server does that crashes in between', () => {
  test.each<[string, () => Promise<unknown>, readonly string[]]>([
    ['whose lease was refused', run(`update agents set enabled = false where id = 'devops'`), ['create', 'lease', 'wait for the disk']],
    ['for which the offer had no slot', async () => offers(Array.from({ length: 100 }, (_none, at) => at + 1)), ['create', 'wait for the disk']],
  ])('and %s is not acknowledged, and can be created again', async (_why, happens, asked) => {
    await leasedBefore()
    offers()
    await happens()
    const letGo = statements.hold('wait for the disk')
    const refusal = create().then(
      () => undefined,
      (error: unknown) => error,
    )
    await statements.reached('wait for the disk')
    const lost = [handed.at(-1)?.jobId]

    await tamper(t.url, ['delete from outbox where job_id = $1', lost], ['delete from job_transitions where job_id = $1', lost], ['delete from jobs where id = $1', lost])
    const left = await jobCount()
    letGo()

    expect(await refusal).toMatchObject({ code: 'AGENTBUS_UNAVAILABLE' })
    // Whether it is known is asked by the statement whose commit waits for the disk, and by no other.
    expect([left, statements.asked]).toEqual([1, asked])
    expect([(await create()).created, await jobCount()]).toEqual([true, 2])
  })
})

test('a job whose message would be too large for a hook is created, queued and told to the store all the same: its lease says so', async () => {
  await leasedBefore()
  offers([], () => {
    throw new AgentbusError('AGENTBUS_TOO_LARGE', 'The hook would have too many bytes.')
  })

  const { job, created } = await create()

  expect([created, publications(job.id)]).toEqual([true, 1])
  expect(await historyOf(job.id)).toEqual(['1 created'])
  expect((await workers.leases()).filter((started) => started !== undefined)).toEqual([])
})

describe('what cannot be created so', () => {
  test('because an open job has its dedupe key is answered with that one: none is created, and none leased', async () => {
    await leasedBefore()
    const first = await create({ dedupe_key: 'same' })
    offers()

    const again = await create({ dedupe_key: 'same' })

    expect(again).toMatchObject({ created: false, job: { id: first.job.id } })
    expect(await workers.leases()).toEqual([undefined])
    expect([await jobCount(), await historyOf(first.job.id), publications(first.job.id)]).toEqual([2, ['1 created'], 1])
  })

  test('because its agent is unknown is refused, and nothing is written', async () => {
    await leasedBefore()
    offers()
    const before = handed.length

    const creating = create({ target_agent: 'nobody' })

    await expect(creating).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
    expect([await jobCount(), handed.length, workers.expected]).toEqual([1, before, []])
  })

  test('because its sender may not send it is refused, and nothing is written', async () => {
    await t.addAgent('auditor', { delegation: [DelegationRule.parse({ to: ['auditor'] })] })
    await leasedBefore()
    offers()
    const before = handed.length

    const creating = create({}, { caller: { role: 'agent', tokenId: 'a', name: 'a', agentId: 'auditor' as AgentId } })

    await expect(creating).rejects.toMatchObject({ code: 'AGENTBUS_DELEGATION_REFUSED' })
    expect(await workers.leases()).toEqual([undefined])
    expect([await jobCount(), handed.length]).toEqual([1, before])
  })

  test('because PostgreSQL refuses the row fails, and holds neither a job nor a slot for ever', async () => {
    await t.addAgent('single', { concurrency: 1 })
    await leasedBefore('single')
    offers()
    const body = { ...bodyOf({ target_agent: 'single' }), priority: 5_000 }

    const refused = await t.ledger.jobs.create(OPERATOR, body).then(() => undefined, constraintOf)

    expect(refused).toBe('jobs_priority_check')
    expect(await workers.leases()).toEqual([undefined])
    expect(await jobCount()).toBe(1)
    await leasedBefore('single')
    offers()
    const { job } = await create({ target_agent: 'single' })
    expect(await historyOf(job.id)).toEqual(['1 created', '2 leased'])
  })

  /** Creates a job while a transaction of somebody else holds its agent, until the creation has given up its own statement and waits in a transaction. */
  async function createWhileHeld(): ReturnType<typeof create> {
    const waits = async (): Promise<boolean> => {
      const { rows } = await t.database.pool.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into jobs%' and query not like '%unhurried%'`,
      )
      return rows.length === 1
    }
    const other = await t.database.pool.connect()
    try {
      await other.query('begin')
      await other.query(`select 1 from agents where id = 'devops' for update`)
      const creating = create()
      await vi.waitUntil(waits, { timeout: 10_000, interval: 20 })
      await other.query('commit')
      return await creating
    } finally {
      // With its connection, so that nothing is held any more whatever has happened.
      other.release(true)
    }
  }

  test('because somebody holds its agent for longer than a grouped statement waits is created in the end, once', async () => {
    await leasedBefore()
    offers()

    const { job, created } = await createWhileHeld()

    expect(created).toBe(true)
    expect([await jobCount(), await historyOf(job.id)]).toEqual([2, ['1 created']])
    expect(statements.asked).toEqual(['create', 'lease'])
    expect(await workers.leases()).toEqual([undefined])
  })
})

describe('at once', () => {
  const CREATORS = 8

  test('all jobs for an agent with one slot are created, and one is leased', async () => {
    await t.addAgent('single', { concurrency: 1 })
    await leasedBefore('single')
    offers()

    const made = await Promise.all(Array.from({ length: CREATORS }, () => create({ target_agent: 'single' })))

    const leased = (await workers.leases()).filter((started) => started !== undefined)
    const states = await Promise.all(made.map(async ({ job }) => (await t.ledger.getJob(job.id)).status))
    expect(made.map(({ created }) => created)).toEqual(Array(CREATORS).fill(true))
    expect(leased).toHaveLength(1)
    expect(states.sort()).toEqual(['leased', ...Array<JobStatus>(CREATORS - 1).fill('queued')])
  })

  test('of jobs with one dedupe key one is created and leased', async () => {
    await leasedBefore()
    offers()

    const made = await Promise.all(Array.from({ length: CREATORS }, () => create({ dedupe_key: 'same' })))

    const [first] = made
    const leased = (await workers.leases()).filter((started) => started !== undefined)
    expect(made.filter(({ created }) => created)).toHaveLength(1)
    expect(new Set(made.map(({ job }) => job.id)).size).toBe(1)
    expect(leased.map(({ job }) => job.id)).toEqual([first?.job.id])
  })
})

describe('a lease whose entry does not come is given back', () => {
  const reportOf = ({ id, attemptId }: TestJob): WorkerReport => ({
    jobId: id,
    attemptId: attemptId as AttemptId,
    actor: { kind: 'worker', id: 'w1' },
    random: 0,
    retryBaseSeconds: 0,
  })
  const giveBack = (job: TestJob): Promise<Reported> => t.ledger.run((tx) => giveBackLease(tx, reportOf(job), 'w1'))

  test('and burns no attempt: the job is queued under the same entry', async () => {
    const job = await aJob(t.ledger, 'leased')

    const { applied } = await giveBack(job)

    const { attempts, job: after } = await t.ledger.jobHistory(job.id)
    expect(applied).toBe(true)
    expect(after).toMatchObject({ status: 'queued', generation: 1, attempt_count: 0, current_attempt_id: null })
    expect(attempts).toMatchObject([{ id: job.attemptId, status: 'released', outcome_code: 'released', burned: false }])
    expect(await historyOf(job.id)).toEqual(['1 created', '2 leased', '3 released'])
    expect(await leaseAs(t.ledger, job.id, 1)).toMatchObject({ kind: 'start', attempt: { attempt_no: 2 } })
  })

  test.each<[string, (job: TestJob) => Promise<unknown>, JobStatus]>([
    ['another worker has taken it on', (job) => leaseAs(t.ledger, job.id, 1, 'w2'), 'leased'],
    ['it runs', (job) => t.ledger.run((tx) => reportAdmitted(tx, reportOf(job), { runId: 'run-1', httpStatus: 200, response: {} })), 'running'],
    ['its agent has closed it', (job) => t.ledger.jobs.complete(job.as, job.id, { result: {}, findings: [], events: [], follow_ups: [] }), 'succeeded'],
    ['it was cancelled', (job) => t.ledger.jobs.cancel(OPERATOR, job.id, 'a test'), 'cancelled'],
  ])('but not when %s', async (_why, happens, status) => {
    const job = await aJob(t.ledger, 'leased')
    await happens(job)
    const before = await t.ledger.jobHistory(job.id)

    const { applied } = await giveBack(job)

    expect([applied, before.job.status]).toEqual([false, status])
    expect(await t.ledger.jobHistory(job.id)).toEqual(before)
  })
})
