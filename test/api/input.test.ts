import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ERRORS, type ErrorCode } from '../../contracts/errors.js'
import { aJob } from '../support/ledger.js'
import { aBody, startApi, type Answer, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

/** A sum over everything that a request could have written. */
async function everything(): Promise<number[]> {
  return Promise.all((['jobs', 'events', 'job_transitions', 'api_tokens'] as const).map((table) => api.count(table)))
}

function expectProblem(answer: Answer, code: ErrorCode): void {
  const { status, title, next } = ERRORS[code]
  expect({ status: answer.status, body: answer.body }).toMatchObject({ status, body: { code, status, title, next, type: `/v1/errors#${code}` } })
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(String(answer.body['detail'])).not.toBe('')
  expect(answer.body['instance']).toBe(answer.headers.get('x-request-id'))
}

const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`

describe('what cannot be stored or understood is refused, and nothing changes', () => {
  const post = (body: unknown) => ({ method: 'POST', path: '/v1/jobs', body })
  const raw = (text: string | Buffer, headers: Record<string, string> = {}) => ({ method: 'POST', path: '/v1/jobs', raw: text, headers })
  const get = (path: string) => ({ method: 'GET', path })
  const cases: readonly (readonly [string, { method: string; path: string; body?: unknown; raw?: string | Buffer; headers?: Record<string, string> }, ErrorCode])[] = [
    ['U+0000 in a subject', post(aBody({ subject: 'a\0b' })), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 deep in a payload', post(aBody({ payload: { a: [{ b: '\0' }] } })), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in a key of a payload', post(aBody({ payload: { 'a\0': 1 } })), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['a lone high surrogate', raw('{"target_agent":"devops","subject":"\\ud800"}'), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['a lone low surrogate', raw('{"target_agent":"devops","subject":"x","payload":{"a":"\\udc00"}}'), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in a dedupe key', post(aBody({ dedupe_key: '\0' })), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in a token name', { method: 'POST', path: '/v1/tokens', body: { name: '\0', role: 'auditor' } }, 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in a query', get('/v1/jobs?flow_key=%00'), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in a topic to look for', get('/v1/events?topic=%00'), 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in an agent id', get('/v1/agents/%00'), 'AGENTBUS_BAD_REQUEST'],
    [
      'U+0000 in the URL of a gateway',
      { method: 'POST', path: '/v1/fleet', body: { fleet: { gateways: [{ id: 'g', base_url: 'http://x/\0', token: 'env:X' }] } } },
      'AGENTBUS_UNSTORABLE_TEXT',
    ],
    [
      'U+0000 in the token reference of a gateway',
      { method: 'POST', path: '/v1/fleet', body: { fleet: { gateways: [{ id: 'g', base_url: 'http://x/', token: 'file:/a\0' }] } } },
      'AGENTBUS_UNSTORABLE_TEXT',
    ],
    ['a payload nested 33 levels deep', raw(`{"target_agent":"devops","subject":"x","payload":{"a":${deep(33)}}}`), 'AGENTBUS_BAD_REQUEST'],
    ['a body nested 100,000 levels deep', raw(`{"target_agent":"devops","subject":"x","payload":{"a":${deep(100_000)}}}`), 'AGENTBUS_BAD_REQUEST'],
    ['nesting where no object is expected', raw(`{"target_agent":${deep(100_000)},"subject":"x"}`), 'AGENTBUS_BAD_REQUEST'],
    ['__proto__ in a payload', raw('{"target_agent":"devops","subject":"x","payload":{"__proto__":{"x":1}}}'), 'AGENTBUS_BAD_REQUEST'],
    ['__proto__ deep in a payload', raw('{"target_agent":"devops","subject":"x","payload":{"a":{"__proto__":1}}}'), 'AGENTBUS_BAD_REQUEST'],
    ['__proto__ in the body', raw('{"target_agent":"devops","subject":"x","__proto__":{"priority":1}}'), 'AGENTBUS_BAD_REQUEST'],
    ['a number that JSON cannot write', raw('{"target_agent":"devops","subject":"x","payload":{"n":1e400}}'), 'AGENTBUS_BAD_REQUEST'],
    ['a payload that is an array', post(aBody({ payload: [] })), 'AGENTBUS_BAD_REQUEST'],
    ['a payload of 5,001 keys', post(aBody({ payload: Object.fromEntries(Array.from({ length: 5_001 }, (_none, at) => [`k${at}`, 0])) })), 'AGENTBUS_BAD_REQUEST'],
    ['a payload over 128 KiB', post(aBody({ payload: { a: 'x'.repeat(140_000) } })), 'AGENTBUS_BAD_REQUEST'],
    ['an unknown field', post(aBody({ colour: 'red' })), 'AGENTBUS_BAD_REQUEST'],
    ['a missing field', post({ target_agent: 'devops' }), 'AGENTBUS_BAD_REQUEST'],
    ['an empty body', post(undefined), 'AGENTBUS_BAD_REQUEST'],
    ['a priority of 1001', post(aBody({ priority: 1001 })), 'AGENTBUS_BAD_REQUEST'],
    ['a priority of 1.5', post(aBody({ priority: 1.5 })), 'AGENTBUS_BAD_REQUEST'],
    ['a number as text', post(aBody({ priority: '5' })), 'AGENTBUS_BAD_REQUEST'],
    ['a year that Postgres does not know', post(aBody({ run_after: '0000-01-01T00:00:00Z' })), 'AGENTBUS_BAD_REQUEST'],
    ['an offset that Postgres does not know', post(aBody({ run_after: '2030-01-01T00:00:00+23:00' })), 'AGENTBUS_BAD_REQUEST'],
    ['an agent that nobody knows', post(aBody({ target_agent: 'nobody' })), 'AGENTBUS_UNKNOWN_AGENT'],
    ['a dependency that nobody knows', post(aBody({ depends_on: ['0192f0c4-1111-7000-8000-00000000000a'] })), 'AGENTBUS_UNKNOWN_DEPENDENCY'],
    ['a parent that nobody knows', post(aBody({ parent_job_id: '0192f0c4-1111-7000-8000-00000000000a' })), 'AGENTBUS_JOB_NOT_FOUND'],
    ['JSON that breaks off', raw('{"a":'), 'AGENTBUS_BAD_REQUEST'],
    ['JSON that is no object', raw('"text"'), 'AGENTBUS_BAD_REQUEST'],
    ['an array', raw('[]'), 'AGENTBUS_BAD_REQUEST'],
    ['a form', raw('a=1', { 'content-type': 'application/x-www-form-urlencoded' }), 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE'],
    ['text', raw('{}', { 'content-type': 'text/plain' }), 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE'],
    ['a patch format', raw('{}', { 'content-type': 'application/merge-patch+json' }), 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE'],
    ['another character set', raw('{}', { 'content-type': 'application/json; charset=koi8-r' }), 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE'],
    ['a compressed body', raw(gzipSync(JSON.stringify(aBody())), { 'content-encoding': 'gzip' }), 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE'],
    ['a body over 256 KiB', raw(JSON.stringify(aBody({ state: { a: 'x'.repeat(270_000) } }))), 'AGENTBUS_TOO_LARGE'],
    ['a query parameter given twice', get('/v1/jobs?limit=1&limit=2'), 'AGENTBUS_BAD_REQUEST'],
    ['a query parameter that is not known', get('/v1/jobs?colour=red'), 'AGENTBUS_BAD_REQUEST'],
    ['a limit of 0', get('/v1/jobs?limit=0'), 'AGENTBUS_BAD_REQUEST'],
    ['a limit of 201', get('/v1/jobs?limit=201'), 'AGENTBUS_BAD_REQUEST'],
    ['an empty limit', get('/v1/jobs?limit='), 'AGENTBUS_BAD_REQUEST'],
    ['a cursor of our own making', get('/v1/jobs?cursor=1'), 'AGENTBUS_BAD_REQUEST'],
    ['a cursor beyond what Postgres counts to', get('/v1/events?cursor=9999999999999999999'), 'AGENTBUS_BAD_REQUEST'],
    ['an id that is no uuid', get('/v1/jobs/not-an-id'), 'AGENTBUS_BAD_REQUEST'],
    ['an id with more behind it', get("/v1/jobs/0192f0c4-1111-7000-8000-00000000000a'--"), 'AGENTBUS_BAD_REQUEST'],
    ['a broken percent-encoding', get('/v1/jobs/%zz'), 'AGENTBUS_BAD_REQUEST'],
    ['a percent-encoding that is no UTF-8', get('/v1/jobs/%ff'), 'AGENTBUS_BAD_REQUEST'],
    ['an id that nobody knows', get('/v1/jobs/0192f0c4-1111-7000-8000-00000000000a'), 'AGENTBUS_JOB_NOT_FOUND'],
    ['an attempt that nobody knows', get('/v1/attempts/0192f0c4-1111-7000-8000-00000000000a'), 'AGENTBUS_NOT_FOUND'],
    ['a prompt that nobody knows', get('/v1/attempts/0192f0c4-1111-7000-8000-00000000000a/prompt'), 'AGENTBUS_NOT_FOUND'],
    ['an agent to look at that nobody knows', get('/v1/agents/nobody'), 'AGENTBUS_NOT_FOUND'],
    ['a path that is not there', get('/v1/nothing'), 'AGENTBUS_NOT_FOUND'],
    ['an event for a topic with a space', { method: 'POST', path: '/v1/events', body: { topic: 'a b' } }, 'AGENTBUS_BAD_REQUEST'],
    [
      'an event from a job that nobody knows',
      { method: 'POST', path: '/v1/events', body: { topic: 'a.b', source_job_id: '0192f0c4-1111-7000-8000-00000000000a' } },
      'AGENTBUS_JOB_NOT_FOUND',
    ],
  ]

  test.each(cases)('%s', async (_what, { method, path, ...sent }, code) => {
    const before = await everything()

    const answer = await api.operate(method, path, sent)

    expectProblem(answer, code)
    expect(await everything()).toEqual(before)
    expect((await api.operate('GET', '/v1/agents')).status).toBe(200)
  })
})

test('a block that waits for a topic no event can have is refused, and the attempt stays open', async () => {
  const job = await aJob(api.t.ledger, 'running')

  const answer = await api.call('POST', `/v1/jobs/${job.id}/block`, { token: job.attemptToken, body: { blocked_reason: 'x', waits_for: { kind: 'event', topic: 'a\0' } } })

  expectProblem(answer, 'AGENTBUS_BAD_REQUEST')
  expect((await api.t.ledger.getJob(job.id)).status).toBe('running')
})

test('a close whose follow-up cannot be stored changes nothing', async () => {
  const job = await aJob(api.t.ledger, 'running')

  const answer = await api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: { follow_ups: [aBody({ subject: '\0' })] } })

  expectProblem(answer, 'AGENTBUS_UNSTORABLE_TEXT')
  expect(answer.body['errors']).toEqual([{ path: 'body.follow_ups.0.subject', message: expect.stringContaining('U+0000') }])
  expect((await api.t.ledger.getJob(job.id)).status).toBe('running')
})

test('every fault of a request is told at once, each with its place', async () => {
  const answer = await api.operate('POST', '/v1/jobs', { body: { target_agent: '-', subject: '', priority: 0, payload: { a: '\0' }, lane: 'fast', colour: 1, depends_on: ['x'] } })

  expectProblem(answer, 'AGENTBUS_BAD_REQUEST')
  const paths = (answer.body['errors'] as { path: string }[]).map((fault) => fault.path)
  expect(paths.sort()).toEqual(['body', 'body.depends_on.0', 'body.lane', 'body.payload', 'body.priority', 'body.subject', 'body.target_agent'])
})

test('a request id is taken over when it is harmless, and replaced when it is not', async () => {
  const kept = await api.operate('GET', '/v1/nothing', { headers: { 'x-request-id': 'req-7.a_B' } })
  const replaced = await api.operate('GET', '/v1/nothing', { headers: { 'x-request-id': '<script>' } })

  expect(kept.body['instance']).toBe('req-7.a_B')
  expect(replaced.body['instance']).toMatch(/^[0-9a-f-]{36}$/)
})

test('text comes back as it was sent, in every plane and direction', async () => {
  const subject = '\u{1F600} é é \u202e \u{10FFFF} "\\\' --'
  const payload = { '': 1, ключ: ['\u2028', 1e21, -0.5, true, null], nested: { $ref: 'x', constructor: 'y' } }

  const made = await api.operate('POST', '/v1/jobs', { body: aBody({ subject, payload }) })
  const read = await api.operate('GET', `/v1/jobs/${String(made.body['id'])}`)

  expect(read.body).toMatchObject({ subject, payload })
})

describe('a body in chunks', () => {
  /** Sends a body without its length, piece by piece, as long as the server listens. */
  async function sendChunks(pieces: readonly string[], headers: Record<string, string> = {}): Promise<{ status: number; body: string; connection: string | undefined }> {
    const sent = request(`${api.url}/v1/jobs`, { method: 'POST', headers: { authorization: `Bearer ${api.t.operatorToken}`, 'content-type': 'application/json', ...headers } })
    sent.on('error', () => undefined)
    for (const piece of pieces) sent.write(piece)
    sent.end()
    const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream & { statusCode: number; headers: Record<string, string | undefined> }]
    let body = ''
    for await (const chunk of response) body += chunk.toString()
    return { status: response.statusCode, body, connection: response.headers['connection'] }
  }

  test('is taken', async () => {
    const text = JSON.stringify(aBody())

    const answer = await sendChunks([text.slice(0, 10), text.slice(10)])

    expect(answer.status).toBe(201)
  })

  test('is refused as soon as it is over 256 KiB, and the connection is closed', async () => {
    const answer = await sendChunks(['{"target_agent":"', ...Array<string>(40).fill('x'.repeat(10_000)), '"}'])

    expect([answer.status, (JSON.parse(answer.body) as { code: string }).code]).toEqual([413, 'AGENTBUS_TOO_LARGE'])
  })

  test('of exactly 256 KiB is read', async () => {
    const open = '{"target_agent":"devops","subject":"x","state":{"a":"'
    const between = '"},"payload":{"a":"'
    const close = '"}}'
    const room = 262_144 - open.length - between.length - close.length
    const half = Math.floor(room / 2)

    const answer = await sendChunks([open, 'x'.repeat(half), between, 'x'.repeat(room - half), close])
    const over = await sendChunks([open, 'x'.repeat(half), between, 'x'.repeat(room - half + 1), close])

    expect([answer.status, over.status]).toEqual([201, 413])
  })
})

describe('requests that are no HTTP', () => {
  async function sendRaw(text: string): Promise<string> {
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
    socket.write(text)
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    await once(socket, 'close')
    return answer
  }

  test.each([
    ['another protocol', 'SSH-2.0-x\r\n\r\n', '400'],
    ['two lengths', 'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', '400'],
    ['a length and chunks together', 'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', '400'],
    ['headers of 20 KiB', `GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
  ])('%s gets %s', async (_what, text, status) => {
    const answer = await sendRaw(text)

    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  })

  test('a body that breaks off is no request', async () => {
    const before = await everything()
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
    socket.write(
      `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.t.operatorToken}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"target_agent":"devops"`,
    )

    socket.resume().end()
    await once(socket, 'close')

    expect((await api.operate('GET', '/v1/agents')).status).toBe(200)
    expect(await everything()).toEqual(before)
  })
})
