import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { sql } from 'drizzle-orm'
import { createLogger } from '../config/logger.js'
import { AgentConfig, type Fleet } from '../contracts/fleet.js'
import type { GatewayId } from '../contracts/ids.js'
import { StandingOrderConfig } from '../contracts/standing-orders.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { sha256 } from '../ledger/canonical.js'
import type { CommandContext } from '../ledger/caller.js'
import { migrateLedger, openDatabase } from '../ledger/database.js'
import { keepSlots } from '../ledger/keep-slots.js'
import { Ledger } from '../ledger/ledger.js'
import { planSlots } from '../ledger/plan-slots.js'
import { startSlot } from '../ledger/start-slot.js'

const { values: args } = parseArgs({
  options: {
    orders: { type: 'string', default: '10000' },
    agents: { type: 'string', default: '100' },
    history: { type: 'string', default: '1000000' },
    sample: { type: 'string', default: '2000' },
  },
})
const [ORDERS, AGENTS, HISTORY, SAMPLE] = [Number(args.orders), Number(args.agents), Number(args.history), Number(args.sample)]
const OPERATOR: CommandContext = { caller: { role: 'internal', actor: { kind: 'system', id: 'bench' } } }
const HOUR = 3_600_000
const actor = { kind: 'worker', id: 'bench' } as const

/** Slots of the future on a clock of its own, so that a run does not depend on the time of day. */
let nowMs = Math.ceil((Date.now() + 30 * 24 * HOUR) / HOUR) * HOUR

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await work()
  return (performance.now() - startedMs) / 1_000
}

function fleetOf(message: string): Fleet {
  return {
    version: 1,
    gateways: [{ id: 'g' as GatewayId, base_url: 'http://127.0.0.1:9', hook_path: '/hooks', token: 'env:X' }],
    agents: Array.from({ length: AGENTS }, (_none, at) => AgentConfig.parse({ id: `agent-${at}`, gateway: 'g', concurrency: 100 })),
    standing_orders: Array.from({ length: ORDERS }, (_none, at) =>
      StandingOrderConfig.parse({ agent: `agent-${at % AGENTS}`, name: `order-${at}`, cron: `${at % 60} * * * *`, message, overlap: 'queue', grace_seconds: 60 }),
    ),
  }
}

interface Measured {
  readonly what: string
  readonly per: string
  readonly ms: number
}

async function plan(ledger: Ledger): Promise<number> {
  let slots = 0
  for (let orders = 1; orders > 0;) {
    const planned = await ledger.run((tx) => planSlots(tx, { nowMs, horizonMs: HOUR, limit: 500 }))
    orders = planned.orders
    slots += planned.slots
  }
  return slots
}

async function expected(ledger: Ledger, limit: number): Promise<{ order_id: string; ms: number }[]> {
  const { rows } = await ledger.db.execute<{ order_id: string; ms: number }>(sql`
    select order_id, extract(epoch from slot_at)::float8 * 1000 as ms from standing_order_runs
    where status = 'expected' and slot_at > ${new Date(nowMs).toISOString()}::timestamptz order by slot_at, id limit ${limit}`)
  return rows
}

/** Plans an hour, starts some of its slots by tick, and lets the detector find the same number missed. */
async function anHour(ledger: Ledger): Promise<Measured[]> {
  let planned = 0
  const planSeconds = await seconds(async () => {
    planned = await plan(ledger)
  })
  const due = await expected(ledger, SAMPLE)
  const queue = [...due]
  const tickSeconds = await seconds(() =>
    Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let slot = queue.shift(); slot !== undefined; slot = queue.shift()) {
          const { order_id, ms } = slot
          await ledger.run((tx) => startSlot(tx, { orderId: order_id, slotMs: ms, nowMs: ms, actor, trigger: 'tick' }))
        }
      }),
    ),
  )
  nowMs += 2 * HOUR
  let missed = 0
  const keepSeconds = await seconds(async () => {
    while (missed < SAMPLE) {
      const kept = await ledger.run((tx) => keepSlots(tx, { nowMs, actor, limit: 100 }))
      missed += kept.missed
      if (kept.started + kept.missed + kept.caughtUp + kept.waiting === 0) break
    }
  })
  // The rest of the hour is settled too, so that the next measurement begins with nothing overdue.
  for (;;) {
    const kept = await ledger.run((tx) => keepSlots(tx, { nowMs, actor, limit: 100 }))
    if (kept.started + kept.missed + kept.caughtUp + kept.waiting === 0) break
  }
  return [
    { what: 'plan an hour', per: 'slot', ms: (planSeconds * 1_000) / planned },
    { what: 'start by tick, with its job', per: 'slot', ms: (tickSeconds * 1_000) / due.length },
    { what: 'detect as missed, with the cause', per: 'slot', ms: (keepSeconds * 1_000) / missed },
  ]
}

const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
await chmod(folder, 0o755)
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log: createLogger({ level: 'error', pretty: false }) })
try {
  await migrateLedger(postgres.url)
  const database = openDatabase({ url: postgres.url, poolSize: 12, applicationName: 'bench', onError: (error) => console.error(error.message) })
  const render = () => ({ hash: sha256(''), storedBody: '', bytes: 0, contractVersion: 'bench' })
  const ledger = new Ledger({ database, secret: 'x'.repeat(40), retryBaseSeconds: 1, nowMs: () => nowMs, random: () => 0.5, render })
  const apply = (message: string): Promise<number> => seconds(() => ledger.applyFleet(OPERATOR, fleetOf(message), { dryRun: false, prune: false }))

  const [first, again, changed] = [await apply('Look.'), await apply('Look.'), await apply('Look again.')]
  console.log(`apply ${ORDERS} orders: ${first.toFixed(1)} s; the same again: ${again.toFixed(1)} s; all changed: ${changed.toFixed(1)} s`)
  await anHour(ledger)
  const young = await anHour(ledger)
  const client = await database.pool.connect()
  await client.query('set session_replication_role = replica')
  await client.query(
    `insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, trigger, last_seq, started_at, finished_at)
     select gen_random_uuid(), o.id, 1, o.agent_id, t.at, t.at + interval '1 minute', t.at, 'no_work', 'tick', 2, t.at, t.at
     from standing_orders o, lateral (select now() - n * interval '1 hour' as at from generate_series(1, $1::int) n) t`,
    [Math.ceil(HISTORY / ORDERS)],
  )
  await client.query('set session_replication_role = origin')
  client.release()
  await database.pool.query('vacuum analyze standing_order_runs')
  await anHour(ledger)
  const old = await anHour(ledger)

  const rows = young.map((one, at) => {
    const later = old[at]?.ms ?? Number.NaN
    return `| ${one.what} | ${one.ms.toFixed(3)} | ${later.toFixed(3)} | ${(later / one.ms).toFixed(2)} |`
  })
  const text = `# Standing orders benchmark

${new Date().toISOString().slice(0, 10)}; ${cpus().length} cores, Node ${process.versions.node}, embedded PostgreSQL. \`npm run bench:standing-orders\`.
${ORDERS} hourly orders on ${AGENTS} agents; the second of two hours is measured, with ${SAMPLE} slots started and at least as many missed in it.

Apply: ${first.toFixed(1)} s for all, ${again.toFixed(1)} s for the same file again, ${changed.toFixed(1)} s when every order has changed.

| step | ms per slot | with ${HISTORY} old slots | ratio |
|---|---|---|---|
${rows.join('\n')}
`
  await writeFile(path.join(import.meta.dirname, 'results', 'standing-orders.md'), text)
  console.log(text)
  await database.close()
} finally {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
}
