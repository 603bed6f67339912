import { loadavg } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { createLogger } from '../config/logger.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { probePostgres } from '../embedded/probe-stores.js'
import { writeBackup } from '../ledger/backup/write-backup.js'
import { migrateLedger, openDatabase } from '../ledger/database.js'
import { Ledger } from '../ledger/ledger.js'
import { pruneLedger } from '../ledger/prune/prune.js'
import { OPERATOR, renderForTests } from '../test/support/ledger.js'
import { fillHistory } from './fill-history.js'
import { setting } from './machine.js'
import { readsOf, type Read } from './reads-at-size.js'
import { plansOf, statementsOf } from './recorded-statements.js'
import { scratchFolder } from './scratch-folder.js'

/**
 * How long reads of a ledger with a long history take, each view, audit query, scrape and alert rule: `npm run bench:views`.
 * `--data` keeps the filled ledger in a folder, and goes on with what is there; `--only` names a part of what is to be read.
 */
const { values: args } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1000000' },
    data: { type: 'string' },
    only: { type: 'string', default: '' },
    plans: { type: 'boolean', default: false },
    backup: { type: 'boolean', default: false },
    prune: { type: 'boolean', default: false },
  },
})
const FILLING = { jobs: Number(args.jobs), agents: 100, open: 5_000, orders: 5, page: 10_000 }
const [RUNS, LIMIT_MS] = [5, 300]

const folder = await scratchFolder(args.data)
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder.path, 'data'), log: createLogger({ level: 'error', pretty: false }) })
const client = new pg.Client({ connectionString: postgres.url })
// The server says why it ends a connection; what fails is told by the query that was under way.
client.on('error', (error) => console.error(error.message))
const database = openDatabase({ url: postgres.url, poolSize: 10, applicationName: 'bench', onError: (error) => console.error(error.message) })
try {
  await migrateLedger(postgres.url)
  await client.connect()
  await fillHistory(client, FILLING, (text) => console.error(text))
  await client.query('vacuum analyze')
  const ledger = new Ledger({ database, secret: 'bench-bench-bench-bench-bench-bench', retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
  await head()
  console.log(`| what | rows | median of ${RUNS} | slowest | |\n|---|---|---|---|---|`)
  for (const read of await readsOf(client, ledger)) if (`${read.group}: ${read.name}`.includes(args.only)) await measure(read)
  if (args.backup)
    await measureMemory('backup', async () => (await writeBackup({ url: postgres.url, folder: path.join(folder.path, `backup-${process.pid}`), nowMs: Date.now() })).tables.length)
  if (args.prune) {
    await ledger.applyFleet(
      OPERATOR,
      { version: 1, gateways: [], agents: [], retention: { prompts_days: 15, jobs_days: 15, attempts_days: 15, events_days: 15, accesses_days: 15, observations_days: 15 } },
      { dryRun: false, prune: false },
    )
    await measureMemory('prune', () => pruneLedger(database.db, { nowMs: Date.now(), actor: { kind: 'operator', id: 'bench' }, dryRun: false }))
  }
} finally {
  await database.close()
  await client.end().catch(() => undefined)
  await postgres.stop()
  await folder.remove()
}

async function head(): Promise<void> {
  const { rows } = await client.query<Record<string, number>>(`
    select (select count(*)::int from jobs where finished_at is not null) as finished, (select count(*)::int from jobs where finished_at is null) as open, (select count(*)::int from job_transitions) as transitions,
      (select count(*)::int from standing_order_runs) as slots, (select count(*)::int from events) as events, (select count(*)::int from accesses) as reads`)
  const { version } = await probePostgres(postgres.url)
  console.log(`${setting(version)} Load ${loadavg()[0]?.toFixed(1) ?? ''}.\n`)
  console.log(
    `${Object.entries(rows[0] ?? {})
      .map(([name, count]) => `${count.toLocaleString('en')} ${name}`)
      .join(', ')}, ${FILLING.agents} agents.\n`,
  )
}

async function measure({ group, name, read, unbounded }: Read): Promise<void> {
  const took: number[] = []
  let rows = 0
  const sent = await statementsOf(async () => (rows = await read()))
  for (let run = 0; run < RUNS; run += 1) {
    const startedMs = performance.now()
    await read()
    took.push(performance.now() - startedMs)
  }
  took.sort((a, b) => a - b)
  const [median, slowest] = [took[Math.floor(RUNS / 2)] ?? 0, took.at(-1) ?? 0]
  const verdict = unbounded === true ? 'whole history' : median > LIMIT_MS ? `over ${LIMIT_MS} ms` : ''
  console.log(`| ${group}: ${name} | ${rows} | ${median.toFixed(1)} ms | ${slowest.toFixed(1)} ms | ${verdict} |`)
  if (verdict.startsWith('over')) process.exitCode = 1
  if (args.plans) for (const plan of await plansOf(client, sent)) console.error(`\n-- ${group}: ${name}\n${plan}`)
}

/** How long it takes and by how much the process grows meanwhile, looked at often enough to see a peak. */
async function measureMemory(what: string, work: () => Promise<unknown>): Promise<void> {
  const [startedMs, before] = [performance.now(), process.memoryUsage.rss()]
  let peak = before
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
  await work().finally(() => clearInterval(watch))
  const mb = (bytes: number): number => Math.round(bytes / 1024 / 1024)
  console.log(`\n\`agentbus ${what}\` of it took ${((performance.now() - startedMs) / 1_000).toFixed(0)} s; the process had ${mb(before)} MB before and ${mb(peak)} MB at most.`)
}
