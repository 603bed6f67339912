import { sql } from 'drizzle-orm'
import type { Db } from './database.js'
import { AS_DECIDED, NOT_PAUSED, openedRows, type Opened, type Opening, type OpenedAs } from './open-attempts.js'

/**
 * Opens the first attempt of a job that this process has created with the statement before, on the same connection: nobody knows the job yet, so it
 * is moved first and not looked up before. What refuses it is what refuses any opening ({@link openAttempts}); a guard that is added there belongs here.
 * That the job is queued is not asked: nothing else has moved it as long as its history has one row, and the word "queued" would let the planner
 * take an index over all that is, see decision 31.
 * @throws what PostgreSQL throws when somebody takes the slot in the same moment; nothing is written then
 */
export async function openNewborn(db: Db, opening: Opening): Promise<Exclude<Opened, { kind: 'taken' }>> {
  const { job, attempt: a, slot } = opening
  const { rows } = await db.execute(sql`
    with moved as (
      update jobs j set status = 'leased', last_seq = j.last_seq + 1, updated_at = clock_timestamp(), current_attempt_id = ${a.id}::uuid
      from (select ${a.gatewayId}::text as gateway_id, ${a.decidedBy?.agentVersion}::int as agent_version, ${a.decidedBy?.gatewayVersion}::int as gateway_version) w
      where j.id = ${job.id}::uuid and j.last_seq = ${job.last_seq} and j.generation = ${job.generation} and ${AS_DECIDED} and ${NOT_PAUSED}
        and not exists (select from job_attempts o where o.agent_id = j.target_agent and o.slot = ${slot}::int and o.finished_at is null)
      returning j.id, j.last_seq, j.target_agent, j.payload_hash, j.updated_at
    ), opened as (
      insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, lease_owner, leased_until, deadline_at, prompt_hash, contract_version, payload_hash,
        gateway_booted_at)
      select ${a.id}::uuid, m.id, ${a.attemptNo}::int, m.target_agent, g.id, ${slot}::int, ${a.leaseOwner},
        clock_timestamp() + make_interval(secs => ${Math.min(a.leaseSeconds, a.deadlineSeconds)}::float8),
        clock_timestamp() + make_interval(secs => ${a.deadlineSeconds + 1}::float8), ${a.prompt.hash}, ${a.prompt.contractVersion}, m.payload_hash, g.booted_at
      from moved m join gateways g on g.id = ${a.gatewayId}
      returning leased_at, leased_until, deadline_at, gateway_booted_at, payload_hash
    ), prompt as (
      insert into prompts (hash, body, bytes) select ${a.prompt.hash}, ${a.prompt.storedBody}, ${a.prompt.bytes}::int from moved on conflict do nothing
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, details)
      select m.id, m.last_seq, 'move', 'queued', 'leased', 'leased', ${a.id}::uuid, ${a.actor.kind}::actor_kind, ${a.actor.id}, ${JSON.stringify(a.details)}::jsonb from moved m
    )
    select opened.*, moved.updated_at from opened cross join moved`)
  const row = rows[0]
  return row === undefined ? { kind: 'changed' } : { kind: 'opened', ...openedRows(opening, row as unknown as OpenedAs) }
}
