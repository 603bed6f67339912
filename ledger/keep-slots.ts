import { sql, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { orderKey, type MissCause, type StandingOrderConfig } from '../contracts/standing-orders.js'
import type { Tx } from './database.js'
import { isFound } from './is-found.js'
import { moveSlot } from './move-slot.js'
import { EVIDENCE_MS, instantOf, toleranceOf, type Component } from './presence.js'
import { pausedBy, pauseOf } from './paused-by.js'
import { startSlot } from './start-slot.js'

export interface KeepRequest {
  readonly nowMs: number
  readonly actor: Actor
  /** Orders per call. */
  readonly limit: number
}

interface Due {
  readonly id: string
  readonly order_id: string
  readonly slot_ms: number
  readonly grace_ms: number
  readonly agent_id: string
  readonly gateway_id: string
  readonly definition: StandingOrderConfig
  /** Whether the order still runs, with the catch-up of the definition now in force. */
  readonly enabled: boolean
}

export interface KeptSlots {
  readonly started: number
  readonly missed: number
  readonly caughtUp: number
  /** Due while a pause was in force, and not to be caught up. */
  readonly skipped: number
  /** Kept back by something that is down or paused. */
  readonly waiting: number
}

/** How long a slot that something keeps back is left alone: at most, and at least. */
const LOOK_AGAIN_MS = 5_000
const LOOK_AGAIN_SOON_MS = 250
const MOST_SLOTS = 5_000
/** No attempt lives longer: its deadline is at most a day and a margin after its start. */
const LONGEST_ATTEMPT_MS = 25 * 3_600_000
/** The keeper starts within this what its tick did not. */
const TIME_TO_START_MS = 5_000

/** Whether {@link keepSlots} has anything to do: whatever it starts, misses, skips or puts off is a slot that wants a look. */
export function slotsDue(nowMs: number): SQL {
  return isFound(sql`standing_order_runs where status = 'expected' and look_at <= ${instantOf(nowMs)}::timestamptz order by look_at`)
}

/**
 * Keeps every slot accounted for, from the ledger and the definitions alone. A tick is a hint: a slot that is due and was
 * not started is started here, unless something keeps the agent from working. Past its grace a slot becomes `missed` with
 * its cause, unless the order wants it caught up: then it starts late, as soon as what kept it back is over.
 */
export async function keepSlots(tx: Tx, request: KeepRequest): Promise<KeptSlots> {
  const kept = { started: 0, missed: 0, caughtUp: 0, skipped: 0, waiting: 0 }
  const due = await lockDue(tx, request)
  // The question why a slot was missed is asked once per slot, is always answered by the same indexes, and takes longer to
  // plan than to answer.
  if (due.size > 0) await tx.execute(sql`set local plan_cache_mode = force_generic_plan`)
  for (const slots of due.values()) await keepOrder(tx, slots, request, kept)
  return kept
}

async function keepOrder(tx: Tx, slots: readonly Due[], request: KeepRequest, kept: { -readonly [K in keyof KeptSlots]: KeptSlots[K] }): Promise<void> {
  const { nowMs, actor } = request
  const first = slots[0]
  if (first === undefined) return
  const inTime = slots.filter((slot) => slot.grace_ms >= nowMs)
  const late = decide(
    slots.filter((slot) => slot.grace_ms < nowMs),
    nowMs,
  )
  for (const slot of late.dropped) await miss(tx, slot, request, { rule: true })
  // Why it was missed is told only when everybody who was there has said so.
  const [ripe, unripe] = [late.lost.filter((slot) => slot.grace_ms + EVIDENCE_MS < nowMs), late.lost.filter((slot) => slot.grace_ms + EVIDENCE_MS >= nowMs)]
  for (const slot of ripe) await miss(tx, slot, request, { rule: false })
  for (const slot of unripe) await lookAgain(tx, [slot], slot.grace_ms + EVIDENCE_MS + 1)
  kept.missed += late.dropped.length + ripe.length
  if (inTime.length + late.wanted.length === 0) return
  const block = await blockNow(tx, first, nowMs)
  if (block !== undefined) {
    const pause = pauseOf(block.paused)
    const skipped = pause === undefined ? [] : inTime.filter((slot) => slot.definition.catch_up === 'skip')
    for (const slot of skipped) {
      await moveSlot(tx, { runId: slot.id, to: 'skipped', cause: 'paused', actor, details: { scope: pause?.scope, control_id: pause?.controlId }, nowMs })
    }
    const waiting = inTime.filter((slot) => !skipped.includes(slot))
    await lookAgain(tx, waiting, Math.min(...waiting.map((slot) => nextLook(slot, nowMs))))
    await lookAgain(tx, late.wanted, nowMs + LOOK_AGAIN_MS)
    kept.skipped += skipped.length
    kept.waiting += waiting.length + late.wanted.length
    return
  }
  // What is due now goes first: a run that is made up for must not make it skip as an overlap. It queues behind instead.
  for (const slot of inTime) await startSlot(tx, { orderId: slot.order_id, slotMs: slot.slot_ms, nowMs, actor, trigger: 'keeper' })
  for (const slot of late.wanted) await startSlot(tx, { orderId: slot.order_id, slotMs: slot.slot_ms, nowMs, actor, trigger: 'catch_up', mayOverlap: true })
  kept.caughtUp += late.wanted.length
  kept.started += inTime.length
}

/** After half of what is left of the grace, so that a slot is in time when what keeps it back passes soon; then once it is past. */
function nextLook(slot: Due, nowMs: number): number {
  const halfway = Math.max(LOOK_AGAIN_SOON_MS, (slot.grace_ms - nowMs) / 2)
  return Math.min(nowMs + Math.min(LOOK_AGAIN_MS, halfway), slot.grace_ms + 1)
}

async function lookAgain(tx: Tx, slots: readonly Due[], atMs: number): Promise<void> {
  if (slots.length === 0) return
  await tx.execute(sql`
    update standing_order_runs set look_at = ${instantOf(atMs)}::timestamptz where id = any(${sql.param(slots.map((slot) => slot.id))}::uuid[])`)
}

/** The slots that want a look, by order. Every late slot of such an order comes along: its catch-up is decided over all of them. */
async function lockDue(tx: Tx, { nowMs, limit }: KeepRequest): Promise<Map<string, Due[]>> {
  const now = instantOf(nowMs)
  const { rows: orders } = await tx.execute<{ id: string }>(sql`
    select o.id from standing_orders o
    where o.id in (select r.order_id from standing_order_runs r where r.status = 'expected' and r.look_at <= ${now}::timestamptz order by r.look_at limit ${limit})
    order by o.id for no key update skip locked`)
  const byOrder = new Map<string, Due[]>()
  if (orders.length === 0) return byOrder
  const { rows } = await tx.execute(sql`
    select r.id, r.order_id, extract(epoch from r.slot_at)::float8 * 1000 as slot_ms, extract(epoch from r.grace_until)::float8 * 1000 as grace_ms,
      r.agent_id, a.gateway_id, v.definition, o.enabled
    from standing_order_runs r
      join standing_orders o on o.id = r.order_id
      join standing_order_versions v on v.order_id = r.order_id and v.version = r.version
      join agents a on a.id = r.agent_id
    where r.order_id = any(${sql.param(orders.map((row) => row.id))}::uuid[]) and r.status = 'expected'
      and (r.look_at <= ${now}::timestamptz or r.grace_until < ${now}::timestamptz)
    order by r.order_id, r.slot_at limit ${MOST_SLOTS} for no key update of r skip locked`)
  for (const row of rows as unknown as Due[]) {
    const group = byOrder.get(row.order_id)
    if (group === undefined) byOrder.set(row.order_id, [row])
    else group.push(row)
  }
  return byOrder
}

interface Plan {
  /** To be run late. */
  readonly wanted: readonly Due[]
  /** The order's rule leaves these out: older than the latest, or more than its limit. */
  readonly dropped: readonly Due[]
  /** No catch-up, or too late for it. */
  readonly lost: readonly Due[]
}

/** What the catch-up of the order says of its overdue slots, oldest first. */
export function decide(slots: readonly Due[], nowMs: number): Plan {
  const wants = (slot: Due): boolean => slot.enabled && slot.definition.catch_up !== 'skip' && nowMs - slot.slot_ms <= slot.definition.catch_up_within_seconds * 1_000
  const candidates = slots.filter(wants)
  const newest = candidates.at(-1)?.definition
  const keep = newest === undefined ? 0 : newest.catch_up === 'latest' ? 1 : newest.catch_up_limit
  const wanted = keep === 0 ? [] : candidates.slice(-keep)
  return { wanted, dropped: candidates.slice(0, candidates.length - wanted.length), lost: slots.filter((slot) => !wants(slot)) }
}

async function miss(tx: Tx, slot: Due, { nowMs, actor }: KeepRequest, why: { readonly rule: boolean }): Promise<void> {
  const found = await missCause(tx, slot)
  await moveSlot(tx, {
    runId: slot.id,
    to: 'missed',
    cause: why.rule ? 'catch_up_rule' : found.cause,
    actor,
    details: why.rule ? { ...found.details, because: found.cause, catch_up: slot.definition.catch_up } : found.details,
    nowMs,
  })
}

/** What keeps the agent from running anything at this moment, and the control if it is one; undefined when nothing does. */
async function blockNow(tx: Tx, slot: Due, nowMs: number): Promise<{ readonly paused: string | null } | undefined> {
  const isUp = (component: Component) => sql`exists (
    select from presence where component = ${component} and seen_until >= ${instantOf(nowMs - toleranceOf(component))}::timestamptz)`
  const { rows } = await tx.execute<{ blocked: boolean; paused: string | null }>(sql`
    select not a.enabled or not ${isUp('workers')} or not ${isUp('queue_store')} or not ${isUp(`gateway:${slot.gateway_id}`)} as blocked,
      case when a.enabled then ${pausedBy({ lane: sql`${slot.definition.lane}`, agent: sql`a.id`, gateway: sql`a.gateway_id`, order: sql`${orderKey(slot.definition)}` })} end as paused
    from agents a where a.id = ${slot.agent_id}`)
  const found = rows[0]
  return found === undefined || (!found.blocked && found.paused === null) ? undefined : { paused: found.paused }
}

/**
 * Why nobody started the slot, from the ledger alone. The first cause that held when the slot was due counts, in the order
 * in which each makes the next ones idle: what is disabled or paused on purpose, then what was down, then who was busy.
 */
async function missCause(tx: Tx, slot: Due): Promise<{ cause: MissCause; details: Record<string, unknown> }> {
  const at = instantOf(slot.slot_ms)
  const until = instantOf(slot.grace_ms)
  // Who was there when it was due, and for as long as it takes to start a slot, is not the cause.
  const startedBy = instantOf(Math.min(slot.grace_ms, slot.slot_ms + TIME_TO_START_MS))
  const present = (component: 'workers' | 'queue_store') => sql`exists (
    select from presence p where p.component = ${component} and p.seen_from <= ${at}::timestamptz and p.seen_until >= ${startedBy}::timestamptz)`
  const oldest = instantOf(slot.slot_ms - LONGEST_ATTEMPT_MS)
  const gateway: Component = `gateway:${slot.gateway_id}`
  const slackMs = toleranceOf(gateway)
  const ready = sql`exists (
    select from presence p where p.component = ${gateway}
      and p.seen_from <= ${instantOf(slot.slot_ms + slackMs)}::timestamptz and p.seen_until >= ${instantOf(slot.slot_ms - slackMs)}::timestamptz)`
  const { rows } = await tx.execute<{ cause: MissCause; scope: string | null; reason: string | null; open_run: string | null }>(sql`
    with held as (
      select c.scope::text as scope, c.reason from controls c
      where c.set_at <= ${until}::timestamptz and (c.lifted_at is null or c.lifted_at >= ${at}::timestamptz) and (c.until_at is null or c.until_at >= ${at}::timestamptz)
        and (c.scope = 'everything' or (c.scope = 'lane' and c.target = ${slot.definition.lane}) or (c.scope = 'agent' and c.target = ${slot.agent_id})
          or (c.scope = 'gateway' and c.target = ${slot.gateway_id}) or (c.scope = 'order' and c.target = ${orderKey(slot.definition)}))
      order by c.scope limit 1
    ), open_run as (
      -- One that went on from before the slot was due until its grace was over: a shorter one would have let it start.
      select r.id from standing_order_runs r
      where r.order_id = ${slot.order_id}::uuid and r.started_at <= ${at}::timestamptz and r.finished_at >= ${until}::timestamptz
      union all
      select r.id from standing_order_runs r where r.order_id = ${slot.order_id}::uuid and r.status = 'started' and r.started_at <= ${at}::timestamptz
      limit 1
    )
    select case
      when (select v.spec ->> 'enabled' from fleet_versions v where v.kind = 'agent' and v.id = ${slot.agent_id} and v.valid_from <= ${until}::timestamptz
        order by v.version desc limit 1) = 'false' then 'disabled'
      when (select not v.enabled from standing_order_versions v where v.order_id = ${slot.order_id}::uuid and v.in_force_from <= ${startedBy}::timestamptz
        order by v.version desc limit 1) then 'disabled'
      when exists (select from held) then 'paused'
      when not ${present('workers')} then 'worker_down'
      when not ${present('queue_store')} then 'queue_store_down'
      when not ${ready} then 'agent_offline'
      when exists (select from open_run) then 'overlap'
      when (select count(*) from job_attempts t where t.agent_id = a.id and t.leased_at <= ${at}::timestamptz and t.leased_at >= ${oldest}::timestamptz
        and (t.finished_at is null or t.finished_at >= ${until}::timestamptz)) >= a.concurrency then 'agent_busy'
      else 'unknown' end as cause,
      (select scope from held) as scope, (select reason from held) as reason, (select id from open_run) as open_run
    from agents a where a.id = ${slot.agent_id}`)
  const found = rows[0]
  if (found === undefined) throw new Error(`agent ${slot.agent_id} is missing`)
  const details = found.cause === 'paused' ? { scope: found.scope, reason: found.reason } : found.cause === 'overlap' ? { open_run: found.open_run } : {}
  return { cause: found.cause, details }
}
