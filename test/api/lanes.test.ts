import { afterAll, beforeAll, expect, test } from 'vitest'
import { LANES } from '../../contracts/job-states.js'
import { aJob } from '../support/ledger.js'
import { startApi, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

interface Shown {
  readonly lane: string
  readonly paused: boolean
  readonly queued: number
  readonly running: number
}

async function lanes(): Promise<Record<string, Shown>> {
  const { body } = await api.operate('GET', '/v1/lanes')
  return Object.fromEntries((body['items'] as Shown[]).map((shown) => [shown.lane, shown]))
}

test('every lane is shown with what is open in it, and what is over is not counted', async () => {
  await aJob(api.t.ledger, 'queued', { lane: 'coding' })
  await aJob(api.t.ledger, 'leased', { lane: 'coding' })
  await aJob(api.t.ledger, 'running', { lane: 'coding' })
  await aJob(api.t.ledger, 'blocked', { lane: 'coding' })
  await aJob(api.t.ledger, 'succeeded', { lane: 'coding' })
  await aJob(api.t.ledger, 'queued', { lane: 'memory' })

  const shown = await lanes()

  expect(Object.keys(shown)).toEqual([...LANES])
  expect(shown['coding']).toEqual({ lane: 'coding', paused: false, reason: null, since: null, by: null, queued: 1, running: 2 })
  expect([shown['memory'], shown['idle']]).toMatchObject([
    { queued: 1, running: 0 },
    { queued: 0, running: 0 },
  ])
})

test('a paused lane shows who paused it, since when and why; the first reason stands', async () => {
  const first = await api.operate('POST', '/v1/lanes/proactive/pause', { body: { reason: 'first' } })
  const second = await api.operate('POST', '/v1/lanes/proactive/pause', { body: { reason: 'second' } })
  const during = await lanes()
  const resumed = await api.operate('POST', '/v1/lanes/proactive/resume', { body: { reason: 'over' } })
  const again = await api.operate('POST', '/v1/lanes/proactive/resume', { body: { reason: 'over' } })

  expect([first, second, resumed, again].map((answer) => answer.body)).toEqual([
    { changed: true, paused: true },
    { changed: false, paused: true },
    { changed: true, paused: false },
    { changed: false, paused: false },
  ])
  expect(during['proactive']).toMatchObject({ paused: true, reason: 'first', by: 'test-operator', since: expect.stringMatching(/^\d{4}-.*Z$/) })
  expect(during['reactive']?.paused).toBe(false)
  expect((await lanes())['proactive']).toMatchObject({ paused: false, reason: null, since: null, by: null })
  const { rows } = await api.t.database.pool.query(`select code, detail, details from observations where kind = 'operator_action' and details ->> 'scope' = 'lane' order by id`)
  expect(rows).toEqual([
    { code: 'paused', detail: 'first', details: { scope: 'lane', target: 'proactive' } },
    { code: 'resumed', detail: 'over', details: { scope: 'lane', target: 'proactive' } },
  ])
})

test('a pause with one Idempotency-Key is carried out once, also after the lane went on', async () => {
  const pause = () => api.operate('POST', '/v1/lanes/memory/pause', { body: { reason: 'x' }, headers: { 'idempotency-key': 'pause-memory' } })

  const first = await pause()
  await api.operate('POST', '/v1/lanes/memory/resume', { body: { reason: 'over' } })
  const again = await pause()

  expect(again.text).toBe(first.text)
  expect((await lanes())['memory']?.paused).toBe(false)
})

test.each(['nowhere', 'Coding', 'agent', '%20', 'coding%00'])('%j is no lane: 400, and nothing is paused', async (lane) => {
  const answers = [
    await api.operate('POST', `/v1/lanes/${lane}/pause`, { body: { reason: 'x' } }),
    await api.operate('POST', `/v1/lanes/${lane}/resume`, { body: { reason: 'x' } }),
  ]

  expect(answers.map((answer) => [answer.status, answer.body['code']])).toEqual([
    [400, 'AGENTBUS_BAD_REQUEST'],
    [400, 'AGENTBUS_BAD_REQUEST'],
  ])
  expect(Object.values(await lanes()).filter(({ paused }) => paused)).toEqual([])
})

test.each([{}, { reason: '' }, { reason: 'x', until: 'tomorrow' }])('a pause with the body %j is refused', async (body) => {
  expect((await api.operate('POST', '/v1/lanes/idle/pause', { body })).status).toBe(400)
})
