import { sql } from 'drizzle-orm'
import type { CreateJobBody } from '../contracts/jobs.js'
import { canonicalJson, sha256 } from './canonical.js'
import { mayAnything, type Creator } from './create-job.js'
import { isPlain, type Created, type Creation } from './create-many.js'
import type { Db } from './database.js'
import { DECIDED_OF_INSERTED, newbornRow, type Decided } from './newborn-row.js'

/** A job to create whose id has to be known before. */
export type Newborn = Creation & { readonly id: string }

/** What can be created so: plain, and what a job has from a parent or a chain of events is the ledger's to know. */
export function canBeNewborn(body: CreateJobBody, by: Creator): boolean {
  return isPlain(body) && body.parent_job_id === undefined && body.run_after === undefined && by.chain === undefined
}

const NOTHING = sql``

/**
 * Creates one job that {@link canBeNewborn}, with its first history row and its outbox row. The commit does not wait for the disk: nothing of it is
 * acknowledged before a later commit has. Its values are parameters: to read them out of one text, as for many jobs at once, takes a fifth of the statement.
 * @returns undefined where nothing was written, because an open job has its dedupe key or it may not be created: createJob then answers that one, or says why not
 * @throws what PostgreSQL throws, a lock timeout among it; nothing is written then
 */
export async function createNewborn(db: Db, { body, by, claimSeconds, traceparent, id }: Newborn): Promise<Created | undefined> {
  const payload = canonicalJson(body.payload)
  const payloadHash = sha256(payload)
  const actor = `${by.actor.kind}:${by.actor.id}`
  const details = { payload_hash: payloadHash, target_agent: body.target_agent, job_type: body.job_type, priority: body.priority, traceparent }
  const rule = mayAnything(by) ? NOTHING : sql`left join agents s on s.id = ${body.source_agent ?? null}`
  const obeyed = mayAnything(by) ? NOTHING : sql`and may_delegate(s.delegation, s.id, a.id, ${body.job_type})`
  const { rows } = await db.execute(sql`
    with unhurried as materialized (select set_config('synchronous_commit', 'off', true)), inserted as (
      insert into jobs (id, namespace, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload, payload_hash, state,
        status, last_seq, run_after, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, awaited, created_by)
      select ${id}::uuid, ${body.namespace}, ${body.flow_key ?? null}, ${body.correlation_key ?? null}, ${body.source_agent ?? null}, a.id, ${body.job_type},
        ${body.subject}, ${body.lane}::lane, ${body.priority}::int, ${body.dedupe_key ?? null}, ${payload}::jsonb, ${payloadHash}, ${JSON.stringify(body.state)}::jsonb,
        'queued', 1, clock_timestamp(), ${body.max_attempts}::int, coalesce(${body.timeout_seconds ?? null}::int, a.timeout_seconds),
        coalesce(${body.lease_seconds ?? null}::int, a.lease_seconds), ${body.on_lost}::on_lost, ${body.on_dependency_death}::on_dependency_death,
        ${by.awaited === true}::boolean, ${actor}
      from agents a cross join unhurried ${rule} where a.id = ${body.target_agent} ${obeyed}
      on conflict (namespace, target_agent, dedupe_key) where dedupe_key is not null and finished_at is null and cardinality(capabilities) = 0 do nothing
      returning *
    ), logged as (
      insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor, details)
      select i.id, 1, 'move', 'queued', 'created', ${by.actor.kind}::actor_kind, ${by.actor.id}, ${JSON.stringify(details)}::jsonb from inserted i
    ), queued as (
      insert into outbox (kind, job_id, agent_id, generation, claimed_until)
      select 'publish', i.id, i.target_agent, i.generation,
        case when ${claimSeconds}::float8 > 0 then clock_timestamp() + make_interval(secs => ${claimSeconds}::float8) else '-infinity'::timestamptz end
      from inserted i
      returning id
    )
    select ${DECIDED_OF_INSERTED}, q.id as x_outbox_id from inserted i cross join queued q`)
  const row = rows[0]
  if (row === undefined) return undefined
  const { x_outbox_id: outboxId, ...decided } = row
  return { job: newbornRow(id, body, by, decided as unknown as Decided), outboxId: Number(outboxId) }
}
