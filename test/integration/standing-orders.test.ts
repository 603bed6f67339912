import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AcknowledgeBody, FileFindingBody, ReadInboxBody } from '../../contracts/findings.js'
import type { AgentId } from '../../contracts/ids.js'
import { InboxConfig } from '../../contracts/inbox.js'
import { StandingOrderConfig, type SlotStatus, type SlotView } from '../../contracts/standing-orders.js'
import { OPERATOR } from '../support/ledger.js'
import { startTestBus, type AgentHands, type TestBus } from '../support/bus.js'

let t: TestBus
beforeAll(async () => {
  t = await startTestBus({ agents: { devops: { concurrency: 4 }, single: { concurrency: 1 } } })
})
afterAll(() => t.stop())
beforeEach(() => {
  t.behave(async (hands) => {
    await hands.finish({ outcome: 'no_work', evidence: { checked: 3 } })
  })
})

async function slots(order: string): Promise<SlotView[]> {
  const { items } = await t.ledger.listSlots({ order, limit: 200 })
  return items.filter((slot) => Date.parse(slot.slot_at) <= Date.now()).reverse()
}

/** Resolves with the slots that are due, oldest first, once `wanted` holds of them. */
async function untilSlots(order: string, wanted: (due: SlotView[]) => boolean, timeout = 25_000): Promise<SlotView[]> {
  // Not `expect.poll`, which belongs to one test at a time.
  return vi.waitFor(
    async () => {
      const due = await slots(order)
      if (!wanted(due)) throw new Error(`the slots of ${order} did not get there: ${due.map(({ slot_at: at, status }) => `${at} ${status}`).join(', ')}`)
      return due
    },
    { timeout, interval: 50 },
  )
}

const ended = (slot: SlotView): boolean => slot.finished_at !== null
const withStatus = (due: readonly SlotView[], status: SlotStatus): SlotView[] => due.filter((slot) => slot.status === status)

async function stopOrder(name: string, order: Record<string, unknown>): Promise<void> {
  await t.order({ ...order, name, enabled: false })
}

/** At a time, for they only wait for the clock: each has orders of its own, whose runs all find nothing. */
describe.concurrent('side by side', () => {
  test('an order every second ticks at its times, is delivered, and each slot says what was found', async ({ expect }) => {
    const order = { name: 'each-second', every_seconds: 1 }
    await t.order(order)

    const due = await untilSlots('devops/each-second', (all) => withStatus(all, 'no_work').length >= 4)
    await stopOrder('each-second', order)

    const done = withStatus(due, 'no_work')
    expect(done[0]).toMatchObject({ evidence: { checked: 3 }, unstated: false, cause: null })
    for (const slot of done) expect(Date.parse(slot.slot_at) % 1_000).toBe(0)
    const job = await t.ledger.getJob(done[0]?.job_id ?? ('' as never))
    expect(job).toMatchObject({ status: 'succeeded', lane: 'scheduled', job_type: 'standing_order', target_agent: 'devops' })
    expect(job.payload).toMatchObject({ standing_order: 'devops/each-second', slot_at: done[0]?.slot_at, message: 'Look around.' })
  })

  test('an order every second runs each slot once with a second worker process, and by ticks', async ({ expect }) => {
    const other = await t.another()
    const order = { name: 'twice-watched', every_seconds: 1 }
    await t.order(order)

    const due = await untilSlots('devops/twice-watched', (all) => all.filter(ended).length >= 5)
    await stopOrder('twice-watched', order)
    await other.stop()

    expect(new Set(due.map((slot) => slot.slot_at)).size).toBe(due.length)
    const started = due.filter((slot) => slot.started_at !== null)
    expect(new Set(started.map((slot) => slot.job_id)).size).toBe(started.length)
    expect(started.filter((slot) => slot.trigger === 'tick').length).toBeGreaterThan(0)
  })

  test('a changed order is another version from that moment on, and a disabled one has no further slots', async ({ expect }) => {
    await t.order({ name: 'changing', every_seconds: 1 })
    await untilSlots('devops/changing', (all) => all.filter(ended).length >= 2)
    await t.order({ name: 'changing', every_seconds: 2, message: 'Look twice.' })
    const changed = await untilSlots('devops/changing', (all) => all.filter((slot) => slot.version === 2).filter(ended).length >= 2)
    await t.order({ name: 'changing', every_seconds: 2, message: 'Look twice.', enabled: false })

    const [order] = await t.ledger.listOrders({ order: 'devops/changing' })
    for (const slot of changed.filter(({ version }) => version === 2)) expect(Date.parse(slot.slot_at) % 2_000).toBe(0)
    expect(order).toMatchObject({ version: 3, enabled: false, next_slot_at: null })
    const { rows } = await t.ledger.db.execute(sql`select version from standing_order_versions where order_id = ${order?.id}::uuid order by version`)
    expect(rows.map((row) => row['version'])).toEqual([1, 2, 3])
  })

  test('an order that is set alone is scheduled by its definition, and one that is disabled alone is in no queue any more', async ({ expect }) => {
    const order = StandingOrderConfig.parse({ agent: 'devops', name: 'alone', every_seconds: 1, message: 'Look around.' })
    const { order: made } = await t.ledger.orders.set(OPERATOR, order, { dryRun: false })
    const schedulers = async (): Promise<string[]> => {
      const all = await (await t.bus.queues.get('devops')).getJobSchedulers(0, -1)
      return all.map(({ key }) => key).filter((key) => key.includes(String(made?.id)))
    }
    await untilSlots('devops/alone', (all) => all.filter(ended).length >= 2)
    await t.ledger.orders.set(OPERATOR, { ...order, every_seconds: 2 }, { dryRun: false })
    const changed = await untilSlots('devops/alone', (all) => all.filter((slot) => slot.version === 2).filter(ended).length >= 2)
    await expect.poll(schedulers, { timeout: 10_000, interval: 50 }).toEqual([`${String(made?.id)}-v2`])
    await t.ledger.orders.disable(OPERATOR, order)
    await expect.poll(schedulers, { timeout: 10_000, interval: 50 }).toEqual([])

    for (const slot of changed.filter(({ version }) => version === 2)) expect(Date.parse(slot.slot_at) % 2_000).toBe(0)
    expect((await t.ledger.listOrders({ order: 'devops/alone' }))[0]).toMatchObject({ version: 3, enabled: false, next_slot_at: null })
  })
})

test('an order every second goes on when the queue store is wiped between ticks: no slot twice, none lost without a row', async () => {
  const order = { name: 'wiped', every_seconds: 1, grace_seconds: 20 }
  await t.order(order)
  await untilSlots('devops/wiped', (all) => all.filter(ended).length >= 2)

  const queue = await t.bus.queues.get('devops')
  const before = (await slots('devops/wiped')).length
  await queue.obliterate({ force: true })
  for (const scheduler of await queue.getJobSchedulers(0, -1)) await queue.removeJobScheduler(scheduler.key)
  await untilSlots('devops/wiped', (all) => all.slice(before).filter(ended).length >= 3)
  await t.bus.sweepNow()
  await stopOrder('wiped', order)

  const due = (await untilSlots('devops/wiped', (all) => all.every(ended))).map((slot) => Date.parse(slot.slot_at))
  expect(due.slice(1).map((at, index) => at - (due[index] ?? 0))).toEqual(due.slice(1).map(() => 1_000))
})

test('a run that closes its job without saying what it found is completed and unstated', async () => {
  t.behave(async (hands) => {
    await hands.complete()
  })
  const order = { name: 'silent', every_seconds: 1 }
  await t.order(order)

  const due = await untilSlots('devops/silent', (all) => withStatus(all, 'completed').length > 0)
  await stopOrder('silent', order)

  expect(withStatus(due, 'completed')[0]).toMatchObject({ unstated: true, evidence: null })
})

test.each([
  ['blocked', { outcome: 'blocked', blocked_reason: 'no access' }],
  ['failed', { outcome: 'failed', last_error: 'no such host' }],
] as const)('a run that says %s ends its slot so', async (status, body) => {
  t.behave(async (hands) => {
    await hands.finish(body)
  })
  const order = { name: `says-${status}`, every_seconds: 1 }
  await t.order(order)

  const due = await untilSlots(`devops/says-${status}`, (all) => withStatus(all, status).length > 0)
  await stopOrder(`says-${status}`, order)

  expect(withStatus(due, status)[0]).toMatchObject({ unstated: false, cause: null })
})

test('a run that goes on makes the next slots skip, or queue, as the order says', async () => {
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const waiting = new Set<string>()
  t.behave(async (hands: AgentHands) => {
    waiting.add(hands.jobId)
    await held
    await hands.finish({ outcome: 'completed' })
  })
  const skipping = { agent: 'single', name: 'skips', every_seconds: 1 }
  await t.order(skipping)

  const due = await untilSlots('single/skips', (all) => withStatus(all, 'skipped').length >= 2)
  release()
  await t.order({ ...skipping, enabled: false })
  const after = await untilSlots('single/skips', (all) => withStatus(all, 'completed').length >= 1)

  expect(withStatus(due, 'skipped')[0]).toMatchObject({ cause: 'overlap', job_id: null, started_at: null })
  expect(withStatus(after, 'completed').length).toBeGreaterThanOrEqual(1)
  expect(waiting.size).toBe(withStatus(after, 'completed').length)
})

test('a paused lane skips slots before any gateway is called', async () => {
  const runs = t.gateway.runs().length
  await t.ledger.setPaused(OPERATOR, { scope: 'lane', target: 'idle', reason: 'quiet please', paused: true })
  const order = { name: 'in-a-paused-lane', every_seconds: 1, lane: 'idle' }
  await t.order(order)

  const due = await untilSlots('devops/in-a-paused-lane', (all) => withStatus(all, 'skipped').length >= 2)
  await stopOrder('in-a-paused-lane', order)
  await t.ledger.setPaused(OPERATOR, { scope: 'lane', target: 'idle', reason: 'go on', paused: false })

  expect(withStatus(due, 'skipped')[0]).toMatchObject({ cause: 'paused', details: { scope: 'lane' } })
  expect(t.gateway.runs().length).toBe(runs)
})

test('an order for the main session wakes it, and the agent closes the slot from there', async () => {
  const wakes = t.gateway.wakes().length
  const order = { name: 'heartbeat', every_seconds: 1, session: 'main' }
  await t.order(order)

  const due = await untilSlots('devops/heartbeat', (all) => withStatus(all, 'no_work').length >= 1)
  await stopOrder('heartbeat', order)

  const job = await t.ledger.getJob(withStatus(due, 'no_work')[0]?.job_id ?? ('' as never))
  expect(job.session_mode).toBe('main')
  expect(t.gateway.wakes().length).toBeGreaterThan(wakes)
  expect(t.gateway.wakes().at(-1)?.text).toContain('finish-standing-order')
})

test('the window is accounted for: every slot in one count, and none without a row', async () => {
  const { lines } = await t.ledger.accountability({ from: new Date(Date.now() - 3_600_000).toISOString(), agent: 'devops' as AgentId })

  expect(lines.length).toBeGreaterThan(5)
  for (const line of lines) {
    expect(line.unaccounted).toBe(0)
    expect(line.pending + line.running + line.no_work + line.completed + line.blocked + line.failed + line.skipped + line.missed).toBe(line.expected)
  }
})

describe('findings', () => {
  test('filed by a detector are read and acknowledged once, by runs of the coordinator that overlap', async () => {
    await t.ledger.applyFleet(
      OPERATOR,
      {
        version: 1,
        gateways: [],
        agents: [],
        inbox: InboxConfig.parse({ coordinator: 'devops', policies: [{ topic: '*', every_hours: 0, steps: [{ tone: 'each time', times: 100 }] }] }),
      },
      { dryRun: false, prune: false },
    )
    const read: string[] = []
    let reading = 0
    let most = 0
    let filed = 0
    t.behave(async (hands) => {
      const as = hands.as
      if (hands.run.message.includes('Detect.')) {
        filed += 1
        await hands.finish({
          outcome: 'completed',
          findings: [1, 2, 3].map((at) => FileFindingBody.parse({ topic: 'host.down', subject_key: `${filed}-${at}`, body: 'it is down' })),
        })
        return
      }
      reading += 1
      most = Math.max(most, reading)
      const { items } = await t.ledger.inbox.read(as, ReadInboxBody.parse({ limit: 2 }))
      await hands.run.pause(1_500)
      for (const { id } of items) {
        await t.ledger.inbox.acknowledge(as, AcknowledgeBody.parse({ ids: [id] }))
        read.push(id)
      }
      reading -= 1
      await hands.finish(items.length === 0 ? { outcome: 'no_work' } : { outcome: 'completed', evidence: { messages: items.length } })
    })
    const detector = { name: 'detector', every_seconds: 2, agent: 'single', message: 'Detect.' }
    const coordinator = { name: 'coordinator', every_seconds: 1, overlap: 'queue', message: 'Read your inbox.' }
    await t.order(detector, coordinator)

    await expect.poll(() => read.length, { timeout: 30_000 }).toBeGreaterThanOrEqual(9)
    await t.order({ ...detector, enabled: false })
    await expect.poll(async () => (await t.ledger.listInbox({ limit: 200 })).items.length, { timeout: 30_000 }).toBe(0)
    await stopOrder('coordinator', coordinator)

    expect(most).toBeGreaterThan(1)
    expect(new Set(read).size).toBe(read.length)
    expect(read).toHaveLength(filed * 3)
    const { items } = await t.ledger.listInbox({ status: 'acknowledged', limit: 200 })
    expect(items.map(({ id }) => id).sort()).toEqual([...read].sort())
  })

  test('are what people hear of; a run that found nothing reaches nobody, and is counted all the same', async () => {
    const order = { name: 'quiet', every_seconds: 1 }
    // What an agent does at each moment is written down; nobody is told.
    const told = async () => (await t.ledger.listEvents({ order: 'asc', limit: 200 })).items.filter(({ topic }) => !topic.startsWith('agents.'))
    const before = (await told()).length
    const bodies: Record<string, unknown>[] = []
    t.behave(async (hands) => {
      bodies.push({ ...hands.run.body })
      await hands.finish({ outcome: 'no_work', evidence: { checked: 1 } })
    })
    await t.order(order)

    const due = await untilSlots('devops/quiet', (all) => withStatus(all, 'no_work').length >= 3)
    await stopOrder('quiet', order)

    expect(bodies.length).toBeGreaterThanOrEqual(3)
    expect(bodies.every((body) => body['deliver'] === false)).toBe(true)
    expect(await told()).toHaveLength(before)
    expect((await t.ledger.listInbox({ limit: 10 })).items).toEqual([])
    const { rows } = await t.ledger.db.execute(sql`select sum(no_work)::int as n from standing_order_daily_counts_v where name = 'quiet'`)
    expect(rows[0]?.['n']).toBeGreaterThanOrEqual(withStatus(due, 'no_work').length)
  })
})
