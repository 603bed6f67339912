import { afterEach, beforeEach, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { readChangedGates, readGates } from '../../processors/worker-gates.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const run = (statement: string) => () => t.database.pool.query(statement)
const pause = (scope: 'everything' | 'agent' | 'gateway', target?: string) => () =>
  t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', reason: 'a test', scope, ...(target === undefined ? {} : { target }) }))

test('gates that are as they were are not read again', async () => {
  await t.addAgent('auditor')
  const first = await readChangedGates(t.ledger, undefined)

  const again = await readChangedGates(t.ledger, first)

  expect(first?.gates).toEqual([
    { agentId: 'auditor', concurrency: 1, leaseSeconds: 600, open: true, paused: false },
    { agentId: 'devops', concurrency: 100, leaseSeconds: 600, open: true, paused: false },
  ])
  expect(again).toBeUndefined()
})

test.each<[string, () => Promise<unknown>]>([
  ['another concurrency', run(`update agents set concurrency = 7`)],
  ['a disabled agent', run(`update agents set enabled = false`)],
  ['a failure of a gateway', run(`update gateways set failures = 1`)],
  ['an open breaker', run(`update gateways set breaker = 'open', breaker_reason = 'test'`)],
  ['another agent', () => t.addAgent('auditor')],
  ['a pause of an agent', pause('agent', 'devops')],
  ['a pause of its gateway', pause('gateway', 'gw')],
  ['a pause of everything', pause('everything')],
])('%s is read at the next look, with all gates', async (_what, change) => {
  const before = await readGates(t.ledger)

  await change()
  const after = await readChangedGates(t.ledger, before)

  expect(after).toEqual(await readGates(t.ledger))
  expect(after?.digest).not.toBe(before.digest)
  expect(after?.gates.length).toBeGreaterThanOrEqual(before.gates.length)
  expect({ ...after, digest: before.digest }).not.toEqual(before)
})
