import { Redis } from 'ioredis'
import pg from 'pg'
import { afterEach, describe, expect, inject, test } from 'vitest'
import { loadSettings } from '../../config/settings.js'
import { QUEUE_POOL } from '../../cli/stores.js'
import type { JobView } from '../../contracts/jobs.js'
import { BACKEND } from '../support/bus.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { IS_LONG } from '../support/long.js'
import { ownPostgres, ownRedis } from '../support/own-stores.js'

/** docs/architecture.md: the pool of the ledger and three more, and eight for the queues on PostgreSQL. */
const BUDGET_PER_PROCESS = loadSettings({}).pgPool + 3 + (BACKEND === 'postgres' ? QUEUE_POOL : 0)

let c: Cluster
const undo: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

function agents(count: number): Record<string, { concurrency: number }> {
  return Object.fromEntries(Array.from({ length: count }, (_none, at) => [`agent-${at}`, { concurrency: 2 }]))
}

async function enqueueForAll(count: number, each: number): Promise<JobView[]> {
  const targets = Array.from({ length: count * each }, (_none, at) => `agent-${at % count}`)
  return Promise.all(targets.map((target_agent) => c.enqueue({ target_agent })))
}

/** Counts every 50 ms until `work` is done. @returns the highest count */
async function mostDuring(count: () => Promise<number>, work: Promise<unknown>): Promise<number> {
  const counts = [await count()]
  const state = { done: false }
  const watching = (async () => {
    while (!state.done) {
      counts.push(await count())
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })()
  await work.finally(() => {
    state.done = true
  })
  await watching
  counts.push(await count())
  return Math.max(...counts)
}

const print = (what: string): void => console.log(`[${BACKEND}] ${what}`)

describe('connections to PostgreSQL', () => {
  test('of an API and three workers for 50 agents stay in their budget, and that fits into a default server', async () => {
    // Its own server: on the shared one, other test files would be left without connections.
    const server = await ownPostgres({ prepared: inject('preparedPostgres') })
    undo.push(() => server.stop())
    c = await startCluster({ databaseUrl: server.url, agents: agents(50) })
    undo.push(() => c.stop())
    const watcher = new pg.Client({ connectionString: c.databaseUrl, application_name: 'watcher' })
    await watcher.connect()
    const used = async (): Promise<number> => {
      const { rows } = await watcher.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where datname = current_database() and application_name like 'agentbus%' and backend_type = 'client backend'`,
      )
      return rows[0]?.n ?? 0
    }
    const { rows: limits } = await watcher.query<{ n: number }>(
      // What PostgreSQL allows when nobody has set anything; the server of the tests allows more.
      `select max(boot_val::int) as most, max(boot_val::int) - min(boot_val::int) as n from pg_settings where name in ('max_connections', 'superuser_reserved_connections')`,
    )
    await Promise.all([c.spawn('api'), c.spawn('worker'), c.spawn('worker'), c.spawn('worker')])

    const most = await mostDuring(
      used,
      enqueueForAll(50, IS_LONG ? 6 : 3).then((jobs) => c.settled(jobs)),
    )

    await watcher.end()
    print(`4 processes with 50 agents used at most ${most} PostgreSQL connections; ${4 * BUDGET_PER_PROCESS} are budgeted`)
    expect(limits).toMatchObject([{ most: 100 }])
    expect(most).toBeGreaterThan(4)
    expect(most).toBeLessThanOrEqual(4 * BUDGET_PER_PROCESS)
    expect(4 * BUDGET_PER_PROCESS).toBeLessThanOrEqual(limits[0]?.n ?? 0)
  })
})

describe.runIf(BACKEND === 'redis')('connections to Redis', () => {
  test('for 200 agents are one per agent and one for each process', async () => {
    const redis = await ownRedis()
    undo.push(() => redis.stop())
    await redis.start()
    c = await startCluster({ redis, agents: agents(200) })
    undo.push(() => c.stop())
    const watcher = new Redis(redis.url)
    const used = async (): Promise<number> =>
      String(await watcher.client('LIST', 'TYPE', 'NORMAL'))
        .trim()
        .split('\n').length - 1
    await Promise.all([c.spawn('api'), c.spawn('worker')])
    await c.until('the worker listens for each agent', async () => (await used()) >= 201, 60_000)

    const most = await mostDuring(
      used,
      enqueueForAll(200, IS_LONG ? 2 : 1).then((jobs) => c.settled(jobs)),
    )

    watcher.disconnect()
    print(`an API and a worker with 200 agents used at most ${most} Redis connections`)
    expect(most).toBeGreaterThan(200)
    expect(most).toBeLessThanOrEqual(202)
  })
})
