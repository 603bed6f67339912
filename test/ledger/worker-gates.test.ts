import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { beat, stopBeating } from '../../ledger/heartbeats.js'
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
  const first = await readChangedGates(t.ledger, 'w1', undefined)

  const again = await readChangedGates(t.ledger, 'w1', first)

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
  const before = await readGates(t.ledger, 'w1')

  await change()
  const after = await readChangedGates(t.ledger, 'w1', before)

  expect(after).toEqual(await readGates(t.ledger, 'w1'))
  expect(after?.digest).not.toBe(before.digest)
  expect(after?.gates.length).toBeGreaterThanOrEqual(before.gates.length)
  expect({ ...after, digest: before.digest }).not.toEqual(before)
})

describe('a process is alone', () => {
  const beats = (dispatcherId: string) => beat(t.ledger.db, { dispatcherId, host: 'h', pid: 1, leasesOwned: 0, busyAgents: 0, metrics: {} })
  const isAlone = async (): Promise<boolean> => (await readGates(t.ledger, 'w1')).alone

  test('as long as no other beats', async () => {
    await beats('w1')

    expect(await isAlone()).toBe(true)
  })

  test('no more as soon as another beats, which is read at the next look', async () => {
    await beats('w1')
    const before = await readGates(t.ledger, 'w1')
    await beats('w2')

    const after = await readChangedGates(t.ledger, 'w1', before)

    expect([before.alone, after?.alone]).toEqual([true, false])
  })

  test.each([
    ['has said that it stops', () => stopBeating(t.ledger.db, 'w2')],
    ['has been silent for longer than 20 s', () => t.database.pool.query(`update dispatcher_heartbeats set last_seen = now() - interval '21 seconds' where dispatcher_id = 'w2'`)],
  ])('again when the other %s', async (_what, ends) => {
    await beats('w2')
    const before = await isAlone()

    await ends()

    expect([before, await isAlone()]).toEqual([false, true])
  })
})
