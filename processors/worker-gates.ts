import { sql } from 'drizzle-orm'
import type { Ledger } from '../ledger/ledger.js'
import { pausedBy } from '../ledger/paused-by.js'

/** Whether an agent's queue may be worked on at the moment, and by how many at once. */
export interface Gate {
  readonly agentId: string
  readonly concurrency: number
  /** The lease of its attempts, unless a job names its own. */
  readonly leaseSeconds: number
  /** False while the agent is paused or disabled or its gateway's breaker is open: nobody then picks up its entries. */
  readonly open: boolean
  /** Whether the agent itself is paused; BullMQ's queue shows the same, for people at the board. */
  readonly paused: boolean
}

/** Reads all gates, and the gateways that have failures to forget. */
export async function readGates(ledger: Ledger): Promise<{ gates: Gate[]; failingGateways: string[] }> {
  const { rows } = await ledger.db.execute(sql`
    select a.id, a.concurrency, a.lease_seconds,
      exists (select from controls_in_force_v c where c.scope = 'agent' and c.target = a.id) as paused, g.id as gateway_id, (g.failures > 0 or g.reopened > 0) and g.breaker = 'closed' as failing,
      a.enabled and g.breaker = 'closed' and ${pausedBy({ agent: sql`a.id`, gateway: sql`g.id` })} is null as open
    from agents a join gateways g on g.id = a.gateway_id
    order by a.id`)
  return {
    gates: rows.map((row) => ({
      agentId: String(row['id']),
      concurrency: Number(row['concurrency']),
      leaseSeconds: Number(row['lease_seconds']),
      open: row['open'] === true,
      paused: row['paused'] === true,
    })),
    failingGateways: [...new Set(rows.filter((row) => row['failing'] === true).map((row) => String(row['gateway_id'])))],
  }
}
