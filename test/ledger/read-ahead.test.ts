import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { JobId } from '../../contracts/ids.js'
import type { ControlScope } from '../../contracts/controls.js'
import { aJob, freshLedger, leaseAs, leaseUnderLock, OPERATOR, type TestLedger } from '../support/ledger.js'

const clock = { nowMs: 0 }
let t: TestLedger
beforeEach(async () => {
  clock.nowMs = Date.now()
  t = await freshLedger({ nowMs: () => clock.nowMs })
})
afterEach(() => t.close())

interface Expected {
  readonly id: JobId
  readonly generation: number
}

/** A queued job, and what decides about its lease has just been read. */
async function expected(): Promise<Expected> {
  const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })
  await t.ledger.expectLeases([id])
  return { id, generation: job.generation }
}

/** How many statements of the hot path `work` sends. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  const sent = vi.spyOn(t.database.grouped, 'execute')
  try {
    await work()
    return sent.mock.calls.length
  } finally {
    sent.mockRestore()
  }
}

test('what was read ahead is not read again: the lease is one statement', async () => {
  const { id, generation } = await expected()

  const statements = await statementsOf(async () => expect((await leaseAs(t.ledger, id, generation)).kind).toBe('start'))

  expect(statements).toBe(1)
})

test('what was read a tenth of a second ago is read again, and for a second nothing is read ahead', async () => {
  const { id, generation } = await expected()
  const later = await aJob(t.ledger, 'queued')
  clock.nowMs += 100

  const leased = await statementsOf(async () => expect((await leaseAs(t.ledger, id, generation)).kind).toBe('start'))
  const paused = await statementsOf(() => t.ledger.expectLeases([later.id]))
  clock.nowMs += 1_000
  const again = await statementsOf(() => t.ledger.expectLeases([later.id]))

  expect([leased, paused, again]).toEqual([2, 0, 1])
})

test('a backlog is not read ahead', async () => {
  const jobs: JobId[] = []
  for (let at = 0; at < 5; at += 1) jobs.push((await aJob(t.ledger, 'queued')).id)

  const statements = await statementsOf(() => t.ledger.expectLeases(jobs))

  expect(statements).toBe(0)
})

describe('a lease of which was read ahead', () => {
  const pause = (scope: ControlScope, target: string) => () => t.ledger.setPaused(OPERATOR, { scope, target, reason: 'test', paused: true })
  const changes: readonly (readonly [string, (job: Expected) => Promise<unknown>, Record<string, unknown>])[] = [
    ['a pause of everything', pause('everything', ''), { kind: 'parked', reason: 'everything_paused' }],
    ['a pause of its lane', pause('lane', 'coding'), { kind: 'parked', reason: 'lane_paused' }],
    ['a pause of its agent', pause('agent', 'devops'), { kind: 'parked', reason: 'agent_paused' }],
    ['a pause of its gateway', pause('gateway', 'gw'), { kind: 'parked', reason: 'gateway_paused' }],
    ['its agent, which was disabled', () => t.addAgent('devops', { concurrency: 100, enabled: false }), { kind: 'hold', reason: 'agent_disabled' }],
    [
      'its agent, disabled behind the back of the fleet file',
      () => t.database.pool.query(`update agents set enabled = false where id = 'devops'`),
      { kind: 'hold', reason: 'agent_disabled' },
    ],
    ['the breaker of its gateway', () => t.database.pool.query(`update gateways set breaker = 'open', breaker_reason = 'test'`), { kind: 'hold', reason: 'breaker_open' }],
    ['the job, which was cancelled', ({ id }) => t.ledger.jobs.cancel(OPERATOR, id, 'test'), { kind: 'skip', code: 'job_is_over' }],
    ['the job, which was promoted and published anew', ({ id }) => t.ledger.jobs.promote(OPERATOR, id, 'test'), { kind: 'skip', code: 'stale_generation' }],
    [
      'its generation, as by a breaker that closes',
      ({ id }) => t.database.pool.query('update jobs set generation = generation + 1 where id = $1', [id]),
      { kind: 'skip', code: 'stale_generation' },
    ],
    ['who holds it', ({ id, generation }) => leaseUnderLock(t.ledger, id, generation, 'another'), { kind: 'reattach' }],
    [
      'the places of its agent, of which there are fewer',
      async () => {
        await aJob(t.ledger, 'leased')
        await t.addAgent('devops', { concurrency: 1 })
      },
      { kind: 'busy' },
    ],
  ]

  test.each(changes)('sees %s', async (_what, change, decision) => {
    const job = await expected()
    await change(job)

    const leased = await leaseAs(t.ledger, job.id, job.generation)

    expect(leased).toMatchObject(decision)
  })

  test('goes to the gateway where it is now', async () => {
    const { id, generation } = await expected()
    await t.addAgent('devops', { concurrency: 100, baseUrl: 'http://127.0.0.1:10' })

    const leased = await leaseAs(t.ledger, id, generation)

    expect(leased).toMatchObject({ kind: 'start', target: { baseUrl: 'http://127.0.0.1:10' } })
    expect(await t.ledger.jobAttempts(id)).toHaveLength(1)
  })

  test('takes a place that has become free', async () => {
    await t.addAgent('devops', { concurrency: 1 })
    const running = await aJob(t.ledger, 'running')
    const { id, generation } = await expected()
    await t.ledger.jobs.complete(running.as, running.id, { result: {}, findings: [], events: [], follow_ups: [] })

    const leased = await leaseAs(t.ledger, id, generation)

    expect(leased.kind).toBe('start')
  })
})
