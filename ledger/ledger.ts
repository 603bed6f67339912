import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { FleetChange, Fleet } from '../contracts/fleet.js'
import type { FindingId, ListFindingsQuery, ListInboxQuery } from '../contracts/findings.js'
import type { IdeaId, ListIdeasQuery } from '../contracts/ideas.js'
import type { AgentId, AttemptId, JobId } from '../contracts/ids.js'
import { isTerminal } from '../contracts/job-states.js'
import type { AlertId, ListAlertsQuery } from '../contracts/alerts.js'
import type { ApprovalId, ListApprovalsQuery } from '../contracts/approvals.js'
import type { ClaimedJob, ClaimJobsBody } from '../contracts/attempts.js'
import type { ListEventsQuery } from '../contracts/events.js'
import type { JobView, ListBlockedQuery, ListJobsQuery } from '../contracts/jobs.js'
import type { ListMemoriesQuery, ListMemoryCandidatesQuery, MemoryCandidateId, MemoryId } from '../contracts/memories.js'
import type { ListOpportunitiesQuery, OpportunityId } from '../contracts/opportunities.js'
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
import { actorOf, requireOperator, type Caller, type CommandContext } from './caller.js'
import { claimByHand } from './claim-by-hand.js'
import { ConsoleReads } from './console/console-reads.js'
import { ControlCommands } from './control-commands.js'
import { listControlChanges, listControls } from './control-queries.js'
import type { ControlScope, ListControlChangesQuery } from '../contracts/controls.js'
import { inOneStatement, inTransaction, migrationState, type Database, type Db, type Tx } from './database.js'
import { reportAdmitted, type AdmittedRun, type WorkerReport } from './deliver-attempt.js'
import { HandoffCommands } from './handoff-commands.js'
import { approvalHistory, listApprovals, listBlocked, listReactions, listSubscriptions } from './handoff-queries.js'
import { HintBus, takeHints } from './hints.js'
import type { EarlyLeaser, Started } from './early-lease.js'
import { HotPath } from './hot-path.js'
import { onceOnly } from './idempotency.js'
import { JobCommands } from './job-commands.js'
import { JobWaits } from './job-waits.js'
import { listLanes } from './lanes.js'
import { leaseJob, type LeaseDecision, type LeaseRequest } from './lease-job.js'
import { Limits, putLimits } from './limits.js'
import { observe } from './observe.js'
import { OrderCommands } from './order-commands.js'
import { alertCounts, deadLetterCount, metricTotals, queueByLane } from './metrics/read-metrics.js'
import { FewAtOnce } from './few-at-once.js'
import { findingHistory, listFindings, listInbox } from './finding-queries.js'
import { InboxCommands } from './inbox-commands.js'
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
import { Rates } from './rate-limits.js'
import { attemptView, jobView, type JobRow } from './rows.js'
import { listOrders, listSlots, slotHistory } from './slot-queries.js'
import { IdeaCommands } from './thoughts/idea-commands.js'
import { ideaHistory, listIdeas } from './thoughts/idea-queries.js'
import { MemoryCommands } from './thoughts/memory-commands.js'
import { listMemories, listMemoryCandidates, memoryCandidateHistory, memoryHistory } from './thoughts/memory-queries.js'
import { OpportunityCommands } from './thoughts/opportunity-commands.js'
import { listOpportunities, opportunityHistory } from './thoughts/opportunity-queries.js'
import { isAttemptOpen } from './tokens.js'
import { TokenCommands } from './token-commands.js'
import { trace } from './trace.js'
import { traceAgent } from './trace-agent.js'
import { Upkeep } from './upkeep.js'
import { WorkflowCommands } from './workflow-commands.js'
import { getWorkflow, listWorkflowRuns, listWorkflows, runHistory } from './workflow-queries.js'

/** Traces that are read at the same time, of the connections that commands use. */
const STORIES_AT_ONCE = 2

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
  readonly ideas: IdeaCommands
  readonly opportunities: OpportunityCommands
  readonly memories: MemoryCommands
  readonly waits: JobWaits
  readonly limits: Limits
  readonly accesses: AccessLog
  readonly console: ConsoleReads
  readonly orders: OrderCommands
  readonly handOffs: HandoffCommands
  readonly workflows: WorkflowCommands
  readonly controls: ControlCommands
  readonly alerts: AlertCommands
  readonly tokens: TokenCommands
  readonly upkeep: Upkeep
  readonly render: LeaseRequest['render']
  readonly retryBaseSeconds: number
  readonly nowMs: () => number
  readonly random: () => number
  readonly #database: Database
  readonly #hot: HotPath
  readonly #onError: NonNullable<LedgerOptions['onError']>
  #publisher: Publisher | undefined
  #leaser: EarlyLeaser | undefined
  readonly #stories = new FewAtOnce(STORIES_AT_ONCE)
  readonly #recorded = new WeakSet<AgentbusError>()

  constructor(options: LedgerOptions) {
    this.#database = options.database
    this.db = options.database.db
    this.render = options.render
    this.retryBaseSeconds = options.retryBaseSeconds
    this.nowMs = options.nowMs
    this.random = options.random
    this.#hot = new HotPath(options.database)
    this.#onError = options.onError ?? (() => undefined)
    this.accesses = new AccessLog({ db: () => this.db, onError: (error) => this.#onError(error, 'reads') })
    this.console = new ConsoleReads({ db: () => this.db, read: (work) => this.#read(work) })
    this.limits = new Limits({ nowMs: options.nowMs, read: (work) => this.#read(work) })
    const rates = new Rates({ limits: this.limits, run: (work) => this.run(work), read: (work) => this.#read(work) })
    this.tokens = new TokenCommands({
      secret: options.secret,
      run: (work) => this.run(work),
      read: (work) => this.#read(work),
      operatorOnly: (caller) => this.#operatorOnly(caller),
      nowMs: options.nowMs,
    })
    this.upkeep = new Upkeep({
      db: () => this.db,
      run: (work) => this.run(work),
      read: (work) => this.#read(work),
      readByIndex: (work) => this.#readByIndex(work),
      nowMs: options.nowMs,
      random: options.random,
      retryBaseSeconds: options.retryBaseSeconds,
    })
    this.waits = new JobWaits(this.hints, () => this.db)
    this.hints.listen((hint) => {
      if (hint.fleet !== true) return
      this.tokens.forget()
      this.limits.forget()
    })
    this.jobs = new JobCommands({
      run: (work) => this.run(work),
      hot: this.#hot,
      hint: (hint) => this.hints.give(hint),
      publisher: () => this.#publisher,
      leaser: () => this.#leaser,
      refused: (caller, error, about) => this.recordRefusal(caller, error, about),
      limits: this.limits,
      rates,
      read: (work) => this.#read(work),
      nowMs: options.nowMs,
      random: options.random,
      retryBaseSeconds: options.retryBaseSeconds,
    })
    const asCaller: CallerDeps = { run: (work) => this.run(work), refused: (caller, error, about) => this.recordRefusal(caller, error, about), rates, nowMs: options.nowMs }
    this.inbox = new InboxCommands(asCaller)
    this.projects = new ProjectCommands(asCaller)
    this.ideas = new IdeaCommands(asCaller)
    this.opportunities = new OpportunityCommands(asCaller)
    this.memories = new MemoryCommands(asCaller)
    this.workflows = new WorkflowCommands(asCaller)
    this.controls = new ControlCommands({
      ...asCaller,
      read: (work) => this.#read(work),
      cancelWorkflow: (context, id, body) => this.workflows.cancelWithJobs(context, id, body),
    })
    this.alerts = new AlertCommands({ ...asCaller, readByIndex: (work) => this.#readByIndex(work), operatorOnly: (caller) => this.#operatorOnly(caller) })
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
  listIdeas = (query: ListIdeasQuery) => this.#read((db) => listIdeas(db, query))
  ideaHistory = (id: IdeaId) => this.#read((db) => ideaHistory(db, id))
  listOpportunities = (query: ListOpportunitiesQuery) => this.#read((db) => listOpportunities(db, query))
  opportunityHistory = (id: OpportunityId) => this.#read((db) => opportunityHistory(db, id))
  /** Of memories and their candidates each caller reads what their visibility lets it. */
  listMemoryCandidates = (query: ListMemoryCandidatesQuery, caller: Caller) => this.#read((db) => listMemoryCandidates(db, query, caller))
  memoryCandidateHistory = (id: MemoryCandidateId, caller: Caller) => this.#read((db) => memoryCandidateHistory(db, id, caller))
  listMemories = (query: ListMemoriesQuery, caller: Caller) => this.#read((db) => listMemories(db, query, caller))
  memoryHistory = (id: MemoryId, caller: Caller) => this.#read((db) => memoryHistory(db, id, caller))
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
  /** Not on the connections of the short reads: whoever tells a long story must not keep others from signing in. */
  trace = (query: TraceQuery) =>
    this.#stories.do(() =>
      this.run((tx) =>
        query.agent === undefined
          ? trace(tx, query)
          : traceAgent(tx, { agent: query.agent, from: query.from ?? '', to: query.to ?? new Date(this.nowMs()).toISOString(), prompts: query.prompts === 'true' }),
      ),
    )
  /** The prompt of an attempt, with a mark where its token stood. */
  getPrompt = (id: AttemptId) => this.#read((db) => getPrompt(db, id))

  /** What a queue entry that a worker picked up means. @throws AGENTBUS_UNAVAILABLE */
  async lease(request: LeaseRequest): Promise<LeaseDecision> {
    const decision = (await this.#hot.lease(request)) ?? (await this.run((tx) => leaseJob(tx, request)))
    if (decision.kind === 'start') this.#expectToken(decision)
    return decision
  }

  /**
   * Leases a job whose queue entry this process expects to pick up in a moment, in the commonest case alone.
   * @returns undefined when it is another case, or when nobody can tell yet: {@link lease} decides at pick-up
   * @throws AGENTBUS_UNAVAILABLE
   */
  async leaseAhead(request: LeaseRequest): Promise<Started | undefined> {
    const started = await this.#hot.lease(request)
    if (started !== undefined) this.#expectToken(started)
    return started
  }

  /** From now on what is created here may be leased at the same time, for the workers of this process. @returns a function that ends that */
  leaseEarlyFor(leaser: EarlyLeaser): () => void {
    this.#leaser = {
      offer: leaser.offer,
      expect: (entry, lease) =>
        leaser.expect(
          entry,
          lease.then((started) => {
            if (started !== undefined) this.#expectToken(started)
            return started
          }),
        ),
    }
    return () => {
      this.#leaser = undefined
    }
  }

  #expectToken({ job, attempt }: Started): void {
    this.tokens.expect({ id: attempt.id as AttemptId, jobId: job.id as JobId, agentId: attempt.agent_id as AgentId })
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
    return { items: claimed.items.map((item) => ({ ...item, attempt_token: this.tokens.attempts.issue(item.attempt.id) })) }
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

  /** For what asks all the time and takes next to nothing: where the hot path is, whose plans never turn bad. */
  #readByIndex<T>(work: (db: Db) => Promise<T>): Promise<T> {
    return inOneStatement(this.#database.grouped, work)
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
