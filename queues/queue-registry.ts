import type { BusQueue, QueueBackend } from './backend.js'
import { queueNameOf } from './catalogue.js'

/** The open queues of this process, one per agent, each opened once. */
export class QueueRegistry {
  readonly backend: QueueBackend
  readonly #open = new Map<string, BusQueue>()

  constructor(backend: QueueBackend) {
    this.backend = backend
  }

  /** The agent's queue. */
  async get(agentId: string): Promise<BusQueue> {
    const known = this.#open.get(agentId)
    if (known !== undefined) return known
    const queue = this.backend.openQueue(queueNameOf(agentId))
    this.#open.set(agentId, queue)
    return queue
  }

  all(): ReadonlyMap<string, BusQueue> {
    return this.#open
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#open.values()].map((queue) => queue.close()))
    this.#open.clear()
  }
}
