import type { AttemptView, MarkRunningBody, ProgressBody, RenewBody } from '../contracts/attempts.js'
import type { BlockJobBody, CompleteJobBody, FailJobBody } from '../contracts/closings.js'
import { AgentbusError } from '../contracts/errors.js'
import type { EmitEventBody, EventView } from '../contracts/events.js'
import type { JobId } from '../contracts/ids.js'
import type { RetryBody } from '../contracts/job-operations.js'
import type { CreateBatchBody, CreateGraphBody, CreateJobBody, JobView } from '../contracts/jobs.js'
import type { FinishStandingOrderBody } from '../contracts/standing-orders.js'
import { sql } from 'drizzle-orm'
import { actorOf, requireOperator, type Caller, type CommandContext } from './caller.js'
import { closeAttempt, plainEnding, type CloseRequest, type Closing } from './close-attempt.js'
import { createGraph } from './create-graph.js'
import { createMany, isPlain } from './create-many.js'
import { createJob, type Creator } from './create-job.js'
import type { Created } from './create-many.js'
import type { Db, Tx } from './database.js'
import { reapExpired, renewLease } from './deliver-attempt.js'
import type { EarlyLeaser } from './early-lease.js'
import { emitEvent } from './emit-event.js'
import { finishSlot } from './finish-slot.js'
import type { Hint } from './hints.js'
import type { HotPath } from './hot-path.js'
import { onceOnly } from './idempotency.js'
import { allInOwnName, inOwnName, mayComeFrom } from './in-own-name.js'
import { limitsOf, type Limits } from './limits.js'
import { itemOf, type Publisher } from './outbox.js'
import { fenced, onceFenced, ownAttempt } from './own-attempt.js'
import { buryJob, cancelJob, forceDead, promoteJob, retryJob } from './operate-job.js'
import { mustBeJob } from './preconditions.js'
import type { Rates } from './rate-limits.js'
import { attemptView, eventView, jobView, type JobRow } from './rows.js'
import { lockJob, move, note, type LockedJob } from './transition.js'

/** What the facade hands to each command: a runner for transactions, and the facts that are not input. */
export interface CommandDeps {
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  readonly hot: HotPath
  /** Says what the hot path has written. */
  readonly hint: (hint: Hint) => void
  /** This process's relay; undefined where none runs. */
  readonly publisher: () => Publisher | undefined
  /** This process's workers; undefined where none run. */
  readonly leaser: () => EarlyLeaser | undefined
  readonly refused: (caller: Caller, error: AgentbusError, about: { jobId?: string; agentId?: string }) => Promise<void>
  readonly limits: Limits
  readonly rates: Rates
  /** Reads outside a transaction. @throws AGENTBUS_UNAVAILABLE when the ledger is away or too slow */
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  readonly nowMs: () => number
  readonly random: () => number
  readonly retryBaseSeconds: number
}

const LEAVES_A_ROW: ReadonlySet<string> = new Set(['AGENTBUS_DELEGATION_REFUSED', 'AGENTBUS_LIMIT_REACHED', 'AGENTBUS_ILLEGAL_TRANSITION', 'AGENTBUS_VERSION_MISMATCH'])

/** The commands on jobs and events that REST and the board call. One transaction each. */
export class JobCommands {
  readonly #deps: CommandDeps

  constructor(deps: CommandDeps) {
    this.#deps = deps
  }

  /**
   * Creates a job, or answers the open one with its dedupe key. Agents always create in their own name.
   * @throws AGENTBUS_FORBIDDEN, AGENTBUS_DELEGATION_REFUSED or AGENTBUS_LIMIT_REACHED, each with a row; AGENTBUS_UNKNOWN_AGENT, AGENTBUS_NO_ABLE_AGENT,
   * AGENTBUS_UNKNOWN_DEPENDENCY, AGENTBUS_JOB_NOT_FOUND for an unknown parent, AGENTBUS_IDEMPOTENCY_MISMATCH
   */
  async create(context: CommandContext, body: CreateJobBody): Promise<{ job: JobView; created: boolean; replayed?: boolean }> {
    const named = await inOwnName(this.#deps, context.caller, body)
    await mayComeFrom(this.#deps, context.caller, named.parent_job_id)
    return this.#withRow(context.caller, {}, async () => {
      await this.#deps.rates.takeJobs(context.caller, [named])
      return this.#create(context, named)
    })
  }

  async #create(context: CommandContext, named: CreateJobBody): Promise<{ job: JobView; created: boolean; replayed?: boolean }> {
    if (context.idempotency === undefined && isPlain(named) && (await this.#deps.read((db) => this.#deps.limits.hasRoom(db, [named])))) {
      const made = await this.#createPlain(named, { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() })
      if (made !== undefined) return { job: jobView(made.job), created: true }
    }
    return this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        const { job, created } = await createJob(tx, named, { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() })
        if (created) await limitsOf(tx).mustFit(tx, [job])
        return { job: jobView(job), created }
      }),
    )
  }

  /** @returns undefined when it was not, for a reason that createJob tells */
  async #createPlain(named: CreateJobBody, by: Creator): Promise<Created | undefined> {
    const { hot, hint, leaser: leaserOf, nowMs, publisher: publisherOf } = this.#deps
    const publisher = publisherOf()
    const leaser = leaserOf()
    const offer = publisher === undefined ? undefined : leaser?.offer(named.target_agent ?? '')
    const born = publisher === undefined || leaser === undefined || offer === undefined ? undefined : hot.createAndLease(named, by, publisher.claimSeconds, { offer, leaser })
    const made = await (born === undefined ? hot.create(named, by, publisher?.claimSeconds ?? 0) : born.created)
    if (made === undefined) return undefined
    if (publisher === undefined) hint({ outbox: true })
    else publisher.publish(itemOf(made, nowMs()))
    // The store may be told of what is committed; the caller only of what no crash takes back.
    await born?.durable()
    return made
  }

  /** Creates many jobs, all or none. @throws what {@link create} throws */
  async createBatch(context: CommandContext, body: CreateBatchBody): Promise<{ items: { job: JobView; created: boolean }[]; replayed?: boolean }> {
    const named = await allInOwnName(this.#deps, context.caller, body.jobs)
    return this.#withRow(context.caller, {}, async () => {
      await this.#deps.rates.takeJobs(context.caller, named)
      return this.#deps.run((tx) =>
        onceOnly(tx, context, async () => {
          const made = await createMany(tx, named, { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() })
          await limitsOf(tx).mustFit(tx, newOf(made))
          return { items: made.map(({ job, created }) => ({ job: jobView(job), created })) }
        }),
      )
    })
  }

  /** Creates jobs that depend on each other, all or none. @throws AGENTBUS_DEPENDENCY_CYCLE, and what {@link create} throws */
  async createGraph(context: CommandContext, body: CreateGraphBody): Promise<{ items: { key: string; job: JobView; created: boolean }[]; replayed?: boolean }> {
    const named = await allInOwnName(this.#deps, context.caller, body.jobs)
    return this.#withRow(context.caller, {}, async () => {
      await this.#deps.rates.takeJobs(context.caller, named)
      return this.#deps.run((tx) =>
        onceOnly(tx, context, async () => {
          const made = await createGraph(tx, named, { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() })
          await limitsOf(tx).mustFit(tx, newOf(made))
          return { items: made.map(({ key, job, created }) => ({ key, job: jobView(job), created })) }
        }),
      )
    })
  }

  /**
   * Appends a fact, or answers the one with its dedupe key. In the same transaction those who wait for it wake, and subscriptions react.
   * Agents always emit in their own name, and name only a job as its source that they may read.
   * @throws AGENTBUS_FORBIDDEN and AGENTBUS_LIMIT_REACHED, with a row, AGENTBUS_JOB_NOT_FOUND for an unknown source_job_id, AGENTBUS_IDEMPOTENCY_MISMATCH
   */
  async emit(context: CommandContext, body: EmitEventBody): Promise<{ event: EventView; created: boolean; replayed?: boolean }> {
    const named = await inOwnName(this.#deps, context.caller, body)
    await mayComeFrom(this.#deps, context.caller, named.source_job_id)
    return this.#withRow(context.caller, {}, async () => {
      await this.#deps.rates.takeBytes(context.caller, named)
      return this.#deps.run((tx) =>
        onceOnly(tx, context, async () => {
          if (named.source_job_id !== undefined) await mustBeJob(tx, named.source_job_id)
          const { event, created } = await emitEvent(tx, named, { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() })
          return { event: eventView(event), created }
        }),
      )
    })
  }

  /**
   * Closes the job as succeeded. Events, follow-ups and findings of the body are written in the same transaction, or nothing is.
   * @throws AGENTBUS_FORBIDDEN without the attempt's own token; AGENTBUS_STALE_ATTEMPT, AGENTBUS_LEASE_EXPIRED or AGENTBUS_ALREADY_CLOSED when the
   * attempt does not hold the job, each with a row; for follow-ups what {@link create} throws, for findings AGENTBUS_NO_COORDINATOR; AGENTBUS_IDEMPOTENCY_MISMATCH
   */
  complete(context: CommandContext, id: JobId, body: CompleteJobBody): Promise<JobView> {
    return this.#close(context, id, { kind: 'complete', body })
  }

  /**
   * Closes the attempt and leaves the job blocked until what it waits for arrives; when that has happened already it is queued again at once.
   * @throws what {@link complete} throws; AGENTBUS_BAD_REQUEST for a wait for a time without look_again_at; AGENTBUS_JOB_NOT_FOUND, AGENTBUS_UNKNOWN_AGENT or
   * AGENTBUS_APPROVAL_NOT_FOUND when there is nothing of that name to wait for; AGENTBUS_DEPENDENCY_CYCLE when it would wait for itself
   */
  block(context: CommandContext, id: JobId, body: BlockJobBody): Promise<JobView> {
    return this.#close(context, id, { kind: 'block', body })
  }

  /**
   * Closes the job as failed, for good. With `retry_seconds` it is queued again after so many seconds, or dead when its attempts are used up.
   * @throws what {@link complete} throws
   */
  fail(context: CommandContext, id: JobId, body: FailJobBody): Promise<JobView> {
    return this.#close(context, id, { kind: 'fail', body })
  }

  /** Closes the run of a standing order with what it found. @throws AGENTBUS_NOT_A_SLOT */
  async finishStandingOrder(context: CommandContext, id: JobId, body: FinishStandingOrderBody): Promise<JobView> {
    const request = await this.#closeRequest(context, id, 'finish-standing-order')
    return this.#withRow(context.caller, { jobId: id }, async () => {
      await this.#deps.rates.takeJobs(context.caller, body.follow_ups)
      return onceFenced(this.#deps, context, (tx) => finishSlot(tx, request, body), jobView)
    })
  }

  /** Extends the lease of the attempt whose token was sent. */
  async renew(context: CommandContext, id: JobId, body: RenewBody): Promise<AttemptView> {
    return fenced(this.#deps, context, id, 'renew', async (tx, job, attempt) => {
      const renewed = await renewLease(tx, job, attempt, { actor: actorOf(context.caller), seconds: body.lease_seconds })
      return { ...attemptView(renewed) }
    })
  }

  /** Appends a progress note to the history. @throws AGENTBUS_LIMIT_REACHED, with a row */
  async progress(context: CommandContext, id: JobId, body: ProgressBody): Promise<JobView> {
    await this.#withRow(context.caller, { jobId: id }, () => this.#deps.rates.takeBytes(context.caller, body))
    return fenced(this.#deps, context, id, 'progress', async (tx, job) => {
      const noted = await note(tx, job, { reason: 'progress', actor: actorOf(context.caller), note: body.note, details: body.details })
      return jobView(noted)
    })
  }

  /** The agent says that it has begun; for a gateway whose admission was not seen yet, the job moves to `running`. */
  async markRunning(context: CommandContext, id: JobId, body: MarkRunningBody): Promise<JobView> {
    return fenced(this.#deps, context, id, 'mark-running', async (tx, job, attempt) => {
      await tx.execute(sql`
        update job_attempts set openclaw_task_ref = coalesce(${body.openclaw_task_ref ?? null}, openclaw_task_ref),
          openclaw_session_key = coalesce(${body.openclaw_session_key ?? null}, openclaw_session_key),
          openclaw_meta = openclaw_meta || ${JSON.stringify(body.openclaw_meta)}::jsonb, summary = coalesce(${body.summary ?? null}, summary)
        where id = ${attempt.id}::uuid`)
      const actor = actorOf(context.caller)
      if (job.status === 'leased') return jobView(await move(tx, job, { to: 'running', reason: 'marked_running', actor, note: body.summary }))
      return jobView(await note(tx, job, { reason: 'marked_running', actor, note: body.summary }))
    })
  }

  /**
   * Cancels an open job. A run that is under way goes on in its gateway; its late answer is refused.
   * @throws AGENTBUS_FORBIDDEN unless an operator asks; AGENTBUS_JOB_NOT_FOUND; AGENTBUS_VERSION_MISMATCH when it is not at `ifVersion`;
   * AGENTBUS_ILLEGAL_TRANSITION when it is over; AGENTBUS_IDEMPOTENCY_MISMATCH. All but the second and the last leave a row
   */
  async cancel(context: CommandContext, id: JobId, reason: string): Promise<JobView> {
    return this.#operate(context, id, (tx, job) => cancelJob(tx, job, { actor: actorOf(context.caller), reason }))
  }

  /**
   * Queues a failed, dead, cancelled, blocked or waiting job again, with room for more attempts; with `force` also one that is queued or held by an
   * attempt, which is cut off.
   * @throws what {@link cancel} throws, AGENTBUS_ILLEGAL_TRANSITION for one that succeeded, was pruned, or whose dedupe key is in use by an open job
   */
  async retry(context: CommandContext, id: JobId, body: RetryBody): Promise<JobView> {
    return this.#operate(context, id, (tx, job) => retryJob(tx, job, { actor: actorOf(context.caller), body }))
  }

  /**
   * Lays a failed or dead job to rest; an open one that no attempt holds becomes dead first. One that is buried stays as it is.
   * @throws what {@link cancel} throws, AGENTBUS_ILLEGAL_TRANSITION for one that an attempt holds, succeeded or was cancelled
   */
  async bury(context: CommandContext, id: JobId, reason: string): Promise<JobView> {
    return this.#operate(context, id, (tx, job) => buryJob(tx, job, { actor: actorOf(context.caller), reason }))
  }

  /**
   * Makes an open job a dead letter, whatever it is doing: an attempt that holds it is cut off. One that is dead stays as it is.
   * @throws what {@link cancel} throws
   */
  async forceDead(context: CommandContext, id: JobId, reason: string): Promise<JobView> {
    return this.#operate(context, id, (tx, job) => forceDead(tx, job, { actor: actorOf(context.caller), reason }))
  }

  /** Makes a queued job due now. @throws what {@link cancel} throws, AGENTBUS_ILLEGAL_TRANSITION unless it is queued */
  async promote(context: CommandContext, id: JobId, reason: string): Promise<JobView> {
    return this.#operate(context, id, (tx, job) => promoteJob(tx, job, { actor: actorOf(context.caller), reason }))
  }

  /** Queues again what nobody renewed, `limit` of it at most. The reaper does the same by itself, twice a second. @throws AGENTBUS_FORBIDDEN, AGENTBUS_IDEMPOTENCY_MISMATCH */
  async requeueExpired(context: CommandContext, request: { readonly namespace?: string | undefined; readonly limit: number }): Promise<{ items: JobView[]; replayed?: boolean }> {
    await this.#mustOperate(context.caller, {})
    const { random, retryBaseSeconds } = this.#deps
    return this.#deps.run(async (tx) => {
      // Only which: a thousand whole jobs are too much to be kept for a repeat of the request.
      const { ids, replayed } = await onceOnly(tx, context, async () => {
        const reaped = await reapExpired(tx, { actor: actorOf(context.caller), ...request, random, retryBaseSeconds })
        return { ids: reaped.map(({ id }) => id) }
      })
      const { rows } = await tx.execute(sql`select * from jobs where id = any(${sql.param(ids)}::uuid[]) order by id`)
      return { items: rows.map((row) => jobView(row as JobRow)), ...(replayed === undefined ? {} : { replayed }) }
    })
  }

  async #close(context: CommandContext, id: JobId, closing: Closing): Promise<JobView> {
    const request = await this.#closeRequest(context, id, closing.kind)
    const plain = context.idempotency === undefined ? plainEnding(request, closing) : undefined
    const closed = plain === undefined ? undefined : await this.#deps.hot.end(plain)
    if (closed !== undefined) {
      this.#deps.hint({ closed: [request.attemptId], over: [id] })
      return jobView(closed)
    }
    return this.#withRow(context.caller, { jobId: id }, async () => {
      await this.#deps.rates.takeJobs(context.caller, closing.body.follow_ups)
      return onceFenced(this.#deps, context, (tx) => closeAttempt(tx, request, closing), jobView)
    })
  }

  /** What the ledger refuses leaves a row, whatever it came with. */
  async #withRow<T>(caller: Caller, about: { jobId?: string }, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      // What the board refuses it writes down itself, with the click that asked for it.
      if (error instanceof AgentbusError && LEAVES_A_ROW.has(error.code) && caller.role !== 'internal') await this.#deps.refused(caller, error, about)
      throw error
    }
  }

  async #closeRequest(context: CommandContext, id: JobId, what: string): Promise<CloseRequest> {
    const { caller } = context
    const attemptId = await ownAttempt(this.#deps, caller, id, what)
    if (caller.role !== 'attempt') throw new AgentbusError('AGENTBUS_FORBIDDEN', 'Only the attempt itself may close a job.')
    return {
      jobId: id,
      attemptId,
      agentId: caller.agentId,
      actor: actorOf(caller),
      nowMs: this.#deps.nowMs(),
      random: this.#deps.random(),
      retryBaseSeconds: this.#deps.retryBaseSeconds,
    }
  }

  async #operate(context: CommandContext, id: JobId, work: (tx: Tx, job: LockedJob) => Promise<JobRow>): Promise<JobView> {
    await this.#mustOperate(context.caller, { jobId: id })
    return this.#withRow(context.caller, { jobId: id }, () => this.#operateOnce(context, id, work))
  }

  async #operateOnce(context: CommandContext, id: JobId, work: (tx: Tx, job: LockedJob) => Promise<JobRow>): Promise<JobView> {
    const outcome = await this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        const job = await lockJob(tx, id)
        if (context.ifVersion !== undefined && context.ifVersion !== job.last_seq) {
          throw new AgentbusError('AGENTBUS_VERSION_MISMATCH', `Job ${id} is at version ${job.last_seq}, not ${context.ifVersion}.`, { version: job.last_seq })
        }
        return { job: jobView(await work(tx, job)) }
      }),
    )
    return outcome.job
  }

  async #mustOperate(caller: Caller, about: { jobId?: string }): Promise<void> {
    try {
      requireOperator(caller)
    } catch (error) {
      if (error instanceof AgentbusError) await this.#deps.refused(caller, error, about)
      throw error
    }
  }
}

function newOf(made: readonly { readonly job: JobRow; readonly created: boolean }[]): JobRow[] {
  return made.filter(({ created }) => created).map(({ job }) => job)
}
