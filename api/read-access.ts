import { AgentbusError } from '../contracts/errors.js'
import type { AgentId, JobId } from '../contracts/ids.js'
import type { JobView } from '../contracts/jobs.js'
import type { Caller } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'

/**
 * The job, if the caller may see it: operators and auditors any, an agent those to or from itself, an attempt its own
 * while it is open. A refusal leaves a row.
 * @throws AGENTBUS_FORBIDDEN, AGENTBUS_UNAUTHORIZED for the token of an attempt that has ended, AGENTBUS_JOB_NOT_FOUND
 */
export async function readJob(ledger: Ledger, caller: Caller, id: JobId): Promise<JobView> {
  await requireLiveAttempt(ledger, caller)
  if (caller.role === 'attempt' && caller.jobId !== id) throw await forbidden(ledger, caller, id, 'This attempt token belongs to another job.')
  const job = await ledger.getJob(id)
  if (caller.role === 'agent' && job.target_agent !== caller.agentId && job.source_agent !== caller.agentId) {
    throw await forbidden(ledger, caller, id, `The job is neither to nor from agent ${caller.agentId}.`)
  }
  return job
}

/** The token of an attempt dies with it: it reads nothing more. */
export async function requireLiveAttempt(ledger: Ledger, caller: Caller): Promise<void> {
  if (caller.role !== 'attempt' || (await ledger.isAttemptOpen(caller.attemptId))) return
  const error = new AgentbusError('AGENTBUS_UNAUTHORIZED', 'The attempt of this token has ended.', { attempt_id: caller.attemptId })
  await ledger.recordRefusal(caller, error, { jobId: caller.jobId })
  throw error
}

/** @throws AGENTBUS_FORBIDDEN, with a row, unless the caller has one of the roles */
export async function requireRole(ledger: Ledger, caller: Caller, roles: readonly Caller['role'][]): Promise<void> {
  await requireLiveAttempt(ledger, caller)
  if (roles.includes(caller.role)) return
  const error = new AgentbusError('AGENTBUS_FORBIDDEN', `This needs the role ${roles.join(' or ')}.`, { role: caller.role })
  await ledger.recordRefusal(caller, error, {})
  throw error
}

/**
 * The agent to whose own things a list of approvals or runs is narrowed; undefined for a caller that sees them all. What is
 * asked for, and what came of steps, may hold what was said in jobs of others.
 */
export async function onlyOwn(ledger: Ledger, caller: Caller, right: 'approve' | 'workflow'): Promise<AgentId | undefined> {
  return caller.role !== 'agent' || (await ledger.seesAllOf(caller, right)) ? undefined : caller.agentId
}

/** @throws AGENTBUS_FORBIDDEN, with a row, unless the caller sees all, or `owner` is its own agent */
export async function requireOwn(ledger: Ledger, caller: Caller, right: 'approve' | 'workflow', owner: AgentId | null): Promise<void> {
  const own = await onlyOwn(ledger, caller, right)
  if (own === undefined || own === owner) return
  const error = new AgentbusError('AGENTBUS_FORBIDDEN', `It is not agent ${own}'s own, and authority.${right} does not name ${own}.`, { right })
  await ledger.recordRefusal(caller, error, {})
  throw error
}

async function forbidden(ledger: Ledger, caller: Caller, jobId: JobId, detail: string): Promise<AgentbusError> {
  const error = new AgentbusError('AGENTBUS_FORBIDDEN', detail, { job_id: jobId })
  await ledger.recordRefusal(caller, error, { jobId })
  return error
}
