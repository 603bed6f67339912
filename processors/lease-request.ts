import type { Clock } from '../config/clock.js'
import type { LeaseRequest } from '../ledger/lease-job.js'
import type { Ledger } from '../ledger/ledger.js'
import type { DeliveryEntry } from '../queues/catalogue.js'

/** Who leases, and for how long. */
export interface Leaser {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly workerId: string
  readonly deadlineMarginSeconds: number
}

/** What is the same in each request of a process. */
export function whoLeases({ ledger, clock, workerId, deadlineMarginSeconds }: Leaser): Omit<LeaseRequest, 'jobId' | 'generation'> {
  return { workerId, actor: { kind: 'worker', id: workerId }, nowMs: clock.nowMs(), deadlineMarginSeconds, render: ledger.render }
}

/** What the ledger is asked about a queue entry. */
export function leaseRequest(leaser: Leaser, entry: Pick<DeliveryEntry, 'job_id' | 'generation'>): LeaseRequest {
  return { ...whoLeases(leaser), jobId: entry.job_id, generation: entry.generation }
}
