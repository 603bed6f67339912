import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { AgentConfig } from '../../contracts/fleet.js'
import type { GatewayId } from '../../contracts/ids.js'
import { StandingOrderConfig } from '../../contracts/standing-orders.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { WorkflowDefinition } from '../../contracts/workflows.js'
import type { CommandContext } from '../../ledger/caller.js'
import { sha256 } from '../../ledger/canonical.js'
import { openDatabase } from '../../ledger/database.js'
import { Ledger } from '../../ledger/ledger.js'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { createRedisBackend } from '../../queues/redis-backend.js'
import type { QueueBackend } from '../../queues/backend.js'
import { FAST } from '../support/own-processes.js'
import { freePort, type OwnPostgres, type OwnRedis } from '../support/own-stores.js'
import { auditAll } from './audit.js'
import { judge, STEPS, type Evidence, type Verdict } from './checker.js'
import { createClients, MANY_ATTEMPTS, NEWS, WORKFLOW } from './clients.js'
import { CommandLog } from './command-log.js'
import { HOOK_TOKEN, runsOf, startGateways, type ChaosGateway } from './gateways.js'
import { excusedRuns } from './late-runs.js'
import { readFacts, unsettled } from './ledger-facts.js'
import { Member, type GracefulEnd } from './member.js'
import { playTroubles } from './nemesis.js'
import { AGENTS, API_LINKS, planDeeds, planTroubles, PROCESSES, type ApiLink, type Backend, type Trouble } from './schedule.js'
import { TcpProxy } from './tcp-proxy.js'

const SECRET = 'chaos-secret-chaos-secret-chaos-secret'
const OPERATOR: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'chaos' } } }
const SLOT_SECONDS = 2
/** A client gives up a try after this and asks again. */
const PATIENCE_MS = 3_000

export interface StormOptions {
  readonly seed: number
  readonly backend: Backend
  readonly stormMs: number
  /** Deeds of clients in a second. */
  readonly perSecond: number
  /** All that is asked has to come to its end within this time after the storm. */
  readonly boundMs: number
  /** The storm's own: migrated, with nothing in it. */
  readonly postgres: OwnPostgres
  /** The queue store of the Redis backend; started, and the storm's own. */
  readonly redis?: OwnRedis
  readonly onTrouble: (trouble: Trouble) => void
}

export interface StormReport {
  readonly backend: Backend
  readonly seed: number
  readonly stormMs: number
  readonly settledMs: number
  readonly counts: Readonly<Record<string, number>>
  readonly verdicts: readonly Verdict[]
  readonly holds: boolean
}

/** Starts the bus, storms it, lets it settle, and judges what clients and gateways have logged. */
export async function runStorm(options: StormOptions): Promise<StormReport> {
  const undo: (() => unknown)[] = []
  try {
    return await storm(options, undo)
  } finally {
    for (const step of undo.splice(0).reverse()) await step()
  }
}

async function storm(options: StormOptions, undo: (() => unknown)[]): Promise<StormReport> {
  const { seed, backend, stormMs } = options
  const log = new CommandLog()
  const untouchedExits: string[] = []
  const gracefulEnds: GracefulEnd[] = []
  const reasons = new Map<string, string>()
  const apiPort = await freePort()
  const apiUrl = `http://127.0.0.1:${apiPort}`
  const links = new Map<string, TcpProxy>()
  const postgresUrl = (): string => options.postgres.url
  // What the storm itself asks of the ledger goes past every cut, and follows the server when it comes back on another port.
  const ownUrl = await behindProxy(postgresUrl, new Map(), 'storm', undo)
  const db = new pg.Pool({ connectionString: ownUrl, max: 4 })
  db.on('error', () => undefined)
  undo.push(() => db.end())
  const apiUrls = new Map<string, string>()
  for (const link of API_LINKS) apiUrls.set(link, (await behindProxy(() => apiUrl, links, link, undo)).replace(/\/$/, ''))
  const apiBehind = (link: ApiLink): string => apiUrls.get(link) ?? apiUrl
  const gateways = await startGateways({ seed, apiUrlOf: (name) => apiBehind(`${name}>api`), log, patienceMs: PATIENCE_MS })
  for (const { simulator, proxy } of gateways)
    undo.push(
      () => simulator.stop({ drain: false }),
      () => proxy.stop(),
    )
  for (const { name, proxy } of gateways) links.set(name, proxy)
  const ledger = openLedger(ownUrl, undo)
  await applyFleet(ledger, gateways)
  const { token } = await ledger.tokens.create(OPERATOR, { name: 'chaos', role: 'operator' })

  const dataDir = await mkdtemp(path.join(tmpdir(), 'agentbus-chaos-'))
  undo.push(() => rm(dataDir, { recursive: true, force: true }))
  const members = new Map<string, Member>()
  for (const name of PROCESSES) {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: dataDir,
      AGENTBUS_DATA_DIR: dataDir,
      AGENTBUS_SECRET: SECRET,
      AGENTBUS_PORT: String(apiPort),
      AGENTBUS_PUBLIC_URL: apiUrl,
      AGENTBUS_QUEUE_PREFIX: prefixOf(options),
      CHAOS_HOOK_TOKEN: HOOK_TOKEN,
      ...FAST,
      AGENTBUS_COMPLETION_GRACE_MS: '1000',
      AGENTBUS_WAIT_SECONDS_MARGIN: '5',
      DATABASE_URL: await behindProxy(postgresUrl, links, `${name}>postgres`, undo),
      ...(options.redis === undefined ? { AGENTBUS_QUEUE_BACKEND: 'postgres' } : { REDIS_URL: await behindProxy(redisUrlOf(options.redis), links, `${name}>redis`, undo) }),
    }
    const member = new Member(name, env, {
      untouchedExit: (what) => untouchedExits.push(what),
      ended: (end) => gracefulEnds.push(end),
      failedRequest: (requestId, why) => reasons.set(requestId, why),
    })
    members.set(name, member)
    undo.push(() => member.stop())
  }
  await Promise.all([...members.values()].map((member) => member.start()))

  const clients = createClients({ url: apiBehind('clients>api'), token, patienceMs: PATIENCE_MS, log })
  undo.push(() => clients.stop())
  // The first slots may fall before the planner has seen the order; they count all the same.
  const ordersFromMs = Date.now() + 2 * SLOT_SECONDS * 1_000
  await setOrder(ledger, true)
  const planned = planTroubles(seed, backend, stormMs)
  const playing = clients.play(planDeeds(seed, stormMs, options.perSecond))
  const victims = { members, gateways, links, redis: options.redis, postgres: options.postgres, db }
  const [troubles] = await Promise.all([playTroubles(planned, victims, options.onTrouble), sleep(stormMs)])

  const ordersUntilMs = Date.now()
  await setOrder(ledger, false)
  const settling = await settle(db, playing, options.boundMs)
  clients.stop()
  const slotsWanted = { everyMs: SLOT_SECONDS * 1_000, fromMs: ordersFromMs, untilMs: ordersUntilMs }
  const facts = await readFacts(db, slotsWanted)
  const runs = runsOf(gateways)
  const memoryLosses = Object.fromEntries(gateways.map((gateway) => [gateway.name, gateway.memoryLosses]))
  const evidence: Evidence = {
    commands: log.commands,
    failures: log.failures,
    reasons,
    runs,
    droppedRuns: Object.fromEntries(gateways.map(({ name, simulator }) => [name, simulator.droppedRuns()])),
    troubles,
    memoryLosses,
    gatewayOf: AGENTS,
    ledger: facts,
    audit: await auditAll({ ledger, url: ownUrl, backend: openBackend(options, ownUrl), agents: Object.keys(AGENTS) }),
    settling,
    untouchedExits,
    gracefulEnds,
  }
  const verdicts = judge(evidence)
  const count = (outcome: string): number => log.commands.filter((command) => command.outcome === outcome).length
  const counts = {
    troubles: troubles.length,
    'process starts': [...members.values()].reduce((sum, member) => sum + member.lives, 0),
    'processes asked to end': gracefulEnds.length,
    'memory losses of gateways': gateways.reduce((sum, gateway) => sum + gateway.memoryLosses.length, 0),
    'commands acknowledged': count('acknowledged'),
    'commands refused': count('refused'),
    'commands never answered': count('open'),
    'commands sent more than once': log.commands.filter(({ tries }) => tries > 1).length,
    'tries without an answer': log.silences.length,
    'answers that the bus is unavailable': log.failures.length,
    jobs: facts.jobs.length,
    attempts: facts.attempts.length,
    'gateway runs': runs.length,
    'runs doubled by a gateway that had lost its memory': runs.length - new Set(runs.map(({ key }) => key)).size,
    'late runs that a cut or a pause explains': excusedRuns({ runs, attempts: facts.attempts, troubles }).length,
    'workflow runs': facts.workflowRuns.length,
    slots: facts.slots.length,
  }
  return { backend, seed, stormMs, settledMs: settling.tookMs, counts, verdicts, holds: verdicts.every(({ holds }) => holds) }
}

const prefixOf = ({ seed }: StormOptions): string => `chaos${seed}`

/** The storm's own look at the queues, past every cut. */
function openBackend(options: StormOptions, ownUrl: string): QueueBackend {
  return options.redis === undefined
    ? createPostgresBackend({ url: ownUrl, poolSize: 4, durable: false, onError: () => undefined })
    : createRedisBackend({ url: options.redis.url, prefix: prefixOf(options), onError: () => undefined })
}

function openLedger(url: string, undo: (() => unknown)[]): Ledger {
  const database = openDatabase({ url, poolSize: 4, applicationName: 'chaos', onError: () => undefined })
  undo.push(() => database.close())
  const render = (): { hash: string; storedBody: string; bytes: number; contractVersion: string } => ({ hash: sha256(''), storedBody: '', bytes: 0, contractVersion: 'chaos' })
  return new Ledger({ database, secret: SECRET, retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render })
}

const redisUrlOf =
  ({ url }: OwnRedis): (() => string) =>
  () =>
    url

/** Puts a link between somebody and what is at `url` at the time of each connection. @returns the URL to use instead */
async function behindProxy(url: () => string, links: Map<string, TcpProxy>, name: string, undo: (() => unknown)[]): Promise<string> {
  const target = new URL(url())
  const proxy = new TcpProxy(() => {
    const { hostname, port } = new URL(url())
    return { host: hostname, port: Number(port) }
  })
  await proxy.start()
  undo.push(() => proxy.stop())
  links.set(name, proxy)
  target.hostname = '127.0.0.1'
  target.port = String(proxy.port)
  return target.toString()
}

async function applyFleet(ledger: Ledger, gateways: readonly ChaosGateway[]): Promise<void> {
  const agents = Object.entries(AGENTS).map(([id, gateway]) => AgentConfig.parse({ id, gateway, concurrency: 4, timeout_seconds: 20, lease_seconds: 15 }))
  const subscriptions = [
    SubscriptionConfig.parse({ name: 'news', agent: 'fjord', topic: NEWS, own_events: true, payload: { marker: 'reaction:{{payload.marker}}' }, max_attempts: MANY_ATTEMPTS }),
  ]
  await ledger.applyFleet(
    OPERATOR,
    {
      version: 1,
      gateways: gateways.map(({ name, proxy }) => ({
        id: name as string as GatewayId,
        base_url: `http://127.0.0.1:${proxy.port}`,
        hook_path: '/hooks',
        token: 'env:CHAOS_HOOK_TOKEN',
      })),
      agents,
      subscriptions,
    },
    { dryRun: false, prune: false },
  )
  const [plan, left, right, report] = STEPS
  const step = (id: string, agent: string, needs: string[]): Record<string, unknown> => ({
    id,
    agent,
    needs,
    subject: `${id} {{inputs.marker}}`,
    payload: { marker: `{{inputs.marker}}:${id}` },
    max_attempts: MANY_ATTEMPTS,
  })
  const steps = [step(plan, 'amber', []), step(left, 'cedar', [plan]), step(right, 'ember', [plan]), step(report, 'birch', [left, right])]
  await ledger.workflows.define(OPERATOR, WorkflowDefinition.parse({ name: WORKFLOW, inputs: { marker: {} }, steps }))
}

async function setOrder(ledger: Ledger, enabled: boolean): Promise<void> {
  const order = { agent: 'delta', name: 'round', every_seconds: SLOT_SECONDS, grace_seconds: 120, catch_up: 'all', overlap: 'queue', message: 'Look around.' }
  await ledger.applyFleet(
    OPERATOR,
    { version: 1, gateways: [], agents: [], standing_orders: [StandingOrderConfig.parse({ ...order, max_attempts: MANY_ATTEMPTS, enabled })] },
    { dryRun: false, prune: false },
  )
}

/** Waits until every client is answered and nothing in the ledger is open. */
async function settle(db: pg.Pool, playing: Promise<void>, boundMs: number): Promise<Evidence['settling']> {
  const startedMs = performance.now()
  let answered = false
  void playing.then(() => {
    answered = true
  })
  for (;;) {
    const inTheLedger = await unsettled(db).catch((error: unknown) => [`the ledger cannot be asked: ${String(error)}`])
    const open = [...(answered ? [] : ['a client still waits for its answer']), ...inTheLedger]
    const tookMs = Math.round(performance.now() - startedMs)
    if (open.length === 0 || tookMs > boundMs) return { tookMs, boundMs, open }
    await sleep(250)
  }
}
