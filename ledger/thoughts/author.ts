import { sql } from 'drizzle-orm'
import { AgentbusError } from '../../contracts/errors.js'
import type { AgentId } from '../../contracts/ids.js'
import type { Caller } from '../caller.js'
import type { Tx } from '../database.js'

/**
 * In whose name it is said: an agent and its attempts speak in their own, an operator in that of an agent it names, or in nobody's.
 * @throws AGENTBUS_FORBIDDEN for auditors, and in the name of another agent; AGENTBUS_UNKNOWN_AGENT for one that an operator has made up
 */
export async function authorOf(tx: Tx, caller: Caller, asked: AgentId | undefined): Promise<AgentId | undefined> {
  switch (caller.role) {
    case 'operator':
    case 'internal':
      await mustKnowAgents(tx, { source_agent: asked })
      return asked
    case 'auditor':
      throw new AgentbusError('AGENTBUS_FORBIDDEN', 'An auditor may read, not write.', { role: caller.role })
    case 'agent':
    case 'attempt':
      if (asked === undefined || asked === caller.agentId) return caller.agentId
      throw new AgentbusError('AGENTBUS_FORBIDDEN', `The token of agent ${caller.agentId} cannot act as another agent.`, { source_agent: asked })
  }
}

/** @throws AGENTBUS_UNKNOWN_AGENT naming the field of the first agent that nobody knows */
export async function mustKnowAgents(tx: Tx, named: Readonly<Record<string, AgentId | readonly AgentId[] | undefined>>): Promise<void> {
  const all = Object.entries(named).flatMap(([field, ids]) => listOf(ids).map((id) => ({ field, id })))
  if (all.length === 0) return
  const ids = [...new Set(all.map(({ id }) => id))]
  const { rows } = await tx.execute<{ id: string }>(sql`select id from agents where id = any(${sql.param(ids)}::text[])`)
  const known = new Set(rows.map((row) => row.id))
  const unknown = all.find(({ id }) => !known.has(id))
  if (unknown === undefined) return
  throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${unknown.id} (${unknown.field}).`, { field: unknown.field, agent_id: unknown.id })
}

function listOf(ids: AgentId | readonly AgentId[] | undefined): readonly AgentId[] {
  if (ids === undefined) return []
  return typeof ids === 'string' ? [ids] : ids
}
