import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { JobId } from '../contracts/ids.js'
import type { Tx } from './database.js'

/** @throws AGENTBUS_UNKNOWN_AGENT when no agent has that id */
export async function mustBeAgent(tx: Tx, id: string): Promise<void> {
  const { rows } = await tx.execute(sql`select 1 from agents where id = ${id}`)
  if (rows.length === 0) throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${id}.`, { agent_id: id })
}

/**
 * Whether a definition is at the version that the caller has seen. `what` names it in a sentence; `known` is undefined when it does not
 * exist, `version` when the caller did not ask. @throws AGENTBUS_VERSION_MISMATCH
 */
export function mustBeAtVersion(what: string, known: number | undefined, version: number | undefined): void {
  if (version === undefined || version === known) return
  const stands = known === undefined ? 'does not exist' : `is at version ${known}`
  throw new AgentbusError('AGENTBUS_VERSION_MISMATCH', `${what} ${stands}, not at ${version}.`, { version: known ?? null })
}

/** Whether a time, if there is one, lies ahead by the ledger's clock. @throws AGENTBUS_BAD_REQUEST naming the field that it came in */
export async function mustLieAhead(tx: Tx, field: string, time: string | null | undefined): Promise<void> {
  if (time === null || time === undefined) return
  const { rows } = await tx.execute<{ now: string; ahead: boolean }>(sql`select to_json(clock_timestamp()) #>> '{}' as now, ${time}::timestamptz > clock_timestamp() as ahead`)
  if (rows[0]?.ahead === true) return
  throw new AgentbusError('AGENTBUS_BAD_REQUEST', `${field} ${time} is not ahead: by the ledger's clock it is ${rows[0]?.now ?? ''}.`, { field })
}

/** @throws AGENTBUS_JOB_NOT_FOUND when no job has that id */
export async function mustBeJob(tx: Tx, id: JobId): Promise<void> {
  const { rows } = await tx.execute(sql`select 1 from jobs where id = ${id}::uuid`)
  if (rows.length === 0) throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${id}.`, { job_id: id })
}
