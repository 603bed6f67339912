import { afterAll, beforeAll, expect, test } from 'vitest'
import { LimitsConfig } from '../../contracts/limits.js'
import { OPERATOR } from '../support/ledger.js'
import { startApi, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

test('what passes a limit gets 429 with Retry-After and the name of the limit, one job or many, and nothing is made but the row of the refusal', async () => {
  const limits = LimitsConfig.parse({ queue_depth_per_agent: 1, retry_after_seconds: 7 })
  await api.t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: [], limits }, { dryRun: false, prune: false })
  const job = { target_agent: 'devops', subject: 'x' }
  const first = await api.operate('POST', '/v1/jobs', { body: job })
  const [jobs, events, transitions, rows] = [await api.count('jobs'), await api.count('events'), await api.count('job_transitions'), await api.count('observations')]

  const refused = [
    await api.operate('POST', '/v1/jobs', { body: job }),
    await api.operate('POST', '/v1/job-batches', { body: { jobs: [{ ...job, target_agent: 'security' }, job] } }),
  ]

  expect(first.status).toBe(201)
  for (const { status, headers, body } of refused) {
    expect([status, headers.get('retry-after')]).toEqual([429, '7'])
    expect(body).toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED', limit: 'queue_depth_per_agent', of: 'devops', max: 1, retry_after: 7 })
  }
  expect([await api.count('jobs'), await api.count('events'), await api.count('job_transitions')]).toEqual([jobs, events, transitions])
  expect(await api.refusals(rows)).toEqual(['AGENTBUS_LIMIT_REACHED', 'AGENTBUS_LIMIT_REACHED'])
})
