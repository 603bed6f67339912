import type { JobId } from '../contracts/ids.js'
import type { LeaseDecision, LeaseRequest } from './lease-job.js'

/** A new attempt that a worker starts. */
export type Started = Extract<LeaseDecision, { kind: 'start' }>

/** What a worker would ask for an entry of an agent, and the slots that its runs hold. */
export interface Offer {
  readonly request: Omit<LeaseRequest, 'jobId' | 'generation'>
  readonly takenSlots: readonly number[]
}

/** The workers of this process, for jobs that they will pick up as soon as the queue store has them. */
export interface EarlyLeaser {
  /** @returns undefined while an entry of the agent could go elsewhere, or would have to wait */
  readonly offer: (agentId: string) => Offer | undefined
  /** The job is being leased for them. `lease` never rejects, and is undefined when it was not. */
  readonly expect: (entry: { readonly jobId: JobId; readonly agentId: string; readonly generation: number }, lease: Promise<Started | undefined>) => void
}
