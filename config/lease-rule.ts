/** How long the entry of a worker that has died stays its own, in milliseconds. */
export interface EntryOfTheDead {
  readonly lockMs: number
  /** After the lock has run out somebody has to look. */
  readonly stalledCheckMs: number
}

/**
 * Whether a lease outlives the worker that holds it for long enough. When a worker dies, two thirds of its lease are left at
 * least, for it is renewed every third; its queue entry is free for another one after the lock and one look. A lease that is over by then
 * cannot be taken over: the attempt ends as `lease_expired` and is burned, and the job is started anew beside a run that may go on.
 */
export function outlivesWorker(leaseSeconds: number, { lockMs, stalledCheckMs }: EntryOfTheDead): boolean {
  return (leaseSeconds * 1_000 * 2) / 3 > lockMs + stalledCheckMs
}

/** What is said of a lease that does not, wherever it stands. */
export const LEASE_FAULT =
  'two thirds of it must be longer than AGENTBUS_LOCK_MS and AGENTBUS_STALLED_CHECK_MS together, or the attempt of a dead worker is lost before another can take it over'
