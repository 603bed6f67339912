import { sql } from 'drizzle-orm'
import type { Tx } from '../database.js'
import { instantOf } from '../presence.js'
import type { Window } from './health-board.js'

/** A step of a window that holds so many rows of history, or fewer, is read whole. */
export const STEP_ROWS = 250
/** A step with more is read in so many parts of equal length, the newest rows of each, {@link STEP_ROWS} together. */
export const STEP_PARTS = 10

/** Seconds that half, and 95 of 100, took at most. The 99th of 100 is not told: of the few dozen of a step it would be about the slowest one. */
export interface Took {
  readonly half: number
  readonly most: number
  /** How many these are the figures of. */
  readonly of: number
}

export interface LatencyPoint {
  /** The end of the step. */
  readonly at: string
  /** From when a job was due until a worker took it, of the attempts that began in the step. Null when none did. */
  readonly wait: Took | null
  /** From the admission of a run until it ended, of the runs that ended in the step. Null when none did. */
  readonly run: Took | null
}

/**
 * How long jobs waited and runs took, step by step of a window; the same times that `agentbus_job_lease_latency_seconds` and
 * `agentbus_run_seconds` count. A wait belongs to the step of its lease, a run to that of its end: both are told by the move that
 * ends them. A job that was put off again since a lease waited from the move before that lease.
 *
 * Costs the same whatever the size of the ledger and the length of the window, and the whole window is covered: a step is
 * reached by `job_transitions_at_idx`, and no more than {@link STEP_ROWS} of it are read and looked up. Only the newest rows of a
 * busy step would say nothing of a jam in the middle of it, hence its parts; parts of every step would cut off the burst of a
 * full hour in a fleet that is quiet otherwise. `cut`: there was a busy step, whose figures are those of a sample.
 */
export async function latencyOverTime(tx: Tx, window: Window): Promise<{ points: LatencyPoint[]; cut: boolean }> {
  const widthMs = (window.toMs - window.fromMs) / window.columns
  const from = sql`${instantOf(window.fromMs)}::timestamptz`
  const width = sql`make_interval(secs => ${widthMs / 1_000}::float8)`
  const { rows } = await tx.execute(sql`
    with steps as materialized (
      select s.step, s.begins, case when (
        select count(*) from (select from job_transitions where at >= s.begins and at < s.ends limit ${STEP_ROWS + 1}) r) > ${STEP_ROWS} then ${STEP_PARTS}::int else 1 end as parts
      from (select n as step, ${from} + n * ${width} as begins, ${from} + (n + 1) * ${width} as ends from generate_series(0, ${window.columns - 1}::int) n) s
    ), parts as (
      select s.step, s.begins + p * ${width} / s.parts as begins, s.begins + (p + 1) * ${width} / s.parts as ends, ${STEP_ROWS}::int / s.parts as most
      from steps s cross join generate_series(0, s.parts - 1) p
    ), read as materialized (
      select p.step, t.job_id, t.seq, t.attempt_id, t.at, t.reason
      from parts p cross join lateral (
        select job_id, seq, attempt_id, at, kind, reason, from_status, to_status from job_transitions where at >= p.begins and at < p.ends order by at desc limit p.most) t
      where t.kind = 'move' and (t.reason = 'leased' or (t.from_status in ('leased', 'running') and t.to_status not in ('leased', 'running')))
    ), took as (
      select r.step, 'wait' as what, greatest(0, extract(epoch from r.at - greatest(q.at, case when j.run_after <= r.at then j.run_after end)))::float8 as seconds
      from read r
        cross join lateral (select at from job_transitions where job_id = r.job_id and seq < r.seq and kind = 'move' order by seq desc limit 1) q
        cross join lateral (select run_after from jobs where id = r.job_id limit 1) j
      where r.reason = 'leased'
      union all
      select r.step, 'run', greatest(0, extract(epoch from a.finished_at - a.admitted_at))::float8
      from read r cross join lateral (select admitted_at, finished_at from job_attempts where id = r.attempt_id limit 1) a
      where r.reason <> 'leased' and a.admitted_at is not null and a.finished_at is not null
    )
    select step, what, n, figures[1] as half, figures[2] as most, (select max(parts) from steps) as parts from (
      select step, what, count(*)::int as n, percentile_cont(array[0.5, 0.95]) within group (order by seconds) as figures from took group by step, what) t`)
  const found = new Map(rows.map((row) => [`${String(row['what'])} ${String(row['step'])}`, { half: Number(row['half']), most: Number(row['most']), of: Number(row['n']) }]))
  const points = Array.from({ length: window.columns }, (_none, step) => ({
    at: instantOf(window.fromMs + (step + 1) * widthMs),
    wait: found.get(`wait ${step}`) ?? null,
    run: found.get(`run ${step}`) ?? null,
  }))
  return { points, cut: Number(rows[0]?.['parts'] ?? 1) > 1 }
}
