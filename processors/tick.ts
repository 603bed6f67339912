import type { Actor } from '../contracts/actor.js'
import type { Ledger } from '../ledger/ledger.js'
import { startSlot } from '../ledger/start-slot.js'
import { slotOfTick, type TickEntry } from '../queues/schedulers.js'

/** A scheduler's tick: starts the slot it is for. The ledger decides; a tick that comes twice or late starts nothing twice. */
export async function tick(deps: { readonly ledger: Ledger; readonly actor: Actor }, entry: TickEntry, entryId: string): Promise<{ outcome: string }> {
  const slotMs = slotOfTick(entryId)
  if (slotMs === undefined) return { outcome: 'dropped: not a tick' }
  const { ledger, actor } = deps
  const start = await ledger.run((tx) => startSlot(tx, { orderId: entry.order_id, slotMs, nowMs: ledger.nowMs(), actor, trigger: 'tick' }))
  switch (start.kind) {
    case 'started':
      return { outcome: `started: job ${start.jobId}` }
    case 'skipped':
      return { outcome: `skipped: ${start.cause}` }
    case 'done':
      return { outcome: `already ${start.status}` }
    case 'held':
      return { outcome: 'paused: caught up when the pause is over' }
    case 'late':
      return { outcome: 'late: left to the keeper' }
    case 'not_a_slot':
      return { outcome: 'dropped: the order is not due then' }
  }
}
