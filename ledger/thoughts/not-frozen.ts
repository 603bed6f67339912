import { sql } from 'drizzle-orm'
import { AgentbusError } from '../../contracts/errors.js'
import { ADVISORY } from '../advisory-locks.js'
import { frozenBy } from '../controls.js'
import type { Tx } from '../database.js'

/**
 * Whoever promotes or converts asks this in the transaction that does it. The lock waits for a freeze that is being set at this moment, and holds
 * the next one back until this transaction has ended: once a freeze is answered, nothing is promoted or converted any more. Commands that ask this
 * do not hold each other up, and no other control notices.
 * @throws AGENTBUS_FROZEN
 */
export async function mustNotBeFrozen(tx: Tx, scope: 'promotions' | 'conversions'): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock_shared(${ADVISORY[scope]})`)
  const frozen = await frozenBy(tx, scope)
  if (frozen === undefined) return
  const what = scope === 'promotions' ? 'Promotions' : 'Conversions'
  throw new AgentbusError('AGENTBUS_FROZEN', `${what} are frozen by ${frozen.by}: ${frozen.reason}`, { scope, by: frozen.by, reason: frozen.reason })
}
