/** Kinds of events that are remembered for a minute at most; what comes beyond them is taken for new. */
const MOST = 10_000
const MINUTE_MS = 60_000

/** Says once in every minute of the clock that something happens. Holds the keys of one minute, and at most {@link MOST}. */
export class MinuteMarks {
  readonly #most: number
  #minute = -1
  readonly #seen = new Set<string>()

  constructor(options: { readonly most?: number } = {}) {
    this.#most = options.most ?? MOST
  }

  get size(): number {
    return this.#seen.size
  }

  /** Whether `key` comes for the first time in the minute of `nowMs`; true as well when there are too many to remember. */
  isFirst(key: string, nowMs: number): boolean {
    const minute = Math.floor(nowMs / MINUTE_MS)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#seen.clear()
    }
    if (this.#seen.has(key)) return false
    if (this.#seen.size < this.#most) this.#seen.add(key)
    return true
  }
}
