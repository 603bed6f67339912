import { sql } from 'drizzle-orm'
import type { EventView } from '../../contracts/events.js'
import type { Db } from '../database.js'
import { eventView, type EventRow } from '../rows.js'

/** Where the append-only tables end: when a mark has moved, something has happened. */
export interface Pulse {
  readonly moves: string
  readonly events: string
  readonly observed: string
  readonly agents: string
  readonly controls: string
  readonly alerts: string
}

/** Six looks at the end of an index. */
export async function pulse(db: Db): Promise<Pulse> {
  const { rows } = await db.execute<Record<keyof Pulse, string>>(sql`
    select coalesce((select max(id) from job_transitions), 0)::text as moves, coalesce((select max(id) from events), 0)::text as events,
      coalesce((select max(id) from observations), 0)::text as observed, coalesce((select max(id) from agent_state_changes), 0)::text as agents,
      coalesce((select max(id) from control_changes), 0)::text as controls,
      coalesce((select (extract(epoch from max(at)) * 1000000)::bigint from alert_history), 0)::text as alerts`)
  return rows[0] ?? { moves: '0', events: '0', observed: '0', agents: '0', controls: '0', alerts: '0' }
}

/** Longer than any transaction may take (`statement_timeout`, `idle_in_transaction_session_timeout`). */
const SETTLED_AFTER = sql`interval '40 seconds'`

/**
 * The newest events after `floor`, oldest of them first, at most `limit`. Ids are given out before their transactions commit,
 * so one may appear below those that were seen: `floor` of the answer is the newest id below which nothing can come any more,
 * and the next question begins there. `cut`: there are more than `limit`.
 */
export async function eventsAfter(db: Db, floor: string, limit: number): Promise<{ events: EventView[]; floor: string; cut: boolean }> {
  const { rows } = await db.execute(sql`
    select *, created_at < clock_timestamp() - ${SETTLED_AFTER} as settled from events where id > ${floor}::bigint order by id desc limit ${limit + 1}`)
  const shown = rows.slice(0, limit)
  const settled = shown.find((row) => row['settled'] === true)
  return { events: (shown as unknown as EventRow[]).map(eventView).reverse(), floor: settled === undefined ? floor : String(settled['id']), cut: rows.length > limit }
}
