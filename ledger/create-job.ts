import { sql, type SQL } from 'drizzle-orm'
import { currentTraceparent } from '../config/tracing.js'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { DelegationRule } from '../contracts/fleet.js'
import { uuidv7, type JobId } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import { awaitJobs } from './await-jobs.js'
import { canonicalJson, sha256 } from './canonical.js'
import { sqlStateOf, type Tx } from './database.js'
import { eventHashOf } from './event-hash.js'
import { hintAfterCommit } from './hints.js'
import { observe } from './observe.js'
import type { JobRow } from './rows.js'

export interface Creator {
  readonly actor: Actor
  /** Milliseconds since the epoch; only makes the id sort by time. */
  readonly nowMs: number
  /** The slot of a standing order that the job is the run of. */
  readonly slot?: { readonly runId: string; readonly session: 'isolated' | 'main' } | undefined
  /** Somebody surely waits for its end. */
  readonly awaited?: boolean
  /** The chain of reactions that it is part of. Absent: that of its parent, or none. */
  readonly chain?: Chain | undefined
}

/** How many reactions to events led here, by which subscriptions, and the event that this is a reaction to. */
export interface Chain {
  readonly hops: number
  readonly lineage: readonly string[]
  readonly eventId?: string | undefined
}

/**
 * Creates a job with its first history row and its outbox row, or answers the open job that has the dedupe key.
 * Every entrance (REST, follow-up, subscription, workflow) comes through here.
 * @throws AGENTBUS_UNKNOWN_AGENT, AGENTBUS_NO_ABLE_AGENT, AGENTBUS_DELEGATION_REFUSED, AGENTBUS_UNKNOWN_DEPENDENCY, AGENTBUS_JOB_NOT_FOUND (parent)
 */
export async function createJob(tx: Tx, body: CreateJobBody, by: Creator): Promise<{ job: JobRow; created: boolean }> {
  const dependencies = [...new Set(body.depends_on)]
  const waiting = dependencies.length > 0 ? await anyDependencyOpen(tx, body, dependencies) : false
  const inserted = await insertJob(tx, body, by, waiting)
  if (inserted === undefined) {
    const open = await findOpenDuplicate(tx, body)
    // The open one ended between the two statements: with its key free again, the second insert cannot conflict with it.
    if (open === undefined) return createJob(tx, body, by)
    await observe(tx, {
      kind: 'drop',
      code: 'duplicate_create',
      actor: by.actor,
      jobId: open.id,
      agentId: open.target_agent ?? undefined,
      detail: `A job with dedupe key ${body.dedupe_key ?? ''} is open; no second one was created.`,
    })
    return { job: open, created: false }
  }
  if (dependencies.length > 0) {
    await tx.execute(sql`
      insert into job_dependencies (job_id, depends_on_job_id)
      select ${inserted.id}::uuid, unnest(${sql.param(dependencies)}::uuid[])`)
  }
  if (!waiting) hintAfterCommit(tx, { outbox: true })
  return { job: inserted, created: true }
}

async function insertJob(tx: Tx, body: CreateJobBody, by: Creator, waiting: boolean): Promise<JobRow | undefined> {
  const id = uuidv7(by.nowMs)
  const target = body.target_agent ?? null
  const capabilities = body.capabilities ?? []
  const routed = target === null
  const status = waiting ? 'waiting' : 'queued'
  try {
    const { rows } = await tx.execute(sql`
      with inserted as (
        insert into jobs (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, capabilities, job_type, subject, lane, priority,
          dedupe_key, payload, payload_hash, state, status, last_seq, run_after, max_attempts, timeout_seconds, lease_seconds, on_lost,
          on_dependency_death, standing_order_run_id, session_mode, source_event_id, hops, lineage, awaited, created_by)
        select ${id}::uuid, ${body.namespace}, ${body.parent_job_id ?? null}::uuid, ${ofParent(body, 'flow_key')}, ${ofParent(body, 'correlation_key')},
          ${body.source_agent ?? null}, a.id, ${sql.param(capabilities)}::text[], ${body.job_type}, ${body.subject}, ${body.lane}::lane, ${body.priority}, ${body.dedupe_key ?? null},
          ${JSON.stringify(body.payload)}::jsonb, ${sha256(canonicalJson(body.payload))}, ${JSON.stringify(body.state)}::jsonb, ${status}::job_status, 1,
          coalesce(${body.run_after ?? null}::timestamptz, clock_timestamp()), ${body.max_attempts},
          coalesce(${body.timeout_seconds ?? null}::int, a.timeout_seconds, ${DEFAULT_SECONDS}), coalesce(${body.lease_seconds ?? null}::int, a.lease_seconds, ${DEFAULT_SECONDS}),
          ${body.on_lost}::on_lost, ${body.on_dependency_death}::on_dependency_death, ${by.slot?.runId ?? null}::uuid,
          ${by.slot?.session ?? 'isolated'}::session_mode, ${by.chain?.eventId ?? null}::bigint, ${chainPart(body, by).hops}, ${chainPart(body, by).lineage}, ${by.awaited === true}, ${`${by.actor.kind}:${by.actor.id}`}
        from ${
          routed
            ? sql`(select null::text as id, max(able.timeout_seconds) as timeout_seconds, max(able.lease_seconds) as lease_seconds
            from agents able where able.enabled and able.capabilities @> ${sql.param(capabilities)}::text[]) a`
            : sql`agents a`
        }
          left join agents s on s.id = ${body.source_agent ?? null}
        where ${
          routed
            ? sql`exists (select from agents able where able.enabled and able.capabilities @> ${sql.param(capabilities)}::text[]
                and (${mayAnything(by)} or may_delegate(s.delegation, s.id, able.id, ${body.job_type})))`
            : sql`a.id = ${target} and (${mayAnything(by)} or may_delegate(s.delegation, s.id, a.id, ${body.job_type}))`
        }
        on conflict ${
          routed
            ? sql`(namespace, dedupe_key) where dedupe_key is not null and finished_at is null and cardinality(capabilities) > 0`
            : sql`(namespace, target_agent, dedupe_key) where dedupe_key is not null and finished_at is null and cardinality(capabilities) = 0`
        } do nothing
        returning *
      ), logged as (
        insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor, details)
        select id, 1, 'move', status, 'created', ${by.actor.kind}::actor_kind, ${by.actor.id},
          jsonb_strip_nulls(jsonb_build_object('payload_hash', payload_hash, 'target_agent', target_agent, 'job_type', job_type, 'priority', priority,
            'capabilities', case when cardinality(capabilities) > 0 then to_jsonb(capabilities) end, 'event_id', source_event_id, 'event_hash', ${sql.raw(eventHashOf('source_event_id'))}, 'traceparent', ${currentTraceparent() ?? null}::text))
        from inserted
      ), queued as (
        insert into outbox (kind, job_id, agent_id, generation)
        select 'publish', id, target_agent, generation from inserted where status = 'queued' and target_agent is not null
      )
      select * from inserted`)
    const row = rows[0]
    if (row === undefined) {
      if (target === null) await assertAbleAgent(tx, body, by)
      else {
        await assertAgentExists(tx, target)
        if (!mayAnything(by)) await assertMayDelegate(tx, body, target)
      }
    }
    return row as JobRow | undefined
  } catch (error) {
    if (sqlStateOf(error) === '23503') {
      throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${body.parent_job_id ?? ''} (parent_job_id).`, { field: 'parent_job_id' })
    }
    throw error
  }
}

/** Seconds for a job whose settings come from nowhere else; one that names capabilities has the longest of any able agent. */
const DEFAULT_SECONDS = 600

/** Where the job stands in a chain of reactions: what the creator says, else where its parent stands. */
function chainPart(body: CreateJobBody, by: Creator): { hops: SQL; lineage: SQL } {
  if (by.chain !== undefined) return { hops: sql`${by.chain.hops}::int`, lineage: sql`${sql.param([...by.chain.lineage])}::uuid[]` }
  if (body.parent_job_id === undefined) return { hops: sql`0`, lineage: sql`'{}'::uuid[]` }
  const parent = (column: SQL, otherwise: SQL) => sql`coalesce((select ${column} from jobs p where p.id = ${body.parent_job_id}::uuid), ${otherwise})`
  return { hops: parent(sql`p.hops`, sql`0`), lineage: parent(sql`p.lineage`, sql`'{}'::uuid[]`) }
}

/** A child belongs to the matter of its parent, unless it says otherwise. */
function ofParent(body: CreateJobBody, key: 'flow_key' | 'correlation_key'): SQL {
  if (body[key] !== undefined || body.parent_job_id === undefined) return sql`${body[key] ?? null}`
  return sql`(select p.${sql.raw(key)} from jobs p where p.id = ${body.parent_job_id}::uuid)`
}

async function assertAbleAgent(tx: Tx, body: CreateJobBody, by: Creator): Promise<void> {
  const capabilities = body.capabilities ?? []
  const { rows } = await tx.execute<{ id: string; allowed: boolean }>(sql`
    select a.id, ${mayAnything(by)} or may_delegate(s.delegation, s.id, a.id, ${body.job_type}) as allowed
    from agents a left join agents s on s.id = ${body.source_agent ?? null}
    where a.enabled and a.capabilities @> ${sql.param(capabilities)}::text[]`)
  if (rows.length === 0) {
    throw new AgentbusError('AGENTBUS_NO_ABLE_AGENT', `No enabled agent has all of: ${capabilities.join(', ')}.`, { capabilities })
  }
  if (rows.some((row) => row.allowed)) return
  const able = rows.map((row) => row.id)
  throw new AgentbusError(
    'AGENTBUS_DELEGATION_REFUSED',
    `${body.source_agent ?? ''} may not send ${body.job_type} to any agent that can do ${capabilities.join(', ')} (${able.join(', ')}).`,
    { source_agent: body.source_agent, capabilities, able, job_type: body.job_type },
  )
}

async function assertAgentExists(tx: Tx, agentId: string): Promise<void> {
  const { rows } = await tx.execute(sql`select 1 from agents where id = ${agentId}`)
  if (rows.length === 0) throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${agentId}.`, { target_agent: agentId })
}

/** Operators are not bound by the rules of the agent in whose name they ask. */
export function mayAnything(by: Creator): boolean {
  return by.actor.kind === 'operator'
}

async function assertMayDelegate(tx: Tx, body: CreateJobBody, target: string): Promise<void> {
  const { rows } = await tx.execute<{ allowed: boolean; delegation: DelegationRule[] | null }>(sql`
    select may_delegate(s.delegation, s.id, ${target}, ${body.job_type}) as allowed, s.delegation from agents s where s.id = ${body.source_agent ?? null}`)
  const source = rows[0]
  if (source === undefined || source.allowed) return
  const rules = (source.delegation ?? []).map(({ to, job_types: types }) => `${types === undefined ? 'anything' : types.join(', ')} to ${to.join(', ')}`)
  throw new AgentbusError(
    'AGENTBUS_DELEGATION_REFUSED',
    `${body.source_agent ?? ''} may not send ${body.job_type} to ${target}; it may send ${rules.length === 0 ? 'nothing to anybody' : rules.join('; ')}.`,
    { source_agent: body.source_agent, target_agent: target, job_type: body.job_type, delegation: source.delegation },
  )
}

async function findOpenDuplicate(tx: Tx, body: CreateJobBody): Promise<JobRow | undefined> {
  const { rows } = await tx.execute(sql`
    select * from jobs
    where namespace = ${body.namespace} and dedupe_key = ${body.dedupe_key ?? null} and finished_at is null
      and ${body.target_agent === undefined ? sql`cardinality(capabilities) > 0` : sql`cardinality(capabilities) = 0 and target_agent = ${body.target_agent}`}`)
  return rows[0] as JobRow | undefined
}

/**
 * Whether any of the jobs it depends on is still open; that cannot turn stale before this transaction commits.
 * A dependency that has died already holds the job back, or not, as `on_dependency_death` says.
 */
async function anyDependencyOpen(tx: Tx, body: CreateJobBody, dependencies: readonly JobId[]): Promise<boolean> {
  const rows = await awaitJobs(tx, dependencies)
  const known = new Set(rows.filter((row) => row.namespace === body.namespace).map((row) => row.id))
  const unknown = dependencies.filter((id) => !known.has(id))
  if (unknown.length > 0) {
    throw new AgentbusError('AGENTBUS_UNKNOWN_DEPENDENCY', `No job in namespace ${body.namespace} has the id ${unknown.join(', ')}.`, { unknown })
  }
  const died = rows.filter((row) => row.over && row.status !== 'succeeded')
  if (died.length > 0 && body.on_dependency_death !== 'run') {
    throw new AgentbusError('AGENTBUS_UNKNOWN_DEPENDENCY', `It depends on ${died.map((row) => `${row.id} (${row.status})`).join(', ')}, which is over without success.`, {
      over: died.map((row) => row.id),
    })
  }
  return rows.some((row) => !row.over)
}
