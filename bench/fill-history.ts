import type pg from 'pg'

/** How much a ledger is filled with. Ids and times are those of thirty days up to now; what is open is the newest. */
export interface Filling {
  readonly jobs: number
  readonly agents: number
  readonly open: number
  readonly orders: number
  /** Rows of one transaction. */
  readonly page: number
}

const DAYS = 30

/** Job `n`, 1 is the oldest: what is over, and, among the newest, what is queued, waits, is blocked or runs. */
const states = ({ jobs, open }: Filling): string => `case
  when n <= ${jobs - open} then case when n % 500 = 0 then 'dead' when n % 700 = 0 then 'failed' when n % 900 = 0 then 'cancelled' else 'succeeded' end
  when n % 25 = 0 then 'blocked' when n % 25 = 1 then 'waiting' when n % 25 = 2 and n > ${jobs} - least(${open}, 1250) then 'running' else 'queued' end`

/**
 * Fills a ledger past every guard: rows are what the ledger would have written, but hashes are not, since no read looks at
 * them. A second call goes on where a first one was stopped.
 */
export async function fillHistory(client: pg.Client, filling: Filling, say: (text: string) => void): Promise<void> {
  const { jobs, agents, orders, page } = filling
  const seconds = (DAYS * 86_400) / jobs
  await client.query(`set session_replication_role = replica; set synchronous_commit = off; set timezone = 'UTC'`)
  await client.query(`
    create table if not exists bench_fill (step text primary key, up_to bigint not null, began timestamptz not null default now());
    insert into gateways (id, base_url, token_ref) select 'g' || n, 'http://127.0.0.1:9', 'env:X' from generate_series(1, 10) n on conflict do nothing;
    insert into agents (id, gateway_id, gateway_agent_id, concurrency) select 'agent-' || n, 'g' || (1 + n % 10), 'a', 10 from generate_series(1, ${agents}) n on conflict do nothing;
    insert into dispatcher_heartbeats (dispatcher_id, host, pid) select 'd' || n, 'h', n from generate_series(1, 50) n on conflict do nothing;
    insert into bench_fill (step, up_to) values ('begin', 0) on conflict do nothing`)
  await paged(client, { step: 'jobs', upTo: jobs, page, say }, (from, to) =>
    made(from, to, filling, seconds, [
      `insert into jobs (id, target_agent, source_agent, lane, job_type, subject, payload, payload_hash, status, timeout_seconds, lease_seconds, last_seq, generation, created_by, correlation_key,
          run_after, created_at, updated_at, finished_at, buried_at, attempt_count, current_attempt_id, blocked_reason, blocked_owner, blocked_at, waits_for, last_error, last_error_code)
        select id, agent, source, lane, 'bench', 'Look at host ' || n, jsonb_build_object('text', repeat('x', 200)), '', status, 60, 60, 4, 1, 'bench', 'case-' || n / 7,
          at, at, ended, case when over then ended end, case when status in ('dead', 'failed') and n % 5 <> 0 then ended end, case when ran then 1 else 0 end,
          case when status = 'running' then attempt end, case when status = 'blocked' then 'no key' end, case when status = 'blocked' then 'operator' end, case when status = 'blocked' then ended end,
          case when status = 'blocked' then '{"kind": "human"}'::jsonb end, case when status in ('dead', 'failed') then 'No answer.' end, case when status in ('dead', 'failed') then 'run_lost' end from m`,
      `insert into prompts (hash, body, bytes, created_at) select encode(sha256(convert_to(attempt::text, 'UTF8')), 'hex'), repeat('y', 300), 300, at from m where ran`,
      `insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, status, burned, lease_owner, leased_at, leased_until, admitted_at, deadline_at, finished_at, outcome_code, prompt_hash, contract_version, payload_hash)
        select attempt, id, 1, agent, gateway, case when over or status = 'blocked' then 1 else 1 + n / 100 % 20 end,
          case status when 'succeeded' then 'succeeded' when 'running' then 'running' when 'blocked' then 'blocked' when 'cancelled' then 'cancelled' else 'lost' end::attempt_status,
          status in ('dead', 'failed'), 'w' || n % 50, at + interval '2 s', at + interval '1 hour', at + interval '3 s', at + interval '1 hour', case when status <> 'running' then ended end,
          case when status <> 'running' then 'completed_by_agent' end, encode(sha256(convert_to(attempt::text, 'UTF8')), 'hex'), 'bench', '' from m where ran on conflict do nothing`,
      `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, at)
        select m.id, s.seq, 'move', s.was::job_status, case when s.seq = 4 then m.status else s.became::job_status end, s.reason::transition_reason, case when s.seq > 1 then m.attempt end, 'worker', 'w' || n % 50,
          case s.seq when 4 then m.ended else m.at + (s.seq - 1) * interval '1 s' end
        from m, (values (1, null, 'queued', 'created'), (2, 'queued', 'leased', 'leased'), (3, 'leased', 'running', 'admitted'), (4, 'running', 'succeeded', 'completed_by_agent')) s (seq, was, became, reason)
        where s.seq = 1 or (ran and (s.seq < 4 or status <> 'running')) order by n, s.seq`,
    ]),
  )
  await paged(client, { step: 'records', upTo: jobs, page, say }, (from, to) => [
    `insert into events (topic, source_agent, payload, created_by, created_at) select 'host.' || n % 50, 'agent-' || (1 + n % ${agents}), '{}', 'bench', now() - interval '${DAYS} days' + n * interval '${seconds} s'
      from generate_series(${from}, ${to}) n where n % 4 = 0`,
    `insert into accesses (at, actor_kind, actor, agent_id, route, status) select now() - interval '${DAYS} days' + n * interval '${seconds} s', 'agent', 'agent-' || (1 + n % ${agents}), 'agent-' || (1 + n % ${agents}), 'GET /v1/jobs', 200
      from generate_series(${from}, ${to}) n where n % 2 = 0`,
    `insert into observations (kind, code, agent_id, actor_kind, actor, detail, at)
      select case when n % 3 = 0 then 'operator_action' when n % 3 = 1 then 'refusal' else 'late_answer' end::observation_kind, 'bench', 'agent-' || (1 + n % ${agents}), 'operator', 'anna', 'x', now() - interval '${DAYS} days' + n * interval '${seconds} s'
      from generate_series(${from}, ${to}) n where n % 10 = 0`,
  ])
  await client.query(`insert into standing_orders (id, agent_id, name, version, definition, enabled, in_force_from, planned_until, plan_at)
    select gen_random_uuid(), a.id, 'order-' || n, 1, '{}', true, now() - interval '${DAYS} days', now(), now() from agents a, generate_series(1, ${orders}) n on conflict do nothing`)
  await paged(client, { step: 'slots', upTo: DAYS + 1, page: 4, say }, (from, to) => [
    `create temp table s on commit drop as select gen_random_uuid() as id, o.id as order_id, o.agent_id, at, case when at > (select began from bench_fill where step = 'begin') then 'expected' when random() < 0.01 then 'missed' else 'no_work' end as status
      from standing_orders o, generate_series((select began from bench_fill where step = 'begin') - interval '${DAYS + 1} days' + ${from} * interval '1 day',
        (select began from bench_fill where step = 'begin') - interval '${DAYS + 1} days' + ${to + 1} * interval '1 day' - interval '1 s', interval '15 minutes') at`,
    `insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, cause, trigger, started_at, finished_at, last_seq)
      select id, order_id, 1, agent_id, at, at + interval '1 minute', at, status::slot_status, case status when 'missed' then 'worker_down' end, case status when 'no_work' then 'tick' end,
        case status when 'no_work' then at end, case when status <> 'expected' then at + interval '30 s' end, case status when 'expected' then 0 when 'missed' then 1 else 2 end from s`,
    `insert into standing_order_run_transitions (run_id, seq, from_status, to_status, cause, actor_kind, actor, at)
      select id, t.seq, t.was::slot_status, coalesce(t.became, status)::slot_status, case when status = 'missed' then 'worker_down' end, 'worker', 'w', at + interval '30 s'
      from s join (values ('no_work', 1, 'expected', 'started'), ('no_work', 2, 'started', null), ('missed', 1, 'expected', null)) t (of, seq, was, became) on t.of = s.status`,
  ])
  await client.query('set session_replication_role = origin')
}

/** The statements of one page of jobs, over a temporary table of them. */
function made(from: number, to: number, filling: Filling, seconds: number, statements: readonly string[]): readonly string[] {
  return [
    `create temp table m on commit drop as
      select *, status in ('succeeded', 'dead', 'failed', 'cancelled') as over, status not in ('queued', 'waiting') as ran, at + (5 + n % 300) * interval '1 s' as ended from (
        select n, uuidv7(at - clock_timestamp()) as id, uuidv7(at - clock_timestamp()) as attempt, at, 'agent-' || (1 + n % ${filling.agents}) as agent, 'g' || (1 + (1 + n % ${filling.agents}) % 10) as gateway,
          case when n % 3 = 0 then 'agent-' || (1 + n / 3 % 20) end as source, (enum_range(null::lane))[1 + n % cardinality(enum_range(null::lane))] as lane, (${states(filling)})::job_status as status
        from (select n, now() - interval '${DAYS} days' - interval '6 minutes' + n * interval '${seconds} s' as at from generate_series(${from}, ${to}) n) x) y order by n`,
    ...statements,
  ]
}

/** Runs the statements of each page in a transaction of its own, and writes down how far it got. */
async function paged(
  client: pg.Client,
  what: { readonly step: string; readonly upTo: number; readonly page: number; readonly say: (text: string) => void },
  statements: (from: number, to: number) => readonly string[],
): Promise<void> {
  const { rows } = await client.query<{ up_to: string }>('select up_to from bench_fill where step = $1', [what.step])
  for (let from = Number(rows[0]?.up_to ?? 0) + 1; from <= what.upTo; from += what.page) {
    const to = Math.min(from + what.page - 1, what.upTo)
    await client.query('begin')
    for (const statement of statements(from, to)) await client.query(statement)
    await client.query('insert into bench_fill (step, up_to) values ($1, $2) on conflict (step) do update set up_to = excluded.up_to', [what.step, to])
    await client.query('commit')
    what.say(`${what.step}: ${to} of ${what.upTo}`)
  }
}
