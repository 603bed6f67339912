import { reportLost } from '../ledger/deliver-attempt.js'
import { countUndelivered, hasRestarted } from '../ledger/gateway-health.js'
import { iso, type AttemptRow } from '../ledger/rows.js'
import type { DeliveryEnd } from './delivery-error.js'
import { end, endFromLedger, go, type Delivery, type Step } from './delivery.js'

/** A gateway that booted after the attempt began has lost the run; posting again would start a second one blindly. */
export async function checkStillAlive(d: Delivery): Promise<Step<void>> {
  if (!d.reattached) return go(undefined)
  const probe = await d.deps.hooks.probe({ baseUrl: d.target.baseUrl, deadlineMs: 3_000 })
  if (!probe.ready) {
    await d.deps.ledger.run((tx) =>
      countUndelivered(tx, d.target.gatewayId, { actor: d.report.actor, reason: `probe: ${probe.reason}`, threshold: d.deps.breakerFailures, nowMs: d.deps.ledger.nowMs() }),
    )
    return end({ kind: 'delay', ms: 1_000, outcome: 'the gateway of an open attempt is away' })
  }
  if (!lostItsRuns(d.attempt, probe.bootedAtMs)) return go(undefined)
  return end(await lost(d, `The gateway restarted at ${new Date(probe.bootedAtMs ?? 0).toISOString()}, after the attempt began.`))
}

/**
 * True when the gateway has booted since the attempt began. Boot is compared with boot where both are known, so that
 * clocks of different machines do not matter; the lease's time only tells a boot that was simply not noticed before.
 */
export function lostItsRuns(attempt: AttemptRow, bootedAtMs: number | undefined): boolean {
  if (bootedAtMs === undefined) return false
  const leasedMs = Date.parse(iso(attempt.leased_at))
  if (attempt.gateway_booted_at === null) return bootedAtMs > leasedMs
  return hasRestarted(attempt.gateway_booted_at, bootedAtMs) && bootedAtMs > leasedMs - 2_000
}

/** Ends an attempt whose run is lost. The ledger decides what becomes of the job, by its `on_lost`. */
export async function lost(d: Delivery, reason: string): Promise<DeliveryEnd> {
  await d.deps.ledger.run((tx) => reportLost(tx, d.report, reason))
  return endFromLedger(d)
}
