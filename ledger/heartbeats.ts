import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { Db, Tx } from './database.js'
import { observe } from './observe.js'

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

/** Silent for longer than this, a worker process is no longer one that might come back. */
const GONE_AFTER = '1 hour'

/**
 * Takes out the heartbeats of processes that fell silent without a word and have been for an hour; each leaves a row that says
 * when it was seen last. One that lives after all beats again. @returns their ids
 */
export async function forgetSilent(tx: Tx, actor: Actor): Promise<readonly string[]> {
  const { rows } = await tx.execute<{ dispatcher_id: string; host: string; pid: number; last_seen: string }>(sql`
    delete from dispatcher_heartbeats where stopped_at is null and last_seen < now() - ${GONE_AFTER}::interval
    returning dispatcher_id, host, pid, to_json(last_seen) #>> '{}' as last_seen`)
  for (const { dispatcher_id: id, host, pid, last_seen: lastSeen } of rows) {
    await observe(tx, {
      kind: 'mend',
      code: 'worker_gone',
      actor,
      detail: `Worker process ${id} was last seen at ${lastSeen} and did not say that it stops.`,
      details: { host, pid, last_seen: lastSeen },
    })
  }
  return rows.map(({ dispatcher_id: id }) => id)
}

/** So long it can be seen that a process was stopped and when. */
const STOPPED_STAYS = '7 days'

/** Takes out the heartbeats of processes that said so long ago that they stop: each start of a process makes another row. @returns how many */
export async function forgetStopped(tx: Tx): Promise<number> {
  const { rows } = await tx.execute(sql`delete from dispatcher_heartbeats where stopped_at < now() - ${STOPPED_STAYS}::interval returning 1`)
  return rows.length
}
