import { describe, test } from 'vitest'
import { busOfTest } from '../support/bus.js'

// Side by side: most of what they do is wait for a bus that waits.
describe.concurrent('a gateway that is away', () => {
  test('burns no attempt, opens the breaker with rows and events, and the work resumes by itself', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished }, { agents: { devops: { concurrency: 2 } } })
    await t.gateway.crash()
    const jobs = await Promise.all(Array.from({ length: 10 }, () => t.enqueue()))
    await expect.poll(async () => (await t.ledger.listGateways())[0]?.breaker, { timeout: 20_000 }).toBe('open')
    expect((await t.ledger.listAgents())[0]?.state).toBe('offline')

    await t.gateway.start()

    for (const job of jobs) await t.until(job.id, (j) => j.status === 'succeeded')
    for (const job of jobs) expect((await t.ledger.getJob(job.id)).attempt_count).toBe(1)
    const topics = (await t.ledger.listEvents({ topic: 'gateway.*', order: 'asc', limit: 50 })).items.map((event) => event.topic)
    expect(topics).toContain('gateway.breaker_opened')
    expect(topics).toContain('gateway.breaker_closed')
    expect(t.gateway.runs()).toHaveLength(10)
  })

  test.for([
    [503, '{"ok":false,"error":"hook agent run did not start before admission timeout"}'],
    [429, 'Too Many Requests'],
    [502, 'bad gateway'],
  ] as const)('answering %i releases the attempt and waits', async ([status, body], { expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished })
    t.gateway.setFault({ status, body })
    const job = await t.enqueue()
    // Not any release: a lease that was taken ahead is given back when a busy machine brings its entry late.
    const undelivered = async () => (await t.ledger.jobAttempts(job.id)).filter((attempt) => attempt.outcome_code === 'undelivered')
    await expect.poll(async () => (await undelivered()).length, { timeout: 20_000 }).toBeGreaterThan(0)

    t.gateway.setFault(undefined)

    const done = await t.until(job.id, (j) => j.status === 'succeeded')
    expect(done.attempt_count).toBe(1)
    expect((await undelivered()).every((attempt) => attempt.status === 'released' && !attempt.burned)).toBe(true)
    expect((await t.ledger.jobAttempts(job.id)).filter((attempt) => attempt.burned)).toHaveLength(1)
  })

  test('asking for patience by Retry-After gets it', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished })
    t.gateway.setFault({ status: 503, body: 'full', retryAfter: '3' })
    const job = await t.enqueue()
    await expect.poll(async () => (await t.ledger.jobAttempts(job.id)).filter((attempt) => attempt.outcome_code === 'undelivered').length, { timeout: 20_000 }).toBeGreaterThan(0)

    const waiting = await t.until(job.id, (j) => j.status === 'queued')

    expect(Date.parse(waiting.run_after) - Date.parse(waiting.updated_at)).toBeGreaterThanOrEqual(2_900)
  })
})

describe.concurrent('a gateway that restarts in mid-run', () => {
  test('loses the run: with on_lost retry a second attempt does the work', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished })
    t.behave(async (hands) => {
      if (hands.attemptNo === 1) await hands.run.pause(60_000)
      else await hands.complete()
    })
    const job = await t.enqueue()
    await t.until(job.id, (j) => j.status === 'running')

    await t.gateway.crash()
    await t.gateway.start()

    await t.until(job.id, (j) => j.status === 'succeeded')
    expect((await t.ledger.jobAttempts(job.id)).map((attempt) => attempt.status)).toEqual(['lost', 'succeeded'])
    expect(t.gateway.runs()).toHaveLength(2)
  })

  test('loses the run: with on_lost block nothing is sent again', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished })
    t.behave(async (hands) => hands.run.pause(60_000))
    const job = await t.enqueue({ on_lost: 'block' })
    await t.until(job.id, (j) => j.status === 'running')

    await t.gateway.crash()
    await t.gateway.start()

    const blocked = await t.until(job.id, (j) => j.status === 'blocked')
    expect(blocked).toMatchObject({ last_error_code: 'run_lost', attempt_count: 1 })
    expect(t.gateway.runs()).toHaveLength(1)
  })
})
