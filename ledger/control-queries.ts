import { sql, type SQL } from 'drizzle-orm'
import type { ControlChangeView, ControlView, DrainWait, ListControlChangesQuery } from '../contracts/controls.js'
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

/**
 * The transactions that write attempts: `writer` holds the table for that. A statement takes this lock before the snapshot that it reads
 * with, so whoever looked for controls before a drain was there is among them until its attempt can be seen.
 */
export const ATTEMPT_WRITERS = sql`
  select l.virtualtransaction as writer, l.pid from pg_locks l
  where l.database = (select oid from pg_database where datname = current_database()) and l.relation = 'job_attempts'::regclass
    and l.mode = 'RowExclusiveLock' and l.granted`

/**
 * How many they are, and when the oldest began. Null when PostgreSQL does not tell that of one of them, a session of another role or a
 * prepared transaction: that may be the oldest. At most as many rows as connections.
 */
const WRITERS_SEEN = sql`
  (select jsonb_build_object('count', count(distinct w.writer), 'since', case when bool_and(a.xact_start is not null) then min(a.xact_start) end)
    from (${ATTEMPT_WRITERS}) w left join pg_stat_activity a on a.pid = w.pid)`

interface SeenControl extends ControlRow {
  readonly f_in_force: boolean
  readonly f_still_running: number
  /** Asked for only where a drain has nothing else to wait for. */
  readonly f_writers: { readonly count: number; readonly since: string | null } | null
}

/** What is in force, the widest scope first. */
export async function listControls(db: Db | Tx, only: { readonly id?: number } = {}): Promise<ControlView[]> {
  const which = only.id === undefined ? sql`c.lifted_at is null and (c.until_at is null or c.until_at > clock_timestamp())` : sql`c.id = ${only.id}`
  const { rows } = await db.execute(sql`
    select c.*, s.in_force as f_in_force, s.still_running as f_still_running,
      case when s.in_force and c.action = 'drain' and c.drained_at is null and s.still_running = 0 then ${WRITERS_SEEN} end as f_writers
    from controls c cross join lateral (
      select c.lifted_at is null and (c.until_at is null or c.until_at > clock_timestamp()) as in_force, (select count(*)::int from ${OPEN_IN_SCOPE}) as still_running
    ) s
    where ${which} order by c.scope, c.target limit 10000`)
  return rows.map((row) => controlView(row as unknown as SeenControl))
}

function controlView(row: SeenControl): ControlView {
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
    waits_for: waitOf(row),
    drained_at: isoOrNull(row.drained_at),
    lifted_at: isoOrNull(row.lifted_at),
    lifted_by_kind: row.lifted_by_kind,
    lifted_by: row.lifted_by,
    lifted_because: row.lifted_because,
    lift_reason: row.lift_reason,
  }
}

function waitOf({ action, drained_at: drainedAt, f_in_force: inForce, f_still_running: open, f_writers: writers }: SeenControl): DrainWait | null {
  if (action !== 'drain' || drainedAt !== null || !inForce) return null
  if (open > 0) return { kind: 'attempts', count: open, since: null }
  if (writers === null || writers.count === 0) return { kind: 'next_look', count: 0, since: null }
  return { kind: 'transactions', count: writers.count, since: isoOrNull(writers.since) }
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
