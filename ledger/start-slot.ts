import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { AgentId } from '../contracts/ids.js'
import { CreateJobBody } from '../contracts/jobs.js'
import { isWithinHours, nextSlot } from '../config/schedule.js'
import { orderKey, scheduleOf, type SkipCause, type StandingOrderConfig } from '../contracts/standing-orders.js'
import { uuidv7 } from '../contracts/ids.js'
import { createJob } from './create-job.js'
import type { Tx } from './database.js'
import { moveSlot } from './move-slot.js'
import { observe } from './observe.js'
import { pausedBy, pauseOf } from './paused-by.js'
import { TICK_PATIENCE_MS } from './plan-slots.js'
import { instantOf } from './presence.js'

export interface StartSlot {
  readonly orderId: string
  /** The time the slot is for, not the time it is picked up. */
  readonly slotMs: number
  readonly nowMs: number
  readonly actor: Actor
  readonly trigger: 'tick' | 'keeper' | 'catch_up'
  /** A catch-up queues behind what runs, whatever the order says of its own overlap. */
  readonly mayOverlap?: boolean
}

export type SlotStart =
  | { readonly kind: 'started'; readonly runId: string; readonly jobId: string }
  | { readonly kind: 'skipped'; readonly runId: string; readonly cause: SkipCause }
  /** Somebody else has started or settled it. */
  | { readonly kind: 'done'; readonly runId: string; readonly status: string }
  /** Paused, and to be caught up: it stays expected until the pause is over. */
  | { readonly kind: 'held'; readonly runId: string }
  /** Past its grace: the detector decides. */
  | { readonly kind: 'late'; readonly runId: string }
  /** No version of the order that is in force is due then. */
  | { readonly kind: 'not_a_slot' }

interface OrderRow {
  readonly id: string
  readonly agent_id: string
  readonly version: number
  readonly definition: StandingOrderConfig
  readonly enabled: boolean
  readonly in_force_from_ms: number
}

interface RunRow {
  readonly id: string
  readonly version: number
  readonly status: string
  readonly definition: StandingOrderConfig
  readonly grace_until_ms: number
}

/**
 * A slot is due: decides its guards and, if they let it pass, creates its job, all in one transaction. However often and
 * from however many processes it is called for one slot, it starts it once. No gateway is called.
 */
export async function startSlot(tx: Tx, request: StartSlot): Promise<SlotStart> {
  const order = await readOrder(tx, request.orderId)
  const run = order === undefined ? undefined : await findOrPlan(tx, order, request)
  if (order === undefined || run === undefined) {
    await observe(tx, {
      kind: 'drop',
      code: 'not_a_slot',
      actor: request.actor,
      agentId: order?.agent_id,
      detail: `A tick came for ${instantOf(request.slotMs)}, at which standing order ${order === undefined ? request.orderId : orderKey(order.definition)} is not due.`,
    })
    return { kind: 'not_a_slot' }
  }
  if (run.status !== 'expected') return { kind: 'done', runId: run.id, status: run.status }
  if (request.trigger !== 'catch_up' && request.nowMs > run.grace_until_ms) return { kind: 'late', runId: run.id }
  const cause = await skipCause(tx, order, run, request)
  if (cause?.cause === 'paused' && run.definition.catch_up !== 'skip') return { kind: 'held', runId: run.id }
  if (cause !== undefined) {
    await moveSlot(tx, { runId: run.id, to: 'skipped', cause: cause.cause, actor: request.actor, details: cause.details, nowMs: request.nowMs })
    return { kind: 'skipped', runId: run.id, cause: cause.cause }
  }
  const { job } = await createJob(tx, jobOf(run, request.slotMs), { actor: request.actor, nowMs: request.nowMs, slot: { runId: run.id, session: run.definition.session } })
  const details = { trigger: request.trigger, late_seconds: Math.max(0, Math.round((request.nowMs - request.slotMs) / 1_000)), job_id: job.id }
  await moveSlot(tx, { runId: run.id, to: 'started', actor: request.actor, details, nowMs: request.nowMs })
  return { kind: 'started', runId: run.id, jobId: job.id }
}

async function readOrder(tx: Tx, id: string): Promise<OrderRow | undefined> {
  const { rows } = await tx.execute(sql`
    select id, agent_id, version, definition, enabled, extract(epoch from in_force_from)::float8 * 1000 as in_force_from_ms
    from standing_orders where id = ${id}::uuid for share`)
  return rows[0] as unknown as OrderRow | undefined
}

async function findOrPlan(tx: Tx, order: OrderRow, request: StartSlot): Promise<RunRow | undefined> {
  const known = await lockRun(tx, order.id, request.slotMs)
  if (known !== undefined) return known
  const isDue = order.enabled && request.slotMs > order.in_force_from_ms && nextSlot(scheduleOf(order.definition), request.slotMs - 1) === request.slotMs
  if (!isDue) return undefined
  const graceUntil = instantOf(request.slotMs + order.definition.grace_seconds * 1_000)
  await tx.execute(sql`
    insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at)
    values (${uuidv7(request.nowMs)}::uuid, ${order.id}::uuid, ${order.version}, ${order.agent_id}, ${instantOf(request.slotMs)}::timestamptz,
      ${graceUntil}::timestamptz, ${instantOf(request.slotMs + TICK_PATIENCE_MS)}::timestamptz)
    on conflict (order_id, slot_at) do nothing`)
  return lockRun(tx, order.id, request.slotMs)
}

/** The slot under its lock, with the definition it was planned from. */
async function lockRun(tx: Tx, orderId: string, slotMs: number): Promise<RunRow | undefined> {
  const { rows } = await tx.execute(sql`
    select r.id, r.version, r.status, v.definition, extract(epoch from r.grace_until)::float8 * 1000 as grace_until_ms
    from standing_order_runs r join standing_order_versions v on v.order_id = r.order_id and v.version = r.version
    where r.order_id = ${orderId}::uuid and r.slot_at = ${instantOf(slotMs)}::timestamptz for no key update of r`)
  return rows[0] as unknown as RunRow | undefined
}

/** The guards, cheapest first. What they forbid costs no token: no gateway has been called. */
async function skipCause(tx: Tx, order: OrderRow, run: RunRow, request: StartSlot): Promise<{ cause: SkipCause; details: Record<string, unknown> } | undefined> {
  const { guards, time_zone, overlap } = run.definition
  if (guards.active_hours !== undefined && !isWithinHours(guards.active_hours, time_zone, request.nowMs)) {
    return { cause: 'outside_active_hours', details: { active_hours: guards.active_hours } }
  }
  if (guards.quiet_hours !== undefined && isWithinHours(guards.quiet_hours, time_zone, request.nowMs)) return { cause: 'quiet_hours', details: { quiet_hours: guards.quiet_hours } }
  const { rows } = await tx.execute<{ enabled: boolean; paused: string | null; open_run: string | null; open_jobs: number }>(sql`
    select a.enabled,
      ${pausedBy({ lane: sql`${run.definition.lane}`, agent: sql`a.id`, gateway: sql`a.gateway_id`, order: sql`${orderKey(run.definition)}` })} as paused,
      (select r.id from standing_order_runs r where r.order_id = ${order.id}::uuid and r.status = 'started' limit 1) as open_run,
      (select count(*)::int from jobs j where j.target_agent = a.id and j.status in ('queued', 'leased', 'running') and j.finished_at is null) as open_jobs
    from agents a where a.id = ${order.agent_id}`)
  const found = rows[0]
  if (found === undefined) throw new Error(`agent ${order.agent_id} is missing`)
  if (!found.enabled || !order.enabled) return { cause: 'disabled', details: { disabled: found.enabled ? 'order' : 'agent' } }
  const pause = pauseOf(found.paused)
  if (pause !== undefined) return { cause: 'paused', details: { scope: pause.scope, control_id: pause.controlId } }
  if (overlap === 'skip' && request.mayOverlap !== true && found.open_run !== null) return { cause: 'overlap', details: { open_run: found.open_run } }
  if (guards.only_when_idle && found.open_jobs > 0) return { cause: 'agent_not_idle', details: { open_jobs: found.open_jobs } }
  return undefined
}

function jobOf(run: RunRow, slotMs: number): CreateJobBody {
  const order = run.definition
  return CreateJobBody.parse({
    target_agent: order.agent satisfies AgentId,
    job_type: 'standing_order',
    subject: `${order.name} of ${instantOf(slotMs)}`,
    lane: order.lane,
    priority: order.priority,
    max_attempts: order.max_attempts,
    ...(order.timeout_seconds === undefined ? {} : { timeout_seconds: order.timeout_seconds }),
    payload: { standing_order: orderKey(order), run_id: run.id, slot_at: instantOf(slotMs), message: order.message },
  })
}
