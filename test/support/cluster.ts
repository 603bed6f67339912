import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { sql } from 'drizzle-orm'
import { inject } from 'vitest'
import { AgentConfig } from '../../contracts/fleet.js'
import type { GatewayId, JobId } from '../../contracts/ids.js'
import { BlockJobBody, CompleteJobBody } from '../../contracts/closings.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { isCode } from '../../contracts/errors.js'
import { openDatabase, type Database } from '../../ledger/database.js'
import { Ledger } from '../../ledger/ledger.js'
import { readOrder } from '../../openclaw/simulator/scripted-agent.js'
import { createSimulator, type SimulatedRun, type Simulator } from '../../openclaw/simulator/simulator.js'
import { BACKEND } from './bus.js'
import { FAST, spawnRole, type OwnProcess } from './own-processes.js'
import { childrenOf, type OwnRedis } from './own-stores.js'
import { cloneDatabase, OPERATOR, renderForTests, TEST_SECRET } from './ledger.js'

/** Closes the job as the agent: done unless told otherwise. */
export type Close = (how?: { readonly complete?: Partial<CompleteJobBody>; readonly block?: Partial<BlockJobBody> }) => Promise<void>
export type ClusterBehaviour = (run: SimulatedRun, close: Close, attemptNo: number) => Promise<void>

export interface Cluster {
  readonly ledger: Ledger
  readonly database: Database
  readonly databaseUrl: string
  readonly gateway: Simulator
  readonly env: Record<string, string>
  /** What agents do with their order, from now on. */
  behave(behaviour: ClusterBehaviour): void
  /** Starts a real `agentbus worker` or `agentbus api` and waits until it works. */
  spawn(role: 'worker' | 'api', env?: Record<string, string>): Promise<ChildProcess>
  enqueue(overrides?: Record<string, unknown>): Promise<JobView>
  until(what: string, holds: () => Promise<boolean>, limitMs?: number): Promise<number>
  status(id: JobId): Promise<string>
  /**
   * The outbox rows that killed processes had claimed are anybody's at once. Of itself a claim lasts ten seconds, which a test of something else need not wait for;
   * that the rows are found then is shown in test/crash/stores-killed.test.ts.
   */
  claimsRunOut(): Promise<void>
  /** Fails unless the ledger, the gateway's own log and the queues agree that everything happened once. */
  settled(jobs: readonly JobView[], limitMs?: number): Promise<number>
  stop(): Promise<void>
}

export async function startCluster(
  options: { databaseUrl?: string; redis?: OwnRedis; agents?: Record<string, Partial<AgentConfig>>; tokenRef?: string; env?: Record<string, string> } = {},
): Promise<Cluster> {
  const databaseUrl = options.databaseUrl ?? (await cloneDatabase())
  const dataDir = await mkdtemp(path.join(tmpdir(), 'agentbus-cluster-'))
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '',
    HOME: dataDir,
    DATABASE_URL: databaseUrl,
    AGENTBUS_DATA_DIR: dataDir,
    AGENTBUS_SECRET: TEST_SECRET,
    AGENTBUS_PORT: '0',
    AGENTBUS_QUEUE_PREFIX: `c${randomBytes(5).toString('hex')}`,
    TEST_HOOK_TOKEN: 'test-hook-token',
    ...(BACKEND === 'redis' ? { REDIS_URL: options.redis?.url ?? inject('redisUrl') } : { AGENTBUS_QUEUE_BACKEND: 'postgres' }),
    ...FAST,
    ...options.env,
  }
  const database = openDatabase({ url: databaseUrl, poolSize: 10, applicationName: 'crash-test', onError: () => undefined })
  const ledger = new Ledger({ database, secret: TEST_SECRET, retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
  let behaviour: ClusterBehaviour = async (_run, close) => close()
  const gateway = createSimulator({
    hookToken: 'test-hook-token',
    agents: 'any',
    maxRuns: 64,
    behave: async (run) => {
      const order = readOrder(run.message)
      if (order === undefined) return { status: 'error' }
      await behaviour(run, (how) => closeAsAgent(ledger, run, order, how ?? {}), order.attemptNo)
      return { status: 'ok' }
    },
  })
  await gateway.start()
  await ledger.applyFleet(
    OPERATOR,
    {
      version: 1,
      gateways: [{ id: 'gw' as GatewayId, base_url: gateway.url, hook_path: '/hooks', token: options.tokenRef ?? 'env:TEST_HOOK_TOKEN' }],
      agents: Object.entries(options.agents ?? { devops: { concurrency: 4 } }).map(([id, agent]) => AgentConfig.parse({ id, gateway: 'gw', ...agent })),
    },
    { dryRun: false, prune: false },
  )
  const children: OwnProcess[] = []
  /** What the processes said tells most of why something did not happen. */
  const saidByAll = (): string => children.map(({ child, said }) => `-- process ${child.pid}, ${child.signalCode ?? child.exitCode ?? 'running'}\n${said()}`).join('\n')
  const cluster: Cluster = {
    ledger,
    database,
    databaseUrl,
    gateway,
    env,
    behave: (next) => {
      behaviour = next
    },
    spawn: async (role, extra = {}) => {
      const own = spawnRole(role, { ...env, ...extra })
      children.push(own)
      await own.started
      return own.child
    },
    enqueue: async (overrides = {}) => (await ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'a job', ...overrides }))).job,
    status: async (id) => (await ledger.getJob(id)).status,
    until: (what, holds, limitMs = 30_000) =>
      waitUntil(what, holds, limitMs).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${saidByAll()}`)
      }),
    claimsRunOut: async () => {
      await database.pool.query('update outbox set claimed_until = clock_timestamp() where claimed_until > clock_timestamp()')
    },
    settled: (jobs, limitMs = 60_000) => settled(cluster, jobs, limitMs),
    stop: async () => {
      for (const { child } of children) child.kill('SIGKILL')
      await gateway.stop({ drain: false })
      await database.close()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
  return cluster
}

/** Closes as the agent's CLI would: again and again while the ledger is away, and not at all once the job is not its own. */
async function closeAsAgent(ledger: Ledger, run: SimulatedRun, order: { token: string; jobId: string }, how: Parameters<Close>[0] & object): Promise<void> {
  const jobId = order.jobId as JobId
  for (;;) {
    try {
      const caller = await ledger.tokens.authenticate(order.token)
      if (caller === undefined) return
      if (how.block === undefined) await ledger.jobs.complete({ caller }, jobId, CompleteJobBody.parse(how.complete ?? {}))
      else await ledger.jobs.block({ caller }, jobId, BlockJobBody.parse(how.block))
      return
    } catch (error) {
      if (isCode(error, 'AGENTBUS_ALREADY_CLOSED') || isCode(error, 'AGENTBUS_STALE_ATTEMPT') || isCode(error, 'AGENTBUS_LEASE_EXPIRED')) return
      if (!run.isAlive()) return
      await run.pause(100)
    }
  }
}

/** Looks every 20 ms. @returns milliseconds it took */
async function waitUntil(what: string, holds: () => Promise<boolean>, limitMs: number): Promise<number> {
  const startedMs = performance.now()
  for (;;) {
    if (await holds().catch(() => false)) return Math.round(performance.now() - startedMs)
    if (performance.now() - startedMs > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function settled(cluster: Cluster, jobs: readonly JobView[], limitMs: number): Promise<number> {
  const ids = jobs.map((job) => job.id)
  const openCount = async (): Promise<string[]> => {
    const { rows } = await cluster.ledger.db.execute<{ id: string; status: string }>(
      sql`select id, status from jobs where id = any(${sql.param(ids)}::uuid[]) and status <> 'succeeded'`,
    )
    return rows.map((row) => `${row.id} ${row.status}`)
  }
  const took = await waitUntil('every job succeeded', async () => (await openCount()).length === 0, limitMs).catch(async (error: unknown) => {
    const open = await openCount()
    const first = open[0] === undefined ? undefined : await cluster.ledger.jobHistory(open[0].split(' ')[0] as JobId)
    throw new Error(
      `${String(error)}: ${open.length} open, first: ${JSON.stringify(first?.transitions.map((t) => `${t.seq} ${t.to_status} ${t.reason} ${t.note ?? ''}`))} ${JSON.stringify(first?.observations)}`,
    )
  })
  const byKey = new Map<string, number>()
  for (const run of cluster.gateway.runs()) if (run.key !== undefined) byKey.set(run.key, (byKey.get(run.key) ?? 0) + 1)
  const twice = [...byKey].filter(([, count]) => count > 1)
  if (twice.length > 0) throw new Error(`the gateway ran ${twice.length} attempts twice: ${JSON.stringify(twice)}`)
  const { rows } = await cluster.ledger.db.execute(sql`
    select j.id from jobs j where j.id = any(${sql.param(ids)}::uuid[])
      and ((select count(*) from job_transitions t where t.job_id = j.id) <> j.last_seq
        or (select count(*) from job_attempts a where a.job_id = j.id and a.status = 'succeeded') <> 1
        or exists (select from job_attempts a where a.job_id = j.id and a.finished_at is null))`)
  if (rows.length > 0) throw new Error(`${rows.length} jobs have a history that does not add up: ${JSON.stringify(rows.slice(0, 3))}`)
  await waitUntil('the outbox is drained', async () => (await cluster.ledger.outboxLag()).rows === 0, 20_000)
  return took
}

/** Kills PostgreSQL the hard way: the postmaster and all its children. */
export function killGroup(pid: number): void {
  for (const one of [pid, ...childrenOf(pid)]) {
    try {
      process.kill(one, 'SIGKILL')
    } catch {
      // It has ended with its parent.
    }
  }
}
