import { sql } from 'drizzle-orm'
import type { JobId } from '../../contracts/ids.js'
import { AgentbusError } from '../../contracts/errors.js'
import { inTransaction, sqlStateOf, type Db, type Tx } from '../database.js'
import { FewAtOnce } from '../few-at-once.js'
import { alertBoard } from './alert-board.js'
import { attention } from './attention.js'
import { deadLetters } from './dead-letters.js'
import { fleetBoard } from './fleet-board.js'
import { handOffFlow } from './hand-off-flow.js'
import { historyBoard, snapshot, type Window } from './health-board.js'
import { jobSurroundings } from './job-surroundings.js'
import { latencyOverTime } from './latency-over-time.js'
import { eventsAfter, pulse } from './pulse.js'
import { recentHistory } from './recent-history.js'
import { searchJobs, type JobSearch } from './search-jobs.js'
import { slotGrid, type GridQuery } from './slot-grid.js'
import { systemHealth } from './system-health.js'
import { waitingApprovals } from './waiting-approvals.js'

/** Pages that read at the same time; the others wait. The pool belongs to the commands. */
const AT_ONCE = 2
/** SQLSTATE of a statement that ran into its timeout. */
const CANCELLED = '57014'

export interface ConsoleReadsOptions {
  readonly db: () => Db
  /** For single statements. @throws AGENTBUS_UNAVAILABLE when the ledger is away or too slow */
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
}

/**
 * The reads of the console. Each page is one read-only snapshot that ends after five seconds, and at most two run at once in
 * a process: whoever looks never holds up whoever works.
 */
export class ConsoleReads {
  readonly #db: () => Db
  readonly #read: ConsoleReadsOptions['read']
  readonly #pages = new FewAtOnce(AT_ONCE)

  constructor(options: ConsoleReadsOptions) {
    this.#db = options.db
    this.#read = options.read
  }

  fleet = () => this.#page(fleetBoard)
  attention = () => this.#page(attention)
  jobs = (search: JobSearch) => this.#page((tx) => searchJobs(tx, search))
  job = (id: JobId, only: Parameters<typeof recentHistory>[2] = {}) => this.#page(async (tx) => ({ ...(await recentHistory(tx, id, only)), ...(await jobSurroundings(tx, id)) }))
  approvals = (query: Parameters<typeof waitingApprovals>[1]) => this.#page((tx) => waitingApprovals(tx, query))
  grid = (query: GridQuery) => this.#page((tx) => slotGrid(tx, query))
  flow = (window: Parameters<typeof handOffFlow>[1]) => this.#page((tx) => handOffFlow(tx, window))
  deadLetters = (only: Parameters<typeof deadLetters>[1]) => this.#page((tx) => deadLetters(tx, only))
  /** Two snapshots, read at the same time: what the history tells, and how long things took, would together take too long one after the other. */
  health = async (window: Window) => {
    const [page, latency] = await Promise.all([
      this.#page(async (tx) => ({ alerts: await alertBoard(tx), namespaces: await systemHealth(tx), now: await snapshot(tx), ...(await historyBoard(tx, window)) })),
      this.#page((tx) => latencyOverTime(tx, window)),
    ])
    return { ...page, latency }
  }
  /** Outside the queue of pages: what tells them that something has changed must not wait for them. */
  pulse = () => this.#read(pulse)
  eventsAfter = (floor: string, limit: number) => this.#read((db) => eventsAfter(db, floor, limit))

  async #page<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    const inSnapshot = () =>
      inTransaction(this.#db(), async (tx) => {
        await tx.execute(sql`set transaction isolation level repeatable read read only`)
        // Compiling a plan takes longer than these run.
        await tx.execute(sql`select set_config('statement_timeout', '5s', true), set_config('jit', 'off', true)`)
        return work(tx)
      })
    try {
      return await this.#pages.do(inSnapshot)
    } catch (error) {
      if (error instanceof AgentbusError && sqlStateOf(error.cause) === CANCELLED)
        throw new AgentbusError('AGENTBUS_UNAVAILABLE', 'Reading that took longer than five seconds; a shorter window reads less.', {}, { cause: error })
      throw error
    }
  }
}
