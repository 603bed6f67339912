import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { JobId } from '../contracts/ids.js'
import { inTransaction, type Db } from './database.js'
import { observe } from './observe.js'
import { lockJob, note } from './transition.js'

/** A job that the queue store should have an entry for. */
export interface ExpectedEntry {
  readonly jobId: string
  readonly generation: number
}

/**
 * Jobs of one agent that must have a queue entry: queued ones, and held ones that a worker may have to re-attach to.
 * Jobs that changed within `quietMs`, that the relay still has to publish, or that a pause holds, are left out. Pages by job id.
 */
export async function expectedEntries(
  db: Db,
  request: { readonly agentId: string; readonly after: string; readonly limit: number; readonly quietMs: number },
): Promise<ExpectedEntry[]> {
  const { rows } = await db.execute(sql`
    select j.id, j.generation from jobs j
    left join job_attempts a on a.id = j.current_attempt_id
    where j.target_agent = ${request.agentId} and j.finished_at is null
      and j.status in ('queued', 'leased', 'running')
      and (a.id is null or a.lease_owner not like 'pull:%') and j.held_by is null
      and j.id > ${request.after}::uuid
      and j.updated_at < clock_timestamp() - make_interval(secs => ${request.quietMs / 1000})
      and not exists (select from outbox o where o.job_id = j.id)
    order by j.id limit ${request.limit}`)
  return rows.map((row) => ({ jobId: String(row['id']), generation: Number(row['generation']) }))
}

/** Whether an entry is expected still, as it was when it was read. */
export async function isExpected(db: Db, entry: ExpectedEntry): Promise<boolean> {
  const { rows } = await db.execute<{ expected: boolean }>(sql`
    select exists (select from jobs j where j.id = ${entry.jobId}::uuid and j.generation = ${entry.generation} and j.status in ('queued', 'leased', 'running')
      and j.held_by is null and not exists (select from outbox o where o.job_id = j.id)) as expected`)
  return rows[0]?.expected === true
}

/** Agents that should have entries in their queue: a cheap bound for {@link expectedEntries}, which says which. */
export async function agentsWithEntries(db: Db): Promise<ReadonlySet<string>> {
  const { rows } = await db.execute(sql`
    select distinct target_agent from jobs where finished_at is null and status in ('queued', 'leased', 'running') and target_agent is not null`)
  return new Set(rows.map((row) => String(row['target_agent'])))
}

/** Of the given entries, those the ledger wants in the queue no more, and why. */
export async function unwantedEntries(db: Db, entries: readonly ExpectedEntry[]): Promise<(ExpectedEntry & { readonly why: string })[]> {
  if (entries.length === 0) return []
  const { rows } = await db.execute(sql`
    select e.job_id, e.generation,
      case when j.id is null then 'unknown_job' when j.generation <> e.generation then 'stale_generation' else 'job_is_' || j.status end as why
    from unnest(${sql.param(entries.map((e) => e.jobId))}::uuid[], ${sql.param(entries.map((e) => e.generation))}::int[]) as e(job_id, generation)
    left join jobs j on j.id = e.job_id
    where j.id is null or j.generation <> e.generation or j.status not in ('queued', 'leased', 'running')`)
  return rows.map((row) => ({ jobId: String(row['job_id']), generation: Number(row['generation']), why: String(row['why']) }))
}

/** Publishes a job anew whose entry is gone, if that is still so under its lock. Each mend is a row. */
export async function republish(db: Db, entry: ExpectedEntry, what: { readonly actor: Actor; readonly code: string; readonly detail: string }): Promise<boolean> {
  return inTransaction(db, async (tx) => {
    const job = await lockJob(tx, entry.jobId as JobId)
    if (job.generation !== entry.generation || !['queued', 'leased', 'running'].includes(job.status)) return false
    await note(tx, job, { reason: 'requeued_by_reconciler', actor: what.actor, note: what.detail, details: { code: what.code }, republish: true })
    await observe(tx, { kind: 'mend', code: what.code, actor: what.actor, jobId: job.id, agentId: job.target_agent ?? undefined, detail: what.detail })
    return true
  })
}

/** An entry of a rebuild, with its place in it. */
export interface LostEntry extends ExpectedEntry {
  readonly priority: number
}

/** After the store was wiped: a page of everything that should be in the queues, most urgent first, oldest first. */
export async function lostEntries(db: Db, request: { readonly after: LostEntry | undefined; readonly limit: number }): Promise<LostEntry[]> {
  const { after } = request
  const { rows } = await db.execute(sql`
    select j.id, j.generation, j.priority from jobs j
    left join job_attempts a on a.id = j.current_attempt_id
    where j.finished_at is null and j.status in ('queued', 'leased', 'running') and j.target_agent is not null
      and (a.id is null or a.lease_owner not like 'pull:%') and j.held_by is null
      and (${after === undefined} or (-j.priority, j.id) > (${-(after?.priority ?? 0)}, ${after?.jobId ?? '00000000-0000-0000-0000-000000000000'}::uuid))
    order by -j.priority, j.id limit ${request.limit}`)
  return rows.map((row) => ({ jobId: String(row['id']), generation: Number(row['generation']), priority: Number(row['priority']) }))
}

/**
 * Publishes entries under a new generation, in their order, in one statement; each job gets its history row. A job that was moved
 * since it was listed is left out: whoever moved it has published it, if it needs an entry still.
 * @returns how many it published
 */
export async function republishBatch(db: Db, request: { readonly actor: Actor; readonly epoch: string; readonly entries: readonly ExpectedEntry[] }): Promise<number> {
  const { actor, entries } = request
  return inTransaction(db, async (tx) => {
    const { rows } = await tx.execute<{ n: number }>(sql`
    with wanted as materialized (
      select * from unnest(${sql.param(entries.map(({ jobId }) => jobId))}::uuid[], ${sql.param(entries.map(({ generation }) => generation))}::int[])
        with ordinality as w (job_id, generation, place)
    ), picked as materialized (
      -- One job at a time by its key, in the order of keys; why the limit, see openAttempts.
      select j.id, w.place from (select * from wanted order by job_id) w cross join lateral (
        select id, generation, status, held_by from jobs where id = w.job_id limit 1 for no key update) j
      where j.generation = w.generation and j.status in ('queued', 'leased', 'running') and j.held_by is null
    ), raised as (
      update jobs set generation = jobs.generation + 1, last_seq = jobs.last_seq + 1, updated_at = clock_timestamp()
      from picked where jobs.id = picked.id
      returning jobs.id, jobs.last_seq, jobs.status, jobs.current_attempt_id, jobs.target_agent, jobs.generation, picked.place
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select id, last_seq, 'note', status, status, 'requeued_by_reconciler', 'The queue store lost its content.', current_attempt_id,
        ${actor.kind}::actor_kind, ${actor.id}, jsonb_build_object('code', 'queue_lost', 'epoch', ${request.epoch}::text)
      from raised
    ), cleared as (
      delete from outbox where job_id in (select id from raised) and kind = 'publish'
    ), queued as (
      insert into outbox (kind, job_id, agent_id, generation) select 'publish', id, target_agent, generation from raised order by place
    )
    select count(*)::int as n from raised`)
    return rows[0]?.n ?? 0
  })
}
