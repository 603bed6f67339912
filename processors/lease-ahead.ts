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
/** Milliseconds for which an agent's last place has to be free. While entries wait it is not, but for a moment. */
const RESTED_MS = 25
/** Milliseconds after which a lease is given back whose entry has not come. */
const GIVE_BACK_MS = 1_000
/** For how long nothing of an agent is leased ahead after an entry has not come, in milliseconds. */
const PAUSE_MS = 10_000

/** A job whose entry is on its way here. */
interface Expected {
  readonly agentId: string
  readonly generation: number
  /** Never rejects. Undefined when there is none, or none any more. */
  readonly lease: Promise<EarlyLease | undefined>
  readonly timer: NodeJS.Timeout | undefined
  /** Undefined until it is leased. */
  slot: number | undefined
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
  /** Until when nothing is leased ahead for an agent, since an entry did not come. */
  readonly #paused = new Map<string, number>()
  #stopped = false

  constructor(options: LeaseAheadOptions) {
    this.#options = options
  }

  /** The store is about to be told of these. Never throws, and waits for nothing. */
  leaseAll(items: readonly OutboxItem[]): void {
    for (const { agentId, generation, jobId } of items) {
      const offer = this.#expected.has(jobId) ? undefined : this.offer(agentId)
      const id = jobId as JobId
      if (offer !== undefined) this.expect({ jobId: id, agentId, generation }, this.#lease({ ...offer.request, jobId: id, generation }))
    }
  }

  offer = (agentId: string): Offer | undefined => {
    const { places, placesOf, clock } = this.#options
    const most = this.#stopped ? undefined : placesOf(agentId)
    if (most === undefined || clock.nowMs() < (this.#paused.get(agentId) ?? 0)) return undefined
    const ahead = [...this.#expected.values()].filter((one) => one.agentId === agentId)
    const free = most - places.inHand(agentId) - ahead.length
    // The last place may be free only until the entry that waits for it is there.
    if (ahead.length >= MOST || free < 1 || (free === 1 && places.restedMs(agentId) < RESTED_MS)) return undefined
    return { request: whoLeases(this.#options), takenSlots: [...places.slots(agentId), ...ahead.flatMap(({ slot }) => (slot === undefined ? [] : [slot]))] }
  }

  expect = ({ jobId, agentId, generation }: { readonly jobId: JobId; readonly agentId: string; readonly generation: number }, lease: Promise<Started | undefined>): void => {
    const { watches } = this.#options
    const early = lease.then((started) => {
      if (started === undefined) return undefined
      expected.slot = started.attempt.slot
      return { started, watch: watches.watch(started.attempt.id) }
    })
    const timer = setTimeout(() => void this.#missed(jobId, agentId, early), GIVE_BACK_MS)
    const expected: Expected = { agentId, generation, lease: early, timer, slot: undefined }
    this.#expected.set(jobId, expected)
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
    const hasLease = (await lease) !== undefined
    if (!this.#expected.has(jobId)) return
    if (hasLease) this.#paused.set(agentId, this.#options.clock.nowMs() + PAUSE_MS)
    await this.#giveUp(jobId)
  }

  /** The lease that was taken for an entry, once. Waits for one that is being taken or given back. Never rejects. */
  async take(entry: Pick<DeliveryEntry, 'job_id' | 'generation'>): Promise<EarlyLease | undefined> {
    const expected = this.#expected.get(entry.job_id)
    if (expected === undefined || expected.generation !== entry.generation) return undefined
    clearTimeout(expected.timer)
    this.#expected.delete(entry.job_id)
    return expected.lease
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

  /** Gives back what was leased and not picked up. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#expected.keys()].map((jobId) => this.#giveUp(jobId)))
  }
}
