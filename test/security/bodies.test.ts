import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseFleet } from '../../config/fleet-file.js'
import { EmitEventBody } from '../../contracts/events.js'
import { fill, fillText } from '../../contracts/templates.js'
import { aJob, OPERATOR } from '../support/ledger.js'
import { aBody, startApi, type Answer, type TestApi } from '../api/support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const told = ({ status, body }: Answer) => [status, body['code']]
/** Lists in lists, as deep as a body has room for. */
const DEEP = '['.repeat(100_000) + ']'.repeat(100_000)

describe('a body nested a hundred thousand levels deep', () => {
  test.each([
    ['payload', 'POST', '/v1/jobs', `{"target_agent":"devops","subject":"x","payload":{"a":${DEEP}}}`],
    ['an unknown field', 'POST', '/v1/jobs', `{"target_agent":"devops","subject":"x","unknown":${DEEP}}`],
    ['a field of another type', 'POST', '/v1/jobs', `{"target_agent":${DEEP},"subject":"x"}`],
    ['the body itself', 'POST', '/v1/jobs', DEEP],
    ['a filter', 'PUT', '/v1/subscriptions/deep', `{"agent":"devops","topic":"a.b","filter":{"a":${DEEP}}}`],
    ['the default of an input', 'POST', '/v1/workflows', `{"name":"deep","inputs":{"a":{"default":${DEEP}}},"steps":[{"id":"a","agent":"devops"}]}`],
    ['inputs of a run', 'POST', '/v1/workflows/none/runs', `{"inputs":{"a":${DEEP}}}`],
    ['an event', 'POST', '/v1/events', `{"topic":"a.b","payload":{"a":${DEEP}}}`],
    ['a fleet', 'POST', '/v1/fleet', `{"fleet":${DEEP}}`],
    ['a graph', 'POST', '/v1/job-graphs', `{"jobs":${DEEP}}`],
  ])('is refused: %s', async (_what, method, path, raw) => {
    const answer = await api.operate(method, path, { raw, headers: { 'idempotency-key': `deep-${path}-${raw.length}` } })

    expect(told(answer)).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
  })

  test('is refused where no body belongs, too', async () => {
    const answer = await api.operate('DELETE', '/v1/tokens/0192f0c4-1111-7000-8000-00000000000a', { raw: DEEP, headers: { 'idempotency-key': 'deep-delete' } })

    expect(told(answer)).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
  })
})

describe('names that every object has', () => {
  test('as keys of a payload are data like any other', async () => {
    const payload = { constructor: { prototype: { polluted: 1 } }, toString: 'x', hasOwnProperty: 1 }

    const answer = await api.operate('POST', '/v1/jobs', { body: aBody({ payload }) })

    expect([answer.status, answer.body['payload'], ({} as Record<string, unknown>)['polluted']]).toEqual([201, payload, undefined])
  })

  test.each([
    ['/v1/jobs', '{"target_agent":"devops","subject":"x","payload":{"__proto__":{"polluted":1}}}'],
    ['/v1/jobs', '{"target_agent":"devops","subject":"x","state":{"a":[{"__proto__":1}]}}'],
    ['/v1/events', '{"topic":"a.b","payload":{"__proto__":{"polluted":1}}}'],
    ['/v1/workflows', '{"name":"p","inputs":{"a":{"default":{"__proto__":{"polluted":1}}}},"steps":[{"id":"a","agent":"devops"}]}'],
    ['/v1/workflows', '{"name":"p","inputs":{"__proto__":{"required":false}},"steps":[{"id":"a","agent":"devops"}]}'],
  ])('__proto__ is refused and not dropped without a word: POST %s %s', async (path, raw) => {
    const answer = await api.operate('POST', path, { raw })

    expect([...told(answer), ({} as Record<string, unknown>)['polluted']]).toEqual([400, 'AGENTBUS_BAD_REQUEST', undefined])
  })

  test('a filter on __proto__ is refused, over REST and in a file: without its condition it would fit everything', async () => {
    const raw = '{"agent":"devops","topic":"a.b","filter":{"__proto__":"x"}}'
    const yaml = 'subscriptions:\n  - { name: s, agent: devops, topic: a.b, filter: { __proto__: x } }\n'

    const answer = await api.operate('PUT', '/v1/subscriptions/proto', { raw })

    expect([...told(answer), parseFleet(yaml)]).toEqual([400, 'AGENTBUS_BAD_REQUEST', { faults: [expect.objectContaining({ fault: expect.stringContaining('__proto__') })] }])
  })

  test('name nothing in a template', () => {
    const data = { payload: JSON.parse('{"a": {"b": 1}}') as unknown }

    expect(fill({ a: '{{payload.constructor}}', b: '{{payload.a.toString}}', c: '{{payload.__proto__}}', d: 'x{{payload.constructor.name}}y' }, data)).toEqual({
      a: null,
      b: null,
      c: null,
      d: 'xy',
    })
  })

  test('do not stand in for an input that was not given', async () => {
    await api.operate('POST', '/v1/workflows', { body: { name: 'named', inputs: { constructor: {}, valueOf: { required: false } }, steps: [{ id: 'a', agent: 'devops' }] } })

    const without = await api.operate('POST', '/v1/workflows/named/runs', { body: {} })
    const withIt = await api.operate('POST', '/v1/workflows/named/runs', { body: { inputs: { constructor: 'x' } } })

    expect([without.status, without.body['detail']]).toEqual([400, 'inputs.constructor: is required.'])
    expect((withIt.body['run'] as { inputs: unknown }).inputs).toEqual({ constructor: 'x', valueOf: null })
  })
})

describe('a template that repeats a large value', () => {
  const large = 'x'.repeat(120_000)

  test('is filled only as far as a job has room', () => {
    const places = Object.fromEntries(Array.from({ length: 4_000 }, (_none, at) => [`k${at}`, '{{payload.a}}']))

    expect(() => fill(places, { payload: { a: large } })).toThrow(/too large/)
    expect(() => fill({ text: '{{payload.a}} '.repeat(8_000) }, { payload: { a: large } })).toThrow(/too large/)
    expect(fillText('{{payload.a}}'.repeat(8_000), { payload: { a: large } }).length).toBeLessThan(400_000)
  })

  test('fails the reaction with a row, and leaves the event and the other reactions alone', async () => {
    await api.operate('PUT', '/v1/subscriptions/bomb', { body: { agent: 'devops', topic: 'bomb.dropped', payload: { text: '{{payload.a}}'.repeat(5_000) } } })
    await api.operate('PUT', '/v1/subscriptions/calm', { body: { agent: 'devops', topic: 'bomb.dropped', subject: '{{payload.a}}', payload: {} } })

    const { event } = await api.t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'bomb.dropped', payload: { a: large } }))

    const { items } = await api.t.ledger.listReactions({ event_id: event.id, limit: 10 })
    expect(Object.fromEntries(items.map(({ subscription, status }) => [subscription, status]))).toEqual({ bomb: 'failed', calm: 'made' })
    expect(items.find(({ subscription }) => subscription === 'bomb')?.detail).toContain('too large')
  })

  test('fails the run of a workflow whose outputs it is in, and the close of the agent stands', async () => {
    await api.operate('POST', '/v1/workflows', { body: { name: 'outbomb', steps: [{ id: 'a', agent: 'devops' }], outputs: { text: '{{steps.a.result.a}}'.repeat(5_000) } } })
    const started = (await api.operate('POST', '/v1/workflows/outbomb/runs', { body: {} })).body as { run: { id: string }; steps: { job_id: string }[] }
    const claimed = (await api.operate('POST', '/v1/jobs/claim', { body: { lease_owner: 'me', limit: 50 } })).body as { items: { job: { id: string }; attempt_token: string }[] }
    const mine = claimed.items.find(({ job }) => job.id === started.steps[0]?.job_id)

    const closed = await api.call('POST', `/v1/jobs/${mine?.job.id ?? ''}/complete`, { token: mine?.attempt_token, body: { result: { a: large } } })

    expect(closed.status).toBe(200)
    const { run } = (await api.operate('GET', `/v1/workflow-runs/${started.run.id}`)).body as { run: Record<string, unknown> }
    expect(run).toMatchObject({ status: 'failed', outputs: null, last_error: expect.stringContaining('too large') })
  })

  test('fails the step that asks with it', async () => {
    await api.operate('POST', '/v1/workflows', {
      body: { name: 'askbomb', inputs: { a: {} }, steps: [{ id: 'a', approval: { details: { text: '{{inputs.a}}'.repeat(5_000) } } }] },
    })

    const { run } = (await api.operate('POST', '/v1/workflows/askbomb/runs', { body: { inputs: { a: large } } })).body as { run: Record<string, unknown> }

    expect(run).toMatchObject({ status: 'failed', last_error: expect.stringContaining('too large') })
  })
})

test('a template of half-open places is read in a moment', () => {
  const hostile = ['{{a'.repeat(40_000), `{{${' '.repeat(120_000)}`, `{{${'a'.repeat(120_000)}`, `${'{{a  '.repeat(20_000)}}`]

  const started = performance.now()
  for (const template of hostile) fillText(template, {})

  expect(performance.now() - started).toBeLessThan(2_000)
})

describe('numbers and keys that JSON leaves open', () => {
  test.each([
    ['a number beyond all bounds', '{"target_agent":"devops","subject":"x","payload":{"n":1e400}}'],
    ['a priority beyond all bounds', '{"target_agent":"devops","subject":"x","priority":1e400}'],
  ])('%s is refused', async (_what, raw) => {
    expect(told(await api.operate('POST', '/v1/jobs', { raw }))).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
  })

  test('of a key that comes twice the last one is checked and stored', async () => {
    const answer = await api.operate('POST', '/v1/jobs', { raw: '{"target_agent":"nobody","target_agent":"devops","subject":"x","payload":{"a":1,"a":2}}' })

    expect([answer.status, answer.body['target_agent'], answer.body['payload']]).toEqual([201, 'devops', { a: 2 }])
  })
})

test('results that an agent made up cannot leave the shape of a workflow: paths into them end in nothing', async () => {
  await api.operate('POST', '/v1/workflows', {
    body: {
      name: 'paths',
      steps: [
        { id: 'a', agent: 'devops' },
        { id: 'b', agent: 'devops', needs: ['a'], if: { 'steps.a.result.ok': true }, payload: { x: '{{steps.a.result.length}}' } },
      ],
    },
  })
  const started = (await api.operate('POST', '/v1/workflows/paths/runs', { body: {} })).body as { run: { id: string }; steps: { step: string; job_id: string | null }[] }
  const job = started.steps.find(({ step }) => step === 'a')?.job_id
  const claimed = (await api.operate('POST', '/v1/jobs/claim', { body: { lease_owner: 'me', limit: 50 } })).body as { items: { job: { id: string }; attempt_token: string }[] }
  const mine = claimed.items.find((one) => one.job.id === job)

  await api.call('POST', `/v1/jobs/${job ?? ''}/complete`, {
    token: mine?.attempt_token,
    body: { result: { ok: true, 'steps.b.status': '{{inputs.secret}}', length: '{{run.id}}' } },
  })

  const after = (await api.operate('GET', `/v1/workflow-runs/${started.run.id}`)).body as { steps: { step: string; job_id: string }[] }
  const second = await api.t.ledger.getJob(after.steps.find(({ step }) => step === 'b')?.job_id as never)
  expect(second.payload).toEqual({ x: '{{run.id}}' })
})

test('an old attempt writes nothing, in none of the calls that its token was for', async () => {
  const job = await aJob(api.t.ledger, 'running')
  await api.t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where id = $1`, [job.attemptId])
  await api.operate('POST', '/v1/jobs/requeue-expired', { body: {} })
  const bodies = { complete: {}, block: { blocked_reason: 'x' }, fail: { last_error: 'x' }, renew: {}, progress: { note: 'x' }, 'mark-running': {} }

  const answers = await Promise.all(Object.entries(bodies).map(([verb, body]) => api.call('POST', `/v1/jobs/${job.id}/${verb}`, { token: job.attemptToken, body })))

  expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(409))
  expect((await api.t.ledger.getJob(job.id)).status).toBe('queued')
})
