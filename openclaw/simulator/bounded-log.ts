/** Keeps the newest entries of a log, bounded by number and by weight, so that a simulator may run for weeks. */
export class BoundedLog<T extends object> {
  readonly #limit: { readonly entries: number; readonly weight: number }
  readonly #kept: { readonly entry: T; readonly weight: number }[] = []
  #weight = 0
  #dropped = 0

  constructor(limit: { readonly entries: number; readonly weight: number } = { entries: 50_000, weight: 64 * 1_048_576 }) {
    this.#limit = limit
  }

  /** `weight`: about how many bytes the entry holds. */
  add(entry: T, weight: number): void {
    this.#kept.push({ entry, weight })
    this.#weight += weight
    while (this.#kept.length > 1 && (this.#kept.length > this.#limit.entries || this.#weight > this.#limit.weight)) {
      this.#weight -= this.#kept.shift()?.weight ?? 0
      this.#dropped += 1
    }
  }

  /** How many entries it no longer holds: above 0, what it has is not all there was. */
  get dropped(): number {
    return this.#dropped
  }

  entries(): T[] {
    return this.#kept.map(({ entry }) => entry)
  }
}
