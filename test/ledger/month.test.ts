import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadFleetFile } from '../../config/fleet-file.js'
import type { Fleet } from '../../contracts/fleet.js'
import type { JobId } from '../../contracts/ids.js'
import { FinishStandingOrderBody, orderKey, StandingOrderConfig } from '../../contracts/standing-orders.js'
import { keepSlots } from '../../ledger/keep-slots.js'
import { Ledger } from '../../ledger/ledger.js'
import { planSlots } from '../../ledger/plan-slots.js'
import { startSlot } from '../../ledger/start-slot.js'
import { attemptCaller, freshLedger, OPERATOR, renderForTests, TEST_SECRET, type TestLedger } from '../support/ledger.js'
import { IS_LONG } from '../support/long.js'
import { dueTimes } from './local-calendar.js'

/**
 * A month of a fleet, or three weeks of it, minute by minute where anything happens, on a clock of its own. It has the spring change of New York
 * (14 March) and Berlin (28 March) and the autumn change, of half an hour, of Lord Howe Island (4 April).
 */
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const FROM = Date.UTC(2027, 2, IS_LONG ? 10 : 13)
const TO = Date.UTC(2027, 3, IS_LONG ? 10 : 5)
const at = (day: number, hour: number, minute = 0): number => Date.UTC(2027, 2, day, hour, minute)

/** The reference fleet's orders that come hourly or more often are most of its slots and make no rule show; the long form has them too. */
const isFrequent = (order: StandingOrderConfig): boolean => (order.every_seconds ?? Infinity) <= 3_600 || /^(\S+ \*|\*\/\d+|[\d,-]*[,/-][\d,/-]*) /.test(order.cron ?? '')

/** When an order is due that comes each hour or half-hour: in the hours of clock changes, and about noon, which is in one of the troubles in each zone. */
const HOURS = IS_LONG ? '*' : '0-4,9-13'

type Span = readonly [fromMs: number, toMs: number]
const WORKERS_DOWN: Span = [at(16, 9, 2), at(16, 12, 2)]
const STORE_DOWN: Span = [at(19, 14, 58), at(19, 15, 18)]
const GATEWAY_DOWN: Span = [at(23, 0, 1), at(24, 0, 1)]
const LANE_PAUSED: Span = [at(25, 12, 1), at(25, 18, 1)]
const PAUSED_LANE = 'proactive'
const within = ([from, to]: Span, ms: number): boolean => ms >= from && ms < to

const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe'] as const

/** Orders that make every rule show, in three zones, beside the fleet. */
const OWN: readonly StandingOrderConfig[] = ZONES.flatMap((time_zone, index) =>
  [
    { name: `night-${index}`, cron: '30 2 * * *', catch_up: 'latest' },
    { name: `doubled-${index}`, cron: '45 1 * * *' },
    { name: `each-hour-${index}`, cron: `0 ${HOURS} * * *`, catch_up: 'all', catch_up_limit: 2 },
    { name: `half-hour-${index}`, cron: `*/30 ${HOURS} * * *`, lane: index === 0 ? PAUSED_LANE : 'scheduled', catch_up: index === 1 ? 'latest' : 'skip' },
    { name: `weekdays-${index}`, cron: '5 9-17 * * 1-5' },
    { name: `when-idle-${index}`, cron: '0,20 12 * * *', guards: { only_when_idle: true } },
  ].map((order) => StandingOrderConfig.parse({ agent: index === 1 ? 'far' : 'near', message: 'Look.', time_zone, grace_seconds: 240, ...order })),
)

interface Wanted {
  readonly order: StandingOrderConfig
  readonly slotMs: number
  readonly graceMs: number
}

let t: TestLedger
let ledger: Ledger
let nowMs = FROM
let fleet: Fleet
beforeAll(async () => {
  t = await freshLedger({ poolSize: 12 })
  ledger = new Ledger({ database: t.database, secret: TEST_SECRET, retryBaseSeconds: 0, nowMs: () => nowMs, random: () => 0.5, render: renderForTests })
  const reference = await loadFleetFile('fleet/reference.yaml')
  const gateway = (id: string) => ({ id, base_url: 'http://127.0.0.1:9', hook_path: '/hooks', token: 'env:X' })
  fleet = {
    version: 1,
    gateways: [gateway('here'), gateway('there'), ...reference.gateways] as Fleet['gateways'],
    agents: [
      { id: 'near', gateway: 'here', concurrency: 100, capabilities: [], timeout_seconds: 600, lease_seconds: 600, enabled: true },
      { id: 'far', gateway: 'there', concurrency: 100, capabilities: [], timeout_seconds: 600, lease_seconds: 600, enabled: true },
      ...reference.agents.map((agent) => ({ ...agent, concurrency: 100 })),
    ] as Fleet['agents'],
    standing_orders: [...OWN, ...reference.standing_orders.filter((order) => IS_LONG || !isFrequent(order))],
  }
  await ledger.applyFleet(OPERATOR, fleet, { dryRun: false, prune: false })
})
afterAll(() => t.close())

/** Every slot the month should have, worked out apart from the product. */
function wantedSlots(): Wanted[] {
  return (fleet.standing_orders ?? []).flatMap((order) => {
    if (!order.enabled) return []
    const due = order.cron === undefined ? multiples((order.every_seconds ?? 1) * 1_000) : dueTimes(order.cron, order.time_zone, FROM, TO)
    return due.filter((ms) => ms > FROM && ms < TO).map((slotMs) => ({ order, slotMs, graceMs: slotMs + order.grace_seconds * 1_000 }))
  })
}

function multiples(everyMs: number): number[] {
  const due = []
  for (let ms = Math.floor(FROM / everyMs) * everyMs; ms < TO; ms += everyMs) due.push(ms)
  return due
}

const gatewayOf = (agent: string): string => fleet.agents.find(({ id }) => id === agent)?.gateway ?? ''
const isDown = (order: StandingOrderConfig, ms: number): boolean => downCause(order, ms) !== undefined

function downCause(order: StandingOrderConfig, ms: number): string | undefined {
  if (within(WORKERS_DOWN, ms)) return 'worker_down'
  if (within(STORE_DOWN, ms)) return 'queue_store_down'
  if (within(GATEWAY_DOWN, ms) && gatewayOf(order.agent) === 'there') return 'agent_offline'
  return undefined
}

/** What should have become of each slot, by the rules in docs/standing-orders.md and nothing of the code. */
function wantedOutcomes(slots: readonly Wanted[]): Map<string, string> {
  const outcomes = new Map<string, string>()
  for (const span of [WORKERS_DOWN, STORE_DOWN, GATEWAY_DOWN]) {
    for (const order of fleet.standing_orders ?? []) {
      if (!isDown(order, span[0])) continue
      const late = slots.filter((slot) => slot.order === order && within(span, slot.slotMs) && slot.graceMs < span[1])
      const candidates = late.filter((slot) => order.catch_up !== 'skip' && span[1] - slot.slotMs <= order.catch_up_within_seconds * 1_000)
      const kept = order.catch_up === 'skip' ? [] : candidates.slice(order.catch_up === 'latest' ? -1 : -order.catch_up_limit)
      for (const slot of late) {
        const key = keyOf(slot)
        if (kept.includes(slot)) outcomes.set(key, 'ran catch_up')
        else outcomes.set(key, candidates.includes(slot) ? 'missed catch_up_rule' : `missed ${downCause(order, slot.slotMs) ?? ''}`)
      }
    }
  }
  const isBusyAt = new Set(slots.filter(({ order }) => !order.guards.only_when_idle).map(({ order, slotMs }) => `${order.agent} ${slotMs}`))
  for (const slot of slots) {
    const key = keyOf(slot)
    if (outcomes.has(key)) continue
    if (slot.order.lane === PAUSED_LANE && within(LANE_PAUSED, slot.slotMs)) outcomes.set(key, 'skipped paused')
    else if (slot.order.guards.only_when_idle && isBusyAt.has(`${slot.order.agent} ${slot.slotMs}`)) outcomes.set(key, 'skipped agent_not_idle')
    else outcomes.set(key, isDown(slot.order, slot.slotMs) ? 'ran keeper' : 'ran tick')
  }
  return outcomes
}

const keyOf = (slot: Wanted): string => `${orderKey(slot.order)} ${new Date(slot.slotMs).toISOString()}`

/** The components that are up say so; a stretch that has ended stays as it is. */
async function notePresence(): Promise<void> {
  const up = [
    ...(within(WORKERS_DOWN, nowMs) ? [] : ['workers']),
    ...(within(STORE_DOWN, nowMs) ? [] : ['queue_store']),
    ...[...new Set(fleet.gateways.map(({ id }) => id))].filter((id) => !(id === 'there' && within(GATEWAY_DOWN, nowMs))).map((id) => `gateway:${id}`),
  ]
  const down = ['workers', 'queue_store', 'gateway:there'].filter((component) => !up.includes(component))
  for (const component of down) stretches.delete(component)
  const now = new Date(nowMs).toISOString()
  for (const component of up.filter((one) => !stretches.has(one))) {
    const { rows } = await ledger.db.execute<{ id: string }>(sql`
      insert into presence (component, seen_from, seen_until) values (${component}, ${now}::timestamptz, ${now}::timestamptz) returning id`)
    stretches.set(component, String(rows[0]?.id))
  }
  await ledger.db.execute(sql`update presence set seen_until = ${now}::timestamptz where id = any(${sql.param([...stretches.values()])}::bigint[])`)
}
const stretches = new Map<string, string>()

/** An agent's whole run: the job is leased, and closed with what it found. */
async function work(jobId: JobId, agent: string): Promise<void> {
  const leased = await ledger.lease({
    jobId,
    generation: 1,
    workerId: 'w',
    actor: { kind: 'worker', id: 'w' },
    nowMs: Date.now(),
    deadlineMarginSeconds: 60,
    render: renderForTests,
  })
  if (leased.kind !== 'start') throw new Error(`not leased: ${JSON.stringify(leased)}`)
  const attemptId = leased.attempt.id as Parameters<typeof attemptCaller>[0]
  await ledger.jobs.finishStandingOrder(
    { caller: attemptCaller(attemptId, jobId, agent) },
    jobId,
    FinishStandingOrderBody.parse({ outcome: 'no_work', evidence: { looked: true } }),
  )
}

/** At each moment of trouble and an hour after it; in quiet times, where each slot is started at its time, every ten minutes. */
function isMaintenanceDue(): boolean {
  const isTroubled = [WORKERS_DOWN, STORE_DOWN, GATEWAY_DOWN, LANE_PAUSED].some(([from, to]) => within([from, to + HOUR], nowMs))
  if (!isTroubled && nowMs < maintainedMs + 10 * MINUTE && nowMs !== TO) return false
  maintainedMs = nowMs
  return true
}
let maintainedMs = 0

/** What the maintenance of a bus does: slots are planned an hour ahead, and the keeper looks after those whose grace has run out. */
async function maintain(): Promise<void> {
  for (let planned = 1; planned > 0;) planned = (await ledger.run((tx) => planSlots(tx, { nowMs, horizonMs: HOUR, limit: 100 }))).orders
  for (;;) {
    const kept = await ledger.run((tx) => keepSlots(tx, { nowMs, actor: { kind: 'system', id: 'keeper' }, limit: 200 }))
    if (kept.started + kept.missed + kept.caughtUp + kept.waiting === 0) break
  }
}

async function step(orders: ReadonlyMap<string, string>, due: readonly Wanted[]): Promise<void> {
  await notePresence()
  const aWorkerRuns = !within(WORKERS_DOWN, nowMs)
  const actor = { kind: 'worker', id: 'w' } as const
  if (aWorkerRuns && !within(STORE_DOWN, nowMs)) {
    const ticks = due.filter(({ order }) => !isDown(order, nowMs))
    const start = ({ order, slotMs }: Wanted) => ledger.run((tx) => startSlot(tx, { orderId: orders.get(orderKey(order)) ?? '', slotMs, nowMs, actor, trigger: 'tick' }))
    // Two orders of one agent at one instant race; here the one that yields comes last, so that the outcome is one.
    await Promise.all(ticks.filter(({ order }) => !order.guards.only_when_idle).map(start))
    await Promise.all(ticks.filter(({ order }) => order.guards.only_when_idle).map(start))
  }
  if (isMaintenanceDue()) await maintain()
  const { rows } = await ledger.db.execute<{ id: string; target_agent: string }>(sql`select id, target_agent from jobs where status = 'queued'`)
  await Promise.all(rows.map((row) => work(row.id as JobId, row.target_agent)))
}

test('weeks with three clock changes, three outages and a pause: every slot is accounted for, with the right cause', { timeout: 1_500_000 }, async () => {
  const wanted = wantedSlots()
  const orders = new Map((await ledger.listOrders()).map((order) => [order.order, order.id]))
  const byTime = new Map<number, Wanted[]>()
  const looks = new Set([...WORKERS_DOWN, ...STORE_DOWN, ...GATEWAY_DOWN, ...LANE_PAUSED, TO])
  for (const slot of wanted) {
    byTime.set(slot.slotMs, [...(byTime.get(slot.slotMs) ?? []), slot])
    // While something is down the keeper looks when a grace has run out; otherwise each slot is started at its time.
    if (isDown(slot.order, slot.slotMs)) looks.add(slot.graceMs + 1)
  }
  for (const ms of [...new Set([...byTime.keys(), ...looks])].sort((a, b) => a - b)) {
    nowMs = ms
    if (ms === LANE_PAUSED[0]) await ledger.setPaused(OPERATOR, { scope: 'lane', target: PAUSED_LANE, reason: 'an afternoon off', paused: true })
    if (ms === LANE_PAUSED[1]) await ledger.setPaused(OPERATOR, { scope: 'lane', target: PAUSED_LANE, reason: 'back', paused: false })
    await step(orders, byTime.get(ms) ?? [])
  }

  const { rows } = await ledger.db.execute(sql`
    select o.agent_id || '/' || o.name as order, r.slot_at, r.status, r.cause, r.trigger
    from standing_order_runs r join standing_orders o on o.id = r.order_id where r.slot_at < ${new Date(TO).toISOString()}::timestamptz`)
  const found = new Map(
    rows.map((row) => [
      `${String(row['order'])} ${new Date(String(row['slot_at'])).toISOString()}`,
      row['status'] === 'no_work' ? `ran ${String(row['trigger'])}` : `${String(row['status'])} ${String(row['cause'])}`,
    ]),
  )
  const outcomes = wantedOutcomes(wanted)
  const differences = [...new Set([...found.keys(), ...outcomes.keys()])].filter((key) => found.get(key) !== outcomes.get(key))
  expect(differences.slice(0, 20).map((key) => `${key}: wanted ${outcomes.get(key) ?? 'no slot'}, found ${found.get(key) ?? 'no slot'}`)).toEqual([])
  expect(found.size).toBe(wanted.length)

  const { lines } = await ledger.accountability({ from: new Date(FROM).toISOString(), to: new Date(TO).toISOString() })
  for (const line of lines) {
    expect(line).toMatchObject({ unaccounted: 0, pending: 0, running: 0, expected: wanted.filter(({ order }) => orderKey(order) === line.order).length })
  }
  const tally = (prefix: string): number => [...outcomes.values()].filter((outcome) => outcome.startsWith(prefix)).length
  console.log(
    `[slots] ${wanted.length} slots of ${lines.length} orders: ${tally('ran tick')} by tick, ${tally('ran keeper')} by the keeper, ${tally('ran catch_up')} caught up, ${tally('skipped')} skipped, ${tally('missed')} missed`,
  )
  for (const outcome of [
    'ran catch_up',
    'missed worker_down',
    'missed queue_store_down',
    'missed agent_offline',
    'missed catch_up_rule',
    'skipped paused',
    'skipped agent_not_idle',
  ]) {
    expect(tally(outcome), outcome).toBeGreaterThan(0)
  }
})
