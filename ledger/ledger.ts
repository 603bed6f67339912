import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { FleetChange, Fleet } from '../contracts/fleet.js'
import type { FindingId, ListFindingsQuery, ListInboxQuery } from '../contracts/findings.js'
import type { AgentId, AttemptId, JobId, TokenId } from '../contracts/ids.js'
import { isTerminal } from '../contracts/job-states.js'
import type { AlertId, ListAlertsQuery } from '../contracts/alerts.js'
import type { ApprovalId, ListApprovalsQuery } from '../contracts/approvals.js'
import type { ClaimedJob, ClaimJobsBody, JobView, ListBlockedQuery, ListEventsQuery, ListJobsQuery } from '../contracts/jobs.js'
import type { TraceQuery } from '../contracts/trace.js'
import type { ListReactionsQuery } from '../contracts/subscriptions.js'
import type { ListWorkflowRunsQuery, WorkflowRunId } from '../contracts/workflows.js'
import type { ListProjectLogQuery, ListProjectsQuery, ListProjectStatusesQuery, ProjectName } from '../contracts/projects.js'
import type { AccountabilityQuery, ListSlotsQuery, SlotId } from '../contracts/standing-orders.js'
import { AccessLog } from './access-log.js'
import { accountability } from './accountability.js'
import { AlertCommands } from './alerts/commands.js'
import { alertHistory, listAlerts, listSilences } from './alerts/queries.js'
import { applyFleet } from './apply-fleet.js'
import type { CallerDeps } from './as-caller.js'
import { assignJobs, takeBackJobs } from './assign-jobs.js'
import { actorOf, requireOperator, type Caller, type CommandContext } from './caller.js'
import { claimByHand } from './claim-by-hand.js'
import { ConsoleReads } from './console/console-reads.js'
import { ControlCommands } from './control-commands.js'
import { listControlChanges, listControls } from './control-queries.js'
import type { ControlScope, ListControlChangesQuery } from '../contracts/controls.js'
import { inOneStatement, inTransaction, migrationState, type Database, type Db, type Tx } from './database.js'
import { reapExpired, reportAdmitted, type AdmittedRun, type WorkerReport } from './deliver-attempt.js'
import { HandoffCommands } from './handoff-commands.js'
import { approvalHistory, listApprovals, listBlocked, listReactions, listSubscriptions } from './handoff-queries.js'
import { HintBus, hintAfterCommit, takeHints } from './hints.js'
import { HotPath } from './hot-path.js'
import { onceOnly } from './idempotency.js'
import { JobCommands } from './job-commands.js'
import { JobWaits } from './job-waits.js'
import { keepControls, type KeptControls } from './keep-controls.js'
import { listLanes } from './lanes.js'
import { leaseJob, type LeaseDecision, type LeaseRequest } from './lease-job.js'
import { Limits, putLimits } from './limits.js'
import { decideApproval, expiredApprovals } from './decide-approval.js'
import { reactToStorm } from './emit-event.js'
import { escalateBlocked } from './escalate.js'
import { observe } from './observe.js'
import { OrderCommands } from './order-commands.js'
import { countHistory } from './metrics/count-history.js'
import { alertCounts, deadLetterCount, metricTotals, queueByLane } from './metrics/read-metrics.js'
import { findingHistory, listFindings, listInbox } from './finding-queries.js'
import { InboxCommands } from './inbox-commands.js'
import { raiseDue } from './file-finding.js'
import { settleAnswered, watchPendingResults } from './pending-results.js'
import { seesAllOf } from './policies.js'
import { ProjectCommands } from './project-commands.js'
import type { Publisher } from './outbox.js'
import { listProjectLog, listProjects, listProjectStatuses, projectStatus } from './projects.js'
import {
  getAttempt,
  getJob,
  getPrompt,
  jobAttempts,
  jobHistory,
  listAgents,
  listDispatchers,
  listEvents,
  listGateways,
  listJobs,
  openCounts,
  outboxLag,
  traceparentsOf,
} from './queries.js'
import { attemptView, jobView, type JobRow } from './rows.js'
import { listOrders, listSlots, slotHistory } from './slot-queries.js'
import { authenticate, AttemptTokens, createToken, isAttemptOpen, listTokens, revokeToken, type TokenRole, type TokenView } from './tokens.js'
import { trace } from './trace.js'
import { traceAgent } from './trace-agent.js'
import { resumeMet } from './wake.js'
import { watchAgents } from './watch-agents.js'
import { WorkflowCommands } from './workflow-commands.js'
import { getWorkflow, listWorkflowRuns, listWorkflows, runHistory } from './workflow-queries.js'

const REMEMBERED_TOKENS = 1_000

export interface LedgerOptions {
  readonly database: Database
  readonly secret: string
  readonly retryBaseSeconds: number
  readonly nowMs: () => number
  readonly random: () => number
  /** Renders what an attempt is sent; given by whoever builds the object graph, so that the ledger knows no gateway. */
  readonly render: LeaseRequest['render']
  /** Told when a row beside a request could not be written: of a refusal, or of reads. The request itself has its answer. */
  readonly onError?: (error: unknown, what: 'refusal' | 'reads') => void
}

/** The one entrance to the ledger for `api/`, `board/`, `queues/` and `processors/`. */
export class Ledger {
  readonly db: Db
  readonly hints = new HintBus()
  readonly jobs: JobCommands
  readonly inbox: InboxCommands
  readonly projects: ProjectCommands
  readonly waits: JobWaits
  readonly limits: Limits
  readonly accesses: AccessLog
  readonly console: ConsoleReads
  readonly orders: OrderCommands
  readonly handOffs: HandoffCommands
  readonly workflows: WorkflowCommands
  readonly controls: ControlCommands
  readonly alerts: AlertCommands
  readonly attemptTokens: AttemptTokens
  readonly render: LeaseRequest['render']
  readonly retryBaseSeconds: number
  readonly nowMs: () => number
  readonly random: () => number
  readonly #database: Database
  readonly #hot: HotPath
  readonly #onError: NonNullable<LedgerOptions['onError']>
  #publisher: Publisher | undefined
  readonly #recorded = new WeakSet<AgentbusError>()
  /** Questions under way: many requests with one token ask once. */
  readonly #signingIn = new Map<string, Promise<Caller | undefined>>()
  readonly #signedIn = new Map<string, { readonly caller: Caller; readonly untilMs: number }>()

  constructor(options: LedgerOptions) {
    this.#database = options.database
    this.db = options.database.db
    this.attemptTokens = new AttemptTokens(options.secret)
    this.render = options.render
    this.retryBaseSeconds = options.retryBaseSeconds
    this.nowMs = options.nowMs
    this.random = options.random
    this.#hot = new HotPath(options.database)
    this.#onError = options.onError ?? (() => undefined)
    this.accesses = new AccessLog({ db: () => this.db, onError: (error) => this.#onError(error, 'reads') })
    this.console = new ConsoleReads({ db: () => this.db, read: (work) => this.#read(work) })
    this.limits = new Limits({ nowMs: options.nowMs })
    this.waits = new JobWaits(this.hints, () => this.db)
    this.hints.listen((hint) => {
      if (hint.fleet !== true) return
      this.#signedIn.clear()
      this.limits.forget()
    })
    this.jobs = new JobCommands({
      run: (work) => this.run(work),
      hot: this.#hot,
      hint: (hint) => this.hints.give(hint),
      publisher: () => this.#publisher,
      refused: (caller, error, about) => this.recordRefusal(caller, error, about),
      limits: this.limits,
      read: (work) => this.#read(work),
      nowMs: options.nowMs,
      random: options.random,
      retryBaseSeconds: options.retryBaseSeconds,
    })
    const asCaller: CallerDeps = { run: (work) => this.run(work), refused: (caller, error, about) => this.recordRefusal(caller, error, about), nowMs: options.nowMs }
    this.inbox = new InboxCommands(asCaller)
    this.projects = new ProjectCommands(asCaller)
    this.workflows = new WorkflowCommands(asCaller)
    this.controls = new ControlCommands({
      ...asCaller,
      read: (work) => this.#read(work),
      cancelWorkflow: (context, id, body) => this.workflows.cancelWithJobs(context, id, body),
    })
    this.alerts = new AlertCommands({ ...asCaller, operatorOnly: (caller) => this.#operatorOnly(caller) })
    this.handOffs = new HandoffCommands({ ...asCaller, operatorOnly: (caller) => this.#operatorOnly(caller) })
    this.orders = new OrderCommands({ run: (work) => this.run(work), operatorOnly: (caller) => this.#operatorOnly(caller), nowMs: options.nowMs })
  }

  /** Runs one transaction; what it noted is hinted only after the commit. @throws AGENTBUS_UNAVAILABLE when the ledger is away */
  async run<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    let committed: Tx | undefined
    const result = await inTransaction(this.db, async (tx) => {
      committed = tx
      putLimits(tx, this.limits)
      return work(tx)
    })
    const hint = committed === undefined ? undefined : takeHints(committed)
    if (hint !== undefined) this.hints.give(hint)
    return result
  }

  /** From now on what is created here is handed to this process's relay at once. @returns a function that ends that */
  publishBy(publisher: Publisher): () => void {
    this.#publisher = publisher
    return () => {
      this.#publisher = undefined
    }
  }

  /** The row that every refusal gets. Never fails the request that was refused. */
  async recordRefusal(caller: Caller, error: AgentbusError, about: { jobId?: string; agentId?: string }): Promise<void> {
    this.#recorded.add(error)
    const agentId = about.agentId ?? (caller.role === 'agent' || caller.role === 'attempt' ? caller.agentId : undefined)
    await observe(this.db, {
      kind: 'refusal',
      code: error.code,
      actor: actorOf(caller),
      detail: error.message,
      jobId: about.jobId,
      attemptId: caller.role === 'attempt' ? caller.attemptId : undefined,
      agentId,
    }).catch((failure: unknown) => this.#onError(failure, 'refusal'))
  }

  /** The same for whoever passes on what a command threw: nothing when the command has written that down itself. */
  async recordRefusalOnce(caller: Caller, error: AgentbusError, about: { jobId?: string; agentId?: string }): Promise<void> {
    if (!this.#recorded.has(error)) await this.recordRefusal(caller, error, about)
  }

  /** The job as soon as it is over; as it stands when `ms` have passed, `signal` aborts or this process stops. @throws AGENTBUS_JOB_NOT_FOUND */
  async untilOver(id: JobId, ms: number, signal: AbortSignal): Promise<JobView> {
    const stop = new AbortController()
    // Before the look, so that an end between the two is not missed.
    const over = this.waits.until(id, ms, AbortSignal.any([signal, stop.signal]))
    try {
      const job = await this.getJob(id)
      if (isTerminal(job.status)) return job
      await over
      return await this.getJob(id)
    } finally {
      stop.abort()
    }
  }

  // Reads. An attempt's token reads its own job and projects, and nothing else. @throws AGENTBUS_UNAVAILABLE when the ledger is away
  /** Where a job stands, cheaply: for many that ask at once. @throws AGENTBUS_JOB_NOT_FOUND */
  jobStanding = async (id: JobId) => (await this.#hot.standing(id)) ?? (await this.getJob(id))
  getJob = (id: JobId) => this.#read((db) => getJob(db, id))
  listJobs = (query: ListJobsQuery) => this.#read((db) => listJobs(db, query))
  jobHistory = (id: JobId) => this.#read((db) => jobHistory(db, id))
  jobAttempts = (id: JobId) => this.#read((db) => jobAttempts(db, id))
  isAttemptOpen = (id: AttemptId) => this.#read((db) => isAttemptOpen(db, id))
  getAttempt = (id: AttemptId) => this.#read((db) => getAttempt(db, id))
  listEvents = (query: ListEventsQuery) => this.#read((db) => listEvents(db, query))
  listAgents = (only?: string) => this.#read((db) => listAgents(db, only))
  listGateways = () => this.#read(listGateways)
  listControls = () => this.#read((db) => listControls(db))
  listControlChanges = (query: ListControlChangesQuery) => this.#read((db) => listControlChanges(db, query))
  listLanes = () => this.#read(listLanes)
  listDispatchers = () => this.#read(listDispatchers)
  traceparentsOf = (ids: readonly string[]) => this.#read((db) => traceparentsOf(db, ids))
  openCounts = () => this.#read(openCounts)
  outboxLag = () => this.#read(outboxLag)
  metricTotals = () => this.#read(metricTotals)
  queueByLane = () => this.#read(queueByLane)
  alertCounts = () => this.#read(alertCounts)
  deadLetterCount = () => this.#read(deadLetterCount)
  listTokens = () => this.#read(listTokens)
  listOrders = (only: { readonly agent?: string; readonly order?: string } = {}) => this.#read((db) => listOrders(db, only))
  listSlots = (query: ListSlotsQuery) => this.#read((db) => listSlots(db, query, this.nowMs()))
  slotHistory = (id: SlotId) => this.#read((db) => slotHistory(db, id))
  listFindings = (query: ListFindingsQuery) => this.#read((db) => listFindings(db, query))
  findingHistory = (id: FindingId) => this.#read((db) => findingHistory(db, id))
  listInbox = (query: ListInboxQuery) => this.#read((db) => listInbox(db, query))
  listProjects = (query: ListProjectsQuery) => this.#read((db) => listProjects(db, query))
  listProjectLog = (project: ProjectName, query: ListProjectLogQuery) => this.#read((db) => listProjectLog(db, project, query))
  projectStatus = (project: ProjectName, namespace: string) => this.#read((db) => projectStatus(db, project, namespace))
  listProjectStatuses = (project: ProjectName, query: ListProjectStatusesQuery) => this.#read((db) => listProjectStatuses(db, project, query))
  accountability = (query: AccountabilityQuery) => this.#read((db) => accountability(db, query, this.nowMs()))
  listSubscriptions = (only: { readonly agent?: string | undefined; readonly namespace?: string | undefined } = {}) => this.#read((db) => listSubscriptions(db, only))
  listReactions = (query: ListReactionsQuery) => this.#read((db) => listReactions(db, query))
  listBlocked = (query: ListBlockedQuery) => this.#read((db) => listBlocked(db, query))
  listApprovals = (query: ListApprovalsQuery, askedBy?: AgentId) => this.#read((db) => listApprovals(db, query, askedBy))
  approvalHistory = (id: ApprovalId) => this.#read((db) => approvalHistory(db, id))
  listAlerts = (query: ListAlertsQuery) => this.#read((db) => listAlerts(db, query))
  alertHistory = (id: AlertId) => this.#read((db) => alertHistory(db, id))
  listSilences = () => this.#read(listSilences)
  listWorkflows = () => this.#read(listWorkflows)
  getWorkflow = (what: Parameters<typeof getWorkflow>[1]) => this.#read((db) => getWorkflow(db, what))
  listWorkflowRuns = (query: ListWorkflowRunsQuery, inNameOf?: AgentId) => this.#read((db) => listWorkflowRuns(db, query, inNameOf))
  /** Whether a caller may see all approvals, or all runs of workflows. */
  seesAllOf = (caller: Caller, right: 'approve' | 'workflow') => this.#read((db) => seesAllOf(db, caller, right))
  runHistory = (id: WorkflowRunId) => this.#read((db) => runHistory(db, id))
  trace = (query: TraceQuery) =>
    this.#read((db) =>
      query.agent === undefined
        ? trace(db, query)
        : traceAgent(db, { agent: query.agent, from: query.from ?? '', to: query.to ?? new Date(this.nowMs()).toISOString(), prompts: query.prompts === 'true' }),
    )
  /** The prompt of an attempt, with a mark where its token stood. */
  getPrompt = (id: AttemptId) => this.#read((db) => getPrompt(db, id))

  /**
   * Who holds a token. A stored token is remembered for a second, or until one is revoked; whose attempt a token is never
   * changes, and whether that attempt still lives is asked by whoever relies on it.
   */
  async authenticate(token: string): Promise<Caller | undefined> {
    const known = this.#signedIn.get(token)
    if (known !== undefined && this.nowMs() < known.untilMs) return known.caller
    const asked = this.#signingIn.get(token)
    if (asked !== undefined) return asked
    const answer = this.#signIn(token).finally(() => this.#signingIn.delete(token))
    this.#signingIn.set(token, answer)
    return answer
  }

  async #signIn(token: string): Promise<Caller | undefined> {
    const caller = await this.#read((db) => authenticate(db, this.attemptTokens, token))
    if (caller !== undefined) this.#remember(token, caller)
    return caller
  }

  #remember(token: string, caller: Caller): void {
    if (this.#signedIn.size >= REMEMBERED_TOKENS) this.#signedIn.clear()
    this.#signedIn.set(token, { caller, untilMs: caller.role === 'attempt' ? Infinity : this.nowMs() + 1_000 })
  }

  /** What a queue entry that a worker picked up means. @throws AGENTBUS_UNAVAILABLE */
  async lease(request: LeaseRequest): Promise<LeaseDecision> {
    const decision = (await this.#hot.lease(request)) ?? (await this.run((tx) => leaseJob(tx, request)))
    // The agent's next word is likely to come to this process.
    if (decision.kind === 'start') {
      const attemptId = decision.attempt.id as AttemptId
      this.#remember(this.attemptTokens.issue(attemptId), { role: 'attempt', attemptId, jobId: decision.job.id as JobId, agentId: decision.attempt.agent_id as AgentId })
    }
    return decision
  }

  /** The gateway admitted the run. @returns whether the attempt still holds its job */
  async reportAdmitted(job: JobRow, report: WorkerReport, run: AdmittedRun): Promise<boolean> {
    const admitted = job.status === 'leased' ? await this.#hot.admit({ ...report, lastSeq: job.last_seq, run }) : 'changed'
    if (admitted !== 'changed') return admitted === 'moved'
    // Most often because the agent closed the job while this was being written.
    if ((await this.#hot.standing(report.jobId))?.current_attempt_id !== report.attemptId) return false
    return (await this.run((tx) => reportAdmitted(tx, report, run))).job.current_attempt_id === report.attemptId
  }

  /** @throws AGENTBUS_FORBIDDEN */
  async applyFleet(context: CommandContext, fleet: Fleet, options: { readonly dryRun: boolean; readonly prune: boolean }): Promise<FleetChange[]> {
    await this.#operatorOnly(context.caller)
    const { changes } = await this.run((tx) =>
      onceOnly(tx, context, async () => ({ changes: await applyFleet(tx, fleet, { actor: actorOf(context.caller), nowMs: this.nowMs(), ...options }) })),
    )
    return changes
  }

  /** Pauses or resumes in the simplest form, for the routes and the board that know no other. */
  async setPaused(context: CommandContext, what: { readonly scope: ControlScope; readonly target: string; readonly reason: string; readonly paused: boolean }): Promise<boolean> {
    await this.#operatorOnly(context.caller)
    if (what.paused) return this.controls.pause(context, what)
    const { scope, reason } = what
    return (await this.controls.resume(context, { scope, reason, ...(what.target === '' ? {} : { target: what.target }) })).changed
  }

  /** Makes a token. @throws AGENTBUS_TOKEN_SHOWN for a repeat: a token is shown once */
  async createToken(
    context: CommandContext,
    what: { readonly name: string; readonly role: TokenRole; readonly agentId?: AgentId | undefined; readonly expiresAt?: string | undefined; readonly token?: string | undefined },
  ): Promise<{ token: string; view: TokenView }> {
    await this.#operatorOnly(context.caller)
    let token: string | undefined
    const { view } = await this.run((tx) =>
      onceOnly(tx, context, async () => {
        const made = await createToken(tx, { ...what, createdBy: actorOf(context.caller).id, nowMs: this.nowMs() })
        token = made.token
        // Only the view is kept for a repeat: the ledger holds no secret.
        return { view: made.view }
      }),
    )
    if (token === undefined) {
      throw new AgentbusError('AGENTBUS_TOKEN_SHOWN', `Token ${view.id} (${view.name}) was made by an earlier request with this Idempotency-Key.`, { token_id: view.id })
    }
    return { token, view }
  }

  /**
   * Revokes a token; one that is revoked stays so, with its first time. A hint tells the other processes, which remember who signed in for a second at most.
   * @throws AGENTBUS_FORBIDDEN unless an operator asks, with a row; AGENTBUS_NOT_FOUND; AGENTBUS_IDEMPOTENCY_MISMATCH
   */
  async revokeToken(context: CommandContext, id: TokenId): Promise<TokenView> {
    await this.#operatorOnly(context.caller)
    const { revoked } = await this.run((tx) =>
      onceOnly(tx, context, async () => {
        const view = await revokeToken(tx, id)
        hintAfterCommit(tx, { fleet: true })
        return { revoked: view }
      }),
    )
    return revoked
  }

  /** Leases jobs to a caller that pulls. An agent pulls its own; an operator anybody's. */
  async claimJobs(context: CommandContext, body: ClaimJobsBody): Promise<{ items: ClaimedJob[] }> {
    const caller = context.caller
    const own = await this.#ownAgent(caller, body.target_agent)
    const claimed = await this.run((tx) =>
      onceOnly(tx, context, async () => {
        const leased = await claimByHand(tx, {
          body: own === undefined ? body : { ...body, target_agent: own },
          actor: actorOf(caller),
          nowMs: this.nowMs(),
          render: this.render,
        })
        return { items: leased.map(({ job, attempt }) => ({ job: jobView(job), attempt: attemptView(attempt) })) }
      }),
    )
    // The tokens are derived after the commit: what is stored for a repeat of the request holds no secret.
    return { items: claimed.items.map((item) => ({ ...item, attempt_token: this.attemptTokens.issue(item.attempt.id) })) }
  }

  /** Queues again what nobody renewed. The reaper does the same by itself, every second. */
  async requeueExpired(context: CommandContext, request: { readonly namespace?: string | undefined; readonly limit: number }): Promise<{ items: JobView[] }> {
    await this.#operatorOnly(context.caller)
    const reaped = await this.reap({ actor: actorOf(context.caller), ...request })
    return { items: reaped }
  }

  /**
   * Ends the attempts whose lease has run out, at most `limit` of them, and queues their jobs again at once, or leaves them dead when their attempts
   * are used up. What another process reaps at the same moment is skipped. @returns the jobs as they are then
   */
  async reap(request: { readonly actor: Actor; readonly limit: number; readonly namespace?: string | undefined }): Promise<JobView[]> {
    const reaped = await this.run((tx) => reapExpired(tx, { ...request, random: this.random, retryBaseSeconds: this.retryBaseSeconds }))
    return reaped.map(jobView)
  }

  /** What time brings to the inbox: results that are overdue, those that have come, and what was held back until now. */
  async keepInbox(limit: number): Promise<{ overdue: number; answered: number; raised: number }> {
    const nowMs = this.nowMs()
    const answered = await this.run((tx) => settleAnswered(tx, { nowMs }))
    const overdue = await this.run((tx) => watchPendingResults(tx, { nowMs, limit }))
    const raised = await this.run((tx) => raiseDue(tx, { actor: SYSTEM_ACTOR, nowMs }, limit))
    return { overdue, answered, raised }
  }

  /** What time brings to hand-offs: conditions that hold, approvals past their time, work that is blocked for too long. */
  async keepBlocked(limit: number): Promise<{ resumed: number; expired: number; escalated: number }> {
    const nowMs = this.nowMs()
    const resumed = await this.run((tx) => resumeMet(tx, { limit }))
    const expired = await this.run(async (tx) => {
      const ids = await expiredApprovals(tx, limit)
      for (const id of ids) await decideApproval(tx, id, { to: 'expired', actor: SYSTEM_ACTOR, note: 'Nobody decided in time.', nowMs })
      return ids.length
    })
    const escalated = await this.run((tx) => escalateBlocked(tx, { nowMs, limit }))
    return { resumed, expired, escalated }
  }

  /** What controls ask for after they were set, and when they end. */
  keepControls(): Promise<KeptControls> {
    return keepControls((work) => this.run(work), this.db)
  }

  /** Whether reactions of a storm are owed, and whether work that was or will be given by capability waits. */
  async handOffsDue(): Promise<{ reactions: boolean; routed: boolean }> {
    const { rows } = await this.#read((db) =>
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
      const page = await this.run((tx) => reactToStorm(tx, { nowMs: this.nowMs(), limit }))
      made += page
      if (page < limit) return made
    }
  }

  /** Gives work that names capabilities to agents with a free place, and takes back what its agent cannot start. */
  async assign(limit: number): Promise<{ assigned: number; takenBack: number }> {
    const takenBack = await this.run((tx) => takeBackJobs(tx, { limit }))
    const assigned = await this.run((tx) => assignJobs(tx, { limit }))
    return { assigned, takenBack }
  }

  /** Adds to the totals of the metrics what has happened since; a part of a long stretch at a time. */
  async countMetrics(): Promise<void> {
    for (let parts = 0; parts < 20; parts += 1) if (!(await this.run(countHistory))) return
  }

  /** Takes down what each agent does now. */
  async watchAgents(): Promise<number> {
    return (await this.run((tx) => watchAgents(tx, { nowMs: this.nowMs() }))).length
  }

  /** Whether the ledger answers and its schema is the one this build knows. */
  async ready(): Promise<{ ok: boolean; reason?: string }> {
    try {
      const { known, applied } = await migrationState(this.#database.pool)
      if (applied < known) return { ok: false, reason: `the schema lacks ${known - applied} migrations; run agentbus migrate` }
      await this.db.execute(sql`select 1`)
      return { ok: true }
    } catch {
      return { ok: false, reason: 'the ledger cannot be reached' }
    }
  }

  #read<T>(work: (db: Db) => Promise<T>): Promise<T> {
    return inOneStatement(this.#database.single, work)
  }

  async #operatorOnly(caller: Caller): Promise<void> {
    try {
      requireOperator(caller)
    } catch (error) {
      if (error instanceof AgentbusError) await this.recordRefusal(caller, error, {})
      throw error
    }
  }

  async #ownAgent(caller: Caller, asked: AgentId | undefined): Promise<AgentId | undefined> {
    if (caller.role === 'operator' || caller.role === 'internal') return asked
    if (caller.role === 'agent' && (asked === undefined || asked === caller.agentId)) return caller.agentId
    const error = new AgentbusError('AGENTBUS_FORBIDDEN', 'Only an operator claims jobs of other agents.')
    await this.recordRefusal(caller, error, {})
    throw error
  }
}
