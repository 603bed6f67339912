import { sql, type SQL } from 'drizzle-orm'
import { uuidv7 } from '../contracts/ids.js'
import { nextSlot, slotsBetween } from '../config/schedule.js'
import { scheduleOf, type StandingOrderConfig } from '../contracts/standing-orders.js'
import type { Tx } from './database.js'
import { isFound } from './is-found.js'
import { instantOf } from './presence.js'

export interface PlanRequest {
  readonly nowMs: number
  /** Milliseconds ahead for which every slot is a row. Beyond that, the next one of each order is. */
  readonly horizonMs: number
  /** Orders per call. */
  readonly limit: number
}

/** How long the keeper leaves a due slot to its tick. */
export const TICK_PATIENCE_MS = 2_000

/** Slots of one order that one call writes at most; an order that was asleep for long takes several calls. */
const MOST_SLOTS = 2_000

interface Planned {
  readonly order_id: string
  readonly slots: readonly number[]
  readonly plannedUntilMs: number
  readonly planAtMs: number
  readonly order: PlanRow
}

interface PlanRow {
  readonly id: string
  readonly agent_id: string
  readonly version: number
  readonly definition: StandingOrderConfig
  readonly planned_until_ms: number
}

/** Whether {@link planSlots} has anything to do. */
export function plansDue(nowMs: number): SQL {
  return isFound(sql`standing_orders where enabled and plan_at <= ${instantOf(nowMs)}::timestamptz order by plan_at`)
}

/**
 * Writes the slots of orders as `expected` rows before they are due, from the definition in force. It also writes those
 * that came due while nobody planned: `planned_until` is where the last call ended, whatever happened since.
 * @returns how many orders were looked at, and how many slots were written
 */
export async function planSlots(tx: Tx, request: PlanRequest): Promise<{ orders: number; slots: number }> {
  const { rows } = await tx.execute(sql`
    select id, agent_id, version, definition, extract(epoch from planned_until)::float8 * 1000 as planned_until_ms
    from standing_orders where enabled and plan_at <= ${instantOf(request.nowMs)}::timestamptz
    order by plan_at limit ${request.limit} for no key update skip locked`)
  const planned = (rows as unknown as PlanRow[]).map((row) => plan(row, request))
  const slots = planned.flatMap(({ order, slots: due }) =>
    due.map((atMs) => ({
      id: uuidv7(request.nowMs),
      order_id: order.id,
      version: order.version,
      agent_id: order.agent_id,
      slot_at: instantOf(atMs),
      grace_until: instantOf(atMs + order.definition.grace_seconds * 1_000),
      look_at: instantOf(atMs + Math.min(TICK_PATIENCE_MS, order.definition.grace_seconds * 250)),
    })),
  )
  if (slots.length > 0) {
    await tx.execute(sql`
      insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at)
      select s.id, s.order_id, s.version, s.agent_id, s.slot_at, s.grace_until, s.look_at
      from jsonb_to_recordset(${JSON.stringify(slots)}::jsonb)
        as s (id uuid, order_id uuid, version int, agent_id text, slot_at timestamptz, grace_until timestamptz, look_at timestamptz)
      on conflict (order_id, slot_at) do nothing`)
  }
  if (planned.length > 0) {
    const marks = planned.map((one) => ({ id: one.order_id, planned_until: instantOf(one.plannedUntilMs), plan_at: instantOf(one.planAtMs) }))
    await tx.execute(sql`
      update standing_orders o set planned_until = m.planned_until, plan_at = m.plan_at
      from jsonb_to_recordset(${JSON.stringify(marks)}::jsonb) as m (id uuid, planned_until timestamptz, plan_at timestamptz)
      where o.id = m.id`)
  }
  return { orders: planned.length, slots: slots.length }
}

/** A time that PostgreSQL takes and no order reaches. */
const NEVER_MS = Date.UTC(9999, 0, 1)

function plan(order: PlanRow, { nowMs, horizonMs }: PlanRequest): Planned {
  const schedule = scheduleOf(order.definition)
  const fromMs = Math.round(order.planned_until_ms)
  const untilMs = nowMs + horizonMs
  const slots = slotsBetween(schedule, fromMs, untilMs, MOST_SLOTS)
  const last = slots.at(-1)
  if (slots.length === MOST_SLOTS && last !== undefined) return { order_id: order.id, order, slots, plannedUntilMs: last, planAtMs: nowMs }
  // One slot beyond the horizon, so that the next one is a row at any time.
  const beyond = nextSlot(schedule, Math.max(fromMs, untilMs))
  if (beyond === undefined) return { order_id: order.id, order, slots, plannedUntilMs: Math.max(fromMs, untilMs), planAtMs: NEVER_MS }
  return { order_id: order.id, order, slots: [...slots, beyond], plannedUntilMs: beyond, planAtMs: beyond - horizonMs / 2 }
}
