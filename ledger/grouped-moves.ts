import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { AttemptId, JobId } from '../contracts/ids.js'
import { canonicalJson, sha256 } from './canonical.js'
import type { AdmittedRun } from './deliver-attempt.js'
import type { Db } from './database.js'
import type { JobRow } from './rows.js'

/** The gateway has admitted the run of an attempt that has just been opened. */
export interface Admission {
  readonly jobId: JobId
  /** The job's version as the opening of the attempt left it. */
  readonly lastSeq: number
  readonly attemptId: AttemptId
  readonly actor: Actor
  readonly run: AdmittedRun
}

/**
 * What came of it. `over`: the attempt no longer holds the job, and never will again; its agent may have been faster.
 * `changed`: it holds the job, which somebody has moved; the caller takes the lock and decides anew.
 */
export type Admitted = 'moved' | 'over' | 'changed'

/** The moves leased → running without a lock taken before, in one statement. Each happens only if nobody has moved its job since. */
export async function admitAll(db: Db, admissions: readonly Admission[]): Promise<Admitted[]> {
  const wanted = admissions.map((a) => ({
    job_id: a.jobId,
    last_seq: a.lastSeq,
    attempt_id: a.attemptId,
    actor_kind: a.actor.kind,
    actor: a.actor.id,
    run_id: a.run.runId,
    http_status: a.run.httpStatus,
    response: a.run.response,
  }))
  const { rows } = await db.execute(sql`
    with wanted as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb)
        as w (job_id uuid, last_seq int, attempt_id uuid, actor_kind actor_kind, actor text, run_id text, http_status int, response jsonb)
    ), before as (
      -- One job at a time by its key, in the order of keys; why the limit, see openAttempts.
      select j.id, w.* from (select * from wanted order by job_id) w cross join lateral (
        select id, last_seq, status, current_attempt_id from jobs where id = w.job_id limit 1 for no key update) j
      where j.last_seq = w.last_seq and j.status = 'leased' and j.current_attempt_id = w.attempt_id
    ), moved as (
      update jobs set status = 'running', last_seq = jobs.last_seq + 1, updated_at = clock_timestamp()
      from before where jobs.id = before.id
      returning jobs.id, jobs.last_seq, jobs.current_attempt_id
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, attempt_id, actor_kind, actor, details)
      select moved.id, moved.last_seq, 'move', 'leased', 'running', 'admitted', moved.current_attempt_id, w.actor_kind, w.actor, jsonb_build_object('run_id', w.run_id)
      from moved join wanted w on w.attempt_id = moved.current_attempt_id
    ), admitted as (
      update job_attempts a set status = 'running', admitted_at = clock_timestamp(), openclaw_task_ref = w.run_id, hook_status = w.http_status, hook_response = w.response
      from moved join wanted w on w.attempt_id = moved.current_attempt_id
      where a.id = moved.current_attempt_id
    )
    select w.attempt_id, moved.id is not null as moved, j.current_attempt_id is not distinct from w.attempt_id as holds
    from wanted w join jobs j on j.id = w.job_id left join moved on moved.id = w.job_id`)
  const outcomes = new Map(rows.map((row) => [row['attempt_id'], row['moved'] === true ? 'moved' : row['holds'] === true ? 'changed' : 'over'] as const))
  return admissions.map((a) => outcomes.get(a.attemptId) ?? 'changed')
}

/** The end of a job by the attempt that holds it, when nothing follows from it. */
export interface Ending {
  readonly jobId: JobId
  readonly attemptId: AttemptId
  readonly actor: Actor
  readonly to: 'succeeded' | 'failed'
  readonly reason: 'completed_by_agent' | 'failed_by_agent'
  readonly result: Record<string, unknown>
  readonly summary: string | undefined
  readonly error: string | undefined
  readonly taskRef: string | undefined
  readonly sessionKey: string | undefined
}

/**
 * Ends jobs by the attempts that hold them, in one statement. Each ends only if its attempt still holds it, the lease runs,
 * and nobody waits for the end of the job.
 * @returns for each the job as it is then; undefined where nothing was written: the caller takes the lock and decides anew
 */
export async function endAll(db: Db, endings: readonly Ending[]): Promise<(JobRow | undefined)[]> {
  // Of two endings by one attempt the first counts; the other finds the job closed.
  const first = new Map(endings.toReversed().map((e) => [e.attemptId, e]))
  const wanted = [...first.values()].map((e) => ({
    job_id: e.jobId,
    attempt_id: e.attemptId,
    actor_kind: e.actor.kind,
    actor: e.actor.id,
    target: e.to,
    reason: e.reason,
    result: e.result,
    result_hash: sha256(canonicalJson(e.result)),
    summary: e.summary,
    error: e.error,
    task_ref: e.taskRef,
    session_key: e.sessionKey,
  }))
  const { rows } = await db.execute(sql`
    with wanted as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(wanted)}::jsonb)
        as w (job_id uuid, attempt_id uuid, actor_kind actor_kind, actor text, target job_status, reason transition_reason, result jsonb, result_hash text, summary text, error text,
          task_ref text, session_key text)
    ), before as (
      select j.id, j.status as from_status, w.*
      from (select * from wanted order by job_id) w cross join lateral (
        select id, status, current_attempt_id, awaited from jobs where id = w.job_id limit 1 for no key update) j
      join job_attempts a on a.id = w.attempt_id
      where j.current_attempt_id = w.attempt_id and a.leased_until > clock_timestamp() and not j.awaited
    ), moved as (
      update jobs set status = b.target, last_seq = jobs.last_seq + 1, updated_at = clock_timestamp(), finished_at = clock_timestamp(), current_attempt_id = null,
        attempt_count = attempt_count + 1, result = b.result, summary = coalesce(b.summary, jobs.summary),
        last_error = case when b.target = 'failed' then b.error else jobs.last_error end,
        last_error_code = case when b.target = 'failed' then b.reason::text else jobs.last_error_code end
      from before b where jobs.id = b.id
      returning jobs.*, b.attempt_id as x_attempt
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, attempt_id, actor_kind, actor, details)
      select m.id, m.last_seq, 'move', b.from_status, m.status, b.reason, case when b.target = 'failed' then b.error else b.summary end, b.attempt_id, b.actor_kind, b.actor,
        jsonb_build_object('result_hash', b.result_hash)
      from moved m join before b on b.attempt_id = m.x_attempt
    ), ended as (
      update job_attempts a set status = case when b.target = 'failed' then 'failed' else 'succeeded' end::attempt_status, burned = true, finished_at = clock_timestamp(),
        outcome_code = b.reason::text, error = b.error, summary = coalesce(b.summary, a.summary),
        openclaw_task_ref = coalesce(b.task_ref, a.openclaw_task_ref), openclaw_session_key = coalesce(b.session_key, a.openclaw_session_key)
      from moved m join before b on b.attempt_id = m.x_attempt
      where a.id = b.attempt_id
    )
    select * from moved`)
  const byAttempt = new Map(rows.map(({ x_attempt: attempt, ...row }) => [attempt, row as unknown as JobRow]))
  return endings.map((e) => (first.get(e.attemptId) === e ? byAttempt.get(e.attemptId) : undefined))
}
