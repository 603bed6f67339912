import { hostname } from 'node:os'
import type { WorkerOptions } from 'bullmq'
import { randomBytes } from 'node:crypto'
import { urlOf } from '../api/server.js'
import { systemClock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'
import type { Settings } from '../config/settings.js'
import { readSigningKey } from '../config/signing-key.js'
import { tokenReader } from '../config/token-ref.js'
import type { Tracing } from '../config/tracing.js'
import { messageOf } from '../contracts/errors.js'
import { signerOf } from '../ledger/audit/signing.js'
import { openDatabase } from '../ledger/database.js'
import { HintRelay } from '../ledger/hint-relay.js'
import type { LeaseRequest, RenderedPrompt } from '../ledger/lease-job.js'
import { Ledger } from '../ledger/ledger.js'
import { assertSameSecret } from '../ledger/tokens.js'
import { CONTRACT_VERSION, renderJobMessage } from '../openclaw/contract.js'
import { HookClient } from '../openclaw/hook-client.js'
import { renderHookBodies, renderWakeBody } from '../openclaw/render-hook.js'
import { AgentWorkers } from '../processors/agent-workers.js'
import { AlertWatch } from '../processors/alert-watch.js'
import { AttemptWatches } from '../processors/attempt-watches.js'
import { HandOffs } from '../processors/hand-offs.js'
import { Maintenance } from '../processors/maintenance.js'
import { SlotKeeper } from '../processors/slot-keeper.js'
import type { QueueBackend } from '../queues/backend.js'
import { createPostgresBackend } from '../queues/postgres-backend.js'
import { QueueRegistry } from '../queues/queue-registry.js'
import { Reconciler } from '../queues/reconciler.js'
import { createRedisBackend } from '../queues/redis-backend.js'
import { Relay } from '../queues/relay.js'
import { SchedulerSync } from '../queues/schedulers.js'
import { HookPrompts } from './hook-prompts.js'
import { stopEach } from './stop-each.js'
import { QUEUE_POOL, type Stores } from './stores.js'

export interface BusOptions {
  readonly settings: Settings
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stores: Stores
  readonly log: Logger
  /** Serve REST and the board. */
  readonly api: boolean
  /** Deliver to agents. */
  readonly workers: boolean
  readonly simulatorToken: string
  /** Calls gateways in place of HTTP: the benchmark's agents live in this process. */
  readonly hooks?: HookClient
  /** Runs when the ledger is open and before anything is delivered: tokens, the first fleet. */
  readonly prepare?: (bus: { readonly ledger: Ledger; readonly apiUrl: string }) => Promise<void>
}

export interface Bus {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  /** Where the API listens; undefined without one. */
  readonly url: string | undefined
  readonly workerId: string
  readonly sweepNow: () => Promise<number>
  /** Stops in the reverse order of start. Attempts under way stay open for the next worker. */
  stop(): Promise<void>
}

/** Builds one process's object graph on stores that are probed and migrated, and starts it. The stores outlive it. */
export async function startBus(options: BusOptions): Promise<Bus> {
  const { settings, stores, log } = options
  const undo: (() => Promise<unknown>)[] = []
  const stop = (): Promise<void> => stopEach(undo.splice(0), log)
  try {
    const bus = await assemble(options, undo, stop)
    log.debug({ event: 'bus.assembled', queue: stores.queue.kind, api: options.api, workers: options.workers, prefix: settings.queuePrefix }, 'assembled')
    return bus
  } catch (error) {
    await stop()
    throw error
  }
}

async function assemble(options: BusOptions, undo: (() => Promise<unknown>)[], stop: () => Promise<void>): Promise<Bus> {
  const { settings, stores, log } = options
  const workerId = settings.workerId ?? `${hostname()}-${process.pid}-${randomBytes(3).toString('hex')}`
  const reportError = (error: Error, where: string): void => log.warn({ event: 'store.error', where, err: messageOf(error) }, 'a store connection failed')
  const database = openDatabase({ url: stores.databaseUrl, poolSize: settings.pgPool, applicationName: 'agentbus', onError: (error) => reportError(error, 'ledger') })
  undo.push(() => database.close())

  const prompts = new HookPrompts()
  const where = { apiUrl: settings.publicUrl ?? urlOf(settings) }
  const ledger: Ledger = new Ledger({
    database,
    secret: stores.secret,
    retryBaseSeconds: settings.retrySeconds,
    nowMs: () => systemClock.nowMs(),
    random: () => Math.random(),
    render: (job, attempt, target) => renderPrompt(ledger, prompts, where.apiUrl, { job, attempt, target }),
    onError: (error, what) => log.error({ event: 'ledger.row_lost', what, err: messageOf(error) }, 'a row beside a request could not be written'),
  })
  await assertSameSecret(ledger.db, ledger.tokens.attempts)
  const hints = new HintRelay({ bus: ledger.hints, url: stores.databaseUrl, windowMs: 3, onError: (error) => reportError(error, 'hints') })
  await hints.start()
  undo.push(() => hints.stop())

  // Imported only when it is asked for: without traces nothing of OpenTelemetry is loaded.
  const tracing = settings.traces ? (await import('./tracing.js')).startTracing(settings, (error) => reportError(error, 'traces')) : undefined
  if (tracing !== undefined) undo.push(() => tracing.stop())
  const backend = openBackend(options, tracing, reportError)
  undo.push(() => backend.close())
  const queues = new QueueRegistry(backend)
  undo.push(() => queues.close())

  const readiness = { started: false }
  let url: string | undefined
  if (options.api) {
    const { serveApi } = await import('./serve-api.js')
    const served = await serveApi({ settings, log, ledger, queues, tracing, isReady: () => readiness.started })
    undo.push(() => served.close())
    url = served.url
    if (settings.publicUrl === undefined) where.apiUrl = served.url
  }
  await options.prepare?.({ ledger, apiUrl: where.apiUrl })

  const workers = options.workers ? buildWorkers(options, { ledger, queues, prompts, workerId, tracing }, undo) : undefined
  const schedulers = new SchedulerSync({ ledger, queues, log, processId: workerId })
  schedulers.start()
  undo.push(() => schedulers.stop())
  const reconciler = new Reconciler({
    ledger,
    queues,
    log,
    processId: workerId,
    sweepMs: settings.sweepSeconds * 1_000,
    applySettings: async (isMine) => {
      if (workers !== undefined && (await isMine('limits'))) await workers.agents.reapplyLimits()
      if (await isMine('schedulers')) await schedulers.sync()
    },
  })
  const keeper = new SlotKeeper({ ledger, log, processId: workerId, horizonMs: settings.slotHorizonSeconds * 1_000, everyMs: 1_000 })
  await keeper.start()
  undo.push(() => keeper.stop())
  await reconciler.start()
  undo.push(() => reconciler.stop())
  const relay = new Relay({ ledger, queues, log, pollMs: settings.relayPollMs, onPublish: (items) => workers?.agents.expect(items), tracing })
  relay.start()
  undo.push(() => relay.stop())
  await schedulers.sync()
  if (workers !== undefined) {
    await workers.maintenance.start()
    undo.push(() => workers.maintenance.stop())
    workers.handOffs.start()
    undo.push(() => workers.handOffs.stop())
    // Before it starts: one that fails half-way has workers open, which would go on taking entries.
    undo.push(() => workers.agents.stop())
    await workers.agents.start()
  }
  const alerts = new AlertWatch({ ledger, log, workerId, readSecret: tokenReader({ env: options.env, simulatorToken: '', what: "secret of the alerts' webhook" }) })
  alerts.start()
  undo.push(() => alerts.close())
  readiness.started = true
  return { ledger, queues, url, workerId, sweepNow: () => reconciler.sweepNow(), stop }
}

type RenderInput = { readonly [K in 'job' | 'attempt' | 'target']: Parameters<LeaseRequest['render']>[{ job: 0; attempt: 1; target: 2 }[K]] }

function renderPrompt(ledger: Ledger, prompts: HookPrompts, apiUrl: string, { job, attempt, target }: RenderInput): RenderedPrompt {
  const token = ledger.tokens.attempts.issue(attempt.id)
  const message = renderJobMessage({
    job: { ...job, target_agent: target.agentId },
    attempt: { id: attempt.id, attempt_no: attempt.attemptNo, max: job.max_attempts },
    attemptToken: token,
    apiUrl,
  })
  if (job.session_mode === 'main') {
    return prompts.keep(renderWakeBody({ text: message, gatewayAgentId: target.gatewayAgentId, mode: 'now' }), token, CONTRACT_VERSION)
  }
  const bodies = renderHookBodies({ message, gatewayAgentId: target.gatewayAgentId, name: `agentbus ${job.job_type}`, timeoutSeconds: job.timeout_seconds })
  return prompts.keep(bodies.admit, token, CONTRACT_VERSION)
}

function openBackend({ settings, stores }: BusOptions, tracing: Tracing | undefined, onError: (error: Error, where: string) => void): QueueBackend {
  const telemetry = tracing?.queueTelemetry as WorkerOptions['telemetry']
  return stores.queue.kind === 'redis'
    ? createRedisBackend({ url: stores.queue.url, prefix: settings.queuePrefix, onError, telemetry })
    : createPostgresBackend({ url: stores.queue.url, poolSize: QUEUE_POOL, onError, telemetry })
}

function buildWorkers(
  options: BusOptions,
  parts: { readonly ledger: Ledger; readonly queues: QueueRegistry; readonly prompts: HookPrompts; readonly workerId: string; readonly tracing: Tracing | undefined },
  undo: (() => Promise<unknown>)[],
): { agents: AgentWorkers; maintenance: Maintenance; handOffs: HandOffs } {
  const { settings, log } = options
  const hooks = options.hooks ?? new HookClient({ tracing: parts.tracing })
  undo.push(() => hooks.close())
  const watches = new AttemptWatches({ ledger: parts.ledger, log, pollMs: 1_000 })
  undo.push(async () => watches.stop())
  const agents = new AgentWorkers({
    ledger: parts.ledger,
    queues: parts.queues,
    clock: systemClock,
    log,
    lockMs: settings.lockMs,
    stalledCheckMs: settings.stalledCheckMs,
    gatePollMs: 1_000,
    deliver: {
      ledger: parts.ledger,
      hooks,
      watches,
      clock: systemClock,
      log,
      workerId: parts.workerId,
      hookToken: tokenReader({ env: options.env, simulatorToken: options.simulatorToken }),
      hookBodies: (attempt) => parts.prompts.bodiesOf(parts.ledger, attempt),
      completionGraceMs: settings.completionGraceMs,
      deadlineMarginSeconds: settings.waitSecondsMargin,
      breakerFailures: settings.breakerFailures,
      failing: new Set(),
      admissionTimeoutMs: 30_000,
    },
  })
  const handOffs = new HandOffs({ ledger: parts.ledger, log })
  const maintenance = new Maintenance({
    ledger: parts.ledger,
    hooks,
    log,
    workerId: parts.workerId,
    pid: process.pid,
    probeSeconds: settings.probeSeconds,
    breakerFailures: settings.breakerFailures,
    checkpointSeconds: settings.checkpointSeconds,
    signer: settings.signingKey === undefined ? undefined : signerOf(readSigningKey(settings.signingKey, options.env)),
    load: () => agents.load(),
    handOffsSoon: () => handOffs.soon(),
  })
  return { agents, maintenance, handOffs }
}
