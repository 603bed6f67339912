import { sql } from 'drizzle-orm'
import { Lane } from '../contracts/job-states.js'
import type { LaneView } from '../contracts/lanes.js'
import type { Db } from './database.js'
import { iso } from './rows.js'

/** Every lane with its own pause and what is open in it. */
export async function listLanes(db: Db): Promise<LaneView[]> {
  const { rows } = await db.execute(sql`
    select l.lane::text as lane, c.reason, c.set_at, c.set_by, coalesce(j.queued, 0)::int as queued, coalesce(j.running, 0)::int as running
    from unnest(enum_range(null::lane)) with ordinality as l (lane, at)
      left join controls c on c.scope = 'lane' and c.target = l.lane::text and c.lifted_at is null and (c.until_at is null or c.until_at > clock_timestamp())
      left join (
        select lane, count(*) filter (where status = 'queued') as queued, count(*) filter (where status in ('leased', 'running')) as running
        from jobs where finished_at is null group by lane
      ) j on j.lane = l.lane
    order by l.at`)
  return rows.map((row) => ({
    lane: Lane.parse(row['lane']),
    paused: row['set_at'] !== null,
    reason: row['reason'] as string | null,
    since: row['set_at'] === null ? null : iso(String(row['set_at'])),
    by: row['set_by'] as string | null,
    queued: Number(row['queued']),
    running: Number(row['running']),
  }))
}
