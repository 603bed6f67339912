import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import type { AgentId, AttemptId, GatewayId, JobId } from '../../contracts/ids.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { AgentConfig } from '../../contracts/fleet.js'
import type { JobStatus } from '../../contracts/job-states.js'
import { nextSlot } from '../../config/schedule.js'
import { orderKey, scheduleOf, StandingOrderConfig, type SlotId } from '../../contracts/standing-orders.js'
import { startSlot } from '../../ledger/start-slot.js'
import { openDatabase, type Database, type Tx } from '../../ledger/database.js'
import { leaseJob, type LeaseDecision, type LeaseRequest } from '../../ledger/lease-job.js'
import { sha256 } from '../../ledger/canonical.js'
import { Ledger } from '../../ledger/ledger.js'
import { reportAdmitted, reportEndedWithoutClose } from '../../ledger/deliver-attempt.js'
import type { Caller, CommandContext } from '../../ledger/caller.js'
import { endWarmDatabases, WARM_POOL_SIZE, warmDatabase, type WarmDatabase } from './warm-ledgers.js'

const clones: string[] = []

/** A database of its own, cloned from the migrated template; dropped when the tests of the file are over. */
export async function cloneDatabase(): Promise<string> {
  const base = new URL(inject('postgresUrl'))
  const name = `t_${Date.now().toString(36)}_${randomBytes(4).toString('hex')}`
  await asAdmin(async (admin) => {
    // Copying files is quicker than writing them through the log, which a server without `fsync` needs not wait for.
    await admin.query(`create database ${name} template ${inject('templateDatabase')} strategy file_copy`)
  })
  clones.push(name)
  base.pathname = `/${name}`
  return base.toString()
}

/** Drops the databases of this file: a thousand of them would fill the disk and slow the server down. */
export async function dropClones(): Promise<void> {
  await endWarmDatabases()
  const names = clones.splice(0)
  if (names.length === 0) return
  await asAdmin(async (admin) => {
    for (const name of names) await admin.query(`drop database if exists ${name} with (force)`)
  })
}

let kept: Promise<pg.Client> | undefined

/** One connection for the whole run of a worker: to make one costs as much as to make a database. */
export async function asAdmin(act: (admin: pg.Client) => Promise<void>): Promise<void> {
  kept ??= connectAdmin().catch((error: unknown) => {
    kept = undefined
    throw error
  })
  await act(await kept)
}

async function connectAdmin(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') })
  // The server is stopped when all is done, before this process is.
  client.on('error', () => (kept = undefined))
  await client.connect()
  return client
}

export const TEST_SECRET = 'test-secret-test-secret-test-secret-0'
export const OPERATOR: CommandContext = { caller: { role: 'operator', tokenId: 'test', name: 'test-operator' } }

/** A renderer for tests that are not about the message. */
export const renderForTests: LeaseRequest['render'] = (job, attempt) => {
  const body = `job ${job.id} attempt ${attempt.id}`
  return { hash: sha256(body), storedBody: body, bytes: body.length, contractVersion: 'test' }
}

export interface TestLedger {
  readonly ledger: Ledger
  readonly database: Database
  readonly url: string
  readonly operatorToken: string
  agentToken(agentId: string): Promise<string>
  auditorToken(): Promise<string>
  addAgent(id: string, options?: Partial<AgentConfig> & { baseUrl?: string }): Promise<void>
  /** It is emptied and given on: to look at it afterwards, close its `database` instead. */
  close(): Promise<void>
}

/** A ledger on a database that is there and migrated. */
export function ledgerAt(
  url: string,
  options: { poolSize?: number; retryBaseSeconds?: number; nowMs?: () => number } = {},
): { readonly ledger: Ledger; readonly database: Database } {
  const database = openDatabase({ url, poolSize: options.poolSize ?? WARM_POOL_SIZE, applicationName: 'agentbus-test', onError: () => undefined })
  return { ledger: ledgerOn(database, options), database }
}

function ledgerOn(database: Database, options: { retryBaseSeconds?: number; nowMs?: () => number }): Ledger {
  return new Ledger({
    database,
    secret: TEST_SECRET,
    retryBaseSeconds: options.retryBaseSeconds ?? 0,
    nowMs: options.nowMs ?? Date.now,
    random: () => 0.5,
    render: renderForTests,
  })
}

/** A database that is migrated and has no rows. One with a number of connections of its own is the test's alone. */
async function emptyDatabase(poolSize: number | undefined): Promise<WarmDatabase> {
  if (poolSize === undefined) return warmDatabase(cloneDatabase)
  const url = await cloneDatabase()
  const { database } = ledgerAt(url, { poolSize })
  return { url, database, giveBack: () => database.close() }
}

/** A ledger on a database as a fresh one, with a gateway `gw` and an agent `devops`. */
export async function freshLedger(options: { poolSize?: number; retryBaseSeconds?: number; nowMs?: () => number } = {}): Promise<TestLedger> {
  const { url, database, giveBack } = await emptyDatabase(options.poolSize)
  const ledger = ledgerOn(database, options)
  const addAgent: TestLedger['addAgent'] = async (id, { baseUrl, ...agent } = {}) => {
    await ledger.applyFleet(
      OPERATOR,
      {
        version: 1,
        gateways: [{ id: 'gw' as GatewayId, base_url: baseUrl ?? 'http://127.0.0.1:9', hook_path: '/hooks', token: 'env:TEST_HOOK_TOKEN' }],
        agents: [AgentConfig.parse({ id, gateway: 'gw', ...agent })],
      },
      { dryRun: false, prune: false },
    )
  }
  await addAgent('devops', { concurrency: 100 })
  const { token: operatorToken } = await ledger.tokens.create(OPERATOR, { name: 'test-operator', role: 'operator' })
  return {
    ledger,
    database,
    url,
    operatorToken,
    agentToken: async (agentId) => (await ledger.tokens.create(OPERATOR, { name: `${agentId} agent`, role: 'agent', agentId: agentId as AgentId })).token,
    auditorToken: async () => (await ledger.tokens.create(OPERATOR, { name: 'auditor', role: 'auditor' })).token,
    addAgent,
    close: giveBack,
  }
}

export interface TestJob {
  readonly job: JobView
  readonly id: JobId
  readonly attemptId: AttemptId | undefined
  readonly attemptToken: string | undefined
  /** The context of the attempt's own token. */
  readonly as: CommandContext
}

/** Leases a job the way a worker does. */
export function leaseAs(ledger: Ledger, id: JobId, generation: number, workerId = 'w1', render = renderForTests): Promise<LeaseDecision> {
  return ledger.lease({ ...leaseRequest(id, generation, workerId), render })
}

/** Leases a job the way a worker does that finds anything but the commonest case. */
export function leaseUnderLock(ledger: Ledger, id: JobId, generation: number, workerId = 'w1'): Promise<LeaseDecision> {
  return ledger.run((tx) => leaseIn(tx, id, generation, workerId))
}

/** The same in a transaction of the caller's, so that nobody sees it before that commits. */
export function leaseIn(tx: Tx, id: JobId, generation: number, workerId = 'w1'): Promise<LeaseDecision> {
  return leaseJob(tx, leaseRequest(id, generation, workerId))
}

function leaseRequest(jobId: JobId, generation: number, workerId: string): LeaseRequest {
  return { jobId, generation, workerId, actor: { kind: 'worker', id: workerId }, nowMs: Date.now(), deadlineMarginSeconds: 120, render: renderForTests }
}

export function attemptCaller(attemptId: AttemptId, jobId: JobId, agentId: string): Caller {
  return { role: 'attempt', attemptId, jobId, agentId: agentId as AgentId }
}

/** A job in the wanted state, with the true history that leads there. */
export async function aJob(ledger: Ledger, status: JobStatus, overrides: Record<string, unknown> = {}): Promise<TestJob> {
  const body = CreateJobBody.parse({ target_agent: 'devops', subject: 'a test job', ...overrides })
  const dependency =
    status === 'waiting' ? [(await ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: body.target_agent, subject: 'dependency' }))).job.id] : body.depends_on
  const { job } = await ledger.jobs.create(OPERATOR, { ...body, depends_on: dependency })
  const none = { job, id: job.id, attemptId: undefined, attemptToken: undefined, as: OPERATOR }
  if (status === 'waiting' || status === 'queued') return none
  if (status === 'cancelled') return { ...none, job: await ledger.jobs.cancel(OPERATOR, job.id, 'test') }
  const leased = await leaseAs(ledger, job.id, job.generation)
  if (leased.kind !== 'start') throw new Error(`the test job was not leased: ${JSON.stringify(leased)}`)
  const attemptId = leased.attempt.id as AttemptId
  const as: CommandContext = { caller: attemptCaller(attemptId, job.id, body.target_agent ?? '') }
  const report = { jobId: job.id, attemptId, actor: { kind: 'worker' as const, id: 'w1' }, random: 0, retryBaseSeconds: 0 }
  const withAttempt = async (): Promise<TestJob> => ({ job: await ledger.getJob(job.id), id: job.id, attemptId, attemptToken: ledger.tokens.attempts.issue(attemptId), as })
  if (status === 'leased') return withAttempt()
  await ledger.run((tx) => reportAdmitted(tx, report, { runId: 'run-1', httpStatus: 200, response: { ok: true, runId: 'run-1' } }))
  if (status === 'succeeded') await ledger.jobs.complete(as, job.id, { result: {}, findings: [], events: [], follow_ups: [] })
  if (status === 'failed') await ledger.jobs.fail(as, job.id, { last_error: 'invalid', result: {}, findings: [], events: [], follow_ups: [] })
  if (status === 'blocked')
    await ledger.jobs.block(as, job.id, { blocked_reason: 'needs a person', blocked_owner: 'operator', result: {}, findings: [], events: [], follow_ups: [] })
  if (status === 'dead') {
    if (job.max_attempts !== 1) throw new Error('a dead test job needs max_attempts: 1')
    await ledger.run((tx) => reportEndedWithoutClose(tx, report, { status: 'ok', response: {} }))
  }
  return withAttempt()
}

/** A slot of a standing order of its own that has been started, and the leased job that is its run. */
export async function aSlot(ledger: Ledger, definition: Record<string, unknown> = {}): Promise<TestJob & { readonly slotId: SlotId; readonly order: string }> {
  const order = StandingOrderConfig.parse({ agent: 'devops', name: `order-${randomBytes(4).toString('hex')}`, every_seconds: 3_600, message: 'Look.', ...definition })
  await ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: [order] }, { dryRun: false, prune: false })
  const [view] = await ledger.listOrders({ order: orderKey(order) })
  const slotMs = nextSlot(scheduleOf(order), Date.now())
  if (view === undefined || slotMs === undefined) throw new Error('the order has no slot')
  const start = await ledger.run((tx) => startSlot(tx, { orderId: view.id, slotMs, nowMs: slotMs, actor: { kind: 'worker', id: 'w1' }, trigger: 'tick' }))
  if (start.kind !== 'started') throw new Error(`the slot was not started: ${JSON.stringify(start)}`)
  const id = start.jobId as JobId
  const leased = await leaseAs(ledger, id, 1)
  if (leased.kind !== 'start') throw new Error(`the job of the slot was not leased: ${JSON.stringify(leased)}`)
  const attemptId = leased.attempt.id as AttemptId
  return {
    job: await ledger.getJob(id),
    id,
    attemptId,
    attemptToken: ledger.tokens.attempts.issue(attemptId),
    as: { caller: attemptCaller(attemptId, id, order.agent) },
    slotId: start.runId as SlotId,
    order: orderKey(order),
  }
}
