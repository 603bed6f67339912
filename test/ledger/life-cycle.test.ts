import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JOB_STATUSES, LEGAL_MOVES } from '../../contracts/job-states.js'
import type { AttemptId, JobId } from '../../contracts/ids.js'
import { CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { constraintOf, sqlStateOf } from '../../ledger/database.js'
import { aJob, attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'
import { kindsOf, verifyNow } from '../support/verify.js'

const HISTORY = 'insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor)'

/** A statement that adds a row to the history of the job `$1`. */
const history = ({ kind, from, to, reason }: Record<'kind' | 'from' | 'to' | 'reason', string>): string =>
  `${HISTORY} select id, last_seq + 1, '${kind}', '${from}', '${to}', '${reason}', 'system', 'x' from jobs where id = $1`

let t: TestLedger
beforeAll(async () => {
  t = await freshLedger()
})
afterAll(() => t.close())

describe('a job', () => {
  test.each(['waiting', 'queued', 'leased', 'running', 'blocked', 'succeeded', 'failed', 'cancelled'] as const)('reaches %s with a gapless, chained history', async (status) => {
    const { id } = await aJob(t.ledger, status)

    const { job, transitions } = await t.ledger.jobHistory(id)

    expect(job.status).toBe(status)
    expect(transitions.map((row) => row.seq)).toEqual(transitions.map((_row, at) => at + 1))
    expect(transitions.at(-1)?.to_status).toBe(status)
    for (const [at, row] of transitions.slice(1).entries()) expect(row.prev_hash).toBe(transitions[at]?.hash)
  })

  test('is dead when its attempts are used up', async () => {
    const { id } = await aJob(t.ledger, 'dead', { max_attempts: 1 })

    const { job, attempts } = await t.ledger.jobHistory(id)

    expect(job.status).toBe('dead')
    expect(job.last_error_code).toBe('ended_without_terminal_write')
    expect(attempts.map((attempt) => [attempt.status, attempt.burned])).toEqual([['failed', true]])
  })

  test('is created once for one dedupe key while it is open, and again after it ended', async () => {
    const body = CreateJobBody.parse({ target_agent: 'devops', subject: 'dedupe', dedupe_key: 'k1' })
    const first = await t.ledger.jobs.create(OPERATOR, body)

    const second = await t.ledger.jobs.create(OPERATOR, body)
    await t.ledger.jobs.cancel(OPERATOR, first.job.id, 'test')
    const third = await t.ledger.jobs.create(OPERATOR, body)

    expect(second).toMatchObject({ created: false, job: { id: first.job.id } })
    expect(third.created).toBe(true)
  })

  test('waits for its dependencies and is queued when the last one succeeded', async () => {
    const a = await aJob(t.ledger, 'running')
    const b = await aJob(t.ledger, 'running')
    const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'after both', depends_on: [a.id, b.id] }))
    await t.ledger.jobs.complete(a.as, a.id, { result: {}, findings: [], events: [], follow_ups: [] })
    const between = await t.ledger.getJob(job.id)

    await t.ledger.jobs.complete(b.as, b.id, { result: {}, findings: [], events: [], follow_ups: [] })

    expect(between.status).toBe('waiting')
    expect((await t.ledger.getJob(job.id)).status).toBe('queued')
  })

  test('is blocked by the death of a dependency and resumes when that one is retried and succeeds', async () => {
    const parent = await aJob(t.ledger, 'running')
    const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'child', depends_on: [parent.id] }))
    await t.ledger.jobs.fail(parent.as, parent.id, { last_error: 'no', result: {}, findings: [], events: [], follow_ups: [] })
    const blocked = await t.ledger.getJob(job.id)
    const retried = await t.ledger.jobs.retry(OPERATOR, parent.id, { reason: 'again', extra_attempts: 1 })
    const lease = await leaseAs(t.ledger, parent.id, retried.generation)
    if (lease.kind !== 'start') throw new Error(lease.kind)
    const as = { caller: { role: 'attempt' as const, attemptId: lease.attempt.id as never, jobId: parent.id, agentId: 'devops' as never, open: true } }

    await t.ledger.jobs.complete(as, parent.id, { result: {}, findings: [], events: [], follow_ups: [] })

    expect(blocked.status).toBe('blocked')
    expect(blocked.blocked_reason).toContain(parent.id)
    expect((await t.ledger.getJob(job.id)).status).toBe('queued')
  })

  test.each(['the first to die', 'the second to die'] as const)(
    'is blocked by the death of two and resumes when both have succeeded after all, %s being the first',
    async (order) => {
      const parents = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running')]
      const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'child', depends_on: parents.map(({ id }) => id) }))
      for (const { as, id } of parents) await t.ledger.jobs.fail(as, id, FailJobBody.parse({ last_error: 'no' }))
      const states: string[] = []
      for (const { id } of order === 'the first to die' ? parents : parents.toReversed()) {
        const { generation } = await t.ledger.jobs.retry(OPERATOR, id, { reason: 'again', extra_attempts: 1 })
        const lease = await leaseAs(t.ledger, id, generation)
        if (lease.kind !== 'start') throw new Error(lease.kind)
        await t.ledger.jobs.complete({ caller: attemptCaller(lease.attempt.id as AttemptId, id, 'devops') }, id, CompleteJobBody.parse({}))
        states.push((await t.ledger.getJob(job.id)).status)
        expect(kindsOf(await verifyNow(t.url))).toEqual([])
      }

      expect(states).toEqual(['blocked', 'queued'])
    },
  )

  test('that waits for the second of two dead ones says how that one stands, also when it dies anew', async () => {
    const parents = [await aJob(t.ledger, 'running'), await aJob(t.ledger, 'running')]
    const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'child', depends_on: parents.map(({ id }) => id) }))
    for (const { as, id } of parents) await t.ledger.jobs.fail(as, id, FailJobBody.parse({ last_error: 'no' }))
    const again = async (id: JobId) => {
      const { generation } = await t.ledger.jobs.retry(OPERATOR, id, { reason: 'again', extra_attempts: 1 })
      const lease = await leaseAs(t.ledger, id, generation)
      if (lease.kind !== 'start') throw new Error(lease.kind)
      return { caller: attemptCaller(lease.attempt.id as AttemptId, id, 'devops') }
    }
    const [first, second] = parents.map(({ id }) => id)
    if (first === undefined || second === undefined) throw new Error('there are two')
    const [one, other] = [await again(first), await again(second)]

    await t.ledger.jobs.complete(one, first, CompleteJobBody.parse({}))
    const waiting = await t.ledger.getJob(job.id)
    await t.ledger.jobs.fail(other, second, FailJobBody.parse({ last_error: 'no' }))

    expect(waiting).toMatchObject({ status: 'blocked', blocked_reason: `It depends on job ${second}, which is not done yet.` })
    expect(await t.ledger.getJob(job.id)).toMatchObject({ status: 'blocked', blocked_reason: `It depends on job ${second}, which ended as failed.` })
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('that is blocked on an event is queued in the transaction of that event', async () => {
    const waiting = await aJob(t.ledger, 'running')
    await t.ledger.jobs.block(waiting.as, waiting.id, {
      blocked_reason: 'waits for a review',
      blocked_owner: 'security',
      waits_for: { kind: 'event', filter: {}, topic: 'security.review.completed' },
      result: {},
      findings: [],
      events: [],
      follow_ups: [],
    })

    await t.ledger.jobs.emit(OPERATOR, { namespace: 'default', topic: 'security.review.completed', payload: {} })

    const { job, transitions } = await t.ledger.jobHistory(waiting.id)
    expect(job).toMatchObject({ status: 'queued', generation: 2 })
    expect(transitions.at(-1)).toMatchObject({ reason: 'condition_met', details: { topic: 'security.review.completed' } })
  })

  test('hands over follow-ups and events in the same transaction as its close, or not at all', async () => {
    const running = await aJob(t.ledger, 'running', { correlation_key: 'corr-1' })
    const followUp = CreateJobBody.parse({ target_agent: 'devops', subject: 'next' })
    const bad = { ...followUp, target_agent: 'nobody' as never }

    await expect(t.ledger.jobs.complete(running.as, running.id, { result: {}, findings: [], events: [], follow_ups: [followUp, bad] })).rejects.toMatchObject({
      code: 'AGENTBUS_UNKNOWN_AGENT',
    })
    const untouched = await t.ledger.getJob(running.id)
    await t.ledger.jobs.complete(running.as, running.id, { result: {}, findings: [], events: [{ namespace: 'default', topic: 'a.done', payload: {} }], follow_ups: [followUp] })

    expect(untouched.status).toBe('running')
    const children = await t.ledger.listJobs({ parent_job_id: running.id, limit: 10 })
    expect(children.items).toMatchObject([{ subject: 'next', source_agent: 'devops', correlation_key: 'corr-1' }])
    expect((await t.ledger.listEvents({ source_job_id: running.id, order: 'asc', limit: 10 })).items).toMatchObject([{ topic: 'a.done', correlation_key: 'corr-1' }])
  })
})

describe('the database itself', () => {
  test('allows exactly the legal moves of the table in contracts', async () => {
    const { rows } = await t.ledger.db.execute(sql`
      select f.status as before, t.status as after, job_move_is_legal(f.status, t.status) as allowed
      from unnest(enum_range(null::job_status)) as f (status), unnest(enum_range(null::job_status)) as t (status)`)

    const wanted = JOB_STATUSES.flatMap((before) => JOB_STATUSES.map((after) => ({ before, after, allowed: LEGAL_MOVES[before].includes(after) })))
    expect(rows).toHaveLength(wanted.length)
    expect(rows).toEqual(expect.arrayContaining(wanted))
  })

  const ROWS: readonly (readonly [constraint: string, statement: string])[] = [
    ['job_transitions_legal_move', history({ kind: 'move', from: 'queued', to: 'running', reason: 'admitted' })],
    ['job_transitions_legal_move', history({ kind: 'note', from: 'queued', to: 'leased', reason: 'held' })],
    ['job_transitions_legal_move', `${HISTORY} select gen_random_uuid(), 1, 'move', null, 'running', 'created', 'system', 'x'`],
    ['job_transitions_legal_move', `${HISTORY} select gen_random_uuid(), 1, 'note', null, 'queued', 'created', 'system', 'x'`],
    ['job_transitions_first_is_created', history({ kind: 'move', from: 'queued', to: 'leased', reason: 'created' })],
    ['job_transitions_first_is_created', `${HISTORY} select gen_random_uuid(), 1, 'move', null, 'queued', 'leased', 'system', 'x'`],
    ['job_transitions_first_is_created', `${HISTORY} select gen_random_uuid(), 2, 'move', null, 'queued', 'admitted', 'system', 'x'`],
    ['jobs_priority_check', 'priority = 0'],
    ['jobs_priority_check', 'priority = 1001'],
    ['jobs_attempts_check', 'attempt_count = max_attempts + 1'],
    ['jobs_attempts_check', 'max_attempts = 10001'],
    ['jobs_generation_check', 'generation = 0'],
    ['jobs_generation_check', 'last_seq = 0'],
    ['jobs_terminal_iff_finished', 'finished_at = now()'],
    ['jobs_terminal_iff_finished', `status = 'cancelled'`],
    ['jobs_leased_iff_attempt', 'current_attempt_id = gen_random_uuid()'],
    ['jobs_leased_iff_attempt', `status = 'leased'`],
    ['jobs_blocked_iff_reason', `blocked_reason = 'x'`],
    ['jobs_blocked_iff_reason', `status = 'blocked', blocked_reason = 'x'`],
    ['jobs_blocked_waits', 'look_again_at = now()'],
    ['jobs_blocked_waits', `waits_for = '{}'`],
    ['jobs_blocked_waits', 'escalate_at = now()'],
    ['jobs_agent_or_capabilities', 'target_agent = null'],
    ['jobs_hops_check', 'hops = -1'],
    ['jobs_hops_check', 'lineage = array[gen_random_uuid()]'],
    ['jobs_buried_when_over', 'buried_at = now()'],
    ['jobs_not_own_parent', 'parent_job_id = id'],
  ]
  test.each(ROWS)('refuses a row against %s: %s', async (constraint, statement) => {
    const { id } = await aJob(t.ledger, 'queued')
    const whole = statement.startsWith('insert') ? statement : `update jobs set ${statement} where id = $1`

    const refused = await t.database.pool.query(whole, whole.includes('$1') ? [id] : []).catch((error: unknown) => [sqlStateOf(error), constraintOf(error)])

    expect(refused).toEqual(['23514', constraint])
  })

  test('has one set of rules for its trigger and for whoever verifies', async () => {
    const rulesOf = async (name: string): Promise<string[]> => {
      const { rows } = await t.database.pool.query<{ text: string }>('select prosrc as text from pg_proc where proname = $1', [name])
      return [...(rows[0]?.text ?? '').replaceAll('new.', 'j.').matchAll(/when .* then '\w+'/g)].map(([rule]) => rule)
    }

    expect(await rulesOf('jobs_are_consistent')).toEqual(await rulesOf('job_rule_broken'))
    expect(await rulesOf('job_rule_broken')).toHaveLength(12)
  })

  test('takes every change of a job that breaks none of that', async () => {
    const { id } = await aJob(t.ledger, 'queued')

    const { rowCount } = await t.database.pool.query(
      `update jobs set priority = 1000, max_attempts = 10000, attempt_count = 10000, hops = 1, lineage = array[gen_random_uuid()], held_reason = 'x' where id = $1`,
      [id],
    )

    expect(rowCount).toBe(1)
  })

  test.each([
    ['a bare change of state', `update jobs set status = 'cancelled', finished_at = now()`],
    ['a changed history row', `update job_transitions set note = 'x'`],
    ['a deleted history row', `delete from job_transitions`],
    ['a truncated history', `truncate job_transitions cascade`],
    ['a deleted job', `delete from jobs`],
    ['a changed event', `update events set topic = 'x'`],
    ['a changed prompt', `update prompts set body = 'x'`],
    ['a changed closed attempt', `update job_attempts set error = 'x' where finished_at is not null`],
    ['a terminal job without an end', `update jobs set finished_at = null where status = 'succeeded'`],
    [
      'a second open attempt',
      `insert into job_attempts select gen_random_uuid(), job_id, attempt_no + 100, agent_id, gateway_id, 'leased', 999, false, 'x', now(), now(), null, now(), null, null, null, null, null, prompt_hash, '1', 'h' from job_attempts limit 1`,
    ],
  ])('refuses %s', async (_what, statement) => {
    await aJob(t.ledger, 'succeeded')
    await aJob(t.ledger, 'queued')
    await t.ledger.jobs.emit(OPERATOR, { namespace: 'default', topic: 'some.fact', payload: {} })

    await expect(t.database.pool.query(statement)).rejects.toThrow()
  })
})

test('a command that the ledger refuses an operator leaves a row', async () => {
  const over = await aJob(t.ledger, 'succeeded')
  const open = await aJob(t.ledger, 'queued')

  await expect(t.ledger.jobs.cancel(OPERATOR, over.id, 'too late')).rejects.toMatchObject({ code: 'AGENTBUS_ILLEGAL_TRANSITION' })
  await expect(t.ledger.jobs.cancel({ ...OPERATOR, ifVersion: 7 }, open.id, 'old')).rejects.toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH' })

  expect((await t.ledger.jobHistory(over.id)).observations).toMatchObject([{ kind: 'refusal', code: 'AGENTBUS_ILLEGAL_TRANSITION', actor: 'test-operator' }])
  expect((await t.ledger.jobHistory(open.id)).observations).toMatchObject([{ kind: 'refusal', code: 'AGENTBUS_VERSION_MISMATCH' }])
})
