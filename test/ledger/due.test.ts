import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { tokenReader } from '../../config/token-ref.js'
import { SetControlBody } from '../../contracts/controls.js'
import { BlockJobBody } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import type { DueWork } from '../../ledger/upkeep.js'
import { AlertWatch } from '../../processors/alert-watch.js'
import { SlotKeeper } from '../../processors/slot-keeper.js'
import { aJob, freshLedger, leaseAs, OPERATOR, type TestJob, type TestLedger } from '../support/ledger.js'
import { aMemory } from '../support/thoughts.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('auditor', { capabilities: ['review'] })
  // A gateway is probed as soon as it is known.
  await query(`update gateways set probe_after = clock_timestamp() + interval '1 hour'`)
})
afterEach(() => t.close())

const query = (text: string, values: unknown[] = []) => t.database.pool.query(text, values)
const block = (job: TestJob, more: Record<string, unknown> = {}) => t.ledger.jobs.block(job.as, job.id, BlockJobBody.parse({ blocked_reason: 'a test', ...more }))
const control = (body: Record<string, unknown>) => t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', reason: 'a test', ...body }))
const soon = () => new Date(Date.now() + 600_000).toISOString()

async function blocked(more: Record<string, unknown> = {}): Promise<TestJob> {
  const job = await aJob(t.ledger, 'running')
  await block(job, more)
  return job
}

test('nothing is due on an idle ledger', async () => {
  await aJob(t.ledger, 'succeeded')

  expect(await t.ledger.upkeep.due()).toEqual(new Set())
})

test.each<[string, DueWork, () => Promise<TestJob>, (job: TestJob) => Promise<unknown>]>([
  [
    'a lease that runs out',
    'leases',
    () => aJob(t.ledger, 'running'),
    ({ attemptId }) => query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where id = $1`, [attemptId]),
  ],
  [
    'the time to look at a blocked job again',
    'look_again',
    () => blocked({ look_again_at: soon() }),
    ({ id }) => query(`update jobs set look_again_at = clock_timestamp() - interval '1 second' where id = $1`, [id]),
  ],
  ['a job that has just begun to wait for an event', 'blocked', () => aJob(t.ledger, 'running'), (job) => block(job, { waits_for: { kind: 'event', topic: 'never.comes' } })],
  [
    'an agent that comes online and is waited for',
    'blocked',
    async () => {
      const job = await aJob(t.ledger, 'running')
      await query(`update gateways set breaker = 'open', breaker_reason = 'test'`)
      await block(job, { waits_for: { kind: 'agent', agent: 'auditor' } })
      return job
    },
    () => query(`update gateways set breaker = 'closed', breaker_reason = null`),
  ],
  [
    'an approval past its time',
    'blocked',
    () => blocked({ waits_for: { kind: 'approval', subject: 'Deploy?', expires_in_seconds: 600 } }),
    () => query(`update approvals set expires_at = clock_timestamp() - interval '1 second'`),
  ],
  [
    'a block beyond its patience',
    'blocked',
    () => blocked({ patience_seconds: 600 }),
    ({ id }) => query(`update jobs set escalate_at = clock_timestamp() - interval '1 second' where id = $1`, [id]),
  ],
  ['a gateway to be probed', 'probes', () => aJob(t.ledger, 'queued'), () => query(`update gateways set probe_after = clock_timestamp() - interval '1 second'`)],
  ['an agent that is drained', 'controls', () => aJob(t.ledger, 'queued'), () => control({ action: 'drain', scope: 'agent', target: 'devops' })],
  [
    'a job that a pause has parked',
    'controls',
    async () => {
      const job = await aJob(t.ledger, 'queued')
      await control({ scope: 'agent', target: 'devops' })
      return job
    },
    ({ id }) => leaseAs(t.ledger, id, 1),
  ],
  [
    'work for whoever is able',
    'hand_offs',
    () => aJob(t.ledger, 'queued'),
    () => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ capabilities: ['review'], subject: 'for anybody' })),
  ],
  [
    'a storm of reactions',
    'hand_offs',
    async () => {
      const subscriptions = Array.from({ length: 30 }, (_none, at) => SubscriptionConfig.parse({ name: `s-${at}`, agent: 'devops', topic: 'storm.*' }))
      await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], subscriptions }, { dryRun: false, prune: false })
      return aJob(t.ledger, 'queued')
    },
    () => t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'storm.came' })),
  ],
  [
    'a memory whose time runs out',
    'memories',
    async () => {
      for (const status of ['active', 'expired'] as const) await aMemory(t.ledger, status, {}, { expires_at: soon() })
      return aJob(t.ledger, 'queued')
    },
    () => query(`update memories set expires_at = clock_timestamp() - interval '1 second' where status = 'active'`),
  ],
])('%s is due as %s, and nothing else is', async (_what, work, prepare, becomes) => {
  const job = await prepare()
  const before = await t.ledger.upkeep.due()

  await becomes(job)
  const after = await t.ledger.upkeep.due()

  expect([before, after]).toEqual([new Set(), new Set([work])])
})

test('with nothing due neither the keeper of slots, nor who tells of alerts, nor the watches of agents and inbox begin a transaction', async () => {
  const log = createLogger({ level: 'silent', pretty: false })
  const keeper = new SlotKeeper({ ledger: t.ledger, log, processId: 'p1', horizonMs: 600_000, everyMs: 600_000 })
  const alerts = new AlertWatch({ ledger: t.ledger, log, workerId: 'w1', readSecret: tokenReader({ env: {}, simulatorToken: '' }) })
  await t.ledger.upkeep.watchAgents()
  const run = vi.spyOn(t.ledger, 'run')

  await keeper.start()
  await keeper.stop()
  await alerts.send()
  await alerts.close()

  expect([await t.ledger.upkeep.watchAgents(), await t.ledger.upkeep.keepInbox(100)]).toEqual([0, { overdue: 0, answered: 0, raised: 0 }])
  expect(run).not.toHaveBeenCalled()
})
