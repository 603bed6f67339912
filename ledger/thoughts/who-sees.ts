import { sql, type SQL } from 'drizzle-orm'
import type { AgentId } from '../../contracts/ids.js'
import { agentOfCaller, type Caller } from '../caller.js'
import type { Db, Tx } from '../database.js'
import { seesAllOf } from '../policies.js'
import { KINDS } from './kinds.js'
import { notFound } from './reviews.js'

/** What not everybody may read. */
type Shielded = 'candidate' | 'memory'

/**
 * Which memories, or candidates, a caller may read, as a condition on their rows: it is asked at each read, of the rights as they are then. What
 * does not meet it is not there for the caller. Operators, auditors and the agents of `authority.promote` read all. An agent reads its own
 * candidates; those of others by their visibility, and once they are promoted only if it may read the memory as well: whoever narrows the readers
 * of a memory has narrowed those of the candidate that it was made of.
 */
export async function whoSees(db: Db | Tx, caller: Caller, kind: Shielded): Promise<SQL> {
  if (await seesAllOf(db, caller, 'promote')) return sql`true`
  const agent = agentOfCaller(caller) ?? null
  const readsMemory = shownTo(agent, 'memories', 'owner_agent')
  if (kind === 'memory') return readsMemory
  return sql`(memory_candidates.source_agent = ${agent}::text or (${shownTo(agent, 'memory_candidates', 'source_agent')} and (
    memory_candidates.promoted_memory_id is null
    or exists (select from memories where memories.id = memory_candidates.promoted_memory_id and ${readsMemory}))))`
}

/** Whether the visibility of a row lets an agent read it. `owner` is the column that says whose a private one is. */
function shownTo(agent: AgentId | null, table: 'memories' | 'memory_candidates', owner: 'owner_agent' | 'source_agent'): SQL {
  const column = (name: string): SQL => sql.raw(`${table}.${name}`)
  return sql`(${column('visibility')} in ('shared', 'human_editable')
    or (${column('visibility')} = 'role_limited' and ${agent}::text = any(${column('visible_to')}))
    or (${column('visibility')} = 'agent_private' and ${column(owner)} = ${agent}::text))`
}

/** @throws AGENTBUS_NOT_FOUND for one that the caller may not read */
export async function mustSee(tx: Tx, caller: Caller, kind: Shielded, id: string): Promise<void> {
  const { rows } = await tx.execute(sql`select 1 from ${sql.raw(KINDS[kind].table)} where id = ${id}::uuid and ${await whoSees(tx, caller, kind)}`)
  if (rows.length === 0) throw notFound(kind, id)
}
