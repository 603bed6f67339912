import pg from 'pg'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { JobView } from '../../contracts/jobs.js'
import { sqlStateOf } from '../../ledger/database.js'
import { BACKEND } from '../support/bus.js'
import { killGroup, startCluster, type Cluster } from '../support/cluster.js'
import { ownPostgres, ownRedis, type OwnRedis } from '../support/own-stores.js'

let c: Cluster | undefined
let redis: OwnRedis | undefined
const undo: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  if (BACKEND !== 'redis') return
  redis = await ownRedis()
  await redis.start()
})
afterEach(async () => {
  await c?.stop()
  await redis?.stop()
  for (const step of undo.splice(0).reverse()) await step()
  c = undefined
  redis = undefined
})

const print = (what: string, ms: number): void => console.log(`[${BACKEND}] ${what}: ${(ms / 1000).toFixed(1)} s`)
const withRedis = (): { redis?: OwnRedis } => (redis === undefined ? {} : { redis })
const AGENTS = { devops: { concurrency: 4 }, auditor: { concurrency: 4 } }

/** Enqueues at a steady rate until told to stop; what was acknowledged is what must be done. */
function load(cluster: Cluster): { acknowledged: JobView[]; stop: () => Promise<void> } {
  const acknowledged: JobView[] = []
  let stopped = false
  const loop = (async () => {
    for (let at = 0; !stopped; at += 1) {
      await cluster.enqueue({ target_agent: at % 2 === 0 ? 'devops' : 'auditor', subject: `load ${at}` }).then(
        (job) => acknowledged.push(job),
        () => undefined,
      )
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })()
  return {
    acknowledged,
    stop: async () => {
      stopped = true
      await loop
    },
  }
}

test('an API killed between commit and publish: what it acknowledged is delivered', async () => {
  c = await startCluster(withRedis())
  const api = await c.spawn('api')
  // The store is held so that nothing can be published.
  const release = await holdStore(c)
  const job = await c.enqueue()
  await c.until('a relay has claimed the outbox row', async () => {
    const { rows } = await (c as Cluster).database.pool.query('select 1 from outbox where tries > 0')
    return rows.length > 0
  })

  api.kill('SIGKILL')
  await release()
  await c.spawn('worker')

  print('delivered after the API was killed between commit and publish', await c.settled([job]))
  expect(c.gateway.runs()).toHaveLength(1)
})

async function holdStore(cluster: Cluster): Promise<() => Promise<void>> {
  if (redis !== undefined) {
    const held = redis
    held.process().kill('SIGSTOP')
    return async () => void held.process().kill('SIGCONT')
  }
  const holder = new pg.Client({ connectionString: cluster.databaseUrl })
  await holder.connect()
  await holder.query('begin; lock table bullmq.job in access exclusive mode')
  return async () => {
    await holder.query('rollback')
    await holder.end()
  }
}

test('a queue store wiped under load: nothing is lost, nothing runs twice', async () => {
  c = await startCluster({ ...withRedis(), agents: AGENTS })
  await Promise.all([c.spawn('worker'), c.spawn('worker')])
  const running = load(c)
  await c.until('work flows', async () => running.acknowledged.length > 50)

  await wipe(c)
  const rebuilt = await c.until('the queues were rebuilt', async () =>
    (await (c as Cluster).ledger.listEvents({ topic: 'queue.rebuilt', order: 'desc', limit: 1 })).items.some((event) => event.payload['reason'] === 'the store lost its content'),
  )
  await running.stop()

  print(`rebuilt after the queue store was wiped under load`, rebuilt)
  print(`all ${running.acknowledged.length} acknowledged jobs done`, await c.settled(running.acknowledged))
})

async function wipe(cluster: Cluster): Promise<void> {
  if (redis !== undefined) {
    await redis.flushAll()
    return
  }
  const { rows } = await cluster.database.pool.query<{ name: string }>(
    `select quote_ident(tablename) as name from pg_tables where schemaname = 'bullmq' and tablename not like '%migration%'`,
  )
  for (;;) {
    try {
      await cluster.database.pool.query(`truncate ${rows.map((row) => `bullmq.${row.name}`).join(', ')}`)
      return
    } catch (error) {
      // TRUNCATE locks table by table and can cross a worker's transaction; PostgreSQL then ends one of the two, to be sent again.
      if (sqlStateOf(error) !== '40P01') throw error
    }
  }
}

test.runIf(BACKEND === 'redis')('Redis killed under load and started again', async () => {
  if (redis === undefined) throw new Error('no redis')
  c = await startCluster({ redis, agents: AGENTS })
  await Promise.all([c.spawn('worker'), c.spawn('worker')])
  const running = load(c)
  await c.until('work flows', async () => running.acknowledged.length > 50)

  redis.process().kill('SIGKILL')
  await c.until('jobs are still acknowledged while Redis is down', async () => (await (c as Cluster).ledger.outboxLag()).rows > 20)
  await redis.start()
  const back = performance.now()
  await running.stop()

  await c.settled(running.acknowledged)
  print(`all ${running.acknowledged.length} jobs done after Redis was killed under load and came back`, performance.now() - back)
})

test('PostgreSQL killed under load and started again', async () => {
  const postgres = await ownPostgres({ prepared: inject('preparedPostgres') })
  undo.push(() => postgres.stop())
  c = await startCluster({ databaseUrl: postgres.url, ...withRedis(), agents: AGENTS })
  await Promise.all([c.spawn('worker'), c.spawn('worker')])
  const running = load(c)
  await c.until('work flows', async () => running.acknowledged.length > 50)

  killGroup(await postgres.pid())
  await postgres.start()
  const back = performance.now()
  await c.until('new jobs are acknowledged', async () => {
    await (c as Cluster).enqueue()
    return true
  })
  await running.stop()

  await c.settled(running.acknowledged)
  print(`all ${running.acknowledged.length} acknowledged jobs done after PostgreSQL was killed under load and came back`, performance.now() - back)
})
