/** Counts failed sign-ins per address in windows of 60 s. Bounded: the oldest addresses are forgotten first. */
export class SignInThrottle {
  readonly #failures = new Map<string, { count: number; sinceMs: number }>()
  readonly #limit: number
  readonly #nowMs: () => number

  constructor(options: { readonly limit: number; readonly nowMs: () => number }) {
    this.#limit = options.limit
    this.#nowMs = options.nowMs
  }

  /** Notes a failure. @returns seconds to wait when there were too many, else undefined */
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
const MAX_ADDRESSES = 10_000
