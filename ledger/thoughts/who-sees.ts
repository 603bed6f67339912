import { sql, type SQL } from 'drizzle-orm'
import { agentOfCaller, type Caller } from '../caller.js'
import type { Db, Tx } from '../database.js'
import { seesAllOf } from '../policies.js'

/**
 * Which memories, or candidates, a caller may read, as a condition on their rows: it is asked at each read, of the rights as they are then. What
 * does not meet it is not there for the caller. `owner` is the column that says whose a private one is. Operators, auditors and the agents of
 * `authority.promote` read all.
 */
export async function whoSees(db: Db | Tx, caller: Caller, owner: 'owner_agent' | 'source_agent'): Promise<SQL> {
  if (await seesAllOf(db, caller, 'promote')) return sql`true`
  const agent = agentOfCaller(caller) ?? null
  return sql`(visibility in ('shared', 'human_editable')
    or (visibility = 'role_limited' and ${agent}::text = any(visible_to))
    or (visibility = 'agent_private' and ${sql.raw(owner)} = ${agent}::text))`
}
