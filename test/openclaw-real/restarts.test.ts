import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { JobId } from '../../contracts/ids.js'
import { completing, holding } from './scripts.js'
import { startRealBus, type RealBus } from './real-bus.js'

let t: RealBus
beforeAll(async () => {
  t = await startRealBus()
})
afterEach(() => t.killWorkers())
afterAll(() => t.stop())

const print = (what: string, ms: number): void => console.log(`[openclaw] ${what}: ${(ms / 1000).toFixed(1)} s`)

async function hasMove(id: JobId, reason: string): Promise<boolean> {
  return (await t.ledger.jobHistory(id)).transitions.some((row) => row.reason === reason)
}

/** Milliseconds until it holds. */
async function took(holds: () => Promise<boolean>, timeout = 60_000): Promise<number> {
  const startedMs = performance.now()
  await expect.poll(holds, { timeout, interval: 50 }).toBe(true)
  return performance.now() - startedMs
}

describe('a gateway that is killed in mid-run and started again', () => {
  test('has lost its runs: one job is tried again and completes, one that must not be repeated is blocked', async () => {
    await t.startWorker()
    const held = holding((turn) => turn.order.attemptNo === 1)
    t.model.follow(held.script)
    const repeatable = await t.enqueue({ subject: 'may be repeated', on_lost: 'retry' })
    const once = await t.enqueue({ subject: 'must not be repeated', on_lost: 'block' })
    await took(async () => t.model.runsOf(repeatable.id).length === 1 && t.model.runsOf(once.id).length === 1)
    for (const job of [repeatable, once]) await t.until(job.id, (j) => j.status === 'running')

    await t.gateway.crash()
    print('gateway started again', await t.gateway.start())
    print('after the restart the loss was noticed', await took(() => hasMove(repeatable.id, 'run_lost')))
    const blocked = await t.until(once.id, (j) => j.status === 'blocked')
    const done = await t.until(repeatable.id, (j) => j.status === 'succeeded')

    expect(await t.ledger.jobAttempts(repeatable.id)).toMatchObject([
      { attempt_no: 1, status: 'lost', outcome_code: 'run_lost', burned: true },
      { attempt_no: 2, status: 'succeeded', outcome_code: 'completed_by_agent', burned: true },
    ])
    expect(done.attempt_count).toBe(2)
    expect(t.model.runsOf(repeatable.id)).toHaveLength(2)
    expect(blocked.blocked_reason).toMatch(/^The run was lost: The gateway restarted in mid-run .*Nobody can say what the agent had done\.$/)
    expect(blocked.attempt_count).toBe(1)
    expect(await t.ledger.jobAttempts(once.id)).toMatchObject([{ status: 'lost', burned: true }])
    expect(t.model.runsOf(once.id)).toHaveLength(1)
  })

  test('has lost them also for a worker that was away meanwhile', async () => {
    await t.startWorker()
    const held = holding((turn) => turn.order.attemptNo === 1)
    t.model.follow(held.script)
    const job = await t.enqueue()
    await held.reached
    await t.until(job.id, (j) => j.status === 'running')

    await t.killWorkers()
    await t.gateway.crash()
    await t.gateway.start()
    await t.startWorker()
    await t.until(job.id, (j) => j.status === 'succeeded')

    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([
      { status: 'lost', outcome_code: 'run_lost' },
      { status: 'succeeded', outcome_code: 'completed_by_agent' },
    ])
    expect(t.model.runsOf(job.id)).toHaveLength(2)
  })
})

describe('a gateway that drains', () => {
  test('finishes the run it has and refuses the next, which burns nothing and is delivered after the restart', async () => {
    await t.startWorker()
    const held = holding((turn) => turn.prompt.includes('before the drain'))
    t.model.follow(held.script)
    const first = await t.enqueue({ subject: 'before the drain' })
    await held.reached
    await t.until(first.id, (j) => j.status === 'running')

    const { ended } = t.gateway.drain()
    await took(async () => (await t.gateway.readiness()) === 503)
    const second = await t.enqueue({ subject: 'while it drains' })
    await took(() => hasMove(second.id, 'undelivered'))
    held.release()
    const done = await t.until(first.id, (j) => j.status === 'succeeded')
    await ended
    print('gateway started again after its drain', await t.gateway.start())
    const delivered = await t.until(second.id, (j) => j.status === 'succeeded')

    const attempts = await t.ledger.jobAttempts(second.id)
    expect(done.attempt_count).toBe(1)
    expect(t.model.runsOf(first.id)).toHaveLength(1)
    expect(attempts[0]).toMatchObject({ status: 'released', outcome_code: 'undelivered', hook_status: 503, burned: false })
    expect(attempts.at(-1)).toMatchObject({ status: 'succeeded', burned: true })
    expect(attempts.filter((attempt) => attempt.burned)).toHaveLength(1)
    expect(delivered.attempt_count).toBe(1)
    expect(t.model.runsOf(second.id)).toHaveLength(1)
  })
})

describe('a worker that leaves in mid-run', () => {
  test('by kill -9 is replaced by another, which joins the same run: one run, one attempt', async () => {
    const victim = await t.startWorker()
    const held = holding(() => true)
    t.model.follow(held.script)
    const job = await t.enqueue()
    await held.reached
    await t.until(job.id, (j) => j.status === 'running')
    await t.startWorker()

    victim.kill('SIGKILL')
    print('after a kill another worker had taken the run over', await took(() => hasMove(job.id, 'reattached')))
    held.release()
    await t.until(job.id, (j) => j.status === 'succeeded')

    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ attempt_no: 1, status: 'succeeded', outcome_code: 'completed_by_agent' }])
    expect(t.model.runsOf(job.id)).toHaveLength(1)
    expect(await hasMove(job.id, 'run_replaced')).toBe(false)
  })

  test('and whose agent closed meanwhile leaves an entry that runs nothing again', async () => {
    await t.startWorker()
    const held = holding(() => true)
    t.model.follow(held.script)
    const job = await t.enqueue()
    await held.reached
    await t.until(job.id, (j) => j.status === 'running')

    await t.killWorkers()
    held.release()
    await t.until(job.id, (j) => j.status === 'succeeded')
    await t.startWorker()
    await took(async () => (await t.ledger.jobHistory(job.id)).observations.some((row) => row.kind === 'drop'))

    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ attempt_no: 1, status: 'succeeded' }])
    expect(t.model.runsOf(job.id)).toHaveLength(1)
  })

  test('in good order hands its run over', async () => {
    const leaver = await t.startWorker()
    const held = holding(() => true)
    t.model.follow(held.script)
    const job = await t.enqueue()
    await held.reached
    await t.until(job.id, (j) => j.status === 'running')
    await t.startWorker()

    leaver.kill('SIGTERM')
    print('after a stop in good order another worker had taken the run over', await took(() => hasMove(job.id, 'reattached')))
    held.release()
    await t.until(job.id, (j) => j.status === 'succeeded')

    expect(await t.ledger.jobAttempts(job.id)).toHaveLength(1)
    expect(t.model.runsOf(job.id)).toHaveLength(1)
  })
})

test('after all that the gateway still takes work', async () => {
  await t.startWorker()
  t.model.follow(completing)
  const job = await t.enqueue()

  const done = await t.until(job.id, (j) => j.status === 'succeeded')

  expect(done.attempt_count).toBe(1)
})
