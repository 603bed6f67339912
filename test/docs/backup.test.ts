import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseFleet } from '../../config/fleet-file.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'
import { emptyDatabase, runServerCli } from '../support/server-cli.js'

let t: TestLedger
let folder: string
let text: string
beforeAll(async () => {
  t = await freshLedger()
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-docs-'))
  text = await readFile('docs/backup.md', 'utf8')
  await aJob(t.ledger, 'succeeded')
})
afterAll(async () => {
  await t.close()
  await rm(folder, { recursive: true, force: true })
})

test('every command of the page runs, in its order', { timeout: 120_000 }, async () => {
  const lines = [...text.matchAll(/^ {4}agentbus (.+)$/gm)].map((match) => match[1] ?? '')
  expect(lines).toHaveLength(5)
  for (const line of lines) {
    const argv = line.replace('backups/', `${folder}/backups/`).split(' ')
    const isReal = argv[0] === 'restore' && !argv.includes('--drill')

    const ran = await runServerCli(argv, { DATABASE_URL: isReal ? await emptyDatabase() : t.url, AGENTBUS_DATA_DIR: folder })

    expect({ line, code: ran.code, stderr: ran.stderr }).toEqual({ line, code: 0, stderr: '' })
    expect(ran.stdout).not.toBe('')
  }
})

test('the statement and the rules of the page are valid', async () => {
  const statements = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
  for (const statement of statements) await t.database.pool.query(statement)
  const parsed = parseFleet(`gateways: [{ id: g, base_url: 'http://127.0.0.1:1', token: env:X }]\nagents: [{ id: devops, gateway: g }]\n${/```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? ''}`)

  expect(statements).toHaveLength(1)
  expect(parsed).toMatchObject({ fleet: { retention: { prompts_days: 90, jobs_days: 180, attempts_days: 30, events_days: 90, accesses_days: 365, observations_days: 365 } } })
})

test('the copies that a prune leaves are columns that exist, and that no rule empties', async () => {
  const section = /\*\*Copies that a prune leaves\.\*\*([^]*?)\nWhat must go/.exec(text)?.[1] ?? ''
  const named = [...section.matchAll(/`(\w+)\.(\w+)`/g)].map(([, table = '', column = '']) => `${table}.${column}`)
  const { rows } = await t.database.pool.query<{ name: string }>(`select table_name || '.' || column_name as name from information_schema.columns where table_schema = 'public'`)
  const real = new Set(rows.map(({ name }) => name))
  // What the rules empty; the table of rules in the page says the same in words.
  const emptied = ['prompts.body', 'jobs.payload', 'jobs.state', 'jobs.result', 'jobs.answer', 'job_attempts.hook_response', 'job_attempts.openclaw_meta', 'events.payload']

  expect(named.filter((name) => !real.has(name) || emptied.includes(name))).toEqual([])
  expect(emptied.filter((name) => !real.has(name))).toEqual([])
  for (const copy of ['workflow_steps.result', 'workflow_runs.inputs', 'workflow_runs.outputs', 'findings.data', 'findings.body', 'inbox_messages.text', 'approvals.details']) expect(named).toContain(copy)
})
