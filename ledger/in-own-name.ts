import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { JobId } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import type { CallerDeps } from './as-caller.js'
import type { Caller } from './caller.js'

type Deps = Pick<CallerDeps, 'run' | 'refused'>

/** What is sent with its author filled in: an agent sends in its own name, operators in anybody's. @throws AGENTBUS_FORBIDDEN, with a row */
export async function inOwnName<T extends { source_agent?: unknown }>(deps: Deps, caller: Caller, body: T): Promise<T> {
  if (caller.role === 'operator' || caller.role === 'internal') return body
  if (caller.role === 'agent') {
    if (body.source_agent === undefined || body.source_agent === caller.agentId) return { ...body, source_agent: caller.agentId }
    const error = new AgentbusError('AGENTBUS_FORBIDDEN', `The token of agent ${caller.agentId} cannot act as another agent.`)
    await deps.refused(caller, error, { agentId: caller.agentId })
    throw error
  }
  const error = new AgentbusError(
    'AGENTBUS_FORBIDDEN',
    caller.role === 'attempt'
      ? "An attempt's token can only read and close its own job; send follow_ups and events with the close, or use the agent's token."
      : 'An auditor may read, not write.',
  )
  await deps.refused(caller, error, caller.role === 'attempt' ? { jobId: caller.jobId, agentId: caller.agentId } : {})
  throw error
}

/** For many jobs what is asked of one: the caller's own name, and origins that it may read. @throws AGENTBUS_FORBIDDEN, with a row */
export async function allInOwnName<T extends CreateJobBody>(deps: Deps, caller: Caller, jobs: readonly T[]): Promise<T[]> {
  const named: T[] = []
  for (const job of jobs) named.push(await inOwnName(deps, caller, job))
  for (const parent of new Set(named.map((job) => job.parent_job_id))) await mayComeFrom(deps, caller, parent)
  return named
}

/**
 * An agent names as the origin of something only a job that it may read: the new row takes over its keys, and stands in
 * its story. One that does not exist is told further on. @throws AGENTBUS_FORBIDDEN, with a row
 */
export async function mayComeFrom(deps: Deps, caller: Caller, origin: JobId | undefined): Promise<void> {
  if (origin === undefined || caller.role !== 'agent') return
  const { rows } = await deps.run((tx) =>
    tx.execute<{ mine: boolean }>(sql`
      select target_agent is not distinct from ${caller.agentId}::text or source_agent is not distinct from ${caller.agentId}::text as mine from jobs where id = ${origin}::uuid`),
  )
  if (rows[0]?.mine !== false) return
  const error = new AgentbusError('AGENTBUS_FORBIDDEN', `Job ${origin} is neither to nor from agent ${caller.agentId}; it cannot be named as where this comes from.`, {
    job_id: origin,
  })
  await deps.refused(caller, error, { jobId: origin, agentId: caller.agentId })
  throw error
}
