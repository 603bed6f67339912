import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentId, JobId } from '../contracts/ids.js'
import { orderKey, type ListSlotsQuery, type OrderId, SlotId, type SlotView, type StandingOrderConfig, type StandingOrderView } from '../contracts/standing-orders.js'
import { Time } from '../contracts/text.js'
import type { Db, Tx } from './database.js'
import { instantOf } from './presence.js'
import { iso } from './rows.js'

const RUN_COLUMNS = sql`
  r.id, r.order_id, r.version, r.agent_id, o.name, r.slot_at, r.grace_until, r.status, r.cause, r.trigger, r.unstated, r.summary, r.evidence, r.details,
  r.started_at, r.finished_at, (select j.id from jobs j where j.standing_order_run_id = r.id) as job_id`

function isoOrNull(value: unknown): string | null {
  return typeof value === 'string' ? iso(value) : null
}

function slotView(row: Record<string, unknown>): SlotView {
  return {
    id: row['id'] as SlotId,
    version: Number(row['version']),
    status: row['status'] as SlotView['status'],
    cause: row['cause'] as string | null,
    trigger: row['trigger'] as SlotView['trigger'],
    unstated: row['unstated'] === true,
    summary: row['summary'] as string | null,
    evidence: row['evidence'] as SlotView['evidence'],
    details: row['details'] as SlotView['details'],
    order: orderKey({ agent: String(row['agent_id']), name: String(row['name']) }),
    agent_id: row['agent_id'] as AgentId,
    slot_at: iso(String(row['slot_at'])),
    grace_until: iso(String(row['grace_until'])),
    job_id: row['job_id'] as JobId | null,
    started_at: isoOrNull(row['started_at']),
    finished_at: isoOrNull(row['finished_at']),
  }
}

/** Splits `agent/name`. @throws AGENTBUS_ORDER_NOT_FOUND for anything else */
export function splitOrderKey(key: string): { agent: string; name: string } {
  const [agent, name, ...rest] = key.split('/')
  if (agent === undefined || name === undefined || rest.length > 0)
    throw new AgentbusError('AGENTBUS_ORDER_NOT_FOUND', `${key} is not the name of a standing order; it has the form agent/name.`)
  return { agent, name }
}

/** Standing orders with their next slot and the newest that is due. */
export async function listOrders(db: Db | Tx, only: { readonly agent?: string; readonly order?: string }): Promise<StandingOrderView[]> {
  const key = only.order === undefined ? undefined : splitOrderKey(only.order)
  const agent = key?.agent ?? only.agent
  const { rows } = await db.execute(sql`
    select o.id, o.namespace, o.agent_id, o.name, o.version, o.in_force_from, o.enabled, o.definition, n.slot_at as next_slot_at, l.id as last_id
    from standing_orders o
      left join lateral (select slot_at from standing_order_runs where order_id = o.id and status = 'expected' and slot_at > now() order by slot_at limit 1) n on true
      left join lateral (select id from standing_order_runs where order_id = o.id and slot_at <= now() order by slot_at desc limit 1) l on true
    where (${agent ?? null}::text is null or o.agent_id = ${agent ?? null}) and (${key?.name ?? null}::text is null or o.name = ${key?.name ?? null})
    order by o.agent_id, o.name`)
  if (key !== undefined && rows.length === 0) throw new AgentbusError('AGENTBUS_ORDER_NOT_FOUND', `No standing order is named ${only.order ?? ''}.`)
  const last = await slotsById(
    db,
    rows.flatMap((row) => (typeof row['last_id'] === 'string' ? [row['last_id']] : [])),
  )
  return rows.map((row) => ({
    id: row['id'] as OrderId,
    namespace: String(row['namespace']),
    order: orderKey({ agent: String(row['agent_id']), name: String(row['name']) }),
    agent_id: row['agent_id'] as AgentId,
    name: String(row['name']),
    version: Number(row['version']),
    in_force_from: iso(String(row['in_force_from'])),
    enabled: row['enabled'] === true,
    definition: row['definition'] as StandingOrderConfig,
    next_slot_at: isoOrNull(row['next_slot_at']),
    last_slot: last.get(String(row['last_id'])) ?? null,
  }))
}

async function slotsById(db: Db | Tx, ids: readonly string[]): Promise<Map<string, SlotView>> {
  if (ids.length === 0) return new Map()
  const { rows } = await db.execute(sql`
    select ${RUN_COLUMNS} from standing_order_runs r join standing_orders o on o.id = r.order_id where r.id = any(${sql.param(ids)}::uuid[])`)
  return new Map(rows.map((row) => [String(row['id']), slotView(row)]))
}

/** Slots that are due, or up to the end of the window asked for, newest first; keyset paging on time and id. */
export async function listSlots(db: Db, query: ListSlotsQuery, nowMs: number): Promise<{ items: SlotView[]; next_cursor: string | null }> {
  const where: SQL[] = [sql`true`]
  if (query.order !== undefined) {
    const { agent, name } = splitOrderKey(query.order)
    where.push(sql`r.order_id = (select id from standing_orders where agent_id = ${agent} and name = ${name})`)
  }
  if (query.agent !== undefined) where.push(sql`r.agent_id = ${query.agent}`)
  if (query.status !== undefined) where.push(sql`r.status = ${query.status}::slot_status`)
  if (query.from !== undefined) where.push(sql`r.slot_at >= ${query.from}::timestamptz`)
  where.push(query.to === undefined ? sql`r.slot_at <= ${instantOf(nowMs)}::timestamptz` : sql`r.slot_at < ${query.to}::timestamptz`)
  if (query.cursor !== undefined) {
    const [at, id, ...rest] = query.cursor.split('_')
    if (at === undefined || id === undefined || rest.length > 0 || !Time.safeParse(at).success || !SlotId.safeParse(id).success) {
      throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The cursor is not one that a page was answered with.', { field: 'cursor' })
    }
    where.push(sql`(r.slot_at, r.id) < (${at}::timestamptz, ${id}::uuid)`)
  }
  const { rows } = await db.execute(sql`
    select ${RUN_COLUMNS} from standing_order_runs r join standing_orders o on o.id = r.order_id
    where ${sql.join(where, sql` and `)} order by r.slot_at desc, r.id desc limit ${query.limit + 1}`)
  const items = rows.slice(0, query.limit).map(slotView)
  const last = items.at(-1)
  return { items, next_cursor: rows.length > query.limit && last !== undefined ? `${last.slot_at}_${last.id}` : null }
}

/** One slot and every move of it. @throws AGENTBUS_NOT_FOUND */
export async function slotHistory(db: Db, id: SlotId): Promise<{ slot: SlotView; transitions: Record<string, unknown>[] }> {
  const slot = (await slotsById(db, [id])).get(id)
  if (slot === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No slot has the id ${id}.`)
  const { rows } = await db.execute(sql`
    select seq, from_status, to_status, cause, actor_kind, actor, details, at from standing_order_run_transitions where run_id = ${id}::uuid order by seq`)
  return { slot, transitions: rows.map((row) => ({ ...row, at: iso(String(row['at'])) })) }
}
