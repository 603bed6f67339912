import { currentTraceparent } from '../config/tracing.js'
import type { JobId } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import { createTogether, type Created, type Creation } from './create-many.js'
import type { Creator } from './create-job.js'
import { inOneStatement, isLockTimeout, type Database, type Db } from './database.js'
import { Grouped } from './grouped.js'
import { admitAll, endAll, type Admission, type Admitted, type Ending } from './grouped-moves.js'
import { plainLease, readForLease, type LeaseDecision, type LeaseFacts, type LeaseRequest } from './lease-job.js'
import { freeSlot, openAttempts, type Opened, type Opening } from './open-attempts.js'
import { jobStandings, type JobStanding } from './queries.js'
import { ReadAhead } from './read-ahead.js'
import { agentOf, type JobRow } from './rows.js'

/** Jobs in one statement at most: a statement should take milliseconds, and locks its rows for as long. */
const MOST = 64

type Started = Extract<LeaseDecision, { kind: 'start' }>

/**
 * The four moves of a job's commonest life (created, leased, admitted, ended), each as one grouped statement without a
 * transaction around it. Whatever is not common comes back undefined, and is decided under the job's lock.
 */
export class HotPath {
  readonly #creations: Grouped<Creation, Created | undefined>
  readonly #leases: Grouped<JobId, LeaseFacts | undefined>
  readonly #openings: Grouped<Opening, Opened>
  readonly #admissions: Grouped<Admission, Admitted>
  readonly #endings: Grouped<Ending, JobRow | undefined>
  readonly #standings: Grouped<JobId, JobStanding | undefined>
  readonly #ahead: ReadAhead
  /** Slots that an opening under way has asked for, by agent: no other of this process asks for the same. */
  readonly #asked = new Map<string, Set<number>>()

  readonly #db: Db

  constructor(database: Database, nowMs: () => number) {
    this.#db = database.grouped
    this.#ahead = new ReadAhead({ read: (id) => this.#ask(this.#leases, id), nowMs })
    /** `locked` is the answer for an item alone whose row somebody holds: it is decided under the job's lock, where it may wait. */
    const grouped = <Item, Result>(work: (db: Db, items: readonly Item[]) => Promise<readonly Result[]>, locked: NoInfer<Result>): Grouped<Item, Result> =>
      new Grouped({
        most: MOST,
        work: async (items) => {
          try {
            return await work(this.#db, items)
          } catch (error) {
            if (items.length === 1 && isLockTimeout(error)) return [locked]
            throw error
          }
        },
      })
    this.#creations = grouped(createTogether, undefined)
    this.#leases = grouped((db, ids: readonly JobId[]) => readForLease(db, ids), undefined)
    this.#openings = grouped(openAttempts, { kind: 'changed' })
    this.#admissions = grouped(admitAll, 'changed')
    this.#endings = grouped(endAll, undefined)
    this.#standings = grouped(jobStandings, undefined)
  }

  /** @throws AGENTBUS_UNAVAILABLE when the ledger is away or too slow */
  #ask<Item, Result>(group: Grouped<Item, Result>, item: Item): Promise<Result> {
    return inOneStatement(this.#db, () => group.do(item))
  }

  /** Creates a job that is plain. @returns undefined when it was not, for a reason that createJob tells */
  create(body: CreateJobBody, by: Creator, claimSeconds: number): Promise<Created | undefined> {
    return this.#ask(this.#creations, { body, by, claimSeconds, traceparent: currentTraceparent() })
  }

  /** A worker of this process will lease these jobs in a moment: what decides about them is read now. Never rejects. */
  expectLeases(ids: readonly JobId[]): Promise<void> {
    return this.#ahead.expect(ids)
  }

  /** @returns undefined when the job or its agent is not in the commonest state */
  async lease(request: LeaseRequest): Promise<Started | undefined> {
    const early = await this.#start(await this.#ahead.take(request.jobId), request)
    // What was read ahead can only speed up a start: where it leads to none, what is so now decides.
    return early ?? this.#start(await this.#ask(this.#leases, request.jobId), request)
  }

  async #start(facts: LeaseFacts | undefined, request: LeaseRequest): Promise<Started | undefined> {
    const lease = facts === undefined ? undefined : plainLease(facts, request)
    if (facts === undefined || lease === undefined) return undefined
    const { job } = facts
    const opened = await this.#inFreeSlot(agentOf(job), lease.attempt, (slot) => this.#ask(this.#openings, { job, attempt: lease.attempt, slot }))
    return opened?.kind === 'opened' ? { kind: 'start', job: opened.job, attempt: opened.attempt, target: lease.target } : undefined
  }

  async #inFreeSlot<T>(
    agentId: string,
    agent: { readonly concurrency: number; readonly takenSlots: readonly number[] },
    work: (slot: number) => Promise<T>,
  ): Promise<T | undefined> {
    const asked = this.#asked.get(agentId) ?? new Set<number>()
    const slot = freeSlot(agent.concurrency, [...agent.takenSlots, ...asked])
    if (slot === undefined) return undefined
    this.#asked.set(agentId, asked.add(slot))
    try {
      return await work(slot)
    } finally {
      asked.delete(slot)
      if (asked.size === 0) this.#asked.delete(agentId)
    }
  }

  admit(admission: Admission): Promise<Admitted> {
    return this.#ask(this.#admissions, admission)
  }

  /** @returns the ended job; undefined when it is not as an ending that nothing follows from needs it */
  end(ending: Ending): Promise<JobRow | undefined> {
    return this.#ask(this.#endings, ending)
  }

  /** Where a job stands. @returns undefined when there is none with that id */
  standing(id: JobId): Promise<JobStanding | undefined> {
    return this.#ask(this.#standings, id)
  }
}
