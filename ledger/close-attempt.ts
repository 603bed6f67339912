import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError, assertNever, type ErrorCode } from '../contracts/errors.js'
import type { FileFindingBody } from '../contracts/findings.js'
import type { AgentId, AttemptId, JobId } from '../contracts/ids.js'
import type { ApprovalId } from '../contracts/approvals.js'
import type { BlockJobBody, CompleteJobBody, FailJobBody, WaitsFor } from '../contracts/closings.js'
import { askApproval, type ApprovalRow } from './ask-approval.js'
import { awaitJobs } from './await-jobs.js'
import { createJob } from './create-job.js'
import type { Tx } from './database.js'
import { emitEvent } from './emit-event.js'
import { fileFinding } from './file-finding.js'
import type { Ending } from './grouped-moves.js'
import { limitsOf } from './limits.js'
import { observe } from './observe.js'
import { decision } from './decide-approval.js'
import { endedJob, releaseDependents } from './release-dependents.js'
import { retryDelaySeconds } from './retry-policy.js'
import type { AttemptRow, JobRow } from './rows.js'
import { resume, resumeIfSeen } from './wake.js'
import { lockJob, move, type AttemptEnd, type LockedJob, type Move } from './transition.js'

/** A terminal write by the agent. */
export type Closing =
  { readonly kind: 'complete'; readonly body: CompleteJobBody } | { readonly kind: 'block'; readonly body: BlockJobBody } | { readonly kind: 'fail'; readonly body: FailJobBody }

export interface CloseRequest {
  readonly jobId: JobId
  readonly attemptId: AttemptId
  readonly agentId: AgentId
  readonly actor: Actor
  readonly nowMs: number
  readonly random: number
  readonly retryBaseSeconds: number
}

/** A refusal is an answer with a row in the ledger, so it must commit: it is returned, not thrown. */
export type Fenced<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: AgentbusError }

/**
 * Closes the job with the attempt that holds it; follow-ups, events and findings are in the same transaction.
 * An attempt that no longer holds the job changes nothing and leaves a row.
 */
export async function closeAttempt(tx: Tx, request: CloseRequest, closing: Closing): Promise<Fenced<JobRow>> {
  const job = await lockJob(tx, request.jobId)
  const fence = await checkFence(tx, job, request, closing.kind)
  if (!fence.ok) return fence
  const closed = await applyClosing(tx, job, request, closing)
  await writeFollowUps(tx, job, request, closing)
  await releaseDependents(tx, closed)
  return { ok: true, value: closed }
}

interface FenceCheck {
  readonly jobId: JobId
  readonly attemptId: AttemptId
  readonly actor: Actor
}

/** Every acknowledgement passes here: only the attempt that holds the job, within its lease, may go on. */
export async function checkFence(tx: Tx, job: LockedJob, request: FenceCheck, what: string): Promise<Fenced<Pick<AttemptRow, 'id'>>> {
  // The job points at this attempt, so it is open: the database holds the two together. Only its lease could be over.
  if (job.current_attempt_id === request.attemptId && job.lease_alive === true) return { ok: true, value: { id: request.attemptId } }
  const { rows } = await tx.execute(sql`
    select *, leased_until <= clock_timestamp() as expired,
      attempt_no = (select max(newest.attempt_no) from job_attempts newest where newest.job_id = job_attempts.job_id) as newest
    from job_attempts where id = ${request.attemptId}::uuid and job_id = ${job.id}::uuid`)
  const attempt = rows[0] as (AttemptRow & { expired: boolean; newest: boolean }) | undefined
  if (attempt === undefined) return refuse(tx, job, request, what, 'AGENTBUS_STALE_ATTEMPT', 'No such attempt of this job.')
  if (attempt.finished_at !== null) {
    const closedByAgent = attempt.status === 'succeeded' || attempt.status === 'blocked' || attempt.outcome_code?.endsWith('_by_agent') === true
    const stillNewest = closedByAgent && attempt.newest
    return refuse(
      tx,
      job,
      request,
      what,
      stillNewest ? 'AGENTBUS_ALREADY_CLOSED' : 'AGENTBUS_STALE_ATTEMPT',
      `Attempt ${attempt.attempt_no} ended as ${attempt.status} (${attempt.outcome_code ?? ''}); the job is ${job.status}.`,
    )
  }
  if (attempt.expired) return refuse(tx, job, request, what, 'AGENTBUS_LEASE_EXPIRED', `The lease of attempt ${attempt.attempt_no} ran out at ${attempt.leased_until}.`)
  return { ok: true, value: attempt }
}

async function refuse(tx: Tx, job: LockedJob, request: FenceCheck, what: string, code: ErrorCode, detail: string): Promise<Fenced<never>> {
  await observe(tx, {
    kind: 'late_answer',
    code,
    actor: request.actor,
    jobId: job.id,
    attemptId: request.attemptId,
    agentId: job.target_agent ?? undefined,
    detail: `${what}: ${detail}`,
    details: { what, job_status: job.status },
  })
  return { ok: false, error: new AgentbusError(code, detail, { job_id: job.id, attempt_id: request.attemptId, job_status: job.status }) }
}

/** The closing in its commonest case: it ends the job, and nothing follows from it. Undefined for any other. */
export function plainEnding(request: CloseRequest, closing: Closing): Ending | undefined {
  const { follow_ups, events, findings } = closing.body
  return follow_ups.length + events.length + findings.length > 0 ? undefined : endingOf(request, closing)
}

/** What a closing that ends the job writes; undefined for one that leaves it open. */
function endingOf(request: CloseRequest, closing: Closing): Ending | undefined {
  if (closing.kind === 'block' || (closing.kind === 'fail' && closing.body.retry_seconds !== undefined)) return undefined
  const { body } = closing
  const failed = closing.kind === 'fail'
  return {
    jobId: request.jobId,
    attemptId: request.attemptId,
    actor: request.actor,
    to: failed ? 'failed' : 'succeeded',
    reason: failed ? 'failed_by_agent' : 'completed_by_agent',
    result: body.result,
    summary: body.summary,
    error: failed ? closing.body.last_error : undefined,
    taskRef: body.openclaw_task_ref,
    sessionKey: body.openclaw_session_key,
  }
}

async function applyClosing(tx: Tx, job: LockedJob, request: CloseRequest, closing: Closing): Promise<LockedJob> {
  const ending = endingOf(request, closing)
  if (ending !== undefined) return move(tx, job, moveOf(ending))
  switch (closing.kind) {
    case 'block':
      return block(tx, job, request, closing.body)
    case 'fail':
      return retryLater(tx, job, request, closing.body)
    case 'complete':
      throw new Error('a completion is final')
    default:
      return assertNever(closing)
  }
}

/** The same ending under the job's lock. */
function moveOf({ actor, to, reason, result, summary, error, taskRef, sessionKey }: Ending): Move {
  return {
    to,
    reason,
    actor,
    note: error ?? summary,
    endAttempt: { status: to, outcome: reason, error, summary, taskRef, sessionKey },
    burn: true,
    set: { result, summary, ...(error === undefined ? {} : { last_error: error, last_error_code: reason }) },
  }
}

type AnyBody = CompleteJobBody | BlockJobBody | FailJobBody

function endOf(body: AnyBody, status: AttemptEnd['status'], outcome: string, error?: string): AttemptEnd {
  return { status, outcome, error, summary: body.summary, taskRef: body.openclaw_task_ref, sessionKey: body.openclaw_session_key }
}

async function block(tx: Tx, job: LockedJob, request: CloseRequest, body: BlockJobBody): Promise<LockedJob> {
  const asked = body.waits_for ?? (body.look_again_at === undefined ? { kind: 'person' as const } : { kind: 'time' as const })
  const waitsFor = asked.kind === 'approval' ? await namedApproval(tx, job, request, body, asked) : asked
  if (waitsFor.kind === 'time' && body.look_again_at === undefined) {
    throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'waits_for.kind "time" needs look_again_at.', { field: 'look_again_at' })
  }
  const blocked = await move(tx, job, {
    to: 'blocked',
    reason: 'blocked_by_agent',
    actor: request.actor,
    note: body.blocked_reason,
    endAttempt: endOf(body, 'blocked', 'blocked_by_agent', body.blocked_reason),
    details: { owner: body.blocked_owner, waits_for: waitsFor },
    set: {
      blocked_reason: body.blocked_reason,
      blocked_owner: body.blocked_owner,
      unblock_action: body.unblock_action ?? null,
      look_again_at: body.look_again_at ?? null,
      ...(body.patience_seconds === undefined ? {} : { patience_seconds: body.patience_seconds }),
      waits_for: waitsFor,
      result: body.result,
      summary: body.summary,
    },
  })
  switch (waitsFor.kind) {
    case 'job':
      return resumeIfOver(tx, blocked, waitsFor.job_id)
    case 'event':
      return resumeIfSeen(tx, blocked)
    case 'approval':
      return resumeIfDecided(tx, blocked, waitsFor.approval_id)
    case 'agent':
      return resumeIfOnline(tx, blocked, waitsFor.agent)
    case 'time':
    case 'person':
      return blocked
    default:
      return assertNever(waitsFor)
  }
}

type ApprovalWait = Extract<WaitsFor, { kind: 'approval' }>

/** The approval it waits for: one that was asked before, or a new one. */
async function namedApproval(tx: Tx, job: LockedJob, request: CloseRequest, body: BlockJobBody, asked: ApprovalWait): Promise<{ kind: 'approval'; approval_id: ApprovalId }> {
  if (asked.approval_id !== undefined) return { kind: 'approval', approval_id: asked.approval_id }
  const approval = await askApproval(tx, {
    namespace: job.namespace,
    subject: asked.subject ?? body.blocked_reason.slice(0, 500),
    details: asked.details,
    agentId: request.agentId,
    jobId: job.id,
    correlationKey: job.correlation_key ?? undefined,
    expiresInSeconds: asked.expires_in_seconds,
    actor: request.actor,
    nowMs: request.nowMs,
  })
  return { kind: 'approval', approval_id: approval.id as ApprovalId }
}

/**
 * Its row is locked, so that a decision is either seen here or sees this. It must be one that this agent has asked for: the
 * history would otherwise name the yes to another question as the reason why the job went on.
 */
async function resumeIfDecided(tx: Tx, blocked: LockedJob, id: ApprovalId): Promise<LockedJob> {
  const { rows } = await tx.execute(
    sql`select * from approvals where id = ${id}::uuid and namespace = ${blocked.namespace} and agent_id = ${blocked.target_agent} for no key update`,
  )
  const approval = rows[0] as ApprovalRow | undefined
  if (approval === undefined)
    throw new AgentbusError('AGENTBUS_APPROVAL_NOT_FOUND', `${blocked.target_agent ?? ''} has asked for no approval with the id ${id} (waits_for.approval_id).`, {
      field: 'waits_for.approval_id',
    })
  return approval.status === 'pending' ? blocked : resume(tx, blocked, decision(approval))
}

async function resumeIfOnline(tx: Tx, blocked: LockedJob, agent: AgentId): Promise<LockedJob> {
  const { rows } = await tx.execute<{ online: boolean }>(sql`
    select a.enabled and g.breaker = 'closed' as online from agents a join gateways g on g.id = a.gateway_id where a.id = ${agent}`)
  const found = rows[0]
  if (found === undefined) throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${agent} (waits_for.agent).`, { field: 'waits_for.agent' })
  return found.online ? resume(tx, blocked, { details: { agent }, answer: { kind: 'agent', agent, online: true } }) : blocked
}

/** What it waits for may have ended before it said so; then nothing would ever wake it. */
async function resumeIfOver(tx: Tx, blocked: LockedJob, otherId: JobId): Promise<LockedJob> {
  const [other] = await awaitJobs(tx, [otherId])
  if (other === undefined) throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${otherId} (waits_for.job_id).`, { field: 'waits_for.job_id' })
  if (!other.over) {
    await refuseCircle(tx, blocked, otherId)
    return blocked
  }
  return resume(tx, blocked, await endedJob(tx, otherId, blocked))
}

/** Two jobs that wait for each other would wait for ever. @throws AGENTBUS_DEPENDENCY_CYCLE */
async function refuseCircle(tx: Tx, blocked: LockedJob, otherId: JobId): Promise<void> {
  const { rows } = await tx.execute(sql`
    with recursive awaited as (
      select ${otherId}::uuid as id
      union
      select next.id from awaited a join jobs j on j.id = a.id cross join lateral (
        select d.depends_on_job_id as id from job_dependencies d where d.job_id = j.id and j.status = 'waiting'
        union all
        select (j.waits_for ->> 'job_id')::uuid where j.status = 'blocked' and j.waits_for ->> 'kind' = 'job'
      ) next
    )
    select 1 from awaited where id = ${blocked.id}::uuid`)
  if (rows.length === 0) return
  throw new AgentbusError('AGENTBUS_DEPENDENCY_CYCLE', `Job ${otherId} waits, itself or by way of others, for this one.`, { job_id: blocked.id, waits_for: otherId })
}

function retryLater(tx: Tx, job: LockedJob, request: CloseRequest, body: FailJobBody): Promise<LockedJob> {
  return endAndRetry(tx, job, {
    actor: request.actor,
    note: body.last_error,
    reason: 'retry_asked_by_agent',
    end: endOf(body, 'failed', 'retry_asked_by_agent', body.last_error),
    set: { result: body.result, summary: body.summary, last_error: body.last_error },
    delaySeconds: body.retry_seconds ?? 0,
  })
}

export interface RetryOrDie {
  readonly actor: Actor
  readonly reason: 'retry_asked_by_agent' | 'ended_without_terminal_write' | 'deadline_exceeded' | 'lease_expired' | 'run_lost'
  readonly note?: string | undefined
  readonly end: AttemptEnd
  readonly set?: { readonly result?: Record<string, unknown>; readonly summary?: string | undefined; readonly last_error?: string }
  readonly delaySeconds: number
  readonly details?: Record<string, unknown> | undefined
  /** `publish` when no worker holds the queue entry any more. */
  readonly queue?: 'publish'
}

/** A failed attempt: queued again while attempts are left, dead when they are used up. */
export async function endAndRetry(tx: Tx, job: LockedJob, request: RetryOrDie): Promise<LockedJob> {
  const lastError = request.set?.last_error ?? request.end.error ?? request.reason
  const set = { ...request.set, last_error: lastError, last_error_code: request.reason }
  const pulled = await isPulled(tx, job)
  if (job.attempt_count + 1 >= job.max_attempts) {
    const dead = await move(tx, job, {
      to: 'dead',
      reason: 'attempts_exhausted',
      actor: request.actor,
      note: request.note ?? lastError,
      details: { ...request.details, last_reason: request.reason, attempts: job.attempt_count + 1 },
      endAttempt: request.end,
      burn: true,
      set,
    })
    await releaseDependents(tx, dead)
    return dead
  }
  return move(tx, job, {
    to: 'queued',
    reason: request.reason,
    actor: request.actor,
    note: request.note ?? lastError,
    details: { ...request.details, retry_in_seconds: Math.round(request.delaySeconds * 1000) / 1000 },
    endAttempt: request.end,
    burn: true,
    set: { ...set, run_after: sql`clock_timestamp() + make_interval(secs => ${request.delaySeconds})` },
    ...(request.queue !== undefined || pulled ? { queue: 'publish' as const } : {}),
  })
}

/** A job claimed by hand has no entry in the queue that could bring it back. */
async function isPulled(tx: Tx, job: LockedJob): Promise<boolean> {
  const { rows } = await tx.execute(sql`select 1 from job_attempts where id = ${job.current_attempt_id}::uuid and lease_owner like 'pull:%'`)
  return rows.length > 0
}

/** Backoff for attempt ends that nobody named a delay for, in seconds. */
export function backoffOf(job: JobRow, request: { readonly retryBaseSeconds: number; readonly random: number }): number {
  return retryDelaySeconds({ burned: job.attempt_count + 1, baseSeconds: request.retryBaseSeconds, random: request.random })
}

/** @throws AGENTBUS_LIMIT_REACHED when what follows is too much: the close is then not written either, and may be sent again */
async function writeFollowUps(tx: Tx, job: JobRow, request: CloseRequest, closing: Closing): Promise<void> {
  const made: JobRow[] = []
  for (const followUp of closing.body.follow_ups) {
    const correlation = followUp.correlation_key ?? job.correlation_key ?? undefined
    const flow = followUp.flow_key ?? job.flow_key ?? undefined
    const { job: next, created } = await createJob(
      tx,
      {
        ...followUp,
        source_agent: request.agentId,
        parent_job_id: job.id as JobId,
        ...(correlation === undefined ? {} : { correlation_key: correlation }),
        ...(flow === undefined ? {} : { flow_key: flow }),
      },
      { actor: request.actor, nowMs: request.nowMs },
    )
    if (created) made.push(next)
  }
  await limitsOf(tx).mustFit(tx, made)
  for (const event of closing.body.events) {
    const correlation = event.correlation_key ?? job.correlation_key ?? undefined
    await emitEvent(
      tx,
      { ...event, source_agent: request.agentId, source_job_id: job.id as JobId, ...(correlation === undefined ? {} : { correlation_key: correlation }) },
      { actor: request.actor, attemptId: request.attemptId, nowMs: request.nowMs },
    )
  }
  // In one order, so that two closings with the same findings do not wait for each other.
  const key = ({ topic, subject_key: subject }: FileFindingBody): string => `${topic}\n${subject}`
  for (const finding of closing.body.findings.toSorted((a, b) => (key(a) < key(b) ? -1 : 1))) {
    await fileFinding(tx, { ...finding, source_agent: request.agentId }, { actor: request.actor, jobId: job.id, attemptId: request.attemptId, nowMs: request.nowMs })
  }
}
