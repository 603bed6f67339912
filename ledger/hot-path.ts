import { setImmediate as nextTurn } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { currentTraceparent } from '../config/tracing.js'
import { AgentbusError } from '../contracts/errors.js'
import { uuidv7, type JobId } from '../contracts/ids.js'
import type { CreateJobBody } from '../contracts/jobs.js'
import { createTogether, type Created, type Creation } from './create-many.js'
import type { Creator } from './create-job.js'
import { canBeNewborn, createNewborn, type Newborn } from './create-newborn.js'
import { inOneStatement, isLockTimeout, type Database, type Db } from './database.js'
import type { EarlyLeaser, Offer, Started } from './early-lease.js'
import { Grouped } from './grouped.js'
import { admitAll, endAll, type Admission, type Admitted, type Ending } from './grouped-moves.js'
import { plainLease, readForLease, type AgentFacts, type LeaseFacts, type LeaseRequest } from './lease-job.js'
import { decidedOf, newbornRow } from './newborn-row.js'
import { freeSlot, openAttempts, type Opened, type Opening } from './open-attempts.js'
import { openNewborn } from './open-newborn.js'
import { jobStandings, type JobStanding } from './queries.js'
import { agentOf, type JobRow } from './rows.js'

/** Jobs in one statement at most: a statement should take milliseconds, and locks its rows for as long. */
const MOST = 64

/** A job that is being created, and leased right behind that. */
export interface Birth {
  /** Undefined when it was not plain. Its commit has not waited for the disk. */
  readonly created: Promise<Created | undefined>
  /** Resolves as soon as what was created can be acknowledged. @throws AGENTBUS_UNAVAILABLE when that is not known */
  readonly durable: () => Promise<void>
}

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
  /** Slots that an opening under way has asked for, by agent: no other of this process asks for the same. */
  readonly #asked = new Map<string, Set<number>>()
  /** How agents and their gateways stood when something was started last. The statement that opens an attempt refuses what has changed. */
  readonly #agents = new Map<string, AgentFacts>()
  readonly #database: Database
  readonly #db: Db

  constructor(database: Database) {
    this.#database = database
    this.#db = database.grouped
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

  /** @returns undefined when the job or its agent is not in the commonest state */
  async lease(request: LeaseRequest): Promise<Started | undefined> {
    return this.#start(await this.#ask(this.#leases, request.jobId), request)
  }

  /**
   * Creates a job that is plain and leases it right behind, on one connection and without waiting for the first answer: two statements, each
   * as safe as it is alone, and one wait for the disk. @returns undefined when too little is known to lease it like that
   */
  createAndLease(body: CreateJobBody, by: Creator, claimSeconds: number, { offer, leaser }: { readonly offer: Offer; readonly leaser: EarlyLeaser }): Birth | undefined {
    const agentId = body.target_agent
    const agent = agentId === undefined ? undefined : this.#agents.get(agentId)
    if (agentId === undefined || agent === undefined || !canBeNewborn(body, by)) return undefined
    const id = uuidv7(by.nowMs) as JobId
    const db = this.#database.inOrder()
    const creation = { body, by, claimSeconds, traceparent: currentTraceparent(), id }
    const created = this.#createNewborn(db, creation)
    const unborn = unbornRow(id, body, by, agent)
    const lease = plainOrNone({ job: unborn, agent: { ...agent, taken_slots: offer.takenSlots, attempts_so_far: 0, due_in_ms: 0 } }, { ...offer.request, jobId: id, generation: 1 })
    if (lease === undefined) return { created, durable: () => this.#mustBeDurable(db, id) }
    // In a turn of its own: what it takes to write this statement is done while PostgreSQL works on the one before it.
    const opened = nextTurn()
      .then(() => this.#inFreeSlot(agentId, lease.attempt, (slot) => inOneStatement(db, () => openNewborn(db, { job: unborn, attempt: lease.attempt, slot }))))
      .catch(() => undefined)
    const started = opened.then(async (one): Promise<Started | undefined> => {
      if (one?.kind !== 'opened') this.#agents.delete(agentId)
      const born = await created.catch(() => undefined)
      if (one?.kind !== 'opened' || born === undefined) return undefined
      return { kind: 'start', job: { ...one.job, ...decidedOf(born.job), updated_at: one.job.updated_at }, attempt: one.attempt, target: lease.target }
    })
    leaser.expect({ jobId: id, agentId, generation: unborn.generation }, started)
    return {
      created,
      durable: async () => {
        if ((await started) === undefined) await this.#mustBeDurable(db, id)
      },
    }
  }

  #createNewborn(db: Db, creation: Newborn): Promise<Created | undefined> {
    return inOneStatement(db, async () => {
      try {
        return await createNewborn(db, creation)
      } catch (error) {
        // Somebody holds a row that it needs: it is created where it may wait.
        if (isLockTimeout(error)) return undefined
        throw error
      }
    })
  }

  /**
   * A commit that waits for the disk, or the standby, as the server is told to: with it everything that was committed before it is durable. That the
   * job is among that has to be seen: a server that has crashed in between, or a standby that took over, may not know of it.
   */
  async #mustBeDurable(db: Db, id: JobId): Promise<void> {
    const { rows } = await inOneStatement(db, () =>
      db.execute(sql`select exists (select from jobs where id = ${id}::uuid) as known, pg_logical_emit_message(true, 'agentbus', '')`),
    )
    if (rows[0]?.['known'] !== true) throw new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger was restarted while the job was created, and has not kept it. Create it again.')
  }

  async #start(facts: LeaseFacts | undefined, request: LeaseRequest): Promise<Started | undefined> {
    const lease = facts === undefined ? undefined : plainLease(facts, request)
    if (facts === undefined || lease === undefined) return undefined
    const { job, agent } = facts
    const agentId = agentOf(job)
    const opened = await this.#inFreeSlot(agentId, lease.attempt, (slot) => this.#ask(this.#openings, { job, attempt: lease.attempt, slot }))
    if (opened?.kind === 'opened') this.#agents.set(agentId, agent)
    else this.#agents.delete(agentId)
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

/** A message that cannot be written is no fault of the creation that is under way: whoever picks the job up is told, and the job says so. */
function plainOrNone(facts: LeaseFacts, request: LeaseRequest): ReturnType<typeof plainLease> {
  try {
    return plainLease(facts, request)
  } catch {
    return undefined
  }
}

/** The row of a job that is about to be created, as far as an attempt at it needs it: when it was made the ledger will say. */
function unbornRow(id: JobId, body: CreateJobBody, by: Creator, agent: AgentFacts): JobRow {
  const now = new Date(by.nowMs).toISOString()
  return newbornRow(id, body, by, {
    target_agent: body.target_agent ?? null,
    source_event_id: null,
    flow_key: body.flow_key ?? null,
    correlation_key: body.correlation_key ?? null,
    hops: 0,
    lineage: [],
    run_after: now,
    timeout_seconds: body.timeout_seconds ?? agent.timeout_seconds,
    lease_seconds: body.lease_seconds ?? agent.lease_seconds,
    created_at: now,
    updated_at: now,
  })
}
