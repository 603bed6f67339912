import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import { Filter, fits } from '../contracts/filters.js'
import { patternsOf } from '../contracts/topics.js'
import type { Tx } from './database.js'
import { isFound } from './is-found.js'
import type { EventRow, JobRow } from './rows.js'
import { adoptLocked, move, type LockedJob } from './transition.js'

/** What a blocked job got that it waited for. `details` go into its history, `answer` into the message of its next attempt. */
export interface Condition {
  readonly note?: string
  readonly details: Record<string, unknown>
  readonly answer: Record<string, unknown>
  readonly actor?: Actor
}

/** Queues a blocked job again, with what it waited for. */
export function resume(tx: Tx, job: LockedJob, condition: Condition): Promise<LockedJob> {
  return move(tx, job, {
    to: 'queued',
    reason: 'condition_met',
    actor: condition.actor ?? SYSTEM_ACTOR,
    note: condition.note,
    details: condition.details,
    set: { answer: condition.answer, run_after: sql`clock_timestamp()` },
    queue: 'publish',
  })
}

/** In the transaction of an event: every blocked job that waits for such a one goes on. */
export async function wakeForEvent(tx: Tx, event: EventRow): Promise<void> {
  const { rows } = await tx.execute(sql`
    select * from jobs
    where status = 'blocked' and waits_for ->> 'kind' = 'event' and waits_for ->> 'topic' = any(${sql.param(patternsOf(event.topic))}::text[])
      and namespace = ${event.namespace} and id is distinct from ${event.source_job_id}::uuid
    order by id for update`)
  for (const row of rows) {
    const job = adoptLocked(row as JobRow)
    if (fitsWait(job, event)) await resume(tx, job, arrived(event))
  }
}

function fitsWait(job: JobRow, event: EventRow): boolean {
  return fits(Filter.parse(job.waits_for?.['filter'] ?? {}), event.payload)
}

function arrived(event: EventRow): Condition {
  const { topic, source_agent, payload } = event
  return {
    note: `Event ${topic} arrived.`,
    details: { event_id: String(event.id), topic },
    answer: { kind: 'event', event_id: String(event.id), topic, source_agent, payload },
  }
}

/** Events that a job looks back on when it begins to wait by a pattern: the newest so many. By topic it is so many of that topic. */
const LOOK_BACK = 5_000

/**
 * Resumes a job that waits for an event which has come while its attempt ran, or at the same moment as it was blocked.
 * @returns the job as it is then
 */
export async function resumeIfSeen(tx: Tx, job: LockedJob): Promise<LockedJob> {
  const topic = String(job.waits_for?.['topic'])
  const recent = topic.endsWith('*')
    ? sql`select * from events where id > (select coalesce(max(id), 0) from events) - ${LOOK_BACK} and starts_with(topic, ${topic.slice(0, -1)})`
    : sql`select * from events where topic = ${topic} order by id desc limit ${LOOK_BACK}`
  const { rows } = await tx.execute(sql`
    select * from (${recent}) e
    where namespace = ${job.namespace} and source_job_id is distinct from ${job.id}::uuid
      and created_at >= (select max(a.leased_at) from job_attempts a where a.job_id = ${job.id}::uuid)
    order by id`)
  const event = (rows as unknown as EventRow[]).find((one) => fitsWait(job, one))
  return event === undefined ? job : resume(tx, job, arrived(event))
}

/** An event and a block that commit at the same moment do not see each other; soon after, this does. */
const OVERLAP_SECONDS = 20

/** Whether {@link resumeMet} has anything to do. */
export const CONDITIONS_MET = sql`(${isFound(sql`
    jobs where status = 'blocked' and waits_for ->> 'kind' = 'event' and blocked_at > statement_timestamp() - make_interval(secs => ${OVERLAP_SECONDS})
    order by blocked_at`)}
  or ${isFound(sql`
    jobs j join agents a on a.id = j.waits_for ->> 'agent' join gateways g on g.id = a.gateway_id
    where j.status = 'blocked' and j.waits_for ->> 'kind' = 'agent' and a.enabled and g.breaker = 'closed' order by j.waits_for ->> 'agent'`)})`

/**
 * Resumes what waits for something that is there: an event that came at the same moment as the block, an agent that is
 * online. @returns how many jobs went on
 */
export async function resumeMet(tx: Tx, request: { readonly limit: number }): Promise<number> {
  const waiting = await tx.execute(sql`
    select * from jobs where status = 'blocked' and waits_for ->> 'kind' = 'event' and blocked_at > clock_timestamp() - make_interval(secs => ${OVERLAP_SECONDS})
    order by blocked_at limit ${request.limit} for update skip locked`)
  let resumed = 0
  for (const row of waiting.rows) {
    const job = await resumeIfSeen(tx, adoptLocked(row as JobRow))
    if (job.status === 'queued') resumed += 1
  }
  const { rows } = await tx.execute(sql`
    select j.* from jobs j join agents a on a.id = j.waits_for ->> 'agent' join gateways g on g.id = a.gateway_id
    where j.status = 'blocked' and j.waits_for ->> 'kind' = 'agent' and a.enabled and g.breaker = 'closed'
    order by j.blocked_at limit ${request.limit} for update of j skip locked`)
  for (const row of rows) {
    const agent = String((row as JobRow).waits_for?.['agent'])
    await resume(tx, adoptLocked(row as JobRow), { note: `Agent ${agent} is online.`, details: { agent }, answer: { kind: 'agent', agent, online: true } })
  }
  return resumed + rows.length
}
