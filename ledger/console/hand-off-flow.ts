import { sql } from 'drizzle-orm'
import type { Tx } from '../database.js'
import { instantOf } from '../presence.js'
import { idAt } from './search-jobs.js'

/** So many jobs are counted at most, the newest ones of the window. */
export const FLOW_BUDGET = 150_000
/** Pairs of sender and receiver that are told, the heaviest. A fleet of a hundred agents may have thousands. */
export const MOST_EDGES = 500

export interface FlowEdge {
  readonly from: string
  /** Null: work for whoever is able, that nobody has taken yet. */
  readonly to: string | null
  readonly jobs: number
  readonly open: number
  /** Ended other than with success. */
  readonly failed: number
  /** Median time to the end, of those that have ended. */
  readonly median_seconds: number | null
}

/** Who handed what to whom in a window, heaviest first. `cut`: the window holds more jobs than were counted; `more`: there are lighter pairs than those. */
export async function handOffFlow(
  tx: Tx,
  window: { readonly fromMs: number; readonly toMs: number; readonly agent?: string | undefined },
): Promise<{ edges: FlowEdge[]; cut: boolean; more: boolean }> {
  const agent = window.agent ?? null
  // The count stands in a row of its own: where nobody handed anything to anybody, it says still whether all jobs were looked at.
  const { rows } = await tx.execute(sql`
    with handed as (
      select source_agent, target_agent, finished_at, status, created_at from jobs
      where id >= ${idAt(instantOf(window.fromMs))}::uuid and id < ${idAt(instantOf(window.toMs))}::uuid order by id desc limit ${FLOW_BUDGET}
    )
    select s.seen, e.* from (select count(*) as seen from handed) s left join (
      select source_agent, target_agent, count(*)::int as jobs, (count(*) filter (where finished_at is null))::int as open,
        (count(*) filter (where status in ('failed', 'dead', 'cancelled')))::int as failed,
        percentile_cont(0.5) within group (order by extract(epoch from finished_at - created_at)::float8) filter (where finished_at is not null) as median
      from handed where source_agent is not null and source_agent is distinct from target_agent
        and (${agent}::text is null or source_agent = ${agent} or target_agent = ${agent})
      group by source_agent, target_agent order by jobs desc, source_agent, target_agent limit ${MOST_EDGES + 1}
    ) e on true order by e.jobs desc, e.source_agent, e.target_agent`)
  const found = rows.filter((row) => row['source_agent'] !== null)
  return {
    edges: found.slice(0, MOST_EDGES).map((row) => ({
      from: String(row['source_agent']),
      to: row['target_agent'] as string | null,
      jobs: Number(row['jobs']),
      open: Number(row['open']),
      failed: Number(row['failed']),
      median_seconds: row['median'] === null ? null : Number(row['median']),
    })),
    cut: Number(rows[0]?.['seen'] ?? 0) >= FLOW_BUDGET,
    more: found.length > MOST_EDGES,
  }
}
