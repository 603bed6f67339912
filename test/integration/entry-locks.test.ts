import { Worker } from 'bullmq'
import { afterEach, expect, test, vi } from 'vitest'
import { BACKEND, startTestBus, type TestBus } from '../support/bus.js'

let t: TestBus
const undo: (() => unknown)[] = []
afterEach(async () => {
  await t.stop()
  for (const step of undo.splice(0).reverse()) step()
})

/** A lock of a second, and two looks for stalled entries in it: in a run of five seconds a lock that nobody extends is missed. */
const SHORT = { AGENTBUS_LOCK_MS: '1000', AGENTBUS_STALLED_CHECK_MS: '500' }
const RUN_MS = 5_000

/** How often the entry of a job was picked up. */
async function pickUps(jobId: string): Promise<number> {
  const queue = await t.bus.queues.get('devops')
  return (await queue.getJob(`${jobId}-g1`))?.attemptsStarted ?? 0
}

test(`a run of several lock periods keeps its entry on ${BACKEND}: it is not taken for one of a dead worker, and runs once`, async () => {
  t = await startTestBus({ env: SHORT })
  t.behave(async ({ run, complete }) => {
    await run.pause(RUN_MS)
    await complete()
  })

  const job = await t.enqueue()

  await t.until(job.id, ({ status }) => status === 'succeeded')
  const { transitions } = await t.ledger.jobHistory(job.id)
  expect(transitions.map(({ reason }) => reason).sort()).toEqual(['admitted', 'completed_by_agent', 'created', 'leased'])
  expect([await pickUps(job.id), t.gateway.runs().length]).toEqual([1, 1])
})

test(`a lock that nobody extends is noticed on ${BACKEND}: the entry is put back and picked up again, and the run is not begun anew`, async () => {
  const extend = vi.spyOn(Worker.prototype, 'extendJobLocks').mockResolvedValue([])
  undo.push(() => extend.mockRestore())
  t = await startTestBus({ env: SHORT })
  let finish: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  t.behave(async ({ complete }) => {
    await finished
    await complete()
  })

  const job = await t.enqueue()

  await expect.poll(() => pickUps(job.id), { timeout: 20_000 }).toBeGreaterThan(1)
  finish()
  await t.until(job.id, ({ status }) => status === 'succeeded')
  expect(extend).toHaveBeenCalled()
  expect(t.gateway.runs()).toHaveLength(1)
})
