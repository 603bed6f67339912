import { getEventListeners, once } from 'node:events'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../config/clock.js'
import { createLogger } from '../../config/logger.js'
import { AgentbusError } from '../../contracts/errors.js'
import type { AttemptId } from '../../contracts/ids.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { HookClient, type AdmitOutcome, type HookPost, type JoinOutcome, type ProbeOutcome } from '../../openclaw/hook-client.js'
import { AttemptWatches } from '../../processors/attempt-watches.js'
import { deliver, type DeliverDeps } from '../../processors/deliver.js'
import { aJob, attemptCaller, freshLedger, type TestLedger } from '../support/ledger.js'

/** A gateway without HTTP: it admits every run, and a test says how its runs end. */
class GatewayInProcess extends HookClient {
  run: (post: HookPost) => Promise<JoinOutcome> = async () => ({ kind: 'aborted' })

  override async admit({ idempotencyKey }: HookPost): Promise<AdmitOutcome> {
    return { kind: 'admitted', runId: idempotencyKey, httpStatus: 200, body: { ok: true } }
  }

  override async probe(): Promise<ProbeOutcome> {
    return { ready: true }
  }

  override join(post: HookPost): Promise<JoinOutcome> {
    return this.run(post)
  }
}

let t: TestLedger
let gateway: GatewayInProcess
let watches: AttemptWatches
let deps: DeliverDeps
beforeEach(async () => {
  t = await freshLedger()
  const { ledger } = t
  const log = createLogger({ level: 'silent' })
  gateway = new GatewayInProcess()
  watches = new AttemptWatches({ ledger, log, pollMs: 1_000 })
  deps = {
    ...{ ledger, hooks: gateway, watches, log, clock: systemClock, workerId: 'w1', hookToken: () => 'x', hookBodies: async () => ({ admit: '{}', join: '{}' }) },
    // So long that a timer which is not given up outlives the test, and is seen by it.
    ...{ completionGraceMs: 60_000, deadlineMarginSeconds: 60, breakerFailures: 3, failing: new Set<string>(), admissionTimeoutMs: 5_000 },
  }
})
afterEach(async () => {
  watches.stop()
  await gateway.close()
  await t.close()
})

/** When an agent closes its job, seen from the worker that has joined its run. */
const CLOSES: Record<string, (post: HookPost, close: () => Promise<unknown>) => Promise<JoinOutcome>> = {
  'while the run is joined': async ({ signal }, close) => {
    await close()
    // As a connection does: it lasts until the worker lets go of it.
    if (!signal.aborted) await once(signal, 'abort')
    return { kind: 'aborted' }
  },
  'a moment after the run has ended': async ({ idempotencyKey }, close) => {
    setImmediate(() => void close())
    return { kind: 'completed', runId: idempotencyKey, completion: { status: 'ok' } }
  },
}

test.each(Object.keys(CLOSES))('a worker that runs on keeps nothing of its deliveries when the agent closes the job %s', async (when) => {
  // The signal of the worker's stop lives as long as the worker: whoever listens to it still is kept for as long.
  const { signal } = new AbortController()
  const ends = []

  for (let n = 0; n < 10; n += 1) {
    const { id } = await aJob(t.ledger, 'queued')
    gateway.run = async (post) => {
      const caller = attemptCaller(post.idempotencyKey as AttemptId, id, 'devops')
      const close = () => t.ledger.jobs.complete({ caller }, id, CompleteJobBody.parse({}))
      return (await CLOSES[when]?.(post, close)) ?? { kind: 'aborted' }
    }
    ends.push(await deliver(deps, { v: 1, job_id: id, generation: 1, subject: 'x' }, signal))
  }

  expect(ends).toEqual(Array(10).fill({ kind: 'done', outcome: 'succeeded' }))
  expect(getEventListeners(signal, 'abort')).toEqual([])
  expect(watches.size).toBe(0)
})

test('a ledger that is away while the message is read blocks no job: the entry comes again, and the same attempt is taken on', async () => {
  const { id } = await aJob(t.ledger, 'queued')
  const entry = { v: 1, job_id: id, generation: 1, subject: 'x' } as const
  const away = new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.')
  const { signal } = new AbortController()
  gateway.run = async (post) => {
    const caller = attemptCaller(post.idempotencyKey as AttemptId, id, 'devops')
    await t.ledger.jobs.complete({ caller }, id, CompleteJobBody.parse({}))
    return { kind: 'aborted' }
  }

  await expect(deliver({ ...deps, hookBodies: () => Promise.reject(away) }, entry, signal)).rejects.toBe(away)
  const between = await t.ledger.getJob(id)
  const ended = await deliver(deps, entry, signal)

  expect(between).toMatchObject({ status: 'leased', blocked_reason: null })
  expect(ended).toEqual({ kind: 'done', outcome: 'succeeded' })
  expect(await t.ledger.jobAttempts(id)).toHaveLength(1)
})
