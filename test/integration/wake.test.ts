import { afterEach, expect, test } from 'vitest'
import { AgentConfig } from '../../contracts/fleet.js'
import { OPERATOR } from '../support/ledger.js'
import { startTestBus, type AgentHands, type TestBus } from '../support/bus.js'

let t: TestBus
afterEach(() => t.stop())

/** The look that finds what nobody was told of comes too late for these tests: whoever frees a place has to say so. */
const RARE_LOOK = { AGENTBUS_STALLED_CHECK_MS: '60000', AGENTBUS_LOCK_MS: '60000' }

/** Runs that end when they are told to. */
function heldRuns(): { readonly behave: (hands: AgentHands) => Promise<void>; readonly end: () => void } {
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return {
    behave: async (hands) => {
      await ended
      await hands.complete()
    },
    end,
  }
}

test('a resume starts what lies in the queue, although its places came free during the pause and a worker waits', async () => {
  t = await startTestBus({ env: RARE_LOOK, agents: { devops: { concurrency: 2 } } })
  const runs = heldRuns()
  t.behave(runs.behave)
  const queue = await t.bus.queues.get('devops')
  const first = await t.enqueue()
  await t.until(first.id, ({ status }) => status === 'running')
  // As with several processes: while all places are taken, BullMQ tells nobody of an entry that is added.
  await queue.setGlobalConcurrency(1)
  const second = await t.enqueue()
  await expect.poll(() => queue.getJobState(`${second.id}-g1`)).toBe('prioritized')
  await queue.setGlobalConcurrency(2)

  await t.ledger.setPaused(OPERATOR, { scope: 'everything', target: '', reason: 'a test', paused: true })
  runs.end()
  await t.until(first.id, ({ status }) => status === 'succeeded')
  await t.ledger.setPaused(OPERATOR, { scope: 'everything', target: '', reason: 'over', paused: false })

  await t.until(second.id, ({ status }) => status === 'succeeded', 10_000)
})

test('a higher limit starts what waits, while the run before goes on', async () => {
  t = await startTestBus({ env: RARE_LOOK, agents: { devops: { concurrency: 1 } } })
  const runs = heldRuns()
  t.behave(runs.behave)
  const first = await t.enqueue()
  await t.until(first.id, ({ status }) => status === 'running')
  const second = await t.enqueue()

  const wider = AgentConfig.parse({ id: 'devops', gateway: 'gw', concurrency: 2 })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [wider] }, { dryRun: false, prune: false })

  await t.until(second.id, ({ status }) => status === 'running', 10_000)
  runs.end()
  await t.until(first.id, ({ status }) => status === 'succeeded')
})

test('what a worker hands back when it stops is taken on by a worker that waits', async () => {
  t = await startTestBus({ env: RARE_LOOK, agents: { devops: { concurrency: 1 } } })
  const other = await t.another()
  const runs = heldRuns()
  t.behave(runs.behave)
  const job = await t.enqueue()
  await t.until(job.id, ({ status }) => status === 'running')
  const [attempt] = await t.ledger.jobAttempts(job.id)
  const [holder, waiter] = attempt?.lease_owner === other.workerId ? [other, t.bus] : [t.bus, other]

  await holder.stop()

  await expect.poll(async () => (await waiter.ledger.jobHistory(job.id)).transitions.some(({ reason }) => reason === 'reattached'), { timeout: 10_000 }).toBe(true)
  runs.end()
})
