import { afterAll, beforeAll, expect, test } from 'vitest'
import { InboxConfig } from '../../contracts/inbox.js'
import type { SlotView } from '../../contracts/standing-orders.js'
import { StandingOrderConfig } from '../../contracts/standing-orders.js'
import { OPERATOR } from '../support/ledger.js'
import { startRealBus, type RealBus } from './real-bus.js'
import { agentbus, agentbusAtLarge, running } from './scripts.js'

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

test('a detector in isolated mode files a finding; a coordinator woken in main mode reads and acknowledges it', async () => {
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], inbox: InboxConfig.parse({ coordinator: 'auditor' }) }, { dryRun: false, prune: false })
  const detecting = running(
    (turn) => agentbus(turn, 'start-standing-order'),
    (turn) => agentbusAtLarge(turn, 'file-finding', '--topic', 'disk.full', '--subject-key', 'host1', '--level', 'warning', '--body', 'disk is at 91 %'),
    (turn) => agentbus(turn, 'finish-standing-order', '--outcome', 'completed', '--evidence', '{"hosts": 2, "full": 1}'),
  )
  const coordinating = running(
    (turn) => agentbus(turn, 'start-standing-order'),
    (turn) => agentbusAtLarge(turn, 'read-inbox', '--json'),
    (turn) => {
      const id = /"id": ?"([0-9a-f-]{36})"/.exec(turn.results[1] ?? '')?.[1]
      if (id === undefined) return agentbus(turn, 'finish-standing-order', '--outcome', 'no_work', '--evidence', '{"messages": 0}')
      const acknowledge = agentbusAtLarge(turn, 'acknowledge-inbox', '--id', id, '--outcome', 'delivered', '--note', 'told the team')
      return `${acknowledge} && ${agentbus(turn, 'finish-standing-order', '--outcome', 'completed', '--evidence', '{"messages": 1}')}`
    },
  )
  t.model.follow((turn) => (turn.prompt.includes('Detect what is full.') ? detecting(turn) : coordinating(turn)))
  const detector = { name: 'detector', every_seconds: 5, grace_seconds: 60, message: 'Detect what is full.' }
  await apply(detector)
  await firstEnded('devops/detector')
  await apply({ ...detector, enabled: false })
  const [filed] = (await t.ledger.listFindings({ topic: 'disk.full', limit: 10 })).items
  expect(filed).toMatchObject({ agent_id: 'auditor', source_agent: 'devops', subject_key: 'host1', level: 'warning' })

  const coordinator = { agent: 'auditor', name: 'heartbeat', every_seconds: 5, session: 'main', grace_seconds: 60, message: 'Read your inbox.' }
  await apply(coordinator)
  const slot = await firstEnded('auditor/heartbeat')
  await apply({ ...coordinator, enabled: false })

  const { messages, history } = await t.ledger.findingHistory(filed?.id ?? ('' as never))
  expect(slot).toMatchObject({ status: 'completed', unstated: false, evidence: { messages: 1 } })
  expect(messages).toMatchObject([{ status: 'acknowledged', outcome: 'delivered', note: 'told the team', tone: 'polite' }])
  const moves = history.filter(({ kind }) => kind !== 'filed')
  expect(moves.map(({ kind, actor_kind, actor }) => `${kind} by ${actor_kind} ${actor}`)).toEqual([
    'raised by attempt devops',
    'read by attempt auditor',
    'acknowledged by attempt auditor',
  ])
  expect(moves[1]?.job_id).toBe(slot.job_id)
})
