import { z } from 'zod'
import { within, type BusQueue, type QueueBackend } from './backend.js'

const Mark = z.object({ epoch: z.uuid(), tick: z.int().min(0) })
export type EpochMark = z.infer<typeof Mark>

const MARK_ID = 'epoch'
const FAR_AWAY_MS = 10 * 365 * 24 * 3600 * 1000

/**
 * A mark in the queue store that vanishes with its content, and that grows older when the store falls back to an
 * old copy. It is an ordinary delayed entry of a queue nobody works on, so it behaves the same on both backends
 * and is lost exactly when entries are lost.
 */
export class EpochSentinel {
  readonly #queue: BusQueue

  constructor(backend: QueueBackend) {
    this.#queue = backend.openQueue('agentbus-epoch')
  }

  /** The mark in the store, or undefined when it is gone. Rejects when the store does not answer in 3 s. */
  async read(): Promise<EpochMark | undefined> {
    const entry = await within(3_000, 'epoch mark', this.#queue.getJob(MARK_ID))
    const parsed = Mark.safeParse(entry?.data)
    return parsed.success ? parsed.data : undefined
  }

  /**
   * Makes the mark that is there newer. One that has gone since it was read stays gone: written anew it would hide that the
   * store was wiped. @returns whether it was there
   */
  async advance(mark: EpochMark): Promise<boolean> {
    const entry = await within(3_000, 'epoch mark', this.#queue.getJob(MARK_ID))
    if (entry === undefined) return false
    await within(3_000, 'epoch mark', entry.updateData({ ...mark }))
    return true
  }

  /** Writes the mark of a store that has just been filled, replacing what is there. */
  async write(mark: EpochMark): Promise<void> {
    if (await this.advance(mark)) return
    await within(3_000, 'epoch mark', this.#queue.add('epoch', { ...mark }, { jobId: MARK_ID, delay: FAR_AWAY_MS }))
  }

  async close(): Promise<void> {
    await this.#queue.close()
  }
}
