import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BlockJobBody, CompleteJobBody } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { UnblockBody } from '../../contracts/job-operations.js'
import { CreateGraphBody, CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { AuthorityConfig, BlockedConfig } from '../../contracts/authority.js'
import { InboxConfig } from '../../contracts/inbox.js'
import type { CommandContext } from '../../ledger/caller.js'
import { aJob, attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger, type TestJob } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  for (const id of ['auditor', 'coordinator']) await t.addAgent(id, { concurrency: 100 })
})
afterEach(() => t.close())

const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
const emit = (topic: string, payload: Record<string, unknown> = {}) => t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic, payload }))
const block = (job: TestJob, waits_for?: Record<string, unknown>, more: Record<string, unknown> = {}) =>
  t.ledger.jobs.block(job.as, job.id, BlockJobBody.parse({ blocked_reason: 'something is missing', waits_for, ...more }))
const reasons = async (id: JobView['id']) => (await t.ledger.jobHistory(id)).transitions.map(({ reason }) => reason)
const rules = (fleet: Record<string, unknown>) => t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], ...fleet }, { dryRun: false, prune: false })
const past = (sets: string, id: string) => t.database.pool.query(`update jobs set ${sets} where id = $1`, [id])

describe('a job that waits for an event', () => {
  test('goes on with the first that fits, and its next attempt is told what came', async () => {
    const job = await aJob(t.ledger, 'running')
    await block(job, { kind: 'event', topic: 'deploy.*', filter: { env: 'prod' } })
    await emit('deploy.done', { env: 'test' })
    await emit('build.done', { env: 'prod' })
    expect((await t.ledger.getJob(job.id)).status).toBe('blocked')

    const { event } = await emit('deploy.done', { env: 'prod', version: 7 })

    const resumed = await t.ledger.getJob(job.id)
    expect(resumed).toMatchObject({
      status: 'queued',
      waits_for: null,
      blocked_at: null,
      escalate_at: null,
      answer: { kind: 'event', event_id: event.id, topic: 'deploy.done', payload: { env: 'prod', version: 7 } },
    })
    let sent: unknown
    await leaseAs(t.ledger, job.id, resumed.generation, 'w1', (row, attempt) => {
      sent = row.answer
      return { hash: 'a'.repeat(64), storedBody: attempt.id, bytes: 1, contractVersion: 'test' }
    })
    expect(sent).toEqual(resumed.answer)
  })

  test('that came while its attempt ran, goes on at once', async () => {
    const job = await aJob(t.ledger, 'running')
    await emit('deploy.done')

    const blocked = await block(job, { kind: 'event', topic: 'deploy.*' })

    expect(blocked.status).toBe('queued')
    expect(await reasons(job.id)).toEqual(['created', 'leased', 'admitted', 'blocked_by_agent', 'condition_met'])
  })

  test('is not woken by what came before its attempt, nor by what it says itself', async () => {
    await emit('deploy.done')
    const job = await aJob(t.ledger, 'running')

    const blocked = await block(job, { kind: 'event', topic: 'deploy.*' }, { events: [{ topic: 'deploy.asked' }] })

    expect(blocked.status).toBe('blocked')
  })

  test('is woken however event and block lie to each other', async () => {
    for (let round = 0; round < 25; round += 1) {
      const job = await aJob(t.ledger, 'running')
      await Promise.all([block(job, { kind: 'event', topic: `round.n${round}` }), emit(`round.n${round}`)])
      await t.ledger.upkeep.keepBlocked(100)
      expect((await t.ledger.getJob(job.id)).status).toBe('queued')
    }
  })
})

describe('a job that waits for', () => {
  test('another job is told how that ended', async () => {
    const other = await aJob(t.ledger, 'running')
    const job = await aJob(t.ledger, 'running')
    await block(job, { kind: 'job', job_id: other.id })

    await t.ledger.jobs.complete(other.as, other.id, CompleteJobBody.parse({ summary: 'all good', result: { n: 1 } }))

    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'queued', answer: { kind: 'job', job_id: other.id, status: 'succeeded', summary: 'all good', result: { n: 1 } } })
  })

  test('a job that is over already goes on at once, with its result', async () => {
    const other = await aJob(t.ledger, 'succeeded')
    const job = await aJob(t.ledger, 'running')

    expect(await block(job, { kind: 'job', job_id: other.id })).toMatchObject({ status: 'queued', answer: { job_id: other.id, status: 'succeeded' } })
  })

  test('an agent goes on when that is online, and at once when it is already', async () => {
    const there = await aJob(t.ledger, 'running')
    expect(await block(there, { kind: 'agent', agent: 'auditor' })).toMatchObject({ status: 'queued', answer: { kind: 'agent', agent: 'auditor', online: true } })
    const job = await aJob(t.ledger, 'queued')
    const leased = await leaseAs(t.ledger, job.id, 1)
    if (leased.kind !== 'start') throw new Error('not leased')
    await t.database.pool.query(`update gateways set breaker = 'open', breaker_reason = 'test'`)
    const held: TestJob = { ...job, as: { caller: attemptCaller(leased.attempt.id as never, job.id, 'devops') } }
    expect((await block(held, { kind: 'agent', agent: 'auditor' })).status).toBe('blocked')
    expect((await t.ledger.upkeep.keepBlocked(10)).resumed).toBe(0)

    await t.database.pool.query(`update gateways set breaker = 'closed', breaker_reason = null`)
    expect((await t.ledger.upkeep.keepBlocked(10)).resumed).toBe(1)

    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'queued', answer: { kind: 'agent', agent: 'auditor' } })
  })

  test.each([
    [{ kind: 'agent', agent: 'nobody' }, 'AGENTBUS_UNKNOWN_AGENT'],
    [{ kind: 'job', job_id: '01920000-0000-7000-8000-000000000000' }, 'AGENTBUS_JOB_NOT_FOUND'],
    [{ kind: 'approval', approval_id: '01920000-0000-7000-8000-000000000000' }, 'AGENTBUS_APPROVAL_NOT_FOUND'],
    [{ kind: 'time' }, 'AGENTBUS_BAD_REQUEST'],
  ])('%j, which is not there, changes nothing', async (wait, code) => {
    const job = await aJob(t.ledger, 'running')

    await expect(block(job, wait)).rejects.toMatchObject({ code })

    expect((await t.ledger.getJob(job.id)).status).toBe('running')
  })
})

describe('an approval', () => {
  const asked = async (more: Record<string, unknown> = {}) => {
    const job = await aJob(t.ledger, 'running', { correlation_key: 'release-1' })
    const blocked = await block(job, { kind: 'approval', subject: 'Deploy to production?', details: { version: 7 }, ...more })
    const [approval] = (await t.ledger.listApprovals({ limit: 10 })).items
    if (approval === undefined) throw new Error('nothing was asked')
    return { job, blocked, approval }
  }

  test.each(['approved', 'rejected'] as const)('that is %s sends the job on with the decision and the note', async (to) => {
    const { job, blocked, approval } = await asked()
    expect(blocked.waits_for).toEqual({ kind: 'approval', approval_id: approval.id })
    expect(approval).toMatchObject({ status: 'pending', subject: 'Deploy to production?', details: { version: 7 }, agent: 'devops', job_id: job.id, correlation_key: 'release-1' })

    const decided = await t.ledger.handOffs.decide(OPERATOR, approval.id, to, 'after six')

    expect(decided.approval).toMatchObject({ status: to, decided_by: 'operator:test-operator', note: 'after six', version: 2 })
    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'queued', answer: { kind: 'approval', approval_id: approval.id, decision: to, note: 'after six' } })
    expect((await t.ledger.approvalHistory(approval.id)).transitions).toMatchObject([
      { seq: 1, to_status: 'pending' },
      { seq: 2, to_status: to, actor: 'test-operator', note: 'after six' },
    ])
    const { items } = await t.ledger.listEvents({ topic: 'approvals.*', order: 'asc', limit: 10 })
    expect(items.map(({ topic, correlation_key: key }) => [topic, key])).toEqual([
      ['approvals.asked', 'release-1'],
      [`approvals.${to}`, 'release-1'],
    ])
  })

  test('is decided once, also by many at once', async () => {
    const { approval } = await asked()

    const answers = await Promise.allSettled(Array.from({ length: 8 }, (_none, at) => t.ledger.handOffs.decide(OPERATOR, approval.id, at % 2 === 0 ? 'approved' : 'rejected', 'x')))

    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const answer of answers) if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'AGENTBUS_APPROVAL_DECIDED' })
  })

  test('is decided by agents that may, and by no other; a refusal names the rule and leaves a row', async () => {
    const { approval } = await asked()
    await rules({ authority: AuthorityConfig.parse({ approve: ['coordinator'] }) })

    await expect(t.ledger.handOffs.decide(agent('auditor'), approval.id, 'approved', undefined)).rejects.toMatchObject({
      code: 'AGENTBUS_FORBIDDEN',
      message: 'auditor may not decide approvals; authority.approve says: of the agents, coordinator may.',
    })
    await t.ledger.handOffs.decide(agent('coordinator'), approval.id, 'approved', undefined)

    const { rows } = await t.database.pool.query(`select kind, actor from observations where code = 'AGENTBUS_FORBIDDEN'`)
    expect(rows).toEqual([{ kind: 'refusal', actor: 'auditor' }])
  })

  test('past its time expires, and the job is told', async () => {
    const { job, approval } = await asked({ expires_in_seconds: 60 })
    await t.database.pool.query(`update approvals set expires_at = clock_timestamp() - interval '1 second'`)

    expect((await t.ledger.upkeep.keepBlocked(10)).expired).toBe(1)

    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'queued', answer: { decision: 'expired' } })
    await expect(t.ledger.handOffs.decide(OPERATOR, approval.id, 'approved', undefined)).rejects.toMatchObject({ code: 'AGENTBUS_APPROVAL_DECIDED' })
  })

  test('of a job that is cancelled is withdrawn', async () => {
    const { job, approval } = await asked()

    await t.ledger.jobs.cancel(OPERATOR, job.id, 'not wanted')

    expect((await t.ledger.approvalHistory(approval.id)).approval).toMatchObject({ status: 'withdrawn', note: 'The job is cancelled.' })
  })

  test('can be waited for again by its id, and answers at once when it is decided', async () => {
    const { approval } = await asked()
    const second = await aJob(t.ledger, 'running')
    const third = await aJob(t.ledger, 'running')
    expect((await block(second, { kind: 'approval', approval_id: approval.id })).status).toBe('blocked')

    await t.ledger.handOffs.decide(OPERATOR, approval.id, 'approved', undefined)

    expect((await t.ledger.getJob(second.id)).status).toBe('queued')
    expect(await block(third, { kind: 'approval', approval_id: approval.id })).toMatchObject({ status: 'queued', answer: { decision: 'approved' } })
  })

  test('cannot be changed once decided, nor its history', async () => {
    const { approval } = await asked()
    await t.ledger.handOffs.decide(OPERATOR, approval.id, 'rejected', 'no')

    await expect(t.database.pool.query(`update approvals set status = 'approved'`)).rejects.toThrow()
    await expect(t.database.pool.query('delete from approval_transitions')).rejects.toThrow()
    await expect(t.database.pool.query(`insert into approvals (id, subject, created_by) values (gen_random_uuid(), 'x', 'y')`)).rejects.toThrow(/history/)
  })
})

describe('an answer to a blocked job', () => {
  const blockedOn = async (owner: string, more: Record<string, unknown> = {}) => {
    const job = await aJob(t.ledger, 'running', more)
    await block(job, undefined, { blocked_owner: owner })
    return job
  }
  const answer = (as: CommandContext, job: TestJob) => t.ledger.handOffs.unblock(as, job.id, UnblockBody.parse({ reason: 'here it is', answer: { token: 'in the vault' } }))

  test('comes from its owner, from whoever sent it, from agents that may and from operators', async () => {
    await rules({ authority: AuthorityConfig.parse({ unblock: ['coordinator'] }) })
    const cases = [
      [OPERATOR, await blockedOn('auditor')],
      [agent('auditor'), await blockedOn('auditor')],
      [agent('coordinator'), await blockedOn('operator')],
      [agent('auditor'), await blockedOn('operator', { source_agent: 'auditor' })],
    ] as const

    for (const [as, job] of cases) {
      const { job: moved } = await answer(as, job)
      expect(moved).toMatchObject({ status: 'queued', answer: { kind: 'person', reason: 'here it is', answer: { token: 'in the vault' } } })
      expect((await reasons(job.id)).at(-1)).toBe('unblocked')
    }
  })

  test('from anybody else is refused with a row, and so is one to a job that is not blocked', async () => {
    const job = await blockedOn('operator')
    await expect(answer(agent('auditor'), job)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await answer(OPERATOR, job)
    await expect(answer(OPERATOR, job)).rejects.toMatchObject({ code: 'AGENTBUS_ILLEGAL_TRANSITION' })

    const { rows } = await t.database.pool.query('select code from observations where job_id = $1 and kind = $2 order by id', [job.id, 'refusal'])
    expect(rows).toEqual([{ code: 'AGENTBUS_FORBIDDEN' }, { code: 'AGENTBUS_ILLEGAL_TRANSITION' }])
  })
})

describe('beyond its patience a blocked job', () => {
  test('is escalated once, to the coordinator, with lineage; and again when it is blocked again', async () => {
    await rules({ inbox: InboxConfig.parse({ coordinator: 'coordinator' }) })
    const job = await aJob(t.ledger, 'running', { correlation_key: 'matter-1', priority: 500 })
    await block(job, { kind: 'event', topic: 'never.comes' }, { patience_seconds: 60, unblock_action: 'send never.comes' })
    expect((await t.ledger.upkeep.keepBlocked(10)).escalated).toBe(0)
    await past(`escalate_at = clock_timestamp() - interval '1 second'`, job.id)

    const all = await Promise.all([t.ledger.upkeep.keepBlocked(10), t.ledger.upkeep.keepBlocked(10)])
    await t.ledger.upkeep.keepBlocked(10)

    expect(all.reduce((sum, { escalated }) => sum + escalated, 0)).toBe(1)
    const { items } = await t.ledger.listJobs({ target_agent: 'coordinator' as never, limit: 10 })
    expect(items).toMatchObject([
      {
        job_type: 'blocked.replan',
        parent_job_id: job.id,
        correlation_key: 'matter-1',
        priority: 600,
        payload: {
          blocked_job_id: job.id,
          agent: 'devops',
          blocked_reason: 'something is missing',
          unblock_action: 'send never.comes',
          waits_for: { kind: 'event', topic: 'never.comes' },
        },
      },
    ])
    expect((await reasons(job.id)).at(-1)).toBe('escalated')
    expect((await t.ledger.getJob(job.id)).status).toBe('blocked')
    const events = await t.ledger.listEvents({ topic: 'jobs.escalated', order: 'asc', limit: 10 })
    expect(events.items).toMatchObject([{ source_job_id: job.id, payload: { replan_job_id: items[0]?.id } }])
  })

  test('of the fleet file goes to whom that names', async () => {
    await rules({ blocked: BlockedConfig.parse({ patience_minutes: 1, replan: 'auditor' }), inbox: InboxConfig.parse({ coordinator: 'coordinator' }) })
    const job = await aJob(t.ledger, 'running')
    const blocked = await block(job)
    expect((Date.parse(String(blocked.escalate_at)) - Date.parse(String(blocked.blocked_at))) / 1_000).toBeCloseTo(60, 1)
    await past(`escalate_at = clock_timestamp()`, job.id)

    await t.ledger.upkeep.keepBlocked(10)

    expect((await t.ledger.listJobs({ target_agent: 'auditor' as never, limit: 10 })).items).toHaveLength(1)
  })

  test('that is itself a plan, or with nobody to ask, is told by row and event alone', async () => {
    await rules({ inbox: InboxConfig.parse({ coordinator: 'coordinator' }) })
    const job = await aJob(t.ledger, 'running', { job_type: 'blocked.replan' })
    await block(job)
    await past(`escalate_at = clock_timestamp()`, job.id)

    await t.ledger.upkeep.keepBlocked(10)

    expect((await t.ledger.listJobs({ target_agent: 'coordinator' as never, limit: 10 })).items).toHaveLength(0)
    expect((await t.ledger.listEvents({ topic: 'jobs.escalated', order: 'asc', limit: 10 })).items).toHaveLength(1)
  })
})

test('two jobs cannot wait for each other, neither at once nor by way of a third', async () => {
  const [a, b] = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running')]
  const c = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'c', depends_on: [a.id] }))
  await block(b, { kind: 'job', job_id: c.job.id })

  await expect(block(a, { kind: 'job', job_id: b.id })).rejects.toMatchObject({ code: 'AGENTBUS_DEPENDENCY_CYCLE', status: 422 })
  expect((await t.ledger.getJob(a.id)).status).toBe('running')

  const [x, y] = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running')]
  const both = await Promise.allSettled([block(x, { kind: 'job', job_id: y.id }), block(y, { kind: 'job', job_id: x.id })])
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
})

describe('a graph of jobs', () => {
  const one = (key: string, ...needs: string[]) => ({ key, needs, target_agent: 'devops', subject: key })
  const make = (...jobs: Record<string, unknown>[]) => t.ledger.jobs.createGraph(OPERATOR, CreateGraphBody.parse({ jobs }))

  test('is created whole, whatever the order, and runs in the order of its needs', async () => {
    const { items } = await make(one('c', 'b'), one('b', 'a'), one('a'))
    expect(items.map(({ key, job }) => [key, job.status])).toEqual([
      ['a', 'queued'],
      ['b', 'waiting'],
      ['c', 'waiting'],
    ])
    const first = items[0]?.job as JobView
    const leased = await leaseAs(t.ledger, first.id, 1)
    if (leased.kind !== 'start') throw new Error('not leased')
    await t.ledger.jobs.complete({ caller: attemptCaller(leased.attempt.id as never, first.id, 'devops') }, first.id, CompleteJobBody.parse({}))

    expect((await t.ledger.getJob(items[1]?.job.id as never)).status).toBe('queued')
  })

  test.each([
    [[one('a', 'c'), one('b', 'a'), one('c', 'b'), one('d')], 'AGENTBUS_DEPENDENCY_CYCLE', 'The jobs need each other in a circle: a → c → b → a.'],
    [[one('a', 'a')], 'AGENTBUS_DEPENDENCY_CYCLE', 'The jobs need each other in a circle: a → a.'],
    [[one('a'), one('b', 'z')], 'AGENTBUS_UNKNOWN_DEPENDENCY', 'Job b needs z, which the graph does not have.'],
    [[one('a'), { ...one('b', 'a'), target_agent: 'nobody' }], 'AGENTBUS_UNKNOWN_AGENT', 'No agent has the id nobody.'],
  ])('with a fault is refused whole: %#', async (jobs, code, message) => {
    await expect(make(...jobs)).rejects.toMatchObject({ code, message })

    expect((await t.ledger.listJobs({ limit: 5 })).items).toEqual([])
  })
})

test('blocked work is listed longest first, with what it waits for', async () => {
  const first = await aJob(t.ledger, 'running')
  await block(first, { kind: 'event', topic: 'a.b' })
  const second = await aJob(t.ledger, 'running', { target_agent: 'auditor' })
  await block(second, undefined, { blocked_owner: 'coordinator' })

  const page = await t.ledger.listBlocked({ limit: 1 })
  const rest = await t.ledger.listBlocked({ limit: 1, cursor: String(page.next_cursor) })

  expect(page.items).toMatchObject([{ id: first.id, waits_for: { kind: 'event', topic: 'a.b' } }])
  expect(rest).toMatchObject({ items: [{ id: second.id, blocked_owner: 'coordinator' }], next_cursor: null })
  const { rows } = await t.database.pool.query('select id, waits_for from blocked_work_v')
  expect(rows).toEqual([
    { id: first.id, waits_for: 'event' },
    { id: second.id, waits_for: 'person' },
  ])
})

test('the next page of blocked work follows where the last one ended, though its last job has gone on or is blocked anew', async () => {
  const jobs = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running')]
  for (const job of jobs) await block(job)
  const [first, ...others] = jobs.map(({ id }) => id)
  const page = await t.ledger.listBlocked({ limit: 1 })
  const rest = async () => (await t.ledger.listBlocked({ limit: 5, cursor: String(page.next_cursor) })).items.map(({ id }) => id)

  const { job } = await t.ledger.handOffs.unblock(OPERATOR, page.items[0]?.id as JobView['id'], UnblockBody.parse({ reason: 'found' }))
  const gone = await rest()
  const again = await leaseAs(t.ledger, job.id, job.generation)
  if (again.kind !== 'start') throw new Error('not leased')
  await t.ledger.jobs.block({ caller: attemptCaller(again.attempt.id as never, job.id, 'devops') }, job.id, BlockJobBody.parse({ blocked_reason: 'something else is missing' }))

  expect(page.items.map(({ id }) => id)).toEqual([first])
  expect(gone).toEqual(others)
  expect(await rest()).toEqual([...others, first])
  await expect(t.ledger.listBlocked({ limit: 5, cursor: String(first) })).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })
})

test('a follow-up stands in the chain of its parent', async () => {
  const job = await aJob(t.ledger, 'running')
  await t.ledger.jobs.complete(job.as, job.id, CompleteJobBody.parse({ follow_ups: [CreateJobBody.parse({ target_agent: 'auditor', subject: 'next' })] }))

  expect((await t.ledger.listJobs({ target_agent: 'auditor' as never, limit: 10 })).items).toMatchObject([{ parent_job_id: job.id, hops: 0 }])
})
