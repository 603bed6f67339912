import { sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AuthorityConfig } from '../../contracts/authority.js'
import {
  AppendProjectLogBody,
  ListProjectLogQuery,
  ListProjectsQuery,
  ListProjectStatusesQuery,
  ProjectName,
  SetProjectStatusBody,
  type ProjectLogEntryView,
} from '../../contracts/projects.js'
import type { CommandContext } from '../../ledger/caller.js'
import { sqlStateOf, type Tx } from '../../ledger/database.js'
import { listProjects } from '../../ledger/projects.js'
import { lockJob } from '../../ledger/transition.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

const SHOP = ProjectName.parse('shop')
const AUDITOR: CommandContext = { caller: { role: 'auditor', tokenId: 'a', name: 'anna' } }
let t: TestLedger

beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('coordinator', { concurrency: 100 })
  await gatekeepers('coordinator')
})
afterEach(() => t.close())

async function gatekeepers(...agents: string[]): Promise<void> {
  const authority = AuthorityConfig.parse({ project_status: agents })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], authority }, { dryRun: false, prune: false })
}

const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
const append = (as: CommandContext = OPERATOR, body: Record<string, unknown> = {}, project = SHOP) =>
  t.ledger.projects.append(as, project, AppendProjectLogBody.parse({ entry: 'shipped', ...body }))
const setStatus = (as: CommandContext = OPERATOR, body: Record<string, unknown> = {}, project = SHOP) =>
  t.ledger.projects.setStatus(as, project, SetProjectStatusBody.parse({ status: 'on track', ...body }))
const log = (query: Record<string, unknown> = {}) => t.ledger.listProjectLog(SHOP, ListProjectLogQuery.parse(query))
const statuses = (query: Record<string, unknown> = {}) => t.ledger.listProjectStatuses(SHOP, ListProjectStatusesQuery.parse(query))
const projects = (query: Record<string, unknown> = {}) => t.ledger.listProjects(ListProjectsQuery.parse(query))

/** As many connections as contenders, so that none of them is over before the others have begun. */
async function connected(contenders: number): Promise<void> {
  await Promise.all(Array.from({ length: contenders }, () => t.database.pool.query('select pg_sleep(0.05)')))
}

async function refusals(): Promise<Record<string, unknown>[]> {
  const { rows } = await t.database.db.execute(sql`select code, actor_kind, actor, agent_id, job_id, attempt_id, detail from observations where kind = 'refusal' order by id`)
  return rows
}

describe('the log of a project', () => {
  test('takes entries of operators, agents and attempts, each in its own name', async () => {
    const run = await aJob(t.ledger, 'running')

    await append(OPERATOR, { entry: 'begun' })
    await append(agent('devops'), { entry: 'built' })
    await append(run.as, { entry: 'shipped', details: { version: '2.0' } })

    expect((await log()).items).toMatchObject([
      { entry: 'shipped', details: { version: '2.0' }, agent_id: 'devops', job_id: run.id, attempt_id: run.attemptId, actor_kind: 'attempt', actor: 'devops' },
      { entry: 'built', details: {}, agent_id: 'devops', job_id: null, attempt_id: null, actor_kind: 'agent', actor: 'devops' },
      { entry: 'begun', agent_id: null, job_id: null, actor_kind: 'operator', actor: 'test-operator' },
    ])
  })

  test('takes none of an auditor, nor of an attempt that has ended; each refusal is a row', async () => {
    const ended = await aJob(t.ledger, 'succeeded')

    await expect(append(AUDITOR)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(append(ended.as)).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })

    expect((await log()).items).toEqual([])
    expect(await refusals()).toMatchObject([
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
      { code: 'AGENTBUS_UNAUTHORIZED', actor_kind: 'attempt', job_id: ended.id, attempt_id: ended.attemptId },
    ])
  })

  test('takes an entry once per Idempotency-Key, also from sixteen at once', async () => {
    const once: CommandContext = { ...agent('devops'), idempotency: { key: 'k', requestHash: 'h' } }

    const answers = await Promise.all(Array.from({ length: 16 }, () => append(once)))

    expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1)
    expect(new Set(answers.map(({ entry }) => entry.id)).size).toBe(1)
    expect((await log()).items).toHaveLength(1)
  })

  test('is paged newest first, each entry once, while others append', async () => {
    for (let at = 1; at <= 25; at += 1) await append(OPERATOR, { entry: `entry ${at}` })
    const seen: ProjectLogEntryView[] = []
    let cursor: string | undefined

    do {
      const page = await log({ limit: 10, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.items)
      cursor = page.next_cursor ?? undefined
      await append(OPERATOR, { entry: 'in between' })
    } while (cursor !== undefined)

    expect(seen.map(({ entry }) => entry)).toEqual(Array.from({ length: 25 }, (_each, at) => `entry ${25 - at}`))
  })

  test('of one name is another in each namespace', async () => {
    await append(OPERATOR, { namespace: 'other', entry: 'theirs' })
    await append(OPERATOR, { entry: 'ours' })

    expect((await log()).items.map(({ entry }) => entry)).toEqual(['ours'])
    expect((await log({ namespace: 'other' })).items.map(({ entry }) => entry)).toEqual(['theirs'])
  })

  test('locks the job before the attempt, as a close does, so that the two do not wait for each other', async () => {
    const run = await aJob(t.ledger, 'running')

    const appended = await t.ledger.run(async (tx) => {
      await lockJob(tx, run.id)
      const waiting = append(run.as)
      await expect
        .poll(async () => (await t.database.pool.query(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)).rowCount)
        .toBe(1)
      await tx.execute(sql`select 1 from job_attempts where id = ${run.attemptId ?? null}::uuid for update nowait`)
      return { waiting }
    })

    expect((await appended.waiting).entry).toMatchObject({ job_id: run.id })
  })
})

test.each(['project_log', 'project_statuses'])('nobody changes, deletes or empties %s', async (table) => {
  await append()
  await setStatus()

  for (const statement of [`update ${table} set actor = 'somebody'`, `delete from ${table}`, `truncate ${table}`]) {
    const state = await t.database.pool.query(statement).then(() => 'done', sqlStateOf)

    expect([statement, state]).toEqual([statement, '23001'])
  }

  expect([(await log()).items.length, (await statuses()).items.length]).toEqual([1, 1])
})

describe('the status of a project', () => {
  test('is written by operators and by the agents that the fleet file names, and their runs', async () => {
    const run = await aJob(t.ledger, 'running', { target_agent: 'coordinator' })

    await setStatus(OPERATOR, { status: 'planned' })
    await setStatus(agent('coordinator'), { status: 'begun', body: '# Begun\n\nAll is well.' })
    await setStatus(run.as, { status: 'on track' })

    expect((await statuses()).items).toMatchObject([
      { version: 3, status: 'on track', body: '', agent_id: 'coordinator', job_id: run.id, actor_kind: 'attempt', actor: 'coordinator' },
      { version: 2, status: 'begun', body: '# Begun\n\nAll is well.', agent_id: 'coordinator', job_id: null, actor_kind: 'agent' },
      { version: 1, status: 'planned', agent_id: null, actor_kind: 'operator', actor: 'test-operator' },
    ])
    expect(await t.ledger.projectStatus(SHOP, 'default')).toMatchObject({ version: 3, status: 'on track' })
  })

  test('is written by nobody else: the refusal names the rule and is a row', async () => {
    const run = await aJob(t.ledger, 'running')

    for (const as of [agent('devops'), run.as, AUDITOR]) {
      await expect(setStatus(as)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN', fields: { right: 'project_status', holders: ['coordinator'] } })
    }

    await expect(t.ledger.projectStatus(SHOP, 'default')).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
    expect(await refusals()).toMatchObject([
      {
        code: 'AGENTBUS_FORBIDDEN',
        actor_kind: 'agent',
        agent_id: 'devops',
        detail: 'devops may not write the status of project shop; authority.project_status says: of the agents, coordinator may.',
      },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'attempt', agent_id: 'devops', job_id: run.id, attempt_id: run.attemptId },
      { code: 'AGENTBUS_FORBIDDEN', actor_kind: 'auditor', actor: 'anna' },
    ])
  })

  test('is no longer written by an agent that has lost the right', async () => {
    await setStatus(agent('coordinator'))
    await gatekeepers('devops')

    await expect(setStatus(agent('coordinator'))).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    expect((await setStatus(agent('devops'))).status.version).toBe(2)
  })

  test('written by sixteen at once has sixteen versions without a gap', { repeats: 4 }, async () => {
    await connected(16)

    const written = await Promise.all(Array.from({ length: 16 }, (_each, at) => setStatus(agent('coordinator'), { status: `by ${at}` })))

    expect(written.map(({ status }) => status.version).sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_each, at) => at + 1))
    expect((await statuses()).items.map(({ version }) => version)).toEqual(Array.from({ length: 16 }, (_each, at) => 16 - at))
  })

  test('written by sixteen at once on the version they have read is written by one; the others are refused, with a row', { repeats: 4 }, async () => {
    await setStatus()
    await connected(16)

    const settled = await Promise.allSettled(Array.from({ length: 16 }, (_each, at) => setStatus({ ...agent('coordinator'), ifVersion: 1 }, { status: `by ${at}` })))

    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const errors = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []))
    for (const error of errors) expect(error).toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 2 } })
    expect((await statuses()).items.map(({ version }) => version)).toEqual([2, 1])
    expect((await refusals()).map(({ code }) => code)).toEqual(Array(15).fill('AGENTBUS_VERSION_MISMATCH'))
  })

  test('is written on version 0 only while there is none', async () => {
    await expect(setStatus({ ...OPERATOR, ifVersion: 1 })).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 0 } })
    expect((await setStatus({ ...OPERATOR, ifVersion: 0 })).status.version).toBe(1)
    await expect(setStatus({ ...OPERATOR, ifVersion: 0 })).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', fields: { version: 1 } })
  })

  test('is counted for each project and namespace by itself', async () => {
    await setStatus()
    const elsewhere = [await setStatus(OPERATOR, { namespace: 'other' }), await setStatus(OPERATOR, {}, ProjectName.parse('shop.api'))]

    expect(elsewhere.map(({ status }) => status.version)).toEqual([1, 1])
  })

  test('is paged newest first', async () => {
    for (let at = 1; at <= 5; at += 1) await setStatus(OPERATOR, { status: `status ${at}` })

    const first = await statuses({ limit: 3 })
    const rest = await statuses({ limit: 3, cursor: first.next_cursor ?? '' })

    expect([...first.items, ...rest.items].map(({ status }) => status)).toEqual([5, 4, 3, 2, 1].map((at) => `status ${at}`))
    expect(rest.next_cursor).toBeNull()
  })
})

describe('projects', () => {
  test('are listed by name, with the status that holds and the time of the last entry', async () => {
    await append()
    const { entry } = await append()
    await setStatus(OPERATOR, { status: 'planned' })
    const { status } = await setStatus(OPERATOR, { status: 'on track' })
    await append(OPERATOR, {}, ProjectName.parse('only-log'))
    await setStatus(OPERATOR, { namespace: 'other' }, ProjectName.parse('only-status'))

    expect((await projects()).items).toMatchObject([
      { namespace: 'default', project: 'only-log', status: null, version: null, status_at: null, last_log_at: expect.any(String) },
      { namespace: 'default', project: 'shop', status: 'on track', version: 2, status_at: status.at, last_log_at: entry.at },
      { namespace: 'other', project: 'only-status', status: 'on track', version: 1, last_log_at: null },
    ])
    expect((await projects({ namespace: 'other' })).items.map(({ project }) => project)).toEqual(['only-status'])
    expect((await projects({ namespace: 'nowhere' })).items).toEqual([])
  })

  test('are paged by name, each once', async () => {
    const names = Array.from({ length: 23 }, (_each, at) => ProjectName.parse(`p${String(at).padStart(2, '0')}`))
    for (const name of names) await (name.endsWith('3') ? setStatus(OPERATOR, {}, name) : append(OPERATOR, {}, name))
    for (const name of names.slice(0, 5)) await append(OPERATOR, { namespace: 'zoo' }, name)
    const seen: string[] = []
    let cursor: string | undefined

    do {
      const page = await projects({ limit: 7, ...(cursor === undefined ? {} : { cursor }) })
      expect(page.items.length).toBeLessThanOrEqual(7)
      seen.push(...page.items.map(({ namespace, project }) => `${namespace}/${project}`))
      cursor = page.next_cursor ?? undefined
    } while (cursor !== undefined)

    expect(seen).toEqual([...names.map((name) => `default/${name}`), ...names.slice(0, 5).map((name) => `zoo/${name}`)])
  })

  test('are found by index, however long their logs are', async () => {
    await t.database.pool.query(`
      insert into project_log (project, entry, actor_kind, actor)
      select case when n % 2 = 0 then 'shop' else 'site' end, 'x', 'system', 'test' from generate_series(1, 20000) n`)
    await t.database.pool.query('analyze project_log')

    const readSoFar = async (tx: Tx): Promise<number> => {
      const { rows } = await tx.execute(sql`select seq_tup_read + coalesce(idx_tup_fetch, 0) as n from pg_stat_xact_user_tables where relname = 'project_log'`)
      return Number(rows[0]?.['n'])
    }
    const rowsRead = (work: (tx: Tx) => Promise<unknown>): Promise<number> =>
      t.ledger.run(async (tx) => {
        const before = await readSoFar(tx)
        await work(tx)
        return (await readSoFar(tx)) - before
      })

    expect((await projects()).items.map(({ project }) => project)).toEqual(['shop', 'site'])
    expect(await rowsRead((tx) => listProjects(tx, ListProjectsQuery.parse({})))).toBeLessThan(100)
    expect(await rowsRead((tx) => tx.execute(sql`select distinct namespace, project from project_log`))).toBe(20_000)
  })
})
