import { sql } from 'drizzle-orm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AcknowledgeBody, FileFindingBody, ReadInboxBody, type InboxMessageView } from '../../contracts/findings.js'
import { InboxConfig } from '../../contracts/inbox.js'
import { FinishStandingOrderBody } from '../../contracts/standing-orders.js'
import type { CommandContext } from '../../ledger/caller.js'
import { sqlStateOf } from '../../ledger/database.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestJob, type TestLedger } from '../support/ledger.js'

const DAY = 86_400_000
let t: TestLedger
let nowMs: number

beforeEach(async () => {
  nowMs = Date.now()
  t = await freshLedger({ nowMs: () => nowMs })
  await t.addAgent('coordinator', { concurrency: 100 })
  await rules({ coordinator: 'coordinator' })
})
afterEach(() => t.close())

async function rules(inbox: Record<string, unknown>): Promise<void> {
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], inbox: InboxConfig.parse(inbox) }, { dryRun: false, prune: false })
}

const file = (body: Record<string, unknown> = {}, as: CommandContext = OPERATOR) =>
  t.ledger.inbox.file(as, FileFindingBody.parse({ topic: 'disk.full', subject_key: 'host1', body: 'disk is at 91 %', ...body }))
const read = (as: CommandContext, body: Record<string, unknown> = {}): Promise<InboxMessageView[]> =>
  t.ledger.inbox.read(as, ReadInboxBody.parse({ ...(as.caller.role === 'operator' ? { agent: 'coordinator' } : {}), ...body })).then(({ items }) => items)
const acknowledge = (as: CommandContext, ids: readonly string[], body: Record<string, unknown> = {}) => t.ledger.inbox.acknowledge(as, AcknowledgeBody.parse({ ids, ...body }))
const aRun = (): Promise<TestJob> => aJob(t.ledger, 'running', { target_agent: 'coordinator' })
const end = (run: TestJob) => t.ledger.jobs.complete(run.as, run.id, { result: {}, findings: [], events: [], follow_ups: [] })

async function kindsOf(findingId: string): Promise<string[]> {
  const { history } = await t.ledger.findingHistory(findingId as never)
  expect(history.map(({ seq }) => seq)).toEqual(history.map((_row, at) => at + 1))
  return history.map(({ kind }) => kind)
}

describe('a finding', () => {
  test('reaches the coordinator as a message, with what was found', async () => {
    const filed = await file({ level: 'warning', data: { used: 91 } })

    expect(filed).toMatchObject({ created: true, raised: true, held_because: null, finding: { agent_id: 'coordinator', count: 1, nag_count: 1, nag_level: 1 } })
    const [message] = await read(await aRun().then(({ as }) => as))
    expect(message).toMatchObject({ id: filed.message_id, topic: 'disk.full', subject_key: 'host1', level: 'warning', tone: 'polite', text: 'disk is at 91 %', data: { used: 91 } })
  })

  test('that repeats is one finding: first seen, count, last raised and level follow the policy, then it is silent', async () => {
    const first = nowMs
    const seen: string[] = []
    for (let day = 0; day <= 20; day += 1) {
      nowMs = first + day * DAY
      const filed = await file({ body: `day ${day}` })
      seen.push(filed.raised ? `${day}: ${filed.finding.nag_level}` : `${day}: ${filed.held_because ?? ''}`)
      for (const message of await read(OPERATOR)) await acknowledge(OPERATOR, [message.id])
    }

    expect(seen.filter((line) => /: [0-9]$/.test(line))).toEqual(['0: 1', '3: 2', '7: 3'])
    expect(seen.slice(8)).toEqual(Array.from({ length: 13 }, (_each, at) => `${at + 8}: silent`))
    const { items } = await t.ledger.listFindings({ limit: 10 })
    expect(items).toMatchObject([
      { count: 21, nag_count: 3, first_seen_at: new Date(first).toISOString(), last_raised_at: new Date(first + 7 * DAY).toISOString(), body: 'day 20', status: 'open' },
    ])
    const { messages } = await t.ledger.findingHistory(items[0]?.id as never)
    expect(messages.map(({ tone, text }) => `${tone}: ${text}`)).toEqual(['polite: day 0', 'firm: day 3 (for 3 days)', 'act or drop: day 7 (for 7 days; is it still wanted?)'])
  })

  test('that was not seen for long begins anew, and its unread message is withdrawn', async () => {
    await rules({ coordinator: 'coordinator', policies: [{ topic: '*', forget_after_days: 2, steps: [{ tone: 'once' }] }] })
    const first = await file()
    nowMs += 3 * DAY
    const second = await file()

    expect(second).toMatchObject({ created: true, raised: true, finding: { count: 1 } })
    expect((await t.ledger.findingHistory(first.finding.id)).finding).toMatchObject({ status: 'settled', settled_as: 'forgotten' })
    expect(await kindsOf(first.finding.id)).toEqual(['filed', 'raised', 'withdrawn', 'settled'])
    expect((await read(OPERATOR)).map(({ id }) => id)).toEqual([second.message_id])
  })

  test('held back on its first day is raised by itself when the policy allows it', async () => {
    const weekday = new Intl.DateTimeFormat('en', { weekday: 'short', timeZone: 'UTC' }).format(nowMs + DAY).toLowerCase()
    await rules({ coordinator: 'coordinator', policies: [{ topic: '*', days: [weekday], steps: [{ tone: 'once' }] }] })
    const filed = await file()
    expect(filed).toMatchObject({ raised: false, held_because: 'not_today', message_id: null })
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ raised: 0 })

    nowMs += DAY
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ raised: 1 })
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ raised: 0 })

    expect((await read(OPERATOR)).map(({ tone }) => tone)).toEqual(['once'])
    expect(await kindsOf(filed.finding.id)).toEqual(['filed', 'raised', 'read'])
  })

  test('that is seen again while its message is unread changes what the message says', async () => {
    await file({ level: 'info', body: 'disk is at 80 %' })
    const again = await file({ level: 'urgent', body: 'disk is at 99 %' })

    expect(again).toMatchObject({ raised: false, held_because: 'message_open' })
    expect(await read(OPERATOR)).toMatchObject([{ text: 'disk is at 99 %', level: 'urgent', count: 2 }])
  })

  test('filed by sixteen at once is one finding and one message', async () => {
    const filed = await Promise.all(Array.from({ length: 16 }, (_each, at) => file({ body: `seen by ${at}` })))

    expect(filed.filter(({ created }) => created)).toHaveLength(1)
    expect(filed.filter(({ raised }) => raised)).toHaveLength(1)
    expect((await t.ledger.listFindings({ limit: 10 })).items).toMatchObject([{ count: 16 }])
    expect((await kindsOf(filed[0]?.finding.id ?? '')).filter((kind) => kind === 'filed')).toHaveLength(16)
  })

  test('goes to the inbox it names; without one and without a coordinator it is refused', async () => {
    expect((await file({ to: 'devops', subject_key: 'x' })).finding.agent_id).toBe('devops')
    await expect(file({ to: 'nobody' })).rejects.toMatchObject({ code: 'AGENTBUS_UNKNOWN_AGENT' })
    await rules({})
    await expect(file({ subject_key: 'y' })).rejects.toMatchObject({ code: 'AGENTBUS_NO_COORDINATOR' })
    expect((await t.ledger.listFindings({ limit: 10 })).items).toHaveLength(1)
  })

  test('is filed with the closing of a run, or not at all', async () => {
    const slot = await aSlot(t.ledger)
    const body = FinishStandingOrderBody.parse({
      outcome: 'completed',
      findings: [
        { topic: 'disk.full', subject_key: 'b', body: 'two' },
        { topic: 'disk.full', subject_key: 'a', body: 'one' },
      ],
    })
    await t.ledger.jobs.finishStandingOrder(slot.as, slot.id, body)

    const { items } = await t.ledger.listFindings({ limit: 10 })
    expect(items.map(({ subject_key, source_agent }) => [subject_key, source_agent]).sort()).toEqual([
      ['a', 'devops'],
      ['b', 'devops'],
    ])
    const { history } = await t.ledger.findingHistory(items[0]?.id as never)
    expect(history[0]).toMatchObject({ kind: 'filed', attempt_id: slot.attemptId, job_id: slot.id, actor: 'devops' })
    await expect(t.ledger.jobs.finishStandingOrder(slot.as, slot.id, body)).rejects.toMatchObject({ code: 'AGENTBUS_ALREADY_CLOSED' })
    expect((await t.ledger.listFindings({ limit: 10 })).items.map(({ count }) => count)).toEqual([1, 1])
    expect(FinishStandingOrderBody.safeParse({ ...body, outcome: 'no_work' }).success).toBe(false)
  })

  test('is settled by whom it concerns, and by nobody else', async () => {
    await t.addAgent('auditor')
    const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
    const filed = await file({}, agent('devops'))

    await expect(t.ledger.inbox.settle(agent('auditor'), filed.finding.id, { note: 'not mine' })).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await t.ledger.inbox.settle(agent('devops'), filed.finding.id, { note: 'disk was cleaned' })

    expect(await kindsOf(filed.finding.id)).toEqual(['filed', 'raised', 'withdrawn', 'settled'])
    expect(await read(OPERATOR)).toEqual([])
  })
})

describe('an inbox', () => {
  test('read by many overlapping runs gives each message to exactly one, and each is acknowledged once', async () => {
    for (let at = 0; at < 60; at += 1) await file({ subject_key: `host${at}` })
    const runs = await Promise.all(Array.from({ length: 12 }, aRun))

    const readings = await Promise.all(runs.flatMap((run) => [read(run.as, { limit: 7 }), read(run.as, { limit: 3 })]))
    const rest = await read(OPERATOR, { limit: 100 })

    const ids = [...readings.flat(), ...rest].map(({ id }) => id)
    expect(new Set(ids).size).toBe(60)
    expect(ids).toHaveLength(60)
    const taken = readings.flat()[0]
    if (taken === undefined) throw new Error('nobody read anything')
    const outcomes = await Promise.allSettled(runs.map((run) => acknowledge(run.as, [taken.id])))
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(await kindsOf(taken.finding_id)).toEqual(['filed', 'raised', 'read', 'acknowledged'])
    const { rows } = await t.database.db.execute(sql`select count(*)::int as n from observations where code = 'AGENTBUS_NOT_YOUR_MESSAGE'`)
    expect(rows[0]?.['n']).toBe(11)
  })

  test('is read worst first', async () => {
    for (const level of ['info', 'urgent', 'warning']) await file({ level, subject_key: level })

    expect((await read(OPERATOR, { limit: 2 })).map(({ level }) => level)).toEqual(['urgent', 'warning'])
    expect((await read(OPERATOR)).map(({ level }) => level)).toEqual(['info'])
  })

  test('gives what a run left unacknowledged to the next, with a row', async () => {
    await file()
    const first = await aRun()
    const [message] = await read(first.as)
    expect(await read((await aRun()).as)).toEqual([])
    await end(first)

    const second = await aRun()
    expect((await read(second.as)).map(({ id }) => id)).toEqual([message?.id])
    await expect(acknowledge(first.as, [message?.id ?? ''])).rejects.toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })
    await acknowledge(second.as, [message?.id ?? ''])

    expect(await kindsOf(message?.finding_id ?? '')).toEqual(['filed', 'raised', 'read', 'returned', 'read', 'acknowledged'])
  })

  test('gives what a token left unacknowledged to the next when its time is over', async () => {
    await file()
    const agent: CommandContext = { caller: { role: 'agent', tokenId: 'other', name: 'coordinator', agentId: 'coordinator' as never } }
    expect(await read(agent, { seconds: 60 })).toHaveLength(1)
    nowMs += 59_000
    expect(await read(OPERATOR)).toEqual([])
    nowMs += 2_000
    expect(await read(OPERATOR)).toHaveLength(1)
  })

  test('closes all messages of an acknowledgement or none; a repeat changes nothing', async () => {
    for (const subject_key of ['a', 'b', 'c']) await file({ subject_key })
    const [run, other] = [await aRun(), await aRun()]
    const mine = await read(run.as, { limit: 2 })
    const [theirs] = await read(other.as)

    await expect(
      acknowledge(
        run.as,
        [...mine, theirs].map((message) => message?.id ?? ''),
      ),
    ).rejects.toMatchObject({ code: 'AGENTBUS_NOT_YOUR_MESSAGE', fields: { messages: [{ id: theirs?.id }] } })
    expect((await t.ledger.listInbox({ limit: 10 })).items.map(({ status }) => status)).toEqual(['read', 'read', 'read'])
    const ids = mine.map(({ id }) => id)
    await acknowledge(run.as, ids, { outcome: 'settled', note: 'cleaned' })
    await acknowledge(run.as, ids, { outcome: 'settled', note: 'cleaned' })

    for (const message of mine) expect(await kindsOf(message.finding_id)).toEqual(['filed', 'raised', 'read', 'acknowledged', 'settled'])
    await expect(acknowledge(run.as, ['01987a2c-0000-7000-8000-000000000001'])).rejects.toMatchObject({ code: 'AGENTBUS_NOT_FOUND' })
  })

  test('of another agent is closed to agents and their runs, with a row', async () => {
    const run = await aJob(t.ledger, 'running')

    await expect(read(run.as, { agent: 'coordinator' })).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    await expect(t.ledger.inbox.file(run.as, FileFindingBody.parse({ topic: 'x', subject_key: 'x', body: 'x', source_agent: 'coordinator' }))).rejects.toMatchObject({
      code: 'AGENTBUS_FORBIDDEN',
    })
    const auditor: CommandContext = { caller: { role: 'auditor', tokenId: 'a', name: 'a' } }
    await expect(file({}, auditor)).rejects.toMatchObject({ code: 'AGENTBUS_FORBIDDEN' })
    const { rows } = await t.database.db.execute(sql`select count(*)::int as n from observations where code = 'AGENTBUS_FORBIDDEN'`)
    expect(rows[0]?.['n']).toBe(3)
  })
})

describe('work that was handed over', () => {
  const handOver = () => aJob(t.ledger, 'running', { source_agent: 'coordinator', target_agent: 'devops', subject: 'look at the disk' })

  test('raises a finding when no result came in time, again when the wait has doubled, and none when it has come', async () => {
    const job = await handOver()
    const start = nowMs
    const filed: number[] = []
    for (let minute = 1; minute <= 130; minute += 1) {
      nowMs = start + minute * 60_000
      if ((await t.ledger.upkeep.keepInbox(100)).overdue > 0) filed.push(minute)
    }
    expect(filed.map((minute) => Math.round(minute / 15))).toEqual([1, 2, 4, 8])
    const [message] = await read(OPERATOR)
    expect(message).toMatchObject({ topic: 'pending_result', subject_key: job.id, level: 'warning', count: 4, data: { job_id: job.id, target_agent: 'devops' } })
    expect(message?.text).toMatch(/^coordinator handed "look at the disk" to devops 12\d minutes ago; there is no result \(running\)\.$/)

    await end(job)
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ answered: 1, overdue: 0 })
    expect((await t.ledger.findingHistory(message?.finding_id as never)).finding).toMatchObject({ status: 'settled', settled_as: 'answered' })
  })

  test('is withdrawn from the inbox by its result, also when nobody has looked since', async () => {
    const job = await handOver()
    nowMs += 16 * 60_000
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ overdue: 1 })
    await end(job)

    expect(await read(OPERATOR)).toEqual([])
  })

  test('is watched as the fleet says: after other minutes, by whoever handed it over, or not at all', async () => {
    await rules({ pending_result: { after_minutes: 2, to: 'source' } })
    await handOver()
    await aJob(t.ledger, 'running', { source_agent: 'devops', target_agent: 'devops', subject: 'my own' })
    await aJob(t.ledger, 'running', { subject: 'of an operator' })
    nowMs += 3 * 60_000
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ overdue: 1 })
    expect((await t.ledger.listInbox({ limit: 10 })).items.map(({ agent_id }) => agent_id)).toEqual(['coordinator'])

    await rules({ pending_result: { enabled: false } })
    nowMs += DAY
    expect(await t.ledger.upkeep.keepInbox(100)).toMatchObject({ overdue: 0 })
  })
})

describe('the database refuses', () => {
  test.each([
    ['a changed history', 'update finding_history set actor = $$x$$'],
    ['a shortened history', 'delete from finding_history'],
    ['a deleted finding', 'delete from findings'],
    ['a deleted message', 'delete from inbox_messages'],
    ['a message closed without a row', "update inbox_messages set status = 'acknowledged', closed_at = now(), outcome = 'delivered', read_by = 'x', read_at = now()"],
    ['a message withdrawn without a row', "update inbox_messages set status = 'withdrawn', closed_at = now()"],
    ['a history that goes on without its row', 'update findings set last_seq = last_seq + 1'],
    ['a second open message', "insert into inbox_messages select gen_random_uuid(), finding_id, agent_id, level, tone, nag_level, text, 'unread', created_at from inbox_messages"],
    ['a finding settled without a time', "update findings set status = 'settled'"],
  ])('%s', async (_what, statement) => {
    await file()

    const state = await t.database.pool.query(statement).then(
      () => 'it was done',
      (error: unknown) => sqlStateOf(error),
    )

    expect(state).toMatch(/^23/)
  })

  test('that a closed message or a settled finding changes', async () => {
    const filed = await file()
    const [message] = await read(OPERATOR)
    await acknowledge(OPERATOR, [message?.id ?? ''], { outcome: 'settled' })

    await expect(t.database.pool.query('update inbox_messages set note = $1', ['later'])).rejects.toMatchObject({ code: '23001' })
    await expect(t.database.pool.query('update findings set body = $1 where id = $2', ['other', filed.finding.id])).rejects.toMatchObject({ code: '23001' })
  })
})
