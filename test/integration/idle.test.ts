import { Redis } from 'ioredis'
import pg from 'pg'
import { afterEach, expect, test, vi } from 'vitest'
import { BACKEND, startTestBus, type TestBus } from '../support/bus.js'

let t: TestBus
const undo: (() => unknown)[] = []
afterEach(async () => {
  await t.stop()
  for (const step of undo.splice(0).reverse()) step()
})

const AGENTS = 200
const LOOKS = 5

/** Counts what this test's bus sends to the queue store; what a script does inside the server is not sent. */
function countCommands(): () => number {
  let commands = 0
  if (BACKEND === 'postgres') {
    const query = pg.Client.prototype.query
    const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (this: pg.Client, ...given: unknown[]) {
      const { application_name: name } = (this as unknown as { connectionParameters: { application_name?: string } }).connectionParameters
      if (name === 'agentbus-queues') commands += 1
      return Reflect.apply(query, this, given) as unknown
    })
    undo.push(() => spy.mockRestore())
    return () => commands
  }
  const send = Redis.prototype.sendCommand
  const spy = vi.spyOn(Redis.prototype, 'sendCommand').mockImplementation(function (this: Redis, ...given) {
    commands += 1
    return Reflect.apply(send, this, given)
  })
  undo.push(() => spy.mockRestore())
  return () => commands
}

test(`${AGENTS} idle agents together send the queue store less than one command each in ${LOOKS} looks for stalled entries and as many sweeps`, async () => {
  const agents = Object.fromEntries(Array.from({ length: AGENTS }, (_none, at) => [`agent-${at}`, {}]))
  const commands = countCommands()
  t = await startTestBus({ agents, env: { AGENTBUS_SWEEP_SECONDS: '1' } })
  const survey = vi.spyOn(t.bus.queues.backend, 'survey')
  // Each second: one look by the watch, one by the sweep, one for limits and one for schedulers.
  const looks = (): number => survey.mock.calls.filter(([names]) => names.length === AGENTS).length
  await expect.poll(looks, { timeout: 20_000 }).toBeGreaterThan(8)
  const before = { commands: commands(), looks: looks() }

  await expect.poll(() => looks() - before.looks, { timeout: 30_000 }).toBeGreaterThanOrEqual(4 * LOOKS)

  const sent = commands() - before.commands
  console.log(`[${BACKEND}] ${AGENTS} idle agents: ${sent} commands in ${LOOKS} looks and sweeps`)
  expect(sent).toBeGreaterThanOrEqual(4 * LOOKS)
  expect(sent).toBeLessThan(AGENTS)
})

test('an entry that no worker was told of is picked up by the next look, however long workers wait', async () => {
  t = await startTestBus()
  const queue = await t.bus.queues.get('devops')
  await queue.pause()
  const job = await t.enqueue()
  await expect.poll(() => queue.getJobState(`${job.id}-g1`)).toBe('prioritized')

  // Not `resume()`, which would tell the workers.
  await queue.backend.removeQueueMetaFields(['paused'])

  await t.until(job.id, ({ status }) => status === 'succeeded', 10_000)
})

test('limits and pauses that were changed behind the ledger are mended by the next regular look', async () => {
  t = await startTestBus({ env: { AGENTBUS_SWEEP_SECONDS: '1' }, agents: { devops: { concurrency: 3 } } })
  const queue = await t.bus.queues.get('devops')
  await expect.poll(() => queue.getGlobalConcurrency()).toBe(3)

  await queue.setGlobalConcurrency(7)
  await queue.pause()

  await expect.poll(async () => ({ limit: await queue.getGlobalConcurrency(), paused: await queue.isPaused() }), { timeout: 10_000 }).toEqual({ limit: 3, paused: false })
})

test('a glance tells what a queue holds', async () => {
  t = await startTestBus({ agents: { devops: { concurrency: 2 }, quiet: {} } })
  const { backend } = t.bus.queues
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  t.behave(async (hands) => {
    await finished
    await hands.complete()
  })
  const glance = async (): Promise<unknown> => (await backend.survey(['agent-quiet', 'agent-devops', 'agent-none'])).get('agent-devops')
  const running = await t.enqueue()
  await t.until(running.id, ({ status }) => status === 'running')
  expect(await glance()).toEqual({ held: true, filled: false, due: false, scheduled: false, paused: false, limit: 2 })

  const queue = await t.bus.queues.get('devops')
  await queue.pause()
  await queue.add('later', {}, { delay: 600_000 })
  await queue.upsertJobScheduler('order', { pattern: 'every 600' })
  expect(await glance()).toEqual({ held: true, filled: true, due: false, scheduled: true, paused: true, limit: 2 })

  const survey = await backend.survey(['agent-quiet', 'agent-devops', 'agent-none'])
  expect([...survey.keys()]).toEqual(['agent-quiet', 'agent-devops', 'agent-none'])
  expect(survey.get('agent-quiet')).toEqual({ held: false, filled: false, due: false, scheduled: false, paused: false, limit: 1 })
  expect(survey.get('agent-none')).toEqual({ held: false, filled: false, due: false, scheduled: false, paused: false, limit: undefined })
  finish()
  await t.until(running.id, ({ status }) => status === 'succeeded')
})
