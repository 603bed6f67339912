import { getEventListeners, once } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../config/clock.js'
import { createLogger } from '../../config/logger.js'
import { AgentbusError } from '../../contracts/errors.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import type { AttemptId, JobId } from '../../contracts/ids.js'
import { HookClient, type AdmitOutcome, type HookPost, type JoinOutcome, type ProbeOutcome } from '../../openclaw/hook-client.js'
import { AttemptWatches } from '../../processors/attempt-watches.js'
import { deliver, type DeliverDeps } from '../../processors/deliver.js'
import type { Place } from '../../processors/places.js'
import { ShortLeases } from '../../processors/short-leases.js'
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

const aPlace = (): Place => ({ slot: undefined })

let t: TestLedger
let gateway: GatewayInProcess
let watches: AttemptWatches
let deps: DeliverDeps
const lines: string[] = []
beforeEach(async () => {
  t = await freshLedger()
  const { ledger } = t
  lines.length = 0
  const log = createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } })
  gateway = new GatewayInProcess()
  watches = new AttemptWatches({ ledger, log, pollMs: 1_000 })
  deps = {
    ...{ ledger, hooks: gateway, watches, log, clock: systemClock, workerId: 'w1', hookToken: () => 'x', hookBodies: async () => ({ admit: '{}', join: '{}' }) },
    shortLeases: new ShortLeases({ lockMs: 8_000, stalledCheckMs: 3_000, log }),
    ahead: { take: async () => undefined },
    // So long that a timer which is not given up outlives the test, and is seen by it.
    ...{ completionGraceMs: 60_000, deadlineMarginSeconds: 60, breakerFailures: 3, failing: new Set<string>(), admissionTimeoutMs: 5_000 },
  }
})
afterEach(async () => {
  vi.restoreAllMocks()
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
  // Each call would leave something with it that is no listener.
  const any = vi.spyOn(AbortSignal, 'any')
  const ends = []

  for (let n = 0; n < 10; n += 1) {
    const { id } = await aJob(t.ledger, 'queued')
    gateway.run = async (post) => {
      const caller = attemptCaller(post.idempotencyKey as AttemptId, id, 'devops')
      const close = () => t.ledger.jobs.complete({ caller }, id, CompleteJobBody.parse({}))
      return (await CLOSES[when]?.(post, close)) ?? { kind: 'aborted' }
    }
    ends.push(await deliver(deps, { v: 1, job_id: id, generation: 1, subject: 'x' }, aPlace(), signal))
  }

  const calls = any.mock.calls.length
  expect(ends).toEqual(Array(10).fill({ kind: 'done', outcome: 'succeeded' }))
  expect(getEventListeners(signal, 'abort')).toEqual([])
  expect([watches.size, calls]).toEqual([0, 0])
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

  await expect(deliver({ ...deps, hookBodies: () => Promise.reject(away) }, entry, aPlace(), signal)).rejects.toBe(away)
  const between = await t.ledger.getJob(id)
  const ended = await deliver(deps, entry, aPlace(), signal)

  expect(between).toMatchObject({ status: 'leased', blocked_reason: null })
  expect(ended).toEqual({ kind: 'done', outcome: 'succeeded' })
  expect(await t.ledger.jobAttempts(id)).toHaveLength(1)
})

/** Has the agent close its job, as the end of its run. */
async function closes({ idempotencyKey }: HookPost, id: JobId): Promise<JoinOutcome> {
  await t.ledger.jobs.complete({ caller: attemptCaller(idempotencyKey as AttemptId, id, 'devops') }, id, CompleteJobBody.parse({}))
  return { kind: 'aborted' }
}

test('a lease is renewed as soon as a join has broken and the gateway has the run still, not after a third of it', async () => {
  const { id } = await aJob(t.ledger, 'queued')
  const secondsLeft = async (): Promise<number> => {
    const { rows } = await t.database.pool.query<{ seconds: number }>(
      `select extract(epoch from leased_until - clock_timestamp())::float8 as seconds from job_attempts where job_id = $1`,
      [id],
    )
    return rows[0]?.seconds ?? 0
  }
  let joins = 0
  gateway.run = async (post) => {
    joins += 1
    if (joins > 1) {
      await vi.waitUntil(async () => (await secondsLeft()) > 300, { timeout: 10_000 })
      return closes(post, id)
    }
    // Most of the lease of 600 s is over.
    await t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() + interval '60 seconds' where job_id = $1`, [id])
    return { kind: 'broken', reason: 'a test' }
  }
  const clock = { nowMs: () => systemClock.nowMs(), sleep: async () => undefined }

  const ended = await deliver({ ...deps, clock }, { v: 1, job_id: id, generation: 1, subject: 'x' }, aPlace(), new AbortController().signal)

  expect([joins, ended]).toEqual([2, { kind: 'done', outcome: 'succeeded' }])
})

test('a worker tells of jobs that name a lease too short for its lock, once for each agent and lease, and starts them', async () => {
  const ends: unknown[] = []
  const started = async (lease: Record<string, unknown>): Promise<JobId> => {
    const { id } = await aJob(t.ledger, 'queued', lease)
    gateway.run = (post) => closes(post, id)
    ends.push(await deliver(deps, { v: 1, job_id: id, generation: 1, subject: 'x' }, aPlace(), new AbortController().signal))
    return id
  }

  await started({})
  // Two thirds of it have to be longer than a lock of eight seconds and a look after three more.
  await started({ lease_seconds: 17 })
  const short = await started({ lease_seconds: 16 })
  await started({ lease_seconds: 16 })
  const shorter = await started({ lease_seconds: 5 })

  expect(lines.map((line) => JSON.parse(line) as Record<string, unknown>)).toMatchObject([
    { event: 'lease.too_short', agent: 'devops', job_id: short, lease_seconds: 16, lock_ms: 8_000 },
    { event: 'lease.too_short', agent: 'devops', job_id: shorter, lease_seconds: 5, lock_ms: 8_000 },
  ])
  expect(ends).toEqual(Array(5).fill({ kind: 'done', outcome: 'succeeded' }))
})
