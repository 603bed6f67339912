import { LONGEST_WAIT_MS } from '../alerts/deliveries.js'
import { NOTICE_JOB } from '../alerts/figures.js'
import type { SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

const COMPARE = 'Compare it with a backup: the ledger itself refuses to commit this, or writes both at once.'
const TOLD = 'Start a process: each looks at alerts. If some run, look for alert.undelivered and maintenance.failed in their logs.'

/** Each delivery with its alert and the row of the history that it tells. */
const DELIVERIES = `alert_deliveries d left join alerts a on a.id = d.alert_id left join alert_history h on h.alert_id = d.alert_id and h.seq = d.seq`

/** Alerts against their histories, what was to be told of them, and whether it was. */
export const ALERTS: SqlCheck = {
  name: 'alerts',
  statements: [
    {
      sql: () => `select 'alert_disagrees' as kind, a.id as alert_id, a.status::text as status, a.last_seq, t.seq as history_ends_at, t.rows as history_rows, n.move::text as history_says
        from alerts a
          left join lateral (select max(h.seq) as seq, count(*)::int as rows, count(*) filter (where h.move = 'told')::int as told,
            count(*) filter (where h.move = 'opened')::int as opened, count(*) filter (where h.move = 'acknowledged')::int as acknowledged
            from alert_history h where h.alert_id = a.id) t on true
          left join lateral (select h.* from alert_history h where h.alert_id = a.id order by h.seq desc limit 1) n on true
        where t.seq is distinct from a.last_seq or t.rows <> a.last_seq or t.told <> a.told or t.opened <> 1
          or t.acknowledged <> case when a.acknowledged_at is null then 0 else 1 end
          or (a.status = 'resolved') is distinct from (n.move = 'resolved')
          or (a.status = 'resolved' and (a.resolved_as is distinct from n.details ->> 'as' or a.resolved_at is distinct from n.at))
          or (a.acknowledged_at is not null and not exists (select from alert_history h where h.alert_id = a.id and h.move = 'acknowledged'
            and h.actor_kind::text || ':' || h.actor = a.acknowledged_by and h.note = a.note and h.at = a.acknowledged_at))
          or not exists (select from alert_history h where h.alert_id = a.id and h.seq = 1 and h.move = 'opened' and h.at = a.opened_at and (h.details ->> 'threshold')::float8 = a.threshold)`,
      what: (row) =>
        `Alert ${text(row['alert_id'])} is ${text(row['status'])} at row ${text(row['last_seq'])}; its history has ${text(row['history_rows'])} rows, the last of them ${text(row['history_ends_at'])} with ${text(row['history_says'])}, and does not fit it.`,
      next: COMPARE,
    },
    {
      sql: () => `select 'alert_changed_after_end' as kind, h.alert_id, h.seq, h.move::text as move, e.seq as ended_at
        from alert_history h join alert_history e on e.alert_id = h.alert_id and e.move = 'resolved' and e.seq < h.seq`,
      what: (row) => `Alert ${text(row['alert_id'])} ended with row ${text(row['ended_at'])} of its history, and row ${text(row['seq'])} (${text(row['move'])}) comes after that.`,
      next: COMPARE,
    },
    {
      sql: () => `select 'two_open_alerts' as kind, a.rule, a.subject, count(*)::int as open, array_agg(a.id order by a.id) as alerts
        from alerts a where a.status = 'open' group by a.rule, a.subject having count(*) > 1`,
      what: (row) => `Alerts ${text(row['alerts'])} of rule ${text(row['rule'])} are open at once for ${text(row['subject'])}.`,
      next: COMPARE,
    },
    {
      // A silence puts off who is to be told until it ends.
      sql: ({ graceSeconds }) => `select 'alert_untold' as kind, a.id as alert_id, a.rule, a.subject, a.tell_at from alerts a
        where a.status = 'open' and a.tell_at < clock_timestamp() - interval '${graceSeconds} seconds' and not exists (
          select from alert_silences s where s.rule = a.rule and (s.subject is null or s.subject = a.subject)
            and least(s.until, s.lifted_at) > clock_timestamp() - interval '${graceSeconds} seconds')`,
      what: (row) => `Alert ${text(row['alert_id'])} of rule ${text(row['rule'])} for ${text(row['subject'])} was to be told at ${text(row['tell_at'])}, and nobody has.`,
      next: TOLD,
    },
    {
      sql: () => `select 'delivery_contradicts_alert' as kind, d.id as delivery_id, d.alert_id, d.rule, d.notice::text as notice, d.seq, a.rule as alert_says, h.move::text as history_says
        from ${DELIVERIES}
        where (d.notice = 'test') <> (d.alert_id is null)
          or (d.alert_id is not null and a.id is not null and (d.rule <> a.rule or d.body ->> 'subject' is distinct from a.subject or h.seq is null
            or (d.notice = 'resolved' and h.move <> 'resolved')
            or (d.notice <> 'resolved' and (h.move <> 'told' or h.details ->> 'notice' is distinct from d.notice::text or not h.details -> 'deliveries' ? d.id::text))))
          or d.body ->> 'alert_id' is distinct from d.alert_id::text or d.body ->> 'notice' is distinct from d.notice::text or d.body ->> 'rule' is distinct from d.rule`,
      what: (row) =>
        `Delivery ${text(row['delivery_id'])} (${text(row['notice'])}, rule ${text(row['rule'])}) is of row ${text(row['seq'])} of alert ${text(row['alert_id'])}: rule ${text(row['alert_says'])}, ${text(row['history_says'])}. They do not fit.`,
      next: COMPARE,
    },
    {
      sql: () => `select 'delivery_deleted' as kind, h.alert_id, h.seq, w.id as delivery_id
        from alert_history h cross join lateral jsonb_array_elements_text(h.details -> 'deliveries') w (id)
        where h.move = 'told' and not exists (select from alert_deliveries d where d.id::text = w.id)
        union all
        select 'delivery_deleted', a.id, a.last_seq, r.receiver from alerts a
          cross join lateral (select distinct d.receiver_kind, d.receiver from alert_deliveries d where d.alert_id = a.id and d.notice <> 'resolved') r
        where a.status = 'resolved' and not exists (
          select from alert_deliveries d where d.alert_id = a.id and d.notice = 'resolved' and d.receiver_kind = r.receiver_kind and d.receiver = r.receiver)`,
      what: (row) =>
        `Row ${text(row['seq'])} of the history of alert ${text(row['alert_id'])} was to be told by delivery or to receiver ${text(row['delivery_id'])}; no delivery says so.`,
      next: COMPARE,
    },
    {
      // A try that was under way when its delivery ended may have answered later: its row stands, and changes nothing.
      sql: () => `select 'delivery_contradicts_tries' as kind, d.id as delivery_id, d.status::text as status, d.tries, t.tries as rows, t.last as last_try, t.delivered
        from alert_deliveries d
          left join lateral (select count(*)::int as tries, coalesce(max(x.try_no), 0) as last, coalesce(bool_or(x.ok), false) as delivered, coalesce(bool_or(not x.ok), false) as failed
            from alert_attempts x where x.delivery_id = d.id) t on true
        where t.last > d.tries or (d.status = 'delivered' and not t.delivered) or (d.status = 'pending' and t.delivered) or (d.status = 'failed' and not t.failed)`,
      what: (row) =>
        `Delivery ${text(row['delivery_id'])} is ${text(row['status'])} after ${text(row['tries'])} tries; ${text(row['rows'])} are written down, up to try ${text(row['last_try'])}, and ${row['delivered'] === true ? 'one' : 'none'} of them got through.`,
      next: COMPARE,
    },
    {
      sql: () => `select 'delivery_contradicts_job' as kind, d.id as delivery_id, d.receiver, d.job_id, j.job_type, j.dedupe_key
        from alert_deliveries d left join jobs j on j.id = d.job_id
        where (d.receiver_kind = 'agent' and d.status = 'delivered') <> (d.job_id is not null)
          or (j.id is not null and (j.job_type <> '${NOTICE_JOB}' or j.dedupe_key is distinct from 'alert:' || d.id))`,
      what: (row) =>
        `Delivery ${text(row['delivery_id'])} to ${text(row['receiver'])} is said to be job ${text(row['job_id'])}, whose type is ${text(row['job_type'])} and key ${text(row['dedupe_key'])}.`,
      next: COMPARE,
    },
    {
      // One that waits for an older one about the same alert is not due yet.
      sql: ({ graceSeconds }) => `select case when d.next_try_at < clock_timestamp() then 'delivery_overdue' else 'delivery_put_off' end as kind,
          d.id as delivery_id, d.receiver, d.tries, d.next_try_at, d.created_at
        from alert_deliveries d
        where d.status = 'pending' and (
          d.next_try_at > clock_timestamp() + interval '${LONGEST_WAIT_MS + graceSeconds * 1_000} milliseconds'
          or (d.next_try_at < clock_timestamp() - interval '${graceSeconds} seconds' and not exists (
            select from alert_deliveries o where o.status = 'pending' and o.alert_id = d.alert_id and o.receiver_kind = d.receiver_kind and o.receiver = d.receiver and o.seq < d.seq)))`,
      what: (row) =>
        `Delivery ${text(row['delivery_id'])} to ${text(row['receiver'])} of ${text(row['created_at'])} is pending after ${text(row['tries'])} tries; its next is due at ${text(row['next_try_at'])}, and the schedule does not allow that.`,
      next: TOLD,
    },
  ],
}
