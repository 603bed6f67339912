import pg from 'pg'
import { sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import type { ApprovalId } from '../../contracts/approvals.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import type { AttemptId, JobId } from '../../contracts/ids.js'
import type { RetentionConfig } from '../../contracts/retention.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { TraceQuery } from '../../contracts/trace.js'
import { StartWorkflowBody } from '../../contracts/workflows.js'
import { pruneLedger, type Pruned } from '../../ledger/prune/prune.js'
import { runServerCli } from '../support/server-cli.js'
import { aJob, attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'
import { coverAll, found, kindsOf, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const ALL: RetentionConfig = { prompts_days: 30, jobs_days: 30, attempts_days: 30, events_days: 30, accesses_days: 30, observations_days: 30 }
const LATER_MS = 31 * 86_400_000

async function keep(retention: RetentionConfig): Promise<void> {
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], retention }, { dryRun: false, prune: false })
}

const prune = (options: { dryRun?: boolean; batch?: number; afterMs?: number } = {}): Promise<Pruned[]> =>
  pruneLedger(t.database.db, {
    nowMs: Date.now() + (options.afterMs ?? LATER_MS),
    actor: { kind: 'operator', id: 'test' },
    dryRun: options.dryRun ?? false,
    ...(options.batch === undefined ? {} : { batch: options.batch }),
  })

const counts = (pruned: readonly Pruned[]): Record<string, number> => Object.fromEntries(pruned.map(({ kind, rows }) => [kind, rows]))

const rows = async (text: string): Promise<Record<string, unknown>[]> => (await t.database.pool.query<Record<string, unknown>>(text)).rows

const FLOW = `
name: flow
steps:
  - { id: build, agent: devops, payload: { what: all } }
  - { id: gate, needs: [build], approval: { subject: "Ship?" } }
`

/** Something of everything that can be pruned: two jobs with all they had, an event, a read, a refusal. */
async function aPast(): Promise<void> {
  for (const subject of ['one', 'two']) {
    const job = await aJob(t.ledger, 'running', { subject, payload: { secret: subject } })
    await t.ledger.jobs.complete(job.as, job.id, CompleteJobBody.parse({ result: { found: subject }, events: [{ topic: 'done', payload: { who: subject } }] }))
  }
  t.ledger.accesses.note({ atMs: Date.now(), caller: OPERATOR.caller, route: 'GET /v1/jobs', target: {}, status: 200 })
  await t.ledger.accesses.flush()
  await t.database.pool.query(`insert into observations (kind, code, actor_kind, actor, detail) values ('refusal', 'x', 'system', 'x', 'x')`)
  await coverAll(t)
}

describe('pruning', () => {
  test('takes out what the rules no longer keep, and verify still passes', async () => {
    await aPast()
    await keep(ALL)

    const pruned = await prune()

    expect(counts(pruned)).toEqual({ prompts: 2, jobs: 2, attempts: 2, events: 2, accesses: 1, observations: 1 })
    expect(await rows('select payload, state, result, answer from jobs')).toEqual(Array(2).fill({ payload: {}, state: {}, result: null, answer: null }))
    expect(await rows('select distinct body, bytes > 0 as sized from prompts')).toEqual([{ body: '', sized: true }])
    expect(await rows('select distinct payload from events')).toEqual([{ payload: {} }])
    expect(await rows('select 1 from accesses union all select 1 from observations')).toEqual([])
    expect(await rows('select count(*)::int as n from job_transitions')).toEqual([{ n: 8 }])
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('leaves verify nothing to complain of where hand-offs were: what a step answered, what was asked and decided, why a reaction was refused', async () => {
    const parsed = parseWorkflow(FLOW)
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
    await t.ledger.workflows.define(OPERATOR, parsed.workflow)
    const { run } = await t.ledger.workflows.start(OPERATOR, { namespace: 'default', name: 'flow' }, StartWorkflowBody.parse({}))
    const step = async (name: string) => (await t.ledger.runHistory(run.run.id)).steps.find((one) => one.step === name)
    const build = (await step('build'))?.job_id as JobId
    const leased = await leaseAs(t.ledger, build, 1)
    if (leased.kind !== 'start') throw new Error(leased.kind)
    await t.ledger.jobs.complete({ caller: attemptCaller(leased.attempt.id as AttemptId, build, 'devops') }, build, CompleteJobBody.parse({ result: { n: 7 } }))
    await t.ledger.handOffs.decide(OPERATOR, (await step('gate'))?.approval_id as ApprovalId, 'approved', 'fine')
    const broken = SubscriptionConfig.parse({ name: 'broken', agent: 'devops', topic: 'odd.*', subject: '{{payload.nothing}}', dedupe: '{{payload.nothing}}' })
    await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], subscriptions: [broken] }, { dryRun: false, prune: false })
    await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'odd.one', payload: { a: 1 } }))
    await keep(ALL)
    const before = kindsOf(await verifyNow(t.url))

    const pruned = await prune()

    const reactions = await rows(`select status::text as status from reactions`)
    expect(reactions).toEqual([{ status: 'failed' }])
    expect(counts(pruned)).toMatchObject({ jobs: 1, events: expect.any(Number) as number, observations: expect.any(Number) as number })
    expect(await rows(`select 1 from events where pruned_by is null and topic like 'approvals.%'`)).toEqual([])
    expect(await rows('select 1 from observations')).toEqual([])
    expect(before).toEqual([])
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('a prompt that is kept no longer is said to be pruned, with its hash and size, and is no empty prompt anywhere', async () => {
    await aPast()
    await keep({ prompts_days: 30 })
    await prune()
    const [attempt] = (await t.database.pool.query<{ id: AttemptId; job_id: JobId; prompt_hash: string }>('select id, job_id, prompt_hash from job_attempts')).rows
    if (attempt === undefined) throw new Error('no attempt')

    const asked = await t.ledger.getPrompt(attempt.id).catch((error: unknown) => error)
    const story = await t.ledger.trace(TraceQuery.parse({ job_id: attempt.job_id, prompts: 'true' }))

    expect(asked).toMatchObject({ code: 'AGENTBUS_PRUNED', status: 410, fields: { hash: attempt.prompt_hash, bytes: expect.any(Number) as number } })
    expect(JSON.stringify(story)).toContain('"prompt":null')
    expect(JSON.stringify(story)).not.toContain('"prompt":""')
  })

  test('leaves a row for each batch: what, how many, by which rule, and who', async () => {
    await aPast()
    await keep({ prompts_days: 30 })

    await prune({ batch: 1 })

    expect(await rows('select seq, kind, rows, policy_version, actor_kind, actor, first_key = last_key as one from prunes order by seq')).toEqual(
      [1, 2].map((seq) => ({ seq, kind: 'prompts', rows: 1, policy_version: 1, actor_kind: 'operator', actor: 'test', one: true })),
    )
  })

  test('takes nothing without a rule, nothing that is young enough, and nothing in a dry run', async () => {
    await aPast()
    const without = await prune()
    await keep(ALL)
    const young = await prune({ afterMs: 29 * 86_400_000 })
    const dry = await prune({ dryRun: true })

    expect(without).toEqual([])
    expect(Object.values(counts(young))).toEqual([0, 0, 0, 0, 0, 0])
    expect(counts(dry)).toEqual({ prompts: 2, jobs: 2, attempts: 2, events: 2, accesses: 1, observations: 1 })
    expect(await rows('select 1 from prunes')).toEqual([])
    expect(await rows(`select distinct payload ->> 'secret' as secret from jobs order by 1`)).toEqual([{ secret: 'one' }, { secret: 'two' }])
  })

  test('leaves open work, dead letters that nobody buried, and results that a job after it will read', async () => {
    for (const status of ['queued', 'running', 'blocked', 'failed'] as const) await aJob(t.ledger, status, { payload: { keep: true } })
    const first = await aJob(t.ledger, 'running', { payload: { keep: true } })
    const second = await aJob(t.ledger, 'running', { payload: { keep: true } })
    await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'after', depends_on: [first.id, second.id] }))
    await t.ledger.jobs.complete(first.as, first.id, { result: { keep: true }, findings: [], events: [], follow_ups: [] })
    await keep(ALL)

    const pruned = await prune()

    expect(counts(pruned)).toMatchObject({ jobs: 0, prompts: 3 })
    expect(await rows(`select count(*)::int as n from jobs where payload ? 'keep'`)).toEqual([{ n: 6 }])
  })

  test('a second run finds nothing, and one that was stopped between batches is gone on with', async () => {
    await aPast()
    await keep({ jobs_days: 30, accesses_days: 30 })
    let batches = 0
    const stopped = pruneLedger(t.database.db, {
      nowMs: Date.now() + LATER_MS,
      actor: { kind: 'operator', id: 'test' },
      dryRun: false,
      batch: 1,
      onBatch: () => {
        batches += 1
        if (batches === 1) throw new Error('stopped')
      },
    })

    await expect(stopped).rejects.toThrow('stopped')
    const verdict = kindsOf(await verifyNow(t.url))
    const [rest, nothing] = [await prune({ batch: 1 }), await prune()]

    expect(verdict).toEqual([])
    expect(counts(rest)).toEqual({ jobs: 1, accesses: 1 })
    expect(counts(nothing)).toEqual({ jobs: 0, accesses: 0 })
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('two runs at once prune each row once', async () => {
    for (let count = 0; count < 12; count += 1) await aJob(t.ledger, 'succeeded', { payload: { count } })
    await keep({ jobs_days: 30, prompts_days: 30 })

    const runs = await Promise.all(Array.from({ length: 4 }, () => prune({ batch: 2 })))

    expect(runs.map(counts).reduce((sum, one) => sum + (one['jobs'] ?? 0), 0)).toBe(12)
    expect(await rows(`select kind, sum(rows)::int as n from prunes group by 1 order by 1`)).toEqual([
      { kind: 'jobs', n: 12 },
      { kind: 'prompts', n: 12 },
    ])
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('a pruned job is not run again', async () => {
    const { id } = await aJob(t.ledger, 'cancelled', { payload: { gone: true } })
    await keep(ALL)
    await prune()

    await expect(t.ledger.jobs.retry(OPERATOR, id, { reason: 'again', extra_attempts: 1 })).rejects.toMatchObject({
      code: 'AGENTBUS_ILLEGAL_TRANSITION',
      message: expect.stringContaining('pruned'),
    })
  })
})

describe('the database lets nothing else go', () => {
  const refused = (text: string): Promise<unknown> => expect(t.database.pool.query(text), text).rejects.toThrow(/append-only|stays so|names .* rows|does not follow/)
  const PRUNE = (kind: string, n = 1): string =>
    `insert into prunes (seq, kind, before, rows, first_key, last_key, root, policy_version, actor_kind, actor)
     values ((select coalesce(max(seq), 0) + 1 from prunes), '${kind}', now() - interval '1 day', ${n}, '0', '999999', sha256(''), 1, 'operator', 'x')`

  test('without a prune, by one of another transaction, of another kind, or for a row that is too young', async () => {
    await aPast()
    await keep(ALL)
    await prune({ batch: 1 })
    await aPast()

    for (const statement of [
      `update prompts set body = '' where pruned_by is null`,
      `update prompts set body = '', pruned_by = 1 where pruned_by is null`,
      `update jobs set payload = '{}', pruned_by = 3, pruned_hash = sha256('') where pruned_by is null`,
      `update job_attempts set hook_response = null, pruned_by = 5, pruned_hash = sha256('') where pruned_by is null`,
      `update events set payload = '{}', pruned_by = 7, pruned_hash = sha256('') where pruned_by is null`,
      'delete from accesses',
      'delete from observations',
      'delete from prompts where false or true',
      'delete from events',
      'truncate prunes',
      'update prunes set rows = 2',
      'delete from prunes',
      `begin; ${PRUNE('accesses')}; delete from accesses; commit`,
      `begin; ${PRUNE('accesses')}; delete from observations; commit`,
      `begin; ${PRUNE('prompts')}; update prompts set body = '', pruned_by = (select max(seq) from prunes) where pruned_by is null; commit`,
      `begin; ${PRUNE('prompts', 3)}; commit`,
      `insert into prunes (seq, kind, before, rows, first_key, last_key, root, policy_version, actor_kind, actor) values (99, 'jobs', now(), 1, '', '', sha256(''), 1, 'operator', 'x')`,
    ]) {
      const client = new pg.Client({ connectionString: t.url })
      await client.connect()
      await expect(client.query(statement), statement).rejects.toThrow(/append-only|names \d+ rows|does not follow/)
      await client.end()
    }
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('nor another change on the way, and what was pruned stays empty', async () => {
    await aPast()
    await keep({ jobs_days: 30, events_days: 30 })
    await prune()

    await refused(`update events set topic = 'other' where pruned_by is not null`)
    await refused(`update events set payload = '{"a": 1}'`)
    await refused(`update jobs set result = '{"forged": true}'`)
    await refused('update jobs set pruned_by = null')
  })
})

describe('after pruning, verify finds', () => {
  beforeEach(async () => {
    await aPast()
    await keep(ALL)
    await prune()
    await aPast()
  })

  const CASES: readonly (readonly [what: string, kind: string, statement: string])[] = [
    [
      'a history row that was changed',
      'chains/row_changed',
      `update job_transitions set note = 'forged' where seq = 2 and job_id = (select min(job_id::text)::uuid from job_transitions)`,
    ],
    ['a text that was emptied without a prune', 'prompts/prompt_changed', `update prompts set body = '' where pruned_by is null`],
    ['a text that was emptied in the name of a prune', 'prunes/pruned_rows_differ', `update prompts set body = '', pruned_by = 1 where pruned_by is null`],
    [
      'a payload that was emptied in the name of a prune',
      'prunes/pruned_rows_differ',
      `update jobs set payload = '{}', pruned_by = 2, pruned_hash = sha256('x') where pruned_by is null`,
    ],
    ['a prune that never was', 'prunes/pruned_without_prune', `update jobs set payload = '{}', pruned_by = 99, pruned_hash = sha256('x') where pruned_by is null`],
    ['the hash of a payload that is gone, changed', 'payloads/payload_hash_changed', `update jobs set payload_hash = repeat('0', 64) where pruned_by is not null`],
    ['the hash of what was pruned, changed', 'prunes/pruned_rows_differ', `update jobs set pruned_hash = sha256('forged') where pruned_by is not null`],
    ['a result put into a pruned job', 'prunes/pruned_row_filled', `update jobs set result = '{"forged": true}' where pruned_by is not null`],
    ['a pruned row taken off its prune', 'prunes/pruned_rows_differ', `update events set pruned_by = null where pruned_by is not null`],
    ['a prune that was changed', 'prunes/prune_changed', `update prunes set rows = rows + 1 where seq = 3`],
    ['a prune that was removed', 'prunes/prune_missing', 'delete from prunes where seq = 2'],
    ['a read put into the past', 'prunes/row_in_pruned_range', `insert into accesses overriding system value select 1, now(), 'operator', 'x', null, null, null, 'x', '{}', 200`],
    ['a guard that is switched off', 'guards/guard_disabled', 'alter table prunes disable trigger prunes_append_only'],
  ]
  test.each(CASES)('%s', async (_what, kind, statement) => {
    await tamper(t.url, statement)

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toContain(kind)
    expect(found(results, kind.split('/')[1] ?? '').what).not.toBe('')
  })
})

test('the text that verification hashes is the one that the database hashes', async () => {
  await aPast()
  await keep(ALL)
  await prune()

  const own = await t.database.db.execute<{ same: boolean }>(sql`select bool_and(hash = sha256(prev_hash || convert_to(prune_canonical(p), 'UTF8'))) as same from prunes p`)

  expect(own.rows).toEqual([{ same: true }])
  expect((await verifyNow(t.url)).find(({ check }) => check === 'prunes')).toMatchObject({ verdict: 'ok', examined: 6 + 8 })
})

test('agentbus prune says what it did, and what it would do', async () => {
  await aPast()
  const env = { DATABASE_URL: t.url, AGENTBUS_DATA_DIR: '/tmp/agentbus-none' }

  const none = await runServerCli(['prune'], env)
  await keep({ prompts_days: 1 })
  const dry = await runServerCli(['prune', '--dry-run', '--json'], env)
  await tamper(t.url, `update job_attempts set finished_at = now() - interval '2 days'`, `update prompts set created_at = now() - interval '2 days'`)
  const pruned = await runServerCli(['prune'], env)

  expect(none).toMatchObject({ code: 0, stdout: expect.stringContaining('everything is kept') })
  expect(JSON.parse(dry.stdout)).toMatchObject({ dry_run: true, pruned: [{ kind: 'prompts', days: 1, rows: 0 }] })
  expect(pruned).toMatchObject({ code: 0, stdout: expect.stringMatching(/^prompts +2 pruned: older than 1 days/) })
})
