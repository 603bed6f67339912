import { afterAll, beforeAll, expect, test } from 'vitest'
import { CompleteJobBody } from '../../contracts/closings.js'
import { TraceQuery } from '../../contracts/trace.js'
import { AccessLog } from '../../ledger/access-log.js'
import { aJob, OPERATOR } from '../support/ledger.js'
import { startApi, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const accesses = async () => {
  await api.t.ledger.accesses.flush()
  return (await api.t.database.pool.query<Record<string, unknown>>('select actor_kind, actor, agent_id, job_id, route, target, status from accesses order by id')).rows
}

test('an agent in a window: what it was told, read, wrote and did, and what it was refused, in order', async () => {
  const from = new Date().toISOString()
  const job = await aJob(api.t.ledger, 'running', { subject: 'look', correlation_key: 'matter-7' })
  const token = job.attemptToken
  await api.call('GET', `/v1/jobs/${job.id}`, { token })
  await api.call('GET', '/v1/jobs', { token })
  await api.call('POST', `/v1/jobs/${job.id}/progress`, { token, body: { note: 'half way' } })
  await api.call('POST', `/v1/jobs/${job.id}/complete`, {
    token,
    body: { summary: 'all good', events: [{ topic: 'look.done' }], findings: [{ topic: 'a.b', subject_key: 'x', body: 'y', to: 'security' }] },
  })
  await api.t.ledger.accesses.flush()

  const answer = await api.operate('GET', `/v1/trace?agent=devops&from=${from}`)
  const entries = answer.body['entries'] as { kind: string; what: string; job_id: string; correlation_key: string; details: Record<string, unknown> }[]

  expect(answer.status).toBe(200)
  const told = entries.map(({ kind, what }) => `${kind}: ${what}`)
  expect(told.slice(0, 4)).toEqual(['told: attempt 1 was sent its order', 'read: /v1/jobs/{id}', 'refused: AGENTBUS_FORBIDDEN', 'wrote: progress'])
  // The last call wrote all of these at once.
  expect(told.slice(4).sort()).toEqual([
    'did: attempt 1 ended: succeeded (completed_by_agent)',
    'wrote: event look.done',
    'wrote: finding a.b x: filed',
    'wrote: finding a.b x: raised',
    'wrote: succeeded (completed_by_agent)',
  ])
  expect(new Set(entries.filter(({ job_id: id }) => id === job.id).map(({ correlation_key: key }) => key))).toEqual(new Set(['matter-7']))
  expect(entries[0]?.details).toMatchObject({ prompt_hash: expect.stringMatching(/^[0-9a-f]{64}$/) as string, contract_version: 'test' })
  expect(entries[0]?.details).not.toHaveProperty('prompt')
  expect(answer.body['jobs']).toMatchObject([{ id: job.id, subject: 'look' }])
})

test('the bytes that it was sent come on request', async () => {
  const job = await aJob(api.t.ledger, 'running')

  const answer = await api.operate('GET', `/v1/trace?agent=devops&from=2026-01-01T00:00:00Z&prompts=true`)

  const told = (answer.body['entries'] as { kind: string; job_id: string; details: Record<string, unknown> }[]).find((entry) => entry.kind === 'told' && entry.job_id === job.id)
  expect(told?.details['prompt']).toBe(`job ${job.id} attempt ${String(job.attemptId)}`)
})

test('a job with its lineage: what each attempt was told and read is in the story, and prompts come on request', async () => {
  const parent = await aJob(api.t.ledger, 'running', { correlation_key: 'matter-9' })
  const child = await aJob(api.t.ledger, 'running', { parent_job_id: parent.id, correlation_key: 'matter-9' })
  const other = await aJob(api.t.ledger, 'running')
  await api.call('GET', `/v1/jobs/${parent.id}`, { token: parent.attemptToken })
  await api.call('GET', `/v1/jobs/${child.id}/history`, { token: child.attemptToken })
  await api.call('GET', `/v1/jobs/${other.id}`, { token: other.attemptToken })
  await api.operate('GET', `/v1/jobs/${child.id}`)
  await api.t.ledger.accesses.flush()
  type Entry = { kind: string; what: string; job_id: string; attempt_id: string; correlation_key: string; details: Record<string, unknown> }

  const plain = (await api.operate('GET', `/v1/trace?job_id=${child.id}`)).body['entries'] as Entry[]
  const full = (await api.operate('GET', `/v1/trace?correlation_key=matter-9&prompts=true`)).body['entries'] as Entry[]

  const reads = plain.filter(({ kind }) => kind === 'read')
  expect(reads).toMatchObject([
    { what: '/v1/jobs/{id}', job_id: parent.id, attempt_id: parent.attemptId, correlation_key: 'matter-9', details: { id: parent.id, status: 200 } },
    { what: '/v1/jobs/{id}/history', job_id: child.id, attempt_id: child.attemptId },
  ])
  const told = (entries: Entry[]) => entries.filter(({ kind }) => kind === 'told')
  expect(told(plain).map(({ attempt_id: id }) => id)).toEqual([parent.attemptId, child.attemptId])
  expect(told(plain).every(({ details }) => !('prompt' in details) && typeof details['prompt_hash'] === 'string')).toBe(true)
  expect(told(full).map(({ details }) => details['prompt'])).toEqual([parent, child].map((job) => `job ${job.id} attempt ${String(job.attemptId)}`))
})

test('a window leaves out what lies before and after it', async () => {
  const job = await aJob(api.t.ledger, 'running')
  await api.t.ledger.jobs.complete(job.as, job.id, CompleteJobBody.parse({}))
  const to = new Date(Date.now() + 1).toISOString()
  await new Promise((resolve) => setTimeout(resolve, 5))
  await aJob(api.t.ledger, 'running')

  const { entries } = await api.t.ledger.trace(TraceQuery.parse({ agent: 'devops', from: '2026-01-01T00:00:00Z', to }))
  const { entries: none } = await api.t.ledger.trace(TraceQuery.parse({ agent: 'devops', from: '2020-01-01T00:00:00Z', to: '2020-01-02T00:00:00Z' }))

  expect(entries.every(({ at }) => at < to)).toBe(true)
  expect(entries.some(({ job_id: id }) => id === job.id)).toBe(true)
  expect(none).toEqual([])
})

test.each([['agent=devops'], ['agent=devops&from=2026-01-01T00:00:00Z&correlation_key=x'], [''], ['from=2026-01-01T00:00:00Z']])('a trace of %j is no question', async (query) => {
  expect((await api.operate('GET', `/v1/trace?${query}`)).status).toBe(400)
})

test('each authenticated read is written down with who and what; writes, refusals and probes are not reads', async () => {
  const before = (await accesses()).length
  const job = await aJob(api.t.ledger, 'running')

  await api.operate('GET', `/v1/jobs/${job.id}/history`)
  await api.call('GET', '/v1/agents/devops', { token: await api.t.agentToken('devops') })
  await api.operate('GET', '/v1/jobs?status=dead&limit=5')
  await api.call('GET', '/v1/jobs', { token: 'abt_wrong' })
  await api.operate('GET', '/v1/jobs/0192f0c4-1111-7000-8000-00000000000a')
  await api.operate('POST', '/v1/events', { body: { topic: 'a.b' } })
  await api.call('GET', '/healthz')

  expect((await accesses()).slice(before)).toEqual([
    { actor_kind: 'operator', actor: 'test-operator', agent_id: null, job_id: job.id, route: '/v1/jobs/{id}/history', target: { id: job.id }, status: 200 },
    { actor_kind: 'agent', actor: 'devops', agent_id: 'devops', job_id: null, route: '/v1/agents/{id}', target: { id: 'devops' }, status: 200 },
    { actor_kind: 'operator', actor: 'test-operator', agent_id: null, job_id: null, route: '/v1/jobs', target: { status: 'dead', limit: 5 }, status: 200 },
  ])
  await expect(api.t.database.pool.query('delete from accesses')).rejects.toThrow()
})

test('while the ledger is away reads wait, and what is too much is counted in a row', async () => {
  let away = true
  const db = api.t.ledger.db
  const told: string[] = []
  const log = new AccessLog({
    db: () => {
      if (away) throw new Error('away')
      return db
    },
    onError: (error) => told.push(String(error)),
  })
  const before = (await accesses()).length
  const note = () => log.note({ atMs: Date.now(), caller: OPERATOR.caller, route: '/v1/storm', target: {}, status: 200 })
  for (let n = 0; n < 10_250; n += 1) note()
  await log.flush()
  away = false
  await log.stop()

  const rows = (await accesses()).slice(before)
  expect(rows.filter(({ route }) => route === '/v1/storm')).toHaveLength(10_000)
  expect(rows.filter(({ route }) => route === 'lost')).toMatchObject([{ actor_kind: 'system', target: { reads: 250 } }])
  expect(told).toEqual(['Error: away'])
})

test('reads that are too much while a batch is being written are counted as well', async () => {
  const db = api.t.ledger.db
  const noteMany = (): void => {
    for (let n = 0; n < 10_100; n += 1) log.note({ atMs: Date.now(), caller: OPERATOR.caller, route: '/v1/flood', target: {}, status: 200 })
  }
  let isFirst = true
  const log: AccessLog = new AccessLog({
    db: () => {
      if (isFirst) {
        isFirst = false
        noteMany()
      }
      return db
    },
    onError: (error) => {
      throw error
    },
  })
  const before = (await accesses()).length
  noteMany()

  await log.stop()

  const rows = (await accesses()).slice(before)
  const lost = rows.filter(({ route }) => route === 'lost').reduce((sum, { target }) => sum + (target as { reads: number }).reads, 0)
  expect(rows.filter(({ route }) => route === '/v1/flood').length + lost).toBe(2 * 10_100)
})
