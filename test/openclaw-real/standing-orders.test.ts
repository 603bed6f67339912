import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SlotView } from '../../contracts/standing-orders.js'
import { StandingOrderConfig } from '../../contracts/standing-orders.js'
import { OPERATOR } from '../support/ledger.js'
import { startRealBus, type RealBus } from './real-bus.js'
import { agentbus, running } from './scripts.js'

let t: RealBus
beforeAll(async () => {
  t = await startRealBus()
  await t.startWorker()
})
afterAll(() => t.stop())

async function apply(order: Record<string, unknown>): Promise<void> {
  const standing_orders = [StandingOrderConfig.parse({ agent: 'devops', message: 'Look at the disks.', ...order })]
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders }, { dryRun: false, prune: false })
}

async function firstEnded(order: string): Promise<SlotView> {
  let found: SlotView | undefined
  await expect
    .poll(
      async () => {
        found = (await t.ledger.listSlots({ order, limit: 50 })).items.find((slot) => slot.finished_at !== null && slot.started_at !== null)
        return found !== undefined
      },
      { timeout: 60_000, interval: 100 },
    )
    .toBe(true)
  return found as SlotView
}

test.each(['isolated', 'main'])('an order in %s mode reaches the real agent, which says what it found from its exec tool', async (session) => {
  const seen: string[] = []
  const script = running(
    (turn) => agentbus(turn, 'start-standing-order'),
    (turn) => agentbus(turn, 'finish-standing-order', '--outcome', 'no_work', '--summary', 'all disks have room', '--evidence', '{"hosts": 2}'),
  )
  t.model.follow((turn) => {
    seen.push(turn.prompt)
    return script(turn)
  })
  const order = { name: `disks-${session}`, every_seconds: 5, session, grace_seconds: 60 }
  await apply(order)

  const slot = await firstEnded(`devops/disks-${session}`)
  await apply({ ...order, enabled: false })

  const { transitions } = await t.ledger.jobHistory(slot.job_id ?? ('' as never))
  expect(slot).toMatchObject({ status: 'no_work', unstated: false, summary: 'all disks have room', evidence: { hosts: 2 } })
  expect(transitions.map((row) => row.reason)).toEqual(['created', 'leased', 'admitted', 'marked_running', 'completed_by_agent'])
  expect(seen[0]).toContain('Look at the disks.')
})
