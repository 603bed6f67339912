import pg from 'pg'
import { openDatabase } from '../ledger/database.js'
import { Ledger } from '../ledger/ledger.js'
import { renderForTests } from '../test/support/ledger.js'
import { setting } from './machine.js'
import { startStores } from './stores.js'
/** How long each read of the console takes with 100 agents, a million jobs of a week and a million events: `npm run bench:console`. */
const stores = await startStores('postgres')
const [where] = stores.places
if (where === undefined) throw new Error('no store was started')
const url = where.databaseUrl
const c = new pg.Client({ connectionString: url })
await c.connect()
await c.query(`set session_replication_role = replica; set synchronous_commit=off`)
await c.query(`insert into gateways (id, base_url, token_ref) select 'gw-'||g, 'http://127.0.0.1:9', 'env:X' from generate_series(1,10) g`)
await c.query(`insert into agents (id, gateway_id, gateway_agent_id) select 'agent-'||lpad(g::text,3,'0'), 'gw-'||(g%10+1), 'a' from generate_series(1,100) g`)
// 1M jobs over 7 days, ids by time
await c.query(
  `create function idat(t timestamptz) returns uuid language sql as $$ select (lpad(to_hex((extract(epoch from t)*1000)::bigint),12,'0') || '7' || substr(md5(random()::text),1,3) || '8' || substr(md5(random()::text),1,15))::uuid $$`,
)
await c.query(
  `create temp table m as select idat(at) id, idat(at) attempt, at, n, 'agent-'||lpad((1+(random()*99)::int)::text,3,'0') as agent, case when random()<0.4 then 'agent-'||lpad((1+(random()*20)::int)::text,3,'0') end as src, (enum_range(null::lane))[1+floor(random()*6)] as lane, random() r from (select n, now() - interval '7 days' + n * interval '0.6048 s' as at from generate_series(1,1000000) n) s`,
)
await c.query(
  `create temp table j as select *, case when n > 999000 and r < 0.05 then 'running' when n > 980000 and r<0.3 then 'queued' when r < 0.003 then 'dead' when r<0.004 then 'blocked' else 'succeeded' end as st from m`,
)
await c.query(`insert into jobs (blocked_reason, blocked_owner, id, target_agent, source_agent, lane, job_type, subject, payload, payload_hash, status, timeout_seconds, lease_seconds, last_seq, created_by, created_at, updated_at, run_after, finished_at, attempt_count, correlation_key, blocked_at, last_error, last_error_code, current_attempt_id)
 select case when st='blocked' then 'x' end, case when st='blocked' then 'x' end, id, agent, src, lane, 'bench', 'Do the work number '||n||' and report what was found there', '{"about":"the disks of the host that was named"}', '', st::job_status, 60, 60, 4, 'bench', at, at, at, case when st in ('succeeded','dead') then at + r*interval '5 min' end, 1, 'case-'||(n/7), case when st='blocked' then at end, case when st='dead' then 'Agent answered 404 for session '||n end, case when st='dead' then 'refused_by_gateway' end, case when st='running' then attempt end from j order by n`)
await c.query(`insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, status, lease_owner, leased_at, leased_until, deadline_at, admitted_at, finished_at, outcome_code, error, prompt_hash, contract_version, payload_hash)
 select attempt, id, 1, agent, 'gw-1', case when st='running' then (n%1000)+1 else 1 end, (case when st='dead' then 'failed' when st='blocked' then 'blocked' else st end)::attempt_status, 'w', at+r*interval '1 min', at+interval '1 hour', at+interval '1 hour', at+r*interval '2 min', case when st<>'running' then at + r*interval '5 min' end, case when st<>'running' then 'x' end, case when st='dead' then 'oops' end, 'h', 'b', '' from j where st<>'queued' order by n`)
await c.query(
  `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, at) select id, s.seq, 'move', s.f::job_status, s.t::job_status, s.r::transition_reason, case when s.seq > 1 then attempt end, 'worker','w', at + s.seq * j.r * interval '1 min' from j, (values (1,null,'queued','created'),(2,'queued','leased','leased'),(3,'leased','running','admitted'),(4,'running','succeeded','completed_by_agent')) s(seq,f,t,r) where at > now() - interval '30 hours' and (s.seq=1 or st in ('succeeded','dead')) order by n, s.seq`,
)
await c.query(
  `insert into standing_orders (id, namespace, agent_id, name, version, definition, enabled, in_force_from, planned_until, plan_at) select gen_random_uuid(), 'default', a.id, 'order-'||o, 1, '{}', true, now()-interval '30 days', now(), now() from agents a, generate_series(1,3) o`,
)
await c.query(
  `insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, trigger, started_at, finished_at) select gen_random_uuid(), o.id, 1, o.agent_id, s, s+interval '1 min', s, case when random()<0.01 then 'failed' else 'no_work' end::slot_status, 'tick', s, s from standing_orders o, generate_series(date_trunc('hour',now())-interval '14 days', now(), interval '15 min') s`,
)
await c.query(
  `insert into events (namespace, topic, payload, created_by, created_at) select 'default', 'a.b'||(n%50), '{}', 'agent:x', now()-interval '7 days'+n*interval '0.6 s' from generate_series(1,1000000) n`,
)
await c.query('vacuum analyze')
console.error('filled')
await c.end()
const database = openDatabase({ url, poolSize: 10, applicationName: 'm', onError: (error) => console.error(error.message) })
const ledger = new Ledger({ database, secret: 'bench-bench-bench-bench-bench-bench', retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
const slots = String((await database.pool.query<{ n: string }>('select count(*) as n from standing_order_runs')).rows[0]?.n)
const now = Date.now()
const H = 3600000
const cases: [string, () => Promise<unknown>][] = [
  ['fleet', () => ledger.console.fleet()],
  ['attention', () => ledger.console.attention()],
  ['pulse', () => ledger.console.pulse()],
  ['jobs plain', () => ledger.console.jobs({ limit: 50 })],
  ['jobs agent', () => ledger.console.jobs({ limit: 50, agent: 'agent-007' })],
  ['jobs agent+dead', () => ledger.console.jobs({ limit: 50, agent: 'agent-007', status: 'dead' })],
  ['jobs agent+succeeded', () => ledger.console.jobs({ limit: 50, agent: 'agent-007', status: 'succeeded' })],
  ['jobs rare text', () => ledger.console.jobs({ limit: 50, text: 'number 12345 ' })],
  ['jobs rare text agent', () => ledger.console.jobs({ limit: 50, text: 'number 12345 ', agent: 'agent-007' })],
  ['jobs rare text succeeded', () => ledger.console.jobs({ limit: 50, text: 'nothing like it', status: 'succeeded' })],
  [
    'jobs text+source+lane window',
    () =>
      ledger.console.jobs({ limit: 50, text: 'nothing', source: 'agent-003', lane: 'idle', from: new Date(now - 72 * H).toISOString(), to: new Date(now - 48 * H).toISOString() }),
  ],
  ['jobs correlation', () => ledger.console.jobs({ limit: 50, correlation_key: 'case-777' })],
  ['grid 24h', () => ledger.console.grid({ trouble: false, fromMs: now - 24 * H, toMs: now, columns: 24, limit: 50 })],
  ['grid 7d', () => ledger.console.grid({ trouble: false, fromMs: now - 168 * H, toMs: now, columns: 28, limit: 50 })],
  ['grid 7d trouble', () => ledger.console.grid({ trouble: true, fromMs: now - 168 * H, toMs: now, columns: 28, limit: 50 })],
  ['flow 1h', () => ledger.console.flow({ fromMs: now - H, toMs: now })],
  ['flow 24h', () => ledger.console.flow({ fromMs: now - 24 * H, toMs: now })],
  ['flow 7d', () => ledger.console.flow({ fromMs: now - 168 * H, toMs: now })],
  ['dead', () => ledger.console.deadLetters({})],
  ['health 1h', () => ledger.console.health({ fromMs: now - H, toMs: now, columns: 48 })],
  ['health 6h', () => ledger.console.health({ fromMs: now - 6 * H, toMs: now, columns: 48 })],
  ['health 24h', () => ledger.console.health({ fromMs: now - 24 * H, toMs: now, columns: 48 })],
  ['blocked', () => ledger.listBlocked({ limit: 25 })],
  ['approvals', () => ledger.console.approvals({ limit: 25 })],
  ['events', () => ledger.listEvents({ order: 'desc', limit: 100 })],
  ['events topic', () => ledger.listEvents({ order: 'desc', limit: 100, topic: 'a.*' })],
  ['eventsAfter', () => ledger.console.eventsAfter('990000', 300)],
  ['controls', () => ledger.listControls()],
  ['orders', () => ledger.listOrders()],
]
try {
  console.log(`# Reads of the console

\`npm run bench:console\`: what each page reads, with 100 agents, a million jobs of seven days, a million events and ${slots} slots. A page is to take less than 300 ms at the server; what is over it is marked.

${setting(stores.postgresVersion)}

| read | median of 5 | longest | |
|---|---|---|---|`)
  for (const [name, read] of cases) {
    const times: number[] = []
    for (let n = 0; n < 5; n += 1) {
      const startedMs = performance.now()
      await read()
      times.push(performance.now() - startedMs)
    }
    times.sort((a, b) => a - b)
    console.log(`| ${name} | ${(times[2] ?? 0).toFixed(0)} ms | ${(times[4] ?? 0).toFixed(0)} ms | ${(times[2] ?? 0) < 300 ? '' : '**over 300 ms**'} |`)
  }
} finally {
  await database.close()
  await stores.stop()
}
