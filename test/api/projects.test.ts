import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApi, type Answer, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

let names = 0
const aProject = (): string => `/v1/projects/project-${(names += 1)}`
const put = (path: string, status: string, headers: Record<string, string> = {}): Promise<Answer> => api.operate('PUT', `${path}/status`, { body: { status }, headers })

describe('PUT of a project status', () => {
  test('answers 201 for the first and 200 for each after it, with the version as ETag', async () => {
    const path = aProject()

    const answers = [await put(path, 'planned'), await put(path, 'planned'), await api.operate('GET', `${path}/status`)]

    expect(answers.map(({ status, headers, body }) => [status, headers.get('etag'), body['version']])).toEqual([
      [201, '"1"', 1],
      [200, '"2"', 2],
      [200, '"2"', 2],
    ])
  })

  test('on a version that is no longer the newest is refused with the newest', async () => {
    const path = aProject()
    await put(path, 'planned')
    await put(path, 'begun', { 'if-match': '"1"' })

    const late = await put(path, 'dropped', { 'if-match': '"1"' })

    expect([late.status, late.body['code'], late.body['version']]).toEqual([412, 'AGENTBUS_VERSION_MISMATCH', 2])
    expect((await api.operate('GET', `${path}/status`)).body).toMatchObject({ version: 2, status: 'begun' })
  })

  test('with one Idempotency-Key is one version', async () => {
    const path = aProject()
    const once = { 'idempotency-key': `status-of-${path}` }

    const [first, again] = [await put(path, 'planned', once), await put(path, 'planned', once)]

    expect([again.status, again.text, again.headers.get('idempotency-replayed')]).toEqual([first.status, first.text, 'true'])
    expect((await api.operate('GET', `${path}/statuses`)).body['items']).toHaveLength(1)
  })

  test('is open to an agent that the fleet file names, and only to it', async () => {
    const path = aProject()
    const token = await api.t.agentToken('devops')
    const write = () => api.call('PUT', `${path}/status`, { token, body: { status: 'on track' } })
    const before = await write()
    const fleet = {
      gateways: [{ id: 'gw', base_url: 'http://127.0.0.1:9', token: 'env:TEST_HOOK_TOKEN' }],
      agents: [{ id: 'devops', gateway: 'gw', concurrency: 100 }],
      authority: { project_status: ['devops'] },
    }
    await api.operate('POST', '/v1/fleet', { body: { fleet } })

    const after = await write()

    expect([before.status, before.body['detail'], after.status]).toEqual([403, expect.stringContaining('devops may not write the status of project project-'), 201])
  })
})

test('a status that is known is answered with 304; one that is not there with 404', async () => {
  const path = aProject()
  const missing = await api.operate('GET', `${path}/status`)
  await put(path, 'planned')

  const known = await api.operate('GET', `${path}/status`, { headers: { 'if-none-match': '"1"' } })

  expect([missing.status, missing.body['code'], known.status]).toEqual([404, 'AGENTBUS_NOT_FOUND', 304])
})

test.each([
  ['POST', '/v1/projects/shop/log', { entry: '' }],
  ['POST', '/v1/projects/shop/log', { entry: 'x'.repeat(8_001) }],
  ['POST', '/v1/projects/shop/log', { entry: 'a\0b' }],
  ['POST', '/v1/projects/shop/log', { entry: 'x', details: [] }],
  ['POST', '/v1/projects/shop/log', { entry: 'x', colour: 'red' }],
  ['POST', '/v1/projects/-shop/log', { entry: 'x' }],
  ['POST', `/v1/projects/${'p'.repeat(101)}/log`, { entry: 'x' }],
  ['POST', '/v1/projects/%00/log', { entry: 'x' }],
  ['PUT', '/v1/projects/shop/status', {}],
  ['PUT', '/v1/projects/shop/status', { status: 'x'.repeat(201) }],
  ['PUT', '/v1/projects/shop/status', { status: 'x', body: 'x'.repeat(20_001) }],
  ['PUT', '/v1/projects/shop/status', { status: 'x', version: 3 }],
  ['GET', '/v1/projects/shop/log?cursor=x', undefined],
  ['GET', '/v1/projects/shop/log?cursor=9999999999999999999', undefined],
  ['GET', '/v1/projects/shop/statuses?cursor=9999999999', undefined],
  ['GET', '/v1/projects?cursor=shop', undefined],
  ['GET', '/v1/projects?limit=201', undefined],
])('%s %s with %j is refused, and nothing is written', async (method, path, body) => {
  const before = [await api.count('project_log'), await api.count('project_statuses')]

  const answer = await api.operate(method, path, { body })

  expect([answer.status, answer.body['code']]).toEqual([400, expect.stringMatching(/^AGENTBUS_(BAD_REQUEST|UNSTORABLE_TEXT)$/)])
  expect([await api.count('project_log'), await api.count('project_statuses')]).toEqual(before)
})

test('a log is read page by page with the cursor of the last', async () => {
  const path = aProject()
  for (const entry of ['one', 'two', 'three']) await api.operate('POST', `${path}/log`, { body: { entry } })

  const first = await api.operate('GET', `${path}/log?limit=2`)
  const rest = await api.operate('GET', `${path}/log?limit=2&cursor=${String(first.body['next_cursor'])}`)

  const entries = [first, rest].flatMap(({ body }) => (body['items'] as { entry: string }[]).map(({ entry }) => entry))
  expect([entries, rest.body['next_cursor']]).toEqual([['three', 'two', 'one'], null])
})
