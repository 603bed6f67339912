import { sql } from 'drizzle-orm'
import type { AgentId } from '../contracts/ids.js'
import { nextSlot } from '../config/schedule.js'
import { orderKey, scheduleOf, type AccountabilityLine, type AccountabilityQuery, type StandingOrderConfig } from '../contracts/standing-orders.js'
import type { Db } from './database.js'
import { instantOf } from './presence.js'

interface Version {
  readonly definition: StandingOrderConfig
  readonly enabled: boolean
  readonly fromMs: number
  readonly untilMs: number
}

/** Steps of the recount between which other work of the process gets its turn. */
const STEPS_PER_TURN = 2_000

/** An order's line, and by which slots rows and definitions differ, as times in milliseconds. */
export interface SlotCount {
  readonly line: AccountabilityLine
  /** Called for by the definition in force then, and no row. */
  readonly missing: readonly number[]
  /** A row, and no definition in force then called for it. */
  readonly uncalled: readonly number[]
}

/**
 * One line per order over a window: every slot is in exactly one count. The slots are counted twice, from the rows and,
 * apart from them, from the definitions that were in force; what the second finds and the first lacks is `unaccounted`.
 */
export async function accountability(db: Db, query: AccountabilityQuery, nowMs: number): Promise<{ from: string; to: string; lines: AccountabilityLine[] }> {
  const { counts, ...window } = await countSlots(db, query, nowMs)
  return { ...window, lines: counts.map(({ line }) => line) }
}

/** The same, with what differs: slot by slot, so that one too many does not make up for one that is missing. */
export async function countSlots(db: Db, query: AccountabilityQuery, nowMs: number): Promise<{ from: string; to: string; counts: SlotCount[] }> {
  const fromMs = Date.parse(query.from)
  const toMs = Math.min(query.to === undefined ? nowMs : Date.parse(query.to), nowMs)
  const versions = await versionsOf(db, query.agent)
  const { rows } = await db.execute(sql`
    select o.id, o.agent_id, o.name,
      coalesce(array_agg(round(extract(epoch from r.slot_at) * 1000)::float8) filter (where r.id is not null), '{}') as slots,
      count(r.id)::int as expected,
      (count(r.id) filter (where r.status = 'expected'))::int as pending,
      (count(r.id) filter (where r.status = 'started'))::int as running,
      (count(r.id) filter (where r.status = 'no_work'))::int as no_work,
      (count(r.id) filter (where r.status = 'completed'))::int as completed,
      (count(r.id) filter (where r.unstated))::int as unstated,
      (count(r.id) filter (where r.status = 'blocked'))::int as blocked,
      (count(r.id) filter (where r.status = 'failed'))::int as failed,
      (count(r.id) filter (where r.status = 'skipped'))::int as skipped,
      (count(r.id) filter (where r.status = 'missed'))::int as missed
    from standing_orders o
      left join standing_order_runs r on r.order_id = o.id and r.slot_at >= ${instantOf(fromMs)}::timestamptz and r.slot_at < ${instantOf(toMs)}::timestamptz
    where ${query.agent ?? null}::text is null or o.agent_id = ${query.agent ?? null}
    group by o.id order by o.agent_id, o.name`)
  const counts: SlotCount[] = []
  const turn = { steps: 0 }
  for (const { id, agent_id, name, slots, ...numbers } of rows) {
    const uncalled = new Set(slots as number[])
    const missing: number[] = []
    for await (const dueMs of dueTimes(versions.get(String(id)) ?? [], fromMs, toMs, turn)) if (!uncalled.delete(dueMs)) missing.push(dueMs)
    const line = numbers as unknown as Omit<AccountabilityLine, 'order' | 'agent_id' | 'unaccounted'>
    counts.push({
      line: { order: orderKey({ agent: String(agent_id), name: String(name) }), agent_id: agent_id as AgentId, ...line, unaccounted: missing.length },
      missing,
      uncalled: [...uncalled].sort((one, other) => one - other),
    })
  }
  return { from: instantOf(fromMs), to: instantOf(toMs), counts }
}

async function versionsOf(db: Db, agent: string | undefined): Promise<Map<string, Version[]>> {
  const { rows } = await db.execute(sql`
    select v.order_id, v.definition, v.enabled, extract(epoch from v.in_force_from)::float8 * 1000 as from_ms,
      extract(epoch from lead(v.in_force_from) over (partition by v.order_id order by v.version))::float8 * 1000 as until_ms
    from standing_order_versions v join standing_orders o on o.id = v.order_id
    where ${agent ?? null}::text is null or o.agent_id = ${agent ?? null}
    order by v.order_id, v.version`)
  const byOrder = new Map<string, Version[]>()
  for (const row of rows) {
    const version: Version = {
      definition: row['definition'] as StandingOrderConfig,
      enabled: row['enabled'] === true,
      fromMs: Number(row['from_ms']),
      untilMs: row['until_ms'] === null ? Infinity : Number(row['until_ms']),
    }
    const known = byOrder.get(String(row['order_id']))
    if (known === undefined) byOrder.set(String(row['order_id']), [version])
    else known.push(version)
  }
  return byOrder
}

/** When the versions call for slots in [fromMs, toMs): each is in force after its own start and up to the next one's. */
async function* dueTimes(versions: readonly Version[], fromMs: number, toMs: number, turn: { steps: number }): AsyncGenerator<number> {
  for (const version of versions) {
    if (!version.enabled || version.untilMs < fromMs || version.fromMs >= toMs) continue
    const schedule = scheduleOf(version.definition)
    let at = nextSlot(schedule, Math.max(version.fromMs, fromMs - 1))
    while (at !== undefined && at < toMs && at <= version.untilMs) {
      yield at
      turn.steps += 1
      if (turn.steps % STEPS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
      at = nextSlot(schedule, at)
    }
  }
}
