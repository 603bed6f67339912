import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { routes } from '../../api/routes/index.js'
import { OPERATOR } from '../support/ledger.js'
import { startApi, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi({
    mount: (app, requireOperator) => {
      app.use('/page', requireOperator, (_request, response) => void response.send(`hello ${String(response.locals['person'])}`))
    },
  })
})
beforeEach(() => {
  // A minute later nobody is throttled for what the test before did.
  api.clock.nowMs += 61_000
})
afterAll(() => api.close())

const ID = '0192f0c4-1111-7000-8000-00000000000a'
const basic = (password: string, user = 'anna'): Record<string, string> => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` })

describe('without a token', () => {
  const everything: [string, string][] = [
    ...routes.map((route) => [route.method.toUpperCase(), route.path.replace('{id}', ID)] satisfies [string, string]),
    ['GET', '/metrics'],
    ['GET', '/v1/openapi.json'],
  ]

  test.each<[string, string]>([
    ...everything,
    ['GET', '/'],
    ['GET', '/nowhere'],
    ['GET', '/v1'],
    ['PUT', '/v1/jobs'],
    ['GET', '/V1/JOBS'],
    ['GET', '/v1/jobs/'],
    ['GET', '//v1/jobs'],
    ['GET', '/v1/%zz'],
    ['GET', '/v1/jobs/%zz'],
    ['HEAD', '/v1/jobs'],
    ['OPTIONS', '/v1/jobs'],
  ])('%s %s is answered 401 with the way to sign in', async (method, path) => {
    const answer = await api.call(method, path)

    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="agentbus"')
    if (method !== 'HEAD') expect(answer.body['code']).toBe('AGENTBUS_UNAUTHORIZED')
  })

  test('a body is not even read', async () => {
    const answer = await api.call('POST', '/v1/jobs', { raw: '{broken' })

    expect(answer.status).toBe(401)
  })

  test.each(['/healthz', '/readyz'])('%s is answered', async (path) => {
    expect((await api.call('GET', path)).status).toBe(200)
  })
})

describe('a token', () => {
  test.each([
    ['an unknown one', 'abt_0000000000000000000000000000000000000000000'],
    ['one of another kind', 'something-else'],
    ['a forged token of an attempt', `aat_${Buffer.alloc(40, 7).toString('base64url')}`],
    ['a token of an attempt with no secret part', 'aat_AAAA'],
    ['a very long one', `abt_${'x'.repeat(400)}`],
  ])('%s is refused', async (_what, token) => {
    const answer = await api.call('GET', '/v1/jobs', { token })

    expect([answer.status, answer.body['code']]).toEqual([401, 'AGENTBUS_UNAUTHORIZED'])
    expect(answer.text).not.toContain(token)
  })

  test('works with any spelling of Bearer, and not beside another word', async () => {
    const with_ = (authorization: string) => api.call('GET', '/v1/jobs', { headers: { authorization } })

    const answers = await Promise.all(
      [`bearer ${api.t.operatorToken}`, `BEARER ${api.t.operatorToken}`, api.t.operatorToken, `Bearer ${api.t.operatorToken} x`, 'Bearer'].map(with_),
    )

    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 401, 401, 401])
  })

  test('is refused from the moment it is revoked', async () => {
    const { token, view } = await api.t.ledger.tokens.create(OPERATOR, { name: 'soon gone', role: 'auditor' })
    const before = await api.call('GET', '/v1/jobs', { token })

    await api.operate('DELETE', `/v1/tokens/${view.id}`)

    expect([before.status, (await api.call('GET', '/v1/jobs', { token })).status]).toEqual([200, 401])
  })

  test('is refused once it has expired', async () => {
    const { token } = await api.t.ledger.tokens.create(OPERATOR, { name: 'old', role: 'operator', expiresAt: '2020-01-01T00:00:00Z' })

    expect((await api.call('GET', '/v1/jobs', { token })).status).toBe(401)
  })

  test('is not taken as a password over Basic, nor from the query, except on pages', async () => {
    const inHeader = await api.call('GET', '/v1/jobs', { headers: basic(api.t.operatorToken) })
    const inQuery = await api.call('GET', `/v1/jobs?token=${api.t.operatorToken}`)

    expect([inHeader.status, inQuery.status]).toEqual([401, 401])
  })
})

describe('pages', () => {
  test('ask a browser for a password', async () => {
    const answer = await api.call('GET', '/page')

    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="agentbus", charset="UTF-8"'])
  })

  test('take an operator token as the password of any user, or as a bearer token', async () => {
    const answers = await Promise.all([
      api.call('GET', '/page', { headers: basic(api.t.operatorToken) }),
      api.call('GET', '/page', { headers: basic(api.t.operatorToken, '') }),
      api.operate('GET', '/page'),
    ])

    expect(answers.map((answer) => answer.text)).toEqual(Array(3).fill('hello test-operator'))
  })

  test('are not for agents and auditors, and each refusal has a row', async () => {
    const tokens = [await api.t.agentToken('devops'), await api.t.auditorToken()]
    const before = await api.count('observations')

    const answers = await Promise.all(tokens.map((token) => api.call('GET', '/page', { headers: basic(token) })))

    expect(answers.map((answer) => answer.status)).toEqual([403, 403])
    expect(await api.count('observations')).toBe(before + 2)
  })

  test.each([
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ 'sec-fetch-site': 'same-site' }, 403],
    [{ origin: 'https://evil.example' }, 403],
    [{ origin: 'null' }, 403],
    [{ 'sec-fetch-site': 'same-origin' }, 200],
    // Behind a proxy that names itself in Host.
    [{ 'sec-fetch-site': 'same-origin', origin: 'https://bus.example' }, 200],
    [{ 'sec-fetch-site': 'cross-site', origin: 'http://127.0.0.1' }, 403],
    [{}, 200],
  ] as const)('a change sent with %j is answered %i', async (headers, status) => {
    const answer = await api.call('POST', '/page', { headers: { ...basic(api.t.operatorToken), ...headers } })

    expect(answer.status).toBe(status)
  })

  test('that break inside at the sign-in are answered 500, and the log says why, with the request id that the answer names', async () => {
    await api.t.database.pool.query('alter table api_tokens rename to hidden_for_a_test')

    const answer = await api
      .call('GET', '/page', { headers: basic(`abt_${'x'.repeat(43)}`) })
      .finally(() => api.t.database.pool.query('alter table hidden_for_a_test rename to api_tokens'))

    expect([answer.status, answer.body['code']]).toEqual([500, 'AGENTBUS_INTERNAL'])
    const lines = api.logged.filter((line) => line.includes('"event":"http.failed"') && line.includes(`"request_id":"${String(answer.body['instance'])}"`))
    expect(lines).toEqual([expect.stringContaining('api_tokens')])
  })

  test('a change from their own origin passes', async () => {
    const answer = await api.call('POST', '/page', { headers: { ...basic(api.t.operatorToken), origin: api.url } })

    expect(answer.status).toBe(200)
  })
})

describe('guessing', () => {
  const guess = (at: number) => api.call('GET', '/v1/jobs', { token: `abt_guess${at}` })

  test('the 21st wrong token in a minute is told how long to wait; a right one works all the time; after the minute all is forgotten', async () => {
    const first = []
    for (let at = 0; at < 20; at += 1) first.push((await guess(at)).status)
    api.clock.nowMs += 20_000

    const late = await guess(21)
    const right = await api.operate('GET', '/v1/jobs')
    api.clock.nowMs += 40_000
    const after = await guess(22)

    expect(first).toEqual(Array(20).fill(401))
    expect([late.status, late.body['code'], late.headers.get('retry-after')]).toEqual([429, 'AGENTBUS_TOO_MANY_REQUESTS', '40'])
    expect([right.status, after.status]).toEqual([200, 401])
  })

  test('asking without a token is no guess', async () => {
    const answers = []

    for (let at = 0; at < 25; at += 1) answers.push((await api.call('GET', '/v1/jobs')).status)

    expect(answers).toEqual(Array(25).fill(401))
  })

  test('the password of a page counts as well', async () => {
    for (let at = 0; at < 20; at += 1) await api.call('GET', '/page', { headers: basic(`abt_wrong${at}`) })

    const late = await api.call('GET', '/page', { headers: basic('abt_wrong20') })

    expect([late.status, late.headers.get('retry-after')]).toEqual([429, '60'])
  })
})
