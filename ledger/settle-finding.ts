import { sql } from 'drizzle-orm'
import type { SETTLED_AS } from '../contracts/findings.js'
import type { Tx } from './database.js'
import { recordMove, type FindingActor, type FindingRow } from './finding-rows.js'
import { instantOf } from './presence.js'

/**
 * Ends a finding whose lock the caller holds. A message about it that nobody has acknowledged is withdrawn. Seen again,
 * the same topic and subject are a new finding.
 */
export async function settleFinding(tx: Tx, finding: FindingRow, as: (typeof SETTLED_AS)[number], by: FindingActor, note?: string): Promise<FindingRow> {
  const now = instantOf(by.nowMs)
  const withdrawn = await tx.execute(sql`
    update inbox_messages set status = 'withdrawn', closed_at = ${now}::timestamptz
    where finding_id = ${finding.id}::uuid and status in ('unread', 'read') returning id`)
  for (const row of withdrawn.rows) await recordMove(tx, finding.id, 'withdrawn', by, { messageId: String(row['id']), details: { because: as } })
  await recordMove(tx, finding.id, 'settled', by, { details: { as, ...(note === undefined ? {} : { note }) } })
  const { rows } = await tx.execute(sql`
    update findings set status = 'settled', settled_at = ${now}::timestamptz, settled_as = ${as}, raise_at = null where id = ${finding.id}::uuid returning *`)
  return rows[0] as FindingRow
}
