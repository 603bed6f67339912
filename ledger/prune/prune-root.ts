import { createHash, type Hash } from 'node:crypto'

/** The hash over what was taken out: a line `key hash` per row, which come in the order of their keys as bytes. */
export class PruneRoot {
  readonly #hash: Hash = createHash('sha256')
  #count = 0

  add(row: { readonly key: string; readonly hash: string }): void {
    this.#count += 1
    this.#hash.update(`${row.key} ${row.hash}\n`)
  }

  get count(): number {
    return this.#count
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}

/** In the order that {@link PruneRoot} needs. Keys are digits and hex, so code units are bytes. */
export function byKey<T extends { readonly key: string }>(rows: readonly T[]): T[] {
  return rows.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
}
