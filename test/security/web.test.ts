import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { aJob, OPERATOR } from '../support/ledger.js'
import { aBody, startApi, type Answer, type TestApi } from '../api/support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi({ mount: (app, requireOperator) => app.use('/page', requireOperator, (_request, response) => void response.send('hello')), waitsPerToken: 3 })
})
beforeEach(() => {
  // A minute later nobody is throttled for what the test before did.
  api.clock.nowMs += 61_000
})
afterAll(() => api.close())

const told = ({ status, body }: Answer) => [status, body['code']]

describe('another site', () => {
  test('is given no leave to read: no answer names an origin, neither to a question before nor to a request', async () => {
    const from = { origin: 'https://evil.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' }

    const answers = [
      await api.call('OPTIONS', '/v1/jobs', { headers: from }),
      await api.operate('OPTIONS', '/v1/jobs', { headers: from }),
      await api.operate('GET', '/v1/jobs', { headers: from }),
      await api.call('OPTIONS', '/page', { headers: from }),
    ]

    expect(answers.map(({ status }) => status)).toEqual([401, 405, 200, 401])
    for (const { headers } of answers) expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  test('cannot frame any answer, be it a page, data or a refusal, and no answer sets a cookie', async () => {
    const answers = [
      await api.operate('GET', '/page'),
      await api.call('GET', '/page'),
      await api.operate('GET', '/v1/jobs'),
      await api.call('GET', '/v1/jobs'),
      await api.call('GET', '/healthz'),
    ]

    for (const { headers } of answers) {
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
      expect([headers.get('set-cookie'), headers.get('x-content-type-options')]).toEqual([null, 'nosniff'])
    }
  })

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/json-but-not', 'text/plain; application/json', ''])(
    'cannot send what a form may send: a body of type %j is not read as JSON',
    async (type) => {
      const before = await api.count('jobs')

      const answer = await api.operate('POST', '/v1/jobs', { raw: JSON.stringify(aBody()), headers: { 'content-type': type } })

      expect([...told(answer), await api.count('jobs')]).toEqual([415, 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE', before])
    },
  )

  test('that has this name in its own DNS is asked for a password like anybody else', async () => {
    const answer = await api.call('POST', '/page', { headers: { origin: 'http://evil.example', host: 'evil.example' } })

    expect(answer.status).toBe(401)
  })
})

test.each([{ 'x-http-method-override': 'DELETE' }, { 'x-http-method': 'DELETE' }, { 'x-method-override': 'DELETE' }])('%j makes no other request of a GET', async (headers) => {
  const { view } = await api.t.ledger.tokens.create(OPERATOR, { name: 'stays', role: 'auditor' })

  const answers = [
    await api.operate('GET', `/v1/tokens/${view.id}`, { headers }),
    await api.operate('POST', `/v1/tokens/${view.id}?_method=DELETE`, { headers, body: { _method: 'DELETE' } }),
  ]

  expect(answers.map(({ status }) => status)).toEqual([405, 405])
  expect((await api.t.ledger.tokens.list()).find(({ id }) => id === view.id)?.revoked_at).toBeNull()
})

test.each(['..%2f..%2fetc%2fpasswd', '%2e%2e', '..%5c', '%00', '.%2e%2fjobs', '0192f0c4-1111-7000-8000-00000000000a%0d%0aX:1', "'%20or%201=1--", '🙂'])(
  'the id %s is no id, wherever one belongs',
  async (id) => {
    const answers = await Promise.all(
      [`/v1/jobs/${id}`, `/v1/jobs/${id}/history`, `/v1/attempts/${id}`, `/v1/attempts/${id}/prompt`, `/v1/agents/${id}`, `/v1/approvals/${id}`, `/v1/workflow-runs/${id}`].map(
        (path) => api.operate('GET', path),
      ),
    )

    for (const answer of answers) expect([400, 404]).toContain(answer.status)
  },
)

describe('requests that wait', () => {
  test('are bounded for each token; one more is told when to come back, and others are not held up', async () => {
    const other = await api.t.agentToken('devops')
    const job = await aJob(api.t.ledger, 'queued')
    const stop = new AbortController()
    const wait = (): Promise<unknown> =>
      fetch(`${api.url}/v1/jobs/${job.id}/result?wait=60s`, { headers: { authorization: `Bearer ${api.t.operatorToken}` }, signal: stop.signal }).catch(() => undefined)
    const waiting = [wait(), wait(), wait()]
    await expect.poll(() => api.t.ledger.waits.size).toBe(3)
    const before = await api.count('jobs')

    const refused = [await api.operate('GET', `/v1/jobs/${job.id}/result?wait=1ms`), await api.operate('POST', '/v1/jobs?wait=1ms', { body: aBody() })]
    const unhindered = [await api.operate('GET', `/v1/jobs/${job.id}/result`), await api.call('GET', `/v1/jobs/${job.id}/result?wait=1ms`, { token: other })]

    expect(refused.map(told)).toEqual(Array(2).fill([429, 'AGENTBUS_TOO_MANY_REQUESTS']))
    expect([refused[0]?.headers.get('retry-after'), await api.count('jobs')]).toEqual(['5', before])
    expect(unhindered.map(({ status }) => status)).toEqual([202, 202])
    stop.abort()
    await Promise.all(waiting)
    await expect.poll(async () => (await api.operate('GET', `/v1/jobs/${job.id}/result?wait=1ms`)).status).toBe(202)
    expect(api.t.ledger.waits.size).toBe(0)
  })
})

describe('what a client sends', () => {
  test('cannot begin a line of the log, nor a header of the answer', async () => {
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
    const before = api.logged.length
    socket.write(
      `GET /v1/jobs%0d%0aX-Forged:1?x=%0a{"level":"error"} HTTP/1.1\r\nHost: x\r\nX-Request-Id: a%0d%0aX-Forged:1\r\nAuthorization: Bearer ${api.t.operatorToken}\r\nConnection: close\r\n\r\n`,
    )
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    await once(socket, 'close')

    expect(text).toMatch(/^HTTP\/1\.1 404 /)
    expect(text.split('\r\n\r\n')[0]).not.toMatch(/^X-Forged/im)
    for (const line of api.logged.slice(before)) expect((JSON.parse(line) as { level: string }).level).not.toBe('error')
  })

  test('with a header of a bare line feed, or hidden in a second request behind a body, is not taken for another request', async () => {
    const before = await api.count('jobs')
    const body = JSON.stringify(aBody())
    const inner = `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.t.operatorToken}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const attacks = [
      `GET /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: ${inner.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n${inner}`,
      `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n${inner}`,
      `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: +${inner.length}\r\n\r\n${inner}`,
      `POST /v1/jobs HTTP/1.1\r\nHost: x\nContent-Length: 0\r\nX\r\n\r\n${inner}`,
      `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n${inner}`,
    ]

    for (const attack of attacks) {
      const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
      socket.write(attack)
      let text = ''
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
      await once(socket, 'close')
      expect(text).toMatch(/^HTTP\/1\.1 400 /)
      expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    }

    expect(await api.count('jobs')).toBe(before)
  })

  test('does not come back in a refusal when it is a secret, nor in the metrics', async () => {
    const secret = 'hunter2-hunter2-hunter2'

    const answers = [
      await api.operate('POST', '/v1/jobs', { body: aBody({ payload: { password: secret }, lane: 'nowhere' }) }),
      await api.operate('POST', '/v1/jobs', { raw: `{"target_agent":"devops","password":"${secret}"` }),
      await api.call('GET', `/v1/jobs?token=${secret}`, { headers: { authorization: `Bearer abt_${secret}`, cookie: `token=${secret}` } }),
      await api.operate('GET', `/${secret}`),
      await api.operate('GET', '/metrics'),
    ]

    expect(answers.map(({ status }) => status)).toEqual([400, 400, 401, 404, 200])
    for (const { text } of answers) expect(text).not.toMatch(/hunter2|ab?t_[A-Za-z0-9_-]{20,}/)
    expect(api.logged.join('')).not.toContain(secret)
  })

  test('is not told where the code lies, or which statement failed, when something breaks inside', async () => {
    await api.t.database.pool.query('alter table events rename to hidden_for_a_test')

    const answer = await api.operate('GET', '/v1/events')

    await api.t.database.pool.query('alter table hidden_for_a_test rename to events')
    expect(told(answer)).toEqual([500, 'AGENTBUS_INTERNAL'])
    expect(answer.text).not.toMatch(/select|relation|events|node_modules|\.ts/i)
  })
})
