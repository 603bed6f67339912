import { ATTEMPTS } from './attempt-checks.js'
import { GUARD_CHECK } from './guards.js'
import { openOrSince, type SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

const state: SqlCheck = {
  name: 'state',
  statements: [
    {
      sql: (bounds) => `select case when t.seq is null then 'job_without_history' when t.seq < j.last_seq then 'history_cut_off'
          when t.seq > j.last_seq then 'history_runs_ahead' else 'state_differs' end as kind,
          j.id as job_id, j.status, j.last_seq, t.seq as history_ends_at, t.to_status as history_says
        from jobs j left join lateral (select h.seq, h.to_status from job_transitions h where h.job_id = j.id order by h.seq desc limit 1) t on true
        where (t.seq is distinct from j.last_seq or t.to_status is distinct from j.status) ${openOrSince('j.finished_at', bounds, 'j.updated_at')}`,
      what: (row) =>
        row['history_ends_at'] === null
          ? `Job ${text(row['job_id'])} is ${text(row['status'])} and has no history.`
          : `Job ${text(row['job_id'])} is ${text(row['status'])} at row ${text(row['last_seq'])}; its history ends at row ${text(row['history_ends_at'])} with ${text(row['history_says'])}.`,
      next: 'Compare the job with a backup or an export: the ledger itself refuses to commit this.',
    },
    {
      sql: (bounds) => `select 'job_inconsistent' as kind, j.id as job_id, j.status, r.rule
        from jobs j cross join lateral (select job_rule_broken(j) as rule) r where r.rule is not null ${openOrSince('j.finished_at', bounds, 'j.updated_at')}`,
      what: (row) => `Job ${text(row['job_id'])} is ${text(row['status'])}, and its row breaks the rule ${text(row['rule'])}.`,
      next: 'Compare the job with a backup or an export: the ledger itself refuses to write this.',
    },
  ],
}

const leases: SqlCheck = {
  name: 'leases',
  statements: [
    {
      sql: ({ graceSeconds }) => `select 'attempt_past_lease' as kind, a.id as attempt_id, a.job_id, a.agent_id, a.leased_until
        from job_attempts a where a.finished_at is null and a.leased_until < clock_timestamp() - interval '${graceSeconds} seconds'`,
      what: (row) => `Attempt ${text(row['attempt_id'])} of job ${text(row['job_id'])} has no end; its lease ran out at ${text(row['leased_until'])}.`,
      next: 'Start a worker: it reaps leases that ran out. If workers run, look for maintenance.failed in their logs.',
    },
  ],
}

const outbox: SqlCheck = {
  name: 'outbox',
  statements: [
    {
      sql: ({ outboxSeconds }) => `select 'outbox_stuck' as kind, o.id as outbox_id, o.kind as wants, o.job_id, o.agent_id, o.created_at, o.tries
        from outbox o where o.created_at < clock_timestamp() - interval '${outboxSeconds} seconds'`,
      what: (row) => `Outbox row ${text(row['outbox_id'])} (${text(row['wants'])} job ${text(row['job_id'])}) waits since ${text(row['created_at'])}.`,
      next: 'Look whether the queue store can be reached and a process relays (relay.failed in the logs). Nothing is lost; nothing moves.',
    },
  ],
}

const waits: SqlCheck = {
  name: 'waits',
  statements: [
    {
      sql: () => `select 'waiting_for_nothing' as kind, j.id as job_id, j.created_at from jobs j where j.status = 'waiting'
          and not exists (select from job_dependencies d join jobs p on p.id = d.depends_on_job_id where d.job_id = j.id and p.finished_at is null)`,
      what: (row) => `Job ${text(row['job_id'])} waits, and every job it depends on is over.`,
      next: 'Retry it: `agentbus retry-job` queues a waiting job.',
    },
    {
      sql: () => `select 'blocked_for_nothing' as kind, j.id as job_id, j.waits_for ->> 'kind' as waits_for, coalesce(p.id::text, a.id::text) as which, coalesce(p.status::text, a.status::text) as which_is
        from jobs j
          left join jobs p on j.waits_for ->> 'kind' = 'job' and p.id::text = j.waits_for ->> 'job_id'
          left join approvals a on j.waits_for ->> 'kind' = 'approval' and a.id::text = j.waits_for ->> 'approval_id'
        where j.status = 'blocked' and (
          j.waits_for is null
          or (j.waits_for ->> 'kind' = 'job' and (p.id is null or (p.finished_at is not null and (p.status = 'succeeded' or not j.waits_for ? 'because'))))
          or (j.waits_for ->> 'kind' = 'approval' and (a.id is null or a.status <> 'pending'))
          or (j.waits_for ->> 'kind' = 'time' and j.look_again_at is null)
          or (j.waits_for ->> 'kind' = 'agent' and not exists (select from agents g where g.id = j.waits_for ->> 'agent')))`,
      what: (row) =>
        `Job ${text(row['job_id'])} is blocked, and what it waits for (${text(row['waits_for'])} ${text(row['which'])}) is ${row['which_is'] === null ? 'not there' : text(row['which_is'])}.`,
      next: 'Answer it with `agentbus unblock-job`; then find out why nobody woke it.',
    },
  ],
}

/** A table whose state is what the last row of its history says, and whose history is numbered without a gap. */
export function agrees(kind: string, table: string, history: { readonly table: string; readonly key: string; readonly status: string; readonly only?: string }, skip = 'false') {
  return {
    sql: () => `select '${kind}' as kind, r.id, r.status::text as status, r.last_seq, t.seq as history_ends_at, t.rows as history_rows, s.says as history_says
      from ${table} r
        left join lateral (select max(h.seq) as seq, count(*)::int as rows from ${history.table} h where h.${history.key} = r.id) t on true
        left join lateral (select ${history.status} as says from ${history.table} h where h.${history.key} = r.id ${history.only ?? ''} order by h.seq desc limit 1) s on true
      where not (${skip}) and (t.seq is distinct from r.last_seq or t.rows <> r.last_seq or s.says is distinct from r.status::text)`,
    what: (row: Readonly<Record<string, unknown>>) =>
      `${table}: ${text(row['id'])} is ${text(row['status'])} at row ${text(row['last_seq'])}; its history has ${text(row['history_rows'])} rows, the last of them ${text(row['history_ends_at'])} with ${text(row['history_says'])}.`,
    next: 'Compare it with a backup: the ledger itself refuses to commit this.',
  }
}

const handOffs: SqlCheck = {
  name: 'hand-offs',
  statements: [
    agrees('approval_disagrees', 'approvals', { table: 'approval_transitions', key: 'approval_id', status: 'h.to_status::text' }),
    agrees('workflow_run_disagrees', 'workflow_runs', { table: 'workflow_transitions', key: 'run_id', status: 'h.to_status', only: 'and h.step is null' }),
    {
      sql: () => `select 'workflow_step_disagrees' as kind, s.run_id, s.step, s.status, t.to_status as history_says
        from workflow_steps s left join lateral (
          select h.to_status from workflow_transitions h where h.run_id = s.run_id and h.step = s.step order by h.seq desc limit 1) t on true
        where s.status::text <> coalesce(t.to_status, 'pending')`,
      what: (row) => `Step ${text(row['step'])} of workflow run ${text(row['run_id'])} is ${text(row['status'])}; its history says ${text(row['history_says'])}.`,
      next: 'Compare it with a backup: the ledger itself refuses to commit this.',
    },
  ],
}

const findings: SqlCheck = {
  name: 'findings',
  statements: [
    {
      sql: () => `select 'finding_disagrees' as kind, f.id as finding_id, f.last_seq, h.seq as history_ends_at, h.rows as history_rows
        from findings f left join lateral (select max(seq) as seq, count(*)::int as rows from finding_history where finding_id = f.id) h on true
        where h.seq is distinct from f.last_seq or h.rows <> f.last_seq`,
      what: (row) =>
        `Finding ${text(row['finding_id'])} is at row ${text(row['last_seq'])}; its history has ${text(row['history_rows'])} rows up to ${text(row['history_ends_at'])}.`,
      next: 'Compare it with a backup: the ledger itself refuses to commit this.',
    },
  ],
}

/** Every state in the ledger against what its history says. */
export const STATE_CHECKS: readonly SqlCheck[] = [GUARD_CHECK, state, ATTEMPTS, leases, outbox, waits, handOffs, findings]

/** The state of slots against their histories; their number is counted elsewhere. */
export const SLOT_STATEMENTS: SqlCheck = {
  name: 'slots',
  statements: [
    {
      ...agrees(
        'slot_disagrees',
        'standing_order_runs',
        { table: 'standing_order_run_transitions', key: 'run_id', status: 'h.to_status::text' },
        "r.status = 'expected' and r.last_seq = 0",
      ),
    },
    {
      sql: ({ graceSeconds }) => `select 'slot_forgotten' as kind, r.id as slot_id, r.order_id, r.slot_at, r.grace_until from standing_order_runs r
        where r.status = 'expected' and greatest(r.grace_until, r.look_at) < clock_timestamp() - interval '${graceSeconds} seconds'`,
      what: (row) => `Slot ${text(row['slot_id'])}, due at ${text(row['slot_at'])}, was neither started nor missed.`,
      next: 'Start a process: each keeps slots. If some run, look for slots.failed in their logs.',
    },
    {
      sql: () => `select 'slot_without_end' as kind, r.id as slot_id, j.id as job_id, j.status as job_status from standing_order_runs r left join jobs j on j.standing_order_run_id = r.id
        where r.status = 'started' and (j.id is null or j.finished_at is not null)`,
      what: (row) => `Slot ${text(row['slot_id'])} is started, but its job ${text(row['job_id'])} is ${row['job_id'] === null ? 'not there' : text(row['job_status'])}.`,
      next: 'Compare it with a backup: the ledger ends a slot with its job.',
    },
  ],
}
