import type { Logger } from 'pino'
import { LEASE_FAULT, outlivesWorker, type EntryOfTheDead } from '../config/lease-rule.js'
import type { Gate } from './worker-gates.js'

/**
 * Tells of agents whose lease does not outlive the lock of this process's deliveries. Whoever applies a fleet over REST does not know
 * the locks of the workers, and two workers may have different ones: it is seen here, where both figures are.
 */
export class ShortLeases {
  readonly #entry: EntryOfTheDead
  readonly #log: Logger
  readonly #told = new Set<string>()

  constructor(options: EntryOfTheDead & { readonly log: Logger }) {
    this.#entry = options
    this.#log = options.log
  }

  /** Once for each agent, as soon as it may start anything; and once more when its lease was mended in between. */
  look(gates: readonly Gate[]): void {
    for (const { agentId, leaseSeconds, open } of gates) {
      if (outlivesWorker(leaseSeconds, this.#entry)) this.#told.delete(agentId)
      else if (open && !this.#told.has(agentId)) {
        this.#told.add(agentId)
        this.#log.warn({ event: 'lease.too_short', agent: agentId, lease_seconds: leaseSeconds, lock_ms: this.#entry.lockMs }, `lease_seconds ${LEASE_FAULT}`)
      }
    }
  }
}
