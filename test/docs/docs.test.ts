import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PROJECT_COMMANDS } from '../../cli/client/project-rows.js'
import { parseFleet } from '../../config/fleet-file.js'
import { LEGAL_MOVES } from '../../contracts/job-states.js'
import { generatedDocs } from '../../scripts/write-docs.js'
import type { CommandContext } from '../../ledger/caller.js'
import { WaitsFor } from '../../contracts/closings.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { FileFindingBody } from '../../contracts/findings.js'
import { AppendProjectLogBody, ProjectName, SetProjectStatusBody } from '../../contracts/projects.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

// The page of the command line loads the whole program, servers and queues with it.
test('the pages that are made from code say what the code says', { timeout: 120_000 }, async () => {
  for (const [file, text] of Object.entries(await generatedDocs())) expect([file, await readFile(file, 'utf8')]).toEqual([file, text])
})

test('the diagram of the life cycle has exactly the legal moves', async () => {
  const text = await readFile('docs/lifecycle.md', 'utf8')

  const drawn = [...text.matchAll(/^ {2}(\w+) --> (\w+)$/gm)].map((match) => `${match[1] ?? ''} → ${match[2] ?? ''}`)

  const legal = Object.entries(LEGAL_MOVES).flatMap(([from, tos]) => tos.map((to) => `${from} → ${to}`))
  expect(drawn.sort()).toEqual(legal.sort())
})

test.each(['docs/lifecycle.md', 'docs/handoffs.md'])('%s names exactly what a blocked job can wait for', async (file) => {
  const text = await readFile(file, 'utf8')

  const named = [...(/\n\| waits for \|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)/.exec(text)?.[1] ?? '').matchAll(/^\| `(\w+)`/gm)].map((match) => match[1])

  const real = WaitsFor.options.map((option) => option.shape.kind.value)
  expect(named.sort()).toEqual(real.sort())
  expect(real.length).toBeGreaterThan(1)
})

test('every dependency has its line, and every line its dependency', async () => {
  const text = await readFile('docs/dependencies.md', 'utf8')
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as Record<'dependencies' | 'devDependencies' | 'overrides', Record<string, string>>

  const listed = [...text.matchAll(/^- `([^`]+)` (\S+):/gm)].map((match) => `${match[1] ?? ''} ${match[2] ?? ''}`)

  const real = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.overrides }).map(([name, version]) => `${name} ${version}`)
  expect(listed.sort()).toEqual(real.sort())
})

describe('every query in the docs', () => {
  let t: TestLedger
  beforeAll(async () => {
    t = await freshLedger()
    for (const status of ['succeeded', 'failed', 'blocked', 'running'] as const) await aJob(t.ledger, status)
    const closed = await aJob(t.ledger, 'succeeded')
    await t.ledger.jobs.complete(closed.as, closed.id, { result: {}, findings: [], events: [], follow_ups: [] }).catch(() => undefined)
  })
  afterAll(() => t.close())

  test('runs, and finds the rows it is about', async () => {
    const text = await readFile('docs/operations.md', 'utf8')
    const queries = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')

    const counts: number[] = []
    for (const query of queries) counts.push((await t.database.pool.query(query)).rows.length)

    // the story (a placeholder), the agent's hour, dead letters, observations, blocked, the namespace, workers (none run here), open
    expect(counts).toEqual([0, 5, 1, 1, 1, 1, 0, 1])
  })

  test('about hand-offs runs, and finds the rows it is about', async () => {
    await t.addAgent('auditor', { delegation: [] })
    const auditor: CommandContext = { caller: { role: 'agent', tokenId: 'x', name: 'auditor', agentId: 'auditor' as never } }
    await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'first', correlation_key: 'release-42' }))
    await t.ledger.jobs.create(auditor, CreateJobBody.parse({ target_agent: 'devops', subject: 'not allowed' })).catch(() => undefined)
    const text = await readFile('docs/handoffs.md', 'utf8')
    const queries = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')

    const found: unknown[] = []
    for (const query of queries) found.push((await t.database.pool.query(query)).rows)

    // The story, what is blocked, changes of states (nobody watches here), refusals.
    expect(found).toMatchObject([[{ subject: 'first' }], [{ blocked_reason: 'needs a person', waits_for: 'person' }], [], [{ actor: 'auditor' }]])
  })

  test('about projects runs, and finds the rows it is about', async () => {
    const run = await aJob(t.ledger, 'running', { subject: 'read the new format' })
    const shop = ProjectName.parse('shop')
    await t.ledger.projects.append(run.as, shop, AppendProjectLogBody.parse({ entry: 'The parser reads it.' }))
    await t.ledger.projects.setStatus(run.as, shop, SetProjectStatusBody.parse({ status: 'done' })).catch(() => undefined)
    const text = await readFile('docs/projects.md', 'utf8')
    const queries = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')

    const found: unknown[] = []
    for (const query of queries) found.push((await t.database.pool.query(query)).rows)

    expect(found).toMatchObject([[{ actor: 'devops' }], [{ actor: 'devops', entry: 'The parser reads it.', subject: 'read the new format' }]])
  })

  test('about standing orders runs, and finds the slots it is about', async () => {
    const { slotId } = await aSlot(t.ledger, { name: 'asked-about', cron: '0 * * * *', every_seconds: undefined })
    await t.database.pool.query(`update standing_order_runs set slot_at = now() - interval '3 hours', grace_until = now() - interval '2 hours' where id = $1`, [slotId])
    await t.database.pool.query(`update standing_order_runs set claimed = 'no_work', evidence = '{"checked": 1}' where id = $1`, [slotId])
    await t.database.pool.query(`select move_slot($1, 'completed', null, 'system', 'test', '{}', now())`, [slotId])
    const { rows: missed } = await t.database.pool.query<{ id: string }>(
      `insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at)
       select gen_random_uuid(), order_id, version, agent_id, now() - interval '1 hour', now() - interval '50 minutes', now() from standing_order_runs where id = $1 returning id`,
      [slotId],
    )
    await t.database.pool.query(`select move_slot($1, 'missed', 'worker_down', 'system', 'test', '{}', now())`, [missed[0]?.id])
    await t.ledger.inbox.file(OPERATOR, FileFindingBody.parse({ topic: 'disk.full', subject_key: 'h1', body: 'full', to: 'devops' }))
    const text = await readFile('docs/standing-orders.md', 'utf8')
    const queries = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')

    const found: unknown[] = []
    for (const query of queries) found.push((await t.database.pool.query(query)).rows)

    // Of two days, when it is one or two in the morning.
    const byDay = (found.shift() as Record<string, unknown>[]).map(({ name, slots, no_work, missed }) => ({ name, slots: Number(slots), no_work: Number(no_work), missed: Number(missed) }))
    const sum = (of: 'slots' | 'no_work' | 'missed'): number => byDay.reduce((total, day) => total + day[of], 0)
    expect([new Set(byDay.map(({ name }) => name)), sum('slots'), sum('no_work'), sum('missed')]).toEqual([new Set(['asked-about']), 2, 1, 1])
    expect(found).toMatchObject([
      [{ topic: 'disk.full', subject_key: 'h1', status: 'unread', nag_level: 1 }],
      [
        { name: 'asked-about', status: 'no_work' },
        { name: 'asked-about', status: 'missed', cause: 'worker_down' },
      ],
      [{ name: 'asked-about', evidence: { checked: 1 } }],
      [{ name: 'asked-about', status: 'missed', cause: 'worker_down' }],
      [{ name: 'asked-about', last_status: 'missed', missed_24h: '1' }],
      [{ name: 'asked-about', version: 1, cron: '0 * * * *' }],
    ])
  })
})

test('the fleet file in the docs of projects is a valid one', async () => {
  const text = await readFile('docs/projects.md', 'utf8')
  const authority = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? ''

  const parsed = parseFleet(`gateways: [{ id: g, base_url: 'http://127.0.0.1:1', token: env:X }]\nagents: [{ id: coordinator, gateway: g }]\n${authority}`)

  expect(parsed).toMatchObject({ fleet: { authority: { project_status: ['coordinator'] } } })
})

test('every command about projects has its example in the docs', async () => {
  const text = await readFile('docs/projects.md', 'utf8')

  const shown = new Set([...text.matchAll(/^ {4}agentbus ([a-z-]+)/gm)].map((match) => match[1]))

  expect([...shown].sort()).toEqual(PROJECT_COMMANDS.map(({ name }) => name).sort())
})

test('the fleet file in the docs of standing orders is a valid one', async () => {
  const text = await readFile('docs/standing-orders.md', 'utf8')
  const parts = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
  const agents = '[{ id: devops, gateway: g }, { id: coordinator, gateway: g }]'

  const parsed = parseFleet(`gateways: [{ id: g, base_url: 'http://127.0.0.1:1', token: env:X }]\nagents: ${agents}\n${parts.join('')}`)

  expect(parsed).toMatchObject({
    fleet: {
      standing_orders: [{ name: 'disk-check', time_zone: 'Europe/Berlin', grace_seconds: 240 }],
      inbox: { coordinator: 'coordinator', policies: [{ topic: 'reminder.*', steps: [{ tone: 'polite' }, { tone: 'firm' }, { tone: 'act or drop', times: 2 }] }] },
    },
  })
})
