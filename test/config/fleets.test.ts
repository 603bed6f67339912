import { expect, test } from 'vitest'
import { loadFleetFile } from '../../config/fleet-file.js'
import { orderKey, type StandingOrderConfig } from '../../contracts/standing-orders.js'

const reference = await loadFleetFile('fleet/reference.yaml')
const pilot = await loadFleetFile('fleet/pilot.yaml')

function count<T extends string>(orders: readonly StandingOrderConfig[], of: (order: StandingOrderConfig) => T): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const order of orders) counts[of(order)] = (counts[of(order)] ?? 0) + 1
  return counts
}

test('the reference fleet has ten agents and 56 standing orders: 22 operational, 12 proactive, 12 memory, 10 idle', () => {
  expect(reference.agents.map(({ id }) => id).sort()).toEqual(
    ['auditor', 'coordinator', 'design', 'devops', 'knowledge', 'product-metrics', 'project-tracker', 'publisher', 'research', 'security'].sort(),
  )
  expect(count(reference.standing_orders, ({ lane }) => lane)).toEqual({ scheduled: 22, proactive: 12, memory: 12, idle: 10 })
  expect(new Set(reference.standing_orders.map(orderKey)).size).toBe(56)
})

test('each agent has one idle order, which waits until it has nothing else, and every message is its own', () => {
  const idle = reference.standing_orders.filter(({ lane }) => lane === 'idle')

  expect(new Set(idle.map(({ agent }) => agent)).size).toBe(10)
  expect(idle.every(({ guards }) => guards.only_when_idle)).toBe(true)
  expect(new Set(reference.standing_orders.map(({ message }) => message)).size).toBe(56)
  for (const { message } of reference.standing_orders) expect(message).toMatch(/Evidence: .* Close with finish-standing-order\.$/s)
})

test.each([
  ['coordinator/coord-backlog-rebalance', '*/15 * * * *', 'main'],
  ['auditor/audit-lease-reaper', '*/5 * * * *', 'isolated'],
  ['devops/devops-health-check', '*/10 * * * *', 'isolated'],
  ['product-metrics/metrics-anomaly-check', '15 * * * *', 'isolated'],
  ['design/design-weekly-review', '0 10 * * 1', 'main'],
  ['publisher/publisher-weekly-bets-memo', '45 18 * * 5', 'main'],
  ['knowledge/knowledge-memory-promote', '45 */6 * * *', 'main'],
  ['publisher/publisher-idle-cognition', '15 3 * * *', 'main'],
])('%s runs at %s in a session that is %s', (key, cron, session) => {
  expect(reference.standing_orders.find((order) => orderKey(order) === key)).toMatchObject({ cron, session, time_zone: 'UTC' })
})

test('the pilot has four agents and the five orders of week 1, each as in the reference', () => {
  expect(pilot.agents.map(({ id }) => id)).toEqual(['coordinator', 'auditor', 'devops', 'publisher'])
  expect(pilot.standing_orders.map(({ name }) => name).sort()).toEqual(
    ['audit-lease-reaper', 'audit-standing-order-gaps', 'coord-backlog-rebalance', 'devops-health-check', 'publisher-daily-digest'].sort(),
  )
  for (const order of pilot.standing_orders) expect(reference.standing_orders).toContainEqual(order)
})

test.each([
  ['reference', reference],
  ['pilot', pilot],
])('the %s fleet lets one agent write the status of projects', (_name, { authority }) => {
  expect(authority?.project_status).toEqual(['coordinator'])
})

test.each([
  ['reference', reference],
  ['pilot', pilot],
])('the %s fleet says who reads findings, and how what repeats is raised', (_name, { inbox }) => {
  expect(inbox).toMatchObject({ coordinator: 'coordinator', pending_result: { enabled: true, after_minutes: 15 } })
  expect(inbox?.policies.map(({ topic, steps }) => [topic, steps.map(({ tone, after_days }) => `${tone} from day ${after_days}`)])).toEqual([
    ['reminder.*', ['polite from day 0', 'firm from day 3', 'act or drop from day 7']],
    ['staleness.*', ['neutral from day 0']],
    ['health.*', ['urgent from day 0']],
  ])
})
