import { sql } from 'drizzle-orm'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'

/** What became of the slots of standing orders in the last 24 hours. */
export const SLOT_OUTCOMES = ['completed', 'no_work', 'blocked', 'failed', 'skipped', 'missed'] as const

/** One row of `system_health_snapshot_v`, the view that operators read in SQL. */
export interface NamespaceHealth {
  readonly namespace: string
  readonly waiting: number
  readonly queued: number
  readonly in_hand: number
  readonly blocked: number
  /** Failed for good, and nobody has buried them. */
  readonly dead: number
  readonly expired_leases: number
  /** Open after three attempts or more. */
  readonly retry_hotspots: number
  readonly oldest_queued_seconds: number | null
  readonly oldest_blocked_seconds: number | null
  readonly slots: Readonly<Record<(typeof SLOT_OUTCOMES)[number], number>>
  readonly started_slots: number
  readonly workers: number
  readonly alive_workers: number
  readonly stale_workers: number
  readonly worker_seen_at: string | null
  readonly leases_owned: number
  readonly busy_agents: number
  /** What was proposed, by state; those that were rejected are not in the view. */
  readonly opportunities: Readonly<Record<'new' | 'accepted' | 'parked' | 'converted', number>>
  readonly ideas: Readonly<Record<'new' | 'reviewed' | 'promoted' | 'archived', number>>
  /** Of what nobody has looked at. */
  readonly oldest_new_opportunity_seconds: number | null
  readonly oldest_new_idea_seconds: number | null
}

/** `system_health_snapshot_v`, a row per namespace; none on a ledger without work, orders and processes. */
export async function systemHealth(tx: Tx): Promise<NamespaceHealth[]> {
  const { rows } = await tx.execute(sql`select * from system_health_snapshot_v order by namespace limit 200`)
  return rows.map((row) => {
    const n = (name: string): number => Number(row[name] ?? 0)
    const seconds = (name: string): number | null => (row[name] === null ? null : n(name))
    const seen = row['last_dispatcher_seen_at']
    return {
      namespace: String(row['namespace']),
      waiting: n('waiting_count'),
      queued: n('queued_count'),
      in_hand: n('leased_count') + n('running_count'),
      blocked: n('blocked_count'),
      dead: n('failed_count') + n('dead_count'),
      expired_leases: n('expired_lease_count'),
      retry_hotspots: n('retry_hotspot_count'),
      oldest_queued_seconds: seconds('oldest_queued_age_seconds'),
      oldest_blocked_seconds: seconds('oldest_blocked_age_seconds'),
      slots: {
        completed: n('standing_completed_last_24h'),
        no_work: n('standing_no_work_last_24h'),
        blocked: n('standing_blocked_last_24h'),
        failed: n('standing_failed_last_24h'),
        skipped: n('standing_skipped_last_24h'),
        missed: n('standing_missed_last_24h'),
      },
      started_slots: n('standing_runs_last_24h'),
      workers: n('dispatcher_count'),
      alive_workers: n('healthy_dispatcher_count'),
      stale_workers: n('stale_dispatcher_count'),
      worker_seen_at: typeof seen === 'string' ? iso(seen) : null,
      leases_owned: n('leases_owned_total'),
      busy_agents: n('busy_agents_total'),
      opportunities: { new: n('opp_new_count'), accepted: n('opp_accepted_count'), parked: n('opp_parked_count'), converted: n('opp_converted_count') },
      ideas: { new: n('idea_new_count'), reviewed: n('idea_reviewed_count'), promoted: n('idea_promoted_count'), archived: n('idea_archived_count') },
      oldest_new_opportunity_seconds: seconds('opp_oldest_new_age_seconds'),
      oldest_new_idea_seconds: seconds('idea_oldest_new_age_seconds'),
    }
  })
}
