import { describe, test, type TestContext } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { AgentConfig } from '../../contracts/fleet.js'
import { busOfTest, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

/** An attempt may take two seconds: a second of its own and one of margin. */
const TWO_SECONDS = { timeout_seconds: 1, lease_seconds: 5 }
const start = (context: Pick<TestContext, 'onTestFinished'>): Promise<TestBus> => busOfTest(context, { env: { AGENTBUS_WAIT_SECONDS_MARGIN: '1' } })

// One after the other: their deadlines are so short that the start of another bus beside them takes a part of it.
describe('deadlines', () => {
  test('a run that goes on past its deadline is given up, and the next attempt does the work', async ({ expect, onTestFinished }) => {
    const t = await start({ onTestFinished })
    t.behave(async (hands) => {
      if (hands.attemptNo === 1) await hands.run.pause(60_000)
      else await hands.complete()
    })

    const job = await t.enqueue(TWO_SECONDS)

    await t.until(job.id, ({ status }) => status === 'succeeded')
    const attempts = await t.ledger.jobAttempts(job.id)
    expect(attempts.map(({ status, outcome_code }) => [status, outcome_code])).toEqual([
      ['timed_out', 'deadline_exceeded'],
      ['succeeded', 'completed_by_agent'],
    ])
  })

  test('an agent that asks for more time has it: its run is attended past the first deadline', async ({ expect, onTestFinished }) => {
    const t = await start({ onTestFinished })
    t.behave(async ({ as, jobId, run, complete }) => {
      const [before] = await t.ledger.jobAttempts(jobId)
      await t.ledger.jobs.renew(as, jobId, { lease_seconds: 60 })
      while (Date.now() < Date.parse(before?.deadline_at ?? '') + 500) await run.pause(50)
      await complete()
    })

    const job = await t.enqueue(TWO_SECONDS)

    await t.until(job.id, ({ status }) => status !== 'queued' && status !== 'leased' && status !== 'running')
    const { transitions } = await t.ledger.jobHistory(job.id)
    // An agent may ask before the worker has written down that the gateway admitted it.
    expect(transitions.map(({ reason }) => reason).sort()).toEqual(['admitted', 'completed_by_agent', 'created', 'lease_renewed', 'leased'])
  })

  test('a worker tells once of each agent whose lease may be over before another could take over, also of one that is applied while it runs', async ({
    expect,
    onTestFinished,
  }) => {
    const lines: string[] = []
    const log = createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } })
    const t = await busOfTest({ onTestFinished }, { env: { AGENTBUS_LOCK_MS: '3000' }, agents: { devops: { lease_seconds: 7 }, first: { lease_seconds: 6 } }, log })
    const told = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'lease.too_short')

    // Every look goes through all agents: the one that tells of the second has seen the first again.
    const agents = [AgentConfig.parse({ id: 'second', gateway: 'gw', lease_seconds: 5 })]
    await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents }, { dryRun: false, prune: false })
    await expect.poll(() => told().length, { timeout: 10_000 }).toBeGreaterThan(1)

    expect(told()).toMatchObject([
      { level: 'warn', agent: 'first', lease_seconds: 6, lock_ms: 3_000 },
      { level: 'warn', agent: 'second', lease_seconds: 5, lock_ms: 3_000 },
    ])
  })

  test('asking for less time than there is takes none away', async ({ expect, onTestFinished }) => {
    const t = await start({ onTestFinished })
    t.behave(async ({ as, jobId, complete }) => {
      const [before] = await t.ledger.jobAttempts(jobId)
      const after = await t.ledger.jobs.renew(as, jobId, { lease_seconds: 5 })
      await complete({ result: { is_kept: after.leased_until >= (before?.leased_until ?? '') && after.deadline_at === before?.deadline_at } })
    })

    const job = await t.enqueue({ timeout_seconds: 900, lease_seconds: 600 })

    const done = await t.until(job.id, ({ status }) => status === 'succeeded')
    expect(done.result).toEqual({ is_kept: true })
  })
})
