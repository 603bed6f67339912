import { sql } from 'drizzle-orm'
import { faultsOfSchedules } from '../config/schedule.js'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { FleetChange } from '../contracts/fleet.js'
import { uuidv7 } from '../contracts/ids.js'
import { orderKey, StandingOrderConfig } from '../contracts/standing-orders.js'
import type { Tx } from './database.js'
import { differences } from './differences.js'
import { instantOf } from './presence.js'

export interface ApplyOrders {
  readonly actor: Actor
  readonly dryRun: boolean
  /** Orders that are not named are disabled, never deleted: their history stays. */
  readonly prune: boolean
  readonly nowMs: number
}

export interface KnownOrder {
  readonly id: string
  readonly version: number
  readonly definition: Record<string, unknown>
}

export interface OrderWrite {
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
  const known = await knownOrders(tx, what.prune ? undefined : orders)
  const named = new Set(orders.map(orderKey))
  const writes: OrderWrite[] = []
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
  if (!what.dryRun && writes.length > 0) await writeOrders(tx, writes, what)
  return changes
}

/** Orders by `agent/name`, locked; those named, or all. */
export async function knownOrders(tx: Tx, named?: readonly { readonly agent: string; readonly name: string }[]): Promise<Map<string, KnownOrder>> {
  const only = JSON.stringify((named ?? []).map(({ agent, name }) => ({ agent, name })))
  const { rows } = await tx.execute(sql`
    select id, agent_id, name, version, definition from standing_orders
    ${named === undefined ? sql`` : sql`where (agent_id, name) in (select w.agent, w.name from jsonb_to_recordset(${only}::jsonb) as w (agent text, name text))`}
    for no key update`)
  return new Map(
    rows.map((row) => [
      orderKey({ agent: String(row['agent_id']), name: String(row['name']) }),
      { id: String(row['id']), version: Number(row['version']), definition: row['definition'] as Record<string, unknown> },
    ]),
  )
}

/** Writes each as the version in force from now. */
export async function writeOrders(tx: Tx, writes: readonly OrderWrite[], { actor, nowMs }: Pick<ApplyOrders, 'actor' | 'nowMs'>): Promise<void> {
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
