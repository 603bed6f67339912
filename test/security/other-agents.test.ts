import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AuthorityConfig } from '../../contracts/authority.js'
import { BlockJobBody, CompleteJobBody } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { BUS_TOPICS } from '../../contracts/bus-topics.js'
import { aJob, OPERATOR, type TestJob } from '../support/ledger.js'
import { aBody, startApi, type Answer, type TestApi } from '../api/support.js'

let api: TestApi
let devops = ''
let security = ''
let approver = ''
beforeAll(async () => {
  api = await startApi()
  await api.t.addAgent('approver', { concurrency: 100 })
  devops = await api.t.agentToken('devops')
  security = await api.t.agentToken('security')
  approver = await api.t.agentToken('approver')
  const authority = AuthorityConfig.parse({ approve: ['approver'], workflow: ['approver'], unblock: ['security'] })
  await api.t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority }, { dryRun: false, prune: false })
})
afterAll(() => api.close())

const told = ({ status, body }: Answer) => [status, body['code']]
const items = (answer: Answer) => answer.body['items'] as Record<string, unknown>[]
const block = (job: TestJob, body: Record<string, unknown>) => api.call('POST', `/v1/jobs/${job.id}/block`, { token: job.attemptToken, body: { blocked_reason: 'x', ...body } })

/** A running job of another agent, with keys that are none of devops' business. */
const foreignJob = () => aJob(api.t.ledger, 'running', { target_agent: 'security', correlation_key: 'secret-matter', flow_key: 'secret-flow' })

async function asked(agent: string, more: Record<string, unknown> = {}): Promise<{ id: string; job: TestJob }> {
  const job = await aJob(api.t.ledger, 'running', { target_agent: agent })
  const answer = await block(job, { waits_for: { kind: 'approval', subject: `of ${agent}`, details: { amount: 7 } }, ...more })
  return { id: String((answer.body['waits_for'] as { approval_id: string }).approval_id), job }
}

describe('an agent that names a job of others as the origin of its own', () => {
  test.each([
    ['createJob', '/v1/jobs', (id: string) => aBody({ parent_job_id: id })],
    ['createJobBatch', '/v1/job-batches', (id: string) => ({ jobs: [aBody({}), aBody({ parent_job_id: id })] })],
    ['createJobGraph', '/v1/job-graphs', (id: string) => ({ jobs: [{ key: 'a', ...aBody({ parent_job_id: id }) }] })],
    ['emitEvent', '/v1/events', (id: string) => ({ topic: 'a.fact', source_job_id: id })],
  ])('is refused with a row by %s, and learns none of its keys', async (_id, path, bodyOf) => {
    const foreign = await foreignJob()
    const before = await api.count('observations')

    const answer = await api.call('POST', path, { token: devops, body: bodyOf(foreign.id) })

    expect(told(answer)).toEqual([403, 'AGENTBUS_FORBIDDEN'])
    expect(answer.text).not.toMatch(/secret-(matter|flow)/)
    expect(await api.refusals(before)).toEqual(['AGENTBUS_FORBIDDEN'])
  })

  test('may name one that was sent to it or by it, and an operator any', async () => {
    const [own, foreign] = [await aJob(api.t.ledger, 'running', { correlation_key: 'c' }), await foreignJob()]
    const sent = await api.call('POST', '/v1/jobs', { token: devops, body: aBody({ target_agent: 'security' }) })

    const answers = [
      await api.call('POST', '/v1/jobs', { token: devops, body: aBody({ parent_job_id: own.id }) }),
      await api.call('POST', '/v1/events', { token: devops, body: { topic: 'a.fact', source_job_id: sent.body['id'] } }),
      await api.operate('POST', '/v1/jobs', { body: aBody({ parent_job_id: foreign.id }) }),
    ]

    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201])
    expect(answers[0]?.body['correlation_key']).toBe('c')
  })
})

describe('a job that waits for a job of others', () => {
  test('is told that it is over, and not what came of it', async () => {
    const foreign = await foreignJob()
    const waiting = await aJob(api.t.ledger, 'running')
    await block(waiting, { waits_for: { kind: 'job', job_id: foreign.id } })

    await api.t.ledger.jobs.complete(foreign.as, foreign.id, CompleteJobBody.parse({ summary: 'the password is 7', result: { password: 7 } }))

    const { answer } = await api.t.ledger.getJob(waiting.id)
    expect(answer).toMatchObject({ kind: 'job', job_id: foreign.id, status: 'succeeded', withheld: expect.stringContaining('neither to nor from') })
    expect(JSON.stringify(answer)).not.toContain('password')
  })

  test('is told all when its agent has sent that job', async () => {
    const sent = await aJob(api.t.ledger, 'running', { target_agent: 'security', source_agent: 'devops' })
    const waiting = await aJob(api.t.ledger, 'running')
    await block(waiting, { waits_for: { kind: 'job', job_id: sent.id } })

    await api.t.ledger.jobs.complete(sent.as, sent.id, CompleteJobBody.parse({ summary: 'seen', result: { risk: 'low' } }))

    expect((await api.t.ledger.getJob(waiting.id)).answer).toMatchObject({ summary: 'seen', result: { risk: 'low' } })
  })
})

describe('approvals', () => {
  test('of others are shown to those who decide, and to nobody else', async () => {
    const [mine, foreign] = [await asked('devops'), await asked('security')]
    const list = async (token: string) => items(await api.call('GET', '/v1/approvals?limit=200', { token })).map(({ id }) => id)

    const lists = [await list(devops), await list(approver), await list(api.t.operatorToken)]
    const read = [await api.call('GET', `/v1/approvals/${mine.id}`, { token: devops }), await api.call('GET', `/v1/approvals/${foreign.id}`, { token: approver })]
    const refused = await api.call('GET', `/v1/approvals/${foreign.id}`, { token: devops })

    expect(lists.map((ids) => [ids.includes(mine.id), ids.includes(foreign.id)])).toEqual([
      [true, false],
      [true, true],
      [true, true],
    ])
    expect(read.map(({ status }) => status)).toEqual([200, 200])
    expect(told(refused)).toEqual([403, 'AGENTBUS_FORBIDDEN'])
  })

  test('are not decided by the agent that asked, whatever its rights and whichever of its tokens it uses', async () => {
    const { id } = await asked('approver')
    const run = await aJob(api.t.ledger, 'running', { target_agent: 'approver' })

    const own = [
      await api.call('POST', `/v1/approvals/${id}/approve`, { token: approver, body: {} }),
      await api.call('POST', `/v1/approvals/${id}/approve`, { token: run.attemptToken, body: {} }),
    ]

    expect(own.map(told)).toEqual([
      [403, 'AGENTBUS_FORBIDDEN'],
      [403, 'AGENTBUS_FORBIDDEN'],
    ])
    expect((await api.operate('POST', `/v1/approvals/${id}/approve`, { body: {} })).status).toBe(200)
  })

  test('of a workflow are not decided by the agent that started it', async () => {
    await api.operate('POST', '/v1/workflows', { body: { name: 'gated', steps: [{ id: 'gate', approval: {} }] } })
    const run = await api.call('POST', '/v1/workflows/gated/runs', { token: approver, body: {} })
    const [step] = run.body['steps'] as { approval_id: string }[]

    const answer = await api.call('POST', `/v1/approvals/${step?.approval_id ?? ''}/approve`, { token: approver, body: {} })

    expect(told(answer)).toEqual([403, 'AGENTBUS_FORBIDDEN'])
  })

  test('past their time are not decided, though nobody has written down yet that they expired', async () => {
    const { id, job } = await asked('devops')
    await api.t.database.pool.query(`alter table approvals disable trigger all`)
    await api.t.database.pool.query(`update approvals set expires_at = clock_timestamp() - interval '1 second' where id = $1`, [id])
    await api.t.database.pool.query(`alter table approvals enable trigger all`)

    const late = await api.call('POST', `/v1/approvals/${id}/approve`, { token: approver, body: {} })

    expect([...told(late), (await api.t.ledger.getJob(job.id)).status]).toEqual([409, 'AGENTBUS_APPROVAL_DECIDED', 'blocked'])
  })

  test('that others asked for cannot be shown as the reason why a job goes on', async () => {
    const { id } = await asked('security')
    await api.operate('POST', `/v1/approvals/${id}/approve`, { body: {} })
    const job = await aJob(api.t.ledger, 'running')

    const answer = await block(job, { waits_for: { kind: 'approval', approval_id: id } })

    expect(told(answer)).toEqual([404, 'AGENTBUS_APPROVAL_NOT_FOUND'])
    expect((await api.t.ledger.getJob(job.id)).status).toBe('running')
  })
})

describe('an answer to a blocked job', () => {
  const unblock = (job: TestJob, token: string) => api.call('POST', `/v1/jobs/${job.id}/unblock`, { token, body: { reason: 'go on' } })

  test('does not come from its own agent, though it names itself as the owner', async () => {
    const job = await aJob(api.t.ledger, 'running')
    await block(job, { blocked_owner: 'devops' })
    const run = await aJob(api.t.ledger, 'running')

    expect([told(await unblock(job, devops)), told(await unblock(job, run.attemptToken ?? ''))]).toEqual([
      [403, 'AGENTBUS_FORBIDDEN'],
      [403, 'AGENTBUS_FORBIDDEN'],
    ])
  })

  test('does not take the place of a decision: neither owner nor sender nor the right to unblock is enough', async () => {
    const job = await aJob(api.t.ledger, 'running', { target_agent: 'approver', source_agent: 'devops' })
    await block(job, { blocked_owner: 'security', waits_for: { kind: 'approval' } })

    const answers = [await unblock(job, devops), await unblock(job, security), await unblock(job, approver)]

    expect(answers.map(told)).toEqual(Array(3).fill([403, 'AGENTBUS_FORBIDDEN']))
    expect((await unblock(job, api.t.operatorToken)).status).toBe(200)
  })
})

test('a workflow that an operator put in force is not changed by an agent that may start it: its gate stays', async () => {
  const steps = [{ id: 'gate', approval: {} }]
  await api.operate('POST', '/v1/workflows', { body: { name: 'guarded', steps } })

  const changed = await api.call('POST', '/v1/workflows', { token: approver, body: { name: 'guarded', steps: [{ id: 'gate', agent: 'devops' }] } })
  const same = await api.call('POST', '/v1/workflows', { token: approver, body: { name: 'guarded', steps } })
  const own = [
    await api.call('POST', '/v1/workflows', { token: approver, body: { name: 'own', steps } }),
    await api.call('POST', '/v1/workflows', { token: approver, body: { name: 'own', steps: [{ id: 'a', agent: 'devops' }] } }),
  ]

  expect([told(changed), same.status, own.map(({ status }) => status)]).toEqual([[403, 'AGENTBUS_FORBIDDEN'], 200, [201, 201]])
  expect((await api.t.ledger.getWorkflow({ namespace: 'default', name: 'guarded' })).definition.steps[0]?.approval).toBeDefined()
})

describe('runs of workflows', () => {
  test('are shown, with what came of their steps, to whoever started them and to those who may start any', async () => {
    await api.operate('POST', '/v1/workflows', { body: { name: 'secret', steps: [{ id: 'a', agent: 'security' }] } })
    const { run } = (await api.operate('POST', '/v1/workflows/secret/runs', { body: {} })).body as { run: { id: string } }
    const own = (await api.operate('POST', '/v1/workflows/secret/runs', { body: { source_agent: 'devops' } })).body as { run: { id: string } }
    const list = async (token: string) => items(await api.call('GET', '/v1/workflow-runs?workflow=secret', { token })).map(({ id }) => id)

    expect([await list(devops), await list(approver)]).toEqual([[own.run.id], [own.run.id, run.id]])
    expect(told(await api.call('GET', `/v1/workflow-runs/${run.id}`, { token: devops }))).toEqual([403, 'AGENTBUS_FORBIDDEN'])
    expect((await api.call('GET', `/v1/workflow-runs/${own.run.id}`, { token: devops })).status).toBe(200)
    expect((await api.call('GET', `/v1/workflow-runs/${run.id}`, { token: approver })).status).toBe(200)
  })
})

describe('what the bus says itself', () => {
  test.each(BUS_TOPICS)('%s cannot be said by anybody else', async (topic) => {
    const job = await aJob(api.t.ledger, 'running')

    const said = [
      await api.call('POST', '/v1/events', { token: devops, body: { topic } }),
      await api.operate('POST', '/v1/events', { body: { topic } }),
      await api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: { events: [{ topic }] } }),
    ]

    expect(said.map(told)).toEqual(Array(3).fill([400, 'AGENTBUS_BAD_REQUEST']))
    expect(EmitEventBody.safeParse({ topic: `${topic}.really` }).success).toBe(true)
  })
})

test('a finding about an overdue result is filed by the bus alone: whoever owes the result cannot make it wait longer', async () => {
  const job = await aJob(api.t.ledger, 'running', { source_agent: 'security' })
  const finding = { topic: 'pending_result', subject_key: job.id, body: 'all is well', to: 'devops' }

  const filed = [
    await api.call('POST', '/v1/findings', { token: devops, body: finding }),
    await api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: { findings: [finding] } }),
  ]

  expect(filed.map(told)).toEqual(Array(2).fill([400, 'AGENTBUS_BAD_REQUEST']))
})

describe('delegation rules', () => {
  test('hold at every entrance: REST, a graph, work for whoever is able, a follow-up, a subscription and a workflow', async () => {
    await api.t.addAgent('bound', { concurrency: 100, delegation: [] })
    await api.t.addAgent('able', { capabilities: ['deploy'] })
    const bound = await api.t.agentToken('bound')
    const authority = AuthorityConfig.parse({ workflow: ['bound', 'approver'], approve: ['approver'], unblock: ['security'] })
    await api.t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority }, { dryRun: false, prune: false })
    await api.operate('PUT', '/v1/subscriptions/trap', { body: { agent: 'security', topic: 'trap.sprung' } })
    await api.operate('POST', '/v1/workflows', { body: { name: 'trap', steps: [{ id: 'a', agent: 'security' }] } })
    const run = await aJob(api.t.ledger, 'running', { target_agent: 'bound' })
    const before = await api.t.ledger.listJobs({ limit: 1 })

    const refused = [
      await api.call('POST', '/v1/jobs', { token: bound, body: aBody({ target_agent: 'security' }) }),
      await api.call('POST', '/v1/jobs', { token: bound, body: aBody({ target_agent: 'security', dedupe_key: 'known', source_agent: 'bound' }) }),
      await api.call('POST', '/v1/jobs', { token: bound, body: { capabilities: ['deploy'], subject: 'x' } }),
      await api.call('POST', '/v1/job-graphs', {
        token: bound,
        body: {
          jobs: [
            { key: 'own', ...aBody({ target_agent: 'bound' }) },
            { key: 'a', needs: ['own'], ...aBody() },
          ],
        },
      }),
      await api.call('POST', `/v1/jobs/${run.id}/complete`, { token: run.attemptToken, body: { follow_ups: [aBody({ source_agent: 'security' })] } }),
    ]
    const otherName = [
      await api.call('POST', '/v1/workflows/trap/runs', { token: bound, body: { source_agent: 'security' } }),
      await api.call('POST', '/v1/events', { token: bound, body: { topic: 'trap.sprung', source_agent: 'security' } }),
    ]
    await api.call('POST', `/v1/jobs/${run.id}/complete`, { token: run.attemptToken, body: { events: [{ topic: 'trap.sprung', source_agent: 'security' }] } })
    const workflow = await api.call('POST', '/v1/workflows/trap/runs', { token: bound, body: {} })

    expect(refused.map(told)).toEqual(Array(5).fill([403, 'AGENTBUS_DELEGATION_REFUSED']))
    expect(otherName.map(told)).toEqual(Array(2).fill([403, 'AGENTBUS_FORBIDDEN']))
    expect((await api.t.ledger.listReactions({ limit: 10 })).items.map(({ status }) => status)).toEqual(['refused'])
    expect((workflow.body['run'] as { status: string }).status).toBe('failed')
    expect((await api.t.ledger.listJobs({ limit: 1 })).items[0]?.id).toBe(before.items[0]?.id)
  })

  test('are asked before a dedupe key: whoever may not send work does not learn what is open', async () => {
    await api.operate('POST', '/v1/jobs', { body: aBody({ target_agent: 'security', dedupe_key: 'known', payload: { password: 7 } }) })
    await api.t.addAgent('bound', { concurrency: 100, delegation: [] })

    const answer = await api.call('POST', '/v1/jobs', { token: await api.t.agentToken('bound'), body: aBody({ target_agent: 'security', dedupe_key: 'known' }) })

    expect([...told(answer), answer.text.includes('password')]).toEqual([403, 'AGENTBUS_DELEGATION_REFUSED', false])
  })
})

test('a token of an attempt does none of what its agent may do with jobs and events', async () => {
  const run = await aJob(api.t.ledger, 'running')
  const blocked = await aJob(api.t.ledger, 'running', { target_agent: 'security' })
  await api.t.ledger.jobs.block(blocked.as, blocked.id, BlockJobBody.parse({ blocked_reason: 'x' }))
  const token = run.attemptToken ?? ''

  const answers = [
    await api.call('POST', '/v1/jobs', { token, body: aBody() }),
    await api.call('POST', '/v1/job-graphs', { token, body: { jobs: [{ key: 'a', ...aBody() }] } }),
    await api.call('POST', '/v1/events', { token, body: { topic: 'a.b' } }),
    await api.call('POST', `/v1/jobs/${blocked.id}/unblock`, { token, body: { reason: 'x' } }),
    await api.call('GET', `/v1/jobs/${blocked.id}`, { token }),
  ]

  expect(answers.map(told)).toEqual(Array(5).fill([403, 'AGENTBUS_FORBIDDEN']))
})
