import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { Tx } from './database.js'
import { emitEvent } from './emit-event.js'
import { hintAfterCommit } from './hints.js'
import { isFound } from './is-found.js'
import { iso } from './rows.js'

export interface GatewayRow {
  readonly id: string
  readonly base_url: string
  readonly hook_path: string
  readonly token_ref: string
  readonly version: number
  readonly breaker: 'open' | 'closed'
  readonly breaker_reason: string | null
  readonly breaker_changed_at: string | null
  readonly failures: number
  readonly reopened: number
  readonly probe_after: string
  readonly last_ready_at: string | null
  readonly last_down_at: string | null
  readonly booted_at: string | null
}

/** Who tells, and when: milliseconds since the epoch. */
interface By {
  readonly actor: Actor
  readonly nowMs: number
}

/**
 * Counts an undelivered post. At `threshold` in a row the breaker opens: a row, an event, and nothing is
 * posted to that gateway until a probe finds it ready. @returns failures in a row
 */
export async function countUndelivered(tx: Tx, gatewayId: string, what: By & { readonly reason: string; readonly threshold: number }): Promise<number> {
  const gateway = await lockGateway(tx, gatewayId)
  if (gateway === undefined) return 1
  const failures = gateway.failures + 1
  await tx.execute(sql`update gateways set failures = ${failures}, last_down_at = clock_timestamp() where id = ${gatewayId}`)
  if (gateway.breaker === 'closed' && failures >= what.threshold) await openBreaker(tx, gateway, what)
  return failures
}

/** An admission proves the gateway: failures are forgotten. Writes nothing when there is nothing to forget. */
export async function countDelivered(tx: Tx, gatewayId: string): Promise<void> {
  await tx.execute(sql`update gateways set failures = 0, reopened = 0 where id = ${gatewayId} and (failures > 0 or reopened > 0) and breaker = 'closed'`)
}

async function lockGateway(tx: Tx, id: string): Promise<GatewayRow | undefined> {
  const { rows } = await tx.execute(sql`select * from gateways where id = ${id} for no key update`)
  return rows[0] as GatewayRow | undefined
}

async function openBreaker(tx: Tx, gateway: GatewayRow, what: By & { readonly reason: string }): Promise<void> {
  // Each time it opens without an admission in between, it stays open longer, so that a flapping gateway does not flap the queue.
  const patienceMs = Math.min(1_000 * 2 ** Math.min(gateway.reopened, 6), 60_000)
  await tx.execute(sql`
    update gateways set breaker = 'open', breaker_reason = ${what.reason}, breaker_changed_at = clock_timestamp(), reopened = reopened + 1,
      last_down_at = clock_timestamp(), probe_after = clock_timestamp() + make_interval(secs => ${patienceMs / 1000})
    where id = ${gateway.id}`)
  await announce(tx, 'gateway.breaker_opened', gateway.id, what, { reason: what.reason, patience_ms: patienceMs })
}

async function announce(tx: Tx, topic: string, gatewayId: string, { actor, nowMs }: By, payload: Record<string, unknown>): Promise<void> {
  const { rows } = await tx.execute<{ id: string }>(sql`select id from agents where gateway_id = ${gatewayId} order by id`)
  await emitEvent(tx, { namespace: 'default', topic, payload: { gateway: gatewayId, agents: rows.map((row) => row.id), ...payload } }, { actor, nowMs })
  hintAfterCommit(tx, { fleet: true })
}

/** Whether {@link claimProbes} finds any. */
export const PROBES_DUE = isFound(sql`gateways where probe_after <= statement_timestamp() order by probe_after`)

/** Takes gateways whose probe is due, so that no other process probes them at the same time. */
export async function claimProbes(tx: Tx, request: { readonly everySeconds: number; readonly limit: number }): Promise<GatewayRow[]> {
  const { rows } = await tx.execute(sql`
    update gateways set probe_after = clock_timestamp() + make_interval(secs => case when breaker = 'open' then least(1, ${request.everySeconds}::float8) else ${request.everySeconds}::float8 end)
    where id in (select id from gateways where probe_after <= clock_timestamp() order by probe_after limit ${request.limit} for update skip locked)
    returning *`)
  return rows as unknown as GatewayRow[]
}

export type ProbeResult = { readonly ready: true; readonly bootedAtMs?: number | undefined } | { readonly ready: false; readonly reason: string }

/** A boot time is computed from an uptime; two probes of one process may differ by this much. */
const BOOT_TOLERANCE_MS = 1_500

/** Records what a probe found; opens or closes the breaker, and tells of a restart. */
export async function recordProbe(tx: Tx, gatewayId: string, probe: ProbeResult, what: By & { readonly threshold: number }): Promise<void> {
  const gateway = await lockGateway(tx, gatewayId)
  if (gateway === undefined) return
  if (!probe.ready) {
    await tx.execute(sql`update gateways set failures = failures + 1, last_down_at = clock_timestamp() where id = ${gatewayId}`)
    if (gateway.breaker === 'closed' && gateway.failures + 1 >= what.threshold) await openBreaker(tx, gateway, { ...what, reason: `probe: ${probe.reason}` })
    return
  }
  const restarted = hasRestarted(gateway.booted_at, probe.bootedAtMs)
  const bootedAt = probe.bootedAtMs === undefined ? null : new Date(probe.bootedAtMs).toISOString()
  await tx.execute(sql`
    update gateways set last_ready_at = clock_timestamp(), failures = 0,
      booted_at = ${restarted || gateway.booted_at === null ? sql`coalesce(${bootedAt}::timestamptz, booted_at)` : sql`booted_at`}
    where id = ${gatewayId}`)
  if (restarted) await announce(tx, 'gateway.restarted', gatewayId, what, { booted_at: bootedAt, was: gateway.booted_at === null ? null : iso(gateway.booted_at) })
  if (gateway.breaker === 'open') await closeBreaker(tx, gateway, what)
}

/** True when the probe shows a later boot than the one known. */
export function hasRestarted(knownBoot: string | null, bootedAtMs: number | undefined): boolean {
  return knownBoot !== null && bootedAtMs !== undefined && bootedAtMs > Date.parse(iso(knownBoot)) + BOOT_TOLERANCE_MS
}

async function closeBreaker(tx: Tx, gateway: GatewayRow, by: By): Promise<void> {
  await tx.execute(sql`
    update gateways set breaker = 'closed', breaker_reason = null, breaker_changed_at = clock_timestamp(), failures = 0 where id = ${gateway.id}`)
  // What waited for its backoff only because the gateway was away is due now.
  const { rows } = await tx.execute<{ n: number }>(sql`
    with due as (
      update jobs set run_after = clock_timestamp(), generation = generation + 1
      where status = 'queued' and run_after > clock_timestamp() and id in (
        select j.id from jobs j join agents a on a.id = j.target_agent and a.gateway_id = ${gateway.id}
          join job_transitions t on t.job_id = j.id and t.seq = j.last_seq and t.reason = 'undelivered'
        where j.status = 'queued' and j.run_after > clock_timestamp()
        order by j.id for update of j skip locked)
      returning id, target_agent, generation
    ), queued as (
      insert into outbox (kind, job_id, agent_id, generation) select 'publish', id, target_agent, generation from due
    )
    select count(*)::int as n from due`)
  hintAfterCommit(tx, { outbox: true })
  await announce(tx, 'gateway.breaker_closed', gateway.id, by, { was: gateway.breaker_reason, made_due: rows[0]?.n ?? 0 })
}
