import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import type { EmitEventBody } from '../contracts/events.js'
import type { Tx } from './database.js'
import { audienceOf, react, reactPending, whoCares } from './react.js'
import type { EventRow } from './rows.js'
import { withoutPrefixed } from './prefixed.js'
import { wakeForEvent } from './wake.js'

export interface EventSource {
  readonly actor: Actor
  readonly nowMs: number
  readonly attemptId?: string | undefined
}

/**
 * Appends a fact; in the caller's transaction, what waited for it wakes and who subscribes to it reacts. It stands in the
 * chain of reactions of the job it comes from. With a dedupe key that the topic has seen, the first event is answered and
 * nothing happens.
 */
export async function emitEvent(tx: Tx, body: EmitEventBody, source: EventSource): Promise<{ event: EventRow; created: boolean }> {
  const { rows } = await tx.execute(sql`
    with inserted as (
      insert into events (namespace, topic, source_agent, source_job_id, source_attempt_id, dedupe_key, correlation_key, payload, hops, lineage, created_by)
      select ${body.namespace}, ${body.topic}, ${body.source_agent ?? null}, ${body.source_job_id ?? null}::uuid, ${source.attemptId ?? null}::uuid,
        ${body.dedupe_key ?? null}, coalesce(${body.correlation_key ?? null}, j.correlation_key), ${JSON.stringify(body.payload)}::jsonb,
        coalesce(j.hops, 0), coalesce(j.lineage, '{}'), ${`${source.actor.kind}:${source.actor.id}`}
      from (select 1) one left join jobs j on j.id = ${body.source_job_id ?? null}::uuid
      on conflict (namespace, topic, dedupe_key) where dedupe_key is not null do nothing
      returning *
    )
    select inserted.*, ${whoCares(body.topic)} from inserted`)
  const row = rows[0]
  if (row === undefined) {
    const known = await tx.execute(sql`
      select * from events where namespace = ${body.namespace} and topic = ${body.topic} and dedupe_key = ${body.dedupe_key ?? null}`)
    return { event: known.rows[0] as EventRow, created: false }
  }
  return { event: await spread(tx, row, source.nowMs), created: true }
}

/** Wakes and reacts. @returns the event without what was read with it */
async function spread(tx: Tx, row: Record<string, unknown>, nowMs: number): Promise<EventRow> {
  const event = withoutPrefixed(row) as unknown as EventRow
  const audience = audienceOf(row)
  if (audience.awaited) await wakeForEvent(tx, event)
  if (audience.subscriptions.length > 0) await react(tx, event, audience, nowMs, emitCut(nowMs))
  return event
}

/** Makes a page of the reactions that a storm still owes. @returns how many */
export function reactToStorm(tx: Tx, request: { readonly nowMs: number; readonly limit: number }): Promise<number> {
  return reactPending(tx, request, emitCut(request.nowMs))
}

/** The event that says that a chain was cut: a fact of the same chain, so that nobody can start a new one with it. */
function emitCut(nowMs: number) {
  return async (tx: Tx, cause: EventRow, payload: Record<string, unknown>): Promise<void> => {
    const { rows } = await tx.execute(sql`
      with inserted as (
        insert into events (namespace, topic, source_job_id, correlation_key, payload, hops, lineage, created_by)
        values (${cause.namespace}, 'reactions.cut', ${cause.source_job_id}::uuid, ${cause.correlation_key}, ${JSON.stringify(payload)}::jsonb, ${cause.hops},
          ${sql.param(cause.lineage)}::uuid[], ${`${SYSTEM_ACTOR.kind}:${SYSTEM_ACTOR.id}`})
        returning *
      )
      select inserted.*, ${whoCares('reactions.cut')} from inserted`)
    const row = rows[0]
    if (row !== undefined) await spread(tx, row, nowMs)
  }
}
