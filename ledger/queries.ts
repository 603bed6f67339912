import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentView, GatewayView } from '../contracts/fleet.js'
import { EventId, type AttemptId, type JobId } from '../contracts/ids.js'
import type { AttemptView } from '../contracts/attempts.js'
import type { EventView, ListEventsQuery } from '../contracts/events.js'
import type { JobView, ListJobsQuery, TransitionView } from '../contracts/jobs.js'
import { AGENT_STATE, OPEN_WORK } from './agent-state.js'
import type { Db, Tx } from './database.js'
import { pausedBy } from './paused-by.js'
import { attemptView, eventView, iso, jobView, transitionView, type AttemptRow, type EventRow, type JobRow, type TransitionRow } from './rows.js'

export interface Page<T> {
  readonly items: T[]
  /** Give it back as `cursor` to get what follows; null at the end. */
  readonly next_cursor: string | null
}

/** @throws AGENTBUS_JOB_NOT_FOUND */
export async function getJob(db: Db | Tx, id: JobId): Promise<JobView> {
  const { rows } = await db.execute(sql`select * from jobs where id = ${id}::uuid`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${id}.`, { job_id: id })
  return jobView(row as JobRow)
}

/** Newest first, by keyset: the cost does not grow with the history. */
export async function listJobs(db: Db, query: ListJobsQuery): Promise<Page<JobView>> {
  const where: SQL[] = []
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.target_agent !== undefined) where.push(sql`target_agent = ${query.target_agent}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::job_status`)
  if (query.flow_key !== undefined) where.push(sql`flow_key = ${query.flow_key}`)
  if (query.correlation_key !== undefined) where.push(sql`correlation_key = ${query.correlation_key}`)
  if (query.parent_job_id !== undefined) where.push(sql`parent_job_id = ${query.parent_job_id}::uuid`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`
    select * from jobs ${where.length === 0 ? sql`` : sql`where ${sql.join(where, sql` and `)}`} order by id desc limit ${query.limit + 1}`)
  return page((rows as JobRow[]).map(jobView), query.limit, (job) => job.id)
}

/** @throws AGENTBUS_BAD_REQUEST for what no list has given */
export function uuidCursor(cursor: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(cursor)) throw badCursor()
  return cursor
}

function badCursor(): AgentbusError {
  return new AgentbusError('AGENTBUS_BAD_REQUEST', 'The cursor is not one that a list has given.', { field: 'cursor' })
}

/** A page of one more item than was asked for, with the cursor to what follows. */
export function page<T>(items: T[], limit: number, cursorOf: (item: T) => string): Page<T> {
  const shown = items.slice(0, limit)
  const last = shown.at(-1)
  return { items: shown, next_cursor: items.length > limit && last !== undefined ? cursorOf(last) : null }
}

export interface ObservationView {
  readonly id: number
  readonly kind: string
  readonly code: string
  readonly attempt_id: string | null
  readonly actor_kind: string
  readonly actor: string
  readonly detail: string
  readonly details: Record<string, unknown>
  readonly at: string
}

/** A job's whole history in the order it happened, and what was refused about it. @throws AGENTBUS_JOB_NOT_FOUND */
export async function jobHistory(db: Db, id: JobId): Promise<{ job: JobView; transitions: TransitionView[]; attempts: AttemptView[]; observations: ObservationView[] }> {
  const job = await getJob(db, id)
  const transitions = await db.execute(sql`select * from job_transitions where job_id = ${id}::uuid order by seq limit 10000`)
  const attempts = await jobAttempts(db, id)
  const observed = await db.execute(sql`
    select id, kind, code, attempt_id, actor_kind, actor, detail, details, at from observations where job_id = ${id}::uuid order by id limit 1000`)
  return {
    job,
    transitions: (transitions.rows as TransitionRow[]).map(transitionView),
    attempts,
    observations: observed.rows.map((row) => ({ ...(row as unknown as ObservationView), id: Number(row['id']), at: iso(String(row['at'])) })),
  }
}

export async function jobAttempts(db: Db, id: JobId): Promise<AttemptView[]> {
  const { rows } = await db.execute(sql`select * from job_attempts where job_id = ${id}::uuid order by attempt_no limit 10000`)
  return (rows as AttemptRow[]).map(attemptView)
}

/** @throws AGENTBUS_NOT_FOUND */
export async function getAttempt(db: Db, id: AttemptId): Promise<AttemptView> {
  const { rows } = await db.execute(sql`select * from job_attempts where id = ${id}::uuid`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No attempt has the id ${id}.`)
  return attemptView(row as AttemptRow)
}

/** The stored bytes of an attempt's prompt, with the attempt's token cut out. @throws AGENTBUS_NOT_FOUND, AGENTBUS_PRUNED */
export async function getPrompt(db: Db, attemptId: AttemptId): Promise<{ hash: string; body: string; bytes: number }> {
  const { rows } = await db.execute<{ hash: string; body: string; bytes: number; pruned: boolean }>(sql`
    select p.hash, p.body, p.bytes, p.pruned_by is not null as pruned from job_attempts a join prompts p on p.hash = a.prompt_hash where a.id = ${attemptId}::uuid`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No attempt has the id ${attemptId}.`)
  const { pruned, ...prompt } = row
  if (pruned) throw new AgentbusError('AGENTBUS_PRUNED', 'The prompt of this attempt was pruned.', { hash: prompt.hash, bytes: prompt.bytes })
  return prompt
}

/** By topic, or by a pattern that ends in `.*`; keyset paging on the id. */
export async function listEvents(db: Db, query: ListEventsQuery): Promise<Page<EventView>> {
  const where: SQL[] = []
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.topic !== undefined) {
    where.push(query.topic.endsWith('.*') ? sql`topic like ${`${query.topic.slice(0, -1).replace(/[\\%_]/g, '\\$&')}%`}` : sql`topic = ${query.topic}`)
  }
  if (query.source_job_id !== undefined) where.push(sql`source_job_id = ${query.source_job_id}::uuid`)
  if (query.cursor !== undefined) {
    if (!EventId.safeParse(query.cursor).success) throw badCursor()
    where.push(query.order === 'asc' ? sql`id > ${query.cursor}::bigint` : sql`id < ${query.cursor}::bigint`)
  }
  const { rows } = await db.execute(sql`
    select * from events ${where.length === 0 ? sql`` : sql`where ${sql.join(where, sql` and `)}`}
    order by id ${query.order === 'asc' ? sql`asc` : sql`desc`} limit ${query.limit + 1}`)
  return page((rows as EventRow[]).map(eventView), query.limit, (event) => event.id)
}

/** Agents with their state, derived from probes, leases and what is open. */
export async function listAgents(db: Db | Tx, only?: string): Promise<AgentView[]> {
  const { rows } = await db.execute(sql`
    select a.*, ${AGENT_STATE} as state, s.state as known_state, s.since as known_since,
      ${pausedBy({ agent: sql`a.id`, gateway: sql`g.id` })} is not null as paused,
      coalesce(j.queued, 0)::int as queued, coalesce(j.leased, 0)::int as leased, coalesce(j.running, 0)::int as running, coalesce(j.blocked, 0)::int as blocked
    from agents a join gateways g on g.id = a.gateway_id
    left join agent_states s on s.agent_id = a.id
    left join ${OPEN_WORK} j on j.target_agent = a.id
    where ${only ?? null}::text is null or a.id = ${only ?? null}
    order by a.id limit 10000`)
  return rows.map((row) => ({
    id: row['id'] as AgentView['id'],
    gateway_id: row['gateway_id'] as AgentView['gateway_id'],
    gateway_agent_id: String(row['gateway_agent_id']),
    role: row['role'] === null ? null : String(row['role']),
    queue: `agent-${String(row['id'])}`,
    concurrency: Number(row['concurrency']),
    capabilities: row['capabilities'] as string[],
    delegation: row['delegation'] as AgentView['delegation'],
    timeout_seconds: Number(row['timeout_seconds']),
    lease_seconds: Number(row['lease_seconds']),
    enabled: row['enabled'] === true,
    paused: row['paused'] === true,
    state: row['state'] as AgentView['state'],
    state_since: row['known_state'] === row['state'] ? iso(String(row['known_since'])) : null,
    queued: Number(row['queued']),
    open_attempts: Number(row['leased']) + Number(row['running']),
    blocked: Number(row['blocked']),
    version: Number(row['version']),
    updated_at: iso(String(row['updated_at'])),
  }))
}

export async function listGateways(db: Db | Tx): Promise<GatewayView[]> {
  const { rows } = await db.execute(sql`select * from gateways order by id limit 10000`)
  const at = (value: unknown): string | null => (value === null ? null : iso(String(value)))
  return rows.map((row) => ({
    id: row['id'] as GatewayView['id'],
    base_url: String(row['base_url']),
    hook_path: String(row['hook_path']),
    token_ref: String(row['token_ref']),
    breaker: row['breaker'] === 'open' ? 'open' : 'closed',
    breaker_reason: row['breaker_reason'] === null ? null : String(row['breaker_reason']),
    breaker_changed_at: at(row['breaker_changed_at']),
    probe_after: iso(String(row['probe_after'])),
    last_ready_at: at(row['last_ready_at']),
    last_down_at: at(row['last_down_at']),
    booted_at: at(row['booted_at']),
    version: Number(row['version']),
  }))
}

export interface DispatcherView {
  readonly dispatcher_id: string
  readonly host: string
  readonly pid: number
  readonly last_seen: string
  readonly leases_owned: number
  readonly busy_agents: number
  readonly health: 'alive' | 'stale' | 'stopped'
}

export async function listDispatchers(db: Db): Promise<DispatcherView[]> {
  const { rows } = await db.execute(sql`
    select dispatcher_id, host, pid, last_seen, leases_owned, busy_agents, health from dispatcher_health_summary_v order by last_seen desc limit 1000`)
  return rows.map((row) => ({ ...(row as unknown as DispatcherView), last_seen: iso(String(row['last_seen'])) }))
}

/** The trace context that each of these jobs was created in, where there is one. */
export async function traceparentsOf(db: Db, ids: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await db.execute<{ job_id: string; traceparent: string }>(sql`
    select job_id, details ->> 'traceparent' as traceparent from job_transitions where job_id = any(${sql.param([...ids])}::uuid[]) and seq = 1 and details ? 'traceparent'`)
  return new Map(rows.map((row) => [row.job_id, row.traceparent]))
}

/** Numbers for /metrics; every count is over what is open. */
export async function openCounts(db: Db): Promise<{ agent: string | null; status: string; n: number }[]> {
  const { rows } = await db.execute<{ agent: string | null; status: string; n: number }>(sql`
    select target_agent as agent, status::text as status, count(*)::int as n from jobs where finished_at is null group by 1, 2`)
  return rows
}

/** How many outbox rows the relay still has to publish, and the age of the oldest in seconds. */
export async function outboxLag(db: Db): Promise<{ rows: number; oldestSeconds: number }> {
  const { rows } = await db.execute(sql`
    select count(*)::int as n, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as age from (select created_at from outbox order by id limit 10000) o`)
  return { rows: Number(rows[0]?.['n'] ?? 0), oldestSeconds: Number(rows[0]?.['age'] ?? 0) }
}

/** What decides about a job's queue entry. */
export type JobStanding = Pick<JobRow, 'id' | 'generation' | 'status' | 'current_attempt_id' | 'last_error' | 'run_after'>

/** Where jobs stand, in the order of `ids`. */
export async function jobStandings(db: Db, ids: readonly JobId[]): Promise<(JobStanding | undefined)[]> {
  const { rows } = await db.execute(sql`select id, generation, status, current_attempt_id, last_error, run_after from jobs where id = any(${sql.param([...ids])}::uuid[])`)
  const found = new Map((rows as unknown as JobStanding[]).map((row) => [row.id, row]))
  return ids.map((id) => found.get(id))
}
