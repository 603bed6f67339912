import { sql } from 'drizzle-orm'
import type { GatewayView } from '../../contracts/fleet.js'
import type { Lane } from '../../contracts/job-states.js'
import type { Tx } from '../database.js'
import { instantOf } from '../presence.js'
import { listGateways } from '../queries.js'
import { iso } from '../rows.js'
import { idAt } from './search-jobs.js'

/** So many of the jobs of a lane that ended last in a window stand for its latencies. */
export const LATENCY_SAMPLE = 1_000
/** So many rows of history, and so many jobs, are read at most; a window with more is shown by its end. */
export const HISTORY_BUDGET = 100_000

export interface Snapshot {
  readonly by_status: Readonly<Record<string, number>>
  readonly oldest_queued_at: string | null
  readonly stuck: number
  readonly outbox: number
  readonly outbox_oldest_at: string | null
  readonly oldest_blocked_at: string | null
  readonly workers: readonly { readonly id: string; readonly host: string; readonly health: string; readonly last_seen: string; readonly leases: number }[]
  readonly gateways: readonly GatewayView[]
  readonly epoch: { readonly rebuilds: number; readonly ticked_at: string } | null
}

/** What is open now, and whether each part that keeps it going is there. Costs by what is open. */
export async function snapshot(tx: Tx): Promise<Snapshot> {
  const { rows: counts } = await tx.execute(sql`select status::text as status, count(*)::int as n from jobs where finished_at is null group by status`)
  const { rows } = await tx.execute(sql`
    select (select min(run_after) from jobs where status = 'queued' and run_after <= now()) as oldest_queued,
      (select min(blocked_at) from jobs where status = 'blocked') as oldest_blocked,
      (select count(*) from job_attempts where finished_at is null and leased_until < now())::int as stuck,
      (select count(*) from (select from outbox limit 10000) o)::int as outbox, (select created_at from outbox order by id limit 1) as outbox_oldest`)
  const { rows: workers } = await tx.execute(sql`
    select dispatcher_id, host, health, last_seen, leases_owned from dispatcher_health_summary_v
    where health <> 'stopped' and last_seen > now() - interval '1 day' order by health desc, dispatcher_id limit 200`)
  const { rows: epochs } = await tx.execute(sql`select rebuilds, ticked_at from queue_epochs`)
  const row = rows[0] ?? {}
  const at = (value: unknown): string | null => (typeof value === 'string' ? iso(value) : null)
  return {
    by_status: Object.fromEntries(counts.map((one) => [String(one['status']), Number(one['n'])])),
    oldest_queued_at: at(row['oldest_queued']),
    oldest_blocked_at: at(row['oldest_blocked']),
    stuck: Number(row['stuck'] ?? 0),
    outbox: Number(row['outbox'] ?? 0),
    outbox_oldest_at: at(row['outbox_oldest']),
    workers: workers.map((one) => ({
      id: String(one['dispatcher_id']),
      host: String(one['host']),
      health: String(one['health']),
      last_seen: iso(String(one['last_seen'])),
      leases: Number(one['leases_owned']),
    })),
    gateways: await listGateways(tx),
    epoch: epochs[0] === undefined ? null : { rebuilds: Number(epochs[0]['rebuilds']), ticked_at: iso(String(epochs[0]['ticked_at'])) },
  }
}

export interface Window {
  readonly fromMs: number
  readonly toMs: number
  readonly columns: number
}

export interface DepthPoint {
  readonly at: string
  /** Open jobs at the end of the column. */
  readonly open: number
  readonly created: number
  readonly closed: number
}

/**
 * Open jobs over time, counted back from what is open now by the moves of the window. `cut`: the window holds more rows of
 * history than {@link HISTORY_BUDGET}; then the points begin where those that were read do.
 */
export async function depthOverTime(tx: Tx, window: Window): Promise<{ points: DepthPoint[]; cut: boolean }> {
  const width = (window.toMs - window.fromMs) / window.columns / 1_000
  const { rows } = await tx.execute(sql`
    with read as (
      select at, kind, from_status, to_status from job_transitions where at >= ${instantOf(window.fromMs)}::timestamptz order by at desc limit ${HISTORY_BUDGET}
    ), turned as (
      select least(floor(extract(epoch from at - ${instantOf(window.fromMs)}::timestamptz) / ${width}::float8)::int, ${window.columns - 1}) as col,
        case when (from_status is null or from_status in ('succeeded', 'failed', 'dead', 'cancelled')) and to_status not in ('succeeded', 'failed', 'dead', 'cancelled') then 1
          when from_status not in ('succeeded', 'failed', 'dead', 'cancelled') and to_status in ('succeeded', 'failed', 'dead', 'cancelled') then -1 else 0 end as change
      from read where kind = 'move'
    )
    select (select count(*) from jobs where finished_at is null)::int as open_now, (select count(*) from read)::int as seen, (select min(at) from read) as first,
      coalesce((select jsonb_agg(jsonb_build_array(col, opened, closed)) from (
        select col, count(*) filter (where change = 1) as opened, count(*) filter (where change = -1) as closed from turned where change <> 0 group by col) c), '[]') as columns`)
  const row = rows[0] ?? {}
  const cut = Number(row['seen'] ?? 0) >= HISTORY_BUDGET
  const byColumn = new Map((row['columns'] as [number, number, number][]).map(([column, opened, closed]) => [column, { opened, closed }]))
  const points: DepthPoint[] = []
  let open = Number(row['open_now'] ?? 0)
  for (let column = window.columns - 1; column >= 0; column -= 1) {
    const { opened, closed } = byColumn.get(column) ?? { opened: 0, closed: 0 }
    const endMs = window.fromMs + (column + 1) * width * 1_000
    if (cut && typeof row['first'] === 'string' && endMs <= Date.parse(row['first'])) break
    points.unshift({ at: instantOf(endMs), open, created: opened, closed })
    open += closed - opened
  }
  return { points, cut }
}

export interface LaneLine {
  readonly lane: Lane
  readonly queued: number
  readonly running: number
  readonly paused: boolean
  /** Since when the oldest has been due that waits; null when nothing that is queued is due. */
  readonly oldest_at: string | null
  /** Made in the window. */
  readonly created: number
  /** Over since a time in the window: done, and otherwise. A job that was queued again since is not over. */
  readonly succeeded: number
  readonly failed: number
  /** Seconds from when it was due to its first attempt, and from creation to the end: half, 95 and 99 of 100 are faster. Null without a sample. */
  readonly wait: readonly [number, number, number] | null
  readonly total: readonly [number, number, number] | null
  readonly sample: number
}

/**
 * Each lane: what waits, what was made and what ended in a window, and how long that took, from the {@link LATENCY_SAMPLE} of
 * the lane that ended last: so a busy lane leaves a quiet one its own sample, and a slow job counts when it ends, however
 * long ago it was made. No index is on the time at which any job ended (`jobs_dead_letters_idx` knows some of them), but each
 * end is a move, and `job_transitions_at_idx` leads through the moves of a window; jobs and first attempts are then looked up
 * one by one by their own keys. `limit 1` in those keeps the planner from reading all jobs instead. A job waits from when it is
 * due; a retry puts that off, and a time after the first attempt is not the one that this attempt waited for. `cut`: the window
 * holds more rows of history than {@link HISTORY_BUDGET}; then only the ends among those that were read are known.
 */
export async function laneBoard(tx: Tx, window: Window): Promise<{ lines: LaneLine[]; cut: boolean }> {
  const [from, to] = [instantOf(window.fromMs), instantOf(window.toMs)]
  const { rows } = await tx.execute(sql`
    with created as (
      select lane, count(*) as created from (select lane from jobs where id >= ${idAt(from)}::uuid and id < ${idAt(to)}::uuid order by id desc limit ${HISTORY_BUDGET}) made group by lane
    ), read as materialized (
      select job_id, kind, to_status from job_transitions where at >= ${from}::timestamptz and at < ${to}::timestamptz order by at desc limit ${HISTORY_BUDGET}
    ), ended as materialized (
      select m.job_id, j.lane, j.status, j.created_at, j.run_after, j.finished_at
      from (select distinct job_id from read where kind = 'move' and to_status in ('succeeded', 'failed', 'dead', 'cancelled')) m
        cross join lateral (select lane, status, created_at, run_after, finished_at from jobs where id = m.job_id limit 1) j
      where j.finished_at >= ${from}::timestamptz
    ), counted as (
      select lane, count(*) filter (where status = 'succeeded') as succeeded, count(*) filter (where status <> 'succeeded') as failed from ended group by lane
    ), sampled as (
      select s.lane, extract(epoch from s.finished_at - s.created_at)::float8 as total,
        extract(epoch from a.leased_at - case when s.run_after <= a.leased_at then greatest(s.created_at, s.run_after) else s.created_at end)::float8 as waited
      from (select *, row_number() over (partition by lane order by finished_at desc, job_id) as place from ended) s
        left join lateral (select leased_at from job_attempts where job_id = s.job_id and attempt_no = 1 limit 1) a on true
      where s.place <= ${LATENCY_SAMPLE}
    ), latency as (
      select lane, count(*) as sample, percentile_cont(array[0.5, 0.95, 0.99]) within group (order by waited) filter (where waited is not null) as wait,
        percentile_cont(array[0.5, 0.95, 0.99]) within group (order by total) as total from sampled group by lane
    ), open as (
      select lane, count(*) filter (where status = 'queued') as queued, count(*) filter (where status in ('leased', 'running')) as running,
        min(run_after) filter (where status = 'queued' and run_after <= now()) as oldest from jobs where finished_at is null group by lane
    )
    select l.lane, o.queued, o.running, o.oldest, m.created, c.succeeded, c.failed, t.sample, t.wait, t.total,
      exists (select from controls_in_force_v k where k.scope = 'lane' and k.target = l.lane::text) as paused, (select count(*) from read)::int as seen
    from unnest(enum_range(null::lane)) with ordinality as l (lane, at)
      left join open o on o.lane = l.lane left join created m on m.lane = l.lane left join counted c on c.lane = l.lane left join latency t on t.lane = l.lane order by l.at`)
  return { lines: rows.map(laneLine), cut: Number(rows[0]?.['seen'] ?? 0) >= HISTORY_BUDGET }
}

function laneLine(row: Record<string, unknown>): LaneLine {
  return {
    lane: row['lane'] as Lane,
    queued: Number(row['queued'] ?? 0),
    running: Number(row['running'] ?? 0),
    paused: row['paused'] === true,
    oldest_at: typeof row['oldest'] === 'string' ? iso(row['oldest']) : null,
    created: Number(row['created'] ?? 0),
    succeeded: Number(row['succeeded'] ?? 0),
    failed: Number(row['failed'] ?? 0),
    wait: percentiles(row['wait']),
    total: percentiles(row['total']),
    sample: Number(row['sample'] ?? 0),
  }
}

/** An array of float8, which comes as an array or as PostgreSQL's text of one. */
function percentiles(value: unknown): [number, number, number] | null {
  const list = Array.isArray(value) ? value : typeof value === 'string' ? value.slice(1, -1).split(',') : []
  const [half, most, nearly] = list.map(Number)
  return half === undefined || most === undefined || nearly === undefined || Number.isNaN(half) ? null : [half, most, nearly]
}
