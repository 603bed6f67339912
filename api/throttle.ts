/** Counts per address in windows of 60 s. Bounded: the addresses that were counted longest ago are forgotten first. */
export class SignInThrottle {
  readonly #failures = new Map<string, { count: number; sinceMs: number }>()
  readonly #limit: number
  readonly #nowMs: () => number

  constructor(options: { readonly limit: number; readonly nowMs: () => number }) {
    this.#limit = options.limit
    this.#nowMs = options.nowMs
  }

  /** How many addresses are remembered; for tests. */
  get size(): number {
    return this.#failures.size
  }

  /** Counts one. @returns seconds to wait when there were too many, else undefined */
  fail(address: string): number | undefined {
    const now = this.#nowMs()
    const known = this.#failures.get(address)
    const entry = known === undefined || now - known.sinceMs >= WINDOW_MS ? { count: 0, sinceMs: now } : known
    entry.count += 1
    this.#failures.delete(address)
    this.#failures.set(address, entry)
    const oldest = this.#failures.size > MAX_ADDRESSES ? this.#failures.keys().next().value : undefined
    if (oldest !== undefined) this.#failures.delete(oldest)
    return entry.count > this.#limit ? Math.max(1, Math.ceil((entry.sinceMs + WINDOW_MS - now) / 1_000)) : undefined
  }
}

const WINDOW_MS = 60_000
export const MAX_ADDRESSES = 10_000
