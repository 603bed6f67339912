import { afterEach, beforeEach, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { orderKey, StandingOrderConfig } from '../../contracts/standing-orders.js'
import { keepSlots } from '../../ledger/keep-slots.js'
import { planSlots } from '../../ledger/plan-slots.js'
import { seen } from '../../ledger/presence.js'
import { startSlot, type SlotStart } from '../../ledger/start-slot.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

const MINUTE = 60_000
const ACTOR = { kind: 'worker', id: 'w1' } as const

let t: TestLedger
/** The times of the first four slots, from the next full minute on. */
let slotMs: readonly number[]
beforeEach(async () => {
  t = await freshLedger()
  const first = Math.ceil((Date.now() + 1) / MINUTE) * MINUTE
  slotMs = [0, 1, 2, 3].map((n) => first + n * MINUTE)
})
afterEach(() => t.close())

/** Applies an order of every minute, pauses it, and plans its slots. @returns its id */
async function pausedOrder(name: string, catchUp: Record<string, unknown>): Promise<string> {
  const order = StandingOrderConfig.parse({ agent: 'devops', name, every_seconds: 60, grace_seconds: 30, message: 'Look.', overlap: 'queue', ...catchUp })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: [order] }, { dryRun: false, prune: false })
  await t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', scope: 'order', target: orderKey(order), reason: 'too noisy' }))
  await t.ledger.run((tx) => planSlots(tx, { nowMs: Date.now(), horizonMs: 10 * MINUTE, limit: 100 }))
  const [view] = await t.ledger.listOrders({ order: orderKey(order) })
  return view?.id ?? ''
}

const resume = (name: string) => t.ledger.controls.resume(OPERATOR, { scope: 'order', target: `devops/${name}`, reason: 'quiet again' })
const tick = (orderId: string, at: number): Promise<SlotStart> =>
  t.ledger.run((tx) => startSlot(tx, { orderId, slotMs: slotMs[at] ?? 0, nowMs: slotMs[at] ?? 0, actor: ACTOR, trigger: 'tick' }))

/** What the keeper does at a time at which everything is up. */
async function keepAt(nowMs: number): Promise<Awaited<ReturnType<typeof keepSlots>>> {
  for (const component of ['workers', 'queue_store', 'gateway:gw'] as const) await seen(t.ledger.db, component, nowMs)
  return t.ledger.run((tx) => keepSlots(tx, { nowMs, actor: ACTOR, limit: 100 }))
}

/** The first slots as they are now, oldest first. */
async function slots(name: string, count: number): Promise<{ status: string; cause: string | null; job: boolean }[]> {
  const { items } = await t.ledger.listSlots({ order: `devops/${name}`, to: new Date((slotMs[3] ?? 0) + MINUTE).toISOString(), limit: 200 })
  return items
    .toSorted((a, b) => Date.parse(a.slot_at) - Date.parse(b.slot_at))
    .slice(0, count)
    .map(({ status, cause, job_id: job }) => ({ status, cause, job: job !== null }))
}

test('a slot of a paused order is skipped with the cause paused, by its tick or by the keeper, and is never run later', async () => {
  const order = await pausedOrder('skips', { catch_up: 'skip' })

  const ticked = await tick(order, 0)
  const kept = await keepAt((slotMs[1] ?? 0) + 10_000)
  await resume('skips')
  const again = await tick(order, 0)
  await keepAt((slotMs[1] ?? 0) + 20_000)
  const next = await tick(order, 2)

  expect([ticked, kept.skipped, again, next.kind]).toMatchObject([{ kind: 'skipped', cause: 'paused' }, 1, { kind: 'done', status: 'skipped' }, 'started'])
  const skipped = { status: 'skipped', cause: 'paused', job: false }
  expect(await slots('skips', 3)).toEqual([skipped, skipped, { status: 'started', cause: null, job: true }])
})

test('an order that catches up with the latest waits out the pause, then runs the newest slot alone', async () => {
  const order = await pausedOrder('latest', { catch_up: 'latest' })

  const ticked = await tick(order, 0)
  for (const at of [0, 1, 2]) await keepAt((slotMs[at] ?? 0) + 40_000)
  const during = await slots('latest', 3)
  await resume('latest')
  const kept = await keepAt((slotMs[2] ?? 0) + 50_000)

  const missed = { status: 'missed', cause: 'catch_up_rule', job: false }
  expect([ticked.kind, kept.caughtUp]).toEqual(['held', 1])
  expect(during).toEqual([missed, missed, { status: 'expected', cause: null, job: false }])
  expect(await slots('latest', 3)).toEqual([missed, missed, { status: 'started', cause: null, job: true }])
})

test('an order that catches up with all waits out the pause, then runs every slot of it', async () => {
  const order = await pausedOrder('all', { catch_up: 'all', catch_up_limit: 10 })

  const ticked = await tick(order, 0)
  for (const at of [0, 1, 2]) await keepAt((slotMs[at] ?? 0) + 40_000)
  const during = await slots('all', 3)
  await resume('all')
  const kept = await keepAt((slotMs[2] ?? 0) + 50_000)

  expect([ticked.kind, kept.caughtUp]).toEqual(['held', 3])
  expect(during).toEqual(Array(3).fill({ status: 'expected', cause: null, job: false }))
  expect(await slots('all', 3)).toEqual(Array(3).fill({ status: 'started', cause: null, job: true }))
})
