import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { createLogger } from '../config/logger.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { writeBackup } from '../ledger/backup/write-backup.js'
import { migrateLedger } from '../ledger/database.js'

const { values: args } = parseArgs({
  options: { jobs: { type: 'string', default: '1000000' }, plans: { type: 'boolean', default: false }, backup: { type: 'boolean', default: false } },
})
const JOBS = Number(args.jobs)
const [AGENTS, OPEN, RUNS] = [100, 5_000, 5]
const VIEWS = ['queue_health_summary_v', 'standing_order_health_summary_v', 'dispatcher_health_summary_v', 'system_health_snapshot_v', 'ready_jobs_v', 'stuck_jobs_v']

const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
await chmod(folder, 0o755)
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log: createLogger({ level: 'error', pretty: false }) })
try {
  await migrateLedger(postgres.url)
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  // Past every guard: the views read states, not histories.
  await client.query(`
    set session_replication_role = replica;
    insert into gateways (id, base_url, token_ref) values ('g', 'http://127.0.0.1:9', 'env:X');
    insert into agents (id, gateway_id, gateway_agent_id) select 'agent-' || n, 'g', 'a' from generate_series(1, ${AGENTS}) n;
    insert into jobs (id, target_agent, job_type, subject, payload, payload_hash, status, timeout_seconds, lease_seconds, last_seq, created_by, run_after, created_at, finished_at, buried_at)
      select gen_random_uuid(), 'agent-' || (1 + n % ${AGENTS}), 'bench', 'bench', jsonb_build_object('text', repeat('x', 200)), '',
        case when n <= ${OPEN} then 'queued' when n % 500 = 0 then 'dead' else 'succeeded' end::job_status, 60, 60, 1, 'bench', now() - interval '1 day',
        now() - n * interval '1 second', case when n > ${OPEN} then now() end, case when n > ${OPEN} and n % 5000 <> 0 and n % 500 = 0 then now() end
      from generate_series(1, ${JOBS}) n;
    insert into standing_orders (id, agent_id, name, version, definition, enabled, in_force_from, planned_until, plan_at)
      select gen_random_uuid(), a.id, 'order-' || n, 1, '{}', true, now(), now(), now() from agents a, generate_series(1, ${RUNS}) n;
    insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, finished_at)
      select gen_random_uuid(), o.id, 1, o.agent_id, s, s + interval '1 minute', s, case when s < now() then 'missed' else 'expected' end::slot_status, case when s < now() then s end
      from standing_orders o, generate_series(now() - interval '20 days', now() + interval '1 day', interval '15 minutes') s;
    insert into dispatcher_heartbeats (dispatcher_id, host, pid) select 'd' || n, 'h', n from generate_series(1, 50) n;
    set session_replication_role = origin`)
  await client.query('vacuum analyze')
  const counted = await client.query<{ jobs: number; slots: number }>('select (select count(*)::int from jobs) as jobs, (select count(*)::int from standing_order_runs) as slots')
  const { jobs, slots } = counted.rows[0] ?? { jobs: 0, slots: 0 }
  console.log(
    `### ${jobs.toLocaleString('en')} jobs, ${OPEN.toLocaleString('en')} of them open, ${AGENTS} agents, ${slots.toLocaleString('en')} slots; ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1) ?? ''}\n`,
  )
  console.log('| view | rows | median of 9 | slowest |\n|---|---|---|---|')
  for (const view of VIEWS) {
    const took: number[] = []
    let rows = 0
    for (let run = 0; run < 9; run += 1) {
      const startedMs = performance.now()
      rows = (await client.query(`select * from ${view}${view === 'ready_jobs_v' ? ' order by priority desc, run_after limit 100' : ''}`)).rows.length
      took.push(performance.now() - startedMs)
    }
    took.sort((a, b) => a - b)
    console.log(`| \`${view}\` | ${rows} | ${took[4]?.toFixed(1) ?? ''} ms | ${took.at(-1)?.toFixed(1) ?? ''} ms |`)
    if (args.plans) for (const row of (await client.query<Record<string, string>>(`explain (analyze, buffers) select * from ${view}`)).rows) console.error(Object.values(row)[0])
  }
  if (args.backup) {
    const [startedMs, before] = [performance.now(), process.memoryUsage.rss()]
    let peak = before
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
    const made = await writeBackup({ url: postgres.url, folder: path.join(folder, 'backup'), nowMs: Date.now() })
    clearInterval(watch)
    const bytes = made.tables.reduce((sum, table) => sum + table.bytes, 0)
    console.log(
      `\nA backup of it took ${((performance.now() - startedMs) / 1_000).toFixed(0)} s, ${Math.round(bytes / 1024 / 1024)} MB; the process grew by ${Math.round((peak - before) / 1024 / 1024)} MB.`,
    )
  }
  await client.end()
} finally {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
}
