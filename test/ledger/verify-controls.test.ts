import { afterEach, beforeEach, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { aJob, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'
import { found, kindsOf, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const set = (body: Record<string, unknown>) => t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', reason: 'release freeze', ...body }))
const resume = (scope: 'lane' | 'everything', target?: string) => t.ledger.controls.resume(OPERATOR, { scope, reason: 'go on', ...(target === undefined ? {} : { target }) })

/** One that is over, one that was drained, and one that holds a job. */
async function stopped(): Promise<{ readonly jobId: string }> {
  await t.addAgent('security')
  await set({ scope: 'everything' })
  await resume('everything')
  await set({ action: 'drain', scope: 'agent', target: 'security' })
  await t.ledger.upkeep.keepControls()
  const { id, job } = await aJob(t.ledger, 'queued', { lane: 'coding' })
  await set({ scope: 'lane', target: 'coding' })
  await leaseAs(t.ledger, id, job.generation)
  return { jobId: id }
}

const CONTROL = (scope: string) => `(select id from controls where scope::text = '${scope}')`

test('controls that were set, replaced, drained, expired and ended hold', async () => {
  await stopped()
  await set({ scope: 'lane', target: 'coding', replace: true, for_seconds: 60, running: 'cancel' })
  await set({ scope: 'lane', target: 'idle', for_seconds: 60 })
  await resume('lane', 'coding')
  await t.ledger.upkeep.keepControls()

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

test.each([
  [
    'one that was ended without a row',
    `update controls set lifted_at = now(), lifted_by = 'x', lifted_by_kind = 'operator', lifted_because = 'resumed' where scope = 'lane'`,
    'control_disagrees',
  ],
  [
    'one that was put in force again',
    `update controls set lifted_at = null, lifted_by = null, lifted_by_kind = null, lifted_because = null, lift_reason = null`,
    'control_disagrees',
  ],
  ['another who ended it', `update controls set lifted_by = 'somebody' where lifted_at is not null`, 'control_disagrees'],
  ['a history that was cut off', `delete from control_changes where change = 'resumed'`, 'control_disagrees'],
  ['an agent said not to be drained', `update controls set drained_at = null`, 'control_disagrees'],
  ['work said to be left alone that was cancelled', `update control_changes set change = 'running_cancelled' where seq = 2 and change = 'drained'`, 'control_disagrees'],
  ['another who set it', `update controls set set_by = 'somebody' where scope = 'lane'`, 'control_begin_changed'],
  ['another reason', `update controls set reason = 'another' where scope = 'lane'`, 'control_begin_changed'],
  [
    'a change after the end',
    `insert into control_changes (control_id, seq, change, reason, actor_kind, actor) select id, 3, 'running_cancelled', 'x', 'operator', 'x' from controls where scope = 'everything'`,
    'control_changed_after_end',
  ],
  [
    'a pause whose end nobody has put down',
    `update controls set set_at = now() - interval '2 hours', until_at = now() - interval '1 hour' where scope = 'lane'`,
    'control_not_ended',
  ],
  [
    'a job held by a pause that is over',
    `update jobs set held_by = ${CONTROL('everything')} where held_by is not null`,
    'job_held_by_nothing',
    `update controls set lifted_at = now() - interval '1 hour' where scope = 'everything'`,
  ],
  ['a job held by what is about another agent', `update jobs set held_by = ${CONTROL('agent')} where held_by is not null`, 'job_held_by_other'],
  ['a job held by what is about another lane', `update jobs set lane = 'idle' where held_by is not null`, 'job_held_by_other'],
])('%s is found and named', async (_what, change, kind, before = 'select 1') => {
  await stopped()
  expect(kindsOf(await verifyNow(t.url))).toEqual([])

  await tamper(t.url, before, change)

  expect(found(await verifyNow(t.url), kind).count).toBe(1)
})

test('two in force for one place are found and named, and so is one held by it for an order that it is not of', async () => {
  const { jobId } = await stopped()

  await tamper(
    t.url,
    'drop index controls_open_idx',
    `insert into controls (action, scope, target, reason, set_by_kind, set_by) select action, scope, target, reason, set_by_kind, set_by from controls where scope = 'lane'`,
    `insert into controls (action, scope, target, reason, set_by_kind, set_by) values ('pause', 'order', 'devops/nightly', 'x', 'operator', 'x')`,
    `update jobs set held_by = ${CONTROL('order')} where held_by is not null`,
  )

  const results = await verifyNow(t.url)
  expect(found(results, 'two_controls_in_force').row).toMatchObject({ scope: 'lane', target: 'coding', open: 2 })
  expect(found(results, 'job_held_by_other').row).toMatchObject({ job_id: jobId, scope: 'order' })
})
