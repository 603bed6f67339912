import { sql } from 'drizzle-orm'
import type { Created } from './create-many.js'
import type { Db } from './database.js'
import { iso } from './rows.js'

/** One thing the queue store must be told. `delayMs` counts from now; `removeGeneration` is the entry to take out. */
export interface OutboxItem {
  readonly id: number
  readonly kind: 'publish' | 'remove'
  readonly jobId: string
  readonly agentId: string
  readonly generation: number
  readonly priority: number
  readonly jobType: string
  readonly subject: string
  readonly maxAttempts: number
  readonly delayMs: number
  /** False when the job has moved on since: there is nothing left to publish. */
  readonly current: boolean
}

/**
 * Publishes at once what this process has just committed, without asking the outbox for it. The rows belong to it for
 * `claimSeconds`; when it dies in between, any relay finds them after that.
 */
export interface Publisher {
  readonly claimSeconds: number
  /** False while the store refuses what it is told. */
  readonly isPublishing: () => boolean
  readonly publish: (item: OutboxItem) => void
}

/** What the queue store must be told of a job that was created a moment ago. */
export function itemOf({ job, outboxId }: Created, nowMs: number): OutboxItem {
  return {
    id: outboxId,
    kind: 'publish',
    jobId: job.id,
    agentId: job.target_agent ?? '',
    generation: job.generation,
    priority: job.priority,
    jobType: job.job_type,
    subject: job.subject,
    maxAttempts: job.max_attempts,
    delayMs: Math.max(0, Math.round(Date.parse(iso(job.run_after)) - nowMs)),
    current: true,
  }
}

/**
 * Claims a batch for `leaseSeconds`, oldest first. Nobody holds a lock while the queue store is talked to; a relay
 * that dies in between leaves a claim that runs out.
 */
export async function claimOutbox(db: Db, request: { readonly limit: number; readonly leaseSeconds: number }): Promise<OutboxItem[]> {
  const { rows } = await db.execute(sql`
    with free as materialized (
      select id from outbox where claimed_until < clock_timestamp() order by claimed_until, id limit ${request.limit} for update skip locked
    ), claimed as (
      update outbox o set claimed_until = clock_timestamp() + make_interval(secs => ${request.leaseSeconds}), tries = o.tries + 1
      from free where o.id = free.id
      returning o.*
    )
    select c.id, c.kind, c.job_id, c.agent_id, c.generation, j.priority, j.job_type, j.subject, j.max_attempts,
      greatest(0, extract(epoch from j.run_after - clock_timestamp()) * 1000)::float8 as delay_ms,
      (j.generation = c.generation and j.status in ('queued', 'leased', 'running')) as current
    from claimed c join jobs j on j.id = c.job_id
    order by c.id`)
  return rows.map((row) => ({
    id: Number(row['id']),
    kind: row['kind'] === 'remove' ? 'remove' : 'publish',
    jobId: String(row['job_id']),
    agentId: String(row['agent_id']),
    generation: Number(row['generation']),
    priority: Number(row['priority']),
    jobType: String(row['job_type']),
    subject: String(row['subject']),
    maxAttempts: Number(row['max_attempts']),
    delayMs: Math.round(Number(row['delay_ms'])),
    current: row['current'] === true,
  }))
}

/**
 * A row by all that it says. Its number alone may be given out again: a standby that takes over without the last commits of a server
 * does not know of the numbers in them either.
 */
export type OutboxRow = Pick<OutboxItem, 'id' | 'kind' | 'jobId' | 'generation'>

/**
 * The store has them: the rows may go. This commit alone does not wait for the disk, so that commits of jobs need not wait behind
 * it. A server that crashes in that moment has the rows back, and they are published once more.
 */
export async function settleOutbox(db: Db, rows: readonly OutboxRow[]): Promise<void> {
  if (rows.length === 0) return
  await db.execute(sql`
    with unhurried as materialized (select set_config('synchronous_commit', 'off', true))
    delete from outbox using unhurried, unnest(${sql.param(rows.map(({ id }) => id))}::bigint[], ${sql.param(rows.map(({ kind }) => kind))}::outbox_kind[],
      ${sql.param(rows.map(({ jobId }) => jobId))}::uuid[], ${sql.param(rows.map(({ generation }) => generation))}::int[]) as told (id, kind, job_id, generation)
    where outbox.id = told.id and outbox.kind = told.kind and outbox.job_id = told.job_id and outbox.generation = told.generation`)
}

/** The store could not be reached: the rows are free again at once. */
export async function unclaimOutbox(db: Db, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return
  await db.execute(sql`update outbox set claimed_until = clock_timestamp() where id = any(${sql.param(ids)}::bigint[])`)
}
