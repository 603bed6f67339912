import type { Logger } from 'pino'
import type { JobId } from '../contracts/ids.js'
import { reportDeadline, type WorkerReport } from '../ledger/deliver-attempt.js'
import type { DeliveryTarget } from '../ledger/lease-job.js'
import { iso, type AttemptRow, type JobRow } from '../ledger/rows.js'
import type { HookClient } from '../openclaw/hook-client.js'
import type { HookBodies } from '../openclaw/render-hook.js'
import type { AttemptWatches, Watch } from './attempt-watches.js'
import type { DeliveryEnd } from './delivery-error.js'
import type { LeaseAhead } from './lease-ahead.js'
import type { Leaser } from './lease-request.js'
import type { ShortLeases } from './short-leases.js'

/** What all deliveries of a process share. */
export interface DeliverDeps extends Leaser {
  readonly hooks: HookClient
  readonly watches: AttemptWatches
  readonly shortLeases: ShortLeases
  readonly ahead: Pick<LeaseAhead, 'take'>
  readonly log: Logger
  /** The hook token a reference names. @throws AgentbusError when it cannot be read */
  readonly hookToken: (tokenRef: string) => string
  /** The bytes to post for an attempt; the same whenever and wherever it is called. */
  readonly hookBodies: (attempt: AttemptRow) => Promise<HookBodies>
  /** Milliseconds between the end of a run and "it never closed". */
  readonly completionGraceMs: number
  readonly breakerFailures: number
  /** Gateways with failures to forget at the next admission; the gates refresh it from the ledger. */
  readonly failing: Set<string>
  /** Milliseconds the gateway has to admit a run. Its own limit is 15 s. */
  readonly admissionTimeoutMs: number
}

/** One delivery under way: what every step of it needs. */
export interface Delivery {
  readonly deps: DeliverDeps
  readonly job: JobRow
  readonly attempt: AttemptRow
  readonly target: DeliveryTarget
  readonly report: WorkerReport
  readonly entryGeneration: number
  readonly reattached: boolean
  readonly signal: AbortSignal
  readonly watch: Watch
  /** When the attempt ends at the latest, by this process's clock. The agent can move it; {@link deadline} learns that. */
  deadlineMs: number
}

/** What came of a step before the run is joined: the next one follows with `value`, or the delivery has ended. */
export type Step<T> = { readonly kind: 'go'; readonly value: T } | { readonly kind: 'end'; readonly end: DeliveryEnd }

/** The next step follows. */
export const go = <T>(value: T): Step<T> => ({ kind: 'go', value })

/** No step follows. */
export const end = (delivered: DeliveryEnd): Step<never> => ({ kind: 'end', end: delivered })

/**
 * Past the deadline that this process knows: the ledger ends the attempt, or tells the later one.
 * @returns undefined when the agent has asked for more time: the wait goes on
 */
export async function deadline(d: Delivery): Promise<DeliveryEnd | undefined> {
  const { leftMs } = await d.deps.ledger.run((tx) => reportDeadline(tx, d.report))
  if (leftMs === undefined) return endFromLedger(d)
  d.deadlineMs = d.deps.clock.nowMs() + Math.ceil(leftMs)
  return undefined
}

/** The attempt is over: the job's row says what the entry becomes. */
export async function endFromLedger(d: Delivery): Promise<DeliveryEnd> {
  const job = await d.deps.ledger.jobStanding(d.job.id as JobId)
  if (job.generation !== d.entryGeneration) return { kind: 'done', outcome: `superseded by generation ${job.generation}` }
  switch (job.status) {
    case 'failed':
    case 'dead':
      return { kind: 'dead', error: job.last_error ?? job.status }
    case 'queued':
      return { kind: 'retry', ms: Math.max(0, Date.parse(iso(job.run_after)) - d.deps.clock.nowMs()), error: job.last_error ?? 'the attempt failed' }
    case 'leased':
    case 'running':
      return { kind: 'delay', ms: 1_000, outcome: 'another attempt holds the job' }
    default:
      return { kind: 'done', outcome: job.status }
  }
}
