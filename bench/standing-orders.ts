import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { sql } from 'drizzle-orm'
import pg from 'pg'
import { createLogger } from '../config/logger.js'
import { AgentConfig, type Fleet } from '../contracts/fleet.js'
import { AcknowledgeBody, FileFindingBody, ReadInboxBody } from '../contracts/findings.js'
import type { AgentId, GatewayId } from '../contracts/ids.js'
import { StandingOrderConfig } from '../contracts/standing-orders.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { sha256 } from '../ledger/canonical.js'
import type { CommandContext } from '../ledger/caller.js'
import { migrateLedger, openDatabase, type Database } from '../ledger/database.js'
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
    findings: { type: 'string', default: '2000' },
  },
})
const [ORDERS, AGENTS, HISTORY] = [Number(args.orders), Number(args.agents), Number(args.history)]
const [SAMPLE, FINDINGS] = [Number(args.sample), Number(args.findings)]
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

/** Files findings, files them again, and reads and acknowledges all of them. */
async function anInbox(ledger: Ledger, round: string): Promise<Measured[]> {
  const body = (at: number) => FileFindingBody.parse({ topic: 'bench.found', subject_key: `${round}-${at}`, body: 'found', to: 'agent-0' })
  const each = async (work: (at: number) => Promise<unknown>): Promise<number> => {
    const queue = Array.from({ length: FINDINGS }, (_none, at) => at)
    return seconds(() =>
      Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let at = queue.shift(); at !== undefined; at = queue.shift()) await work(at)
        }),
      ),
    )
  }
  const file = await each((at) => ledger.inbox.file(OPERATOR, body(at)))
  const again = await each((at) => ledger.inbox.file(OPERATOR, body(at)))
  let read = 0
  const readSeconds = await seconds(async () => {
    for (;;) {
      const { items } = await ledger.inbox.read(OPERATOR, ReadInboxBody.parse({ agent: 'agent-0', limit: 20 }))
      if (items.length === 0) break
      read += items.length
      await ledger.inbox.acknowledge(OPERATOR, AcknowledgeBody.parse({ ids: items.map(({ id }) => id), outcome: 'settled' }))
    }
  })
  return [
    { what: 'file a finding', per: 'finding', ms: (file * 1_000) / FINDINGS },
    { what: 'file it again', per: 'finding', ms: (again * 1_000) / FINDINGS },
    { what: 'read and acknowledge, 20 at a time', per: 'message', ms: (readSeconds * 1_000) / read },
  ]
}

/** Rows of the past, written without their histories: only their number matters here. */
async function growOld(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('set session_replication_role = replica')
  await client.query(
    `insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, trigger, last_seq, started_at, finished_at)
     select gen_random_uuid(), o.id, 1, o.agent_id, t.at, t.at + interval '1 minute', t.at, 'no_work', 'tick', 2, t.at, t.at
     from standing_orders o, lateral (select now() - n * interval '1 hour' as at from generate_series(1, $1::int) n) t`,
    [Math.ceil(HISTORY / ORDERS)],
  )
  await client.query(
    `insert into jobs (id, standing_order_run_id, target_agent, job_type, subject, payload_hash, status, timeout_seconds, lease_seconds, last_seq, created_by, run_after, finished_at)
     select gen_random_uuid(), id, agent_id, 'standing_order', 'old', '', 'succeeded', 60, 60, 4, 'bench', slot_at, slot_at from standing_order_runs where status = 'no_work'`,
  )
  await client.query(
    `insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, status, lease_owner, leased_at, leased_until, deadline_at, finished_at, outcome_code, prompt_hash, contract_version, payload_hash)
     select gen_random_uuid(), id, 1, target_agent, 'g', 1, 'succeeded', 'w', finished_at, finished_at, finished_at, finished_at, 'completed_by_agent', '', 'bench', '' from jobs where created_by = 'bench'`,
  )
  await client.query(
    `with old as (
       insert into findings (id, agent_id, topic, subject_key, level, body, since, first_seen_at, last_seen_at, status, settled_at, settled_as, last_seq)
       select gen_random_uuid(), 'agent-' || n % $2, 'bench.found', 'old-' || n, 'info', 'found', now(), now(), now(), 'settled', now(), 'settled', 3
       from generate_series(1, $1::int) n returning id, agent_id
     )
     insert into inbox_messages (id, finding_id, agent_id, level, tone, nag_level, text, status, created_at, read_by, read_at, closed_at, outcome)
     select gen_random_uuid(), id, agent_id, 'info', 'polite', 1, 'found', 'acknowledged', now(), 'token:x', now(), now(), 'delivered' from old`,
    [HISTORY, AGENTS],
  )
  await client.end()
  await analyze(url)
}

/** Both sides of the comparison have fresh statistics, as autovacuum would see to. */
async function analyze(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('vacuum analyze')
  await client.end()
}

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Name'?: string
  readonly Plans?: readonly Plan[]
}

interface Explained {
  readonly what: string
  readonly scans: string
  readonly ms: number
  readonly wholeTables: readonly string[]
}

/** Tables that grow with history: a plan that reads one as a whole is a fault. */
const GROWING = new Set(['standing_order_runs', 'findings', 'inbox_messages', 'finding_history', 'standing_order_run_transitions', 'jobs', 'job_attempts'])

let recording = false
let recorded: { text: string; values: unknown[] }[] = []

/** Has every statement pass by here, whatever sends it. To be called before a connection is made. */
function recordStatements(): void {
  const plain = pg.Client.prototype.query
  pg.Client.prototype.query = function (this: pg.Client, ...given: unknown[]) {
    const first = given[0] as { text?: string; values?: unknown[] } | string
    const text = typeof first === 'string' ? first : (first.text ?? '')
    const values = (typeof first === 'string' ? undefined : first.values) ?? (Array.isArray(given[1]) ? (given[1] as unknown[]) : [])
    if (recording && /^\s*(select|with|update|insert|delete)/i.test(text)) recorded.push({ text, values })
    return Reflect.apply(plain, this, given) as never
  }
}

/** Runs `work`, catches the statements that it sends, and has PostgreSQL explain each as it runs (and undo it). */
async function explain(database: Database, what: string, work: () => Promise<unknown>): Promise<Explained> {
  recorded = []
  recording = true
  await work().finally(() => {
    recording = false
  })
  const sent = recorded
  const client = await database.pool.connect()
  const scans = new Set<string>()
  const wholeTables = new Set<string>()
  let ms = 0
  try {
    for (const { text, values } of sent) {
      const explained = await explainOne(client, text, values)
      ms += explained['Execution Time'] ?? 0
      walk(explained.Plan, (node) => {
        if (node['Index Name'] !== undefined && GROWING.has(node['Relation Name'] ?? 'standing_order_runs')) scans.add(node['Index Name'])
        if (node['Node Type'] === 'Seq Scan' && GROWING.has(node['Relation Name'] ?? '')) wholeTables.add(String(node['Relation Name']))
      })
    }
  } finally {
    client.release()
  }
  return { what, scans: [...scans].sort().join(', '), ms, wholeTables: [...wholeTables] }
}

interface ExplainedStatement {
  readonly Plan: Plan
  readonly 'Execution Time'?: number
}

/** As it runs, and undone; an insert that has happened cannot happen again, so that its plan has no time. */
async function explainOne(client: pg.PoolClient, text: string, values: unknown[]): Promise<ExplainedStatement> {
  const run = async (options: string): Promise<ExplainedStatement> => {
    await client.query('begin')
    try {
      const { rows } = await client.query<{ 'QUERY PLAN': [ExplainedStatement] }>(`explain (${options}) ${text}`, values)
      const explained = rows[0]?.['QUERY PLAN'][0]
      if (explained === undefined) throw new Error('PostgreSQL explained nothing')
      return explained
    } finally {
      await client.query('rollback')
    }
  }
  return run('analyze, format json').catch(() => run('format json'))
}

function walk(plan: Plan, visit: (node: Plan) => void): void {
  visit(plan)
  for (const child of plan.Plans ?? []) walk(child, visit)
}

async function explainAll(ledger: Ledger, database: Database): Promise<Explained[]> {
  await plan(ledger)
  const [due] = await expected(ledger, 1)
  if (due === undefined) throw new Error('no slot is planned')
  const at = (ms: number): string => new Date(ms).toISOString()
  const filed = FileFindingBody.parse({ topic: 'bench.found', subject_key: 'explained', body: 'found', to: 'agent-0' })
  const day = { from: at(Date.now() - 26 * HOUR), to: at(Date.now() - 2 * HOUR), agent: 'agent-0' as AgentId }
  return [
    await explain(database, 'plan the next hour', () => ledger.run((tx) => planSlots(tx, { nowMs: nowMs + HOUR, horizonMs: HOUR, limit: 100 }))),
    await explain(database, 'start a slot', () => ledger.run((tx) => startSlot(tx, { orderId: due.order_id, slotMs: due.ms, nowMs: due.ms, actor, trigger: 'tick' }))),
    await explain(database, 'keep the slots that are due', () => ledger.run((tx) => keepSlots(tx, { nowMs: nowMs + 2 * HOUR, actor, limit: 100 }))),
    await explain(database, 'accountability of a day, one agent', () => ledger.accountability(day)),
    await explain(database, 'slots of one order', () => ledger.listSlots({ order: 'agent-0/order-0', limit: 50 })),
    await explain(database, 'missed slots', () => ledger.listSlots({ status: 'missed', limit: 50 })),
    await explain(database, 'standing orders of one agent', () => ledger.listOrders({ agent: 'agent-0' })),
    await explain(database, 'gaps', () => database.pool.query('select * from standing_order_gaps_v order by slot_at desc limit 20')),
    await explain(database, 'file a finding', () => ledger.inbox.file(OPERATOR, filed)),
    await explain(database, 'file it again', () => ledger.inbox.file(OPERATOR, filed)),
    await explain(database, 'read an inbox', () => ledger.inbox.read(OPERATOR, ReadInboxBody.parse({ agent: 'agent-0' }))),
    await explain(database, 'list an inbox', () => ledger.listInbox({ agent: 'agent-0' as AgentId, limit: 50 })),
    await explain(database, 'list findings of an inbox', () => ledger.listFindings({ agent: 'agent-0' as AgentId, limit: 50 })),
    await explain(database, 'look for overdue results', () => ledger.upkeep.keepInbox(100)),
  ]
}

const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
await chmod(folder, 0o755)
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log: createLogger({ level: 'error', pretty: false }) })
try {
  await migrateLedger(postgres.url)
  recordStatements()
  const database = openDatabase({ url: postgres.url, poolSize: 12, applicationName: 'bench', onError: (error) => console.error(error.message) })
  const render = () => ({ hash: sha256(''), storedBody: '', bytes: 0, contractVersion: 'bench' })
  const ledger = new Ledger({ database, secret: 'x'.repeat(40), retryBaseSeconds: 1, nowMs: () => nowMs, random: () => 0.5, render })
  const apply = (message: string): Promise<number> => seconds(() => ledger.applyFleet(OPERATOR, fleetOf(message), { dryRun: false, prune: false }))

  const [first, again, changed] = [await apply('Look.'), await apply('Look.'), await apply('Look again.')]
  console.log(`apply ${ORDERS} orders: ${first.toFixed(1)} s; the same again: ${again.toFixed(1)} s; all changed: ${changed.toFixed(1)} s`)
  await anHour(ledger)
  await anInbox(ledger, 'warm')
  await analyze(postgres.url)
  const young = [...(await anHour(ledger)), ...(await anInbox(ledger, 'young'))]
  await growOld(postgres.url)
  await anHour(ledger)
  const old = [...(await anHour(ledger)), ...(await anInbox(ledger, 'old'))]
  const explained = await explainAll(ledger, database)

  const rows = young.map((one, at) => {
    const later = old[at]?.ms ?? Number.NaN
    return `| ${one.what}, per ${one.per} | ${one.ms.toFixed(3)} | ${later.toFixed(3)} | ${(later / one.ms).toFixed(2)} |`
  })
  const text = `# Standing orders benchmark

${new Date().toISOString().slice(0, 10)}; ${cpus().length} cores, Node ${process.versions.node}, embedded PostgreSQL. \`npm run bench:standing-orders\`.
${ORDERS} hourly orders on ${AGENTS} agents; the second of two hours is measured, with ${SAMPLE} slots started and at least as many missed in it.

Apply: ${first.toFixed(1)} s for all, ${again.toFixed(1)} s for the same file again, ${changed.toFixed(1)} s when every order has changed.

| step | ms | with ${HISTORY} old slots and findings | ratio |
|---|---|---|---|
${rows.join('\n')}

## Plans

What PostgreSQL does for each, with ${HISTORY} old rows of each kind: the indexes it reads the growing tables by, and the time of all statements together.
The benchmark fails when a plan reads one of these tables as a whole.

| what | indexes | ms |
|---|---|---|
${explained.map(({ what, scans, ms }) => `| ${what} | ${scans} | ${ms.toFixed(2)} |`).join('\n')}
`
  await writeFile(path.join(import.meta.dirname, 'results', 'standing-orders.md'), text)
  console.log(text)
  await database.close()
  const faults = explained.filter(({ wholeTables }) => wholeTables.length > 0)
  for (const { what, wholeTables } of faults) console.error(`${what} reads all of ${wholeTables.join(', ')}`)
  if (faults.length > 0) process.exitCode = 1
} finally {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
}
