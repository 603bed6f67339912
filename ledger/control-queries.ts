import { sql, type SQL } from 'drizzle-orm'
import type { ControlChangeView, ControlView, ListControlChangesQuery } from '../contracts/controls.js'
import { AgentbusError } from '../contracts/errors.js'
import type { ControlRow } from './controls.js'
import type { Db, Tx } from './database.js'
import { page, type Page } from './queries.js'
import { iso } from './rows.js'

const isoOrNull = (text: string | null): string | null => (text === null ? null : iso(text))

/** Open attempts in the scope of a control `c`. Few at any time: each agent has only so many places. */
export const OPEN_IN_SCOPE = sql`
  job_attempts t join jobs j on j.id = t.job_id
  where t.finished_at is null and case c.scope
    when 'everything' then true when 'lane' then j.lane::text = c.target when 'agent' then t.agent_id = c.target when 'gateway' then t.gateway_id = c.target
    when 'order' then exists (select from standing_order_runs r join standing_orders o on o.id = r.order_id
      where r.id = j.standing_order_run_id and o.agent_id || '/' || o.name = c.target)
    else false end`

/** What is in force, the widest scope first. */
export async function listControls(db: Db | Tx, only: { readonly id?: number } = {}): Promise<ControlView[]> {
  const which = only.id === undefined ? sql`c.lifted_at is null and (c.until_at is null or c.until_at > clock_timestamp())` : sql`c.id = ${only.id}`
  const { rows } = await db.execute(sql`
    select c.*, c.lifted_at is null and (c.until_at is null or c.until_at > clock_timestamp()) as f_in_force,
      (select count(*)::int from ${OPEN_IN_SCOPE}) as f_still_running
    from controls c where ${which} order by c.scope, c.target limit 10000`)
  return rows.map((row) => controlView(row as unknown as ControlRow & { f_in_force: boolean; f_still_running: number }))
}

function controlView(row: ControlRow & { readonly f_in_force: boolean; readonly f_still_running: number }): ControlView {
  return {
    id: Number(row.id),
    action: row.action,
    scope: row.scope,
    target: row.target === '' ? null : row.target,
    reason: row.reason,
    by_kind: row.set_by_kind,
    by: row.set_by,
    since: iso(row.set_at),
    until: isoOrNull(row.until_at),
    running: row.running,
    in_force: row.f_in_force,
    still_running: row.f_in_force && row.action !== 'freeze' ? row.f_still_running : null,
    drained_at: isoOrNull(row.drained_at),
    lifted_at: isoOrNull(row.lifted_at),
    lifted_by_kind: row.lifted_by_kind,
    lifted_by: row.lifted_by,
    lifted_because: row.lifted_because,
    lift_reason: row.lift_reason,
  }
}

/** What was done to controls, newest first. */
export async function listControlChanges(db: Db, query: ListControlChangesQuery): Promise<Page<ControlChangeView>> {
  const where: SQL[] = [sql`true`]
  if (query.scope !== undefined) where.push(sql`c.scope = ${query.scope}::control_scope`)
  if (query.target !== undefined) where.push(sql`c.target = ${query.target}`)
  if (query.cursor !== undefined) {
    if (!/^\d{1,15}$/.test(query.cursor)) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The cursor is not one that a list has given.', { field: 'cursor' })
    where.push(sql`h.id < ${query.cursor}::bigint`)
  }
  const { rows } = await db.execute(sql`
    select h.id, h.control_id, h.at, h.change, h.reason, h.actor_kind, h.actor, h.details, c.action, c.scope, c.target, c.until_at, c.running
    from control_changes h join controls c on c.id = h.control_id
    where ${sql.join(where, sql` and `)} order by h.id desc limit ${query.limit + 1}`)
  const views = rows.map((row): ControlChangeView => ({
    id: Number(row['id']),
    control_id: Number(row['control_id']),
    at: iso(String(row['at'])),
    change: row['change'] as ControlChangeView['change'],
    action: row['action'] as ControlChangeView['action'],
    scope: row['scope'] as ControlChangeView['scope'],
    target: row['target'] === '' ? null : String(row['target']),
    reason: String(row['reason']),
    actor_kind: row['actor_kind'] as ControlChangeView['actor_kind'],
    actor: String(row['actor']),
    until: isoOrNull(row['until_at'] as string | null),
    running: row['running'] as ControlChangeView['running'],
    details: row['details'] as Record<string, unknown>,
  }))
  return page(views, query.limit, (view) => String(view.id))
}
