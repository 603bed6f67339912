import { sql } from 'drizzle-orm'
import { currentTraceparent } from '../config/tracing.js'
import { uuidv7 } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import { canonicalJson, sha256 } from './canonical.js'
import { createJob, mayAnything, type Creator } from './create-job.js'
import type { Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import type { JobRow } from './rows.js'

/**
 * Creates many jobs, all of them or none, in the order given. Those that wait for nothing and name their agent are written in
 * one statement; the others, and those whose dedupe key is taken, one by one as {@link createJob} does.
 * @throws what {@link createJob} throws, for the first that it would throw for
 */
export async function createMany(tx: Tx, bodies: readonly CreateJobBody[], by: Creator): Promise<{ job: JobRow; created: boolean }[]> {
  const keys = new Set<string>()
  const together = bodies.filter((body) => {
    if (body.depends_on.length > 0 || body.target_agent === undefined || body.parent_job_id !== undefined) return false
    // Of two with one key in the same statement, which one would win is anybody's guess.
    const key = body.dedupe_key === undefined ? undefined : JSON.stringify([body.namespace, body.target_agent, body.dedupe_key])
    if (key === undefined) return true
    return keys.has(key) ? false : keys.add(key) !== undefined
  })
  const ids = new Map(together.map((body) => [body, uuidv7(by.nowMs)]))
  const written = await insertTogether(tx, ids, by)
  if (written.size > 0) hintAfterCommit(tx, { outbox: true })
  const results = []
  for (const body of bodies) {
    const job = written.get(ids.get(body) ?? '')
    results.push(job === undefined ? await createJob(tx, body, by) : { job, created: true })
  }
  return results
}

async function insertTogether(tx: Tx, ids: ReadonlyMap<CreateJobBody, string>, by: Creator): Promise<Map<string, JobRow>> {
  const rows = [...ids].map(([body, id], n) => ({ ...body, n, id, payload_hash: sha256(canonicalJson(body.payload)) }))
  if (rows.length === 0) return new Map()
  const { rows: inserted } = await tx.execute(sql`
    with wanted as (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as w (n int, id uuid, namespace text, flow_key text, correlation_key text, source_agent text,
        target_agent text, job_type text, subject text, lane lane, priority int, dedupe_key text, payload jsonb, payload_hash text, state jsonb,
        run_after timestamptz, max_attempts int, timeout_seconds int, lease_seconds int, on_lost on_lost, on_dependency_death on_dependency_death)
    ), inserted as (
      insert into jobs (id, namespace, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload, payload_hash,
        state, status, last_seq, run_after, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, created_by)
      select w.id, w.namespace, w.flow_key, w.correlation_key, w.source_agent, a.id, w.job_type, w.subject, w.lane, w.priority, w.dedupe_key, w.payload, w.payload_hash,
        w.state, 'queued', 1, coalesce(w.run_after, clock_timestamp()), w.max_attempts, coalesce(w.timeout_seconds, a.timeout_seconds),
        coalesce(w.lease_seconds, a.lease_seconds), w.on_lost, w.on_dependency_death, ${`${by.actor.kind}:${by.actor.id}`}
      from wanted w join agents a on a.id = w.target_agent left join agents s on s.id = w.source_agent
      where ${mayAnything(by)} or may_delegate(s.delegation, s.id, a.id, w.job_type)
      order by w.n
      on conflict (namespace, target_agent, dedupe_key) where dedupe_key is not null and finished_at is null and cardinality(capabilities) = 0 do nothing
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor, details)
      select i.id, 1, 'move', i.status, 'created', ${by.actor.kind}::actor_kind, ${by.actor.id},
        jsonb_strip_nulls(jsonb_build_object('payload_hash', i.payload_hash, 'target_agent', i.target_agent, 'job_type', i.job_type, 'priority', i.priority,
          'traceparent', ${currentTraceparent() ?? null}::text))
      from inserted i join wanted w on w.id = i.id order by w.n
    ), queued as (
      insert into outbox (kind, job_id, agent_id, generation) select 'publish', i.id, i.target_agent, i.generation from inserted i join wanted w on w.id = i.id order by w.n
    )
    select * from inserted`)
  return new Map((inserted as JobRow[]).map((row) => [row.id, row]))
}
