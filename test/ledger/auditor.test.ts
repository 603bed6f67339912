import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openToAuditors } from '../../ledger/auditor-role.js'
import { migrateLedger } from '../../ledger/database.js'
import { emptyDatabase, runServerCli } from '../support/server-cli.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
let auditor: pg.Client
beforeAll(async () => {
  t = await freshLedger()
  await aJob(t.ledger, 'succeeded', { payload: { password: 'hunter2' } })
  auditor = new pg.Client({ connectionString: t.url })
  await auditor.connect()
  await auditor.query('set role agentbus_auditor')
})
afterAll(async () => {
  await auditor.end()
  await t.close()
})

/** A view over several tables refuses writes before anybody's rights are looked at. */
const denied = (text: string): Promise<unknown> => expect(auditor.query(text), text).rejects.toThrow(/permission denied|cannot (insert into|delete from) view/)

/** What an auditor must not see: tokens, prompts, payloads, answers, messages to agents, and where tokens are found. */
const CLOSED: Readonly<Record<string, readonly string[]>> = {
  active_memories_v: ['title', 'body', 'source_refs'],
  alert_deliveries: ['body'],
  alert_watches: ['rule', 'subject', 'since'],
  api_tokens: ['hash'],
  approvals: ['details'],
  events: ['payload'],
  finding_history: ['details'],
  findings: ['body', 'data'],
  fleet_versions: ['spec'],
  gateways: ['token_ref'],
  ideas: ['title', 'body', 'evidence'],
  idempotency_keys: ['caller', 'key', 'request_hash', 'response', 'created_at'],
  inbox_messages: ['text'],
  job_attempts: ['hook_response', 'openclaw_meta'],
  jobs: ['payload', 'state', 'result', 'answer'],
  ledger_meta: ['key', 'value', 'set_at'],
  memories: ['title', 'body', 'source_refs'],
  memory_candidates: ['title', 'body', 'evidence', 'source_refs'],
  open_opportunities_v: ['title', 'why_now', 'evidence', 'suggested_next_step'],
  opportunities: ['title', 'why_now', 'evidence', 'suggested_next_step'],
  project_statuses: ['body'],
  prompts: ['body'],
  rate_buckets: ['caller', 'limit_name', 'tokens', 'filled_at'],
  ready_jobs_v: ['payload', 'state', 'result', 'answer'],
  standing_order_versions: ['definition'],
  standing_orders: ['definition'],
  stuck_jobs_v: ['payload', 'state', 'result', 'answer'],
  subscriptions: ['definition'],
  workflow_runs: ['inputs', 'outputs'],
  workflow_steps: ['result'],
  workflows: ['definition'],
}

interface Column {
  readonly relation: string
  readonly column: string
  readonly open: boolean
}

async function columns(): Promise<Column[]> {
  const { rows } = await t.database.pool.query<Column>(`
    select c.relname as relation, a.attname as "column", has_column_privilege('agentbus_auditor', c.oid, a.attnum, 'select') as open
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v') order by 1, a.attnum`)
  return rows
}

describe('a login of the role agentbus_auditor', () => {
  test('reads every history and view, and every column but those that are closed', async () => {
    const all = await columns()

    for (const relation of new Set(all.map((one) => one.relation))) {
      const open = all.filter((one) => one.relation === relation && !(CLOSED[relation] ?? []).includes(one.column)).map(({ column }) => `"${column}"`)
      if (open.length > 0) await auditor.query(`select ${open.join(', ')} from ${relation} limit 1`)
    }

    expect(all.filter(({ open }) => open).length).toBeGreaterThan(400)
  })

  test('is refused each closed column, by name and by asterisk', async () => {
    for (const [relation, closed] of Object.entries(CLOSED)) {
      for (const column of closed) await denied(`select ${column} from ${relation} limit 1`)
      await denied(`select * from ${relation} limit 1`)
      await denied(`select x::text from ${relation} x limit 1`)
    }
  })

  test('writes nothing, in no table and by no function', async () => {
    const { rows } = await t.database.pool.query<{ name: string }>(`select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')`)
    expect(rows.length).toBeGreaterThan(40)
    for (const { name } of rows) {
      await denied(`delete from ${name}`)
      await denied(`insert into ${name} default values`)
      expect(await t.database.pool.query(`select has_any_column_privilege('agentbus_auditor', '${name}', 'update, insert, references') as may`)).toMatchObject({
        rows: [{ may: false }],
      })
    }
    await denied(`select move_slot(gen_random_uuid(), 'missed', 'x', 'system', 'x', '{}', now())`)
    await denied('select grant_auditor()')
    await denied('create table mine (id int)')
    await denied('select * from drizzle.__drizzle_migrations')
    await denied('select * from bullmq.bullmq_job limit 1')
  })

  test('does not see a table that comes later', async () => {
    await t.database.pool.query('create table later (id int)')

    await denied('select * from later')
    await t.database.pool.query('drop table later')
  })

  test('cannot log in by itself, owns nothing, and is in no other role', async () => {
    const { rows } = await t.database.pool.query(
      `select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication, exists (select from pg_auth_members where member = r.oid) as member,
        exists (select from pg_class where relowner = r.oid) as owns from pg_roles r where rolname = 'agentbus_auditor'`,
    )

    expect(rows).toEqual([
      { rolcanlogin: false, rolsuper: false, rolcreatedb: false, rolcreaterole: false, rolbypassrls: false, rolreplication: false, member: false, owns: false },
    ])
  })
})

describe('the migration', () => {
  test('runs in many databases of one server at once, by repeats of which nothing changes', async () => {
    const urls = await Promise.all(Array.from({ length: 4 }, () => emptyDatabase()))

    await Promise.all(urls.map((url) => migrateLedger(url)))

    expect(await Promise.all([...urls, ...urls].map((url) => openToAuditors(url)))).toEqual(Array(8).fill(true))
  })

  test('goes through for a user who may not make roles, and `agentbus migrate` then says what to do', async () => {
    const url = new URL(await emptyDatabase())
    const database = url.pathname.slice(1)
    const admin = new pg.Client({ connectionString: url.toString() })
    await admin.connect()
    await admin.query(`create role ${database} login password 'x'; alter database ${database} owner to ${database}`)
    await admin.query('create schema if not exists bullmq')
    await admin.query(`grant all on schema public, bullmq to ${database}`)
    url.username = database
    url.password = 'x'
    await migrateLedger(url.toString())
    // As on a server where nobody has made it: the function asks for it by its name.
    await admin.query(`do $do$ declare body text; begin
      select replace(pg_get_functiondef('grant_auditor'::regproc), 'agentbus_auditor', 'agentbus_nobody') into body; execute body; end $do$`)

    const ran = await runServerCli(['migrate'], { DATABASE_URL: url.toString(), AGENTBUS_DATA_DIR: '/tmp/agentbus-none' })

    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain('create role agentbus_auditor nologin')
    await admin.end()
  })
})
