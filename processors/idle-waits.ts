import type { BusWorker } from '../queues/backend.js'

/**
 * How long workers wait at an empty queue before they ask again by themselves, in seconds: up to a quarter more than `longest`, and for
 * the first time at any moment until then. A thousand that were opened together would else all ask within the same few seconds.
 */
export function idleWaits(longest: number, random: () => number): { readonly first: number; readonly then: number } {
  const then = longest * (1 + random() / 4)
  return { first: Math.max(1, then * random()), then }
}

/** To be called for a worker that was opened with the first of these waits as its `drainDelay`, which BullMQ reads at the beginning of each wait. */
export function waitLongerSoon(worker: Pick<BusWorker, 'opts'>, { first, then }: ReturnType<typeof idleWaits>): void {
  setTimeout(() => {
    worker.opts.drainDelay = then
  }, first * 1_000).unref()
}
