import type { SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

/**
 * The triggers without which the rest of this ledger proves little: all that its migrations make. Each is named after its
 * table, and here by what comes after that. A test compares this list with the schema, both ways.
 */
const BY_TABLE = {
  accesses: ['append_only', 'no_truncate', 'no_update'],
  agent_state_changes: ['append_only', 'no_truncate'],
  alert_attempts: ['append_only', 'no_truncate'],
  alert_deliveries: ['done_are_final', 'no_delete', 'no_truncate'],
  alert_history: ['append_only', 'no_truncate'],
  alert_silences: ['lifted_are_final', 'no_delete', 'no_truncate'],
  alerts: ['have_history', 'no_delete', 'no_truncate', 'resolved_are_final'],
  approval_transitions: ['append_only', 'no_truncate'],
  approvals: ['decided_are_final', 'have_history', 'no_delete', 'no_truncate'],
  audit_checkpoint_jobs: ['append_only', 'no_truncate'],
  audit_checkpoint_records: ['append_only', 'no_truncate'],
  audit_checkpoints: ['append_only', 'chain', 'name_their_jobs', 'no_truncate'],
  control_changes: ['append_only', 'no_truncate'],
  controls: ['begin_stays', 'have_history', 'lifted_are_final', 'no_delete', 'no_truncate'],
  events: ['append_only', 'no_delete', 'no_truncate'],
  finding_history: ['append_only', 'no_truncate'],
  findings: ['have_history', 'no_delete', 'no_truncate', 'settled_are_final'],
  fleet_versions: ['append_only', 'no_truncate'],
  idea_reviews: ['append_only', 'no_truncate'],
  ideas: ['decided_are_final', 'have_history', 'no_delete', 'no_truncate', 'words_stay'],
  inbox_messages: ['closed_are_final', 'have_history', 'no_delete', 'no_truncate', 'stay_read'],
  job_attempts: ['closed_are_final', 'hold_their_job', 'no_delete', 'no_truncate'],
  job_transitions: ['append_only', 'chain', 'no_truncate'],
  jobs: ['are_consistent', 'attempt_is_open', 'insert_has_history', 'move_their_slot', 'no_delete', 'no_truncate', 'pruned_are_final', 'pruned_by_a_prune', 'update_has_history'],
  memories: ['have_history', 'no_delete', 'no_truncate', 'over_are_final', 'words_stay'],
  memory_candidate_reviews: ['append_only', 'no_truncate'],
  memory_candidates: ['decided_are_final', 'have_history', 'no_delete', 'no_truncate', 'words_stay'],
  memory_reviews: ['append_only', 'no_truncate'],
  observations: ['append_only', 'no_truncate', 'no_update'],
  opportunities: ['decided_are_final', 'have_history', 'no_delete', 'no_truncate', 'words_stay'],
  opportunity_reviews: ['append_only', 'no_truncate'],
  project_log: ['append_only', 'no_truncate'],
  project_statuses: ['append_only', 'no_truncate'],
  prompts: ['append_only', 'no_delete', 'no_truncate'],
  prunes: ['append_only', 'chain', 'name_their_rows', 'no_truncate'],
  reactions: ['done_are_final', 'no_delete', 'no_truncate'],
  standing_order_run_transitions: ['append_only', 'no_truncate'],
  standing_order_runs: ['have_history', 'no_delete', 'no_truncate'],
  standing_order_versions: ['append_only', 'no_truncate'],
  standing_orders: ['no_delete'],
  subscriptions: ['no_delete', 'no_truncate'],
  workflow_runs: ['ended_are_final', 'have_history', 'no_delete', 'no_truncate'],
  workflow_steps: ['ended_are_final', 'have_history', 'no_delete', 'no_truncate'],
  workflow_transitions: ['append_only', 'no_truncate'],
  workflows: ['append_only', 'no_truncate'],
} as const satisfies Readonly<Record<string, readonly string[]>>

/** Every trigger that has to be there, with the table it guards. */
export const GUARDS: readonly { readonly table: string; readonly trigger: string }[] = Object.entries(BY_TABLE).flatMap(([table, names]) =>
  names.map((name) => ({ table, trigger: `${table}_${name}` })),
)

const WANTED = `(values ${GUARDS.map(({ table, trigger }) => `('${table}', '${trigger}')`).join(', ')})`

/** The triggers that keep the ledger append-only are there, on their tables, and switched on; and no other one is switched off. */
export const GUARD_CHECK: SqlCheck = {
  name: 'guards',
  statements: [
    {
      sql: () => `select case when t.tgname is null then 'guard_missing' else 'guard_disabled' end as kind, g.name as trigger, g.relation as "table"
        from ${WANTED} g (relation, name) left join pg_trigger t on t.tgname = g.name and t.tgrelid = to_regclass('public.' || g.relation)
        where t.tgname is null or t.tgenabled not in ('O', 'A')
        union all
        select 'guard_disabled', t.tgname::text, c.relname::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
        where c.relnamespace = 'public'::regnamespace and t.tgenabled = 'D' and (c.relname::text, t.tgname::text) not in (select g.relation, g.name from ${WANTED} g (relation, name))`,
      what: (row) => `Trigger ${text(row['trigger'])} of ${text(row['table'])} does not guard: it is ${row['kind'] === 'guard_missing' ? 'missing' : 'switched off'}.`,
      next: 'Switch it on again (alter table … enable trigger), or make it anew as docs/schema.sql has it; and find out what was written meanwhile.',
    },
  ],
}
