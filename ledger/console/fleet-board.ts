import { sql } from 'drizzle-orm'
import type { ControlView } from '../../contracts/controls.js'
import type { AgentView, GatewayView } from '../../contracts/fleet.js'
import type { JobId } from '../../contracts/ids.js'
import type { JobStatus, Lane } from '../../contracts/job-states.js'
import { listControls } from '../control-queries.js'
import type { Tx } from '../database.js'
import { listAgents, listGateways } from '../queries.js'
import { iso } from '../rows.js'

/** How far back an agent's last error is looked for: among so many of its newest attempts. */
const ATTEMPTS_LOOKED_AT = 50

export interface CurrentJob {
  readonly job_id: JobId
  readonly subject: string
  readonly status: JobStatus
  readonly attempt_no: number
  readonly since: string
}

export interface LastError {
  readonly job_id: JobId
  readonly code: string | null
  readonly error: string
  readonly at: string
}

export interface FleetLine {
  readonly agent: AgentView
  /** What is queued, by lane, and since when the oldest of it has been due; lanes in which nothing is are left out. */
  readonly depth: readonly { readonly lane: Lane; readonly queued: number; readonly oldest_at: string | null }[]
  readonly current: readonly CurrentJob[]
  readonly last_error: LastError | null
  readonly gateway: Pick<GatewayView, 'id' | 'breaker' | 'breaker_reason' | 'breaker_changed_at'> | null
  /** What keeps it from new work: controls on it, its gateway or everything, the widest first. */
  readonly stopped_by: readonly ControlView[]
}

export interface FleetBoard {
  readonly lines: readonly FleetLine[]
  /** Every control in force, those on lanes, orders, promotions and conversions too. */
  readonly controls: readonly ControlView[]
}

/** Every agent with what it does now, what waits for it and what went wrong last. Costs by what is open, not by the history. */
export async function fleetBoard(tx: Tx): Promise<FleetBoard> {
  const agents = await listAgents(tx)
  const gateways = new Map((await listGateways(tx)).map((gateway) => [String(gateway.id), gateway]))
  const depth = await depthByAgent(tx)
  const current = await currentJobs(tx)
  const errors = await lastErrors(tx)
  const controls = await listControls(tx)
  const lines = agents.map((agent) => ({
    agent,
    depth: depth.get(agent.id) ?? [],
    current: current.get(agent.id) ?? [],
    last_error: errors.get(agent.id) ?? null,
    gateway: gateways.get(agent.gateway_id) ?? null,
    stopped_by: controls.filter((control) => stops(control, agent)),
  }))
  return { lines, controls }
}

function stops({ scope, target }: ControlView, agent: AgentView): boolean {
  return scope === 'everything' || (scope === 'gateway' && target === agent.gateway_id) || (scope === 'agent' && target === agent.id)
}

async function depthByAgent(tx: Tx): Promise<Map<string, FleetLine['depth'][number][]>> {
  const { rows } = await tx.execute(sql`
    select target_agent as agent, lane, count(*)::int as queued, min(run_after) filter (where run_after <= now()) as oldest from jobs
    where status = 'queued' and target_agent is not null group by target_agent, lane order by target_agent, lane`)
  return grouped(rows, (row) => ({ lane: row['lane'] as Lane, queued: Number(row['queued']), oldest_at: typeof row['oldest'] === 'string' ? iso(row['oldest']) : null }))
}

async function currentJobs(tx: Tx): Promise<Map<string, CurrentJob[]>> {
  const { rows } = await tx.execute(sql`
    select a.agent_id as agent, j.id, left(j.subject, 300) as subject, j.status, a.attempt_no, coalesce(a.admitted_at, a.leased_at) as since
    from job_attempts a join jobs j on j.id = a.job_id where a.finished_at is null order by a.agent_id, a.leased_at limit 5000`)
  return grouped(rows, (row) => ({
    job_id: row['id'] as JobId,
    subject: String(row['subject']),
    status: row['status'] as JobStatus,
    attempt_no: Number(row['attempt_no']),
    since: iso(String(row['since'])),
  }))
}

async function lastErrors(tx: Tx): Promise<Map<string, LastError>> {
  const { rows } = await tx.execute(sql`
    select g.id as agent, e.job_id, e.outcome_code, left(e.error, 500) as error, e.at from agents g cross join lateral (
      select n.job_id, n.outcome_code, n.error, coalesce(n.finished_at, n.leased_at) as at from (
        select job_id, status, outcome_code, error, finished_at, leased_at from job_attempts where agent_id = g.id order by leased_at desc nulls last limit ${ATTEMPTS_LOOKED_AT}
      ) n where n.error is not null and n.status <> 'blocked' order by n.leased_at desc limit 1
    ) e`)
  const found = grouped(rows, (row) => ({
    job_id: row['job_id'] as JobId,
    code: row['outcome_code'] as string | null,
    error: String(row['error']),
    at: iso(String(row['at'])),
  }))
  return new Map([...found].flatMap(([agent, [first]]) => (first === undefined ? [] : [[agent, first]])))
}

function grouped<T>(rows: readonly Record<string, unknown>[], read: (row: Record<string, unknown>) => T): Map<string, T[]> {
  const found = new Map<string, T[]>()
  for (const row of rows) {
    const agent = String(row['agent'])
    const known = found.get(agent)
    if (known === undefined) found.set(agent, [read(row)])
    else known.push(read(row))
  }
  return found
}
