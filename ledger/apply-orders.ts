import { sql } from 'drizzle-orm'
import { faultsOfSchedules } from '../config/schedule.js'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { FleetChange } from '../contracts/fleet.js'
import { uuidv7 } from '../contracts/ids.js'
import { orderKey, StandingOrderConfig } from '../contracts/standing-orders.js'
import type { Tx } from './database.js'
import { instantOf } from './presence.js'

export interface ApplyOrders {
  readonly actor: Actor
  readonly dryRun: boolean
  /** Orders that are not named are disabled, never deleted: their history stays. */
  readonly prune: boolean
  readonly nowMs: number
}

interface Known {
  readonly id: string
  readonly version: number
  readonly definition: Record<string, unknown>
}

interface Write {
  readonly id: string
  readonly version: number
  readonly definition: StandingOrderConfig
}

/**
 * Brings standing orders to what the file says. A change is a new version, in force from now: slots that were planned from
 * the old one and are not due yet go with it.
 */
export async function applyOrders(tx: Tx, orders: readonly StandingOrderConfig[], what: ApplyOrders): Promise<FleetChange[]> {
  const [bad] = faultsOfSchedules(orders)
  if (bad !== undefined) {
    throw new AgentbusError('AGENTBUS_BAD_REQUEST', `standing_orders.${bad.index}.cron: ${bad.fault}`, { field: `standing_orders.${bad.index}.cron` })
  }
  const known = await knownOrders(tx)
  const named = new Set(orders.map(orderKey))
  const writes: Write[] = []
  const changes = orders.map((order): FleetChange => {
    const before = known.get(orderKey(order))
    const fields = differences(before?.definition, order)
    if (before !== undefined && Object.keys(fields).length === 0) return { kind: 'standing_order', id: orderKey(order), change: 'unchanged', fields }
    writes.push({ id: before?.id ?? uuidv7(what.nowMs), version: (before?.version ?? 0) + 1, definition: order })
    return { kind: 'standing_order', id: orderKey(order), change: before === undefined ? 'added' : 'changed', fields }
  })
  for (const [key, before] of what.prune ? known : []) {
    if (named.has(key) || before.definition['enabled'] === false) continue
    writes.push({ id: before.id, version: before.version + 1, definition: StandingOrderConfig.parse({ ...before.definition, enabled: false }) })
    changes.push({ kind: 'standing_order', id: key, change: 'disabled', fields: { enabled: { from: true, to: false } } })
  }
  if (!what.dryRun && writes.length > 0) await write(tx, writes, what)
  return changes
}

async function knownOrders(tx: Tx): Promise<Map<string, Known>> {
  const { rows } = await tx.execute(sql`select id, agent_id, name, version, definition from standing_orders for no key update`)
  return new Map(
    rows.map((row) => [
      orderKey({ agent: String(row['agent_id']), name: String(row['name']) }),
      { id: String(row['id']), version: Number(row['version']), definition: row['definition'] as Record<string, unknown> },
    ]),
  )
}

function differences(before: Record<string, unknown> | undefined, order: StandingOrderConfig): FleetChange['fields'] {
  const fields: FleetChange['fields'] = {}
  const after: Record<string, unknown> = order
  for (const name of new Set([...Object.keys(before ?? {}), ...Object.keys(after)])) {
    const [from, to] = [before?.[name] ?? null, after[name] ?? null]
    if (canonical(from) !== canonical(to)) fields[name] = { from, to }
  }
  return fields
}

/** jsonb keeps keys in an order of its own. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    item !== null && typeof item === 'object' && !Array.isArray(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1))) : item,
  )
}

async function write(tx: Tx, writes: readonly Write[], { actor, nowMs }: ApplyOrders): Promise<void> {
  const rows = JSON.stringify(
    writes.map(({ id, version, definition }) => ({ id, version, agent_id: definition.agent, name: definition.name, enabled: definition.enabled, definition })),
  )
  const now = instantOf(nowMs)
  await tx.execute(sql`
    insert into standing_orders (id, agent_id, name, version, definition, enabled, in_force_from, planned_until, plan_at)
    select w.id, w.agent_id, w.name, w.version, w.definition, w.enabled, ${now}::timestamptz, ${now}::timestamptz, ${now}::timestamptz
    from jsonb_to_recordset(${rows}::jsonb) as w (id uuid, version int, agent_id text, name text, enabled boolean, definition jsonb)
    on conflict (id) do update set version = excluded.version, definition = excluded.definition, enabled = excluded.enabled,
      in_force_from = excluded.in_force_from, planned_until = excluded.planned_until, plan_at = excluded.plan_at`)
  await tx.execute(sql`
    insert into standing_order_versions (order_id, version, definition, enabled, in_force_from, actor_kind, actor)
    select w.id, w.version, w.definition, w.enabled, ${now}::timestamptz, ${actor.kind}::actor_kind, ${actor.id}
    from jsonb_to_recordset(${rows}::jsonb) as w (id uuid, version int, enabled boolean, definition jsonb)`)
  await tx.execute(sql`
    delete from standing_order_runs r using jsonb_to_recordset(${rows}::jsonb) as w (id uuid)
    where r.order_id = w.id and r.status = 'expected' and r.slot_at > ${now}::timestamptz`)
}
