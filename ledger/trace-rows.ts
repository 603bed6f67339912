import { sql, type SQL } from 'drizzle-orm'
import type { ActorKind } from '../contracts/actor.js'
import type { AgentId, AttemptId, JobId } from '../contracts/ids.js'
import type { JobStatus } from '../contracts/job-states.js'
import type { TraceView } from '../contracts/trace.js'
import { iso } from './rows.js'

export type TracedJob = TraceView['jobs'][number]
export type TraceEntry = TraceView['entries'][number]

/** What {@link jobOf} reads, of a job `j`. */
export const JOB_COLUMNS = sql.raw(`
  j.id, j.parent_job_id, j.source_agent, j.target_agent, j.subject, j.status, j.created_at, j.finished_at,
  coalesce((select jsonb_agg(d.depends_on_job_id order by d.depends_on_job_id) from job_dependencies d where d.job_id = j.id), '[]') as depends_on`)

/** How an attempt `a` ended, and what is known of its run. */
export const ATTEMPT_ENDED = sql.raw(`'attempt ' || a.attempt_no || ' ended: ' || a.status::text || ' (' || a.outcome_code || ')'`)
export const ATTEMPT_END = sql.raw(`jsonb_strip_nulls(jsonb_build_object('run', a.openclaw_task_ref, 'session', a.openclaw_session_key, 'error', a.error))`)

/** A row of a story: at, kind, job_id, attempt_id, agent, what, actor_kind, actor, note, details, correlation_key. */
export function entryOf(row: Record<string, unknown>): TraceEntry {
  return {
    at: iso(String(row['at'])),
    kind: row['kind'] as TraceEntry['kind'],
    job_id: row['job_id'] as JobId | null,
    attempt_id: row['attempt_id'] as AttemptId | null,
    agent: row['agent'] as AgentId | null,
    what: String(row['what']),
    by: row['actor'] === null ? null : { kind: row['actor_kind'] as ActorKind, id: String(row['actor']) },
    note: row['note'] as string | null,
    correlation_key: row['correlation_key'] as string | null,
    details: row['details'] as Record<string, unknown>,
  }
}

/** Entries and bytes of one story at most: an entry may hold a whole prompt or payload. */
export const MOST_ENTRIES = 5_000
const MOST_BYTES = 64 * 1_024 * 1_024

/** A story, by `at` and `ord`, that ends with the entry that makes it too large. */
export function cut(story: SQL): SQL {
  return sql`
    select * from (
      select s.*, sum(octet_length(coalesce(s.details::text, '')) + octet_length(coalesce(s.note, ''))) over (order by s.at, s.ord rows unbounded preceding) as bytes_so_far,
        octet_length(coalesce(s.details::text, '')) + octet_length(coalesce(s.note, '')) as bytes
      from (${story}) s
    ) sized where bytes_so_far - bytes <= ${MOST_BYTES} order by at, ord`
}

/** The entries of a story that was {@link cut}. */
export function told(rows: readonly Record<string, unknown>[]): Pick<TraceView, 'entries' | 'truncated'> {
  const isLarge = Number(rows.at(-1)?.['bytes_so_far'] ?? 0) > MOST_BYTES
  return { entries: rows.slice(0, MOST_ENTRIES).map(entryOf), truncated: isLarge || rows.length > MOST_ENTRIES }
}

/** A row of {@link JOB_COLUMNS}, at depth 0. */
export function jobOf(row: Record<string, unknown>): TracedJob {
  return {
    id: row['id'] as JobId,
    parent_job_id: row['parent_job_id'] as JobId | null,
    depends_on: row['depends_on'] as JobId[],
    depth: 0,
    source_agent: row['source_agent'] as AgentId | null,
    target_agent: row['target_agent'] as AgentId | null,
    subject: String(row['subject']),
    status: row['status'] as JobStatus,
    created_at: iso(String(row['created_at'])),
    finished_at: row['finished_at'] === null ? null : iso(String(row['finished_at'])),
  }
}

/** The jobs, each with the number of hand-offs that lie between it and the first of its parents among them. */
export function withDepths(jobs: readonly TracedJob[]): TracedJob[] {
  const byId = new Map(jobs.map((job) => [job.id, job]))
  const depths = new Map<JobId, number>()
  const depthOf = (job: TracedJob): number => {
    const known = depths.get(job.id)
    if (known !== undefined) return known
    const parent = job.parent_job_id === null ? undefined : byId.get(job.parent_job_id)
    const depth = parent === undefined ? 0 : depthOf(parent) + 1
    depths.set(job.id, depth)
    return depth
  }
  return jobs.map((job) => ({ ...job, depth: depthOf(job) }))
}
