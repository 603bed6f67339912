/**
 * Whether a lease outlives the lock of its delivery. When a worker dies, its queue entry is free for another one only after
 * the lock has run out. A lease that is over by then cannot be taken over: the attempt ends as `lease_expired` and is burned,
 * and the job is started anew beside a run that may go on.
 */
export function outlivesLock(lease: { readonly seconds: number; readonly lockMs: number }): boolean {
  return lease.seconds * 1_000 > lease.lockMs
}

/** What is said of a lease that does not, wherever it stands. */
export const LEASE_FAULT = 'must be longer than AGENTBUS_LOCK_MS, or the attempt of a dead worker is lost before another can take it over'
