import { sql, type SQL } from 'drizzle-orm'

/** Columns or values that say where a piece of work belongs; without a lane or an order, controls on those do not count. */
export interface Place {
  readonly lane?: SQL
  readonly agent: SQL
  readonly gateway: SQL
  /** `agent/name` of a standing order; looked at only while an order is paused. */
  readonly order?: SQL
}

/**
 * The control that stops work in a place, as `scope:id`, the widest first; null when none does. One look at an index that
 * holds only what is in force, so that it costs a lease next to nothing; one whose time has come stops nothing.
 */
export function pausedBy({ lane, agent, gateway, order }: Place): SQL {
  return sql`(select c.scope::text || ':' || c.id from controls c
    where c.lifted_at is null and (c.until_at is null or c.until_at > clock_timestamp()) and case c.scope
      when 'everything' then true when 'lane' then ${lane === undefined ? sql`false` : sql`c.target = ${lane}`}
      when 'gateway' then c.target = ${gateway} when 'agent' then c.target = ${agent}
      when 'order' then ${order === undefined ? sql`false` : sql`c.target = ${order}`} else false end
    order by c.scope limit 1)`
}

/** `agent/name` of the order that a job is a run of; null for one that is none. */
export function orderOfJob(slot: SQL): SQL {
  return sql`(select o.agent_id || '/' || o.name from standing_order_runs r join standing_orders o on o.id = r.order_id where r.id = ${slot})`
}

export type PausedScope = 'everything' | 'lane' | 'gateway' | 'agent' | 'order'

/** What {@link pausedBy} said. */
export function pauseOf(text: string | null): { readonly scope: PausedScope; readonly controlId: number } | undefined {
  if (text === null) return undefined
  const [scope, id] = text.split(':')
  return { scope: scope as PausedScope, controlId: Number(id) }
}
