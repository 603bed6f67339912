import type { InferSelectModel } from 'drizzle-orm'
import type { AgentId, AttemptId, EventId, JobId } from '../contracts/ids.js'
import type { AttemptView } from '../contracts/attempts.js'
import type { EventView } from '../contracts/events.js'
import type { JobView, TransitionView } from '../contracts/jobs.js'
import type { events, job_attempts, job_transitions, jobs } from './schema/index.js'

export type JobRow = InferSelectModel<typeof jobs>
export type AttemptRow = InferSelectModel<typeof job_attempts>
export type TransitionRow = InferSelectModel<typeof job_transitions>
export type EventRow = InferSelectModel<typeof events>

/** Whose job it is. @throws for one that waits for an agent: it can be neither leased nor in a queue */
export function agentOf(job: Pick<JobRow, 'id' | 'target_agent'>): string {
  if (job.target_agent === null) throw new Error(`job ${job.id} has no agent yet`)
  return job.target_agent
}

/** PostgreSQL's text of a timestamptz as ISO 8601 in UTC, with milliseconds. */
export function iso(text: string): string {
  return new Date(text).toISOString()
}

function isoOrNull(text: string | null): string | null {
  return text === null ? null : iso(text)
}

export function jobView(row: JobRow): JobView {
  return {
    id: row.id as JobId,
    namespace: row.namespace,
    target_agent: row.target_agent as AgentId | null,
    capabilities: row.capabilities,
    source_agent: row.source_agent as AgentId | null,
    job_type: row.job_type,
    subject: row.subject,
    lane: row.lane,
    priority: row.priority,
    dedupe_key: row.dedupe_key,
    payload: row.payload,
    payload_hash: row.payload_hash,
    state: row.state,
    result: row.result,
    summary: row.summary,
    status: row.status,
    version: row.last_seq,
    generation: row.generation,
    run_after: iso(row.run_after),
    attempt_count: row.attempt_count,
    max_attempts: row.max_attempts,
    timeout_seconds: row.timeout_seconds,
    lease_seconds: row.lease_seconds,
    on_lost: row.on_lost,
    on_dependency_death: row.on_dependency_death,
    standing_order_run_id: row.standing_order_run_id,
    session_mode: row.session_mode,
    parent_job_id: row.parent_job_id as JobId | null,
    flow_key: row.flow_key,
    correlation_key: row.correlation_key,
    current_attempt_id: row.current_attempt_id as AttemptId | null,
    blocked_reason: row.blocked_reason,
    blocked_owner: row.blocked_owner,
    unblock_action: row.unblock_action,
    look_again_at: isoOrNull(row.look_again_at),
    waits_for: row.waits_for,
    blocked_at: isoOrNull(row.blocked_at),
    escalate_at: isoOrNull(row.escalate_at),
    answer: row.answer,
    hops: row.hops,
    source_event_id: row.source_event_id === null ? null : (String(row.source_event_id) as EventId),
    last_error: row.last_error,
    last_error_code: row.last_error_code,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
    finished_at: isoOrNull(row.finished_at),
    buried_at: isoOrNull(row.buried_at),
  }
}

export function attemptView(row: AttemptRow): AttemptView {
  return {
    id: row.id as AttemptId,
    job_id: row.job_id as JobId,
    attempt_no: row.attempt_no,
    agent_id: row.agent_id as AgentId,
    gateway_id: row.gateway_id,
    status: row.status,
    burned: row.burned,
    lease_owner: row.lease_owner,
    leased_at: iso(row.leased_at),
    leased_until: iso(row.leased_until),
    deadline_at: iso(row.deadline_at),
    admitted_at: isoOrNull(row.admitted_at),
    finished_at: isoOrNull(row.finished_at),
    outcome_code: row.outcome_code,
    error: row.error,
    summary: row.summary,
    prompt_hash: row.prompt_hash,
    contract_version: row.contract_version,
    payload_hash: row.payload_hash,
    hook_status: row.hook_status,
    hook_response: row.hook_response,
    openclaw_task_ref: row.openclaw_task_ref,
    openclaw_session_key: row.openclaw_session_key,
    openclaw_meta: row.openclaw_meta,
  }
}

export function transitionView(row: TransitionRow): TransitionView {
  return {
    seq: row.seq,
    kind: row.kind,
    from_status: row.from_status,
    to_status: row.to_status,
    reason: row.reason,
    note: row.note,
    attempt_id: row.attempt_id as AttemptId | null,
    actor_kind: row.actor_kind,
    actor: row.actor,
    details: row.details,
    at: iso(row.at),
    prev_hash: row.prev_hash.toString('hex'),
    hash: row.hash.toString('hex'),
  }
}

export function eventView(row: EventRow): EventView {
  return {
    id: String(row.id) as EventId,
    namespace: row.namespace,
    topic: row.topic,
    source_agent: row.source_agent as AgentId | null,
    source_job_id: row.source_job_id as JobId | null,
    source_attempt_id: row.source_attempt_id as AttemptId | null,
    dedupe_key: row.dedupe_key,
    correlation_key: row.correlation_key,
    payload: row.payload,
    hops: row.hops,
    created_by: row.created_by,
    created_at: iso(row.created_at),
  }
}
