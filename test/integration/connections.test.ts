import pg from 'pg'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { BACKEND, startTestBus, type TestBus } from '../support/bus.js'

/** What docs/architecture.md says that a fleet of this size needs. */
const AGENTS = BACKEND === 'redis' ? 200 : 50

let t: TestBus
beforeAll(async () => {
  t = await startTestBus({ agents: Object.fromEntries(Array.from({ length: AGENTS }, (_none, at) => [`agent-${at}`, {}])) })
}, 120_000)
afterAll(() => t.stop())

async function serverSide(): Promise<{ ledger: number; queues: number; most: number }> {
  const admin = new pg.Client({ connectionString: t.stores.databaseUrl })
  await admin.connect()
  try {
    const { rows } = await admin.query<{ ledger: number; queues: number; most: number }>(`
      select count(*) filter (where application_name in ('agentbus', 'agentbus-hints'))::int as ledger,
        count(*) filter (where application_name = 'agentbus-queues')::int as queues, current_setting('max_connections')::int as most
      from pg_stat_activity where datname = current_database()`)
    return rows[0] ?? { ledger: 0, queues: 0, most: 0 }
  } finally {
    await admin.end()
  }
}

async function redisConnections(): Promise<number> {
  const redis = new Redis(inject('redisUrl'))
  try {
    return (
      String(await redis.client('LIST'))
        .trim()
        .split('\n').length - 1
    )
  } finally {
    redis.disconnect()
  }
}

test(`${AGENTS} agents work within the connections of a default server`, { timeout: 120_000 }, async () => {
  const before = BACKEND === 'redis' ? await redisConnections() : 0
  const jobs = await Promise.all(Array.from({ length: AGENTS }, (_none, at) => t.enqueue({ target_agent: `agent-${at}` })))
  for (const job of jobs) await t.until(job.id, ({ status }) => status === 'succeeded', 60_000)

  const { ledger, queues, most } = await serverSide()
  console.log(
    `[${BACKEND}] ${AGENTS} agents: ${ledger} connections for the ledger, ${BACKEND === 'redis' ? `${before} to Redis` : `${queues} for the queues`}; PostgreSQL allows ${most}`,
  )
  expect(most).toBe(100)
  expect(ledger).toBeLessThanOrEqual(13)
  if (BACKEND === 'postgres') expect(queues).toBeLessThanOrEqual(8)
  // Other test files use the same server: at most one connection per agent and the shared one, and a hundred for them.
  else expect(before).toBeLessThanOrEqual(AGENTS + 1 + 100)
})
