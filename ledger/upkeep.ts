import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import type { JobView } from '../contracts/jobs.js'
import { assignJobs, takeBackJobs } from './assign-jobs.js'
import type { Db, Tx } from './database.js'
import { decideApproval, expiredApprovals } from './decide-approval.js'
import { reapExpired } from './deliver-attempt.js'
import { reactToStorm } from './emit-event.js'
import { escalateBlocked } from './escalate.js'
import { raiseDue } from './file-finding.js'
import { keepControls, type KeptControls } from './keep-controls.js'
import { countHistory } from './metrics/count-history.js'
import { settleAnswered, watchPendingResults } from './pending-results.js'
import { jobView } from './rows.js'
import { resumeMet } from './wake.js'
import { watchAgents } from './watch-agents.js'

export interface UpkeepDeps {
  readonly db: () => Db
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  readonly nowMs: () => number
  readonly random: () => number
  readonly retryBaseSeconds: number
}

/** What time brings and nobody asks for: leases and approvals that run out, conditions that hold by now, counts to be kept. */
export class Upkeep {
  readonly #deps: UpkeepDeps

  constructor(deps: UpkeepDeps) {
    this.#deps = deps
  }

  /**
   * Ends the attempts whose lease has run out, at most `limit` of them, and queues their jobs again at once, or leaves them dead when their attempts
   * are used up. What another process reaps at the same moment is skipped. @returns the jobs as they are then
   */
  async reap(request: { readonly actor: Actor; readonly limit: number; readonly namespace?: string | undefined }): Promise<JobView[]> {
    const reaped = await this.#deps.run((tx) => reapExpired(tx, { ...request, random: this.#deps.random, retryBaseSeconds: this.#deps.retryBaseSeconds }))
    return reaped.map(jobView)
  }

  /** What time brings to the inbox: results that are overdue, those that have come, and what was held back until now. */
  async keepInbox(limit: number): Promise<{ overdue: number; answered: number; raised: number }> {
    const nowMs = this.#deps.nowMs()
    const answered = await this.#deps.run((tx) => settleAnswered(tx, { nowMs }))
    const overdue = await this.#deps.run((tx) => watchPendingResults(tx, { nowMs, limit }))
    const raised = await this.#deps.run((tx) => raiseDue(tx, { actor: SYSTEM_ACTOR, nowMs }, limit))
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

  /** What controls ask for after they were set, and when they end. */
  keepControls(): Promise<KeptControls> {
    return keepControls((work) => this.#deps.run(work), this.#deps.db())
  }

  /** Whether reactions of a storm are owed, and whether work that was or will be given by capability waits. */
  async handOffsDue(): Promise<{ reactions: boolean; routed: boolean }> {
    const { rows } = await this.#deps.read((db) =>
      db.execute<{ reactions: boolean; routed: boolean }>(sql`
        select exists (select from reactions where status = 'pending' and (not_before is null or not_before <= clock_timestamp())) as reactions,
          exists (select from jobs where status = 'queued' and cardinality(capabilities) > 0) as routed`),
    )
    return rows[0] ?? { reactions: false, routed: false }
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

  /** Takes down what each agent does now. */
  async watchAgents(): Promise<number> {
    return (await this.#deps.run((tx) => watchAgents(tx, { nowMs: this.#deps.nowMs() }))).length
  }
}
