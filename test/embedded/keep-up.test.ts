import { expect, test } from 'vitest'
import { ManualClock } from '../../config/clock.js'
import { keepUp, type Keeper, type KeptServer, type Restarts } from '../../embedded/keep-up.js'
import { onCleanup } from './processes.js'

const HAS_ENDED: KeptServer = { untilEnded: async () => undefined }

/** What is told of a server, and how long after the beginning each start was. */
function aWitness(clock: ManualClock, startAgain: () => Promise<KeptServer>): { restarts: Restarts; startsMs: number[]; told: string[] } {
  const beganMs = clock.nowMs()
  const [startsMs, told]: [number[], string[]] = [[], []]
  const restarts: Restarts = {
    clock,
    startAgain: () => {
      startsMs.push(clock.nowMs() - beganMs)
      return startAgain()
    },
    onDied: () => told.push('died'),
    onRestarted: () => told.push('restarted'),
    onNotRestarted: () => told.push('not restarted'),
    onNotKept: () => told.push('not kept'),
  }
  return { restarts, startsMs, told }
}

test('a server that does not start is tried again after twice as long each time, and at last every half minute', async () => {
  const clock = new ManualClock()
  const { restarts, startsMs, told } = aWitness(clock, () => Promise.reject(new Error('no memory')))
  const keeper = keepUp(HAS_ENDED, restarts)
  onCleanup(() => keeper.stop())
  await clock.whenAsleep()

  await clock.advance(100_000)
  await keeper.stop()

  expect(startsMs).toEqual([500, 1_500, 3_500, 7_500, 15_500, 31_500, 61_500, 91_500])
  expect(told).toEqual(['died', ...startsMs.map(() => 'not restarted')])
})

test.each([
  ['a minute has not failed again, but anew', 60_000, 60_000 + 500 + 500],
  ['less than a minute has failed again', 59_999, 59_999 + 500 + 1_000],
])('one that was up for %s', async (_what, upMs, nextMs) => {
  const clock = new ManualClock()
  const server: KeptServer = { untilEnded: (signal) => clock.sleep(upMs, signal).catch(() => undefined) }
  const { restarts, startsMs } = aWitness(clock, () => Promise.resolve(server))
  const keeper = keepUp(HAS_ENDED, restarts)
  onCleanup(() => keeper.stop())
  await clock.whenAsleep()

  await clock.advance(nextMs)
  await keeper.stop()

  expect(startsMs).toEqual([500, nextMs])
})

test('a start that ends as the server is let go of is neither a failure nor tried again', async () => {
  const clock = new ManualClock()
  const { restarts, startsMs, told } = aWitness(clock, async () => {
    keeper.letGo()
    throw new Error('broken off')
  })
  const keeper: Keeper = keepUp(HAS_ENDED, restarts)
  await clock.whenAsleep()

  await clock.advance(60_000)
  await keeper.stop()

  expect([startsMs, told]).toEqual([[500], ['died']])
})

test('a server that was let go of stays down, and its end is nothing to tell', async () => {
  const clock = new ManualClock()
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => (end = resolve))
  const { restarts, startsMs, told } = aWitness(clock, () => Promise.resolve(HAS_ENDED))
  const keeper = keepUp({ untilEnded: () => ended }, restarts)

  keeper.letGo()
  end()
  await clock.advance(600_000)
  await keeper.stop()

  expect([startsMs, told]).toEqual([[], []])
})
