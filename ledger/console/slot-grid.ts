import { sql } from 'drizzle-orm'
import { orderKey, type SlotId, type SlotStatus } from '../../contracts/standing-orders.js'
import type { Tx } from '../database.js'
import { instantOf } from '../presence.js'

export interface GridQuery {
  readonly agent?: string | undefined
  /** Only orders with a slot in the window that failed, was missed or is blocked. */
  readonly trouble: boolean
  readonly fromMs: number
  readonly toMs: number
  readonly columns: number
  /** The order after which this page begins. */
  readonly after?: string | undefined
  readonly limit: number
}

export interface GridCell {
  readonly column: number
  readonly counts: Partial<Record<SlotStatus, number>>
  /** The one slot in it, when there is only one. */
  readonly slot_id: SlotId | null
}

export interface GridLine {
  readonly order: string
  readonly agent_id: string
  readonly enabled: boolean
  readonly cells: readonly GridCell[]
}

/** Orders by columns of time, each cell with what became of its slots. Paged by order, so that a page reads the slots of its own orders only. */
export async function slotGrid(tx: Tx, query: GridQuery): Promise<{ lines: GridLine[]; next_after: string | null }> {
  const [from, to] = [instantOf(query.fromMs), instantOf(query.toMs)]
  const width = (query.toMs - query.fromMs) / query.columns / 1_000
  const inTrouble = query.trouble
    ? sql`and exists (select from standing_order_runs r where r.order_id = o.id and r.slot_at >= ${from}::timestamptz and r.slot_at < ${to}::timestamptz and r.status in ('failed', 'missed', 'blocked'))`
    : sql``
  const { rows } = await tx.execute(sql`
    with shown as (
      select o.id, o.agent_id, o.name, o.enabled from standing_orders o
      where (${query.agent ?? null}::text is null or o.agent_id = ${query.agent ?? null})
        and (${query.after ?? null}::text is null or o.agent_id || '/' || o.name > ${query.after ?? null}) ${inTrouble}
      order by o.agent_id || '/' || o.name limit ${query.limit + 1}
    )
    select o.agent_id, o.name, o.enabled, c.col, c.status, c.n, c.only_id from shown o left join lateral (
      select floor(extract(epoch from r.slot_at - ${from}::timestamptz) / ${width}::float8)::int as col, r.status, count(*)::int as n, min(r.id::text) as only_id
      from standing_order_runs r where r.order_id = o.id and r.slot_at >= ${from}::timestamptz and r.slot_at < ${to}::timestamptz group by 1, 2
    ) c on true order by o.agent_id || '/' || o.name, c.col`)
  const lines = new Map<string, { agent_id: string; enabled: boolean; cells: Map<number, { counts: GridCell['counts']; ids: string[] }> }>()
  for (const row of rows) {
    const key = orderKey({ agent: String(row['agent_id']), name: String(row['name']) })
    const line = lines.get(key) ?? { agent_id: String(row['agent_id']), enabled: row['enabled'] === true, cells: new Map<number, { counts: GridCell['counts']; ids: string[] }>() }
    lines.set(key, line)
    if (row['col'] === null) continue
    const cell = line.cells.get(Number(row['col'])) ?? { counts: {}, ids: [] }
    cell.counts = { ...cell.counts, [row['status'] as SlotStatus]: Number(row['n']) }
    cell.ids.push(...(Number(row['n']) === 1 ? [String(row['only_id'])] : ['', '']))
    line.cells.set(Number(row['col']), cell)
  }
  const all = [...lines].map(([order, { agent_id, enabled, cells }]) => ({
    order,
    agent_id,
    enabled,
    cells: [...cells].map(([column, { counts, ids }]) => ({ column, counts, slot_id: ids.length === 1 ? (ids[0] as SlotId) : null })),
  }))
  return { lines: all.slice(0, query.limit), next_after: all.length > query.limit ? (all[query.limit - 1]?.order ?? null) : null }
}
