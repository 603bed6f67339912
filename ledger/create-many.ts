import { sql } from 'drizzle-orm'
import { currentTraceparent } from '../config/tracing.js'
import { uuidv7 } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import { canonicalJson, sha256 } from './canonical.js'
import { createJob, mayAnything, type Creator } from './create-job.js'
import type { Db, Tx } from './database.js'
import { eventHashOf } from './event-hash.js'
import { hintAfterCommit } from './hints.js'
import { DECIDED_OF_INSERTED, newbornRow, type Decided } from './newborn-row.js'
import type { JobRow } from './rows.js'

/** A job to create, and in whose name. */
export interface Creation {
  readonly body: CreateJobBody
  readonly by: Creator
  /** Seconds for which the outbox row belongs to whoever creates the job and publishes it itself; 0 leaves it to any relay. */
  readonly claimSeconds: number
  /** The trace that it belongs to. */
  readonly traceparent: string | undefined
}

/**
 * Creates many jobs, all of them or none, in the order given. Those that wait for nothing and name their agent are written in
 * one statement; the others, and those whose dedupe key is taken, one by one as {@link createJob} does.
 * @throws what {@link createJob} throws, for the first that it would throw for
 */
export async function createMany(tx: Tx, bodies: readonly CreateJobBody[], by: Creator): Promise<{ job: JobRow; created: boolean }[]> {
  const together = bodies.filter(isPlain)
  const written = await createTogether(
    tx,
    together.map((body) => ({ body, by, claimSeconds: 0, traceparent: currentTraceparent() })),
  )
  const jobs = new Map(together.map((body, at) => [body, written[at]]))
  if (written.some((job) => job !== undefined)) hintAfterCommit(tx, { outbox: true })
  const results = []
  for (const body of bodies) {
    const made = jobs.get(body)
    results.push(made === undefined ? await createJob(tx, body, by) : { job: made.job, created: true })
  }
  return results
}

/** Whether a job can be created together with others: it names its agent and waits for nothing. */
export function isPlain(body: CreateJobBody): boolean {
  return body.depends_on.length === 0 && body.target_agent !== undefined
}

/** A job that was created, and its row in the outbox. */
export interface Created {
  readonly job: JobRow
  readonly outboxId: number
}

/**
 * Creates jobs that are plain, with their first history rows and outbox rows, in one statement.
 * @returns for each its rows; undefined where nothing was written, because an open job has its dedupe key or it may not be
 * created: {@link createJob} then answers that one, or says why not
 */
export async function createTogether(db: Db | Tx, creations: readonly Creation[]): Promise<(Created | undefined)[]> {
  const keys = new Set<string>()
  const ids = creations.map(({ body, by }) => {
    // Of two with one key in the same statement, which one would win is anybody's guess.
    const key = body.dedupe_key === undefined ? undefined : JSON.stringify([body.namespace, body.target_agent, body.dedupe_key])
    if (key !== undefined && keys.has(key)) return undefined
    if (key !== undefined) keys.add(key)
    return uuidv7(by.nowMs)
  })
  const wanted = creations.flatMap(({ body, by, claimSeconds, traceparent }, n) => {
    const id = ids[n]
    if (id === undefined) return []
    const origin = { free: mayAnything(by), awaited: by.awaited === true, hops: by.chain?.hops, lineage: by.chain?.lineage, source_event_id: by.chain?.eventId }
    return [
      { ...body, ...origin, n, id, payload_hash: sha256(canonicalJson(body.payload)), actor_kind: by.actor.kind, actor: by.actor.id, claim_seconds: claimSeconds, traceparent },
    ]
  })
  if (wanted.length === 0) return []
  const { rows } = await db.execute(sql`
    with wanted as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb) as w (n int, id uuid, namespace text, parent_job_id uuid, flow_key text, correlation_key text,
        source_agent text, target_agent text, job_type text, subject text, lane lane, priority int, dedupe_key text, payload jsonb, payload_hash text, state jsonb,
        run_after timestamptz, max_attempts int, timeout_seconds int, lease_seconds int, on_lost on_lost, on_dependency_death on_dependency_death,
        awaited boolean, hops int, lineage uuid[], source_event_id bigint, free boolean, actor_kind actor_kind, actor text, claim_seconds float8,
        traceparent text)
    ), inserted as (
      insert into jobs (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload,
        payload_hash, state, status, last_seq, run_after, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, awaited, hops, lineage,
        source_event_id, created_by)
      select w.id, w.namespace, w.parent_job_id, coalesce(w.flow_key, p.flow_key), coalesce(w.correlation_key, p.correlation_key), w.source_agent, a.id, w.job_type,
        w.subject, w.lane, w.priority, w.dedupe_key, w.payload, w.payload_hash, w.state, 'queued', 1, coalesce(w.run_after, clock_timestamp()), w.max_attempts,
        coalesce(w.timeout_seconds, a.timeout_seconds), coalesce(w.lease_seconds, a.lease_seconds), w.on_lost, w.on_dependency_death, w.awaited,
        coalesce(w.hops, p.hops, 0), coalesce(w.lineage, p.lineage, '{}'), w.source_event_id, w.actor_kind || ':' || w.actor
      from wanted w join agents a on a.id = w.target_agent left join agents s on s.id = w.source_agent left join jobs p on p.id = w.parent_job_id
      where (w.free or may_delegate(s.delegation, s.id, a.id, w.job_type)) and (w.parent_job_id is null or p.id is not null)
      order by w.n
      on conflict (namespace, target_agent, dedupe_key) where dedupe_key is not null and finished_at is null and cardinality(capabilities) = 0 do nothing
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor, details)
      select i.id, 1, 'move', i.status, 'created', w.actor_kind, w.actor,
        jsonb_strip_nulls(jsonb_build_object('payload_hash', i.payload_hash, 'target_agent', i.target_agent, 'job_type', i.job_type, 'priority', i.priority,
          'event_id', i.source_event_id, 'event_hash', ${sql.raw(eventHashOf('i.source_event_id'))}, 'traceparent', w.traceparent))
      from inserted i join wanted w on w.id = i.id order by w.n
    ), queued as (
      insert into outbox (kind, job_id, agent_id, generation, claimed_until)
      select 'publish', i.id, i.target_agent, i.generation,
        case when w.claim_seconds > 0 then clock_timestamp() + make_interval(secs => w.claim_seconds) else '-infinity'::timestamptz end
      from inserted i join wanted w on w.id = i.id order by w.n
      returning id, job_id
    )
    select i.id, ${DECIDED_OF_INSERTED}, q.id as x_outbox_id from inserted i join queued q on q.job_id = i.id`)
  const written = new Map(rows.map((row) => [row['id'], row]))
  return creations.map(({ body, by }, n): Created | undefined => {
    const id = ids[n]
    const row = id === undefined ? undefined : written.get(id)
    if (id === undefined || row === undefined) return undefined
    const { id: _id, x_outbox_id: outboxId, ...decided } = row
    return { job: newbornRow(id, body, by, decided as unknown as Decided), outboxId: Number(outboxId) }
  })
}
