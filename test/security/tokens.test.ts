import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AttemptTokens } from '../../ledger/tokens.js'
import { aJob, TEST_SECRET } from '../support/ledger.js'
import { startApi, type TestApi } from '../api/support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

describe('the token of an attempt', () => {
  test('is refused after a change of any one bit of it', async () => {
    const job = await aJob(api.t.ledger, 'running')
    const raw = Buffer.from((job.attemptToken ?? '').slice(4), 'base64url')
    const tokens = new AttemptTokens(TEST_SECRET)

    const taken = Array.from({ length: raw.length * 8 }, (_none, bit) => {
      const forged = Buffer.from(raw)
      forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      return tokens.verify(`aat_${forged.toString('base64url')}`)
    }).filter((attempt) => attempt !== undefined)

    expect([raw.length, taken, tokens.verify(job.attemptToken ?? '')]).toEqual([40, [], job.attemptId])
  })

  test('made with another secret, or for an attempt that nobody opened, opens nothing', async () => {
    const job = await aJob(api.t.ledger, 'running')
    const other = new AttemptTokens('another-secret-another-secret-another').issue(job.attemptId as never)
    const unopened = new AttemptTokens(TEST_SECRET).issue('01920000-0000-7000-8000-000000000000' as never)

    const answers = await Promise.all([other, unopened].map((token) => api.call('GET', `/v1/jobs/${job.id}`, { token })))

    expect(answers.map(({ status }) => status)).toEqual([401, 401])
  })
})

test('guesses at tokens of every kind are throttled together, while a right one goes on working', async () => {
  api.clock.nowMs += 61_000
  const kinds = [`abt_${'x'.repeat(43)}`, `aat_${Buffer.alloc(40, 7).toString('base64url')}`, 'something-else']

  const statuses: number[] = []
  for (let at = 0; at < 24; at += 1) statuses.push((await api.call('GET', '/v1/jobs', { token: kinds[at % 3] })).status)

  expect([statuses.slice(0, 20), statuses.slice(20)]).toEqual([Array(20).fill(401), Array(4).fill(429)])
  expect((await api.operate('GET', '/v1/jobs')).status).toBe(200)
})

test('no stored row holds a token: neither of a person nor of an attempt', async () => {
  const job = await aJob(api.t.ledger, 'running')
  await api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: {}, headers: { 'idempotency-key': 'close-1' } })
  await api.operate('POST', '/v1/jobs', { body: { target_agent: 'devops', subject: 'to claim' } })
  await api.operate('POST', '/v1/jobs/claim', { body: { lease_owner: 'me' }, headers: { 'idempotency-key': 'claim-1' } })
  const { rows: tables } = await api.t.database.pool.query<{ name: string }>(
    `select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'`,
  )

  const found: string[] = []
  for (const { name } of tables) {
    const { rows } = await api.t.database.pool.query<{ row: string }>(`select to_jsonb(t)::text as row from ${name} t`)
    if (rows.some(({ row }) => /(?<![A-Za-z0-9])(abt|aat)_[A-Za-z0-9_-]{40,}/.test(row))) found.push(name)
  }

  expect(tables.length).toBeGreaterThan(20)
  expect(found).toEqual([])
})
