import { sql } from 'drizzle-orm'
import type { GatewayView } from '../../contracts/fleet.js'
import type { Lane } from '../../contracts/job-states.js'
import type { Tx } from '../database.js'
import { instantOf } from '../presence.js'
import { listGateways } from '../queries.js'
import { iso } from '../rows.js'

/** So many of the jobs of a lane that ended last in a window stand for its latencies. */
export const LATENCY_SAMPLE = 500
/** So many rows of history are read at most; a window with more is shown by its end. */
export const HISTORY_BUDGET = 40_000

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

/** `cut`: the window holds more rows of history than {@link HISTORY_BUDGET}; then only what the newest of them tell is known, and the points begin where they do. */
export interface HistoryBoard {
  readonly depth: { readonly points: readonly DepthPoint[]; readonly cut: boolean }
  readonly lanes: { readonly lines: readonly LaneLine[]; readonly cut: boolean }
}

const OVER = sql`('succeeded', 'failed', 'dead', 'cancelled')`

/**
 * What the moves of a window tell: open jobs over time, counted back from what is open now; and each lane, what waits, what was
 * made and what ended, and how long that took, from the {@link LATENCY_SAMPLE} of the lane that ended last: so a busy lane leaves
 * a quiet one its own sample, and a slow job counts when it ends, however long ago it was made. A job waits from when it is due;
 * a retry puts that off, and a time after the first attempt is not the one that this attempt waited for.
 *
 * The history is read once, and all of it comes from there: `job_transitions_at_idx` leads through the moves of the window, and
 * a job that was made or ended by one of them is looked up once, by its key. (No index is on the time at which any job ended, and
 * none knows the lane of those that were made: both would have to be read from the wide rows of jobs.) `limit 1` in the lookup
 * keeps the planner from reading all jobs instead; ids are in the order of time, so that each page of jobs is visited once.
 */
export async function historyBoard(tx: Tx, window: Window): Promise<HistoryBoard> {
  const [from, to] = [instantOf(window.fromMs), instantOf(window.toMs)]
  const width = (window.toMs - window.fromMs) / window.columns / 1_000
  // Holds the rows of the budget; with the 4 MB of the default they are written to a file and read back. At most two pages read at once.
  await tx.execute(sql`select set_config('work_mem', '16MB', true)`)
  const { rows } = await tx.execute(sql`
    with read as materialized (
      select job_id, at, from_status is null as made, kind = 'move' and (from_status is null or from_status in ${OVER}) as opened, kind = 'move' and to_status in ${OVER} as closed
      from job_transitions where at >= ${from}::timestamptz order by at desc limit ${HISTORY_BUDGET}
    ), steps as (
      select date_bin(make_interval(secs => ${width}::float8), at, ${from}::timestamptz) as begins, count(*) as seen, min(at) as first,
        count(*) filter (where opened) as opened, count(*) filter (where closed) as closed from read group by begins
    ), touched as (
      select job_id, bool_or(made) as made, bool_or(closed) as closed from read where (made or closed) and at < ${to}::timestamptz group by job_id order by job_id
    ), known as materialized (
      select t.job_id, t.made, t.closed and j.finished_at >= ${from}::timestamptz as ended, j.lane, j.status, j.created_at, j.run_after, j.finished_at
      from touched t cross join lateral (select lane, status, created_at, run_after, finished_at from jobs where id = t.job_id limit 1) j
    ), counted as (
      select lane, count(*) filter (where made) as created, count(*) filter (where ended and status = 'succeeded') as succeeded,
        count(*) filter (where ended and status <> 'succeeded') as failed from known group by lane
    ), sampled as (
      select s.lane, extract(epoch from s.finished_at - s.created_at)::float8 as total,
        extract(epoch from a.leased_at - case when s.run_after <= a.leased_at then greatest(s.created_at, s.run_after) else s.created_at end)::float8 as waited
      from (select *, row_number() over (partition by lane order by finished_at desc, job_id) as place from known where ended) s
        left join lateral (select leased_at from job_attempts where job_id = s.job_id and attempt_no = 1 limit 1) a on true
      where s.place <= ${LATENCY_SAMPLE}
    ), latency as (
      select lane, count(*) as sample, percentile_cont(array[0.5, 0.95, 0.99]) within group (order by waited) filter (where waited is not null) as wait,
        percentile_cont(array[0.5, 0.95, 0.99]) within group (order by total) as total from sampled group by lane
    ), open as (
      select lane, count(*) as n, count(*) filter (where status = 'queued') as queued, count(*) filter (where status in ('leased', 'running')) as running,
        min(run_after) filter (where status = 'queued' and run_after <= now()) as oldest from jobs where finished_at is null group by lane
    )
    select l.lane, o.queued, o.running, o.oldest, c.created, c.succeeded, c.failed, t.sample, t.wait, t.total,
      exists (select from controls_in_force_v k where k.scope = 'lane' and k.target = l.lane::text) as paused,
      (select sum(n) from open)::int as open_now, (select sum(seen) from steps)::int as seen, (select min(first) from steps) as first,
      coalesce((select jsonb_agg(jsonb_build_array(col, opened, closed)) from (
        -- The clock of the database may be ahead of the window's end: what it has later is in what is open now, so the last column has it.
        select least(round(extract(epoch from begins - ${from}::timestamptz)::float8 / ${width}::float8)::int, ${window.columns - 1}::int) as col,
          sum(opened) as opened, sum(closed) as closed from steps group by col) b), '[]') as columns
    from unnest(enum_range(null::lane)) with ordinality as l (lane, at)
      left join open o on o.lane = l.lane left join counted c on c.lane = l.lane left join latency t on t.lane = l.lane order by l.at`)
  const row = rows[0] ?? {}
  const cut = Number(row['seen'] ?? 0) >= HISTORY_BUDGET
  const firstMs = cut && typeof row['first'] === 'string' ? Date.parse(row['first']) : window.fromMs
  return { depth: { points: depthPoints(window, row, firstMs), cut }, lanes: { lines: rows.map(laneLine), cut } }
}

/** From what is open now back to `firstMs`, the time of the first move that is known. */
function depthPoints(window: Window, row: Record<string, unknown>, firstMs: number): DepthPoint[] {
  const widthMs = (window.toMs - window.fromMs) / window.columns
  const byColumn = new Map((row['columns'] as [number, number, number][]).map(([column, opened, closed]) => [column, { opened, closed }]))
  const points: DepthPoint[] = []
  let open = Number(row['open_now'] ?? 0)
  for (let column = window.columns - 1; column >= 0; column -= 1) {
    const { opened, closed } = byColumn.get(column) ?? { opened: 0, closed: 0 }
    const endMs = window.fromMs + (column + 1) * widthMs
    if (endMs <= firstMs) break
    points.unshift({ at: instantOf(endMs), open, created: opened, closed })
    open += closed - opened
  }
  return points
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
