import { afterEach, beforeEach, expect, test } from 'vitest'
import { AcknowledgeAlertBody, ListAlertsQuery, SilenceAlertBody, type AlertRuleName } from '../../contracts/alerts.js'
import { alertRules } from '../support/alerts.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { found, kindsOf, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const RULE = 'dead-letters' as AlertRuleName
const WEBHOOK = { id: 'pager', url: 'https://pager.example/hook', secret: 'env:PAGER_SECRET' }
const worker = 'w1'
const fail = async (limit = 10) => {
  for (const { delivery } of await t.ledger.alerts.claimPosts({ limit, claimSeconds: 45 }))
    await t.ledger.alerts.recordTry(delivery, { ok: false, error: 'no answer', httpStatus: 503, ms: 5, worker })
}

/** One that is over and was told of to an agent and a webhook, and one that is open, acknowledged, and pending at the webhook after a try that failed. */
async function told(): Promise<void> {
  await alertRules(t.ledger, [{ notify: [{ agent: 'devops' }, { webhook: 'pager' }] }], [WEBHOOK])
  const dead = await aJob(t.ledger, 'dead', { max_attempts: 1 })
  await t.ledger.alerts.evaluate()
  await t.ledger.alerts.tellAgent(worker)
  const [post] = await t.ledger.alerts.claimPosts({ limit: 1, claimSeconds: 45 })
  if (post !== undefined) await t.ledger.alerts.recordTry(post.delivery, { ok: true, httpStatus: 200, ms: 5, worker })
  await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
  await t.ledger.alerts.evaluate()
  await t.ledger.alerts.test(OPERATOR, RULE)
  await t.ledger.alerts.tellAgent(worker)
  await t.ledger.alerts.tellAgent(worker)
  await aJob(t.ledger, 'dead', { max_attempts: 1 })
  await t.ledger.alerts.evaluate()
  await fail()
  const { items } = await t.ledger.listAlerts(ListAlertsQuery.parse({ status: 'open' }))
  if (items[0] !== undefined) await t.ledger.alerts.acknowledge(OPERATOR, items[0].id, AcknowledgeAlertBody.parse({ reason: 'on it' }))
}

const OPEN = `(select id from alerts where status = 'open')`

test('alerts that began, were told, acknowledged, silenced and are over hold', async () => {
  await told()
  await t.ledger.alerts.silence(OPERATOR, RULE, SilenceAlertBody.parse({ until: new Date(Date.now() + 60_000).toISOString(), reason: 'works' }))

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

test.each([
  ['one that was ended without a row', `update alerts set status = 'resolved', resolved_at = now(), resolved_as = 'cleared' where status = 'open'`, 'alert_disagrees'],
  ['one that was opened again', `update alerts set status = 'open', rule = 'another', resolved_at = null, resolved_as = null where status = 'resolved'`, 'alert_disagrees'],
  ['another end', `update alerts set resolved_as = 'rule_removed' where status = 'resolved'`, 'alert_disagrees'],
  ['another who has seen it', `update alerts set acknowledged_by = 'operator:somebody' where status = 'open'`, 'alert_disagrees'],
  ['one said to have been told more often', `update alerts set told = 7 where status = 'open'`, 'alert_disagrees'],
  ['another threshold', `update alerts set threshold = 7, peak = 9 where status = 'open'`, 'alert_disagrees'],
  ['a history that was cut off', `delete from alert_history where alert_id = ${OPEN} and move = 'acknowledged'`, 'alert_disagrees'],
  [
    'a change after the end',
    `insert into alert_history (alert_id, seq, move, actor_kind, actor, at) select id, last_seq + 1, 'told', 'system', 'x', now() from alerts where status = 'resolved'`,
    'alert_changed_after_end',
  ],
  [
    'one that nobody tells',
    `update alerts set tell_at = now() - interval '1 hour', acknowledged_at = null, acknowledged_by = null, note = null where status = 'open'`,
    'alert_untold',
  ],
  [
    'a delivery that was bent to another alert',
    `update alert_deliveries set alert_id = ${OPEN}, seq = 3 where notice = 'opened' and status = 'delivered' and receiver = 'pager'`,
    'delivery_contradicts_alert',
  ],
  ['one of another rule', `update alert_deliveries set rule = 'another' where notice = 'opened' and alert_id = ${OPEN} and receiver = 'pager'`, 'delivery_contradicts_alert'],
  [
    'one that tells something else',
    `update alert_deliveries set body = body || '{"notice": "resolved"}' where alert_id = ${OPEN} and receiver = 'pager'`,
    'delivery_contradicts_alert',
  ],
  ['a delivery that was deleted', `delete from alert_deliveries where alert_id = ${OPEN} and receiver = 'pager'`, 'delivery_deleted', `delete from alert_attempts`],
  ['an end that was told to nobody', `delete from alert_deliveries where notice = 'resolved' and receiver = 'devops'`, 'delivery_deleted'],
  [
    'one said to have got through',
    `update alert_deliveries set status = 'delivered', done_at = now() where alert_id = ${OPEN} and receiver = 'pager'`,
    'delivery_contradicts_tries',
  ],
  [
    'one said to be pending that got through',
    `update alert_deliveries set status = 'pending', done_at = null where notice = 'opened' and status = 'delivered' and receiver = 'pager'`,
    'delivery_contradicts_tries',
  ],
  [
    'one said to have failed without a try',
    `update alert_deliveries set status = 'failed', done_at = now() where notice = 'test' and receiver = 'pager'`,
    'delivery_contradicts_tries',
    `delete from alert_attempts where not ok`,
  ],
  [
    'a try too many',
    `insert into alert_attempts (delivery_id, try_no, ok, error, ms, worker) select id, 9, false, 'x', 1, 'x' from alert_deliveries where alert_id = ${OPEN} and receiver = 'pager'`,
    'delivery_contradicts_tries',
  ],
  [
    'one whose job is another',
    `update alert_deliveries set job_id = (select min(id::text)::uuid from jobs where job_type <> 'alert.notice') where notice = 'opened' and job_id is not null`,
    'delivery_contradicts_job',
  ],
  ['one to an agent without a job', `update alert_deliveries set job_id = null where notice = 'opened' and job_id is not null`, 'delivery_contradicts_job'],
  ['one that nobody tries', `update alert_deliveries set next_try_at = now() - interval '1 hour' where alert_id = ${OPEN} and receiver = 'pager'`, 'delivery_overdue'],
  ['one that was put off for a day', `update alert_deliveries set next_try_at = now() + interval '1 day' where alert_id = ${OPEN} and receiver = 'pager'`, 'delivery_put_off'],
])('%s is found and named', async (_what, change, kind, before = 'select 1') => {
  await told()
  expect(kindsOf(await verifyNow(t.url))).toEqual([])

  await tamper(t.url, before, change)

  expect(found(await verifyNow(t.url), kind).count).toBeGreaterThan(0)
})

test('two that are open at once for one subject are found and named', async () => {
  await told()

  await tamper(
    t.url,
    'drop index alerts_one_open_idx',
    `insert into alerts (id, rule, figure, subject, level, value, peak, threshold, since, opened_at)
      select gen_random_uuid(), rule, figure, subject, level, value, peak, threshold, since, opened_at from alerts where status = 'open'`,
  )

  expect(found(await verifyNow(t.url), 'two_open_alerts').row).toMatchObject({ rule: 'dead-letters', subject: 'devops', open: 2 })
})

test('one that a silence holds back, and one that waits for an older one, are not late', async () => {
  await told()
  const { rows } = await t.database.pool.query<{ n: number }>(`select count(*)::int as n from alert_deliveries where status = 'pending' and receiver = 'pager'`)
  await t.ledger.alerts.silence(OPERATOR, RULE, SilenceAlertBody.parse({ until: new Date(Date.now() + 60_000).toISOString(), reason: 'works' }))

  await tamper(
    t.url,
    `update alerts set tell_at = now() - interval '1 hour', acknowledged_at = null, acknowledged_by = null, note = null where status = 'open'`,
    `insert into alert_deliveries (id, alert_id, seq, rule, notice, receiver_kind, receiver, body, next_try_at, created_at)
      select gen_random_uuid(), alert_id, seq + 9, rule, notice, receiver_kind, receiver, body, now() - interval '1 hour', now() from alert_deliveries
      where status = 'pending' and receiver = 'pager' and alert_id is not null`,
  )

  const kinds = kindsOf(await verifyNow(t.url))
  expect(rows[0]?.n).toBeGreaterThan(0)
  expect(kinds).toContain('alerts/delivery_contradicts_alert')
  expect(kinds).not.toContain('alerts/alert_untold')
  expect(kinds).not.toContain('alerts/delivery_overdue')
})
