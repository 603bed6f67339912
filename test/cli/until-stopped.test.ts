import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { untilStopped } from '../../cli/until-stopped.js'
import { createLogger } from '../../config/logger.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** What would end a process is only noted. */
function aProcess(): { signals: EventEmitter; requested: Promise<NodeJS.Signals>; exits: number[]; said: string[] } {
  const signals = new EventEmitter()
  const exits: number[] = []
  const said: string[] = []
  const log = createLogger({ level: 'error', destination: { write: (line: string) => void said.push(line) } })
  const { requested } = untilStopped({ log, signals, exit: (code) => void exits.push(code) })
  return { signals, requested, exits, said }
}

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('the first %s asks for a stop, and one that comes with it ends nothing', async (signal) => {
  const { signals, requested, exits } = aProcess()

  signals.emit(signal)
  vi.advanceTimersByTime(400)
  signals.emit('SIGINT')

  expect([await requested, exits]).toEqual([signal, []])
})

test('a later one ends the process at once, unless it is another SIGHUP', () => {
  const { signals, exits } = aProcess()

  signals.emit('SIGTERM')
  vi.advanceTimersByTime(501)
  signals.emit('SIGHUP')
  const before = [...exits]
  signals.emit('SIGINT')

  expect([before, exits]).toEqual([[], [130]])
})

test('stopping that does not come to its end within 28 seconds is told of, and ends with 1', () => {
  const { signals, exits, said } = aProcess()

  signals.emit('SIGTERM')
  vi.advanceTimersByTime(27_999)
  const before = [...exits]
  vi.advanceTimersByTime(1)

  expect([before, exits]).toEqual([[], [1]])
  expect(JSON.parse(said.join(''))).toMatchObject({ level: 'error', event: 'stop.cut_off', after_ms: 28_000, open: expect.any(Object) })
})
