import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TOKEN_PLACE } from '../../cli/hook-prompts.js'
import { readOrder } from '../../openclaw/simulator/scripted-agent.js'
import { startTestBus, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

let t: TestBus
let url: string
let operator: string
beforeAll(async () => {
  t = await startTestBus({ api: true, agents: { devops: { concurrency: 4 }, auditor: {} } })
  url = t.bus.url ?? ''
  operator = (await t.ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })).token
})
afterAll(() => t.stop())

async function call(
  method: string,
  path: string,
  options: { token?: string; body?: unknown; headers?: Record<string, string>; raw?: string } = {},
): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> {
  const sent = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
  })
  const text = await response.text()
  return { status: response.status, body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : { text }, headers: response.headers }
}

describe('over REST', () => {
  test("a job is created, delivered, closed with the attempt's own token, and its history is read", async () => {
    let token = ''
    t.behave(async (hands) => {
      token = readOrder(hands.run.message)?.token ?? ''
      const closed = await call('POST', `/v1/jobs/${hands.jobId}/complete`, { token, body: { summary: 'done', result: { ok: true } } })
      expect(closed.status).toBe(200)
    })

    const created = await call('POST', '/v1/jobs', { token: operator, body: { target_agent: 'devops', subject: 'over rest' } })
    const id = String(created.body['id'])
    await t.until(id as never, (job) => job.status === 'succeeded')

    const history = await call('GET', `/v1/jobs/${id}/history`, { token: operator })
    const dead = await call('GET', `/v1/jobs/${id}`, { token })
    const late = await call('POST', `/v1/jobs/${id}/complete`, { token, body: {} })
    expect(created.status).toBe(201)
    expect(created.headers.get('etag')).toBe('"1"')
    expect((history.body['transitions'] as { to_status: string }[]).at(-1)?.to_status).toBe('succeeded')
    expect(dead.status).toBe(401)
    expect([late.status, late.body['code']]).toEqual([409, 'AGENTBUS_ALREADY_CLOSED'])
  })

  test('a prompt is stored and shown without the token that stood in it', async () => {
    let sent = ''
    t.behave(async (hands) => {
      sent = hands.run.message
      await hands.complete()
    })
    const job = await t.enqueue()
    await t.until(job.id, ({ status }) => status === 'succeeded')
    const [attempt] = await t.ledger.jobAttempts(job.id)

    const shown = await call('GET', `/v1/attempts/${attempt?.id}/prompt`, { token: operator })

    const token = readOrder(sent)?.token ?? ''
    expect(token).toMatch(/^aat_/)
    expect(shown.status).toBe(200)
    expect(String(shown.body['body'])).toContain(TOKEN_PLACE)
    const { rows } = await t.ledger.db.execute(sql`select count(*)::int as n, count(*) filter (where body like '%aat\\_%')::int as with_token from prompts`)
    expect(rows).toEqual([{ n: expect.any(Number), with_token: 0 }])
    expect(JSON.stringify(shown.body)).not.toContain(token)
  })

  test('nothing but the probes answers without a token', async () => {
    const paths = ['/v1/jobs', '/v1/openapi.json', '/metrics', '/board', '/nowhere', '/v1/agents']

    const answers = await Promise.all(paths.map((path) => call('GET', path)))

    expect(answers.map((answer) => answer.status)).toEqual(paths.map(() => 401))
    expect((await call('GET', '/healthz')).status).toBe(200)
    expect((await call('GET', '/readyz')).body).toEqual({ ready: true, failing: [] })
  })

  test("another job's token is refused, with a row", async () => {
    const tokens: string[] = []
    t.behave(async (hands) => {
      tokens.push(readOrder(hands.run.message)?.token ?? '')
      await hands.run.pause(60_000)
    })
    const mine = await t.enqueue()
    await t.until(mine.id, (job) => job.status === 'running')
    const other = await t.enqueue()
    await t.until(other.id, (job) => job.status === 'running')

    const refused = await call('POST', `/v1/jobs/${other.id}/complete`, { token: tokens[0] ?? '', body: {} })
    const reading = await call('GET', `/v1/jobs/${other.id}`, { token: tokens[0] ?? '' })
    const enqueuing = await call('POST', '/v1/jobs', { token: tokens[0] ?? '', body: { target_agent: 'devops', subject: 'x' } })

    expect([refused.status, reading.status, enqueuing.status]).toEqual([403, 403, 403])
    expect((await t.ledger.jobHistory(other.id)).observations.filter((row) => row.code === 'AGENTBUS_FORBIDDEN')).toHaveLength(2)
    for (const job of [mine, other]) await t.ledger.jobs.cancel(OPERATOR, job.id, 'end of test')
  })

  test.each([
    ['text that no store can hold', { target_agent: 'devops', subject: 'a\u0000b' }, 400, 'AGENTBUS_UNSTORABLE_TEXT'],
    ['a lone surrogate in the payload', { target_agent: 'devops', subject: 'x', payload: { deep: ['\ud800'] } }, 400, 'AGENTBUS_UNSTORABLE_TEXT'],
    ['a priority out of range', { target_agent: 'devops', subject: 'x', priority: 1001 }, 400, 'AGENTBUS_BAD_REQUEST'],
    ['an unknown field', { target_agent: 'devops', subject: 'x', colour: 'red' }, 400, 'AGENTBUS_BAD_REQUEST'],
    ['an unknown agent', { target_agent: 'nobody', subject: 'x' }, 422, 'AGENTBUS_UNKNOWN_AGENT'],
    ['a body that is too large', { target_agent: 'devops', subject: 'x', payload: { big: 'x'.repeat(300_000) } }, 413, 'AGENTBUS_TOO_LARGE'],
  ])('%s is a clear problem document, and nothing changes', async (_what, body, status, code) => {
    const before = await t.ledger.listJobs({ limit: 1 })

    const answer = await call('POST', '/v1/jobs', { token: operator, body })

    expect([answer.status, answer.body['code']]).toEqual([status, code])
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(answer.body).toMatchObject({ title: expect.any(String), detail: expect.any(String), next: expect.any(String), instance: answer.headers.get('x-request-id') })
    expect((await t.ledger.listJobs({ limit: 1 })).items[0]?.id).toBe(before.items[0]?.id)
  })

  test('broken JSON, a wrong type, a wrong method, a wrong path and a wrong id each get their own 4xx', async () => {
    const answers = [
      await call('POST', '/v1/jobs', { token: operator, raw: '{"a":' }),
      await call('POST', '/v1/jobs', { token: operator, raw: 'a=1', headers: { 'content-type': 'application/x-www-form-urlencoded' } }),
      await call('PUT', '/v1/jobs', { token: operator }),
      await call('GET', '/v1/nothing', { token: operator }),
      await call('GET', '/v1/jobs/not-an-id', { token: operator }),
      await call('GET', '/v1/jobs/%zz', { token: operator }),
      await call('GET', '/v1/jobs?limit=1&limit=2', { token: operator }),
    ]

    expect(answers.map((answer) => answer.status)).toEqual([400, 415, 405, 404, 400, 400, 400])
    expect(answers[2]?.headers.get('allow')).toContain('POST')
  })

  test('an Idempotency-Key makes 16 requests one job, and refuses another request', async () => {
    const headers = { 'idempotency-key': `k-${Math.random()}` }
    const body = { target_agent: 'auditor', subject: 'once', run_after: '2099-01-01T00:00:00Z' }

    const answers = await Promise.all(Array.from({ length: 16 }, () => call('POST', '/v1/jobs', { token: operator, body, headers })))
    const other = await call('POST', '/v1/jobs', { token: operator, body: { ...body, subject: 'another' }, headers })

    expect(new Set(answers.map((answer) => answer.body['id'])).size).toBe(1)
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([201]))
    expect([other.status, other.body['code']]).toEqual([422, 'AGENTBUS_IDEMPOTENCY_MISMATCH'])
  })

  test('If-Match protects a change, and If-None-Match saves an answer', async () => {
    const job = await t.enqueue({ target_agent: 'auditor', run_after: '2099-01-01T00:00:00Z' })

    const same = await call('GET', `/v1/jobs/${job.id}`, { token: operator, headers: { 'if-none-match': '"1"' } })
    const stale = await call('POST', `/v1/jobs/${job.id}/cancel`, { token: operator, body: { reason: 'x' }, headers: { 'if-match': '"7"' } })
    const right = await call('POST', `/v1/jobs/${job.id}/cancel`, { token: operator, body: { reason: 'x' }, headers: { 'if-match': '"1"' } })

    expect([same.status, stale.status, right.status]).toEqual([304, 412, 200])
  })

  test('pages by cursor see each job once', async () => {
    for (let at = 0; at < 25; at += 1) await t.enqueue({ target_agent: 'auditor', flow_key: 'pages', run_after: '2099-01-01T00:00:00Z' })
    const seen: string[] = []
    let cursor = ''

    do {
      const page = await call('GET', `/v1/jobs?flow_key=pages&limit=7${cursor === '' ? '' : `&cursor=${cursor}`}`, { token: operator })
      seen.push(...(page.body['items'] as { id: string }[]).map((item) => item.id))
      cursor = typeof page.body['next_cursor'] === 'string' ? page.body['next_cursor'] : ''
    } while (cursor !== '')

    expect(seen).toHaveLength(25)
    expect(new Set(seen).size).toBe(25)
  })

  test('the 21st wrong token in a minute is told to wait, and a right one still works', async () => {
    const answers = []

    for (let at = 0; at < 22; at += 1) answers.push(await call('GET', '/v1/jobs', { token: `abt_wrong${at}` }))

    expect(answers.slice(0, 20).every((answer) => answer.status === 401)).toBe(true)
    expect(answers[21]?.status).toBe(429)
    expect(Number(answers[21]?.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await call('GET', '/v1/jobs', { token: operator })).status).toBe(200)
  })

  test('the OpenAPI document is whole: every reference resolves, every operation has a name of its own', async () => {
    const { body } = await call('GET', '/v1/openapi.json', { token: operator })
    const text = JSON.stringify(body)

    const references = [...text.matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1] ?? '')
    const operations = [...text.matchAll(/"operationId":"([^"]+)"/g)].map((match) => match[1])

    expect(body['openapi']).toBe('3.1.0')
    expect(references.length).toBeGreaterThan(30)
    for (const reference of references) expect([reference, resolveReference(body, reference) !== undefined]).toEqual([reference, true])
    expect(new Set(operations).size).toBe(operations.length)
  })

  test('metrics are there for an operator, with bounded labels', async () => {
    const { status, body } = await call('GET', '/metrics', { token: operator })

    expect(status).toBe(200)
    expect(String(body['text'])).toMatch(/agentbus_gateway_up\{gateway="gw"\} 1/)
    expect(String(body['text'])).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/)
  })
})

function resolveReference(document: Record<string, unknown>, reference: string): unknown {
  return reference.split('/').reduce<unknown>((at, key) => (at !== null && typeof at === 'object' ? (at as Record<string, unknown>)[key] : undefined), document)
}

describe('at the board', () => {
  const basic = (): Record<string, string> => ({ authorization: `Basic ${Buffer.from(`anna:${operator}`).toString('base64')}` })

  test('a person sees every agent queue, after signing in', async () => {
    const page = await call('GET', '/board', { headers: basic() })
    const queues = await call('GET', '/board/api/queues', { headers: basic() })

    expect(page.status).toBe(200)
    expect((queues.body['queues'] as { name: string }[]).map((queue) => queue.name).sort()).toEqual(['agent-auditor', 'agent-devops'])
  })

  test('a retry, a removal, a promotion and a pause reach the ledger, attributed to the board', async () => {
    t.behave(async (hands) => {
      if (hands.attemptNo === 1) await hands.fail({ last_error: 'no good' })
      else await hands.complete()
    })
    const failed = await t.enqueue()
    await t.until(failed.id, (job) => job.status === 'failed')
    const delayed = await t.enqueue({ target_agent: 'auditor', run_after: '2099-01-01T00:00:00Z' })
    const unwanted = await t.enqueue({ target_agent: 'auditor', run_after: '2099-01-01T00:00:00Z' })
    await expect.poll(async () => (await t.ledger.outboxLag()).rows).toBe(0)

    const answers = [
      await call('PUT', `/board/api/queues/agent-devops/${failed.id}-g1/retry/failed`, { headers: basic() }),
      await call('PUT', `/board/api/queues/agent-auditor/${unwanted.id}-g1/clean`, { headers: basic() }),
      await call('PUT', `/board/api/queues/agent-auditor/${delayed.id}-g1/promote`, { headers: basic() }),
      await call('PUT', '/board/api/queues/agent-devops/pause', { headers: basic() }),
    ]
    const paused = (await t.ledger.listAgents('devops'))[0]?.paused
    await call('PUT', '/board/api/queues/agent-devops/resume', { headers: basic() })

    expect(answers.map((answer) => answer.status)).toEqual([204, 204, 204, 204])
    expect(paused).toBe(true)
    await t.until(failed.id, (job) => job.status === 'succeeded')
    expect((await t.ledger.getJob(unwanted.id)).status).toBe('cancelled')
    const { transitions } = await t.ledger.jobHistory(failed.id)
    expect(transitions.find((row) => row.reason === 'operator_retry')).toMatchObject({ actor_kind: 'board', actor: 'anna' })
    // Promoted: its first attempt fails at once, which shows that it was delivered long before its time.
    await t.until(delayed.id, (job) => job.status === 'failed')
  })

  test.each([
    ['PUT', '/board/api/queues/agent-devops/empty'],
    ['PUT', '/board/api/queues/agent-devops/obliterate'],
    ['POST', '/board/api/queues/agent-devops/add'],
    ['PATCH', '/board/api/queues/agent-devops/x/update-data'],
  ])('%s %s would go past the ledger: it is refused, with a row', async (method, path) => {
    const { rows: before } = await t.ledger.db.execute(`select count(*)::int as n from observations where code = 'AGENTBUS_BOARD_REFUSED'`)

    const answer = await call(method, path, { headers: basic(), body: {} })

    const { rows: after } = await t.ledger.db.execute(`select count(*)::int as n from observations where code = 'AGENTBUS_BOARD_REFUSED'`)
    expect(answer.status).toBe(405)
    expect(Number(after[0]?.['n'])).toBe(Number(before[0]?.['n']) + 1)
  })

  test('a request from another site is refused', async () => {
    const answer = await call('PUT', '/board/api/queues/agent-devops/pause', { headers: { ...basic(), origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' } })

    expect(answer.status).toBe(403)
    expect((await t.ledger.listAgents('devops'))[0]?.paused).toBe(false)
  })
})
