import { sql, type SQL } from 'drizzle-orm'
import { assertNever } from '../../contracts/errors.js'
import { DEFAULT_WINDOW_SECONDS, subjectOf, type AlertRule } from '../../contracts/alerts.js'
import type { Db, Tx } from '../database.js'
import { instantOf } from '../presence.js'

/** The type of the jobs that tell an agent of an alert. They count in no figure of alerts: an alert about alerts would feed itself. */
export const NOTICE_JOB = 'alert.notice'
/** The name of the one subject of a rule that counts everything together. */
export const WHOLE_FLEET = 'fleet'

/** How large a rule's figure is now, by subject. A subject that is not named has a figure of 0. */
export async function readFigure(db: Db | Tx, rule: AlertRule, nowMs: number): Promise<Map<string, number>> {
  const { rows } = await db.execute<{ subject: string | null; value: number }>(figureOf(rule, sql`${instantOf(nowMs)}::timestamptz`))
  return new Map(rows.map((row) => [row.subject ?? 'unassigned', Math.max(0, row.value)]))
}

function figureOf(rule: AlertRule, now: SQL): SQL {
  const since = sql`${now} - make_interval(secs => ${rule.window_seconds ?? DEFAULT_WINDOW_SECONDS})`
  const by = subjectOf(rule)
  const column = (name: 'agent' | 'lane' | 'order'): SQL => {
    if (by === 'fleet') return sql`${WHOLE_FLEET}`
    return by === 'lane' ? sql`lane::text` : name === 'order' && by === 'order' ? sql`o.agent_id || '/' || o.name` : name === 'order' ? sql`o.agent_id` : sql`target_agent`
  }
  switch (rule.figure) {
    case 'dead_letters':
      return sql`select ${column('agent')} as subject, count(*)::float8 as value from jobs
        where status in ('failed', 'dead') and buried_at is null and finished_at > ${since} and job_type <> ${NOTICE_JOB} group by 1`
    case 'missed_slots':
      return sql`select ${column('order')} as subject, count(*)::float8 as value from standing_order_runs r join standing_orders o on o.id = r.order_id
        where r.status = 'missed' and r.slot_at > ${since} and r.slot_at <= ${now} group by 1`
    case 'stale_workers':
      // Whoever has been silent for an hour is a row of the observations only.
      return sql`select ${WHOLE_FLEET} as subject, (
        (select count(*) from dispatcher_heartbeats where stopped_at is null and last_seen < ${now} - interval '20 seconds' and last_seen > ${since})
        + (select count(*) from observations where kind = 'mend' and code = 'worker_gone' and at > ${since} and (details ->> 'last_seen')::timestamptz > ${since}))::float8 as value`
    case 'blocked_seconds':
      return sql`select ${column('agent')} as subject, extract(epoch from ${now} - min(blocked_at))::float8 as value from jobs
        where status = 'blocked' and job_type <> ${NOTICE_JOB} group by 1`
    case 'breaker_open_seconds':
      return sql`select id as subject, extract(epoch from ${now} - breaker_changed_at)::float8 as value from gateways where breaker = 'open'`
    case 'queue_age_seconds':
      return sql`select ${column('agent')} as subject, extract(epoch from ${now} - min(run_after))::float8 as value from jobs
        where status = 'queued' and run_after <= ${now} group by 1`
    case 'queue_depth':
      return sql`select ${column('agent')} as subject, count(*)::float8 as value from jobs where status = 'queued' and run_after <= ${now} group by 1`
    case 'outbox_lag_seconds':
      return sql`select ${WHOLE_FLEET} as subject, extract(epoch from ${now} - created_at)::float8 as value from (select created_at from outbox order by id limit 1) oldest`
    default:
      return assertNever(rule.figure)
  }
}
