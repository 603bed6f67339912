import type { JobId } from '../contracts/ids.js'
import type { LeaseFacts } from './lease-job.js'

/**
 * What is older is read anew. Not for safety: the statement that opens the attempt refuses whatever has changed, however old
 * ({@link openAttempts} lists what guards what). But a refusal costs more than a read.
 */
const FRESH_MS = 100
/**
 * Jobs on their way to a worker at once. What is published in larger numbers is a backlog, and a worker is far from getting to
 * it; and of many that were read at the same time, each would see the same slots free.
 */
const MOST = 4
/** For how long nothing is read ahead after something was read for nothing: there is a backlog, or other processes are faster. */
const PAUSE_MS = 1_000

export interface ReadAheadOptions {
  readonly read: (id: JobId) => Promise<LeaseFacts | undefined>
  readonly nowMs: () => number
}

/**
 * Reads what decides about a lease while the queue store hands the job to a worker of this process, instead of after that.
 * Whatever goes wrong with it, the lease reads for itself.
 */
export class ReadAhead {
  readonly #options: ReadAheadOptions
  /** Oldest first. */
  readonly #facts = new Map<JobId, { readonly facts: Promise<LeaseFacts | undefined>; readonly atMs: number }>()
  #notBeforeMs = 0

  constructor(options: ReadAheadOptions) {
    this.#options = options
  }

  /** A worker of this process will lease these jobs in a moment. Never rejects; only a test waits for it. */
  async expect(ids: readonly JobId[]): Promise<void> {
    const nowMs = this.#options.nowMs()
    this.#dropOld(nowMs)
    if (nowMs < this.#notBeforeMs || this.#facts.size + ids.length > MOST) return
    const reads = ids.map((id) => {
      const facts = this.#options.read(id).catch(() => undefined)
      this.#facts.set(id, { facts, atMs: nowMs })
      return facts
    })
    await Promise.all(reads)
  }

  /** What was read of a job, once; undefined when nothing was, or too long ago. */
  async take(id: JobId): Promise<LeaseFacts | undefined> {
    const known = this.#facts.get(id)
    if (known === undefined) return undefined
    this.#dropOld(this.#options.nowMs())
    return this.#facts.delete(id) ? known.facts : undefined
  }

  #dropOld(nowMs: number): void {
    for (const [id, { atMs }] of this.#facts) {
      if (nowMs - atMs < FRESH_MS) return
      this.#facts.delete(id)
      this.#notBeforeMs = nowMs + PAUSE_MS
    }
  }
}
