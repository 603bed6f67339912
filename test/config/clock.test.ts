import { describe, expect, test } from 'vitest'
import { ManualClock, systemClock } from '../../config/clock.js'

describe('manual clock', () => {
  test('sleepers wake in the order they are due, each at its own time', async () => {
    const clock = new ManualClock(0)
    const woken: string[] = []
    const sleep = (name: string, ms: number): Promise<unknown> => clock.sleep(ms).then(() => woken.push(`${name}@${clock.nowMs()}`))
    void sleep('late', 30)
    void sleep('early', 10)
    void sleep('never', 1000)

    await clock.advance(50)

    expect(woken).toEqual(['early@10', 'late@30'])
    expect(clock.nowMs()).toBe(50)
  })

  test('a loop that sleeps again is woken again', async () => {
    const clock = new ManualClock(0)
    let rounds = 0
    const loop = async (): Promise<void> => {
      for (;;) {
        await clock.sleep(10)
        rounds += 1
      }
    }
    void loop()

    await clock.advance(100)

    expect(rounds).toBe(10)
  })

  test('it tells when code under test has reached its wait', async () => {
    const clock = new ManualClock()
    const work = Promise.resolve().then(() => clock.sleep(10))

    await clock.whenAsleep()
    await clock.advance(10)

    await work
  })
})

describe.each([
  ['manual', () => new ManualClock()],
  ['system', () => systemClock],
] as const)('%s clock', (_, make) => {
  test('a sleep that is aborted rejects with the reason', async () => {
    const stop = new AbortController()
    const sleeping = make().sleep(60_000, stop.signal)

    stop.abort(new Error('enough'))

    await expect(sleeping).rejects.toThrow('enough')
    await expect(make().sleep(1, stop.signal)).rejects.toThrow('enough')
  })

  test('a sleep of nothing ends at once', async () => {
    await expect(make().sleep(0)).resolves.toBeUndefined()
  })
})
