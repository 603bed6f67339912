import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { idleWaits, waitLongerSoon } from '../../processors/idle-waits.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

test('workers that are opened together ask again at different moments, first within one wait, then each after up to a quarter more', () => {
  const draws = [0, 0.5, 0.999, 0.25]

  const [one, other] = [idleWaits(300, () => draws.shift() ?? 0), idleWaits(300, () => draws.shift() ?? 0)]

  expect([one, other]).toEqual([
    { first: 150, then: 300 },
    { first: (300 * 1.24975) / 4, then: 300 * 1.24975 },
  ])
  expect(idleWaits(300, () => 0).first).toBe(1)
})

test('a worker waits longer from its second wait on', () => {
  const worker: Parameters<typeof waitLongerSoon>[0] = { opts: { connection: {}, drainDelay: 20 } }

  waitLongerSoon(worker, { first: 20, then: 300 })
  vi.advanceTimersByTime(19_999)
  const before = worker.opts.drainDelay
  vi.advanceTimersByTime(1)

  expect([before, worker.opts.drainDelay]).toEqual([20, 300])
})
