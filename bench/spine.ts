import { execFileSync, fork, type ChildProcess } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { startBus } from '../cli/bus.js'
import type { Stores } from '../cli/stores.js'
import { createLogger } from '../config/logger.js'
import { loadSettings } from '../config/settings.js'
import { AgentConfig } from '../contracts/fleet.js'
import type { GatewayId } from '../contracts/ids.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { findRedisServer, startPrivateRedis } from '../embedded/private-redis.js'
import { probePostgres } from '../embedded/probe-stores.js'
import type { CommandContext } from '../ledger/caller.js'
import { migrateLedger } from '../ledger/database.js'
import { createPostgresBackend, migrateQueueStore } from '../queues/postgres-backend.js'
import { createRedisBackend } from '../queues/redis-backend.js'
import { startBaseline } from './baseline.js'

const { values: args } = parseArgs({
  options: {
    backend: { type: 'string', default: 'both' },
    jobs: { type: 'string', default: '1500' },
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string', default: '3' },
  },
})
const CONCURRENCY = 50
const OPERATOR: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'bench' } } }

const Seen = z.object({ kind: z.literal('seen'), latencies: z.array(z.number()), closed: z.int(), lastClosedMs: z.number() })
const Done = z.object({ kind: z.literal('done'), startedMs: z.number(), postedMs: z.number() })

function child(file: string): ChildProcess {
  return fork(path.join(import.meta.dirname, file), { execArgv: ['--import', 'tsx'] })
}

function next(process: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => process.once('message', resolve))
}

interface System {
  readonly name: 'agentbus' | 'no ledger'
  readonly url: string
  readonly token: string
  readonly stop: () => Promise<void>
}

interface Measured {
  readonly p50: number
  readonly p99: number
  readonly rate: number
}

async function measure(system: System, gateway: ChildProcess, client: ChildProcess): Promise<Measured> {
  const load = { url: system.url, token: system.token, connections: 32 }
  await loadAndWait(gateway, client, { ...load, jobs: 100 })
  const calm = await loadAndWait(gateway, client, { ...load, jobs: 20 * Number(args.seconds), perSecond: 20 })
  const fast = await loadAndWait(gateway, client, { ...load, jobs: Number(args.jobs) })
  const sorted = calm.latencies.sort((a, b) => a - b)
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99), rate: Number(args.jobs) / ((fast.lastClosedMs - fast.startedMs) / 1_000) }
}

async function loadAndWait(
  gateway: ChildProcess,
  client: ChildProcess,
  load: { jobs: number; perSecond?: number; connections: number; url: string; token: string },
): Promise<z.infer<typeof Seen> & { startedMs: number }> {
  const reset = next(gateway)
  gateway.send('reset')
  await reset
  const done = next(client)
  client.send(load)
  const { startedMs } = Done.parse(await done)
  for (;;) {
    const answer = next(gateway)
    gateway.send('seen')
    const seen = Seen.parse(await answer)
    if (seen.closed >= load.jobs) return { ...seen, startedMs }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN
const spread = (numbers: readonly number[], digits: number): string =>
  `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}–${Math.max(...numbers).toFixed(digits)})`

async function main(): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
  await chmod(folder, 0o755)
  const log = createLogger({ level: 'error', pretty: false })
  const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log })
  const binary = findRedisServer(process.env['PATH'])
  const redis = binary === undefined || args.backend === 'postgres' ? undefined : await startPrivateRedis({ dataDir: path.join(folder, 'data'), binary, log })
  await migrateLedger(postgres.url)
  await migrateQueueStore(postgres.url)
  const gateway = child('gateway.ts')
  const { url: gatewayUrl } = z.object({ url: z.string() }).parse(await next(gateway))
  const client = child('client.ts')
  await next(client)
  const lines: string[] = []
  try {
    for (const kind of ['redis', 'postgres'] as const) {
      if (args.backend !== 'both' && args.backend !== kind) continue
      if (kind === 'redis' && redis === undefined) continue
      const queue = kind === 'redis' ? { kind, url: redis?.url ?? '' } : { kind, url: postgres.url }
      lines.push(...(await compare(kind, { databaseUrl: postgres.url, queue }, gatewayUrl, gateway, client)))
    }
    const facts = await probePostgres(postgres.url)
    await report(lines, facts.version)
  } finally {
    gateway.disconnect()
    client.disconnect()
    await redis?.stop()
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function compare(
  kind: 'redis' | 'postgres',
  where: Pick<Stores, 'databaseUrl' | 'queue'>,
  gatewayUrl: string,
  gateway: ChildProcess,
  client: ChildProcess,
): Promise<string[]> {
  const results: Record<System['name'], Measured[]> = { agentbus: [], 'no ledger': [] }
  for (let run = 0; run < Number(args.runs); run += 1) {
    for (const start of [startNoLedger, startAgentbus]) {
      const system = await start(where, gatewayUrl)
      const measured = await measure(system, gateway, client)
      await system.stop()
      results[system.name].push(measured)
      console.log(`${kind} run ${run + 1} ${system.name}: p50 ${measured.p50.toFixed(1)} ms, p99 ${measured.p99.toFixed(1)} ms, ${measured.rate.toFixed(0)} jobs/s`)
    }
  }
  const of = (name: System['name'], key: keyof Measured): number[] => results[name].map((one) => one[key])
  const difference = (key: 'p50' | 'p99'): number => median(of('agentbus', key)) - median(of('no ledger', key))
  const ratio = median(of('agentbus', 'rate')) / median(of('no ledger', 'rate'))
  const met = (holds: boolean): string => (holds ? 'met' : 'NOT met')
  return [
    `| ${kind} | enqueue to hook, p50, ms | ${spread(of('agentbus', 'p50'), 1)} | ${spread(of('no ledger', 'p50'), 1)} | +${difference('p50').toFixed(1)} ms | at most +15 ms: ${met(difference('p50') <= 15)} |`,
    `| ${kind} | enqueue to hook, p99, ms | ${spread(of('agentbus', 'p99'), 1)} | ${spread(of('no ledger', 'p99'), 1)} | +${difference('p99').toFixed(1)} ms | at most +60 ms: ${met(difference('p99') <= 60)} |`,
    `| ${kind} | end to end, jobs/s | ${spread(of('agentbus', 'rate'), 0)} | ${spread(of('no ledger', 'rate'), 0)} | ${ratio.toFixed(2)} of it | ${kind === 'redis' ? `at least 0.25: ${met(ratio >= 0.25)}` : 'none'} |`,
  ]
}

async function startNoLedger({ queue }: Pick<Stores, 'databaseUrl' | 'queue'>, gatewayUrl: string): Promise<System> {
  const onError = (): void => undefined
  const backend = queue.kind === 'redis' ? createRedisBackend({ url: queue.url, prefix: 'baseline', onError }) : createPostgresBackend({ url: queue.url, poolSize: 8, onError })
  const baseline = await startBaseline({ backend, gatewayUrl, concurrency: CONCURRENCY })
  return {
    name: 'no ledger',
    ...baseline,
    stop: async () => {
      await baseline.stop()
      await backend.close()
    },
  }
}

async function startAgentbus(where: Pick<Stores, 'databaseUrl' | 'queue'>, gatewayUrl: string): Promise<System> {
  let token = ''
  const bus = await startBus({
    settings: loadSettings({ AGENTBUS_PORT: '0', AGENTBUS_LOG_LEVEL: 'error' }),
    env: { BENCH_HOOK_TOKEN: 'bench-hook-token' },
    stores: { ...where, secret: 'bench-secret-bench-secret-bench-secret', announcements: [], stop: async () => undefined },
    log: createLogger({ level: 'error', pretty: false }),
    api: true,
    workers: true,
    simulatorToken: '',
    prepare: async ({ ledger }) => {
      const gateway = { id: 'bench' as GatewayId, base_url: gatewayUrl, hook_path: '/hooks', token: 'env:BENCH_HOOK_TOKEN' }
      await ledger.applyFleet(
        OPERATOR,
        { version: 1, gateways: [gateway], agents: [AgentConfig.parse({ id: 'bench', gateway: 'bench', concurrency: CONCURRENCY })] },
        { dryRun: false, prune: false },
      )
      token = (await ledger.createToken(OPERATOR, { name: 'bench', role: 'operator' })).token
    },
  })
  return { name: 'agentbus', url: bus.url ?? '', token, stop: () => bus.stop() }
}

async function report(lines: readonly string[], postgresVersion: string): Promise<void> {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD']).toString().trim()
  const text = `# Spine benchmark

Commit ${commit}, ${new Date().toISOString().slice(0, 10)}; ${cpus().length} cores, Node ${process.versions.node}, PostgreSQL ${postgresVersion} (embedded, fsync on). \`npm run bench\`.
Load client and gateway are processes of their own; API and workers are one process, in both systems. Latency at 20 jobs/s for ${args.seconds} s; rate with
${args.jobs} jobs over 32 connections, agent concurrency ${CONCURRENCY}. Medians of ${args.runs} interleaved runs (lowest–highest). "No ledger" is the same HTTP
requests and the same BullMQ queue on the same store, with nothing written to PostgreSQL by the bus.

| queues | figure | agentbus | no ledger | difference | target |
|---|---|---|---|---|---|
${lines.join('\n')}
`
  await mkdir('bench/results', { recursive: true })
  await writeFile('bench/results/spine.md', text)
  console.log(`\n${text}`)
}

await main()
process.exit(0)
