import type { Logger } from 'pino'
import { LEASE_FAULT, outlivesWorker, type EntryOfTheDead } from '../config/lease-rule.js'
import type { JobRow } from '../ledger/rows.js'
import type { Gate } from './worker-gates.js'

/**
 * Tells of leases that do not outlive the lock of this process's deliveries. Whoever applies a fleet over REST or creates a job does not
 * know the locks of the workers, and two workers may have different ones: it is seen here, where both figures are.
 */
export class ShortLeases {
  readonly #entry: EntryOfTheDead
  readonly #log: Logger
  /** Agents that were told of for their own lease. */
  readonly #told = new Set<string>()
  /** Agents with the leases that jobs for them have named. */
  readonly #toldOfJobs = new Set<string>()

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

  /** Of a job that names a lease of its own, once for each agent and lease: whoever sends one sends more. It is started all the same. */
  lookAtJob(agentId: string, job: Pick<JobRow, 'id' | 'lease_seconds'>): void {
    const { id, lease_seconds: leaseSeconds } = job
    const what = `${agentId} ${leaseSeconds}`
    if (outlivesWorker(leaseSeconds, this.#entry) || this.#told.has(agentId) || this.#toldOfJobs.has(what)) return
    this.#toldOfJobs.add(what)
    this.#log.warn({ event: 'lease.too_short', agent: agentId, job_id: id, lease_seconds: leaseSeconds, lock_ms: this.#entry.lockMs }, `lease_seconds of a job: ${LEASE_FAULT}`)
  }
}
