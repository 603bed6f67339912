import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HISTORIES } from '../../ledger/audit/histories.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import { openReader } from '../../ledger/verify/reader.js'
import { walkRecords, type RecordPosition } from '../../ledger/verify/records.js'
import { Findings, type CheckResult, type Violation } from '../../ledger/verify/report.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'
import { coverAll, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

/** The n-th row of each history, and a change of it. */
const ROWS: Readonly<Record<string, { readonly columns: string; readonly values: (n: number) => string; readonly change: string }>> = {
  accesses: { columns: 'at, actor_kind, actor, route, status', values: (n) => `now(), 'agent', 'a${n}', 'GET /v1/jobs', 200`, change: `status = 403` },
  agent_state_changes: { columns: 'agent_id, to_state', values: (n) => `'a${n}', 'idle'`, change: `to_state = 'offline'` },
  alert_attempts: { columns: 'delivery_id, try_no, ok, ms, worker', values: (n) => `gen_random_uuid(), ${n}, true, 3, 'w'`, change: `ok = false, error = 'x'` },
  alert_history: { columns: 'alert_id, seq, move, actor_kind, actor, at', values: (n) => `gen_random_uuid(), ${n}, 'opened', 'system', 'x', now()`, change: `note = 'x'` },
  approval_transitions: {
    columns: 'approval_id, seq, to_status, actor_kind, actor',
    values: (n) => `gen_random_uuid(), ${n}, 'pending', 'agent', 'x'`,
    change: `to_status = 'approved'`,
  },
  control_changes: { columns: 'control_id, seq, change, reason, actor_kind, actor', values: (n) => `${n}, 1, 'set', 'why', 'operator', 'x'`, change: `reason = 'another'` },
  events: { columns: 'topic, payload, created_by', values: (n) => `'t${n}', '{"n":${n}}', 'x'`, change: `payload = '{"n":0}'` },
  finding_history: {
    columns: 'finding_id, seq, kind, actor_kind, actor, at',
    values: (n) => `gen_random_uuid(), ${n}, 'filed', 'agent', 'x', now()`,
    change: `at = at - interval '1 day'`,
  },
  fleet_versions: { columns: 'kind, id, version, spec, actor_kind, actor', values: (n) => `'agent', 'other', ${n}, '{}', 'operator', 'x'`, change: `spec = '{"a":1}'` },
  idea_reviews: {
    columns: 'idea_id, seq, decision, words_hash, actor_kind, actor',
    values: () => `gen_random_uuid(), 1, 'new', sha256('x'), 'agent', 'x'`,
    change: `words_hash = sha256('y')`,
  },
  memory_candidate_reviews: {
    columns: 'memory_candidate_id, seq, decision, words_hash, actor_kind, actor',
    values: () => `gen_random_uuid(), 1, 'new', sha256('x'), 'agent', 'x'`,
    change: `reviewer = 'x'`,
  },
  memory_reviews: {
    columns: 'memory_id, seq, decision, words_hash, actor_kind, actor',
    values: () => `gen_random_uuid(), 1, 'active', sha256('x'), 'agent', 'x'`,
    change: `details = '{"a": 1}'`,
  },
  observations: { columns: 'kind, code, actor_kind, actor, detail', values: (n) => `'refusal', 'c${n}', 'system', 'x', 'x'`, change: `detail = 'another'` },
  opportunity_reviews: {
    columns: 'opportunity_id, seq, decision, words_hash, actor_kind, actor',
    values: () => `gen_random_uuid(), 1, 'new', sha256('x'), 'agent', 'x'`,
    change: `at = at - interval '1 day'`,
  },
  project_log: { columns: 'project, entry, actor_kind, actor', values: (n) => `'p', 'e${n}', 'agent', 'x'`, change: `entry = 'another'` },
  project_statuses: { columns: 'project, version, status, actor_kind, actor', values: (n) => `'p', ${n}, 'green', 'agent', 'x'`, change: `status = 'red'` },
  prunes: {
    columns: 'seq, kind, before, rows, first_key, last_key, root, policy_version, actor_kind, actor, prev_hash, hash',
    values: (n) => `${n}, 'prompts', now(), 1, 'a', 'b', sha256('x'), 1, 'operator', 'x', sha256('x'), sha256('x')`,
    change: 'rows = 2',
  },
  standing_order_run_transitions: {
    columns: 'run_id, seq, from_status, to_status, actor_kind, actor',
    values: (n) => `gen_random_uuid(), ${n}, 'expected', 'missed', 'system', 'x'`,
    change: `to_status = 'skipped'`,
  },
  standing_order_versions: {
    columns: 'order_id, version, definition, enabled, in_force_from, actor_kind, actor',
    values: (n) => `gen_random_uuid(), ${n}, '{}', true, now(), 'operator', 'x'`,
    change: 'enabled = false',
  },
  workflow_transitions: {
    columns: 'run_id, seq, to_status, actor_kind, actor',
    values: (n) => `gen_random_uuid(), ${n}, 'running', 'system', 'x'`,
    change: `to_status = 'failed'`,
  },
  workflows: { columns: 'name, version, definition, hash, created_by', values: (n) => `'w', ${n}, '{}', 'h', 'x'`, change: `definition = '{"a":1}'` },
}

/** Puts the n-th row into a history, and says its id. */
async function put(table: string, n: number, more: Readonly<Record<string, string>> = {}): Promise<string> {
  const row = ROWS[table]
  const history = HISTORIES.find((one) => one.table === table)
  if (row === undefined || history === undefined) throw new Error(table)
  const names = Object.keys(more)
  await tamper(t.url, `insert into ${table} (${[row.columns, ...names].join(', ')}) values (${[row.values(n), ...Object.values(more)].join(', ')})`)
  const { rows } = await t.database.pool.query<{ id: string }>(`select max(${history.id})::text as id from ${table}`)
  return rows[0]?.id ?? ''
}

/** What the check of these rows finds; the others look at what rows say of each other, which is beside the point here. */
async function recordsOf(options: Parameters<typeof verifyNow>[1] = {}): Promise<CheckResult> {
  const result = (await verifyNow(t.url, options)).find(({ check }) => check === 'records')
  if (result === undefined) throw new Error('records were not checked')
  return result
}

const kinds = ({ violations }: CheckResult): string[] => violations.map(({ kind }) => kind).sort()
const one = ({ violations }: CheckResult, kind: string): Violation | undefined => violations.find((violation) => violation.kind === kind)

describe('the list of histories', () => {
  test('has every append-only table but those that are chained, addressed by their hash, or checkpoints themselves', async () => {
    const { rows } = await t.database.pool.query<{ table: string }>(
      `select distinct tgrelid::regclass::text as "table" from pg_trigger where tgname = tgrelid::regclass::text || '_append_only' order by 1`,
    )

    const others = ['job_transitions', 'prompts', 'audit_checkpoints', 'audit_checkpoint_jobs', 'audit_checkpoint_records']
    expect(rows.map(({ table }) => table).filter((table) => !others.includes(table))).toEqual(HISTORIES.map(({ table }) => table).toSorted())
    expect(Object.keys(ROWS)).toEqual(HISTORIES.map(({ table }) => table))
  })

  test.each(HISTORIES)('has every column of $table', async ({ table, text }) => {
    const { rows } = await t.database.pool.query<{ name: string }>(`select column_name as name from information_schema.columns where table_schema = 'public' and table_name = $1`, [
      table,
    ])

    const named = new Set([...text.matchAll(/\bt\.(\w+)/g)].map(([, name]) => name ?? ''))
    // Which checkpoint lists a row is said by the number of its transaction.
    expect([...named].toSorted()).toEqual(
      rows
        .map(({ name }) => name)
        .filter((name) => name !== 'xact')
        .toSorted(),
    )
  })
})

describe('behind the back of a checkpoint', () => {
  test.each(HISTORIES)('a row of $table that was changed, deleted or put in is found and named', async ({ table, id }) => {
    const [first, gone, changed] = [await put(table, 1), await put(table, 2), await put(table, 3)]
    await coverAll(t)
    const before = await recordsOf()
    const added = await put(table, 4, { xact: `(select xact from ${table} where ${id} = ${first})` })
    await tamper(t.url, `delete from ${table} where ${id} = ${gone}`, `update ${table} set ${ROWS[table]?.change ?? ''} where ${id} = ${changed}`)

    const after = await recordsOf()

    expect(kinds(before)).toEqual([])
    expect(kinds(after)).toEqual(['record_added', 'record_changed', 'record_deleted'])
    for (const [kind, row] of Object.entries({ record_added: added, record_changed: changed, record_deleted: gone }))
      expect(one(after, kind)).toMatchObject({ count: 1, row: { table, id: row } })
  })

  test('a row that was moved to another transaction is found', async () => {
    const moved = await put('events', 1)
    await coverAll(t)
    const other = await put('events', 2)
    await coverAll(t)
    await tamper(t.url, `update events set xact = (select xact from events where id = ${other}) where id = ${moved}`)

    expect(one(await recordsOf(), 'record_moved')).toMatchObject({ row: { table: 'events', id: moved } })
  })

  test('a row with a number that was not given out yet is found', async () => {
    const id = await put('observations', 1, { xact: `'9000000000000000000'` })
    await coverAll(t)

    expect(one(await recordsOf(), 'record_of_the_future')).toMatchObject({ row: { table: 'observations', id } })
  })

  test('a list that was changed, cut short or taken away is found', async () => {
    await put('events', 1)
    await put('events', 2)
    await coverAll(t)
    await tamper(t.url, `update audit_checkpoint_records set ids = ids[2:], hashes = substring(hashes from 33) where history = 'events'`)
    const short = await recordsOf()
    await tamper(t.url, `delete from audit_checkpoint_records where history = 'events'`)

    expect(kinds(short)).toContain('record_list_changed')
    expect(kinds(await recordsOf())).toContain('record_list_changed')
  })
})

test('lists are append-only, and a checkpoint without them is refused', async () => {
  await put('events', 1)
  await coverAll(t)
  const { pool } = t.database

  await expect(pool.query('delete from audit_checkpoint_records')).rejects.toThrow('append-only')
  await expect(pool.query(`update audit_checkpoint_records set part = 7`)).rejects.toThrow('append-only')
  await expect(pool.query(`insert into audit_checkpoint_records (checkpoint_seq, history, part, ids, hashes) values (99, 'events', 0, '{}', '')`)).rejects.toThrow('foreign key')
  await expect(pool.query(`insert into audit_checkpoint_records (checkpoint_seq, history, part, ids, hashes) values (1, 'workflows', 0, '{7}', '')`)).rejects.toThrow('lengths')
})

test('a time in which no job moved has a checkpoint when something else was written', async () => {
  await aJob(t.ledger, 'queued')
  await coverAll(t)
  expect(await takeCheckpoint(t.database.db, { signer: undefined })).toEqual({ kind: 'nothing' })
  await put('accesses', 1)
  await coverAll(t)

  const { rows } = await t.database.pool.query('select jobs, rows, records from audit_checkpoints order by seq desc limit 1')
  expect(rows).toEqual([{ jobs: 0, rows: 0, records: 1 }])
  expect(kinds(await recordsOf())).toEqual([])
})

test('a long list comes in parts, and a check that was stopped goes on', async () => {
  await manyObservations()
  await coverAll(t)
  for (const n of [1, 2]) {
    await put('events', n)
    await coverAll(t)
  }

  const { rows } = await t.database.pool.query<{ part: number; n: number }>(
    `select part, cardinality(ids) as n from audit_checkpoint_records where history = 'observations' order by part`,
  )
  expect(rows).toEqual([
    { part: 0, n: 1000 },
    { part: 1, n: 1000 },
    { part: 2, n: 500 },
  ])
  const whole = await walk()
  expect(whole.rows).toBeGreaterThanOrEqual(2_502)
  expect(whole.kinds).toEqual([])
  expect(whole.stops.length).toBeGreaterThan(1)
  for (const [at, from] of whole.stops.entries()) expect(await walk({ from })).toMatchObject({ kinds: [], stops: whole.stops.slice(at + 1) })
})

test('a list that is longer than what is compared at once is compared in windows, and each fault in it is named', async () => {
  await manyObservations()
  await put('workflows', 1)
  await coverAll(t)
  const fits = await walk()
  await tamper(
    t.url,
    `delete from observations where detail in ('row 1', 'row 1000', 'row 2500')`,
    `update observations set code = 'y' where detail in ('row 1001', 'row 2499')`,
    `insert into observations (kind, code, actor_kind, actor, detail, xact) select kind, code, actor_kind, actor, 'put in', xact from observations where detail = 'row 7'`,
    `insert into agent_state_changes (agent_id, to_state, xact) select 'devops', 'idle', xact from observations where detail = 'row 7'`,
  )

  expect(fits).toMatchObject({ kinds: [] })
  expect((await walk()).kinds).toEqual(['record_added 2', 'record_changed 2', 'record_deleted 3'])
})

/** More than two parts of a list, written by one transaction. */
async function manyObservations(): Promise<void> {
  await t.database.pool.query(`insert into observations (kind, code, actor_kind, actor, detail) select 'refusal', 'x', 'system', 'x', 'row ' || n from generate_series(1, 2500) n`)
}

/** The check by itself, with a small page: what it finds with how many of each, how many rows it looks at, and where it could be stopped. */
async function walk(options: { readonly from?: RecordPosition } = {}): Promise<{ kinds: string[]; rows: number; stops: RecordPosition[] }> {
  const reader = await openReader(t.url)
  const findings = new Findings()
  const stops: RecordPosition[] = []
  let rows = 0
  const onPage = async (position: RecordPosition, looked: number): Promise<void> => {
    stops.push(position)
    rows += looked
  }
  try {
    await walkRecords(reader.client, { from: options.from, since: undefined, findings, onPage, pageRows: 1_000 })
  } finally {
    await reader.close()
  }
  return {
    kinds: findings
      .list()
      .map(({ kind, count }) => `${kind} ${count}`)
      .sort(),
    rows,
    stops,
  }
}

test('lists of a checkpoint that is gone, and a checkpoint that has none any more, are found', async () => {
  await put('events', 1)
  await coverAll(t)
  const { rows } = await t.database.pool.query<{ seq: number }>('select max(seq) as seq from audit_checkpoints')
  const seq = rows[0]?.seq ?? 0
  await tamper(
    t.url,
    `insert into audit_checkpoints (seq, xact_from, xact_to, rows, jobs, first_id, last_id, root, jobs_hash, created_at, prev_hash, hash)
     select seq + 1, xact_to, (xact_to::text::bigint + 1)::text::xid8, 1, 1, 1, 1, root, jobs_hash, created_at, hash, hash from audit_checkpoints where seq = ${seq}`,
  )
  const without = await recordsOf()
  await tamper(t.url, `delete from audit_checkpoints where seq >= ${seq}`)

  expect(one(without, 'record_list_missing')).toMatchObject({ row: { checkpoint: seq + 1 } })
  expect(one(await recordsOf(), 'record_list_without_checkpoint')).toMatchObject({ row: { checkpoint: seq } })
})

test('a check since a time takes what is older as given', async () => {
  const old = await put('events', 1)
  await coverAll(t)
  const since = new Date().toISOString()
  const young = await put('events', 2)
  await coverAll(t)
  await tamper(t.url, `update events set topic = 'x' where id in (${old}, ${young})`)

  expect(one(await recordsOf({ since }), 'record_changed')).toMatchObject({ count: 1, row: { id: young } })
  expect(one(await recordsOf(), 'record_changed')).toMatchObject({ count: 2 })
})

test('what a row says does not depend on how a session shows times and bytes', async () => {
  for (const { table } of HISTORIES) await put(table, 1)
  await coverAll(t)
  const { rows } = await t.database.pool.query<{ name: string }>('select current_database() as name')
  for (const setting of [`timezone = 'Asia/Kolkata'`, `datestyle = 'German'`, `bytea_output = 'escape'`, `extra_float_digits = 0`])
    await tamper(t.url, `alter database "${rows[0]?.name ?? ''}" set ${setting}`)

  expect(kinds(await recordsOf())).toEqual([])
})
