import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { DelegationRule } from '../contracts/fleet.js'
import { uuidv7, type JobId } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import { awaitJobs } from './await-jobs.js'
import { canonicalJson, sha256 } from './canonical.js'
import { sqlStateOf, type Db, type Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import { observe } from './observe.js'
import type { JobRow } from './rows.js'

export interface Creator {
  readonly actor: Actor
  /** Milliseconds since the epoch; only makes the id sort by time. */
  readonly nowMs: number
  /** The slot of a standing order that the job is the run of. */
  readonly slot?: { readonly runId: string; readonly session: 'isolated' | 'main' } | undefined
}

/**
 * Creates a job with its first history row and its outbox row, or answers the open job that has the dedupe key.
 * Every entrance (REST, follow-up, subscription, workflow) comes through here.
 * @throws AGENTBUS_UNKNOWN_AGENT, AGENTBUS_DELEGATION_REFUSED, AGENTBUS_UNKNOWN_DEPENDENCY, AGENTBUS_JOB_NOT_FOUND (parent)
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
      agentId: open.target_agent,
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

/**
 * Creates a job that waits for nothing, as one statement that is its own transaction.
 * @returns undefined when an open job has the dedupe key: {@link createJob} then answers that one
 * @throws AGENTBUS_UNKNOWN_AGENT, AGENTBUS_DELEGATION_REFUSED, AGENTBUS_JOB_NOT_FOUND (parent)
 */
export function createIndependentJob(db: Db, body: CreateJobBody, by: Creator): Promise<JobRow | undefined> {
  if (body.depends_on.length > 0) throw new Error('a job with dependencies needs a transaction')
  return insertJob(db, body, by, false)
}

async function insertJob(tx: Tx | Db, body: CreateJobBody, by: Creator, waiting: boolean): Promise<JobRow | undefined> {
  const id = uuidv7(by.nowMs)
  const status = waiting ? 'waiting' : 'queued'
  try {
    const { rows } = await tx.execute(sql`
      with inserted as (
        insert into jobs (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority,
          dedupe_key, payload, payload_hash, state, status, last_seq, run_after, max_attempts, timeout_seconds, lease_seconds, on_lost,
          on_dependency_death, standing_order_run_id, session_mode, created_by)
        select ${id}::uuid, ${body.namespace}, ${body.parent_job_id ?? null}::uuid, ${body.flow_key ?? null}, ${body.correlation_key ?? null},
          ${body.source_agent ?? null}, a.id, ${body.job_type}, ${body.subject}, ${body.lane}::lane, ${body.priority}, ${body.dedupe_key ?? null},
          ${JSON.stringify(body.payload)}::jsonb, ${sha256(canonicalJson(body.payload))}, ${JSON.stringify(body.state)}::jsonb, ${status}::job_status, 1,
          coalesce(${body.run_after ?? null}::timestamptz, clock_timestamp()), ${body.max_attempts},
          coalesce(${body.timeout_seconds ?? null}::int, a.timeout_seconds), coalesce(${body.lease_seconds ?? null}::int, a.lease_seconds),
          ${body.on_lost}::on_lost, ${body.on_dependency_death}::on_dependency_death, ${by.slot?.runId ?? null}::uuid,
          ${by.slot?.session ?? 'isolated'}::session_mode, ${`${by.actor.kind}:${by.actor.id}`}
        from agents a left join agents s on s.id = ${body.source_agent ?? null}
        where a.id = ${body.target_agent} and (${mayAnything(by)} or may_delegate(s.delegation, s.id, a.id, ${body.job_type}))
        on conflict (namespace, target_agent, dedupe_key) where dedupe_key is not null and finished_at is null do nothing
        returning *
      ), logged as (
        insert into job_transitions (job_id, seq, kind, to_status, reason, actor_kind, actor, details)
        select id, 1, 'move', status, 'created', ${by.actor.kind}::actor_kind, ${by.actor.id},
          jsonb_build_object('payload_hash', payload_hash, 'target_agent', target_agent, 'job_type', job_type, 'priority', priority)
        from inserted
      ), queued as (
        insert into outbox (kind, job_id, agent_id, generation)
        select 'publish', id, target_agent, generation from inserted where status = 'queued'
      )
      select * from inserted`)
    const row = rows[0]
    if (row === undefined) {
      await assertAgentExists(tx, body.target_agent)
      if (!mayAnything(by)) await assertMayDelegate(tx, body)
    }
    return row as JobRow | undefined
  } catch (error) {
    if (sqlStateOf(error) === '23503') {
      throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${body.parent_job_id ?? ''} (parent_job_id).`, { field: 'parent_job_id' })
    }
    throw error
  }
}

async function assertAgentExists(tx: Tx | Db, agentId: string): Promise<void> {
  const { rows } = await tx.execute(sql`select 1 from agents where id = ${agentId}`)
  if (rows.length === 0) throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${agentId}.`, { target_agent: agentId })
}

/** Operators are not bound by the rules of the agent in whose name they ask. */
function mayAnything(by: Creator): boolean {
  return by.actor.kind === 'operator'
}

async function assertMayDelegate(tx: Tx | Db, body: CreateJobBody): Promise<void> {
  const { rows } = await tx.execute<{ allowed: boolean; delegation: DelegationRule[] | null }>(sql`
    select may_delegate(s.delegation, s.id, ${body.target_agent}, ${body.job_type}) as allowed, s.delegation from agents s where s.id = ${body.source_agent ?? null}`)
  const source = rows[0]
  if (source === undefined || source.allowed) return
  const rules = (source.delegation ?? []).map(({ to, job_types: types }) => `${types === undefined ? 'anything' : types.join(', ')} to ${to.join(', ')}`)
  throw new AgentbusError(
    'AGENTBUS_DELEGATION_REFUSED',
    `${body.source_agent ?? ''} may not send ${body.job_type} to ${body.target_agent}; it may send ${rules.length === 0 ? 'nothing to anybody' : rules.join('; ')}.`,
    { source_agent: body.source_agent, target_agent: body.target_agent, job_type: body.job_type, delegation: source.delegation },
  )
}

async function findOpenDuplicate(tx: Tx, body: CreateJobBody): Promise<JobRow | undefined> {
  const { rows } = await tx.execute(sql`
    select * from jobs
    where namespace = ${body.namespace} and target_agent = ${body.target_agent} and dedupe_key = ${body.dedupe_key ?? null} and finished_at is null`)
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
