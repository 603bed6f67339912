import { sql } from 'drizzle-orm'
import type { Db, Tx } from './database.js'

/** A part of the bus whose absence explains why a slot was not started. */
export type Component = 'workers' | 'queue_store' | `gateway:${string}`

/** Milliseconds between two reports of the workers and the queue store. Gateways report as often as they are probed. */
export const PRESENCE_EVERY_MS = 2_000

/** Longer silence than this, in milliseconds, is an absence. */
export function toleranceOf(component: Component): number {
  return component === 'workers' || component === 'queue_store' ? 3 * PRESENCE_EVERY_MS : 20_000
}

/** After so many milliseconds everybody who was there at a moment has said so. */
export const EVIDENCE_MS = 3 * PRESENCE_EVERY_MS

export function instantOf(ms: number): string {
  return new Date(ms).toISOString()
}

/** Notes that the component was alive at `nowMs`: the stretch of its presence grows, or a new one begins. */
export async function seen(db: Db | Tx, component: Component, nowMs: number): Promise<void> {
  await db.execute(sql`
    with newest as (
      select id from presence where component = ${component} and seen_until >= ${instantOf(nowMs - toleranceOf(component))}::timestamptz
      order by seen_until desc limit 1
    ), grown as (
      -- Of several processes that report the same, one in a second is enough.
      update presence p set seen_until = ${instantOf(nowMs)}::timestamptz from newest where p.id = newest.id and p.seen_until < ${instantOf(nowMs - 1_000)}::timestamptz
    )
    insert into presence (component, seen_from, seen_until)
    select ${component}, ${instantOf(nowMs)}::timestamptz, ${instantOf(nowMs)}::timestamptz where not exists (select from newest)`)
}
