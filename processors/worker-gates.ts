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
  /** No other process delivers. */
  readonly alone: boolean
  /** The same as long as nothing of the above has changed. */
  readonly digest: string
}

const GATES = sql`
  select a.id, a.concurrency, a.lease_seconds,
    exists (select from controls_in_force_v c where c.scope = 'agent' and c.target = a.id) as paused, g.id as gateway_id, (g.failures > 0 or g.reopened > 0) and g.breaker = 'closed' as failing,
    a.enabled and g.breaker = 'closed' and ${pausedBy({ agent: sql`a.id`, gateway: sql`g.id` })} is null as open
  from agents a join gateways g on g.id = a.gateway_id`

/** Silent for longer, in seconds, a worker process takes no entries any more, as far as one can tell: it beats every 5 s. */
const SILENT_SECONDS = 20

/** Reads all gates. `workerId` is this process's. */
export function readGates(ledger: Ledger, workerId: string): Promise<Gates> {
  return ask(ledger, workerId, undefined)
}

/** The same when anything differs from what is known; undefined when nothing does. Either way it is one statement. */
export async function readChangedGates(ledger: Ledger, workerId: string, known: Gates | undefined): Promise<Gates | undefined> {
  const read = await ask(ledger, workerId, known?.digest)
  return read.digest === known?.digest ? undefined : read
}

/** PostgreSQL compares: a thousand rows are not carried over, parsed and walked through each second to find no difference. */
async function ask(ledger: Ledger, workerId: string, known: string | undefined): Promise<Gates> {
  const { rows } = await ledger.db.execute(sql`
    with gates as materialized (${GATES}),
      workers as materialized (select not exists (
        select from dispatcher_heartbeats
        where dispatcher_id <> ${workerId} and stopped_at is null and last_seen > now() - make_interval(secs => ${SILENT_SECONDS})) as alone),
      told as (select md5(concat((select alone from workers), string_agg(gates::text, ',' order by id))) as digest from gates)
    select told.digest, workers.alone, gates.* from workers, told left join gates on told.digest is distinct from ${known ?? null}::text
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
    alone: rows[0]?.['alone'] === true,
    digest: String(rows[0]?.['digest']),
  }
}
