import { sql } from 'drizzle-orm'
import type { CreateJobBody } from '../contracts/jobs.js'
import { canonicalJson, sha256 } from './canonical.js'
import type { Creator } from './create-job.js'
import { prebuilt } from './prebuilt.js'
import type { JobRow } from './rows.js'

/** What the ledger decides about a job when it creates it; everything else is what it was asked for, or the column's default. */
export const DECIDED_AT_CREATION = [
  'target_agent',
  'source_event_id',
  'flow_key',
  'correlation_key',
  'hops',
  'lineage',
  'run_after',
  'timeout_seconds',
  'lease_seconds',
  'created_at',
  'updated_at',
] as const satisfies readonly (keyof JobRow)[]

/** The same of a row `i`, for a statement that has inserted it. */
export const DECIDED_OF_INSERTED = prebuilt(sql.raw(DECIDED_AT_CREATION.map((name) => `i.${name}`).join(', ')))

export type Decided = Pick<JobRow, (typeof DECIDED_AT_CREATION)[number]>

/** That part of a row. */
export function decidedOf(job: JobRow): Decided {
  return Object.fromEntries(DECIDED_AT_CREATION.map((name) => [name, job[name]])) as unknown as Decided
}

/** The row of a job that was created plain a moment ago: carrying some fifty columns over to say what was just said costs more than it is worth. */
export function newbornRow(id: string, body: CreateJobBody, by: Creator, decided: Decided): JobRow {
  return {
    id,
    namespace: body.namespace,
    standing_order_run_id: null,
    session_mode: 'isolated',
    parent_job_id: body.parent_job_id ?? null,
    source_agent: body.source_agent ?? null,
    capabilities: [],
    job_type: body.job_type,
    subject: body.subject,
    lane: body.lane,
    priority: body.priority,
    dedupe_key: body.dedupe_key ?? null,
    payload: body.payload,
    payload_hash: sha256(canonicalJson(body.payload)),
    state: body.state,
    result: null,
    summary: null,
    status: 'queued',
    last_seq: 1,
    generation: 1,
    attempt_count: 0,
    max_attempts: body.max_attempts,
    on_lost: body.on_lost,
    on_dependency_death: body.on_dependency_death,
    current_attempt_id: null,
    awaited: by.awaited === true,
    held_reason: null,
    held_by: null,
    blocked_reason: null,
    blocked_owner: null,
    unblock_action: null,
    look_again_at: null,
    waits_for: null,
    blocked_at: null,
    escalate_at: null,
    answer: null,
    pruned_by: null,
    pruned_hash: null,
    last_error: null,
    last_error_code: null,
    created_by: `${by.actor.kind}:${by.actor.id}`,
    finished_at: null,
    buried_at: null,
    ...decided,
  }
}
