import type { Logger } from 'pino'
import { LEASE_FAULT, outlivesLock } from '../config/lease-rule.js'
import type { Gate } from './worker-gates.js'

/**
 * Tells of agents whose lease does not outlive the lock of this process's deliveries. Whoever applies a fleet over REST does not know
 * the locks of the workers, and two workers may have different ones: it is seen here, where both figures are.
 */
export class ShortLeases {
  readonly #lockMs: number
  readonly #log: Logger
  readonly #told = new Set<string>()

  constructor(options: { readonly lockMs: number; readonly log: Logger }) {
    this.#lockMs = options.lockMs
    this.#log = options.log
  }

  /** Once for each agent, as soon as it may start anything; and once more when its lease was mended in between. */
  look(gates: readonly Gate[]): void {
    for (const { agentId, leaseSeconds, open } of gates) {
      if (outlivesLock({ seconds: leaseSeconds, lockMs: this.#lockMs })) this.#told.delete(agentId)
      else if (open && !this.#told.has(agentId)) {
        this.#told.add(agentId)
        this.#log.warn({ event: 'lease.too_short', agent: agentId, lease_seconds: leaseSeconds, lock_ms: this.#lockMs }, `lease_seconds ${LEASE_FAULT}`)
      }
    }
  }
}
