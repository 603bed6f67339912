import { sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AgentId } from '../../contracts/ids.js'
import { FileFindingBody } from '../../contracts/findings.js'
import { ProgressBody } from '../../contracts/attempts.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import type { IdeaId } from '../../contracts/ideas.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody, type GraphJob } from '../../contracts/jobs.js'
import { LimitsConfig } from '../../contracts/limits.js'
import type { MemoryCandidateId, MemoryId } from '../../contracts/memories.js'
import type { OpportunityId } from '../../contracts/opportunities.js'
import { AppendProjectLogBody, ProjectName } from '../../contracts/projects.js'
import { StandingOrderConfig } from '../../contracts/standing-orders.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { StartWorkflowBody, WorkflowDefinition } from '../../contracts/workflows.js'
import { Limits } from '../../ledger/limits.js'
import { aJob, aSlot, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'
import { conversion, decision, keeping, note, promotion, propose, retirement, suggest, verdict } from '../support/thoughts.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('security', { concurrency: 10 })
})
afterEach(() => t.close())

const limits = (config: Record<string, unknown>) =>
  t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: [], limits: LimitsConfig.parse(config) }, { dryRun: false, prune: false })
const aBody = (overrides: Record<string, unknown> = {}) => CreateJobBody.parse({ target_agent: 'devops', subject: 'x', ...overrides })
const create = (overrides: Record<string, unknown> = {}, context = OPERATOR) => t.ledger.jobs.create(context, aBody(overrides))
/** What it was refused with; undefined when it was not. */
const refusal = (work: Promise<unknown>): Promise<Record<string, unknown> | undefined> =>
  work.then(
    () => undefined,
    (error: unknown) => ({ code: (error as { code?: string }).code, ...(error as { fields?: object }).fields }),
  )
const countJobs = async () => Number((await t.ledger.db.execute<{ n: number }>(sql`select count(*)::int as n from jobs`)).rows[0]?.n)
const as = (agentId: string) => ({ caller: { role: 'agent' as const, tokenId: 't', name: 'n', agentId: agentId as AgentId } })

describe('each limit', () => {
  test('of an agent counts what waits to begin, and a place is free again when one has begun', async () => {
    await limits({ queue_depth_per_agent: 2, retry_after_seconds: 7 })
    const first = await create()
    await create({ depends_on: [first.job.id] })

    expect(await refusal(create())).toEqual({ code: 'AGENTBUS_LIMIT_REACHED', limit: 'queue_depth_per_agent', of: 'devops', max: 2, retry_after: 7 })
    expect(await refusal(create({ target_agent: 'security' }))).toBeUndefined()
    await leaseAs(t.ledger, first.job.id, 1)
    expect(await refusal(create())).toBeUndefined()
  })

  test('of a lane counts all agents, and one that names a lane goes before the general one', async () => {
    await limits({ queue_depth_per_lane: 5, lanes: { idle: 1 } })
    await create({ lane: 'idle' })

    expect(await refusal(create({ lane: 'idle', target_agent: 'security' }))).toMatchObject({ limit: 'queue_depth_per_lane', of: 'idle', max: 1 })
    expect(await refusal(create({ lane: 'coding' }))).toBeUndefined()
  })

  test('of a source counts what it has sent until that is over', async () => {
    await limits({ open_jobs_per_source: 100, agents: { security: { open_jobs: 1 } } })
    const { job } = await create({}, as('security'))

    expect(await refusal(create({}, as('security')))).toMatchObject({ limit: 'open_jobs_per_source', of: 'security', max: 1 })
    expect(await refusal(create())).toBeUndefined()
    await t.ledger.jobs.cancel(OPERATOR, job.id, 'x')
    expect(await refusal(create({}, as('security')))).toBeUndefined()
  })

  test('of work that waits for any able agent is one of its own', async () => {
    await t.addAgent('builder', { capabilities: ['build'] })
    await limits({ queue_depth_per_agent: 1 })
    await create({ target_agent: undefined, capabilities: ['build'] })

    expect(await refusal(create({ target_agent: undefined, capabilities: ['build'] }))).toMatchObject({ limit: 'queue_depth_per_agent', of: null })
    expect(await refusal(create())).toBeUndefined()
  })

  test('of 0 refuses everything, of null nothing, for one agent too', async () => {
    await limits({ queue_depth_per_agent: 0, agents: { security: { queue_depth: null } } })

    expect(await refusal(create())).toMatchObject({ max: 0 })
    expect(await refusal(create({ target_agent: 'security' }))).toBeUndefined()
  })

  test('of jobs a second lets ten seconds worth through at once, then says how long to wait; each caller has its own', async () => {
    await limits({ jobs_per_second_per_caller: 0.5 })
    const made = []
    for (let n = 0; n < 8; n += 1) made.push(await refusal(create({}, as('security'))))

    const refused = made.filter((one) => one !== undefined)
    expect(made.slice(0, 5)).toEqual(Array(5).fill(undefined))
    expect(refused[0]).toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', limit: 'jobs_per_second_per_caller', of: 'agent security', max: 0.5 })
    expect(refused[0]?.['retry_after']).toSatisfy((seconds: number) => seconds >= 1 && seconds <= 2)
    expect(await refusal(create())).toBeUndefined()
    await t.ledger.db.execute(sql`update rate_buckets set filled_at = filled_at - interval '4 seconds'`)
    expect(await refusal(create({}, as('security')))).toBeUndefined()
  })

  test('of bytes a second counts the payload; what is larger than a whole bucket passes once', async () => {
    await limits({ bytes_per_second_per_caller: 100 })
    const large = { payload: { text: 'x'.repeat(2_000) } }

    expect([await refusal(create(large)), (await refusal(create()))?.['limit']]).toEqual([undefined, 'bytes_per_second_per_caller'])
  })

  test('of jobs a second counts the jobs that the start of a workflow makes, and no later ones', async () => {
    const workflow = WorkflowDefinition.parse({
      name: 'w',
      steps: [
        { id: 'a', agent: 'devops' },
        { id: 'b', agent: 'devops' },
        { id: 'c', needs: ['a', 'b'], agent: 'devops' },
      ],
    })
    await t.ledger.workflows.define(OPERATOR, workflow)
    await limits({ jobs_per_second_per_caller: 0.1 })
    const start = () => t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({}))

    const [first, second] = [await refusal(start()), await refusal(start())]

    expect(first).toBeUndefined()
    expect(second).toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', limit: 'jobs_per_second_per_caller', max: 0.1 })
    // The bucket holds one: after two jobs it owes one, and is full again after twenty seconds. After one job that would be ten, after three thirty.
    expect(second?.['retry_after']).toSatisfy((seconds: number) => seconds > 10 && seconds <= 20)
    expect((await t.ledger.listWorkflowRuns({ limit: 5 })).items).toHaveLength(1)
  })

  test('of bytes a second counts what a workflow is started with', async () => {
    const workflow = WorkflowDefinition.parse({ name: 'w', inputs: { text: {} }, steps: [{ id: 'a', agent: 'devops' }] })
    await t.ledger.workflows.define(OPERATOR, workflow)
    await limits({ bytes_per_second_per_caller: 100 })
    const start = () => t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({ inputs: { text: 'x'.repeat(2_000) } }))

    expect([await refusal(start()), (await refusal(start()))?.['limit']]).toEqual([undefined, 'bytes_per_second_per_caller'])
  })

  test('of bytes a second counts whatever else is kept for good: events, findings, notes, entries of logs; each refusal is a row', async () => {
    await t.ledger.applyFleet(
      OPERATOR,
      { version: 1, gateways: [], agents: [], standing_orders: [], limits: LimitsConfig.parse({ bytes_per_second_per_caller: 100 }) },
      { dryRun: false, prune: false },
    )
    const { id, as: itself } = await aJob(t.ledger, 'running')
    const large = { text: 'x'.repeat(2_000) }
    const ways: Record<string, () => Promise<unknown>> = {
      event: () => t.ledger.jobs.emit(as('security'), EmitEventBody.parse({ topic: 'a.b', payload: large })),
      finding: () => t.ledger.inbox.file(as('security'), FileFindingBody.parse({ topic: 'a.b', subject_key: 's', body: 'b', to: 'devops', data: large })),
      entry: () => t.ledger.projects.append(as('security'), ProjectName.parse('p'), AppendProjectLogBody.parse({ entry: large.text })),
      note: () => t.ledger.jobs.progress(itself, id, ProgressBody.parse({ note: large.text })),
    }
    for (const [name, write] of Object.entries(ways)) {
      await t.ledger.db.execute(sql`delete from rate_buckets`)
      expect(await refusal(write()), name).toBeUndefined()
      expect(await refusal(write()), name).toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', limit: 'bytes_per_second_per_caller' })
    }
    const { rows } = await t.ledger.db.execute(sql`select actor from observations where kind = 'refusal' and code = 'AGENTBUS_LIMIT_REACHED'`)
    expect(rows).toHaveLength(4)
  })
})

describe('a rate of bytes', () => {
  const idea = '0192f0c4-1111-7000-8000-00000000000a' as IdeaId
  const opportunity = '0192f0c4-1111-7000-8000-00000000000b' as OpportunityId
  const candidate = '0192f0c4-1111-7000-8000-00000000000c' as MemoryCandidateId
  const memory = '0192f0c4-1111-7000-8000-00000000000d' as MemoryId
  const notes = 'x'
  const COMMANDS: Readonly<Record<string, () => Promise<unknown>>> = {
    'note an idea': () => note(t.ledger, OPERATOR),
    'review an idea': () => t.ledger.ideas.review(OPERATOR, idea, { notes }),
    'archive an idea': () => t.ledger.ideas.archive(OPERATOR, idea, { notes }),
    'promote an idea': () => t.ledger.ideas.promote(OPERATOR, idea, promotion()),
    'propose an opportunity': () => propose(t.ledger, OPERATOR),
    'triage an opportunity': () => t.ledger.opportunities.triage(OPERATOR, opportunity, decision('parked')),
    'propose a memory': () => suggest(t.ledger, OPERATOR),
    'review a candidate': () => t.ledger.memories.review(OPERATOR, candidate, verdict('reviewed')),
    'promote a candidate': () => t.ledger.memories.promote(OPERATOR, candidate, keeping({ body: 'better' })),
    'refresh a memory': () => t.ledger.memories.refresh(OPERATOR, memory, { notes }),
    'mark a memory as stale': () => t.ledger.memories.markStale(OPERATOR, memory, { notes }),
    'retire a memory': () => t.ledger.memories.retire(OPERATOR, memory, retirement()),
  }

  test.each(Object.keys(COMMANDS))('counts before anything is looked at: %s', async (name) => {
    await limits({ bytes_per_second_per_caller: 1 })
    await note(t.ledger, OPERATOR)

    expect(await refusal(COMMANDS[name]?.() ?? Promise.resolve())).toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', limit: 'bytes_per_second_per_caller' })
  })

  test('counts what an opportunity is converted with together with its job, and not when that is refused', async () => {
    const [first, second] = [await propose(t.ledger), await propose(t.ledger)]
    await limits({ bytes_per_second_per_caller: 1 })

    await expect(t.ledger.opportunities.convert(OPERATOR, first.opportunity.id, conversion({ target_agent: 'nobody' }))).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
    await t.ledger.opportunities.convert(OPERATOR, first.opportunity.id, conversion())

    expect(await refusal(t.ledger.opportunities.convert(OPERATOR, second.opportunity.id, conversion()))).toMatchObject({ limit: 'bytes_per_second_per_caller' })
  })
})

describe('a limit holds', () => {
  test('for 40 callers at once: never one more, in single statements and in transactions', async () => {
    await limits({ queue_depth_per_agent: 10 })
    const keyed = (n: number) => ({ ...OPERATOR, idempotency: { key: `k${n}`, requestHash: 'h' } })

    const settled = await Promise.all(Array.from({ length: 40 }, (_none, n) => refusal(create({}, n % 2 === 0 ? OPERATOR : keyed(n)))))

    expect(settled.filter((one) => one === undefined).length).toBe(10)
    expect(await countJobs()).toBe(10)
  })

  test('for batches that come at the same moment: each is counted with those before it', { repeats: 5, timeout: 60_000 }, async () => {
    await limits({ queue_depth_per_agent: 10 })
    const three = { jobs: Array.from({ length: 3 }, () => aBody()) }

    const settled = await Promise.all(Array.from({ length: 16 }, () => refusal(t.ledger.jobs.createBatch(OPERATOR, three))))

    expect(settled.filter((one) => one === undefined).length).toBe(3)
    expect(await countJobs()).toBe(9)
  })

  test('for batches that no count can see yet: room that was given out is not given out again, one after the other or at once', async () => {
    await limits({ queue_depth_per_agent: 600 })
    const fifty = Array.from({ length: 50 }, () => aBody())
    const given = (answers: readonly boolean[]) => answers.filter((isGiven) => isGiven).length * fifty.length

    // Nothing is ever written here, as if none of these transactions had committed.
    const one = new Limits({ nowMs: () => 0 })
    const inTurn = []
    for (let n = 0; n < 40; n += 1) inTurn.push(await one.hasRoom(t.ledger.db, fifty))
    const other = new Limits({ nowMs: () => 0 })
    const atOnce = await Promise.all(Array.from({ length: 40 }, () => other.hasRoom(t.ledger.db, fifty)))

    for (const jobs of [given(inTurn), given(atOnce)]) {
      expect(jobs).toBeGreaterThan(0)
      expect(jobs).toBeLessThanOrEqual(600)
    }
  })

  test('from ample room to the end, without passing it', async () => {
    await limits({ queue_depth_per_agent: 300 })

    const settled = []
    for (let n = 0; n < 310; n += 1) settled.push(await refusal(create()))

    expect(settled.map((one) => one === undefined)).toEqual([...Array<boolean>(300).fill(true), ...Array<boolean>(10).fill(false)])
  })

  test('for batches and graphs as a whole: all or nothing', async () => {
    await limits({ queue_depth_per_agent: 3 })
    const four = Array.from({ length: 4 }, () => aBody())
    const graph = four.map((body, n): GraphJob => ({ ...body, key: `k${n}`, needs: n === 0 ? [] : [`k${n - 1}`] }))

    expect((await refusal(t.ledger.jobs.createBatch(OPERATOR, { jobs: four })))?.['limit']).toBe('queue_depth_per_agent')
    expect((await refusal(t.ledger.jobs.createGraph(OPERATOR, { jobs: graph })))?.['limit']).toBe('queue_depth_per_agent')
    expect(await countJobs()).toBe(0)
    expect(await refusal(t.ledger.jobs.createGraph(OPERATOR, { jobs: graph.slice(0, 3) }))).toBeUndefined()
  })

  test('but answers the open job of a dedupe key, and a repeat of a request', async () => {
    await limits({ queue_depth_per_agent: 1 })
    const once = { ...OPERATOR, idempotency: { key: 'k', requestHash: 'h' } }
    const first = await create({ dedupe_key: 'd' }, once)

    const [again, repeat] = [await create({ dedupe_key: 'd' }), await create({ dedupe_key: 'd' }, once)]

    expect([again.created, again.job.id, repeat.job.id]).toEqual([false, first.job.id, first.job.id])
  })

  test('and every refusal is a row', async () => {
    await limits({ queue_depth_per_agent: 0 })
    await refusal(create({}, as('security')))

    const { rows } = await t.ledger.db.execute(sql`select kind, code, agent_id from observations where code = 'AGENTBUS_LIMIT_REACHED'`)
    expect(rows).toEqual([{ kind: 'refusal', code: 'AGENTBUS_LIMIT_REACHED', agent_id: 'security' }])
  })
})

describe('a full queue', () => {
  test('refuses a close with follow-ups whole, and keeps the attempt, which closes as soon as there is room', async () => {
    const running = await aJob(t.ledger, 'running', { target_agent: 'devops' })
    await limits({ agents: { security: { queue_depth: 1 } } })
    const full = await create({ target_agent: 'security' })
    const close = () =>
      t.ledger.jobs.complete(
        running.as,
        running.id,
        CompleteJobBody.parse({ summary: 'done', events: [{ topic: 'a.done' }], follow_ups: [{ target_agent: 'security', subject: 'next' }] }),
      )

    expect(await refusal(close())).toMatchObject({ limit: 'queue_depth_per_agent', of: 'security' })
    expect(await t.ledger.getJob(running.id)).toMatchObject({ status: 'running', summary: null })
    expect((await t.ledger.listEvents({ limit: 10, order: 'asc' } as never)).items).toEqual([])
    await t.ledger.jobs.cancel(OPERATOR, full.job.id, 'x')

    expect(await close()).toMatchObject({ status: 'succeeded', summary: 'done' })
  })

  test('never holds up a close without follow-ups', async () => {
    const running = await aJob(t.ledger, 'running')
    await limits({ queue_depth_per_agent: 0, open_jobs_per_source: 0, jobs_per_second_per_caller: 0.001 })

    expect((await t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({}))).status).toBe('succeeded')
  })

  test('puts off the reaction to an event, with a row, and makes it when there is room; the event is taken', async () => {
    const subscription = SubscriptionConfig.parse({ name: 's', topic: 'disk.full', agent: 'security' })
    await t.ledger.handOffs.setSubscription(OPERATOR, subscription, { dryRun: false })
    await limits({ agents: { security: { queue_depth: 1 } }, retry_after_seconds: 1 })
    const full = await create({ target_agent: 'security' })

    await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'disk.full' }))
    const [deferred] = (await t.ledger.listReactions({ limit: 5 })).items
    const early = await t.ledger.upkeep.reactToStorm(10)
    await t.ledger.jobs.cancel(OPERATOR, full.job.id, 'x')
    await expect.poll(() => t.ledger.upkeep.handOffsDue(), { timeout: 5_000 }).toMatchObject({ reactions: true })
    await t.ledger.upkeep.reactToStorm(10)

    expect([deferred?.status, deferred?.detail, early]).toEqual(['pending', 'queue_depth_per_agent of security is 1; this would pass it.', 0])
    expect((await t.ledger.listReactions({ limit: 5 })).items).toMatchObject([{ status: 'made', job_id: expect.any(String) }])
    const { rows } = await t.ledger.db.execute(sql`select kind, agent_id from observations where code = 'reaction_deferred'`)
    expect(rows).toEqual([{ kind: 'refusal', agent_id: 'security' }])
  })

  test('refuses to start a workflow, and lets one that has begun go on', async () => {
    const workflow = WorkflowDefinition.parse({
      name: 'w',
      steps: [
        { id: 'a', agent: 'devops' },
        { id: 'b', needs: ['a'], agent: 'security' },
      ],
    })
    await t.ledger.workflows.define(OPERATOR, workflow)
    const { run } = await t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({}))
    const [step] = (await t.ledger.listJobs({ correlation_key: `workflow:${run.run.id}`, limit: 5 })).items
    if (step === undefined) throw new Error('the first step has no job')
    const leased = await leaseAs(t.ledger, step.id, step.generation)
    if (leased.kind !== 'start') throw new Error(leased.kind)
    await limits({ queue_depth_per_agent: 0 })

    const refused = await refusal(t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({})))
    const caller = { role: 'attempt' as const, attemptId: leased.attempt.id as never, jobId: step.id, agentId: 'devops' as AgentId }
    await t.ledger.jobs.complete({ caller }, step.id, CompleteJobBody.parse({}))

    expect(refused).toMatchObject({ limit: 'queue_depth_per_agent', of: 'devops' })
    expect((await t.ledger.listWorkflowRuns({ limit: 5 })).items.length).toBe(1)
    expect((await t.ledger.listJobs({ target_agent: 'security', limit: 5 } as never)).items).toMatchObject([{ status: 'queued' }])
  })

  test('does not keep a standing order from its slot', async () => {
    await limits({ queue_depth_per_agent: 0 })
    const order = StandingOrderConfig.parse({ agent: 'devops', name: 'o', every_seconds: 3_600, message: 'Look.' })

    expect((await aSlot(t.ledger, { name: order.name })).job.status).toBe('leased')
  })
})

test('a count reads an index of open jobs, and no more of it than the limit', async () => {
  await t.ledger.db.execute(
    sql`
    with made as (
      insert into jobs (id, source_agent, target_agent, job_type, subject, payload_hash, status, last_seq, run_after, timeout_seconds, lease_seconds, created_by)
      select gen_random_uuid(), 'security', 'devops', 'task', 'x', '', 'queued', 1, now(), 60, 60, 'operator:x' from generate_series(1, 5000) n returning id
    ) insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor) select id, 1, 'move', 'queued', 'created', 'operator', 'x' from made`,
  )
  // What is over is most of a ledger: no plan may meet open jobs by going through the table.
  const client = await t.database.pool.connect()
  await client.query('set session_replication_role = replica')
  await client.query(
    `insert into jobs (id, source_agent, target_agent, job_type, subject, payload_hash, status, last_seq, run_after, timeout_seconds, lease_seconds, created_by, finished_at)
     select gen_random_uuid(), 'security', 'devops', 'task', 'x', '', 'succeeded', 4, now(), 60, 60, 'operator:x', now() from generate_series(1, 20000)`,
  )
  await client.query('reset session_replication_role')
  client.release()
  await t.database.pool.query('vacuum analyze jobs')
  const planOf = async (where: string) => {
    const { rows } = await t.database.pool.query<{ 'QUERY PLAN': string }>(
      `explain (analyze, costs off, timing off, summary off) select count(*) from (select 1 from jobs where finished_at is null and ${where} limit 101) as open`,
    )
    return rows.map((row) => row['QUERY PLAN']).join('\n')
  }

  const plans = await Promise.all([
    planOf(`target_agent = 'devops' and status in ('queued', 'waiting')`),
    planOf(`lane = 'reactive' and status in ('queued', 'waiting')`),
    planOf(`source_agent is not null and source_agent = 'security'`),
  ])

  for (const plan of plans) expect(plan).toMatch(/Index Only Scan using jobs_open_\w*idx on jobs \(actual rows=101(\.00)? loops=1\)/)
})
