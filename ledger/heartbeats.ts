import { sql } from 'drizzle-orm'
import type { Db } from './database.js'

export interface Heartbeat {
  readonly dispatcherId: string
  readonly host: string
  readonly pid: number
  readonly leasesOwned: number
  readonly busyAgents: number
  readonly metrics: Record<string, unknown>
}

/** Says that this worker process lives. */
export async function beat(db: Db, h: Heartbeat): Promise<void> {
  await db.execute(sql`
    insert into dispatcher_heartbeats (dispatcher_id, host, pid, leases_owned, busy_agents, metrics)
    values (${h.dispatcherId}, ${h.host}, ${h.pid}, ${h.leasesOwned}, ${h.busyAgents}, ${JSON.stringify(h.metrics)}::jsonb)
    on conflict (namespace, dispatcher_id) do update set last_seen = now(), stopped_at = null, host = excluded.host, pid = excluded.pid,
      leases_owned = excluded.leases_owned, busy_agents = excluded.busy_agents, metrics = excluded.metrics`)
}

/** Says that this worker process has ended on purpose, which is not the same as silence. */
export async function stopBeating(db: Db, dispatcherId: string): Promise<void> {
  await db.execute(sql`
    update dispatcher_heartbeats set stopped_at = now(), last_seen = now(), leases_owned = 0, busy_agents = 0 where dispatcher_id = ${dispatcherId}`)
}
