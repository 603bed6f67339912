import { sql } from 'drizzle-orm'
import type { Tx } from '../database.js'

/** Counted to here; the console shows "999+" beyond. */
export const COUNTED_TO = 1_000

/** How much waits for a person. */
export interface Attention {
  readonly blocked: number
  readonly approvals: number
  readonly dead: number
  /** Controls in force: one whose time has passed counts no more, also before anybody has put that down. */
  readonly paused: number
  /** Open, and nobody has said yet that they look after it. */
  readonly alerts: number
}

/** Counts from partial indexes, each bounded. */
export async function attention(tx: Tx): Promise<Attention> {
  const { rows } = await tx.execute(sql`
    select (select count(*) from (select from jobs where status = 'blocked' limit ${COUNTED_TO}) b)::int as blocked,
      (select count(*) from (select from approvals where status = 'pending' limit ${COUNTED_TO}) a)::int as approvals,
      (select count(*) from (select from jobs where status in ('failed', 'dead') and buried_at is null limit ${COUNTED_TO}) d)::int as dead,
      (select count(*) from controls_in_force_v)::int as paused,
      (select count(*) from (select from alerts where status = 'open' and acknowledged_at is null limit ${COUNTED_TO}) u)::int as alerts`)
  const row = rows[0] ?? {}
  return { blocked: Number(row['blocked']), approvals: Number(row['approvals']), dead: Number(row['dead']), paused: Number(row['paused']), alerts: Number(row['alerts']) }
}
