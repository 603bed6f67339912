import { sql, type SQL } from 'drizzle-orm'
import { ADVISORY } from '../advisory-locks.js'
import type { Tx } from '../database.js'

/** Upper bounds in seconds. A wait for a worker is short; a run takes minutes. */
export const LEASE_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200] as const
export const RUN_BUCKETS = [1, 5, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 21_600] as const

/** Transactions that are counted in one go: some ten thousand rows, less than a second of work. */
const MOST_TRANSACTIONS = 5_000n
/** So many without anything to count may lie behind the mark before it is moved. Fewer than the above, or it would never be. */
const MOST_IDLE_TRANSACTIONS = MOST_TRANSACTIONS / 2n

/** A history that totals are counted from: what each of its new rows adds, as name, labels, bucket, count and sum. */
interface Source {
  readonly name: string
  readonly table: string
  readonly totals: (range: SQL) => SQL
}

const JOBS: Source = {
  name: 'job_transitions',
  table: 'job_transitions',
  totals: (range) => sql`
    with fresh as (
      select t.job_id, t.seq, t.kind, t.from_status, t.to_status, t.reason, t.details, t.at, t.attempt_id, j.lane::text as lane, j.run_after
      from job_transitions t join jobs j on j.id = t.job_id where ${range}
    ), waited as (
      -- From when it was due until a worker took it. A job that has been put off again since is measured from its last move.
      select f.lane, greatest(0, extract(epoch from f.at - greatest(p.at, case when f.run_after <= f.at then f.run_after end)))::float8 as s
      from fresh f cross join lateral (
        select q.at from job_transitions q where q.job_id = f.job_id and q.seq < f.seq and q.kind = 'move' order by q.seq desc limit 1) p
      where f.kind = 'move' and f.reason = 'leased'
    ), ran as (
      select f.lane, greatest(0, extract(epoch from a.finished_at - a.admitted_at))::float8 as s
      from fresh f join job_attempts a on a.id = f.attempt_id
      where f.kind = 'move' and f.from_status in ('leased', 'running') and f.to_status not in ('leased', 'running') and a.admitted_at is not null and a.finished_at is not null
    )
    select 'jobs_created' as name, jsonb_build_object('lane', lane) as labels, '' as bucket, count(*) as n, 0::float8 as s from fresh where reason = 'created' group by 2
    union all
    select 'jobs_ended', jsonb_build_object('lane', lane, 'outcome', to_status), '', count(*), 0 from fresh
      where kind = 'move' and to_status in ('succeeded', 'failed', 'dead', 'cancelled') group by 2
    union all
    select 'retries', jsonb_build_object('reason', reason), '', count(*), 0 from fresh
      where kind = 'move' and from_status in ('leased', 'running') and to_status = 'queued' group by 2
    union all
    select 'hook_answers', jsonb_build_object('class', class), '', count(*), 0 from (
      select case
        when reason = 'admitted' then 'admitted' when reason = 'undelivered' then 'undelivered' when reason = 'refused_by_gateway' then 'refused'
        when reason = 'held' and details ->> 'reason' = 'delivery_unclear' then 'unclear' when reason = 'run_lost' then 'lost' end as class
      from fresh) answers where class is not null group by 2
    union all
    ${histogram('lease_latency', 'waited', LEASE_BUCKETS)}
    union all
    ${histogram('run', 'ran', RUN_BUCKETS)}`,
}

const SLOTS: Source = {
  name: 'standing_order_run_transitions',
  table: 'standing_order_run_transitions',
  totals: (range) => sql`
    select 'slots' as name, jsonb_build_object('status', t.to_status) as labels, '' as bucket, count(*) as n, 0::float8 as s
    from standing_order_run_transitions t where ${range} and t.to_status <> 'started' group by 2`,
}

/** Each bucket counts what is at most its bound, as Prometheus has it; the one without a bound counts all and has the sum. */
function histogram(name: string, from: string, bounds: readonly number[]): SQL {
  const buckets = sql.join(
    bounds.map((bound) => sql`(${String(bound)}, ${bound}::float8)`),
    sql`, `,
  )
  const source = sql.raw(from)
  return sql`
    select ${name}, jsonb_build_object('lane', m.lane), b.label, count(*) filter (where m.s <= b.upper), 0 from ${source} m cross join (values ${buckets}) b(label, upper) group by 2, 3
    union all
    select ${name}, jsonb_build_object('lane', lane), '+Inf', count(*), sum(s) from ${source} group by 2`
}

/**
 * Adds what has happened since the last count to the totals; each row of a history is counted once, whichever process does
 * it and whenever one dies. Only transactions older than every one that still runs count: a row of theirs cannot turn up
 * later in the range. @returns whether there is more to count
 */
export async function countHistory(tx: Tx): Promise<boolean> {
  const { rows } = await tx.execute<{ got: boolean }>(sql`select pg_try_advisory_xact_lock(${ADVISORY.countMetrics}) as got`)
  if (rows[0]?.got !== true) return false
  const more = [await countSource(tx, JOBS), await countSource(tx, SLOTS)]
  return more.includes(true)
}

/** What the cluster that a restored ledger comes from had counted: of the rows that were there up to `at`, those with numbers below `xact`. */
interface Restored {
  readonly xact: bigint
  readonly at: string
}

const restoredKey = (source: Source): string => `metrics_restored:${source.name}`

async function countSource(tx: Tx, source: Source): Promise<boolean> {
  const { rows } = await tx.execute<{ mark: string | null; ended: string; note: string | null }>(sql`
    select (select xact::text from metric_marks where source = ${source.name}) as mark, pg_snapshot_xmin(pg_current_snapshot())::text as ended,
      (select value from ledger_meta where key = ${restoredKey(source)}) as note`)
  const [mark, ended] = [rows[0]?.mark ?? null, BigInt(rows[0]?.ended ?? '0')]
  // Beyond the end: the ledger was restored into a new cluster, whose transactions are numbered anew.
  const isAnew = mark !== null && BigInt(mark) > ended
  const restored = restoredOf(isAnew ? await noteRestored(tx, source, mark) : (rows[0]?.note ?? null))
  const from = mark === null ? await firstOf(tx, source, ended) : isAnew ? ended : BigInt(mark)
  const to = from + MOST_TRANSACTIONS < ended ? from + MOST_TRANSACTIONS : ended
  const hasCounted = to > from && (await addTotals(tx, source, { from, to, restored }))
  // On an idle bus transactions go on, of heartbeats and the like, and there is nothing to count. No row can come any more into a range that
  // was found empty, so the mark may stay before it; not for ever, since what is counted in one go has an end.
  const isMoved = hasCounted || mark === null || BigInt(mark) !== from || to - from >= MOST_IDLE_TRANSACTIONS
  if (isMoved) {
    await tx.execute(sql`
      insert into metric_marks (source, xact) values (${source.name}, ${String(to)}::xid8) on conflict (source) do update set xact = excluded.xact`)
  }
  return to < ended
}

/**
 * Writes down what is counted already: restored rows keep their numbers, and the new cluster will come to those. After several
 * restores the highest mark holds. @returns the note
 */
async function noteRestored(tx: Tx, source: Source, mark: string): Promise<string | null> {
  const { rows } = await tx.execute<{ value: string }>(sql`
    insert into ledger_meta (key, value) values (${restoredKey(source)}, ${mark}::text || ' ' || (to_json(clock_timestamp()) #>> '{}'))
    on conflict (key) do update set set_at = now(),
      value = greatest(split_part(ledger_meta.value, ' ', 1)::bigint, ${mark}::bigint)::text || ' ' || split_part(excluded.value, ' ', 2)
    returning value`)
  return rows[0]?.value ?? null
}

function restoredOf(note: string | null): Restored | undefined {
  const [xact, at] = note?.split(' ') ?? []
  return xact === undefined || at === undefined ? undefined : { xact: BigInt(xact), at }
}

/** @returns whether there was anything to add */
async function addTotals(
  tx: Tx,
  source: Source,
  { from, to, restored }: { readonly from: bigint; readonly to: bigint; readonly restored: Restored | undefined },
): Promise<boolean> {
  const notCounted = restored === undefined ? sql`` : sql` and (t.at > ${restored.at}::timestamptz or ((t.xact::text)::bigint) >= ${String(restored.xact)}::bigint)`
  // In the text, so that PostgreSQL plans for this range and no other; a text that never comes again takes no name (StatementNames).
  const range = sql`${sql.raw(`((t.xact::text)::bigint) >= ${from} and ((t.xact::text)::bigint) < ${to}`)}${notCounted}`
  const added = await tx.execute(sql`
    insert into metric_totals (name, labels, bucket, count, sum)
    select name, labels, bucket, n, coalesce(s, 0) from (${source.totals(range)}) added
    on conflict (name, labels, bucket) do update set count = metric_totals.count + excluded.count, sum = metric_totals.sum + excluded.sum`)
  return (added.rowCount ?? 0) > 0
}

async function firstOf(tx: Tx, source: Source, ended: bigint): Promise<bigint> {
  const { rows } = await tx.execute<{ first: string | null }>(sql`select min((xact::text)::bigint)::text as first from ${sql.raw(source.table)}`)
  const first = rows[0]?.first ?? null
  return first === null ? ended : BigInt(first)
}
