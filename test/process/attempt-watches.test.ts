import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { HintBus } from '../../ledger/hints.js'
import type { Ledger } from '../../ledger/ledger.js'
import { AttemptWatches, type Watch } from '../../processors/attempt-watches.js'

const log = createLogger({ level: 'silent' })

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Watches over a ledger that answers what `ended` says. */
function watchesOver(ended: () => Promise<{ id: string }[]>) {
  const hints = new HintBus()
  const ledger = { hints, db: { execute: async () => ({ rows: await ended() }) } } as unknown as Ledger
  return { hints, watches: new AttemptWatches({ ledger, log, pollMs: 1_000 }) }
}

/** What has heard of its end, by name. */
function heard(watched: Readonly<Record<string, Watch>>): string[] {
  const told: string[] = []
  for (const [name, { closed }] of Object.entries(watched)) void closed.then(() => told.push(name))
  return told
}

test.each(['a hint', 'the look for lost hints'])('two deliveries of one attempt in a process both hear by %s that it has ended', async (way) => {
  const { hints, watches } = watchesOver(async () => (way === 'a hint' ? [] : [{ id: 'a' }]))
  const told = heard({ first: watches.watch('a'), second: watches.watch('a'), other: watches.watch('b') })

  if (way === 'a hint') hints.give({ closed: ['a'] })
  await vi.advanceTimersByTimeAsync(1_000)

  expect(told).toEqual(['first', 'second'])
  watches.stop()
})

test('a delivery that ends takes from another of the same attempt nothing of what it will hear', async () => {
  const { hints, watches } = watchesOver(async () => [])
  const [first, second] = [watches.watch('a'), watches.watch('a')]
  const told = heard({ first, second })

  first.stop()
  hints.give({ closed: ['a'] })
  await vi.advanceTimersByTimeAsync(0)
  const sizes = [watches.size]
  second.stop()
  sizes.push(watches.size)

  expect([told, sizes]).toEqual([['second'], [1, 0]])
  watches.stop()
})

test('watches that are stopped during a look do not look again', async () => {
  let answer: () => void = () => undefined
  const { watches } = watchesOver(
    () =>
      new Promise((resolve) => {
        answer = () => resolve([])
      }),
  )
  watches.watch('a')
  await vi.advanceTimersByTimeAsync(1_000)

  watches.stop()
  answer()
  await vi.advanceTimersByTimeAsync(0)

  expect(vi.getTimerCount()).toBe(0)
})
