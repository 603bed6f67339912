import { faultsOfSchedules, nextSlot } from '../config/schedule.js'
import { AgentbusError } from '../contracts/errors.js'
import type { StandingOrderChange } from '../contracts/fleet.js'
import { orderKey, scheduleOf, StandingOrderConfig, type StandingOrderView } from '../contracts/standing-orders.js'
import { lockDefinitions } from './apply-fleet.js'
import { applyOrders, knownOrders, writeOrders } from './apply-orders.js'
import { actorOf, type Caller, type CommandContext } from './caller.js'
import type { Tx } from './database.js'
import { mustBeAgent, mustBeAtVersion } from './preconditions.js'
import { hintAfterCommit } from './hints.js'
import { onceOnly } from './idempotency.js'
import { instantOf } from './presence.js'
import { listOrders } from './slot-queries.js'

export interface OrderCommandDeps {
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  /** @throws AGENTBUS_FORBIDDEN, with a row */
  readonly operatorOnly: (caller: Caller) => Promise<void>
  readonly nowMs: () => number
}

type Changed = StandingOrderChange & { readonly replayed?: boolean }

/** The commands on one standing order; a whole fleet file goes through `applyFleet`. Both leave the same versions. */
export class OrderCommands {
  readonly #deps: OrderCommandDeps

  constructor(deps: OrderCommandDeps) {
    this.#deps = deps
  }

  /**
   * Brings one order to this definition, and leaves all others alone. With `dryRun` nothing is written and the same change is answered.
   * @throws AGENTBUS_BAD_REQUEST for a schedule that is never due, AGENTBUS_UNKNOWN_AGENT, AGENTBUS_VERSION_MISMATCH
   */
  async set(context: CommandContext, order: StandingOrderConfig, { dryRun }: { readonly dryRun: boolean }): Promise<Changed> {
    await this.#deps.operatorOnly(context.caller)
    const [bad] = faultsOfSchedules([order])
    if (bad !== undefined) throw new AgentbusError('AGENTBUS_BAD_REQUEST', `cron: ${bad.fault}`, { field: 'cron' })
    const by = { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() }
    return this.#once(context, async (tx) => {
      await mustBeAgent(tx, order.agent)
      mustBeAtVersion(`Standing order ${orderKey(order)}`, (await knownOrders(tx, [order])).get(orderKey(order))?.version, context.ifVersion)
      const [change] = await applyOrders(tx, [order], { ...by, dryRun, prune: false })
      if (change === undefined) throw new Error('applying one order is one change')
      if (!dryRun && change.change !== 'unchanged') hintAfterCommit(tx, { fleet: true })
      return { change, order: dryRun && change.change === 'added' ? null : await viewOf(tx, order, by.nowMs) }
    })
  }

  /** Disables an order as `apply --prune` does: a new version, no further slots, the history stays. @throws AGENTBUS_ORDER_NOT_FOUND */
  async disable(context: CommandContext, key: { readonly agent: string; readonly name: string }): Promise<Changed> {
    await this.#deps.operatorOnly(context.caller)
    const by = { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() }
    return this.#once(context, async (tx) => {
      const id = orderKey(key)
      const known = (await knownOrders(tx, [key])).get(id)
      if (known === undefined) throw new AgentbusError('AGENTBUS_ORDER_NOT_FOUND', `No standing order is named ${id}.`)
      mustBeAtVersion(`Standing order ${orderKey(key)}`, known.version, context.ifVersion)
      if (known.definition['enabled'] === false) {
        return { change: { kind: 'standing_order', id, change: 'unchanged', fields: {} }, order: await viewOf(tx, key, by.nowMs) }
      }
      await writeOrders(tx, [{ id: known.id, version: known.version + 1, definition: StandingOrderConfig.parse({ ...known.definition, enabled: false }) }], by)
      hintAfterCommit(tx, { fleet: true })
      return { change: { kind: 'standing_order', id, change: 'disabled', fields: { enabled: { from: true, to: false } } }, order: await viewOf(tx, key, by.nowMs) }
    })
  }

  #once(context: CommandContext, work: (tx: Tx) => Promise<StandingOrderChange>): Promise<Changed> {
    return this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        await lockDefinitions(tx)
        return work(tx)
      }),
    )
  }
}

/** The order as it stands. The slots of a new version are planned in a moment; when the next one is due is known now. */
async function viewOf(tx: Tx, key: { readonly agent: string; readonly name: string }, nowMs: number): Promise<StandingOrderView> {
  const [view] = await listOrders(tx, { order: orderKey(key) })
  if (view === undefined) throw new Error('an order vanished')
  if (!view.enabled || view.next_slot_at !== null) return view
  const next = nextSlot(scheduleOf(view.definition), nowMs)
  return { ...view, next_slot_at: next === undefined ? null : instantOf(next) }
}
