import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import type { JobView } from '../contracts/jobs.js'
import { assignJobs, ROUTED_WORK, takeBackJobs } from './assign-jobs.js'
import { inOneStatement, type Db, type Tx } from './database.js'
import { APPROVALS_EXPIRED, decideApproval, expiredApprovals } from './decide-approval.js'
import { LEASES_EXPIRED, LOOK_AGAIN_DUE, reapExpired } from './deliver-attempt.js'
import { reactToStorm } from './emit-event.js'
import { escalateBlocked, ESCALATIONS_DUE } from './escalate.js'
import { raiseDue, raisesDue } from './file-finding.js'
import { PROBES_DUE } from './gateway-health.js'
import { whichHold } from './is-found.js'
import { CONTROLS_DUE, keepControls, type KeptControls } from './keep-controls.js'
import { slotsDue } from './keep-slots.js'
import { countHistory } from './metrics/count-history.js'
import { RESULTS_ANSWERED, settleAnswered, watchPendingResults, WORK_HANDED_OVER } from './pending-results.js'
import { plansDue } from './plan-slots.js'
import { REACTIONS_OWED } from './react.js'
import { jobView } from './rows.js'
import { expireMemories, MEMORIES_EXPIRED } from './thoughts/expire-memories.js'
import { CONDITIONS_MET, resumeMet } from './wake.js'
import { changedAgents, watchAgents } from './watch-agents.js'

export interface UpkeepDeps {
  readonly db: () => Db
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  /** The same where plans are made once and go by an index, also those that were made when the ledger was empty. */
  readonly readByIndex: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  readonly nowMs: () => number
  readonly random: () => number
  readonly retryBaseSeconds: number
}

/** What a worker does as soon as there is any of it, and when there is. */
const DUE = {
  look_again: LOOK_AGAIN_DUE,
  blocked: sql`(${CONDITIONS_MET} or ${APPROVALS_EXPIRED} or ${ESCALATIONS_DUE})`,
  leases: LEASES_EXPIRED,
  probes: PROBES_DUE,
  controls: CONTROLS_DUE,
  hand_offs: sql`(${REACTIONS_OWED} or ${ROUTED_WORK})`,
  memories: MEMORIES_EXPIRED,
}
export type DueWork = keyof typeof DUE

/** What time brings and nobody asks for: leases and approvals that run out, conditions that hold by now, counts to be kept. */
export class Upkeep {
  readonly #deps: UpkeepDeps

  constructor(deps: UpkeepDeps) {
    this.#deps = deps
  }

  /** What there is to do now, by one statement. An idle ledger answers it from the beginning of a dozen small indexes. */
  due(): Promise<ReadonlySet<DueWork>> {
    return this.#deps.readByIndex((db) => whichHold(db, DUE))
  }

  /**
   * Ends the attempts whose lease has run out, at most `limit` of them, and queues their jobs again at once, or leaves them dead when their attempts
   * are used up. What another process reaps at the same moment is skipped. @returns the jobs as they are then
   */
  async reap(request: { readonly actor: Actor; readonly limit: number; readonly namespace?: string | undefined }): Promise<JobView[]> {
    const reaped = await this.#deps.run((tx) => reapExpired(tx, { ...request, random: this.#deps.random, retryBaseSeconds: this.#deps.retryBaseSeconds }))
    return reaped.map(jobView)
  }

  /** What time brings to the inbox: results that have come, those that are overdue, and what was held back until now. */
  async keepInbox(limit: number): Promise<{ overdue: number; answered: number; raised: number }> {
    const nowMs = this.#deps.nowMs()
    const due = await this.#deps.readByIndex((db) => whichHold(db, { answered: RESULTS_ANSWERED, handed_over: WORK_HANDED_OVER, raises: raisesDue(nowMs) }))
    const answered = due.has('answered') ? await this.#deps.run((tx) => settleAnswered(tx, { nowMs })) : 0
    const overdue = due.has('handed_over') ? await this.#deps.run((tx) => watchPendingResults(tx, { nowMs, limit })) : 0
    const raised = due.has('raises') ? await this.#deps.run((tx) => raiseDue(tx, { actor: SYSTEM_ACTOR, nowMs }, limit)) : 0
    return { overdue, answered, raised }
  }

  /** What time brings to hand-offs: conditions that hold, approvals past their time, work that is blocked for too long. */
  async keepBlocked(limit: number): Promise<{ resumed: number; expired: number; escalated: number }> {
    const nowMs = this.#deps.nowMs()
    const resumed = await this.#deps.run((tx) => resumeMet(tx, { limit }))
    const expired = await this.#deps.run(async (tx) => {
      const ids = await expiredApprovals(tx, limit)
      for (const id of ids) await decideApproval(tx, id, { to: 'expired', actor: SYSTEM_ACTOR, note: 'Nobody decided in time.', nowMs })
      return ids.length
    })
    const escalated = await this.#deps.run((tx) => escalateBlocked(tx, { nowMs, limit }))
    return { resumed, expired, escalated }
  }

  /** Puts down that the time of memories has passed, `limit` of them in a transaction. @returns how many */
  async expireMemories(limit: number): Promise<number> {
    let expired = 0
    for (;;) {
      const page = await this.#deps.run((tx) => expireMemories(tx, limit))
      expired += page
      if (page < limit) return expired
    }
  }

  /** What controls ask for after they were set, and when they end. */
  keepControls(): Promise<KeptControls> {
    return keepControls((work) => this.#deps.run(work), this.#deps.db())
  }

  /** Whether slots of standing orders are to be written, and whether any wants a look. */
  async slotsDue(): Promise<{ plan: boolean; look: boolean }> {
    const nowMs = this.#deps.nowMs()
    const due = await this.#deps.readByIndex((db) => whichHold(db, { plan: plansDue(nowMs), look: slotsDue(nowMs) }))
    return { plan: due.has('plan'), look: due.has('look') }
  }

  /** Whether reactions of a storm are owed, and whether work that was or will be given by capability waits. */
  async handOffsDue(): Promise<{ reactions: boolean; routed: boolean }> {
    const due = await this.#deps.read((db) => whichHold(db, { reactions: REACTIONS_OWED, routed: ROUTED_WORK }))
    return { reactions: due.has('reactions'), routed: due.has('routed') }
  }

  /** Makes what a storm of reactions still owes, page by page. @returns how many */
  async reactToStorm(limit: number): Promise<number> {
    let made = 0
    for (;;) {
      const page = await this.#deps.run((tx) => reactToStorm(tx, { nowMs: this.#deps.nowMs(), limit }))
      made += page
      if (page < limit) return made
    }
  }

  /** Gives work that names capabilities to agents with a free place, and takes back what its agent cannot start. */
  async assign(limit: number): Promise<{ assigned: number; takenBack: number }> {
    const takenBack = await this.#deps.run((tx) => takeBackJobs(tx, { limit }))
    const assigned = await this.#deps.run((tx) => assignJobs(tx, { limit }))
    return { assigned, takenBack }
  }

  /** Adds to the totals of the metrics what has happened since; a part of a long stretch at a time. */
  async countMetrics(): Promise<void> {
    for (let parts = 0; parts < 20; parts += 1) if (!(await this.#deps.run(countHistory))) return
  }

  /** Takes down what each agent does now. Most often nothing has changed, and one read says so. */
  async watchAgents(): Promise<number> {
    // Not where the short reads are: with many agents it takes milliseconds, and those behind it would wait.
    const seen = await inOneStatement(this.#deps.db(), changedAgents)
    if (seen.length === 0) return 0
    return (await this.#deps.run((tx) => watchAgents(tx, { seen, nowMs: this.#deps.nowMs() }))).length
  }
}
