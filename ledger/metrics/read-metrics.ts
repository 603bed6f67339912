import { sql } from 'drizzle-orm'
import type { Db } from '../database.js'

/** One line of the totals; `bucket` is the upper bound of a histogram's bucket, '' of anything else. */
export interface MetricTotal {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly bucket: string
  readonly count: number
  readonly sum: number
}

/** What has happened since the ledger began, as last counted; at most some seconds old while a worker runs. */
export async function metricTotals(db: Db): Promise<MetricTotal[]> {
  const { rows } = await db.execute(sql`select name, labels, bucket, count, sum from metric_totals order by name, labels, bucket`)
  return rows.map((row) => ({
    name: String(row['name']),
    labels: row['labels'] as Record<string, string>,
    bucket: String(row['bucket']),
    count: Number(row['count']),
    sum: Number(row['sum']),
  }))
}

export interface LaneQueue {
  readonly lane: string
  readonly depth: number
  readonly oldestSeconds: number
}

/** What is due and not started, by lane, and for how long the oldest of it has been due. Read from one index, without the table. */
export async function queueByLane(db: Db): Promise<LaneQueue[]> {
  const { rows } = await db.execute(sql`
    select lane::text as lane, count(*)::int as depth, extract(epoch from clock_timestamp() - min(run_after))::float8 as age
    from jobs where status = 'queued' and run_after <= clock_timestamp() group by lane`)
  return rows.map((row) => ({ lane: String(row['lane']), depth: Number(row['depth']), oldestSeconds: Math.max(0, Number(row['age'])) }))
}

export interface AlertCounts {
  readonly open: readonly { readonly rule: string; readonly level: string; readonly n: number }[]
  readonly pending: number
}

export async function alertCounts(db: Db): Promise<AlertCounts> {
  const open = await db.execute<{ rule: string; level: string; n: number }>(
    sql`select rule, level::text as level, count(*)::int as n from alerts where status = 'open' group by 1, 2`,
  )
  const pending = await db.execute<{ n: number }>(sql`select count(*)::int as n from alert_deliveries where status = 'pending'`)
  return { open: open.rows, pending: pending.rows[0]?.n ?? 0 }
}

/** Dead letters that nobody has buried or retried, counted up to 10,000. */
export async function deadLetterCount(db: Db): Promise<number> {
  const { rows } = await db.execute<{ n: number }>(sql`
    select count(*)::int as n from (
      select from jobs where status in ('failed', 'dead') and buried_at is null limit 10000) dead`)
  return rows[0]?.n ?? 0
}
