import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { inject, type TestContext } from 'vitest'
import { createLogger, type Logger } from '../../config/logger.js'
import { loadSettings } from '../../config/settings.js'
import { AgentConfig } from '../../contracts/fleet.js'
import type { GatewayId, JobId } from '../../contracts/ids.js'
import type { BlockJobBody, CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { FinishStandingOrderBody, StandingOrderConfig } from '../../contracts/standing-orders.js'
import { startBus, type Bus } from '../../cli/bus.js'
import type { Stores } from '../../cli/stores.js'
import type { CommandContext } from '../../ledger/caller.js'
import type { Hint } from '../../ledger/hints.js'
import { openDatabase } from '../../ledger/database.js'
import { HintRelay } from '../../ledger/hint-relay.js'
import { Ledger } from '../../ledger/ledger.js'
import { readOrder } from '../../openclaw/simulator/scripted-agent.js'
import { createSimulator, type SimulatedRun, type Simulator, type SimulatorOptions } from '../../openclaw/simulator/simulator.js'
import { cloneDatabase, OPERATOR, renderForTests, TEST_SECRET } from './ledger.js'

export const BACKEND = process.env['TEST_QUEUE_BACKEND'] === 'postgres' ? 'postgres' : 'redis'

/** What the simulated agent may do with its order: it acts on the ledger with the token in its message. */
export interface AgentHands {
  readonly run: SimulatedRun
  readonly jobId: JobId
  readonly attemptNo: number
  /** The agent in its own right: what its attempt's token opens. */
  readonly as: CommandContext
  complete(body?: Partial<CompleteJobBody>): Promise<unknown>
  block(body: Partial<BlockJobBody>): Promise<unknown>
  fail(body: Partial<FailJobBody>): Promise<unknown>
  /** Closes the run of a standing order. */
  finish(body: Partial<FinishStandingOrderBody>): Promise<unknown>
}

export type Behaviour = (hands: AgentHands) => Promise<'ok' | 'error' | void>

export interface TestBus {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly gateway: Simulator
  /** Replaces what agents do from now on. */
  behave(behaviour: Behaviour): void
  enqueue(overrides?: Record<string, unknown>): Promise<JobView>
  /** Resolves with the job as soon as `wanted` holds; wakes on hints and looks every 50 ms. */
  until(id: JobId, wanted: (job: JobView) => boolean, limitMs?: number): Promise<JobView>
  /** Applies standing orders, with a message where they have none. */
  order(...orders: Record<string, unknown>[]): Promise<void>
  /** A further worker process's worth of bus on the same stores, in this process. */
  another(env?: Record<string, string>): Promise<Bus>
  readonly stores: Stores
  /** The queue prefix on Redis. */
  readonly prefix: string
  /** Makes a job look unchanged for long enough that the sweep trusts what it sees. */
  agePast(id: JobId): Promise<void>
  stop(): Promise<void>
}

const FAST = {
  AGENTBUS_COMPLETION_GRACE_MS: '300',
  AGENTBUS_LOCK_MS: '2000',
  AGENTBUS_STALLED_CHECK_MS: '1000',
  AGENTBUS_PROBE_SECONDS: '1',
  RETRY_SECONDS: '1',
  AGENTBUS_SWEEP_SECONDS: '3600',
}

/** A whole bus on fresh stores: a database of its own, and a queue prefix of its own on Redis. */
export async function startTestBus(
  options: { env?: Record<string, string>; agents?: Record<string, Partial<AgentConfig>>; simulator?: Partial<SimulatorOptions>; api?: boolean; log?: Logger } = {},
): Promise<TestBus> {
  const databaseUrl = await cloneDatabase()
  const prefix = `t${randomBytes(5).toString('hex')}`
  const stores: Stores = {
    databaseUrl,
    queue: BACKEND === 'redis' ? { kind: 'redis', url: inject('redisUrl') } : { kind: 'postgres', url: databaseUrl },
    secret: TEST_SECRET,
    announcements: [],
    stop: async () => undefined,
  }
  let behaviour: Behaviour = async (hands) => {
    await hands.complete()
  }
  // Agents act through a ledger of their own, as if in another process: it outlives every worker.
  const agentDatabase = openDatabase({ url: databaseUrl, poolSize: 10, applicationName: 'agents', onError: () => undefined })
  const ledger = new Ledger({ database: agentDatabase, secret: TEST_SECRET, retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
  const agentHints = new HintRelay({ bus: ledger.hints, url: databaseUrl, windowMs: 1, onError: () => undefined })
  await agentHints.start()
  const gateway = createSimulator({
    hookToken: 'test-hook-token',
    agents: 'any',
    maxRuns: 64,
    ...options.simulator,
    behave: async (run) => {
      const order = readOrder(run.message)
      const caller = order === undefined ? undefined : await ledger.tokens.authenticate(order.token)
      if (order === undefined || caller === undefined) return { status: 'ok' }
      const { jobs } = ledger
      const jobId = order.jobId as JobId
      const rest = { result: {}, findings: [], events: [], follow_ups: [] }
      const status = await behaviour({
        run,
        as: { caller },
        jobId,
        attemptNo: order.attemptNo,
        complete: (body) => jobs.complete({ caller }, jobId, { ...rest, ...body }),
        block: (body) => jobs.block({ caller }, jobId, { blocked_reason: 'test', blocked_owner: 'operator', ...rest, ...body }),
        fail: (body) => jobs.fail({ caller }, jobId, { last_error: 'test', ...rest, ...body }),
        finish: (body) => jobs.finishStandingOrder({ caller }, jobId, FinishStandingOrderBody.parse({ outcome: 'no_work', ...body })),
      })
      return { status: status ?? 'ok' }
    },
  })
  await gateway.start()
  const log = options.log ?? createLogger({ level: process.env['TEST_LOG'] === undefined ? 'silent' : 'debug' })
  const start = (env: Record<string, string> = {}): Promise<Bus> =>
    startBus({
      settings: loadSettings({ ...FAST, AGENTBUS_QUEUE_PREFIX: prefix, AGENTBUS_PORT: '0', ...options.env, ...env }),
      env: { TEST_HOOK_TOKEN: 'test-hook-token' },
      stores,
      log,
      api: options.api ?? false,
      workers: true,
      simulatorToken: 'unused',
      prepare: async (parts) => {
        await parts.ledger.applyFleet(
          OPERATOR,
          {
            version: 1,
            gateways: [{ id: 'gw' as GatewayId, base_url: gateway.url, hook_path: '/hooks', token: 'env:TEST_HOOK_TOKEN' }],
            agents: Object.entries(options.agents ?? { devops: { concurrency: 4 } }).map(([id, agent]) => AgentConfig.parse({ id, gateway: 'gw', ...agent })),
          },
          { dryRun: false, prune: false },
        )
      },
    })
  const bus = await start()
  const others: Bus[] = []
  return {
    bus,
    ledger: bus.ledger,
    gateway,
    stores,
    prefix,
    agePast: async (id) => {
      await bus.ledger.db.execute(sql`update jobs set updated_at = updated_at - interval '1 minute' where id = ${id}::uuid`)
    },
    behave: (next) => {
      behaviour = next
    },
    enqueue: async (overrides = {}) => (await bus.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', ...overrides }))).job,
    order: async (...orders) => {
      const standing_orders = orders.map((order) => StandingOrderConfig.parse({ agent: 'devops', message: 'Look around.', ...order }))
      await bus.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders }, { dryRun: false, prune: false })
    },
    until: (id, wanted, limitMs = 20_000) => until(bus.ledger, id, wanted, limitMs),
    another: async (env) => {
      const other = await start(env)
      others.push(other)
      return other
    },
    stop: async () => {
      for (const other of others) await other.stop()
      await bus.stop()
      await gateway.stop({ drain: false })
      await agentHints.stop()
      await agentDatabase.close()
    },
  }
}

/** A bus for one of several tests that run side by side: it stops when that test has finished. */
export async function busOfTest({ onTestFinished }: Pick<TestContext, 'onTestFinished'>, options: Parameters<typeof startTestBus>[0] = {}): Promise<TestBus> {
  const t = await startTestBus(options)
  onTestFinished(() => t.stop())
  return t
}

/** Resolves with the job as soon as `wanted` holds. @throws with the job's history when it does not within `limitMs` */
export async function until(ledger: Ledger, id: JobId, wanted: (job: JobView) => boolean, limitMs: number): Promise<JobView> {
  const endMs = Date.now() + limitMs
  for (;;) {
    const job = await ledger.getJob(id)
    if (wanted(job)) return job
    if (Date.now() > endMs) {
      const { transitions, observations } = await ledger.jobHistory(id)
      throw new Error(
        `the job did not get there in ${limitMs} ms: ${JSON.stringify({ status: job.status, history: transitions.map((t) => `${t.seq} ${t.to_status} ${t.reason} ${t.note ?? ''} ${JSON.stringify(t.details)}`), observations }, undefined, 1)}`,
      )
    }
    await nextHint(ledger, 50)
  }
}

function nextHint(ledger: Ledger, limitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (_hint?: Hint): void => {
      clearTimeout(timer)
      unlisten()
      resolve()
    }
    const timer = setTimeout(done, limitMs)
    const unlisten = ledger.hints.listen(done)
  })
}
