import { afterEach, beforeEach, expect, test } from 'vitest'
import { orderKey, StandingOrderConfig } from '../../contracts/standing-orders.js'
import { keepSlots } from '../../ledger/keep-slots.js'
import { planSlots } from '../../ledger/plan-slots.js'
import { seen } from '../../ledger/presence.js'
import { startSlot } from '../../ledger/start-slot.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

const ACTOR = { kind: 'worker', id: 'w1' } as const

let t: TestLedger
let orderId: string
/** The first slot; its grace is three seconds, and a minute later comes the next one. */
let slotMs: number
beforeEach(async () => {
  t = await freshLedger()
  slotMs = Math.ceil((Date.now() + 1) / 60_000) * 60_000
  const order = StandingOrderConfig.parse({ agent: 'devops', name: 'brisk', every_seconds: 60, grace_seconds: 3, message: 'Look.' })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: [order] }, { dryRun: false, prune: false })
  await t.ledger.run((tx) => planSlots(tx, { nowMs: Date.now(), horizonMs: 300_000, limit: 100 }))
  orderId = (await t.ledger.listOrders({ order: orderKey(order) }))[0]?.id ?? ''
})
afterEach(() => t.close())

async function isUp(nowMs: number): Promise<void> {
  for (const component of ['workers', 'queue_store', 'gateway:gw'] as const) await seen(t.ledger.db, component, nowMs)
}
const keepAt = (nowMs: number): Promise<Awaited<ReturnType<typeof keepSlots>>> => t.ledger.run((tx) => keepSlots(tx, { nowMs, actor: ACTOR, limit: 100 }))
const started = (nth: number): Promise<unknown> =>
  t.ledger.run((tx) => startSlot(tx, { orderId, slotMs: slotMs + nth * 60_000, nowMs: slotMs + nth * 60_000, actor: ACTOR, trigger: 'tick' }))

async function slots(): Promise<string[]> {
  const { items } = await t.ledger.listSlots({ order: 'devops/brisk', to: new Date(slotMs + 119_000).toISOString(), limit: 10 })
  return items.map((slot) => `${slot.status} ${slot.cause ?? ''}`.trim()).reverse()
}

test('a slot that no tick has started is started by the keeper well within a short grace', async () => {
  await isUp(slotMs)

  const early = await keepAt(slotMs + 700)
  const kept = await keepAt(slotMs + 800)

  expect([early.started, kept.started]).toEqual([0, 1])
})

test('a slot that the start of the workers holds up is started within its grace, as soon as they are there', async () => {
  const before = await keepAt(slotMs + 1_000)
  await isUp(slotMs + 1_100)
  const soon = await keepAt(slotMs + 1_900)
  const kept = await keepAt(slotMs + 2_001)

  expect([before.waiting, soon.started, kept.started]).toEqual([1, 0, 1])
  expect((await slots())[0]).toBe('started')
})

test.each([
  ['before the slot was due', 59_000, 'missed overlap'],
  ['only when the slot was due already', 60_500, 'missed unknown'],
])('an overlap with a run that began %s (%i ms): %s', async (_when, afterMs, expected) => {
  for (const ms of [55_000, 60_000, 65_000]) await isUp(slotMs + ms)
  await started(0)
  await t.database.pool.query(`update standing_order_runs set started_at = $2 where order_id = $1 and status = 'started'`, [orderId, new Date(slotMs + afterMs)])

  await keepAt(slotMs + 60_000 + 3_000 + 6_100)

  expect(await slots()).toEqual(['started', expected])
})
