import { systemClock } from '../../config/clock.js'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { EntryLocks } from '../../processors/entry-locks.js'
import type { BusJob, BusWorker } from '../../queues/backend.js'

const LOCK_MS = 12_000

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** A worker as the locks see it: what it is asked to extend, and what it tells. `answer` gives the ids whose lock is lost. */
function aWorker(answer: (ids: readonly string[]) => Promise<string[]> = async () => []) {
  const asked: { ids: string[]; tokens: string[]; lockMs: number; atMs: number }[] = []
  const told: unknown[][] = []
  const worker = {
    extendJobLocks: (ids: string[], tokens: string[], lockMs: number) => {
      asked.push({ ids, tokens, lockMs, atMs: performance.now() })
      return answer(ids)
    },
    emit: (...event: unknown[]) => {
      told.push(event)
      return true
    },
  } as unknown as BusWorker
  return { worker, asked, told }
}

/** Has an entry in hand until it is settled. */
function inHand(locks: EntryLocks, worker: BusWorker, id: string): { readonly done: Promise<void>; readonly settle: () => void } {
  let settle: () => void = () => undefined
  const work = new Promise<void>((resolve) => {
    settle = resolve
  })
  return { done: locks.during({ worker, job: { id } as unknown as BusJob, token: `token of ${id}` }, () => work), settle }
}

test('a lock is asked for when at most a quarter of it is over, again and again until the entry is settled', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const { worker, asked } = aWorker()
  const startedMs = performance.now()
  const entry = inHand(locks, worker, 'a')

  await vi.advanceTimersByTimeAsync(5 * LOCK_MS)
  entry.settle()
  await entry.done
  const times = [startedMs, ...asked.map(({ atMs }) => atMs)]
  await vi.advanceTimersByTimeAsync(LOCK_MS)

  expect(asked[0]).toMatchObject({ ids: ['a'], tokens: ['token of a'], lockMs: LOCK_MS })
  expect(times.length).toBeGreaterThan(20)
  expect(Math.max(...times.slice(1).map((ms, at) => ms - (times[at] ?? 0)))).toBeLessThanOrEqual(LOCK_MS / 4)
  expect(asked).toHaveLength(times.length - 1)
})

test('with nothing in hand there is no timer', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const { worker } = aWorker()
  const counts = [vi.getTimerCount()]

  const entries = [inHand(locks, worker, 'a'), inHand(locks, worker, 'b')]
  counts.push(vi.getTimerCount())
  for (const { done, settle } of entries) {
    settle()
    await done
    counts.push(vi.getTimerCount())
  }

  expect(counts).toEqual([0, 1, 1, 0])
})

test('the entries of a worker are asked for together, and a worker that gets no answer holds up no other', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const stuck = aWorker(() => new Promise(() => undefined))
  const well = aWorker()
  for (const id of ['a', 'b']) inHand(locks, stuck.worker, id)
  inHand(locks, well.worker, 'c')

  await vi.advanceTimersByTimeAsync(3 * LOCK_MS)

  expect(stuck.asked.map(({ ids, tokens }) => [ids, tokens])).toEqual([
    [
      ['a', 'b'],
      ['token of a', 'token of b'],
    ],
  ])
  expect(well.asked.length).toBeGreaterThan(10)
})

test('a lock that is lost is told as BullMQ would, and the others are extended on', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const { worker, asked, told } = aWorker(async (ids) => ids.filter((id) => id === 'lost'))
  inHand(locks, worker, 'lost')
  inHand(locks, worker, 'kept')

  await vi.advanceTimersByTimeAsync(LOCK_MS / 3)

  expect(told.slice(0, 2)).toEqual([
    ['lockRenewalFailed', ['lost']],
    ['error', new Error('could not renew lock for job lost')],
  ])
  expect(asked.every(({ ids }) => ids.includes('kept'))).toBe(true)
})

test('a store that is away is told, and asked again', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const { worker, asked, told } = aWorker(() => Promise.reject(new Error('connection lost')))
  inHand(locks, worker, 'a')

  await vi.advanceTimersByTimeAsync(LOCK_MS)

  expect(told[0]).toEqual(['error', new Error('connection lost')])
  expect(asked.length).toBeGreaterThan(2)
})

test('an entry that is settled while the store is asked has lost nothing', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  let answer: (ids: string[]) => void = () => undefined
  const { worker, asked, told } = aWorker(
    () =>
      new Promise((resolve) => {
        answer = resolve
      }),
  )
  const entry = inHand(locks, worker, 'a')
  await vi.advanceTimersByTimeAsync(LOCK_MS / 3)

  entry.settle()
  await entry.done
  answer(['a'])
  await vi.advanceTimersByTimeAsync(LOCK_MS)

  expect([asked.length, told]).toEqual([1, []])
})

test('an entry that was put off and is in hand anew keeps its lock when its first delivery lets go of it', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const first = aWorker()
  const second = aWorker()
  const before = inHand(locks, first.worker, 'a')
  inHand(locks, second.worker, 'a')

  before.settle()
  await before.done
  await vi.advanceTimersByTimeAsync(LOCK_MS)

  expect([first.asked.length, second.asked.length > 2]).toEqual([0, true])
})

test('what the work throws is thrown on, and its entry is let go of', async () => {
  const locks = new EntryLocks({ lockMs: LOCK_MS, clock: systemClock })
  const { worker } = aWorker()

  const failing = locks.during({ worker, job: { id: 'a' } as unknown as BusJob, token: 't' }, () => Promise.reject(new Error('delayed')))

  await expect(failing).rejects.toThrow('delayed')
  expect(vi.getTimerCount()).toBe(0)
})
