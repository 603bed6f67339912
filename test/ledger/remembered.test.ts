import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CreateJobBody } from '../../contracts/jobs.js'
import { LimitsConfig } from '../../contracts/limits.js'
import { ageOf } from '../../ledger/remembered.js'
import { TokenCommands } from '../../ledger/token-commands.js'
import { freshLedger, OPERATOR, TEST_SECRET, type TestLedger } from '../support/ledger.js'

const clock = { nowMs: 0 }
let t: TestLedger
beforeEach(async () => {
  clock.nowMs = Date.now()
  t = await freshLedger({ nowMs: () => clock.nowMs })
})
afterEach(() => t.close())

/** What is read outside of transactions. */
const reads = () => vi.spyOn(t.database.single, 'execute')
/** As another process does whose hint is lost. */
const revoke = () => t.database.pool.query('update api_tokens set revoked_at = now()')
const create = () => t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'x' }))

test('an answer is good for a second, is asked for again from 700 ms on, and is worth nothing after the clock was set back', () => {
  const ages = [0, 699, 700, 999, 1_000, -1].map((age) => ageOf(5_000, 5_000 + age))

  expect(ages).toEqual(['fresh', 'fresh', 'ageing', 'ageing', 'old', 'old'])
  expect(ageOf(undefined, 5_000)).toBe('fresh')
})

describe('a token that is in use', () => {
  test('is asked about again before its second is over, and no request waits for that', async () => {
    await t.ledger.tokens.authenticate(t.operatorToken)
    const read = reads()
    clock.nowMs += 699
    await t.ledger.tokens.authenticate(t.operatorToken)
    const early = read.mock.calls.length
    read.mockImplementation(() => new Promise(() => undefined) as never)
    clock.nowMs += 1

    const callers = [await t.ledger.tokens.authenticate(t.operatorToken), await t.ledger.tokens.authenticate(t.operatorToken)]

    expect(callers).toMatchObject([{ role: 'operator' }, { role: 'operator' }])
    expect([early, read.mock.calls.length]).toEqual([0, 1])
  })

  test('is then good for a second from that question on', async () => {
    await t.ledger.tokens.authenticate(t.operatorToken)
    const read = reads()
    clock.nowMs += 800
    await t.ledger.tokens.authenticate(t.operatorToken)
    clock.nowMs += 600

    const caller = await t.ledger.tokens.authenticate(t.operatorToken)

    expect([caller?.role, read.mock.calls.length]).toEqual(['operator', 1])
  })

  test('is refused a second after it was revoked at the latest, and as soon as somebody has asked', async () => {
    const { token } = await t.ledger.tokens.create(OPERATOR, { name: 'other', role: 'operator' })
    for (const one of [t.operatorToken, token]) await t.ledger.tokens.authenticate(one)
    await revoke()
    clock.nowMs += 999
    const last = await t.ledger.tokens.authenticate(token)

    await vi.waitFor(async () => expect(await t.ledger.tokens.authenticate(token)).toBeUndefined())
    clock.nowMs += 1

    expect(last).toMatchObject({ role: 'operator' })
    expect(await t.ledger.tokens.authenticate(t.operatorToken)).toBeUndefined()
  })

  test('stays good while the ledger is away, for its second and no longer', async () => {
    await t.ledger.tokens.authenticate(t.operatorToken)
    reads().mockImplementation(() => Promise.reject(new Error('Connection terminated')) as never)
    clock.nowMs += 900
    const ageing = await t.ledger.tokens.authenticate(t.operatorToken)
    clock.nowMs += 100

    await expect(t.ledger.tokens.authenticate(t.operatorToken)).rejects.toMatchObject({ code: 'AGENTBUS_UNAVAILABLE' })
    expect(ageing).toMatchObject({ role: 'operator' })
  })
})

test('an answer from before a revocation that comes after it is not kept', async () => {
  let letGo: () => void = () => undefined
  const held = new Promise<void>((resolve) => (letGo = resolve))
  let answered: () => void = () => undefined
  const isAnswered = new Promise<void>((resolve) => (answered = resolve))
  const tokens = new TokenCommands({
    secret: TEST_SECRET,
    run: (work) => t.ledger.run(work),
    read: async (work) => {
      const answer = await work(t.database.single)
      answered()
      await held
      return answer
    },
    operatorOnly: async () => undefined,
    nowMs: () => clock.nowMs,
  })
  const before = tokens.authenticate(t.operatorToken)
  await isAnswered

  await revoke()
  tokens.forget()
  const after = tokens.authenticate(t.operatorToken)
  letGo()

  expect(await before).toMatchObject({ role: 'operator' })
  expect([await after, await tokens.authenticate(t.operatorToken)]).toEqual([undefined, undefined])
})

describe('limits', () => {
  const limits = (config: Record<string, unknown>) =>
    t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: [], limits: LimitsConfig.parse(config) }, { dryRun: false, prune: false })

  test('that are ageing are asked for again, rules and counts, and no job waits for that', async () => {
    await create()
    const read = reads().mockImplementation(() => new Promise(() => undefined) as never)
    clock.nowMs += 800

    const made = [await create(), await create()]

    expect(made.map(({ created }) => created)).toEqual([true, true])
    expect(read.mock.calls.length).toBe(2)
  })

  test('hold while counts are renewed beside the jobs, to the last job', async () => {
    await limits({ queue_depth_per_agent: 300 })

    const made: boolean[] = []
    for (let at = 0; at < 310; at += 1) {
      clock.nowMs += 50
      made.push(
        await create().then(
          () => true,
          () => false,
        ),
      )
    }

    expect(made).toEqual([...Array<boolean>(300).fill(true), ...Array<boolean>(10).fill(false)])
  })

  test('are those of the new rules as soon as these are known, whatever was being asked', async () => {
    await create()
    clock.nowMs += 800
    await create()

    await limits({ queue_depth_per_agent: 2 })

    await expect(create()).rejects.toMatchObject({ code: 'AGENTBUS_LIMIT_REACHED' })
  })
})
