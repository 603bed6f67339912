import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import type { SlotView } from '../../contracts/standing-orders.js'
import { StandingOrderConfig } from '../../contracts/standing-orders.js'
import { BACKEND } from '../support/bus.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { OPERATOR } from '../support/ledger.js'
import { IS_LONG } from '../support/long.js'

/** Kills in a row of one of two workers. */
const KILLS = IS_LONG ? 8 : 3

let c: Cluster
afterEach(() => c.stop())

const print = (what: string): void => console.log(`[${BACKEND}] ${what}`)

async function apply(...orders: Record<string, unknown>[]): Promise<void> {
  const standing_orders = orders.map((order) => StandingOrderConfig.parse({ agent: 'devops', message: 'Look around.', ...order }))
  await c.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders }, { dryRun: false, prune: false })
}

/** The slots of an order between two times, oldest first. */
async function slotsBetween(order: string, fromMs: number, toMs: number): Promise<SlotView[]> {
  const window = { order, from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString(), limit: 200 }
  const first = await c.ledger.listSlots(window)
  const second = first.next_cursor === null ? undefined : await c.ledger.listSlots({ ...window, cursor: first.next_cursor })
  return [...first.items, ...(second?.items ?? [])].reverse()
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

const ended = (slots: readonly SlotView[]): boolean => slots.length > 0 && slots.every((slot) => slot.finished_at !== null)
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Every due time of an interval is there once, and its runs are as many as its row says. */
async function expectEachOnce(order: string, slots: readonly SlotView[], everyMs: number, fromMs: number, toMs: number): Promise<void> {
  const due: string[] = []
  for (let at = Math.ceil(fromMs / everyMs) * everyMs; at < toMs; at += everyMs) due.push(new Date(at).toISOString())
  expect(slots.map((slot) => slot.slot_at)).toEqual(due)
  const started = slots.filter((slot) => slot.started_at !== null)
  const { rows } = await c.database.pool.query<{ standing_order_run_id: string; n: string }>(
    `select standing_order_run_id, count(*) as n from jobs where standing_order_run_id = any($1::uuid[]) group by 1`,
    [slots.map((slot) => slot.id)],
  )
  expect(rows.map((row) => [row.standing_order_run_id, row.n]).sort()).toEqual(started.map((slot) => [slot.id, '1']).sort())
  const [line] = (await c.ledger.accountability({ from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() })).lines.filter((each) => each.order === order)
  expect(line).toMatchObject({ expected: due.length, unaccounted: 0, pending: 0, running: 0 })
}

test('the only worker killed over several slots: each of them is a row, missed with its cause or caught up', async () => {
  c = await startCluster({ agents: { devops: { concurrency: 8 } } })
  const victim = await c.spawn('worker')
  const strict = { name: 'strict', every_seconds: 1, grace_seconds: 5 }
  // However long a slow machine takes to start a worker: as many slots as there are.
  const kind = { name: 'kind', every_seconds: 2, grace_seconds: 1, catch_up: 'all', catch_up_limit: 50, overlap: 'queue' }
  const beganMs = Date.now() + 2_000
  await apply(strict, kind)
  await c.until('slots have been run', async () => (await slotsBetween('devops/strict', beganMs, Date.now())).filter((slot) => slot.status === 'completed').length >= 3)

  await kill(victim)
  const downMs = Date.now()
  // Nothing is waited for here: the outage has to last for seven slots with five seconds of grace each.
  await pause(13_000)
  const upMs = Date.now()
  await c.spawn('worker')
  await c.until('slots are run again', async () => (await slotsBetween('devops/strict', upMs, Date.now())).filter((slot) => slot.status === 'completed').length >= 3)
  // An order that is disabled catches nothing up any more, and what it has not begun by then is missed.
  await c.until('the patient order has caught up', async () => ended(await slotsBetween('devops/kind', beganMs, upMs)))
  const endedMs = Date.now()
  for (const order of ['devops/strict', 'devops/kind']) {
    await c.until(`every slot of ${order} has ended`, async () => ended(await slotsBetween(order, beganMs, endedMs)))
  }
  await apply({ ...strict, enabled: false }, { ...kind, enabled: false })

  const all = await slotsBetween('devops/strict', beganMs, endedMs)
  await expectEachOnce('devops/strict', all, 1_000, beganMs, endedMs)
  const during = all.filter((slot) => Date.parse(slot.slot_at) > downMs && Date.parse(slot.grace_until) < upMs)
  expect(during.length).toBeGreaterThanOrEqual(7)
  expect(during.map((slot) => `${slot.status} ${slot.cause ?? ''}`)).toEqual(during.map(() => 'missed worker_down'))
  const offset = (slot: SlotView): string => `${((Date.parse(slot.slot_at) - upMs) / 1000).toFixed(1)} s after the restart: ${slot.cause ?? ''}`
  expect(all.filter((slot) => slot.status === 'missed' && slot.cause !== 'worker_down').map(offset)).toEqual([])

  const late = await slotsBetween('devops/kind', beganMs, endedMs)
  await expectEachOnce('devops/kind', late, 2_000, beganMs, endedMs)
  expect(late.map((slot) => slot.status)).toEqual(late.map(() => 'completed'))
  expect(late.filter((slot) => slot.trigger === 'catch_up').length).toBeGreaterThanOrEqual(4)
  print(
    `down for ${((upMs - downMs) / 1000).toFixed(1)} s: ${all.filter((slot) => slot.status === 'missed').length} of ${all.length} slots missed, ${late.filter((slot) => slot.trigger === 'catch_up').length} of the patient order caught up`,
  )
})

test('two workers of which one is killed again and again: no slot runs twice, none is lost without a row', async () => {
  c = await startCluster({ agents: { devops: { concurrency: 8 } } })
  let [victim] = await Promise.all([c.spawn('worker'), c.spawn('worker')])
  const order = { name: 'each-second', every_seconds: 1, grace_seconds: 30, overlap: 'queue' }
  const beganMs = Date.now() + 2_000
  await apply(order)

  for (let round = 0; round < KILLS; round += 1) {
    const sinceMs = Date.now()
    await c.until('slots are run', async () => (await slotsBetween('devops/each-second', sinceMs, Date.now())).some((slot) => slot.status === 'completed'))
    await kill(victim)
    victim = await c.spawn('worker')
  }
  const endedMs = Date.now()
  await c.until('every slot has ended', async () => ended(await slotsBetween('devops/each-second', beganMs, endedMs)), 60_000)
  // Afterwards: of an order that is disabled, what a slow machine has not begun by then is skipped.
  await apply({ ...order, enabled: false })

  const all = await slotsBetween('devops/each-second', beganMs, endedMs)
  await expectEachOnce('devops/each-second', all, 1_000, beganMs, endedMs)
  expect(all.map((slot) => slot.status)).toEqual(all.map(() => 'completed'))
  const posts = new Map<string, number>()
  for (const run of c.gateway.runs()) posts.set(run.key ?? '', (posts.get(run.key ?? '') ?? 0) + 1)
  expect([...posts.values()].filter((runs) => runs > 1)).toEqual([])
  print(`one of two workers killed ${KILLS} times: ${all.length} slots, each run once`)
})
