import type { SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

const COMPARE = 'Compare it with a backup: the ledger itself refuses to commit this.'
const KEPT = 'Start a process: each keeps controls. If some run, look for maintenance.failed in their logs.'
/** What ends a control. */
const ENDS = `('resumed', 'expired', 'replaced')`

/** Controls against their histories, and the jobs that they hold. One that is older than the histories (`last_seq` 0) has none. */
export const CONTROLS: SqlCheck = {
  name: 'controls',
  statements: [
    {
      sql: () => `select 'control_disagrees' as kind, c.id as control_id, c.last_seq, t.seq as history_ends_at, t.rows as history_rows, n.change as history_says,
          coalesce(c.lifted_because, 'in force') as control_says
        from controls c
          left join lateral (select coalesce(max(h.seq), 0) as seq, count(*)::int as rows from control_changes h where h.control_id = c.id) t on true
          left join lateral (select h.* from control_changes h where h.control_id = c.id order by h.seq desc limit 1) n on true
        where t.seq <> c.last_seq or t.rows <> c.last_seq or (c.last_seq > 0 and (
          (c.lifted_at is not null) is distinct from (n.change in ${ENDS})
          or c.lifted_because is distinct from case when n.change in ${ENDS} then n.change end
          or (c.lifted_at is not null and (c.lifted_by, c.lifted_by_kind, c.lift_reason) is distinct from (n.actor, n.actor_kind, n.reason))
          or (c.drained_at is not null) is distinct from exists (select from control_changes h where h.control_id = c.id and h.change = 'drained')
          or (c.running <> 'cancel' and exists (select from control_changes h where h.control_id = c.id and h.change = 'running_cancelled'))))`,
      what: (row) =>
        `Control ${text(row['control_id'])} is ${text(row['control_says'])} at row ${text(row['last_seq'])}; its history has ${text(row['history_rows'])} rows, the last of them ${text(row['history_ends_at'])} with ${text(row['history_says'])}.`,
      next: COMPARE,
    },
    {
      sql: () => `select 'control_begin_changed' as kind, c.id as control_id, c.set_by, c.reason, h.actor as history_says_by, h.reason as history_says
        from controls c join control_changes h on h.control_id = c.id and h.seq = 1
        where (c.set_by, c.set_by_kind, c.reason) is distinct from (h.actor, h.actor_kind, h.reason) or h.change <> 'set'`,
      what: (row) =>
        `Control ${text(row['control_id'])} is said to be set by ${text(row['set_by'])} (${text(row['reason'])}); its history says by ${text(row['history_says_by'])} (${text(row['history_says'])}).`,
      next: COMPARE,
    },
    {
      sql: () => `select 'control_changed_after_end' as kind, h.control_id, h.seq, h.change, e.seq as ended_at
        from control_changes h join control_changes e on e.control_id = h.control_id and e.change in ${ENDS} and e.seq < h.seq`,
      what: (row) =>
        `Control ${text(row['control_id'])} ended with row ${text(row['ended_at'])} of its history, and row ${text(row['seq'])} (${text(row['change'])}) comes after that.`,
      next: COMPARE,
    },
    {
      sql: () => `select 'two_controls_in_force' as kind, c.scope::text as scope, c.target, count(*)::int as open, array_agg(c.id order by c.id) as controls
        from controls c where c.lifted_at is null group by c.scope, c.target having count(*) > 1`,
      what: (row) => `Controls ${text(row['controls'])} are in force at once for ${text(row['scope'])} ${text(row['target'])}.`,
      next: COMPARE,
    },
    {
      sql: ({ graceSeconds }) => `select 'control_not_ended' as kind, c.id as control_id, c.scope::text as scope, c.target, c.until_at from controls c
        where c.lifted_at is null and c.until_at < clock_timestamp() - interval '${graceSeconds} seconds'`,
      what: (row) => `Control ${text(row['control_id'])} of ${text(row['scope'])} ${text(row['target'])} was to end at ${text(row['until_at'])}, and nobody has put that down.`,
      next: KEPT,
    },
    {
      sql: ({ graceSeconds }) => `select 'job_held_by_nothing' as kind, j.id as job_id, j.held_by as control_id, coalesce(c.lifted_at, c.until_at) as over_since
        from jobs j join controls c on c.id = j.held_by
        where j.status = 'queued' and least(c.lifted_at, c.until_at) < clock_timestamp() - interval '${graceSeconds} seconds'`,
      what: (row) => `Job ${text(row['job_id'])} is held by control ${text(row['control_id'])}, which is over since ${text(row['over_since'])}.`,
      next: KEPT,
    },
    {
      // A gateway is not compared: the fleet file may have moved the agent to another since.
      sql: () => `select 'job_held_by_other' as kind, j.id as job_id, j.held_by as control_id, c.scope::text as scope, c.target, j.lane::text as lane, j.target_agent as agent
        from jobs j join controls c on c.id = j.held_by
        where j.status = 'queued' and case c.scope::text
          when 'everything' then false when 'gateway' then false
          when 'lane' then c.target <> j.lane::text
          when 'agent' then c.target is distinct from j.target_agent
          when 'order' then not exists (select from standing_order_runs r join standing_orders o on o.id = r.order_id
            where r.id = j.standing_order_run_id and o.agent_id || '/' || o.name = c.target)
          else true end`,
      what: (row) =>
        `Job ${text(row['job_id'])} of ${text(row['agent'])} (lane ${text(row['lane'])}) is held by control ${text(row['control_id'])}, which is about ${text(row['scope'])} ${text(row['target'])}.`,
      next: 'Publish it anew: `agentbus promote-job`; then find out who wrote this.',
    },
  ],
}
