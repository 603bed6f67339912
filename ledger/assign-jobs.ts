import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../contracts/actor.js'
import { ADVISORY } from './advisory-locks.js'
import type { Tx } from './database.js'
import { isFound } from './is-found.js'
import { observe } from './observe.js'
import { pausedBy } from './paused-by.js'
import type { JobRow } from './rows.js'
import { adoptLocked, note } from './transition.js'

interface FreeAgent {
  readonly id: string
  readonly concurrency: number
  /** Runs and due work that it has. */
  load: number
  /** Milliseconds since the epoch; 0 for never. */
  readonly last_assigned: number
  /** How much it was ever given. */
  assigned: number
}

/** Whether something stops work: of one agent, of its gateway, or of everything. */
const STOPPED = sql`${pausedBy({ agent: sql`a.id`, gateway: sql`a.gateway_id` })} is not null`
/** The same of a lane alone. */
const LANE_STOPPED = sql`${pausedBy({ lane: sql`j.lane::text`, agent: sql`null`, gateway: sql`null` })} is not null`

/** Whether there is work that was given by capability or will be: what {@link assignJobs} and {@link takeBackJobs} look at. */
export const ROUTED_WORK = isFound(sql`jobs where status = 'queued' and cardinality(capabilities) > 0 order by target_agent`)

/**
 * Gives jobs that name capabilities to agents that have them and a free place: the most urgent first, then the oldest; of
 * the agents the one with the least to do for its size, then the one that was given least, then the one that waited longest.
 * One process at a time, so that a place is not given twice. @returns how many jobs were given to an agent
 */
export async function assignJobs(tx: Tx, request: { readonly limit: number }): Promise<number> {
  const { rows: waiting } = await tx.execute(sql`select 1 from jobs where status = 'queued' and target_agent is null and run_after <= clock_timestamp() limit 1`)
  if (waiting.length === 0) return 0
  await tx.execute(sql`select pg_advisory_xact_lock(${ADVISORY.assignJobs})`)
  const agents = await freeAgents(tx)
  if (agents.size === 0) return 0
  const jobs = await waitingJobs(tx, [...agents.keys()], request.limit)
  const counts = new Map<string, number>()
  let given = 0
  for (const { job, able } of jobs) {
    const chosen = choose(able.flatMap((id) => agents.get(id) ?? []))
    if (chosen === undefined) continue
    await note(tx, adoptLocked(job), {
      reason: 'assigned',
      actor: SYSTEM_ACTOR,
      note: `${chosen.id} has a free place.`,
      details: { agent: chosen.id, because: 'least_loaded', load: chosen.load, concurrency: chosen.concurrency, able: able.length },
      republish: true,
      assignTo: chosen.id,
    })
    chosen.load += 1
    chosen.assigned += 1
    given += 1
    counts.set(chosen.id, (counts.get(chosen.id) ?? 0) + 1)
  }
  await countAssigned(tx, counts)
  return given
}

async function freeAgents(tx: Tx): Promise<Map<string, FreeAgent>> {
  const { rows } = await tx.execute(sql`
    select a.id, a.concurrency, count(j.id)::int as load, coalesce(s.assigned_count, 0) as assigned,
      coalesce(extract(epoch from s.last_assigned_at) * 1000, 0)::float8 as last_assigned
    from agents a join gateways g on g.id = a.gateway_id
      left join agent_states s on s.agent_id = a.id
      left join jobs j on j.target_agent = a.id and j.finished_at is null
        and (j.status in ('leased', 'running') or (j.status = 'queued' and j.run_after <= clock_timestamp()))
    where a.enabled and cardinality(a.capabilities) > 0 and g.breaker = 'closed' and not (${STOPPED})
    group by a.id, s.assigned_count, s.last_assigned_at having count(j.id) < a.concurrency`)
  return new Map((rows as unknown as FreeAgent[]).map((row) => [row.id, { ...row, assigned: Number(row.assigned) }]))
}

/** The next jobs that one of these agents can do, with the agents that can and to whom the sender may delegate. */
async function waitingJobs(tx: Tx, free: readonly string[], limit: number): Promise<{ job: JobRow; able: string[] }[]> {
  const able = sql`
    select a.id from agents a left join agents s on s.id = j.source_agent
    where a.id = any(${sql.param(free)}::text[]) and a.capabilities @> j.capabilities
      and (j.created_by like 'operator:%' or may_delegate(s.delegation, s.id, a.id, j.job_type))`
  const { rows } = await tx.execute(sql`
    select j.*, array(${able}) as f_able from jobs j
    where j.status = 'queued' and j.target_agent is null and j.run_after <= clock_timestamp() and exists (${able})
      and not (${LANE_STOPPED})
    order by j.priority desc, j.run_after, j.id limit ${limit} for update of j skip locked`)
  return rows.map(({ f_able, ...job }) => ({ job: job as unknown as JobRow, able: f_able as string[] }))
}

/** How far an agent that is new, or was away, may be behind the others and still be preferred for it. */
const MOST_BEHIND = 4

function choose(able: readonly FreeAgent[]): FreeAgent | undefined {
  const free = able.filter((agent) => agent.load < agent.concurrency)
  const most = Math.max(...free.map((agent) => agent.assigned))
  const share = (agent: FreeAgent): number => Math.max(agent.assigned, most - MOST_BEHIND)
  return free.sort((a, b) => a.load / a.concurrency - b.load / b.concurrency || share(a) - share(b) || a.last_assigned - b.last_assigned || (a.id < b.id ? -1 : 1))[0]
}

async function countAssigned(tx: Tx, counts: ReadonlyMap<string, number>): Promise<void> {
  if (counts.size === 0) return
  const list = JSON.stringify([...counts].map(([agent_id, n]) => ({ agent_id, n })))
  await tx.execute(sql`
    insert into agent_states (agent_id, state, since, last_assigned_at, assigned_count)
    select agent_id, 'idle', clock_timestamp(), clock_timestamp(), n from jsonb_to_recordset(${list}::jsonb) as w (agent_id text, n int)
    on conflict (agent_id) do update set last_assigned_at = excluded.last_assigned_at, assigned_count = agent_states.assigned_count + excluded.assigned_count`)
}

/**
 * Takes work back that was given by capability to an agent that cannot start it now: it is offline, disabled or paused.
 * Another one may have it. @returns how many jobs were taken back
 */
export async function takeBackJobs(tx: Tx, request: { readonly limit: number }): Promise<number> {
  const { rows } = await tx.execute(sql`
    select j.*, case when not a.enabled then 'agent_disabled' when g.breaker = 'open' then 'agent_offline' else 'agent_paused' end as f_why
    from jobs j join agents a on a.id = j.target_agent join gateways g on g.id = a.gateway_id
    where j.status = 'queued' and cardinality(j.capabilities) > 0 and (not a.enabled or g.breaker = 'open' or ${STOPPED})
    order by j.id limit ${request.limit} for update of j skip locked`)
  for (const { f_why, ...row } of rows) {
    const job = adoptLocked(row as unknown as JobRow)
    const details = { agent: job.target_agent, because: String(f_why) }
    await tx.execute(sql`insert into outbox (kind, job_id, agent_id, generation) values ('remove', ${job.id}::uuid, ${job.target_agent}, ${job.generation})`)
    await note(tx, job, { reason: 'given_back', actor: SYSTEM_ACTOR, note: `${job.target_agent ?? ''} cannot start it now.`, details, republish: true, assignTo: null })
    await observe(tx, { kind: 'mend', code: 'given_back', actor: SYSTEM_ACTOR, jobId: job.id, agentId: job.target_agent ?? undefined, detail: String(f_why), details })
  }
  return rows.length
}
