import { setImmediate as nextTurn, setTimeout as timeout } from 'node:timers/promises'

/** Where time comes from, so that a test can move it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number
  /** Resolves after `ms` milliseconds; rejects with the reason of `signal` when that is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The longest delay that Node's timers take; a longer one fires at once. */
const LONGEST_TIMER_MS = 2_147_483_647

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  async sleep(ms, signal) {
    try {
      for (let left = ms; left > 0; left -= LONGEST_TIMER_MS) {
        await timeout(Math.min(left, LONGEST_TIMER_MS), undefined, signal === undefined ? {} : { signal })
      }
    } catch (error) {
      signal?.throwIfAborted()
      throw error
    }
    signal?.throwIfAborted()
  },
}

interface Sleeper {
  readonly due: number
  readonly wake: () => void
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #now: number
  #sleepers: Sleeper[] = []
  #watchers: { readonly count: number; readonly tell: () => void }[] = []

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#now = startMs
  }

  nowMs(): number {
    return this.#now
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (ms <= 0) return
    const { promise, resolve, reject } = withResolvers()
    const sleeper: Sleeper = { due: this.#now + ms, wake: resolve }
    const onAbort = (): void => {
      this.#sleepers = this.#sleepers.filter((other) => other !== sleeper)
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#sleepers.push(sleeper)
    this.#tellWatchers()
    await promise.finally(() => signal?.removeEventListener('abort', onAbort))
  }

  /**
   * Moves time and wakes sleepers in the order they are due, each at its own time. What a woken one does
   * without real input or output is done before the next wakes, so a loop that sleeps again is woken again.
   */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms
    await nextTurn()
    for (let next = this.#next(target); next !== undefined; next = this.#next(target)) {
      this.#sleepers = this.#sleepers.filter((other) => other !== next)
      this.#now = Math.max(this.#now, next.due)
      next.wake()
      await nextTurn()
    }
    this.#now = Math.max(this.#now, target)
  }

  /** Resolves once at least `count` are asleep: the signal that code under test has reached its wait. */
  async whenAsleep(count = 1): Promise<void> {
    const { promise, resolve } = withResolvers()
    this.#watchers.push({ count, tell: resolve })
    this.#tellWatchers()
    await promise
  }

  #next(target: number): Sleeper | undefined {
    return this.#sleepers.filter(({ due }) => due <= target).sort((a, b) => a.due - b.due)[0]
  }

  #tellWatchers(): void {
    const ready = this.#watchers.filter(({ count }) => this.#sleepers.length >= count)
    this.#watchers = this.#watchers.filter((watcher) => !ready.includes(watcher))
    for (const { tell } of ready) tell()
  }
}

/** Promise.withResolvers, which Node has from 22 on. */
function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (reason: unknown) => void } {
  let resolve: () => void = () => undefined
  let reject: (reason: unknown) => void = () => undefined
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
