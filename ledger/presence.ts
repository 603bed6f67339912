import { sql } from 'drizzle-orm'
import type { Db, Tx } from './database.js'

/** A part of the bus whose absence explains why a slot was not started. */
export type Component = 'workers' | 'queue_store' | `gateway:${string}`

/** Longer silence than this is an absence. Whoever reports does so at least every five seconds. */
export const PRESENCE_TOLERANCE_MS = 20_000

export function instantOf(ms: number): string {
  return new Date(ms).toISOString()
}

/** Notes that the component was alive at `nowMs`: the stretch of its presence grows, or a new one begins. */
export async function seen(db: Db | Tx, component: Component, nowMs: number): Promise<void> {
  await db.execute(sql`
    with newest as (
      select id from presence where component = ${component} and seen_until >= ${instantOf(nowMs - PRESENCE_TOLERANCE_MS)}::timestamptz
      order by seen_until desc limit 1 for no key update
    ), grown as (
      update presence p set seen_until = greatest(p.seen_until, ${instantOf(nowMs)}::timestamptz) from newest where p.id = newest.id returning 1
    )
    insert into presence (component, seen_from, seen_until)
    select ${component}, ${instantOf(nowMs)}::timestamptz, ${instantOf(nowMs)}::timestamptz where not exists (select from grown)`)
}
