import { sql, type SQL } from 'drizzle-orm'
import type { AlertDeliveryView, AlertHistory, AlertId, AlertView, ListAlertsQuery, SilenceView } from '../../contracts/alerts.js'
import { AgentbusError } from '../../contracts/errors.js'
import type { Db, Tx } from '../database.js'
import { page, uuidCursor, type Page } from '../queries.js'
import { iso } from '../rows.js'
import { alertView, deliveryView, silenceView, type AlertRow, type DeliveryRow, type SilenceRow } from './rows.js'

type Shown = AlertRow & { readonly silenced_until: string | null }

const SILENCED_UNTIL = sql`(select max(s.until) from alert_silences s
  where s.rule = a.rule and (s.subject is null or s.subject = a.subject) and s.lifted_at is null and s.until > clock_timestamp()) as silenced_until`

/** Alerts, newest first. */
export async function listAlerts(db: Db | Tx, query: ListAlertsQuery): Promise<Page<AlertView>> {
  const where: SQL[] = [sql`true`]
  if (query.status !== 'any') where.push(sql`a.status = ${query.status}::alert_status`)
  if (query.rule !== undefined) where.push(sql`a.rule = ${query.rule}`)
  if (query.cursor !== undefined) where.push(sql`a.id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select a.*, ${SILENCED_UNTIL} from alerts a where ${sql.join(where, sql` and `)} order by a.id desc limit ${query.limit + 1}`)
  return page((rows as unknown as Shown[]).map(alertView), query.limit, (alert) => alert.id)
}

/** @throws AGENTBUS_ALERT_NOT_FOUND */
export async function getAlert(db: Db | Tx, id: AlertId): Promise<AlertView> {
  const { rows } = await db.execute(sql`select a.*, ${SILENCED_UNTIL} from alerts a where a.id = ${id}::uuid`)
  const row = rows[0] as unknown as Shown | undefined
  if (row === undefined) throw new AgentbusError('AGENTBUS_ALERT_NOT_FOUND', `No alert has the id ${id}.`, { alert_id: id })
  return alertView(row)
}

/** An alert with what happened to it and who was told. @throws AGENTBUS_ALERT_NOT_FOUND */
export async function alertHistory(db: Db, id: AlertId): Promise<AlertHistory> {
  const alert = await getAlert(db, id)
  const { rows } = await db.execute(sql`select seq, move, actor_kind, actor, note, details, at from alert_history where alert_id = ${id}::uuid order by seq`)
  return {
    alert,
    history: rows.map((row) => ({ ...row, at: iso(String(row['at'])) })) as unknown as AlertHistory['history'],
    deliveries: await deliveriesWhere(db, sql`d.alert_id = ${id}::uuid`),
  }
}

export async function deliveriesWhere(db: Db | Tx, where: SQL): Promise<AlertDeliveryView[]> {
  const { rows } = await db.execute(sql`
    select d.*, coalesce((
      select jsonb_agg(jsonb_build_object('try_no', t.try_no, 'at', t.at, 'ok', t.ok, 'http_status', t.http_status, 'error', t.error, 'ms', t.ms, 'worker', t.worker) order by t.try_no)
      from alert_attempts t where t.delivery_id = d.id), '[]'::jsonb) as attempts
    from alert_deliveries d where ${where} order by d.created_at, d.seq, d.id limit 1000`)
  return rows.map((row) => {
    const attempts = row['attempts'] as AlertDeliveryView['attempts']
    return deliveryView(
      row as unknown as DeliveryRow,
      attempts.map((attempt) => ({ ...attempt, at: iso(attempt.at) })),
    )
  })
}

/** Silences that still hold, the one that ends first first. */
export async function listSilences(db: Db | Tx): Promise<SilenceView[]> {
  const { rows } = await db.execute(sql`select * from alert_silences where lifted_at is null and until > clock_timestamp() order by until limit 1000`)
  return (rows as unknown as SilenceRow[]).map(silenceView)
}
