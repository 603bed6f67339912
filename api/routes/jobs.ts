import { z } from 'zod'
import { AgentbusError } from '../../contracts/errors.js'
import { AttemptId, JobId, Namespace } from '../../contracts/ids.js'
import { AttemptView, ClaimedJob, ClaimJobsBody, MarkRunningBody, ProgressBody, RenewBody } from '../../contracts/attempts.js'
import { BlockJobBody, CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { ReasonBody, RetryBody } from '../../contracts/job-operations.js'
import { JobResult, WaitQuery, waitMs } from '../../contracts/job-waits.js'
import { CreateBatchBody, CreateGraphBody, CreateJobBody, JobView, ListJobsQuery, TransitionView } from '../../contracts/jobs.js'
import { isTerminal } from '../../contracts/job-states.js'
import { defineRoute, type Reply } from '../define-route.js'
import { readJob, requireLiveAttempt, requireRole } from '../read-access.js'
import { reply } from './reply.js'

const ById = z.object({ id: JobId })
const tag = 'jobs'

const ObservationView = z
  .object({
    id: z.int(),
    kind: z.string(),
    code: z.string(),
    attempt_id: z.string().nullable(),
    actor_kind: z.string(),
    actor: z.string(),
    detail: z.string(),
    details: z.record(z.string(), z.unknown()),
    at: z.string(),
  })
  .meta({ id: 'Observation' })
const History = z.object({ job: JobView, transitions: z.array(TransitionView), attempts: z.array(AttemptView), observations: z.array(ObservationView) }).meta({ id: 'JobHistory' })
const Prompt = z.object({ hash: z.string(), body: z.string(), bytes: z.int() }).meta({ id: 'Prompt' })

/** A single job, with its version as ETag. */
function jobReply(job: JobView, status = 200, headers: Record<string, string> = {}): Reply {
  return { status, body: job, headers: { ETag: `"${job.version}"`, ...headers } }
}

export const jobRoutes = [
  defineRoute({
    id: 'createJob',
    method: 'post',
    path: '/v1/jobs',
    tag,
    summary: 'Enqueue a job; answers 200 with the open job when one has the same dedupe key',
    status: 201,
    also: { status: 200, when: 'A job with the dedupe key is open: that job' },
    spec: { query: WaitQuery, body: CreateJobBody, response: JobView },
    async handle({ query, body, context, gone }, { ledger, waiting }) {
      const create = async (wait: string | undefined): Promise<Reply> => {
        const { job: made, created, replayed } = await ledger.jobs.create(context, body)
        const job = wait === undefined ? made : await ledger.untilOver(made.id, waitMs(wait), gone)
        return jobReply(job, created ? 201 : 200, { Location: `/v1/jobs/${job.id}`, ...(replayed === true ? { 'Idempotency-Replayed': 'true' } : {}) })
      }
      return query.wait === undefined ? create(undefined) : waiting.within(context.caller, () => create(query.wait))
    },
  }),
  defineRoute({
    id: 'createJobBatch',
    method: 'post',
    path: '/v1/job-batches',
    tag,
    summary: 'Enqueue many jobs in one transaction, all or none; a job whose dedupe key is taken is answered with the open one',
    status: 201,
    spec: { body: CreateBatchBody, response: z.object({ items: z.array(z.object({ job: JobView, created: z.boolean() })) }).meta({ id: 'JobBatch' }) },
    async handle({ body, context }, { ledger }) {
      const { items, replayed } = await ledger.jobs.createBatch(context, body)
      return { status: 201, body: { items }, ...(replayed === true ? { headers: { 'Idempotency-Replayed': 'true' } } : {}) }
    },
  }),
  defineRoute({
    id: 'createJobGraph',
    method: 'post',
    path: '/v1/job-graphs',
    tag,
    summary: 'Enqueue jobs that depend on each other, all or none; a cycle is refused',
    status: 201,
    spec: {
      body: CreateGraphBody,
      response: z.object({ items: z.array(z.object({ key: z.string(), job: JobView, created: z.boolean() })) }).meta({ id: 'JobGraph' }),
    },
    async handle({ body, context }, { ledger }) {
      const { items, replayed } = await ledger.jobs.createGraph(context, body)
      return { status: 201, body: { items }, ...(replayed === true ? { headers: { 'Idempotency-Replayed': 'true' } } : {}) }
    },
  }),
  defineRoute({
    id: 'getJobResult',
    method: 'get',
    path: '/v1/jobs/{id}/result',
    tag,
    summary: 'What came of a job; with `wait` (`30s`) answered as soon as it is over',
    also: { status: 202, when: 'It goes on' },
    spec: { params: ById, query: WaitQuery, response: JobResult },
    async handle({ params, query, caller, gone }, { ledger, waiting }) {
      await readJob(ledger, caller, params.id)
      const { wait } = query
      const job = wait === undefined ? await ledger.getJob(params.id) : await waiting.within(caller, () => ledger.untilOver(params.id, waitMs(wait), gone))
      const { id, status, summary, result, blocked_reason, last_error, finished_at } = job
      const over = isTerminal(status)
      return { status: over ? 200 : 202, body: { job_id: id, status, over, summary, result, blocked_reason, last_error, finished_at } }
    },
  }),
  defineRoute({
    id: 'listJobs',
    method: 'get',
    path: '/v1/jobs',
    tag,
    summary: 'List jobs, newest first; an agent sees those that are sent to it',
    spec: { query: ListJobsQuery, response: z.object({ items: z.array(JobView), next_cursor: z.string().nullable() }).meta({ id: 'JobPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, ['operator', 'auditor', 'agent'])
      if (caller.role === 'agent' && query.target_agent !== undefined && query.target_agent !== caller.agentId) {
        const error = new AgentbusError('AGENTBUS_FORBIDDEN', `Agent ${caller.agentId} may list only its own jobs.`)
        await ledger.recordRefusal(caller, error, {})
        throw error
      }
      const own = caller.role === 'agent' ? { ...query, target_agent: caller.agentId } : query
      return { status: 200, body: await ledger.listJobs(own) }
    },
  }),
  defineRoute({
    id: 'claimJobs',
    method: 'post',
    path: '/v1/jobs/claim',
    tag,
    summary: 'Lease due jobs by hand, most urgent first; no gateway is called for them',
    spec: { body: ClaimJobsBody, response: z.object({ items: z.array(ClaimedJob) }).meta({ id: 'ClaimedJobs' }) },
    async handle({ body, context }, { ledger }) {
      return { status: 200, body: await ledger.claimJobs(context, body) }
    },
  }),
  defineRoute({
    id: 'requeueExpired',
    method: 'post',
    path: '/v1/jobs/requeue-expired',
    tag,
    access: 'operator',
    summary: 'Queue again every job whose lease has run out; the reaper does the same each second',
    spec: {
      body: z.strictObject({ namespace: Namespace.optional(), limit: z.int().min(1).max(1000).default(1000) }),
      response: z.object({ items: z.array(JobView) }).meta({ id: 'RequeuedJobs' }),
    },
    async handle({ body, context }, { ledger }) {
      const { items, replayed } = await ledger.jobs.requeueExpired(context, body)
      return reply(200, { items }, { replayed })
    },
  }),
  defineRoute({
    id: 'getJob',
    method: 'get',
    path: '/v1/jobs/{id}',
    tag,
    summary: 'One job; its version is the ETag',
    spec: { params: ById, response: JobView },
    async handle({ params, caller }, { ledger }) {
      return jobReply(await readJob(ledger, caller, params.id))
    },
  }),
  defineRoute({
    id: 'getJobHistory',
    method: 'get',
    path: '/v1/jobs/{id}/history',
    tag,
    summary: 'Everything that happened to a job: each move and note, each attempt, each refusal',
    spec: { params: ById, response: History },
    async handle({ params, caller }, { ledger }) {
      await readJob(ledger, caller, params.id)
      return { status: 200, body: await ledger.jobHistory(params.id) }
    },
  }),
  defineRoute({
    id: 'listJobAttempts',
    method: 'get',
    path: '/v1/jobs/{id}/attempts',
    tag,
    summary: 'The runs of a job, oldest first',
    spec: { params: ById, response: z.object({ items: z.array(AttemptView) }).meta({ id: 'Attempts' }) },
    async handle({ params, caller }, { ledger }) {
      await readJob(ledger, caller, params.id)
      return { status: 200, body: { items: await ledger.jobAttempts(params.id) } }
    },
  }),
  defineRoute({
    id: 'completeJob',
    method: 'post',
    path: '/v1/jobs/{id}/complete',
    tag,
    summary: "Close as done, with follow-ups and events in the same transaction; needs the attempt's token",
    spec: { params: ById, body: CompleteJobBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.complete(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'blockJob',
    method: 'post',
    path: '/v1/jobs/{id}/block',
    tag,
    summary: "Close as blocked, naming what it waits for; needs the attempt's token",
    spec: { params: ById, body: BlockJobBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.block(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'failJob',
    method: 'post',
    path: '/v1/jobs/{id}/fail',
    tag,
    summary: "Close as failed, for good or with a retry; needs the attempt's token",
    spec: { params: ById, body: FailJobBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.fail(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'renewJobLease',
    method: 'post',
    path: '/v1/jobs/{id}/renew',
    tag,
    summary: "Extend the attempt's lease; needs the attempt's token",
    spec: { params: ById, body: RenewBody, response: AttemptView },
    async handle({ params, body, context }, { ledger }) {
      return { status: 200, body: await ledger.jobs.renew(context, params.id, body) }
    },
  }),
  defineRoute({
    id: 'noteProgress',
    method: 'post',
    path: '/v1/jobs/{id}/progress',
    tag,
    summary: "Append a note to the history; needs the attempt's token",
    spec: { params: ById, body: ProgressBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.progress(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'markJobRunning',
    method: 'post',
    path: '/v1/jobs/{id}/mark-running',
    tag,
    summary: "Say that the work has begun, and where; needs the attempt's token",
    spec: { params: ById, body: MarkRunningBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.markRunning(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'cancelJob',
    method: 'post',
    path: '/v1/jobs/{id}/cancel',
    tag,
    access: 'operator',
    isConditional: true,
    summary: 'Cancel an open job',
    spec: { params: ById, body: ReasonBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.cancel(context, params.id, body.reason))
    },
  }),
  defineRoute({
    id: 'retryJob',
    method: 'post',
    path: '/v1/jobs/{id}/retry',
    tag,
    access: 'operator',
    isConditional: true,
    summary: 'Queue a failed, dead, cancelled, blocked or waiting job again; with `force` also one that is queued or runs',
    spec: { params: ById, body: RetryBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.retry(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'forceDead',
    method: 'post',
    path: '/v1/jobs/{id}/dead',
    tag,
    access: 'operator',
    isConditional: true,
    summary: 'Make an open job a dead letter, whatever it is doing; what runs is cut off',
    spec: { params: ById, body: ReasonBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.forceDead(context, params.id, body.reason))
    },
  }),
  defineRoute({
    id: 'buryJob',
    method: 'post',
    path: '/v1/jobs/{id}/bury',
    tag,
    access: 'operator',
    isConditional: true,
    summary: 'Lay a dead letter to rest',
    spec: { params: ById, body: ReasonBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.bury(context, params.id, body.reason))
    },
  }),
  defineRoute({
    id: 'promoteJob',
    method: 'post',
    path: '/v1/jobs/{id}/promote',
    tag,
    access: 'operator',
    isConditional: true,
    summary: 'Make a delayed job due now',
    spec: { params: ById, body: ReasonBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.promote(context, params.id, body.reason))
    },
  }),
  defineRoute({
    id: 'getAttempt',
    method: 'get',
    path: '/v1/attempts/{id}',
    tag: 'attempts',
    summary: 'One run of an agent',
    spec: { params: z.object({ id: AttemptId }), response: AttemptView },
    async handle({ params, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      const attempt = await ledger.getAttempt(params.id)
      await readJob(ledger, caller, attempt.job_id)
      return { status: 200, body: attempt }
    },
  }),
  defineRoute({
    id: 'getAttemptPrompt',
    method: 'get',
    path: '/v1/attempts/{id}/prompt',
    tag: 'attempts',
    summary: "The bytes an attempt was sent, with the attempt's token cut out",
    spec: { params: z.object({ id: AttemptId }), response: Prompt },
    async handle({ params, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      if (caller.role === 'attempt' && caller.attemptId !== params.id) {
        const error = new AgentbusError('AGENTBUS_FORBIDDEN', 'This attempt token belongs to another attempt.')
        await ledger.recordRefusal(caller, error, { jobId: caller.jobId })
        throw error
      }
      if (caller.role === 'agent') await requireRole(ledger, caller, ['operator', 'auditor'])
      return { status: 200, body: await ledger.getPrompt(params.id) }
    },
  }),
]
