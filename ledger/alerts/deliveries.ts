import { sql, type SQL } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../../contracts/actor.js'
import type { AlertsConfig, AlertWebhook } from '../../contracts/alerts.js'
import { AgentbusError } from '../../contracts/errors.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { cleanText } from '../../contracts/text.js'
import { createJob } from '../create-job.js'
import type { Tx } from '../database.js'
import { isFound } from '../is-found.js'
import { readPolicy } from '../policies.js'
import { instantOf } from '../presence.js'
import { NOTICE_JOB } from './figures.js'
import type { DeliveryRow } from './rows.js'

/** After so many tries a delivery has failed: with the waits below, after about a day. */
export const MOST_TRIES = 30
const FIRST_WAIT_MS = 2_000
/** No try is put off for longer. */
export const LONGEST_WAIT_MS = 3_600_000

/** Milliseconds until the next try: twice as long after each, at least as long as the receiver asked for. */
export function waitAfter(tries: number, askedMs = 0): number {
  return Math.max(Math.min(FIRST_WAIT_MS * 2 ** Math.max(0, tries - 1), LONGEST_WAIT_MS), Math.min(askedMs, LONGEST_WAIT_MS))
}

/** A delivery that this process may try now, and where to; `webhook` is undefined when the fleet file names it no more. */
export interface DuePost {
  readonly delivery: DeliveryRow
  readonly webhook: AlertWebhook | undefined
}

/** What came of one try. */
export interface Tried {
  readonly ok: boolean
  readonly httpStatus?: number | undefined
  readonly error?: string | undefined
  readonly ms: number
  readonly retryAfterMs?: number | undefined
  /** No later try can help. */
  readonly final?: boolean
  readonly worker: string
}

/** Of the notices about one alert a receiver gets the older first: "over" must not overtake "began". */
const NOTHING_OLDER = sql`not exists (
  select from alert_deliveries o where o.status = 'pending' and o.alert_id = d.alert_id and o.receiver_kind = d.receiver_kind and o.receiver = d.receiver and o.seq < d.seq)`

/** Whether anybody is due, for {@link claimPosts} or {@link tellAgent}. */
export function deliveriesDue(nowMs: number): SQL {
  return isFound(sql`
    alert_deliveries d where d.status = 'pending' and d.next_try_at <= ${instantOf(nowMs)}::timestamptz and ${NOTHING_OLDER} order by d.next_try_at`)
}

/** How many posts are wanted, for how long they are claimed, and to whom none is. */
export interface PostsWanted {
  readonly limit: number
  readonly claimSeconds: number
  readonly butTo?: readonly string[]
}

/**
 * Takes posts that are due for `claimSeconds`, longer than a try lasts. No lock is held while the receiver is talked to; a
 * process that dies in between leaves a claim that runs out, and the same id is sent again.
 */
export async function claimPosts(tx: Tx, request: PostsWanted & { readonly nowMs: number }): Promise<DuePost[]> {
  const { rows } = await tx.execute(sql`
    update alert_deliveries set tries = tries + 1, next_try_at = ${instantOf(request.nowMs + request.claimSeconds * 1_000)}::timestamptz
    where id in (
      select d.id from alert_deliveries d
      where d.status = 'pending' and d.receiver_kind = 'webhook' and d.next_try_at <= ${instantOf(request.nowMs)}::timestamptz
        and d.receiver <> all(${sql.param([...(request.butTo ?? [])])}::text[]) and ${NOTHING_OLDER}
      order by d.next_try_at limit ${request.limit} for update skip locked)
    returning *`)
  if (rows.length === 0) return []
  const { config } = await readPolicy(tx, 'alerts')
  return (rows as unknown as DeliveryRow[]).map((delivery) => ({ delivery, webhook: webhookOf(config, delivery.receiver) }))
}

function webhookOf(config: AlertsConfig, id: string): AlertWebhook | undefined {
  return config.webhooks.find((webhook) => webhook.id === id)
}

/** Writes down a try and what follows from it. A try whose claim ran out and that another process made anew counts for nothing. @returns the status after it */
export async function recordTry(tx: Tx, delivery: Pick<DeliveryRow, 'id' | 'tries'>, tried: Tried, nowMs: number): Promise<DeliveryRow['status'] | undefined> {
  await tx.execute(sql`
    insert into alert_attempts (delivery_id, try_no, ok, http_status, error, ms, worker)
    values (${delivery.id}::uuid, ${delivery.tries}, ${tried.ok}, ${tried.httpStatus ?? null}::int, ${tried.ok ? null : cleanText(tried.error ?? 'failed', 500)}, ${Math.round(tried.ms)}, ${tried.worker})
    on conflict do nothing`)
  const status = tried.ok ? 'delivered' : tried.final === true || delivery.tries >= MOST_TRIES ? 'failed' : 'pending'
  const now = sql`${instantOf(nowMs)}::timestamptz`
  const { rows } = await tx.execute(sql`
    update alert_deliveries set status = ${status}::alert_delivery_status, done_at = ${status === 'pending' ? sql`null` : now},
      next_try_at = ${status === 'pending' ? sql`${instantOf(nowMs + waitAfter(delivery.tries, tried.retryAfterMs))}::timestamptz` : sql`next_try_at`}
    where id = ${delivery.id}::uuid and status = 'pending' and (tries = ${delivery.tries} or ${tried.ok})
    returning status`)
  return rows[0] === undefined ? undefined : status
}

/**
 * Tells one agent that is due, as a job: the job, the try and the end of the delivery are one transaction, so that it is
 * told exactly once. @returns what came of it; undefined when nobody is due
 */
export async function tellAgent(
  tx: Tx,
  request: { readonly nowMs: number; readonly worker: string },
): Promise<{ readonly id: string; readonly status: DeliveryRow['status']; readonly error?: string } | undefined> {
  const { rows } = await tx.execute(sql`
    select d.* from alert_deliveries d
    where d.status = 'pending' and d.receiver_kind = 'agent' and d.next_try_at <= ${instantOf(request.nowMs)}::timestamptz and ${NOTHING_OLDER}
    order by d.next_try_at limit 1 for update of d skip locked`)
  const found = rows[0] as unknown as DeliveryRow | undefined
  if (found === undefined) return undefined
  const delivery = { ...found, tries: found.tries + 1 }
  await tx.execute(sql`update alert_deliveries set tries = ${delivery.tries} where id = ${delivery.id}::uuid`)
  const tried = await makeJob(tx, delivery, request.nowMs)
  if (typeof tried === 'string') await tx.execute(sql`update alert_deliveries set job_id = ${tried}::uuid where id = ${delivery.id}::uuid`)
  const outcome = typeof tried === 'string' ? { ok: true } : { ok: false, error: tried.message }
  const status = await recordTry(tx, delivery, { ...outcome, ms: 0, worker: request.worker }, request.nowMs)
  return { id: delivery.id, status: status ?? 'pending', ...(typeof tried === 'string' ? {} : { error: tried.message }) }
}

/** Through the same entrance as every job; what it refuses is a failed try. @returns the id of the job */
async function makeJob(tx: Tx, delivery: DeliveryRow, nowMs: number): Promise<string | AgentbusError> {
  const body = delivery.body
  const subject = `Alert ${String(body['rule'])} ${delivery.notice}: ${String(body['subject'] ?? '')}`.trim().slice(0, 500)
  try {
    const { job } = await createJob(
      tx,
      CreateJobBody.parse({
        target_agent: delivery.receiver,
        job_type: NOTICE_JOB,
        subject,
        payload: { ...body, delivery_id: delivery.id },
        priority: body['level'] === 'urgent' ? 800 : 300,
        dedupe_key: `alert:${delivery.id}`,
        correlation_key: `alert:${delivery.alert_id ?? delivery.id}`,
      }),
      { actor: SYSTEM_ACTOR, nowMs },
    )
    return job.id
  } catch (error) {
    if (error instanceof AgentbusError) return error
    throw error
  }
}
