import { createHash } from 'node:crypto'

const LEAF = Buffer.from([0])
const NODE = Buffer.from([1])

const sha256 = (...parts: readonly Buffer[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()

/**
 * The root of a Merkle tree as RFC 6962 defines it (leaves and nodes are hashed apart, so that neither can stand for the
 * other), built while the leaves come in: it keeps one hash per level and not the leaves.
 */
export class MerkleRoot {
  readonly #peaks: { readonly hash: Buffer; readonly leaves: number }[] = []
  #count = 0

  add(leaf: Buffer): void {
    this.#count += 1
    let peak = { hash: sha256(LEAF, leaf), leaves: 1 }
    for (let left = this.#peaks.at(-1); left?.leaves === peak.leaves; left = this.#peaks.at(-1)) {
      this.#peaks.pop()
      peak = { hash: sha256(NODE, left.hash, peak.hash), leaves: left.leaves * 2 }
    }
    this.#peaks.push(peak)
  }

  get count(): number {
    return this.#count
  }

  /** The root of what was added so far; of nothing, the hash of nothing. */
  root(): Buffer {
    const [last, ...rest] = this.#peaks.toReversed()
    return rest.reduce((right, left) => sha256(NODE, left.hash, right), last?.hash ?? sha256())
  }
}
