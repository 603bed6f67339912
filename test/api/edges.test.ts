import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { aJob, freshLedger, leaseAs } from '../support/ledger.js'
import { aBody, startApi, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

test('a body that is no UTF-8 is refused and changes nothing', async () => {
  const before = await api.count('jobs')
  const raw = Buffer.concat([Buffer.from('{"target_agent":"devops","subject":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])

  const answer = await api.operate('POST', '/v1/jobs', { raw })

  expect([answer.status, answer.body['code'], answer.body['detail']]).toEqual([400, 'AGENTBUS_UNSTORABLE_TEXT', 'The body is not valid UTF-8.'])
  expect(await api.count('jobs')).toBe(before)
})

describe('a large body', () => {
  const fleet = {
    gateways: [{ id: 'gw', base_url: 'http://127.0.0.1:9', token: 'env:TEST_HOOK_TOKEN' }],
    agents: [
      { id: 'devops', gateway: 'gw', concurrency: 100 },
      { id: 'security', gateway: 'gw', concurrency: 100 },
    ],
    standing_orders: Array.from({ length: 3_000 }, (_none, at) => ({
      agent: 'devops',
      name: `order-${at}`,
      every_seconds: 86_400,
      message: `Look at part ${at} of the shop. `.repeat(5),
    })),
  }

  test('is taken as a fleet from an operator', async () => {
    expect(JSON.stringify(fleet).length).toBeGreaterThan(262_144)

    const answer = await api.operate('POST', '/v1/fleet', { body: { fleet, dry_run: true } })

    expect(answer.status).toBe(200)
    expect(answer.body['changes']).toHaveLength(3_003)
  })

  test('is refused as a fleet from anybody else, and as anything else from an operator', async () => {
    const agent = await api.t.agentToken('devops')

    const answers = [await api.call('POST', '/v1/fleet', { token: agent, body: { fleet } }), await api.operate('POST', '/v1/jobs', { body: fleet })]

    for (const { status, body } of answers) expect([status, body['code'], body['detail']]).toEqual([413, 'AGENTBUS_TOO_LARGE', 'The body is larger than 256 KiB.'])
  })
})

describe('a repeat with the same Idempotency-Key', () => {
  test('makes no second token, and does not show the first again', async () => {
    const request = { body: { name: 'once', role: 'auditor' }, headers: { 'idempotency-key': 'token-1' } }
    const before = await api.count('api_tokens')

    const [first, second] = [await api.operate('POST', '/v1/tokens', request), await api.operate('POST', '/v1/tokens', request)]

    expect([first.status, second.status, second.body['code'], second.body['token_id']]).toEqual([201, 409, 'AGENTBUS_TOKEN_SHOWN', first.body['id']])
    expect(second.text).not.toContain(String(first.body['token']))
    expect(await api.count('api_tokens')).toBe(before + 1)
    const { rows } = await api.t.database.pool.query<{ stored: string }>(`select response::text as stored from idempotency_keys where key = 'token-1'`)
    expect(rows[0]?.stored).not.toContain(String(first.body['token']).slice(4))
  })

  test('answers a pause and a fleet as the first time', async () => {
    const twice = async (path: string, body: unknown, key: string): Promise<unknown[]> => {
      const request = { body, headers: { 'idempotency-key': key } }
      return [(await api.operate('POST', path, request)).body, (await api.operate('POST', path, request)).body]
    }
    const agents = [{ id: 'fresh', gateway: 'gw' }]
    const gateways = [{ id: 'gw', base_url: 'http://127.0.0.1:9', token: 'env:TEST_HOOK_TOKEN' }]

    const paused = await twice('/v1/agents/security/pause', { reason: 'x' }, 'pause-1')
    const applied = await twice('/v1/fleet', { fleet: { gateways, agents } }, 'fleet-1')
    await api.operate('POST', '/v1/agents/security/resume', { body: { reason: 'x' } })

    expect(paused).toEqual([
      { changed: true, paused: true },
      { changed: true, paused: true },
    ])
    expect(applied[1]).toEqual(applied[0])
    expect((applied[0] as { changes: { id: string; change: string }[] }).changes).toContainEqual(expect.objectContaining({ id: 'fresh', change: 'added' }))
  })
})

test('an attempt that closed is told so only while it is the newest; after a retry it is stale', async () => {
  const job = await aJob(api.t.ledger, 'failed')
  const close = () => api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: {} })

  const whileNewest = await close()
  await api.operate('POST', `/v1/jobs/${job.id}/retry`, { body: { reason: 'again' } })
  await leaseAs(api.t.ledger, job.id, (await api.t.ledger.getJob(job.id)).generation)
  await api.operate('POST', `/v1/jobs/${job.id}/cancel`, { body: { reason: 'enough' } })
  const afterAnother = await close()

  expect([whileNewest.body['code'], afterAnother.body['code']]).toEqual(['AGENTBUS_ALREADY_CLOSED', 'AGENTBUS_STALE_ATTEMPT'])
})

test('with its database gone, sign-in, reads and writes answer 503 with Retry-After, and nothing is acknowledged', async () => {
  const other = await startApi()
  const token = other.t.operatorToken
  const database = new URL(other.t.url).pathname.slice(1)
  const admin = new pg.Client({ connectionString: (await freshLedger()).url })
  await admin.connect()
  await admin.query(`drop database ${database} with (force)`)
  await admin.end()

  const answers = [
    await other.call('GET', '/v1/jobs', { token }),
    await other.call('POST', '/v1/jobs', { token, body: aBody() }),
    await other.call('GET', '/v1/agents', { token: `abt_${'x'.repeat(43)}` }),
  ]

  for (const answer of answers) expect([answer.status, answer.body['code'], answer.headers.get('retry-after')]).toEqual([503, 'AGENTBUS_UNAVAILABLE', '1'])
  await other.close().catch(() => undefined)
})

test('an id in capitals is the same id: an attempt reads its job by it, and a wait for a job ends with the job', async () => {
  const job = await aJob(api.t.ledger, 'running')
  const path = `/v1/jobs/${job.id.toUpperCase()}`

  const read = await api.call('GET', path, { token: job.attemptToken })
  const waiting = api.operate('GET', `${path}/result?wait=60s`)
  await expect.poll(() => api.t.ledger.waits.size).toBe(1)
  await api.operate('POST', `${path}/cancel`, { body: { reason: 'enough' } })

  expect([read.status, read.body['id']]).toEqual([200, job.id])
  expect((await waiting).body).toMatchObject({ job_id: job.id, status: 'cancelled', over: true })
})
