import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { Rounds } from '../../processors/rounds.js'

let rounds: Rounds
beforeEach(() => {
  vi.useFakeTimers()
  rounds = new Rounds(createLogger({ level: 'silent', pretty: false }))
})
afterEach(() => {
  rounds.halt()
  vi.useRealTimers()
})

test('rounds keep their period, no two of them begin together, and the first comes at most half a second before a period is over', async () => {
  const startMs = performance.now()
  const began = [500, 500, 2_000, 1_000, 500, 5_000, 2_000, 500].map((ms, at) => {
    const times: number[] = []
    rounds.every(ms, `round ${at}`, async () => {
      times.push(performance.now() - startMs)
    })
    return { ms, times }
  })

  await vi.advanceTimersByTimeAsync(60_000)

  for (const { ms, times } of began) {
    expect(times[0]).toBeGreaterThan(ms - 501)
    expect(times[0]).toBeLessThanOrEqual(ms + 1)
    for (const [at, time] of times.entries()) expect(Math.abs(time - (times[0] ?? 0) - at * ms)).toBeLessThanOrEqual(2)
    expect(times.length).toBeGreaterThanOrEqual(60_000 / ms - 1)
  }
  const phases = began.map(({ times }) => (times[0] ?? 0) % 500).sort((a, b) => a - b)
  expect(Math.min(...phases.slice(1).map((phase, at) => phase - (phases[at] ?? 0)))).toBeGreaterThan(20)
})

test('a round that is under way lets the next ones fall out and holds up no other, and one that fails comes again', async () => {
  let begun = 0
  let failed = 0
  rounds.every(500, 'endless', () => {
    begun += 1
    return new Promise(() => undefined)
  })
  rounds.every(500, 'failing', async () => {
    failed += 1
    throw new Error('a fault')
  })

  await vi.advanceTimersByTimeAsync(5_000)

  expect([begun, failed >= 9]).toEqual([1, true])
})

test('work that is begun by hand is never twice at once, and not at all after the end', async () => {
  let begun = 0
  let end: () => void = () => undefined
  const begin = rounds.alone('work', () => {
    begun += 1
    return new Promise<void>((resolve) => {
      end = resolve
    })
  })

  begin()
  begin()
  end()
  await vi.advanceTimersByTimeAsync(1)
  begin()
  end()
  rounds.halt()
  await rounds.settled()
  begin()

  expect(begun).toBe(2)
})
