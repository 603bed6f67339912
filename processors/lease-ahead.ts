import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { giveBackLease } from '../ledger/deliver-attempt.js'
import type { EarlyLeaser, Offer, Started } from '../ledger/early-lease.js'
import type { LeaseRequest } from '../ledger/lease-job.js'
import type { OutboxItem } from '../ledger/outbox.js'
import type { DeliveryEntry } from '../queues/catalogue.js'
import type { AttemptWatches, Watch } from './attempt-watches.js'
import { whoLeases, type Leaser } from './lease-request.js'
import type { Places } from './places.js'

/** A lease that was taken before its queue entry, and whoever looks after its end meanwhile. */
export interface EarlyLease {
  readonly started: Started
  readonly watch: Watch
}

export interface LeaseAheadOptions extends Leaser {
  readonly watches: AttemptWatches
  readonly places: Places
  readonly log: Logger
  /** Whether this process alone takes entries of an agent, and how many at once; undefined while it takes none, or others do too. */
  readonly placesOf: (agentId: string) => number | undefined
}

/** Of one agent at once. What comes in larger numbers is a backlog, whose order the queue decides. */
const MOST = 4
/** Milliseconds after which a lease is given back whose entry has not come. */
const GIVE_BACK_MS = 1_000
/** For how long nothing of an agent is leased ahead after an entry has not come, in milliseconds; twice as long after each that follows. */
const PAUSE_MS = 10_000
const LONGEST_PAUSE_MS = 600_000

/** A job whose entry is on its way here. */
interface Expected {
  readonly agentId: string
  readonly generation: number
  /** Never rejects. Undefined when there is none, or none any more. */
  readonly lease: Promise<EarlyLease | undefined>
  /** By `performance.now()`. */
  readonly sinceMs: number
  readonly timer: NodeJS.Timeout | undefined
  /** Undefined until it is leased. */
  slot: number | undefined
}

interface Pause {
  readonly untilMs: number
  readonly lengthMs: number
}

/**
 * Leases jobs while the queue store hands their entries to this process, instead of after that: both take milliseconds, and neither needs
 * the other. It is done only where an entry can go nowhere else and nothing waits before it: this process alone takes entries of the agent,
 * and the agent has a free place. The entry stays what it is. Whoever picks it up attends to the attempt: this process at once, any other as
 * after the death of a worker. A lease whose entry has not come after a second is given back, and burns no attempt.
 */
export class LeaseAhead implements EarlyLeaser {
  readonly #options: LeaseAheadOptions
  /** By the job. */
  readonly #expected = new Map<string, Expected>()
  /** Jobs that the store was told of lately and that are not leased ahead: each will take a place. By the job, oldest first. */
  readonly #onTheWay = new Map<string, { readonly agentId: string; readonly sinceMs: number }>()
  /** Agents whose entries did not come. */
  readonly #paused = new Map<string, Pause>()
  #stopped = false

  constructor(options: LeaseAheadOptions) {
    this.#options = options
  }

  /** The store is about to be told of these. Never throws, and waits for nothing. */
  leaseAll(items: readonly OutboxItem[]): void {
    const byAgent = new Map<string, OutboxItem[]>()
    for (const item of items) if (!this.#expected.has(item.jobId)) byAgent.set(item.agentId, [...(byAgent.get(item.agentId) ?? []), item])
    for (const [agentId, group] of byAgent) this.#leaseGroup(agentId, group)
  }

  /** All or none: which of several is the first the store decides, by their priority. */
  #leaseGroup(agentId: string, items: readonly OutboxItem[]): void {
    this.#forgetArrivals()
    if (this.#options.placesOf(agentId) === undefined) return
    const areAll = items.length <= this.#free(agentId)
    for (const item of items) {
      const offer = areAll ? this.offer(agentId) : undefined
      const jobId = item.jobId as JobId
      // Anew, so that the oldest stay in front.
      this.#onTheWay.delete(jobId)
      if (offer === undefined) this.#onTheWay.set(jobId, { agentId, sinceMs: performance.now() })
      else this.expect({ jobId, agentId, generation: item.generation }, this.#lease({ ...offer.request, jobId, generation: item.generation }))
    }
  }

  #free(agentId: string): number {
    const { places, placesOf, clock } = this.#options
    const most = this.#stopped ? undefined : placesOf(agentId)
    if (most === undefined || clock.nowMs() < (this.#paused.get(agentId)?.untilMs ?? 0)) return 0
    const ahead = this.#ahead(agentId).length
    const onTheWay = [...this.#onTheWay.values()].filter((one) => one.agentId === agentId).length
    return Math.min(MOST - ahead, places.free(agentId, most) - ahead - onTheWay)
  }

  /** What has not come after a second waits, and then places are not free for long. */
  #forgetArrivals(): void {
    for (const [jobId, { sinceMs }] of this.#onTheWay) {
      if (performance.now() - sinceMs < GIVE_BACK_MS) return
      this.#onTheWay.delete(jobId)
    }
  }

  #ahead(agentId: string): Expected[] {
    return [...this.#expected.values()].filter((one) => one.agentId === agentId)
  }

  offer = (agentId: string): Offer | undefined => {
    this.#forgetArrivals()
    if (this.#free(agentId) < 1) return undefined
    const aheadSlots = this.#ahead(agentId).flatMap(({ slot }) => (slot === undefined ? [] : [slot]))
    return { request: whoLeases(this.#options), takenSlots: [...this.#options.places.slots(agentId), ...aheadSlots] }
  }

  expect = ({ jobId, agentId, generation }: { readonly jobId: JobId; readonly agentId: string; readonly generation: number }, lease: Promise<Started | undefined>): void => {
    const { watches } = this.#options
    const early = lease.then((started) => {
      if (started === undefined) {
        // Nothing is held for it: it takes a place when it comes, if it comes.
        if (this.#expected.get(jobId) === expected) this.#forget(jobId, expected)
        return undefined
      }
      expected.slot = started.attempt.slot
      return { started, watch: watches.watch(started.attempt.id) }
    })
    const timer = setTimeout(() => void this.#missed(jobId, agentId, early), GIVE_BACK_MS)
    const expected: Expected = { agentId, generation, lease: early, sinceMs: performance.now(), timer, slot: undefined }
    this.#expected.set(jobId, expected)
  }

  #forget(jobId: string, { timer }: Expected): void {
    clearTimeout(timer)
    this.#expected.delete(jobId)
  }

  async #lease(request: LeaseRequest): Promise<Started | undefined> {
    try {
      return await this.#options.ledger.leaseAhead(request)
    } catch (error) {
      // At pick-up it is decided anew.
      this.#options.log.debug({ event: 'lease_ahead.failed', job_id: request.jobId, err: messageOf(error) }, 'a job could not be leased ahead')
      return undefined
    }
  }

  async #missed(jobId: string, agentId: string, lease: Promise<EarlyLease | undefined>): Promise<void> {
    await lease
    if (!this.#expected.has(jobId)) return
    const lengthMs = Math.min(2 * (this.#paused.get(agentId)?.lengthMs ?? PAUSE_MS / 2), LONGEST_PAUSE_MS)
    this.#paused.set(agentId, { untilMs: this.#options.clock.nowMs() + lengthMs, lengthMs })
    await this.#giveUp(jobId)
  }

  /**
   * The lease that was taken for an entry, once. Waits for one that is being taken or given back. Never rejects.
   * @returns undefined when there is none, when it was taken for another entry of the job, or too long ago: this process may have slept, and the
   * ledger knows what has become of it
   */
  async take(entry: Pick<DeliveryEntry, 'job_id' | 'generation'>): Promise<EarlyLease | undefined> {
    this.#onTheWay.delete(entry.job_id)
    const expected = this.#expected.get(entry.job_id)
    if (expected === undefined) return undefined
    this.#forget(entry.job_id, expected)
    const early = await expected.lease
    if (early === undefined) return undefined
    if (expected.generation !== entry.generation || performance.now() - expected.sinceMs > GIVE_BACK_MS) {
      early.watch.stop()
      return undefined
    }
    this.#paused.delete(expected.agentId)
    return early
  }

  /** While it is given back it stays expected: an entry that comes late must not be attended to with a lease that is about to end. */
  async #giveUp(jobId: string): Promise<void> {
    const expected = this.#expected.get(jobId)
    if (expected === undefined) return
    clearTimeout(expected.timer)
    const gone: Expected = { ...expected, timer: undefined, lease: this.#giveBack(expected.lease).then(() => undefined) }
    this.#expected.set(jobId, gone)
    await gone.lease
    if (this.#expected.get(jobId) === gone) this.#expected.delete(jobId)
  }

  /** Never rejects. A lease that the ledger does not take back now is taken on with its entry, or runs out. */
  async #giveBack(lease: Promise<EarlyLease | undefined>): Promise<void> {
    const { ledger, log, workerId } = this.#options
    const early = await lease
    if (early === undefined) return
    early.watch.stop()
    const { job, attempt } = early.started
    const report = {
      jobId: job.id as JobId,
      attemptId: attempt.id as AttemptId,
      actor: { kind: 'worker', id: workerId },
      random: ledger.random(),
      retryBaseSeconds: ledger.retryBaseSeconds,
    } as const
    try {
      await ledger.run((tx) => giveBackLease(tx, report, workerId))
    } catch (error) {
      log.warn({ event: 'lease_ahead.not_given_back', job_id: job.id, err: messageOf(error) }, 'a lease could not be given back; it is taken on with its entry, or runs out')
    }
  }

  /** Nothing is leased ahead any more. */
  close(): void {
    this.#stopped = true
  }

  /** Gives back what was leased and not picked up. */
  async stop(): Promise<void> {
    this.close()
    await Promise.all([...this.#expected.keys()].map((jobId) => this.#giveUp(jobId)))
  }
}
