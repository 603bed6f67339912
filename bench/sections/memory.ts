import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import { startAgentbus } from '../agentbus.js'
import { child, next } from '../child.js'
import type { Book, Figure } from '../figure.js'
import { BENCH_SECRET, HOOK_TOKEN } from '../hook-token.js'
import type { BenchOptions } from '../options.js'
import { childrenOf, cpuSeconds, parentOf, pssBytes, requireProc, rssBytes } from '../proc.js'
import type { Where } from '../stores.js'
import { z } from 'zod'

const MAIN = path.join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')
const MIB = 1_024 * 1_024
/** Seconds that processes get to open their queues before they count as idle. */
const SETTLE_SECONDS = 10
const PATIENCE_MS = 300_000

/** One `agentbus api` and one `agentbus worker`, real processes of the build with default settings, with few and with many agents. */
export async function memory(place: (name: string) => Promise<readonly Where[]>, options: BenchOptions, book: Book): Promise<void> {
  requireProc()
  const gateway = child('gateway.ts')
  try {
    const { url: gatewayUrl } = z.object({ url: z.string() }).parse(await next(gateway))
    for (let run = 0; run < options.runs; run += 1) {
      for (const where of await place(`memory_${run}`)) {
        const { few, many } = await weighBoth(where, gatewayUrl, options)
        const tell = (figure: string, unit: string, value: number): void => {
          const key: Omit<Figure, 'values'> = { section: 'memory', figure, unit, system: 'agentbus', way: 'processes', queues: where.queue.kind, finished: 0 }
          book.add(key, value)
        }
        const agents = `${options.agents} agents`
        tell('API and worker, 1 agent', 'MiB', few.own / MIB)
        tell(`API and worker, ${agents}`, 'MiB', many.own / MIB)
        tell('API and worker, for each 100 agents more', 'MiB', ((many.own - few.own) / MIB / Math.max(1, options.agents - 1)) * 100)
        tell(`API, ${agents}`, 'MiB', many.api / MIB)
        tell(`worker, ${agents}`, 'MiB', (many.own - many.api) / MIB)
        tell(`stores, ${agents}`, 'MiB', many.stores / MIB)
        tell(`all with stores, ${agents}`, 'MiB', (many.own + many.stores) / MIB)
        tell(`idle, API and worker, ${agents}`, '% of a core', many.ownCpu)
        tell(`idle, worker, ${agents}`, '% of a core', many.workerCpu)
        tell(`idle, stores, ${agents}`, '% of a core', many.storesCpu)
      }
    }
  } finally {
    gateway.disconnect()
  }
}

interface Weight {
  /** Bytes of API and worker. */
  readonly own: number
  readonly api: number
  readonly stores: number
  /** Percent of a core. */
  readonly ownCpu: number
  readonly workerCpu: number
  readonly storesCpu: number
}

/** One pair of processes, first with one agent, then with all: the fleet grows while they run. */
async function weighBoth(where: Where, gatewayUrl: string, options: BenchOptions): Promise<{ few: Weight; many: Weight }> {
  // A bus that serves nobody and ends before anything is measured.
  const apply = async (agents: number): Promise<void> => {
    const ids = Array.from({ length: agents }, (_none, at) => `agent-${at}`)
    await (await startAgentbus(where, { gatewayUrl, agents: ids, concurrency: 1, workers: false })).stop()
  }
  await apply(1)
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
  const started: ChildProcess[] = []
  try {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: folder,
      DATABASE_URL: where.databaseUrl,
      ...(where.queue.kind === 'redis' ? { REDIS_URL: where.queue.url } : { AGENTBUS_QUEUE_BACKEND: 'postgres' }),
      AGENTBUS_DATA_DIR: folder,
      AGENTBUS_SECRET: BENCH_SECRET,
      AGENTBUS_PORT: '0',
      BENCH_HOOK_TOKEN: HOOK_TOKEN,
    }
    const roles = await Promise.all((['api', 'worker'] as const).map((role) => startRole(role, env, started)))
    const [api = Number.NaN, worker = Number.NaN] = roles.map(({ pid }) => pid ?? Number.NaN)
    const settle = options.short ? 0.5 : SETTLE_SECONDS
    await untilAttended(where, 1)
    await seconds(settle)
    const few = await weigh(where, { api, worker }, 0)
    await apply(options.agents)
    await untilAttended(where, options.agents)
    await seconds(settle)
    return { few, many: await weigh(where, { api, worker }, options.idleSeconds) }
  } finally {
    await Promise.all(started.map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

async function weigh(where: Where, { api, worker }: { readonly api: number; readonly worker: number }, idleSeconds: number): Promise<Weight> {
  const own = [api, worker]
  const stores = await storeProcesses(where)
  const before = { own: await sum(own, cpuSeconds), worker: await cpuSeconds(worker), stores: await sum(stores, cpuSeconds), atMs: performance.now() }
  await seconds(idleSeconds)
  const passed = Math.max(0.001, (performance.now() - before.atMs) / 1_000)
  const percent = (used: number): number => (100 * used) / passed
  return {
    own: await sum(own, rssBytes),
    api: await rssBytes(api),
    stores: await sum(stores, pssBytes),
    ownCpu: percent((await sum(own, cpuSeconds)) - before.own),
    workerCpu: percent((await cpuSeconds(worker)) - before.worker),
    storesCpu: percent((await sum(stores, cpuSeconds)) - before.stores),
  }
}

/** Resolves when the worker's heartbeat says that it has a queue open for each agent. */
async function untilAttended(where: Where, agents: number): Promise<void> {
  const client = new pg.Client({ connectionString: where.databaseUrl })
  await client.connect()
  try {
    const deadlineMs = performance.now() + PATIENCE_MS
    for (;;) {
      const { rows } = await client.query<{ agents: number | null }>(`select max((metrics->>'agents')::int) as agents from dispatcher_heartbeats where stopped_at is null`)
      if ((rows[0]?.agents ?? 0) >= agents) return
      if (performance.now() > deadlineMs) throw new Error(`the worker attends ${rows[0]?.agents ?? 0} of ${agents} agents after ${PATIENCE_MS / 1_000} s`)
      await seconds(0.2)
    }
  } finally {
    await client.end()
  }
}

const seconds = (count: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, count * 1_000))

async function sum(pids: readonly number[], of: (pid: number) => Promise<number>): Promise<number> {
  // A backend of PostgreSQL may have ended meanwhile.
  const all = await Promise.all(pids.map((pid) => of(pid).catch(() => 0)))
  return all.reduce((total, one) => total + one, 0)
}

async function storeProcesses(where: Where): Promise<number[]> {
  const client = new pg.Client({ connectionString: where.databaseUrl })
  await client.connect()
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const postmaster = await parentOf(rows[0]?.pid ?? 0)
  await client.end()
  const postgres = [postmaster, ...(await childrenOf(postmaster))]
  if (where.queue.kind === 'postgres') return postgres
  const redis = new Redis(where.queue.url)
  const pid = /^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]
  redis.disconnect()
  return [...postgres, Number(pid)]
}

/** Starts a role from the build, with the flag that the units of `deploy/` have, and adds it to `all` at once; resolves when it says that it works. */
async function startRole(role: 'api' | 'worker', env: Record<string, string>, all: ChildProcess[]): Promise<ChildProcess> {
  const started = spawn(process.execPath, ['--no-memory-reducer', MAIN, role], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  all.push(started)
  let said = ''
  await new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      said += chunk.toString()
      if (!said.includes('"event":"started"')) return
      started.stderr.off('data', hear)
      started.stderr.resume()
      resolve()
    }
    started.stderr.on('data', hear)
    started.once('exit', (code) => reject(new Error(`agentbus ${role} ended with ${code ?? 'a signal'}: ${said.slice(-500)}`)))
  })
  return started
}

async function end(started: ChildProcess): Promise<void> {
  if (started.exitCode !== null || started.signalCode !== null) return
  const exited = new Promise((resolve) => started.once('exit', resolve))
  started.kill('SIGTERM')
  await exited
}
