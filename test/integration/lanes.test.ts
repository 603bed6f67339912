import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { JobId } from '../../contracts/ids.js'
import type { JobView } from '../../contracts/jobs.js'
import { OPERATOR } from '../support/ledger.js'
import { startTestBus, type TestBus } from '../support/bus.js'

let t: TestBus
let operator: string
/** The jobs that agents were given, in order. */
let given: JobId[]
beforeAll(async () => {
  t = await startTestBus({ api: true, agents: { single: { concurrency: 1 }, devops: { concurrency: 4 } } })
  operator = (await t.ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })).token
})
afterAll(() => t.stop())
beforeEach(() => {
  given = []
  t.behave(async (hands) => {
    given.push(hands.jobId)
    await hands.complete()
  })
})

async function call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(`${t.bus.url ?? ''}${path}`, {
    method,
    headers: { authorization: `Bearer ${operator}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const answer = (await response.json()) as Record<string, unknown>
  expect([path, response.status, answer['detail']]).toEqual([path, expect.toBeOneOf([200, 201]), undefined])
  return answer
}

const pause = (lane: string) => call('POST', `/v1/lanes/${lane}/pause`, { reason: 'release freeze' })
const resume = (lane: string) => call('POST', `/v1/lanes/${lane}/resume`, { reason: 'released' })

async function lane(name: string): Promise<Record<string, unknown> | undefined> {
  const { items } = (await call('GET', '/v1/lanes')) as { items: { lane: string }[] }
  return items.find((item) => item.lane === name)
}

/** Resolves once a worker has picked the job up and put it back. */
async function untilHeld(job: JobView): Promise<void> {
  await expect.poll(async () => (await t.ledger.jobHistory(job.id)).transitions.map((row) => row.reason), { timeout: 20_000, interval: 50 }).toContain('held')
}

test('a paused lane holds its queued jobs, of any agent, lets the other lanes pass, and goes on by itself', async () => {
  await pause('coding')
  const held = [await t.enqueue({ target_agent: 'single', lane: 'coding', priority: 1000 }), await t.enqueue({ target_agent: 'devops', lane: 'coding' })]
  for (const job of held) await untilHeld(job)

  const passing = [await t.enqueue({ target_agent: 'single', lane: 'reactive', priority: 1 }), await t.enqueue({ target_agent: 'devops', lane: 'idle' })]
  for (const job of passing) await t.until(job.id, (now) => now.status === 'succeeded')
  const during = await Promise.all(held.map(({ id }) => t.ledger.getJob(id)))
  const shown = await lane('coding')
  const givenSoFar = [...given]
  await resume('coding')
  const after = await Promise.all(held.map(({ id }) => t.until(id, (now) => now.status === 'succeeded')))

  expect(during.map(({ status, attempt_count }) => [status, attempt_count])).toEqual([
    ['queued', 0],
    ['queued', 0],
  ])
  expect(givenSoFar.sort()).toEqual(passing.map(({ id }) => id).sort())
  expect(shown).toMatchObject({ paused: true, reason: 'release freeze', by: 'anna', queued: 2, running: 0 })
  expect(await lane('coding')).toMatchObject({ paused: false, queued: 0, running: 0 })
  expect(after.map(({ attempt_count }) => attempt_count)).toEqual([1, 1])
  const { transitions } = await t.ledger.jobHistory(held[0]?.id as JobId)
  expect(transitions.filter((row) => row.reason === 'held').map((row) => row.details)).toEqual([{ reason: 'lane_paused' }])
})

test('what runs when its lane is paused is left alone, and what is queued behind it waits', async () => {
  let release = (): void => undefined
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  t.behave(async (hands) => {
    await released
    await hands.complete()
  })
  const running = await t.enqueue({ target_agent: 'single', lane: 'memory' })
  await t.until(running.id, (job) => job.status === 'running')
  await pause('memory')
  const behind = await t.enqueue({ target_agent: 'single', lane: 'memory' })
  const shown = await lane('memory')

  release()
  await t.until(running.id, (job) => job.status === 'succeeded')
  await untilHeld(behind)
  const waiting = await t.ledger.getJob(behind.id)
  await resume('memory')
  const done = await t.until(behind.id, (job) => job.status === 'succeeded')

  expect(shown).toMatchObject({ paused: true, queued: 1, running: 1 })
  expect([waiting.status, done.attempt_count]).toEqual(['queued', 1])
})

test('a worker process that starts while a lane is paused holds its jobs too', async () => {
  await pause('proactive')
  const other = await t.another()
  const jobs = await Promise.all(Array.from({ length: 8 }, () => t.enqueue({ lane: 'proactive' })))
  for (const job of jobs) await untilHeld(job)

  const during = await Promise.all(jobs.map(({ id }) => t.ledger.getJob(id)))
  await resume('proactive')
  for (const { id } of jobs) await t.until(id, (job) => job.status === 'succeeded')
  await other.stop()

  expect(during.map(({ status }) => status)).toEqual(Array(8).fill('queued'))
  expect([...given].sort()).toEqual(jobs.map(({ id }) => id).sort())
})

test('a slot that is due in a paused lane is skipped with the cause paused, and the next one after it runs', async () => {
  t.behave(async (hands) => {
    await hands.finish({ outcome: 'no_work' })
  })
  const slots = async (status: string): Promise<{ cause: string | null; details: unknown; job_id: string | null; slot_at: string }[]> =>
    (await call('GET', `/v1/standing-order-runs?order=devops/in-a-lane&status=${status}`))['items'] as never
  await pause('scheduled')
  await call('PUT', '/v1/standing-orders/devops/in-a-lane', { every_seconds: 1, message: 'Look.' })
  await expect.poll(async () => (await slots('skipped')).length, { timeout: 25_000, interval: 50 }).toBeGreaterThanOrEqual(2)
  const [skippedWhilePaused, ranWhilePaused] = await Promise.all([slots('skipped'), slots('no_work')])

  await resume('scheduled')
  await expect.poll(async () => (await slots('no_work')).length, { timeout: 25_000, interval: 50 }).toBeGreaterThanOrEqual(1)
  await call('DELETE', '/v1/standing-orders/devops/in-a-lane')

  expect(ranWhilePaused).toEqual([])
  for (const skipped of skippedWhilePaused) expect(skipped).toMatchObject({ cause: 'paused', details: { scope: 'lane' }, job_id: null })
})
