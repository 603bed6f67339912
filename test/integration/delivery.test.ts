import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { readOrder } from '../../openclaw/simulator/scripted-agent.js'
import { startTestBus, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

let t: TestBus
beforeAll(async () => {
  t = await startTestBus()
})
afterAll(() => t.stop())

describe('a delivery', () => {
  test('goes from the ledger through the queue to the gateway and back', async () => {
    t.behave(async (hands) => {
      await hands.complete({ result: { answer: 42 }, summary: 'done' })
    })
    const job = await t.enqueue({ payload: { question: 1 } })

    const done = await t.until(job.id, (j) => j.status === 'succeeded')

    const { transitions, attempts } = await t.ledger.jobHistory(job.id)
    expect(done.result).toEqual({ answer: 42 })
    expect(transitions.map((row) => row.to_status)).toContain('leased')
    expect(attempts).toMatchObject([{ status: 'succeeded', attempt_no: 1, burned: true }])
    const posts = t.gateway.requests().filter((request) => request.key === attempts[0]?.id)
    expect(new Set(posts.map((post) => JSON.parse(post.body) as Record<string, unknown>).map((body) => `${String(body['deliver'])} ${String(body['wakeMode'])}`))).toEqual(
      new Set(['false next-heartbeat']),
    )
    expect(t.gateway.runs().filter((run) => run.key === attempts[0]?.id)).toHaveLength(1)
  })

  test('is retried after the agent asked for it, and the second attempt closes it', async () => {
    t.behave(async (hands) => {
      if (hands.attemptNo === 1) await hands.fail({ last_error: 'not yet', retry_seconds: 0 })
      else await hands.complete()
    })
    const job = await t.enqueue()

    await t.until(job.id, (j) => j.status === 'succeeded')

    const { attempts, transitions } = await t.ledger.jobHistory(job.id)
    expect(attempts.map((attempt) => attempt.outcome_code)).toEqual(['retry_asked_by_agent', 'completed_by_agent'])
    expect(transitions.some((row) => row.reason === 'requeued_by_reconciler')).toBe(false)
  })

  test('whose run ends without a terminal write is a failed attempt, and at the last one a dead letter', async () => {
    t.behave(async () => 'ok')
    const job = await t.enqueue({ max_attempts: 1 })

    const dead = await t.until(job.id, (j) => j.status === 'dead')

    expect(dead.last_error_code).toBe('ended_without_terminal_write')
    expect((await t.ledger.jobAttempts(job.id))[0]).toMatchObject({ status: 'failed', outcome_code: 'ended_without_terminal_write', burned: true })
  })

  test('blocks, and a retry by an operator sends it again under a new generation', async () => {
    t.behave(async (hands) => {
      if (hands.attemptNo === 1) await hands.block({ blocked_reason: 'needs a key' })
      else await hands.complete()
    })
    const job = await t.enqueue()
    const blocked = await t.until(job.id, (j) => j.status === 'blocked')

    await t.ledger.jobs.retry(OPERATOR, job.id, { reason: 'key given', extra_attempts: 1 })

    const done = await t.until(job.id, (j) => j.status === 'succeeded')
    expect(blocked.blocked_reason).toBe('needs a key')
    expect(done.generation).toBe(2)
  })

  test('waits for its time', async () => {
    t.behave(async (hands) => {
      await hands.complete()
    })
    const job = await t.enqueue({ run_after: new Date(Date.now() + 1_200).toISOString() })

    const done = await t.until(job.id, (j) => j.status === 'succeeded')

    const attempt = (await t.ledger.jobAttempts(job.id))[0]
    expect(Date.parse(attempt?.leased_at ?? '')).toBeGreaterThanOrEqual(Date.parse(done.run_after))
  })

  test('that is cancelled in mid-run ends at once, and the late answer is refused with a row', async () => {
    let answer: Promise<unknown> = Promise.resolve()
    let release: () => void = () => undefined
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    t.behave(async (hands) => {
      await released
      answer = hands.complete().catch((error: unknown) => error)
      await answer
    })
    const job = await t.enqueue()
    await t.until(job.id, (j) => j.status === 'running')

    await t.ledger.jobs.cancel(OPERATOR, job.id, 'no longer wanted')
    release()
    await t.until(job.id, (j) => j.status === 'cancelled')

    await expect.poll(() => answer).toMatchObject({ code: 'AGENTBUS_STALE_ATTEMPT' })
    expect((await t.ledger.jobHistory(job.id)).observations).toMatchObject([{ kind: 'late_answer', code: 'AGENTBUS_STALE_ATTEMPT' }])
  })

  test.each([
    [401, 'Unauthorized'],
    [404, 'Not Found'],
    [413, 'payload too large'],
  ])('that the gateway refuses with %i blocks the job with its words and burns no attempt', async (status, words) => {
    t.gateway.setFault({ status, body: words })
    const job = await t.enqueue()

    const blocked = await t.until(job.id, (j) => j.status === 'blocked')
    t.gateway.setFault(undefined)

    expect(blocked.blocked_reason).toContain(words)
    expect(blocked.attempt_count).toBe(0)
    expect((await t.ledger.jobAttempts(job.id)).length).toBe(1)
  })
})

test.each([
  ['::1', 'http://[::1]:7717'],
  ['0.0.0.0', 'http://127.0.0.1:7717'],
])('a worker whose settings have the API listen on %s tells agents an address that can be called', async (host, url) => {
  const other = await startTestBus({ env: { AGENTBUS_HOST: host, AGENTBUS_PORT: '7717' } })
  onTestFinished(() => other.stop())
  const told: (string | undefined)[] = []
  other.behave(async (hands) => {
    told.push(readOrder(hands.run.message)?.apiUrl)
    await hands.complete()
  })

  const job = await other.enqueue()
  await other.until(job.id, (j) => j.status === 'succeeded')

  expect(told).toEqual([url])
})
