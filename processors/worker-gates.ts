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

/** All gates at one moment. */
export interface Gates {
  readonly gates: readonly Gate[]
  /** Gateways that have failures to forget. */
  readonly failingGateways: readonly string[]
  /** The same as long as nothing of the above has changed. */
  readonly digest: string
}

const GATES = sql`
  select a.id, a.concurrency, a.lease_seconds,
    exists (select from controls_in_force_v c where c.scope = 'agent' and c.target = a.id) as paused, g.id as gateway_id, (g.failures > 0 or g.reopened > 0) and g.breaker = 'closed' as failing,
    a.enabled and g.breaker = 'closed' and ${pausedBy({ agent: sql`a.id`, gateway: sql`g.id` })} is null as open
  from agents a join gateways g on g.id = a.gateway_id`

/** Reads all gates. */
export function readGates(ledger: Ledger): Promise<Gates> {
  return ask(ledger, undefined)
}

/** The same when anything differs from what is known; undefined when nothing does. Either way it is one statement. */
export async function readChangedGates(ledger: Ledger, known: Gates | undefined): Promise<Gates | undefined> {
  const read = await ask(ledger, known?.digest)
  return read.digest === known?.digest ? undefined : read
}

/** PostgreSQL compares: a thousand rows are not carried over, parsed and walked through each second to find no difference. */
async function ask(ledger: Ledger, known: string | undefined): Promise<Gates> {
  const { rows } = await ledger.db.execute(sql`
    with gates as materialized (${GATES}),
      told as (select coalesce(md5(string_agg(gates::text, ',' order by id)), '') as digest from gates)
    select told.digest, gates.* from told left join gates on told.digest is distinct from ${known ?? null}::text
    order by gates.id`)
  const gates = rows.filter((row) => row['id'] !== null)
  return {
    gates: gates.map((row) => ({
      agentId: String(row['id']),
      concurrency: Number(row['concurrency']),
      leaseSeconds: Number(row['lease_seconds']),
      open: row['open'] === true,
      paused: row['paused'] === true,
    })),
    failingGateways: [...new Set(gates.filter((row) => row['failing'] === true).map((row) => String(row['gateway_id'])))],
    digest: String(rows[0]?.['digest']),
  }
}
