import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CANONICAL } from '../../ledger/verify/chains.js'
import { GUARDS } from '../../ledger/verify/guards.js'
import { REFERENCES } from '../../ledger/verify/reference-check.js'
import type { VerifyState } from '../../ledger/verify/verify-state.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { FileFindingBody } from '../../contracts/findings.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { aMemory, anIdea, anOpportunity } from '../support/thoughts.js'
import { found, kindsOf, REHASH, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

test('a ledger that has seen every state holds', async () => {
  for (const status of ['waiting', 'queued', 'leased', 'running', 'blocked', 'succeeded', 'failed', 'cancelled'] as const) await aJob(t.ledger, status)
  await aJob(t.ledger, 'dead', { max_attempts: 1 })
  await aSlot(t.ledger)
  await t.ledger.inbox.file(OPERATOR, FileFindingBody.parse({ topic: 'disk.full', subject_key: 'h1', body: 'full', to: 'devops' }))
  await anIdea(t.ledger, 'promoted_to_opportunity')
  await anOpportunity(t.ledger, 'converted_to_job')
  await aMemory(t.ledger, 'superseded')

  const results = await verifyNow(t.url)

  expect(kindsOf(results)).toEqual([])
  expect(results.map(({ verdict }) => verdict)).toEqual(results.map(() => 'ok'))
  expect(results.find(({ check }) => check === 'chains')?.examined).toBeGreaterThan(20)
  expect(results.find(({ check }) => check === 'prompts')?.examined).toBeGreaterThan(5)
})

test('the text that is hashed is the text that the ledger hashes', async () => {
  await aJob(t.ledger, 'blocked', { subject: 'Grüße' })

  const { rows } = await t.database.pool.query(`select 1 from job_transitions t where job_transition_canonical(t) is distinct from ${CANONICAL}`)

  expect(rows).toEqual([])
})

test('the guards that are asked for are the triggers of the schema, all of them, each on its table', async () => {
  const { rows } = await t.database.pool.query<{ guard: string }>(`
    select c.relname || '.' || g.tgname as guard from pg_trigger g join pg_class c on c.oid = g.tgrelid where not g.tgisinternal and c.relnamespace = 'public'::regnamespace`)

  expect(GUARDS.map(({ table, trigger }) => `${table}.${trigger}`).toSorted()).toEqual(rows.map(({ guard }) => guard).toSorted())
  expect(rows.length).toBeGreaterThan(100)
})

test('every pointer that a foreign key guards is followed', async () => {
  const keys = await t.database.pool.query<{ name: string }>(`
    select c.conrelid::regclass || '.' || a.attname as name from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
    where c.contype = 'f' and c.confrelid in ('jobs'::regclass, 'job_attempts'::regclass, 'events'::regclass, 'findings'::regclass, 'approvals'::regclass, 'workflow_runs'::regclass)
      and not (c.conrelid = 'job_transitions'::regclass and c.confrelid = 'jobs'::regclass)`)

  const followed = REFERENCES.map(([table, , column]) => `${table}.${column}`)
  expect(keys.rows.length).toBeGreaterThan(10)
  for (const { name } of keys.rows) expect(followed).toContain(name)
})

describe('in the history of a job', () => {
  for (const [column, value] of [
    ['details', `'{"attempt_no": 2}'`],
    ['note', `'another note'`],
    ['actor', `'somebody else'`],
    ['at', `at + interval '1 microsecond'`],
    ['reason', `'released'`],
  ] as const) {
    test(`a changed ${column} is found`, async () => {
      const { id } = await aJob(t.ledger, 'succeeded')
      await tamper(t.url, [`update job_transitions set ${column} = ${value} where job_id = $1 and seq = 2`, [id]])

      const results = await verifyNow(t.url)

      expect(found(results, 'row_changed')).toMatchObject({ row: { job_id: id, seq: 2 }, count: 1 })
    })
  }

  test('a changed row with hashes that fit breaks the link of the row after it', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(
      t.url,
      [`update job_transitions set actor = 'somebody else' where job_id = $1 and seq = 2`, [id]],
      [`update job_transitions t set hash = sha256(prev_hash || convert_to(job_transition_canonical(t), 'UTF8')) where job_id = $1 and seq = 2`, [id]],
    )

    expect(found(await verifyNow(t.url), 'chain_broken')).toMatchObject({ row: { job_id: id, seq: 3 } })
  })

  test('a deleted row in the middle is found', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [`delete from job_transitions where job_id = $1 and seq = 2`, [id]])

    expect(found(await verifyNow(t.url), 'rows_missing')).toMatchObject({ row: { job_id: id, first_missing: 2, last_missing: 2 } })
  })

  test('a truncated tail is found, by the row of the job', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [`delete from job_transitions where job_id = $1 and seq > 2`, [id]])

    const results = await verifyNow(t.url)

    expect(found(results, 'history_cut_off')).toMatchObject({ row: { job_id: id, last_seq: 4, history_ends_at: 2 } })
    expect(kindsOf(results)).not.toContain('chains/rows_missing')
  })

  test('an inserted row in the middle is found', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(
      t.url,
      [`update job_transitions set seq = seq + 100 where job_id = $1 and seq > 2`, [id]],
      [
        `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, prev_hash, hash)
         select job_id, 3, 'note', to_status, to_status, 'progress', 'worker', 'nobody', '\\x00', '\\x00' from job_transitions where job_id = $1 and seq = 2`,
        [id],
      ],
      [`update job_transitions set seq = seq - 99 where job_id = $1 and seq > 100`, [id]],
    )

    expect(found(await verifyNow(t.url), 'row_inserted')).toMatchObject({ row: { job_id: id, seq: 3 } })
  })

  test('an inserted row at the end is found, whether or not its hash fits', async () => {
    const insert = `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, prev_hash)
      select job_id, seq + 1, 'note', to_status, to_status, 'progress', 'worker', 'nobody', hash from job_transitions where job_id = $1 order by seq desc limit 1`
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [insert, [id]])

    expect(found(await verifyNow(t.url), 'row_changed')).toMatchObject({ row: { job_id: id, seq: 5 } })
    await tamper(t.url, REHASH)
    const fitting = await verifyNow(t.url)

    expect(kindsOf(fitting)).toEqual(['state/history_runs_ahead'])
    expect(found(fitting, 'history_runs_ahead')).toMatchObject({ row: { job_id: id, last_seq: 4, history_ends_at: 5 } })
  })

  test('two rows that have changed places are found', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(
      t.url,
      [`update job_transitions set seq = 99 where job_id = $1 and seq = 2`, [id]],
      [`update job_transitions set seq = 2 where job_id = $1 and seq = 3`, [id]],
      [`update job_transitions set seq = 3 where job_id = $1 and seq = 99`, [id]],
    )

    expect(found(await verifyNow(t.url), 'rows_reordered')).toMatchObject({ row: { job_id: id, seq: 2 } })
  })

  test('an illegal move is found, even when all hashes fit', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [`update job_transitions set to_status = 'waiting' where job_id = $1 and seq = 2`, [id]], REHASH)

    const results = await verifyNow(t.url)

    expect(found(results, 'illegal_move')).toMatchObject({ row: { job_id: id, seq: 2, from: 'queued', to: 'waiting' } })
    expect(kindsOf(results)).toEqual(['chains/illegal_move'])
  })

  test('a job that was deleted alone leaves its history behind; its history alone, the job', async () => {
    const [gone, bare] = [await aJob(t.ledger, 'cancelled'), await aJob(t.ledger, 'cancelled')]
    await tamper(t.url, [`delete from jobs where id = $1`, [gone.id]], [`delete from job_transitions where job_id = $1`, [bare.id]])

    const results = await verifyNow(t.url)

    expect(found(results, 'history_without_job').row).toMatchObject({ job_id: gone.id })
    expect(found(results, 'job_without_history').row).toMatchObject({ job_id: bare.id })
  })
})

describe('in the state of the ledger', () => {
  test('a changed status of a job is found', async () => {
    const { id } = await aJob(t.ledger, 'queued')
    await tamper(t.url, [`update jobs set status = 'cancelled', finished_at = now() where id = $1`, [id]])

    expect(found(await verifyNow(t.url), 'state_differs')).toMatchObject({ row: { job_id: id, status: 'cancelled', history_says: 'queued' } })
  })

  test('two open attempts of a job are found', async () => {
    const { id } = await aJob(t.ledger, 'running')
    await t.database.pool.query('drop index job_attempts_one_open_idx')
    await tamper(t.url, [
      `insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, lease_owner, leased_until, deadline_at, prompt_hash, contract_version, payload_hash)
       select gen_random_uuid(), job_id, 2, agent_id, gateway_id, slot + 1, 'w2', leased_until, deadline_at, prompt_hash, contract_version, payload_hash from job_attempts where job_id = $1`,
      [id],
    ])

    const results = await verifyNow(t.url)

    expect(found(results, 'two_open_attempts').row).toMatchObject({ job_id: id, open: 2 })
    expect(kindsOf(results)).toContain('attempts/attempt_disagrees')
  })

  test('an attempt without an end past its lease is found, after the grace that the reaper has', async () => {
    const { attemptId } = await aJob(t.ledger, 'running')
    await tamper(t.url, [`update job_attempts set leased_until = now() - interval '100 seconds' where id = $1`, [attemptId]])

    expect(kindsOf(await verifyNow(t.url))).toEqual([])
    expect(found(await verifyNow(t.url, { graceSeconds: 60 }), 'attempt_past_lease').row).toMatchObject({ attempt_id: attemptId })
  })

  test('an outbox row that nobody takes is found', async () => {
    const { id } = await aJob(t.ledger, 'queued')
    await tamper(t.url, `update outbox set created_at = now() - interval '2 hours'`)

    expect(found(await verifyNow(t.url), 'outbox_stuck').row).toMatchObject({ job_id: id, wants: 'publish' })
  })

  test('a job that waits for nothing, and one that is blocked for nothing, are found', async () => {
    const waiting = await aJob(t.ledger, 'waiting')
    const blocked = await aJob(t.ledger, 'blocked')
    await tamper(t.url, [`delete from job_dependencies where job_id = $1`, [waiting.id]], [`update jobs set waits_for = null where id = $1`, [blocked.id]])

    const results = await verifyNow(t.url)

    expect(found(results, 'waiting_for_nothing').row).toMatchObject({ job_id: waiting.id })
    expect(found(results, 'blocked_for_nothing').row).toMatchObject({ job_id: blocked.id })
  })

  test('an attempt, an event and a finding that point nowhere are found', async () => {
    const { id, attemptId } = await aJob(t.ledger, 'succeeded')
    await t.database.pool.query(`insert into events (topic, source_job_id, created_by) values ('t', $1, 'test')`, [id])
    await tamper(t.url, [`delete from jobs where id = $1`, [id]])

    const results = await verifyNow(t.url)

    expect(found(results, 'job_attempts.job_id_points_nowhere').row).toMatchObject({ row: attemptId, points_to: id })
    expect(found(results, 'events.source_job_id_points_nowhere').row).toMatchObject({ points_to: id })
  })

  test('a prompt that is not what was sent is found', async () => {
    const { attemptId } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [`update prompts set body = body || ' and more' where hash = (select prompt_hash from job_attempts where id = $1)`, [attemptId]])

    expect(found(await verifyNow(t.url), 'prompt_changed').row).toMatchObject({ attempt_id: attemptId })
    expect((await verifyNow(t.url, { exactBody: undefined })).find(({ check }) => check === 'prompts')).toMatchObject({ verdict: 'unchecked' })
  })

  test('a guard that is switched off, and one that is gone, are found', async () => {
    await t.database.pool.query('alter table job_transitions disable trigger job_transitions_append_only; drop trigger jobs_no_delete on jobs')

    const results = await verifyNow(t.url)

    expect(found(results, 'guard_disabled').row).toMatchObject({ trigger: 'job_transitions_append_only' })
    expect(found(results, 'guard_missing').row).toMatchObject({ trigger: 'jobs_no_delete' })
  })

  test('a guard that is on another table than its own is found', async () => {
    await t.database.pool.query(`
      drop trigger project_log_append_only on project_log;
      create table decoy (n int);
      create trigger project_log_append_only before update or delete on decoy for each row execute function refuse_change()`)

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['guards/guard_missing'])
    expect(found(results, 'guard_missing')).toMatchObject({
      row: { table: 'project_log', trigger: 'project_log_append_only' },
      what: expect.stringContaining('is missing') as string,
    })
  })

  test('a finding with a history that is cut is found', async () => {
    const filed = await t.ledger.inbox.file(OPERATOR, FileFindingBody.parse({ topic: 'disk.full', subject_key: 'h1', body: 'full', to: 'devops' }))
    await tamper(t.url, [`delete from finding_history where finding_id = $1`, [filed.finding.id]])

    expect(found(await verifyNow(t.url), 'finding_disagrees').row).toMatchObject({ finding_id: filed.finding.id })
  })
})

describe('among the slots', () => {
  test('one that was deleted is counted as missing', async () => {
    const { slotId, order } = await aSlot(t.ledger)
    await tamper(
      t.url,
      [`update standing_order_versions set in_force_from = now() - interval '3 hours' where order_id = (select order_id from standing_order_runs where id = $1)`, [slotId]],
      [`delete from standing_order_runs where order_id = (select order_id from standing_order_runs where id = $1) and id <> $1`, [slotId]],
    )

    expect(found(await verifyNow(t.url), 'slots_unaccounted').row).toMatchObject({ order, unaccounted: 3 })
  })

  test('one that was moved to another time is found there, and does not make up for one that is missing', async () => {
    const { slotId, order } = await aSlot(t.ledger)
    const moved = new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000 - 1_800_000)
    await tamper(
      t.url,
      [`update standing_order_versions set in_force_from = now() - interval '3 hours' where order_id = (select order_id from standing_order_runs where id = $1)`, [slotId]],
      [`update standing_order_runs set slot_at = $2 where id = $1`, [slotId, moved]],
    )

    const results = await verifyNow(t.url)

    expect(found(results, 'slots_unaccounted').row).toMatchObject({ order, unaccounted: 3, expected: 1 })
    expect(found(results, 'slots_uncalled_for').row).toMatchObject({ order, uncalled_for: 1, first: moved.toISOString() })
  })

  test('all are counted since the first definition, week by week, and a run that was stopped goes on with the next week', async () => {
    const { slotId, order } = await aSlot(t.ledger)
    const begun = Date.now() - 20 * 24 * 3_600_000
    await tamper(t.url, [
      `update standing_order_versions set in_force_from = $2::timestamptz where order_id = (select order_id from standing_order_runs where id = $1)`,
      [slotId, new Date(begun).toISOString()],
    ])
    const states: VerifyState[] = []

    const whole = await verifyNow(t.url, { save: async (state) => void states.push(JSON.parse(JSON.stringify(state)) as VerifyState) })

    const stops = states.filter(({ open }) => open?.check === 'slots')
    expect(found(whole, 'slots_unaccounted')).toMatchObject({ count: 3, row: { order, from: new Date(begun).toISOString(), unaccounted: 168 } })
    expect(whole.find(({ check }) => check === 'slots')?.note).toBe(`counted anew from ${new Date(begun).toISOString()}`)
    expect(stops).toHaveLength(3)
    for (const resume of stops) expect(found(await verifyNow(t.url, { resume }), 'slots_unaccounted')).toMatchObject({ count: 3 })
    const since = new Date(Date.now() - 24 * 3_600_000).toISOString()
    expect(found(await verifyNow(t.url, { since }), 'slots_unaccounted')).toMatchObject({ count: 1, row: { from: since } })
  })

  test('one that nobody started or missed, and one that is started without an open job, are found', async () => {
    const [without, forgotten] = [await aSlot(t.ledger), await aSlot(t.ledger)]
    await tamper(
      t.url,
      [`update jobs set standing_order_run_id = null where standing_order_run_id = $1`, [without.slotId]],
      [
        `update standing_order_runs set status = 'expected', started_at = null, trigger = null, slot_at = now() - interval '2 hours',
           grace_until = now() - interval '1 hour', look_at = now() - interval '1 hour' where id = $1`,
        [forgotten.slotId],
      ],
    )

    const results = await verifyNow(t.url)

    expect(found(results, 'slot_without_end').row).toMatchObject({ slot_id: without.slotId })
    expect(found(results, 'slot_forgotten').row).toMatchObject({ slot_id: forgotten.slotId })
  })

  test('one that is not what its history says is found', async () => {
    const { slotId } = await aSlot(t.ledger)
    await tamper(t.url, [`update standing_order_runs set status = 'no_work', finished_at = now() where id = $1`, [slotId]])

    expect(found(await verifyNow(t.url), 'slot_disagrees').row).toMatchObject({ id: slotId, status: 'no_work', history_says: 'started' })
  })
})

describe('a run that was stopped', () => {
  test('goes on from its last page with what it had found, and ends as one that was not', async () => {
    const jobs = await Promise.all(Array.from({ length: 5 }, () => aJob(t.ledger, 'cancelled')))
    const last = jobs
      .map(({ id }) => id)
      .sort()
      .at(-1)
    await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [last]])
    let saved: VerifyState | undefined
    const stopped = verifyNow(t.url, {
      save: async (state) => {
        saved = JSON.parse(JSON.stringify(state)) as VerifyState
        throw new Error('killed')
      },
    })
    await expect(stopped).rejects.toThrow('killed')
    const looked: string[] = []

    const results = await verifyNow(t.url, { resume: saved, onResult: ({ check }) => looked.push(check) })

    expect(saved).toMatchObject({ open: { check: 'chains', position: { job: last, seq: 2 }, examined: 10 } })
    expect(found(results, 'row_changed')).toMatchObject({ row: { job_id: last }, count: 1 })
    expect(results.find(({ check }) => check === 'chains')).toMatchObject({ examined: 10, verdict: 'violated' })
    expect(looked).toEqual((await verifyNow(t.url)).map(({ check }) => check))
  })
})

test('--since looks at histories that were touched since, and at all that is open', async () => {
  const [old, open] = [await aJob(t.ledger, 'cancelled'), await aJob(t.ledger, 'running')]
  await tamper(
    t.url,
    [`update job_transitions set at = at - interval '1 day' where job_id = any ($1)`, [[old.id, open.id]]],
    [`update jobs set updated_at = updated_at - interval '1 day' where id = any ($1)`, [[old.id, open.id]]],
    REHASH,
    [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [old.id]],
    [`update job_attempts set leased_until = now() - interval '1 hour' where id = $1`, [open.attemptId]],
  )
  const fresh = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'fresh' }))
  await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1`, [fresh.job.id]])

  const results = await verifyNow(t.url, { since: new Date(Date.now() - 3_600_000).toISOString() })

  expect(found(results, 'row_changed')).toMatchObject({ row: { job_id: fresh.job.id }, count: 1 })
  expect(kindsOf(results)).toContain('leases/attempt_past_lease')
  expect(found(await verifyNow(t.url), 'row_changed')).toMatchObject({ count: 2 })
})
