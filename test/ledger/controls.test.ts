import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { AuthorityConfig } from '../../contracts/authority.js'
import { SetControlBody } from '../../contracts/controls.js'
import type { AgentId } from '../../contracts/ids.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { frozenBy } from '../../ledger/controls.js'
import { expectedEntries, lostEntries } from '../../ledger/queue-parity.js'
import { openAttempt } from '../../ledger/open-attempts.js'
import type { JobRow } from '../../ledger/rows.js'
import { onCleanup } from '../embedded/processes.js'
import { anIdleWriter } from '../support/idle-writer.js'
import { aJob, freshLedger, leaseAs, leaseIn, leaseUnderLock, ledgerAt, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const set = (body: Record<string, unknown>, context = OPERATOR) => t.ledger.controls.set(context, SetControlBody.parse({ action: 'pause', reason: 'release freeze', ...body }))
const resume = (scope: 'everything' | 'lane' | 'agent' | 'gateway' | 'order' | 'promotions', target?: string) =>
  t.ledger.controls.resume(OPERATOR, { scope, reason: 'go on', ...(target === undefined ? {} : { target }) })
/** The URL of a login that may work with the ledger and, unlike its owner here, is told little of the sessions of others. */
async function anOrdinaryLogin(url: string): Promise<string> {
  const role = `ordinary_${randomBytes(6).toString('hex')}`
  const owner = new pg.Client({ connectionString: url })
  await owner.connect()
  onCleanup(() => owner.end())
  await owner.query(`create role ${role} login password 'x'`)
  onCleanup(() => owner.query(`drop owned by ${role}; drop role ${role}`))
  await owner.query(`grant select, update on all tables in schema public to ${role}`)
  const login = new URL(url)
  login.username = role
  login.password = 'x'
  return login.toString()
}

const changes = async () => (await t.ledger.listControlChanges({ limit: 50 })).items.toReversed().map(({ change, actor, reason }) => ({ change, actor, reason }))
const refusedWith = async (work: Promise<unknown>) =>
  (await work.then(
    () => 'nothing',
    (error: unknown) => (error as { code?: string }).code,
  )) as string

describe('the lease', () => {
  test.each([
    ['everything', undefined],
    ['lane', 'coding'],
    ['agent', 'devops'],
    ['gateway', 'gw'],
  ] as const)('takes nothing under a pause of %s %s, and the job is parked', async (scope, target) => {
    const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })
    await set({ scope, target })

    const decisions = [await leaseAs(t.ledger, id, job.generation), await leaseUnderLock(t.ledger, id, job.generation)]

    expect(decisions.map(({ kind }) => kind)).toEqual(['parked', 'parked'])
    expect((await t.ledger.jobHistory(id)).transitions.filter((row) => row.reason === 'held').map((row) => row.details)).toEqual([{ reason: `${scope}_paused` }])
    expect(await t.ledger.getJob(id)).toMatchObject({ status: 'queued', attempt_count: 0 })
  })

  test('is refused by the statement that opens the attempt, when the pause came after the look', async () => {
    const { id } = await aJob(t.ledger, 'queued', { lane: 'coding' })
    const { rows } = await t.ledger.db.execute(sql`select * from jobs where id = ${id}::uuid`)
    await set({ scope: 'lane', target: 'coding' })

    const opened = await openAttempt(t.ledger.db, rows[0] as JobRow, {
      id: '0192f0c4-1111-7000-8000-00000000000a' as never,
      attemptNo: 1,
      gatewayId: 'gw',
      leaseOwner: 'w1',
      leaseSeconds: 60,
      deadlineSeconds: 60,
      concurrency: 1,
      takenSlots: [],
      prompt: { hash: 'a'.repeat(64), storedBody: 'x', bytes: 1, contractVersion: '1' },
      actor: { kind: 'worker', id: 'w1' },
      details: {},
    })

    expect(opened.kind).toBe('changed')
  })

  test('lets other lanes, agents and gateways pass, and what a freeze is about is not work', async () => {
    await t.addAgent('security')
    await set({ scope: 'lane', target: 'idle' })
    await set({ scope: 'agent', target: 'security' })
    await set({ action: 'freeze', scope: 'promotions' })
    const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })

    expect((await leaseAs(t.ledger, id, job.generation)).kind).toBe('start')
  })

  test('does not re-attach to what no gateway has admitted yet', async () => {
    const { id, job } = await aJob(t.ledger, 'leased')
    await set({ scope: 'everything' })

    expect((await leaseAs(t.ledger, id, job.generation, 'w2')).kind).toBe('not_yet')
    await resume('everything')
    expect((await leaseAs(t.ledger, id, job.generation, 'w2')).kind).toBe('reattach')
  })

  test('is refused to one who pulls', async () => {
    await aJob(t.ledger, 'queued', { lane: 'coding' })
    await set({ scope: 'lane', target: 'coding' })
    const pull = async () => (await t.ledger.claimJobs(OPERATOR, { namespace: 'default', lease_owner: 'x', lease_seconds: 60, limit: 5 })).items.length

    const during = await pull()
    await resume('lane', 'coding')

    expect([during, await pull()]).toEqual([0, 1])
  })
})

describe('what a pause holds', () => {
  test('is out of the queue for the sweep and for a rebuild, and is published under a new generation when the pause is over', async () => {
    const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })
    await set({ scope: 'lane', target: 'coding' })
    await leaseAs(t.ledger, id, job.generation)
    const during = await t.ledger.upkeep.keepControls()
    await t.ledger.db.execute(sql`delete from outbox`)
    const expected = await expectedEntries(t.ledger.db, { agentId: 'devops', after: '00000000-0000-0000-0000-000000000000', limit: 10, quietMs: -1_000 })
    const rebuilt = await lostEntries(t.ledger.db, { after: undefined, limit: 10 })

    await resume('lane', 'coding')
    const after = await t.ledger.upkeep.keepControls()

    expect([during.woken, expected, rebuilt, after.woken]).toEqual([0, [], [], 1])
    const { rows } = await t.ledger.db.execute(sql`select kind, generation from outbox where job_id = ${id}::uuid`)
    expect(rows).toEqual([{ kind: 'publish', generation: job.generation + 1 }])
    expect((await t.ledger.jobHistory(id)).transitions.at(-1)).toMatchObject({ reason: 'pause_ended', to_status: 'queued' })
    expect((await leaseAs(t.ledger, id, job.generation + 1)).kind).toBe('start')
  })

  test('stays held when another pause holds it as well', async () => {
    const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })
    await set({ scope: 'lane', target: 'coding' })
    await set({ scope: 'agent', target: 'devops' })
    await leaseAs(t.ledger, id, job.generation)

    await resume('lane', 'coding')
    const first = await t.ledger.upkeep.keepControls()
    await resume('agent', 'devops')
    const second = await t.ledger.upkeep.keepControls()

    expect([first.woken, second.woken]).toEqual([0, 1])
  })

  test('is found however many there are: 1,200 jobs of a lane in the order of their urgency', async () => {
    await set({ scope: 'lane', target: 'coding' })
    await t.ledger.db.execute(sql`
      with made as (
        insert into jobs (id, target_agent, job_type, subject, lane, priority, payload_hash, status, last_seq, run_after, timeout_seconds, lease_seconds, held_reason, held_by, created_by)
        select gen_random_uuid(), 'devops', 'task', 'x', 'coding', 1 + n % 1000, '', 'queued', 1, now(), 60, 60, 'lane_paused', (select max(id) from controls), 'operator:x'
        from generate_series(1, 1200) n returning id
      ) insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor) select id, 1, 'move', 'queued', 'created', 'operator', 'x' from made`)

    await resume('lane', 'coding')
    const { woken } = await t.ledger.upkeep.keepControls()

    expect(woken).toBe(1_200)
    const { rows } = await t.ledger.db.execute<{ priority: number }>(sql`select j.priority from outbox o join jobs j on j.id = o.job_id order by o.id limit 500`)
    expect(rows.map(({ priority }) => priority)).toEqual(rows.map(({ priority }) => priority).toSorted((a, b) => b - a))
  })
})

describe('a control', () => {
  test('is refused when its end is past, and changes nothing', async () => {
    const past = new Date(Date.now() - 60_000).toISOString()

    expect(await refusedWith(set({ scope: 'lane', target: 'coding', until: past }))).toBe('AGENTBUS_BAD_REQUEST')
    expect(await t.ledger.listControls()).toEqual([])
    expect(SetControlBody.safeParse({ action: 'pause', scope: 'everything', reason: ' \n ' }).success).toBe(false)
  })

  test('says who, when, why and until when, and every change of it is a row', async () => {
    const before = Date.now()
    const { control } = await set({ scope: 'lane', target: 'idle', for_seconds: 1_800 })
    const { control: lifted } = await resume('lane', 'idle')

    expect(control).toMatchObject({ action: 'pause', scope: 'lane', target: 'idle', reason: 'release freeze', by: 'test-operator', by_kind: 'operator', in_force: true })
    expect(Date.parse(control?.until ?? '') - before).toBeGreaterThan(1_799_000)
    expect(lifted).toMatchObject({ in_force: false, lifted_by: 'test-operator', lifted_because: 'resumed', lift_reason: 'go on' })
    expect(await changes()).toEqual([
      { change: 'set', actor: 'test-operator', reason: 'release freeze' },
      { change: 'resumed', actor: 'test-operator', reason: 'go on' },
    ])
    expect(await t.ledger.listControls()).toEqual([])
  })

  test('ends by itself: from its time on it stops nothing, also before anybody has put that down', async () => {
    const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })
    const { control } = await set({ scope: 'lane', target: 'coding', for_seconds: 1 })
    const during = await leaseAs(t.ledger, id, job.generation)
    await expect.poll(() => t.ledger.listControls(), { timeout: 5_000 }).toEqual([])
    const other = await aJob(t.ledger, 'leased', { lane: 'coding' })

    const kept = await t.ledger.upkeep.keepControls()

    expect([during.kind, other.job.status, kept.expired, kept.woken]).toEqual(['parked', 'leased', 1, 1])
    const { rows } = await t.ledger.db.execute(sql`select lifted_at = until_at as at_its_time, lifted_because, lifted_by from controls where id = ${control?.id ?? 0}`)
    expect(rows).toEqual([{ at_its_time: true, lifted_because: 'expired', lifted_by: 'agentbus' }])
  })

  test('is set once: the same again changes nothing, another is refused and stands with replace', async () => {
    const first = await set({ scope: 'agent', target: 'devops' })
    const again = await set({ scope: 'agent', target: 'devops', reason: 'said twice' })

    expect([again.changed, again.created, again.control?.id, again.control?.reason]).toEqual([false, false, first.control?.id, 'release freeze'])
    expect(await refusedWith(set({ action: 'drain', scope: 'agent', target: 'devops' }))).toBe('AGENTBUS_CONTROL_CONFLICT')
    expect(await refusedWith(set({ scope: 'agent', target: 'devops', for_seconds: 60 }))).toBe('AGENTBUS_CONTROL_CONFLICT')

    const replaced = await set({ action: 'drain', scope: 'agent', target: 'devops', replace: true })

    expect(replaced).toMatchObject({ changed: true, created: true, control: { action: 'drain' } })
    expect((await changes()).map(({ change }) => change)).toEqual(['set', 'replaced', 'set'])
    expect((await t.ledger.listControls()).length).toBe(1)
  })

  test('set by 16 callers at once is one row', async () => {
    const answers = await Promise.all(Array.from({ length: 16 }, () => set({ scope: 'everything' })))

    expect(answers.filter(({ changed }) => changed).length).toBe(1)
    expect(new Set(answers.map(({ control }) => control?.id)).size).toBe(1)
  })

  test.each([
    [{ scope: 'agent', target: 'nobody' }, 'AGENTBUS_NOT_FOUND'],
    [{ scope: 'gateway', target: 'nowhere' }, 'AGENTBUS_NOT_FOUND'],
    [{ scope: 'lane', target: 'Coding' }, 'AGENTBUS_NOT_FOUND'],
    [{ scope: 'order', target: 'devops/none' }, 'AGENTBUS_ORDER_NOT_FOUND'],
  ])('of what does not exist is refused: %j', async (body, code) => {
    expect(await refusedWith(set(body))).toBe(code)
    expect(await changes()).toEqual([])
  })

  test('is for operators, and for agents that the fleet file gives the right', async () => {
    const agent = { caller: { role: 'agent' as const, tokenId: 't', name: 'n', agentId: 'devops' as AgentId } }

    expect(await refusedWith(set({ scope: 'everything' }, agent))).toBe('AGENTBUS_FORBIDDEN')
    await t.ledger.applyFleet(
      OPERATOR,
      { version: 1, gateways: [], agents: [], standing_orders: [], authority: AuthorityConfig.parse({ control: ['devops'] }) },
      { dryRun: false, prune: false },
    )
    expect((await set({ scope: 'everything' }, agent)).control).toMatchObject({ by: 'devops', by_kind: 'agent' })
  })

  test.each([
    `update controls set reason = 'another'`,
    `update controls set until_at = now()`,
    `update controls set drained_at = now()`,
    `update controls set lifted_at = now(), lifted_by = 'x', lifted_because = 'resumed'`,
    `delete from controls`,
    `update control_changes set reason = 'x'`,
    `delete from control_changes`,
    `insert into controls (action, scope, target, reason, set_by_kind, set_by, last_seq) values ('pause', 'agent', 'devops', 'x', 'operator', 'x', 1)`,
  ])('cannot be rewritten by hand: %s', async (statement) => {
    await set({ scope: 'lane', target: 'idle' })

    await expect(t.database.pool.query(statement)).rejects.toThrow()
  })

  test('that is lifted stays as it is', async () => {
    await set({ scope: 'lane', target: 'idle' })
    await resume('lane', 'idle')

    await expect(t.database.pool.query(`update controls set lift_reason = 'x'`)).rejects.toThrow(/append-only|refuse|never/i)
  })

  test('that freezes is readable where promotions are made, until it is lifted', async () => {
    await set({ action: 'freeze', scope: 'promotions', reason: 'audit' })
    const read = () => t.ledger.run(async (tx) => [await frozenBy(tx, 'promotions'), await frozenBy(tx, 'conversions')])

    expect(await read()).toEqual([{ reason: 'audit', by: 'test-operator' }, undefined])
    await resume('promotions')
    expect(await read()).toEqual([undefined, undefined])
  })
})

describe('what runs when a pause begins', () => {
  test('is left alone, and may close', async () => {
    const running = await aJob(t.ledger, 'running')
    const { control, cancelled } = await set({ scope: 'agent', target: 'devops' })
    await t.ledger.upkeep.keepControls()

    await t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({}))

    expect([cancelled, control?.still_running, (await t.ledger.getJob(running.id)).status]).toEqual([0, 1, 'succeeded'])
  })

  test('is counted in the answer whoever cancels it first: workers look for what a control asks all the time', async () => {
    for (let at = 0; at < 6; at += 1) await aJob(t.ledger, 'running', { lane: 'coding' })
    const run = t.ledger.run.bind(t.ledger)
    let transactions = 0
    const between = vi.spyOn(t.ledger, 'run').mockImplementation(async (work: Parameters<typeof run>[0]) => {
      transactions += 1
      // The control is in force by the first, and a worker looks before the second.
      if (transactions === 2) await t.ledger.upkeep.keepControls()
      return run(work)
    })

    const first = await set({ scope: 'lane', target: 'coding', running: 'cancel' })
    between.mockRestore()
    const again = await set({ scope: 'lane', target: 'coding', running: 'cancel' })

    expect([first.cancelled, again.cancelled]).toEqual([6, 0])
  })

  test('is cancelled when that is asked, of the scope alone, and its late answer is refused', async () => {
    const running = await aJob(t.ledger, 'running', { lane: 'coding' })
    const other = await aJob(t.ledger, 'running', { lane: 'idle' })
    const { cancelled, control } = await set({ scope: 'lane', target: 'coding', running: 'cancel' })

    const late = await refusedWith(t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({})))

    expect([cancelled, control?.still_running, late]).toEqual([1, 0, 'AGENTBUS_STALE_ATTEMPT'])
    expect((await t.ledger.jobHistory(running.id)).transitions.at(-1)).toMatchObject({ reason: 'cancelled', actor: 'test-operator', details: { control_id: control?.id } })
    expect((await t.ledger.getJob(other.id)).status).toBe('running')
  })

  test('is cancelled by whoever looks next, when the process that was asked died before it could', async () => {
    await set({ scope: 'everything' })
    await resume('everything')
    const running = await aJob(t.ledger, 'running')
    // What the transaction of the command leaves behind.
    await t.ledger.db.execute(sql`
      with c as (insert into controls (scope, target, reason, set_by_kind, set_by, running, last_seq) values ('everything', '', 'stop', 'operator', 'anna', 'cancel', 1) returning id)
      insert into control_changes (control_id, seq, change, reason, actor_kind, actor) select id, 1, 'set', 'stop', 'operator', 'anna' from c`)

    const kept = await t.ledger.upkeep.keepControls()

    expect([kept.cancelled, (await t.ledger.getJob(running.id)).status, (await t.ledger.upkeep.keepControls()).cancelled]).toEqual([1, 'cancelled', 0])
  })

  test('is waited for by a drain, which says when nothing runs any more', async () => {
    const running = await aJob(t.ledger, 'running')
    const { control } = await set({ action: 'drain', scope: 'agent', target: 'devops' })
    const before = await t.ledger.upkeep.keepControls()
    const next = await aJob(t.ledger, 'queued')
    const held = await leaseAs(t.ledger, next.id, next.job.generation)

    await t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({}))
    const after = await t.ledger.upkeep.keepControls()

    expect([control?.still_running, before.drained, held.kind, after.drained]).toEqual([1, [], 'parked', ['devops']])
    expect((await t.ledger.listControls())[0]).toMatchObject({ action: 'drain', still_running: 0, drained_at: expect.any(String), in_force: true })
    expect((await t.ledger.upkeep.keepControls()).drained).toEqual([])
  })

  test('is waited for by a drain, also when its lease had not committed yet as the drain was set', async () => {
    const { id, job } = await aJob(t.ledger, 'queued')

    const during = await t.ledger.run(async (tx) => {
      const decision = await leaseIn(tx, id, job.generation)
      await set({ action: 'drain', scope: 'agent', target: 'devops' })
      return [decision.kind, (await t.ledger.listControls())[0]?.waits_for?.kind, (await t.ledger.upkeep.keepControls()).drained]
    })
    const running = await t.ledger.upkeep.keepControls()
    await t.ledger.jobs.cancel(OPERATOR, id, 'no longer wanted')
    const after = await t.ledger.upkeep.keepControls()

    expect([during, running.drained, after.drained]).toEqual([['start', 'transactions', []], [], ['devops']])
  })

  test('or may run, is told of by a drain: open attempts, then a transaction of anybody that writes attempts, then nothing but the next look', async () => {
    const running = await aJob(t.ledger, 'running')
    const foreign = await anIdleWriter(t.url)
    const waits = async () => (await t.ledger.listControls())[0]?.waits_for
    const { control } = await set({ action: 'drain', scope: 'agent', target: 'devops' })

    await t.ledger.jobs.complete(running.as, running.id, CompleteJobBody.parse({}))
    const heldUp = [await waits(), (await t.ledger.upkeep.keepControls()).drained]
    await foreign.end()
    const free = [await waits(), (await t.ledger.upkeep.keepControls()).drained, await waits()]

    expect(control?.waits_for).toEqual({ kind: 'attempts', count: 1, since: null })
    expect(heldUp).toEqual([{ kind: 'transactions', count: 1, since: foreign.since }, []])
    expect(free).toEqual([{ kind: 'next_look', count: 0, since: null }, ['devops'], null])
  })

  test('or may run, is waited for since an unknown time while PostgreSQL hides when one of the transactions began: that may be the oldest', async () => {
    const login = await anOrdinaryLogin(t.url)
    const { ledger, database } = ledgerAt(login)
    onCleanup(() => database.close())
    const waits = async () => (await ledger.listControls())[0]?.waits_for
    await set({ action: 'drain', scope: 'agent', target: 'devops' })
    const hidden = await anIdleWriter(t.url)
    const seen = await anIdleWriter(login)

    const besideHidden = await waits()
    await hidden.end()
    const alone = await waits()

    expect(besideHidden).toEqual({ kind: 'transactions', count: 2, since: null })
    expect(alone).toEqual({ kind: 'transactions', count: 1, since: seen.since })
  })

  test('is nothing that a pause, or a drain that was ended, waits for', async () => {
    await anIdleWriter(t.url)
    const { control: pause } = await set({ scope: 'agent', target: 'devops' })
    await resume('agent', 'devops')
    await set({ action: 'drain', scope: 'agent', target: 'devops' })
    const { control: ended } = await resume('agent', 'devops')

    expect([pause?.waits_for, ended?.waits_for]).toEqual([null, null])
  })
})
