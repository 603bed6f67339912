/** Seconds before the next attempt: `base`, doubled per burned attempt, at most an hour, of which the upper half is jitter. */
export function retryDelaySeconds(options: { readonly burned: number; readonly baseSeconds: number; readonly random: number }): number {
  const full = Math.min(options.baseSeconds * 2 ** Math.max(0, options.burned - 1), 3_600)
  return full / 2 + (full / 2) * options.random
}

/** Milliseconds before an undelivered job is tried again: 1 s, 2 s, 4 s … 60 s, or what the gateway asked for if that is longer. */
export function redeliveryDelayMs(options: { readonly failures: number; readonly retryAfterMs?: number | undefined; readonly random: number }): number {
  const full = Math.min(1_000 * 2 ** Math.max(0, options.failures - 1), 60_000)
  return Math.max(full / 2 + (full / 2) * options.random, options.retryAfterMs ?? 0)
}
