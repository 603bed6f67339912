import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { stopEach } from '../../cli/stop-each.js'
import { createLogger } from '../../config/logger.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

test('a part that never stops holds up the others for eight seconds, and one that fails not at all; both are told of', async () => {
  const lines: string[] = []
  const log = createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } })
  const stopped: string[] = []
  const steps = [
    async () => void stopped.push('first'),
    () => new Promise<never>(() => undefined),
    async () => {
      stopped.push('failing')
      throw new Error('a fault')
    },
    async () => void stopped.push('last'),
  ]

  const stopping = stopEach(steps, log)
  await vi.advanceTimersByTimeAsync(7_999)
  const before = [...stopped]
  await vi.advanceTimersByTimeAsync(1)
  await stopping

  expect([before, stopped]).toEqual([
    ['last', 'failing'],
    ['last', 'failing', 'first'],
  ])
  expect(lines.map((line) => (JSON.parse(line) as Record<string, unknown>)['err'])).toEqual(['a fault', 'stop: no answer within 8000 ms'])
  expect(vi.getTimerCount()).toBe(0)
})
