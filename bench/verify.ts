import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { createLogger } from '../config/logger.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { takeCheckpoint } from '../ledger/audit/take-checkpoint.js'
import { migrateLedger, openDatabase } from '../ledger/database.js'
import { openReader } from '../ledger/verify/reader.js'
import { verifyLedger } from '../ledger/verify/verify.js'

const { values: args } = parseArgs({ options: { rows: { type: 'string', default: '1000000' } } })
const ROWS = Number(args.rows)
/** Rows per job, and jobs per transaction while the history is made. */
const [PER_JOB, PER_TRANSACTION] = [4, 250]

const rss = (): number => Math.round(process.memoryUsage.rss() / 1024 / 1024)
let peak = rss()
const watch = setInterval(() => (peak = Math.max(peak, rss())), 20)

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await work()
  return (performance.now() - startedMs) / 1_000
}

/** Jobs with a whole history, an event and a read each; the chain is made by the ledger's own trigger, the rest is only filled in. */
async function fill(client: pg.Client): Promise<void> {
  await client.query(`insert into gateways (id, base_url, token_ref) values ('g', 'http://127.0.0.1:9', 'env:X')`)
  await client.query(`insert into agents (id, gateway_id, gateway_agent_id) values ('devops', 'g', 'devops')`)
  await client.query(`
    create procedure fill(jobs int, per int) language plpgsql as $$
    begin
      for batch in 1 .. (jobs + per - 1) / per loop
        set session_replication_role = replica;
        create temp table made on commit drop as select gen_random_uuid() as id, gen_random_uuid() as attempt from generate_series(1, least(per, jobs - (batch - 1) * per));
        insert into jobs (id, target_agent, job_type, subject, payload_hash, status, timeout_seconds, lease_seconds, last_seq, created_by, run_after, finished_at)
          select id, 'devops', 'bench', 'bench', encode(sha256('{}'), 'hex'), 'succeeded', 60, 60, 4, 'bench', now(), now() from made;
        insert into prompts (hash, body, bytes) select encode(sha256(convert_to(attempt::text, 'UTF8')), 'hex'), attempt::text, 36 from made;
        insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, status, lease_owner, leased_until, deadline_at, finished_at, outcome_code, prompt_hash, contract_version, payload_hash)
          select attempt, id, 1, 'devops', 'g', 1, 'succeeded', 'w', now(), now(), now(), 'completed_by_agent', encode(sha256(convert_to(attempt::text, 'UTF8')), 'hex'), 'bench', encode(sha256('{}'), 'hex') from made;
        set session_replication_role = origin;
        insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, details)
          select m.id, s.seq, 'move', s.was::job_status, s.became::job_status, s.reason::transition_reason, case when s.seq > 1 then m.attempt end, 'worker', 'worker-1',
            case when s.seq = 1 then jsonb_build_object('payload_hash', encode(sha256('{}'), 'hex'), 'target_agent', 'devops', 'job_type', 'bench', 'priority', 100)
              else jsonb_build_object('attempt_no', 1, 'run_id', m.attempt) end
          from made m, (values (1, null, 'queued', 'created'), (2, 'queued', 'leased', 'leased'), (3, 'leased', 'running', 'admitted'), (4, 'running', 'succeeded', 'completed_by_agent')) s (seq, was, became, reason)
          order by m.id, s.seq;
        insert into events (topic, source_agent, payload, created_by) select 'bench.done', 'devops', jsonb_build_object('job', id), 'bench' from made;
        insert into accesses (at, actor_kind, actor, agent_id, job_id, route, status) select now(), 'agent', 'devops', 'devops', id, 'GET /v1/jobs/{id}', 200 from made;
        commit;
      end loop;
    end $$`)
  await client.query(`call fill(${Math.ceil(ROWS / PER_JOB)}, ${PER_TRANSACTION})`)
  await client.query('vacuum analyze')
}

const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
await chmod(folder, 0o755)
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log: createLogger({ level: 'error', pretty: false }) })
try {
  await migrateLedger(postgres.url)
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  const fillSeconds = await timed(() => fill(client))
  console.error(`filled in ${fillSeconds.toFixed(0)} s`)

  const database = openDatabase({ url: postgres.url, poolSize: 4, applicationName: 'bench', onError: (error) => console.error(error.message) })
  const takes: number[] = []
  for (let isMore = true; isMore;) {
    const seconds = await timed(async () => {
      isMore = (await takeCheckpoint(database.db, { signer: undefined, mostTransactions: 20 })).kind === 'taken'
    })
    if (isMore) takes.push(seconds)
  }
  await database.close()
  await client.query('vacuum analyze audit_checkpoint_jobs, audit_checkpoint_records')

  const before = rss()
  peak = before
  const seconds = new Map<string, number>()
  let startedMs = performance.now()
  const reader = await openReader(postgres.url)
  const results = await verifyLedger({
    reader,
    since: undefined,
    graceSeconds: 120,
    outboxSeconds: 60,
    nowMs: Date.now(),
    exactBody: (body) => body,
    keys: [],
    anchors: [],
    resume: undefined,
    save: async () => undefined,
    onResult: ({ check }) => {
      seconds.set(check, (performance.now() - startedMs) / 1_000)
      startedMs = performance.now()
    },
  })
  await reader.close()
  const total = [...seconds.values()].reduce((sum, one) => sum + one, 0)

  const { rows: sizes } = await client.query<{
    history: number
    rows: number
    brin: number
    marks: number
    mark_rows: number
    checkpoints: number
    lists: number
    listed: number
  }>(`
    select pg_total_relation_size('job_transitions')::float8 as history, (select count(*) from job_transitions)::int as rows, pg_relation_size('job_transitions_xact_idx')::float8 as brin,
      pg_total_relation_size('audit_checkpoint_jobs')::float8 as marks, (select count(*) from audit_checkpoint_jobs)::int as mark_rows, (select count(*) from audit_checkpoints)::int as checkpoints,
      pg_total_relation_size('audit_checkpoint_records')::float8 as lists, (select sum(records) from audit_checkpoints)::int as listed`)
  await client.query('create index compared on job_transitions (xact, id)')
  const { rows: btree } = await client.query<{ size: number }>(`select pg_relation_size('compared')::float8 as size`)
  await client.end()
  const size = sizes[0]
  if (size === undefined) throw new Error('no sizes')
  const mb = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(2)} MB`
  console.log(`### ${size.rows.toLocaleString('en')} rows of history, ${cpus().length} cores, Node ${process.version}

| | |
|---|---|
| verdicts | ${[...new Set(results.map(({ verdict }) => verdict))].join(', ')} |
| verify, all checks | ${total.toFixed(1)} s |
| of which | ${[...seconds].map(([check, took]) => `${check} ${took.toFixed(1)} s`).join(', ')} |
| memory of the process before, at its peak | ${before} MB, ${peak} MB |
| checkpoints | ${size.checkpoints}, each ${((takes.reduce((sum, one) => sum + one, 0) / takes.length) * 1_000).toFixed(0)} ms on average, ${(Math.max(...takes) * 1_000).toFixed(0)} ms at most |
| history with its indexes | ${mb(size.history)}, ${(size.history / size.rows).toFixed(0)} bytes a row |
| index on the transaction, BRIN | ${mb(size.brin)} |
| the same as a B-tree on (xact, id) | ${mb(btree[0]?.size ?? 0)} |
| lines that name jobs | ${mb(size.marks)}, ${(size.marks / size.mark_rows).toFixed(0)} bytes each with their index |
| lists of ${size.listed.toLocaleString('en')} rows of other histories | ${mb(size.lists)}, ${(size.lists / size.listed).toFixed(0)} bytes each |
`)
} finally {
  clearInterval(watch)
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
}
