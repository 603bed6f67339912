import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import type { EmitEventBody } from '../contracts/jobs.js'
import type { Tx } from './database.js'
import type { EventRow, JobRow } from './rows.js'
import { adoptLocked, move } from './transition.js'

export interface EventSource {
  readonly actor: Actor
  readonly attemptId?: string | undefined
  readonly hops?: number
}

/**
 * Appends a fact and wakes what waited for its topic, in the caller's transaction.
 * With a dedupe key that the topic has seen, the first event is answered and nothing happens.
 */
export async function emitEvent(tx: Tx, body: EmitEventBody, source: EventSource): Promise<{ event: EventRow; created: boolean }> {
  const inserted = await tx.execute(sql`
    insert into events (namespace, topic, source_agent, source_job_id, source_attempt_id, dedupe_key, correlation_key, payload, hops, created_by)
    values (${body.namespace}, ${body.topic}, ${body.source_agent ?? null}, ${body.source_job_id ?? null}::uuid, ${source.attemptId ?? null}::uuid,
      ${body.dedupe_key ?? null}, ${body.correlation_key ?? null}, ${JSON.stringify(body.payload)}::jsonb, ${source.hops ?? 0},
      ${`${source.actor.kind}:${source.actor.id}`})
    on conflict (namespace, topic, dedupe_key) where dedupe_key is not null do nothing
    returning *`)
  const row = inserted.rows[0]
  if (row === undefined) {
    const known = await tx.execute(sql`
      select * from events where namespace = ${body.namespace} and topic = ${body.topic} and dedupe_key = ${body.dedupe_key ?? null}`)
    return { event: known.rows[0] as EventRow, created: false }
  }
  await wakeWaiters(tx, row as EventRow)
  return { event: row as EventRow, created: true }
}

async function wakeWaiters(tx: Tx, event: EventRow): Promise<void> {
  const { rows } = await tx.execute(sql`
    select * from jobs
    where status = 'blocked' and waits_for ->> 'kind' = 'event' and waits_for ->> 'topic' = ${event.topic} and namespace = ${event.namespace}
    order by id for update`)
  for (const row of rows) {
    const job = adoptLocked(row as JobRow)
    await move(tx, job, {
      to: 'queued',
      reason: 'condition_met',
      actor: SYSTEM_ACTOR,
      note: `Event ${event.topic} arrived.`,
      details: { event_id: String(event.id), topic: event.topic },
      queue: 'publish',
    })
  }
}
