import { randomUUID } from 'node:crypto'
import { Job } from 'bullmq'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { AgentbusError } from '../../contracts/errors.js'
import { AgentWorkers } from '../../processors/agent-workers.js'
import type { QueueBackend } from '../../queues/backend.js'
import { EpochSentinel } from '../../queues/epoch-sentinel.js'
import { BACKEND, startTestBus, type TestBus } from '../support/bus.js'
import { leaseAs, OPERATOR } from '../support/ledger.js'
import { wipeQueues } from '../support/wipe-queues.js'

let t: TestBus
afterEach(() => t.stop())

/** Empties the queue store the way an accident would. */
const wipe = (bus: TestBus): Promise<void> => wipeQueues({ queue: bus.stores.queue, prefix: bus.prefix })

describe('a worker that stops in mid-run', () => {
  test('hands the run over: the next one re-attaches with the same bytes and key, and the agent runs once', async () => {
    t = await startTestBus()
    let finish: () => void = () => undefined
    const finished = new Promise<void>((resolve) => {
      finish = resolve
    })
    t.behave(async (hands) => {
      await finished
      await hands.complete()
    })
    const job = await t.enqueue()
    await t.until(job.id, (j) => j.status === 'running')
    const second = await t.another()

    await t.bus.stop()
    await expect.poll(async () => (await second.ledger.jobHistory(job.id)).transitions.some((row) => row.reason === 'reattached'), { timeout: 20_000 }).toBe(true)
    finish()

    await expect.poll(async () => (await second.ledger.getJob(job.id)).status, { timeout: 20_000 }).toBe('succeeded')
    expect(await second.ledger.jobAttempts(job.id)).toMatchObject([{ status: 'succeeded', attempt_no: 1 }])
    expect(t.gateway.runs()).toHaveLength(1)
    const joins = t.gateway.requests().filter((request) => request.path === '/hooks/agent' && request.body.includes('waitForCompletion'))
    expect(new Set(joins.map((request) => request.body)).size).toBe(1)
  })
})

describe('a run whose worker died', () => {
  test('is attended before anything of the agent is looked at again, however much is queued before it', async () => {
    t = await startTestBus({ agents: { devops: { concurrency: 1 } } })
    const queue = await t.bus.queues.get('devops')
    await queue.pause()
    const held = await t.enqueue({ priority: 1 })
    // Started by it, or taken on from this process, which leases ahead what its queue is told of.
    expect(['start', 'reattach']).toContain((await leaseAs(t.ledger, held.id, 1, 'a-worker-that-died', t.ledger.render)).kind)
    const others = await Promise.all(Array.from({ length: 150 }, () => t.enqueue({ priority: 1000 })))
    await expect.poll(async () => (await t.ledger.outboxLag()).rows).toBe(0)
    const order: string[] = []
    let lookedAt = -1
    t.behave(async (hands) => {
      if (order.push(hands.jobId) === 1) {
        const entries = await Promise.all(others.map((other) => queue.getJob(`${other.id}-g1`)))
        lookedAt = entries.filter((entry) => (entry?.attemptsStarted ?? 0) > 0).length
      }
      await hands.complete()
    })

    await queue.resume()

    await t.until(held.id, (j) => j.status === 'succeeded', 20_000)
    expect(order[0]).toBe(held.id)
    expect(lookedAt).toBeLessThanOrEqual(2)
    expect(await t.ledger.jobAttempts(held.id)).toHaveLength(1)
    for (const other of others) await t.until(other.id, (j) => j.status === 'succeeded', 60_000)
  })
})

describe('a queue store that is wiped', () => {
  test('is rebuilt from the ledger: nothing is lost and nothing runs twice', async () => {
    t = await startTestBus({ agents: { devops: { concurrency: 2 } } })
    let open: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    t.behave(async (hands) => {
      await gate
      await hands.complete()
    })
    const jobs = await Promise.all(Array.from({ length: 40 }, (_none, at) => t.enqueue({ subject: `job ${at}`, priority: 1 + at })))
    const later = await t.enqueue({ run_after: new Date(Date.now() + 3_000).toISOString() })
    await expect.poll(async () => (await t.ledger.openCounts()).find((count) => count.status === 'running')?.n).toBe(2)

    await wipe(t)
    await expect
      .poll(async () => (await t.ledger.listEvents({ topic: 'queue.rebuilt', order: 'desc', limit: 1 })).items[0]?.payload['reason'], { timeout: 20_000 })
      .toBe('the store lost its content')
    open()

    for (const job of [...jobs, later]) await t.until(job.id, (j) => j.status === 'succeeded', 30_000)
    expect(t.gateway.runs()).toHaveLength(41)
    for (const job of jobs) expect(await t.ledger.jobAttempts(job.id)).toHaveLength(1)
    const paused = await t.ledger.setPaused(OPERATOR, { scope: 'agent', target: 'devops', reason: 'test', paused: true })
    expect(paused).toBe(true)
  })

  test('in the moment in which its mark is made newer does not get a new mark, which would hide the loss', async () => {
    t = await startTestBus()
    const { backend } = t.bus.queues
    // A mark of its own, which no reconciler watches.
    const elsewhere = Object.create(backend, { openQueue: { value: () => backend.openQueue('epoch-test') } }) as QueueBackend
    const sentinel = new EpochSentinel(elsewhere)
    const epoch = randomUUID()
    await sentinel.write({ epoch, tick: 0 })
    expect([await sentinel.advance({ epoch, tick: 1 }), await sentinel.read()]).toEqual([true, { epoch, tick: 1 }])

    const queue = backend.openQueue('epoch-test')
    await queue.remove('epoch')

    expect([await sentinel.advance({ epoch, tick: 2 }), await sentinel.read()]).toEqual([false, undefined])
    await queue.close()
    await sentinel.close()
  })

  test('with single entries missing or foreign is mended by the sweep, each mend with a row', async () => {
    t = await startTestBus()
    await t.ledger.setPaused(OPERATOR, { scope: 'agent', target: 'devops', reason: 'hold still', paused: true })
    const queue = await t.bus.queues.get('devops')
    // Before that a worker could take the entry still, and park its job: that one needs none.
    await expect.poll(() => queue.isPaused()).toBe(true)
    const job = await t.enqueue()
    await expect.poll(() => queue.getJob(`${job.id}-g1`)).toBeDefined()
    expect(await queue.remove(`${job.id}-g1`)).toBe(1)
    // Of a job that the relay still has a row of, the sweep expects nothing.
    await expect.poll(async () => (await t.ledger.outboxLag()).rows).toBe(0)
    await queue.add('foreign', { hello: 1 }, { jobId: 'made-by-hand', delay: 600_000 })
    await t.agePast(job.id)

    const mended = await t.bus.sweepNow()

    expect(mended).toBe(2)
    expect(await queue.getJob('made-by-hand')).toBeUndefined()
    await expect.poll(() => queue.getJob(`${job.id}-g2`)).toBeDefined()
    expect((await t.ledger.jobHistory(job.id)).observations).toMatchObject([{ kind: 'mend', code: 'entry_missing' }])
    await t.ledger.setPaused(OPERATOR, { scope: 'agent', target: 'devops', reason: 'go on', paused: false })
    await t.until(job.id, (j) => j.status === 'succeeded')
  })
})

describe('a ledger that is away', () => {
  test('uses up no try of an entry, however often it comes: the job goes on by itself, without a sweep', async () => {
    t = await startTestBus()
    const lease = t.ledger.lease.bind(t.ledger)
    let asked = 0
    vi.spyOn(t.ledger, 'lease').mockImplementation((request) => {
      asked += 1
      return asked <= 3 ? Promise.reject(new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.')) : lease(request)
    })
    vi.spyOn(t.ledger, 'leaseAhead').mockRejectedValue(new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.'))

    const job = await t.enqueue({ max_attempts: 2 })
    const done = await t.until(job.id, ({ status }) => status === 'succeeded', 30_000)
    vi.restoreAllMocks()

    expect([asked, done.attempt_count]).toEqual([4, 1])
  })

  test('and the queue store with it, as where both are one PostgreSQL, uses up no try: the entry comes again when its lock has run out', async () => {
    t = await startTestBus()
    onTestFinished(() => void vi.restoreAllMocks())
    vi.spyOn(t.ledger, 'lease').mockRejectedValueOnce(new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.'))
    vi.spyOn(t.ledger, 'leaseAhead').mockRejectedValueOnce(new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.'))
    const putOff = vi.spyOn(Job.prototype, 'moveToDelayed').mockRejectedValueOnce(new Error('terminating connection due to administrator command'))

    const job = await t.enqueue({ max_attempts: 1 })
    const done = await t.until(job.id, ({ status }) => status === 'succeeded', 30_000)

    expect(putOff).toHaveBeenCalled()
    expect(done.attempt_count).toBe(1)
  })
})

describe('a worker process whose start fails', () => {
  test('closes the workers that it has opened by then: they would go on taking entries', async () => {
    t = await startTestBus()
    onTestFinished(() => void vi.restoreAllMocks())
    const { start } = AgentWorkers.prototype
    vi.spyOn(AgentWorkers.prototype, 'start').mockImplementationOnce(async function (this: AgentWorkers) {
      await start.call(this)
      throw new Error('a test')
    })
    const stops = vi.spyOn(AgentWorkers.prototype, 'stop')

    await expect(t.another()).rejects.toThrow('a test')

    expect(stops).toHaveBeenCalledTimes(1)
  })
})

describe(`concurrency on ${BACKEND}`, () => {
  test('of an agent holds across three workers', async () => {
    t = await startTestBus({ agents: { devops: { concurrency: 3 } } })
    await t.another()
    await t.another()
    let now = 0
    let most = 0
    // Nobody goes on before three have met, however slow the machine is; a fourth has time to show itself.
    let meet: () => void = () => undefined
    const met = new Promise<void>((resolve) => {
      meet = resolve
    })
    t.behave(async (hands) => {
      now += 1
      most = Math.max(most, now)
      if (now === 3) meet()
      await met
      await hands.run.pause(20)
      now -= 1
      await hands.complete()
    })

    const jobs = await Promise.all(Array.from({ length: 60 }, () => t.enqueue()))
    for (const job of jobs) await t.until(job.id, (j) => j.status === 'succeeded', 60_000)

    expect(most).toBe(3)
    expect(t.gateway.runs()).toHaveLength(60)
  })

  test('of one serves the most urgent first', async () => {
    t = await startTestBus({ agents: { devops: { concurrency: 1 } } })
    const order: string[] = []
    await t.ledger.setPaused(OPERATOR, { scope: 'agent', target: 'devops', reason: 'collect', paused: true })
    t.behave(async (hands) => {
      order.push(hands.jobId)
      await hands.complete()
    })
    const low = await t.enqueue({ priority: 1 })
    const high = await t.enqueue({ priority: 1000 })
    const middle = await t.enqueue({ priority: 500 })
    await expect.poll(async () => (await t.ledger.outboxLag()).rows).toBe(0)

    await t.ledger.setPaused(OPERATOR, { scope: 'agent', target: 'devops', reason: 'go', paused: false })

    await t.until(low.id, (j) => j.status === 'succeeded')
    expect(order).toEqual([high.id, middle.id, low.id])
  })
})
