import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { freshLedger, ledgerAt, type TestLedger } from '../support/ledger.js'

/** Tables of which nearly all is over. */
const GROWING = ['jobs', 'job_attempts', 'approvals', 'standing_order_runs', 'alert_deliveries', 'memories']

/** Rows that were read by going through whole tables, by table; told by a session when it ends, so that all others are waited for. */
async function readAsAWhole(url: string): Promise<Record<string, number>> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await vi.waitUntil(
      async () => {
        const others = await client.query(`select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`)
        return others.rowCount === 0
      },
      { timeout: 20_000 },
    )
    const { rows } = await client.query<{ name: string; read: string }>('select relname as name, seq_tup_read as read from pg_stat_user_tables where relname = any($1)', [GROWING])
    return Object.fromEntries(rows.map(({ name, read }) => [name, Number(read)]))
  } finally {
    await client.end()
  }
}

/**
 * Much that is over, and one in fifty that is open and not due yet. By its statistics PostgreSQL then expects what is both open and past
 * its time after some thousand rows of the table at most, and there is none.
 */
async function fill(t: TestLedger): Promise<void> {
  const client = await t.database.pool.connect()
  await client.query('set session_replication_role = replica')
  await client.query(`
    insert into jobs (id, target_agent, job_type, subject, payload_hash, status, last_seq, run_after, timeout_seconds, lease_seconds, created_by, finished_at,
      blocked_reason, blocked_owner, look_again_at, escalate_at, blocked_at)
    select gen_random_uuid(), 'devops', 't', 's', '', (case when open then 'blocked' else 'succeeded' end)::job_status, 1, now(), 600, 600, 'test', case when not open then now() end,
      case when open then 'x' end, case when open then 'operator' end, case when open then now() + interval '1 day' end, case when open then now() + interval '1 day' end,
      case when open then now() - interval '1 hour' end
    from (select n % 50 = 0 as open from generate_series(1, 20000) n) made`)
  await client.query(`
    insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, status, slot, lease_owner, leased_until, deadline_at, finished_at, outcome_code, prompt_hash,
      contract_version, payload_hash)
    select gen_random_uuid(), gen_random_uuid(), 1, 'devops', 'gw', (case when open then 'running' else 'succeeded' end)::attempt_status, 1 + n / 50, 'w',
      now() + case when open then interval '1 day' else interval '-1 hour' end, now() + interval '1 day', case when not open then now() end,
      case when not open then 'completed_by_agent' end, '', '', ''
    from (select n, n % 50 = 0 as open from generate_series(1, 20000) n) made`)
  await client.query(`
    insert into approvals (id, subject, status, created_by, expires_at, decided_at, decided_by)
    select gen_random_uuid(), 's', (case when open then 'pending' else 'approved' end)::approval_status, 'test', now() + case when open then interval '1 day' else interval '-1 hour' end,
      case when not open then now() end, case when not open then 'x' end
    from (select n % 50 = 0 as open from generate_series(1, 20000) n) made`)
  await client.query(`
    insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, started_at, trigger, finished_at)
    select gen_random_uuid(), gen_random_uuid(), 1, 'devops', now() - interval '2 hours', now(), now() + case when open then interval '1 day' else interval '-1 hour' end,
      (case when open then 'expected' else 'completed' end)::slot_status, case when not open then now() end, case when not open then 'tick' end, case when not open then now() end
    from (select n % 50 = 0 as open from generate_series(1, 20000) n) made`)
  await client.query(`
    insert into alert_deliveries (id, rule, notice, receiver_kind, receiver, body, status, next_try_at, created_at, done_at)
    select gen_random_uuid(), 'r', 'test', 'webhook', 'ops', '{}', (case when open then 'pending' else 'delivered' end)::alert_delivery_status,
      now() + case when open then interval '1 day' else interval '-1 hour' end, now(), case when not open then now() end
    from (select n % 50 = 0 as open from generate_series(1, 20000) n) made`)
  await client.query(`
    insert into memories (id, kind, scope, subject_key, title, body, source_candidate_id, confidence_score, status, last_seq, created_by, updated_by, expires_at)
    select gen_random_uuid(), 'lesson', 'global', 's', 't', 'b', gen_random_uuid(), 3, (case when open then 'active' else 'expired' end)::memory_status, 2, 'test', 'test',
      now() + case when open then interval '1 day' else interval '-1 hour' end
    from (select n % 50 = 0 as open from generate_series(1, 20000) n) made`)
  await client.query(`update gateways set probe_after = now() + interval '1 hour'`)
  await client.query('reset session_replication_role')
  await client.query('vacuum analyze')
  client.release()
}

test('that nothing is due is learned from indexes, however much is over', { timeout: 120_000 }, async () => {
  const t = await freshLedger()
  await fill(t)
  await t.database.close()
  const before = await readAsAWhole(t.url)
  const { ledger, database } = ledgerAt(t.url)

  // A prepared statement is planned anew a few times before its plan is kept.
  for (let looks = 0; looks < 8; looks += 1) {
    expect([await ledger.upkeep.due(), await ledger.upkeep.slotsDue(), await ledger.alerts.anyDue()]).toEqual([new Set(), { plan: false, look: false }, false])
    await ledger.upkeep.keepInbox(100)
  }
  await database.close()

  expect(Object.keys(before).sort()).toEqual([...GROWING].sort())
  expect(await readAsAWhole(t.url)).toEqual(before)
})
