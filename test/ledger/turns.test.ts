import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Turns } from '../../ledger/turns.js'
import { freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const turnsOf = (by: string): Turns => new Turns({ db: t.ledger.db, by })

test('a process that holds a turn writes it once in half of its time, and no other gets it meanwhile', async () => {
  const [one, other] = [turnsOf('w1'), turnsOf('w2')]
  const execute = vi.spyOn(t.ledger.db, 'execute')

  const looks = [await one.isMine('x', 6), await one.isMine('x', 6), await one.isMine('x', 6)]
  const written = execute.mock.calls.length
  const others: boolean[] = []
  await vi.waitUntil(
    async () => {
      others.push(await other.isMine('x', 6))
      looks.push(await one.isMine('x', 6))
      // One statement of the other for each of its looks; a further one prolongs.
      return execute.mock.calls.length - written > others.length
    },
    { timeout: 20_000, interval: 20 },
  )

  expect(written).toBe(1)
  expect(looks.every(Boolean)).toBe(true)
  expect(others.some(Boolean)).toBe(false)
})

test('a turn that its holder does not prolong goes to another, and the holder learns of it', async () => {
  const [one, other] = [turnsOf('w1'), turnsOf('w2')]
  await one.isMine('x', 1)

  await vi.waitUntil(() => other.isMine('x', 60), { timeout: 20_000, interval: 20 })

  expect(await one.isMine('x', 1)).toBe(false)
})

test('each turn is held by itself', async () => {
  const [one, other] = [turnsOf('w1'), turnsOf('w2')]
  await one.isMine('x', 60)

  expect([await other.isMine('y', 60), await one.isMine('y', 60), await other.isMine('x', 60)]).toEqual([true, false, false])
})
