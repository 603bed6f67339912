import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AcknowledgeAlertBody, LiftSilenceBody, ListAlertsQuery, SilenceAlertBody, type AlertHistory, type AlertId, type AlertRuleName } from '../../contracts/alerts.js'
import { forgetSilent } from '../../ledger/heartbeats.js'
import { alertRules } from '../support/alerts.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
/** Milliseconds that the clock of this ledger is ahead. */
let ahead = 0
beforeEach(async () => {
  ahead = 0
  t = await freshLedger({ nowMs: () => Date.now() + ahead })
})
afterEach(() => t.close())

const RULE = 'dead-letters' as AlertRuleName
const MINUTE = 60_000
const look = () => t.ledger.alerts.evaluate()
const later = async (ms: number) => {
  ahead += ms
  return look()
}
const all = async () => (await t.ledger.listAlerts(ListAlertsQuery.parse({ status: 'any' }))).items
const query = async <T extends Record<string, unknown>>(text: string, values: unknown[] = []): Promise<T[]> => (await t.database.pool.query<T>(text, values)).rows
const notices = () => query<{ notice: string }>('select notice from alert_deliveries order by created_at, seq').then((rows) => rows.map(({ notice }) => notice))
const aDeadJob = () => aJob(t.ledger, 'dead', { max_attempts: 1 })
const history = async (): Promise<AlertHistory> => t.ledger.alertHistory((await all())[0]?.id as AlertId)
const moves = async () => (await history()).history.map(({ move }) => move)

describe('an incident', () => {
  test('is told once, told again at its interval, and told when it is over', async () => {
    await alertRules(t.ledger, [{ remind_seconds: 600 }])
    const dead = await aDeadJob()

    const looks = [await look(), await look(), await later(5 * MINUTE), await later(6 * MINUTE), await look()]
    await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
    const over = [await look(), await look()]

    expect(looks.map(({ opened, told }) => [opened, told])).toEqual([
      [1, 1],
      [0, 0],
      [0, 0],
      [0, 1],
      [0, 0],
    ])
    expect(over.map(({ resolved }) => resolved)).toEqual([1, 0])
    expect(await notices()).toEqual(['opened', 'reminder', 'resolved'])
    expect(await moves()).toEqual(['opened', 'told', 'told', 'resolved'])
    expect((await all())[0]).toMatchObject({ rule: RULE, subject: 'devops', status: 'resolved', resolved_as: 'cleared', peak: 1, value: 0, told: 2 })
  })

  test('is told again as often as the fleet file says now, counted from the last time, and no more when it says never', async () => {
    await alertRules(t.ledger, [{ remind_seconds: 0 }])
    await aDeadJob()
    const never = [await look(), await later(10 * MINUTE)]

    await alertRules(t.ledger, [{ remind_seconds: 1_200 }])
    const raised = [await later(5 * MINUTE), await later(6 * MINUTE), await look()]
    await alertRules(t.ledger, [{ remind_seconds: 0 }])
    const ended = await later(21 * MINUTE)
    await alertRules(t.ledger, [{ remind_seconds: 600 }])
    const again = await look()

    expect([...never, ...raised, ended, again].map(({ told }) => told)).toEqual([1, 0, 0, 1, 0, 0, 1])
    expect(await notices()).toEqual(['opened', 'reminder', 'reminder'])
    expect(await moves()).toEqual(['opened', 'told', 'told', 'told'])
  })

  test('of each subject is one of its own, and a second one begins only when the first is over', async () => {
    await t.addAgent('security', { concurrency: 100 })
    await alertRules(t.ledger, [{}])
    const dead = await aDeadJob()
    await aJob(t.ledger, 'dead', { target_agent: 'security', max_attempts: 1 })
    await look()

    await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
    await look()
    await aDeadJob()
    await look()

    expect((await all()).map(({ subject, status }) => `${subject} ${status}`).sort()).toEqual(['devops open', 'devops resolved', 'security open'])
  })

  test('begins once however many look at once', { repeats: 15, timeout: 60_000 }, async () => {
    await alertRules(t.ledger, [{ name: `r-${randomBytes(4).toString('hex')}` }])
    await aDeadJob()

    const looks = await Promise.all(Array.from({ length: 16 }, () => look()))

    expect(looks.reduce((sum, { opened }) => sum + opened, 0)).toBe(1)
    expect(await notices()).toEqual(['opened'])
  })

  test('has one open row at most: the database refuses a second one, and a change of what is over or has happened', async () => {
    await alertRules(t.ledger, [{}])
    const dead = await aDeadJob()
    await look()
    const copy = `insert into alerts (id, rule, figure, subject, level, value, peak, threshold, since, opened_at)
      select gen_random_uuid(), rule, figure, subject, level, value, peak, threshold, since, opened_at from alerts`

    await expect(query(copy)).rejects.toMatchObject({ code: '23505' })
    await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
    await look()
    await expect(query(copy)).rejects.toThrow('is not what its history says')
    await expect(query(`update alerts set status = 'open', resolved_at = null, resolved_as = null`)).rejects.toThrow()
    await expect(query('update alert_history set note = $1', ['x'])).rejects.toThrow()
    await expect(query('delete from alert_deliveries')).rejects.toThrow()
  })

  test('ends when its rule is taken out of the fleet file', async () => {
    await alertRules(t.ledger, [{}])
    await aDeadJob()
    await look()

    await alertRules(t.ledger, [])
    const { resolved } = await look()

    expect(resolved).toBe(1)
    expect(await all()).toMatchObject([{ status: 'resolved', resolved_as: 'rule_removed' }])
    expect(await notices()).toEqual(['opened', 'resolved'])
  })

  test('does not exist in a fleet without rules', async () => {
    await aDeadJob()

    expect(await look()).toEqual({ opened: 0, told: 0, resolved: 0 })
    expect(await all()).toEqual([])
  })
})

describe('flapping', () => {
  test('does not begin an incident when the figure is above for less than it must be', async () => {
    await alertRules(t.ledger, [{ for_seconds: 120 }])

    for (let round = 0; round < 5; round += 1) {
      const dead = await aDeadJob()
      await later(MINUTE)
      await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
      await later(MINUTE)
    }
    const before = await all()
    await aDeadJob()
    const looks = [await look(), await later(MINUTE), await later(MINUTE)]

    expect(before).toEqual([])
    expect(looks.map(({ opened }) => opened)).toEqual([0, 0, 1])
    expect(await query('select * from alert_watches')).toEqual([])
    const [alert] = await all()
    expect(Date.parse(alert?.opened_at ?? '') - Date.parse(alert?.since ?? '')).toBeGreaterThanOrEqual(2 * MINUTE)
  })

  test('tells once: an incident ends only when the figure has stayed down', async () => {
    await alertRules(t.ledger, [{ clear_for_seconds: 300, remind_seconds: 0 }])

    for (let round = 0; round < 6; round += 1) {
      const dead = await aDeadJob()
      await later(MINUTE)
      await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
      await later(MINUTE)
    }
    const during = await notices()
    const ends = [await later(3 * MINUTE), await later(2 * MINUTE)]

    expect(during).toEqual(['opened'])
    expect(ends.map(({ resolved }) => resolved)).toEqual([0, 1])
    expect(await notices()).toEqual(['opened', 'resolved'])
  })

  test('between two thresholds changes nothing', async () => {
    await alertRules(t.ledger, [{ above: 2, clear_at: 0 }])
    const dead = [await aDeadJob(), await aDeadJob()]
    const last = await aDeadJob()
    await look()

    for (const job of dead) await t.ledger.jobs.bury(OPERATOR, job.id, 'obsolete')
    const between = await look()
    await t.ledger.jobs.bury(OPERATOR, last.id, 'obsolete')
    const under = await look()

    expect([between.resolved, under.resolved]).toEqual([0, 1])
  })
})

describe('an operator', () => {
  const acknowledge = async () => t.ledger.alerts.acknowledge(OPERATOR, (await all())[0]?.id as AlertId, AcknowledgeAlertBody.parse({ reason: 'on it' }))

  test('acknowledges: no more reminders, and the end is told still', async () => {
    await alertRules(t.ledger, [{ remind_seconds: 600 }])
    const dead = await aDeadJob()
    await look()

    const { alert } = await acknowledge()
    await later(30 * MINUTE)
    await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
    await look()

    expect(alert).toMatchObject({ status: 'open', acknowledged_by: 'operator:test-operator', note: 'on it' })
    expect(await notices()).toEqual(['opened', 'resolved'])
    await expect(acknowledge()).rejects.toMatchObject({ code: 'AGENTBUS_ALERT_OVER' })
    expect(await moves()).toEqual(['opened', 'told', 'acknowledged', 'resolved'])
  })

  test('silences: nobody is told until it ends, then of what lasts', async () => {
    await alertRules(t.ledger, [{}])
    const until = new Date(Date.now() + 30 * MINUTE).toISOString()
    await t.ledger.alerts.silence(OPERATOR, RULE, SilenceAlertBody.parse({ until, reason: 'moving house' }))
    await aDeadJob()

    const looks = [await look(), await later(20 * MINUTE)]
    const [open] = await all()
    const after = await later(11 * MINUTE)

    expect(looks.map(({ opened, told }) => [opened, told])).toEqual([
      [1, 0],
      [0, 0],
    ])
    expect(open?.silenced_until).toBe(until)
    expect(after.told).toBe(1)
    expect(await notices()).toEqual(['opened'])
  })

  test('silences one subject alone, and lifts it', async () => {
    await t.addAgent('security', { concurrency: 100 })
    await alertRules(t.ledger, [{}])
    const body = SilenceAlertBody.parse({ until: new Date(Date.now() + 30 * MINUTE).toISOString(), reason: 'known', subject: 'security' })
    const { silence } = await t.ledger.alerts.silence(OPERATOR, RULE, body)
    await aDeadJob()
    await aJob(t.ledger, 'dead', { target_agent: 'security', max_attempts: 1 })

    const silent = await look()
    await t.ledger.alerts.lift(OPERATOR, silence.id, LiftSilenceBody.parse({ reason: 'mended' }))
    const lifted = await look()

    expect([silent.opened, silent.told, lifted.told]).toEqual([2, 1, 1])
    expect(await t.ledger.listSilences()).toEqual([])
  })

  test('cannot silence what is past, longer than a year, or a rule that is none', async () => {
    await alertRules(t.ledger, [{}])
    const silence = (rule: string, ms: number) =>
      t.ledger.alerts.silence(OPERATOR, rule as AlertRuleName, SilenceAlertBody.parse({ until: new Date(Date.now() + ms).toISOString(), reason: 'x' }))

    await expect(silence(RULE, -1)).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })
    await expect(silence(RULE, 400 * 86_400_000)).rejects.toMatchObject({ code: 'AGENTBUS_BAD_REQUEST' })
    await expect(silence('none', MINUTE)).rejects.toMatchObject({ code: 'AGENTBUS_ALERT_NOT_FOUND' })
    expect(await query('select * from alert_silences')).toEqual([])
  })
})

describe('an agent', () => {
  const tellAll = async () => {
    while ((await t.ledger.alerts.tellAgent('w1')) !== undefined);
  }
  const noticeJobs = () =>
    query<{ id: string; subject: string; correlation_key: string; created_by: string; payload: Record<string, unknown> }>(
      `select * from jobs where job_type = 'alert.notice' order by id`,
    )

  test('is told by a job that names the incident, exactly once however many try', { repeats: 5, timeout: 60_000 }, async () => {
    await alertRules(t.ledger, [{ name: `r-${randomBytes(4).toString('hex')}` }])
    await aDeadJob()
    await look()

    await Promise.all(Array.from({ length: 16 }, () => tellAll()))

    const jobs = await noticeJobs()
    const { alert, deliveries } = await history()
    expect(jobs).toHaveLength(1)
    expect(jobs[0]).toMatchObject({ correlation_key: `alert:${alert.id}`, payload: { alert_id: alert.id, notice: 'opened', subject: 'devops', value: 1 } })
    expect(deliveries).toMatchObject([{ status: 'delivered', job_id: jobs[0]?.id, attempts: [{ try_no: 1, ok: true }] }])
  })

  test('that has gone from the fleet is a failed try, and tried again', async () => {
    await alertRules(t.ledger, [{ notify: [{ agent: 'nobody' }] }])
    await aDeadJob()
    await look()

    await tellAll()

    const { deliveries } = await history()
    expect(deliveries).toMatchObject([{ status: 'pending', tries: 1, attempts: [{ ok: false, error: expect.stringContaining('nobody') as string }] }])
    expect(await noticeJobs()).toEqual([])
  })

  test('whose jobs about alerts die makes no alert of them', async () => {
    await alertRules(t.ledger, [{}])
    await aJob(t.ledger, 'dead', { job_type: 'alert.notice', max_attempts: 1 })

    expect((await look()).opened).toBe(0)
  })
})

describe('the figure', () => {
  const MADE: Record<string, { readonly rule: Record<string, unknown>; readonly make: () => Promise<unknown>; readonly subject: string }> = {
    dead_letters: { rule: {}, make: aDeadJob, subject: 'devops' },
    blocked_seconds: { rule: { above: 60 }, make: () => aJob(t.ledger, 'blocked'), subject: 'devops' },
    queue_age_seconds: { rule: { above: 60, by: 'lane' }, make: () => aJob(t.ledger, 'queued', { lane: 'coding' }), subject: 'coding' },
    queue_depth: { rule: { above: 1, by: 'fleet' }, make: async () => [await aJob(t.ledger, 'queued'), await aJob(t.ledger, 'queued')], subject: 'fleet' },
    outbox_lag_seconds: { rule: { above: 60 }, make: () => aJob(t.ledger, 'queued'), subject: 'fleet' },
    breaker_open_seconds: {
      rule: { above: 60 },
      make: () => query(`update gateways set breaker = 'open', breaker_reason = 'down', breaker_changed_at = clock_timestamp()`),
      subject: 'gw',
    },
    stale_workers: { rule: {}, make: () => query(`insert into dispatcher_heartbeats (dispatcher_id, host, pid) values ('w9', 'h', 1)`), subject: 'fleet' },
    missed_slots: {
      rule: { window_seconds: 86_400 },
      make: async () => {
        const { order } = await aSlot(t.ledger, { name: 'nightly' })
        await query(`insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at, status, cause, finished_at, last_seq)
          select gen_random_uuid(), id, version, agent_id, now() - interval '1 hour', now(), now(), 'expected', null, null, 0 from standing_orders`)
        await query(`select move_slot(id, 'missed', 'worker_down', 'system', 'test', '{}'::jsonb, now()) from standing_order_runs where status = 'expected' and slot_at < now()`)
        return order
      },
      subject: 'devops/nightly',
    },
  }

  test.each(Object.keys(MADE))('%s begins and names what it is about', async (figure) => {
    const made = MADE[figure]
    if (made === undefined) throw new Error('unknown')
    await alertRules(t.ledger, [{ name: 'r', figure, ...made.rule, by: made.rule['by'] }])
    const before = await look()

    await made.make()
    const after = await later(5 * MINUTE)

    expect([before.opened, after.opened]).toEqual([0, 1])
    expect(await all()).toMatchObject([{ figure, subject: made.subject, status: 'open' }])
  })

  test('stale_workers with a window of hours goes on when the silent worker is forgotten, and ends with the window', async () => {
    await alertRules(t.ledger, [{ name: 'r', figure: 'stale_workers', window_seconds: 4 * 3_600 }])
    await query(`insert into dispatcher_heartbeats (dispatcher_id, host, pid, last_seen) values ('w9', 'h', 1, now() - interval '2 hours')`)

    const silent = await look()
    const forgotten = await t.ledger.run((tx) => forgetSilent(tx, { kind: 'system', id: 'w1' }))
    const looks = [await look(), await later(90 * MINUTE), await later(60 * MINUTE)]

    expect([silent.opened, forgotten]).toEqual([1, ['w9']])
    expect(looks.map(({ opened, resolved }) => [opened, resolved])).toEqual([
      [0, 0],
      [0, 0],
      [0, 1],
    ])
    expect(await all()).toMatchObject([{ figure: 'stale_workers', status: 'resolved', peak: 1 }])
  })
})
