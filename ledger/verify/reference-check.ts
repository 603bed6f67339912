import type { SqlCheck } from './statements.js'

/** From a column to the key that it must find: table, what names its row, column, target table, target key. */
type Reference = readonly [table: string, name: string, column: string, target: string, key: string]

/** Every pointer of the ledger, whether or not a foreign key guards it: with triggers switched off, neither does. */
export const REFERENCES: readonly Reference[] = [
  ['job_attempts', 'id', 'job_id', 'jobs', 'id'],
  ['job_attempts', 'id', 'prompt_hash', 'prompts', 'hash'],
  ['job_attempts', 'id', 'agent_id', 'agents', 'id'],
  ['job_transitions', 'job_id', 'attempt_id', 'job_attempts', 'id'],
  ['job_dependencies', 'job_id', 'job_id', 'jobs', 'id'],
  ['job_dependencies', 'job_id', 'depends_on_job_id', 'jobs', 'id'],
  ['jobs', 'id', 'parent_job_id', 'jobs', 'id'],
  ['jobs', 'id', 'source_event_id', 'events', 'id'],
  ['jobs', 'id', 'standing_order_run_id', 'standing_order_runs', 'id'],
  ['outbox', 'id', 'job_id', 'jobs', 'id'],
  ['events', 'id', 'source_job_id', 'jobs', 'id'],
  ['events', 'id', 'source_attempt_id', 'job_attempts', 'id'],
  ['reactions', 'event_id', 'event_id', 'events', 'id'],
  ['reactions', 'event_id', 'job_id', 'jobs', 'id'],
  ['reactions', 'event_id', 'finding_id', 'findings', 'id'],
  ['reactions', 'event_id', 'subscription_id', 'subscriptions', 'id'],
  ['inbox_messages', 'id', 'finding_id', 'findings', 'id'],
  ['inbox_messages', 'id', 'read_attempt_id', 'job_attempts', 'id'],
  ['finding_history', 'finding_id', 'finding_id', 'findings', 'id'],
  ['finding_history', 'finding_id', 'message_id', 'inbox_messages', 'id'],
  ['finding_history', 'finding_id', 'job_id', 'jobs', 'id'],
  ['finding_history', 'finding_id', 'attempt_id', 'job_attempts', 'id'],
  ['approvals', 'id', 'job_id', 'jobs', 'id'],
  ['approvals', 'id', 'workflow_run_id', 'workflow_runs', 'id'],
  ['approval_transitions', 'approval_id', 'approval_id', 'approvals', 'id'],
  ['workflow_steps', 'run_id', 'run_id', 'workflow_runs', 'id'],
  ['workflow_steps', 'run_id', 'job_id', 'jobs', 'id'],
  ['workflow_steps', 'run_id', 'approval_id', 'approvals', 'id'],
  ['workflow_transitions', 'run_id', 'run_id', 'workflow_runs', 'id'],
  ['standing_order_runs', 'id', 'order_id', 'standing_orders', 'id'],
  ['standing_order_run_transitions', 'run_id', 'run_id', 'standing_order_runs', 'id'],
  ['jobs', 'id', 'held_by', 'controls', 'id'],
  ['control_changes', 'control_id', 'control_id', 'controls', 'id'],
  ['alert_history', 'alert_id', 'alert_id', 'alerts', 'id'],
  ['alert_deliveries', 'id', 'alert_id', 'alerts', 'id'],
  ['alert_deliveries', 'id', 'job_id', 'jobs', 'id'],
  ['alert_attempts', 'delivery_id', 'delivery_id', 'alert_deliveries', 'id'],
  ['project_log', 'id', 'job_id', 'jobs', 'id'],
  ['project_statuses', 'project', 'job_id', 'jobs', 'id'],
]

/** Rows that point nowhere. */
export const ORPHANS: SqlCheck = {
  name: 'orphans',
  statements: REFERENCES.map(([table, name, column, target, key]) => ({
    sql: () => `select '${table}.${column}_points_nowhere' as kind, r.${name} as row, r.${column} as points_to from ${table} r
      where r.${column} is not null and not exists (select from ${target} x where x.${key} = r.${column})`,
    what: (row: Readonly<Record<string, unknown>>) => `${table} ${String(row['row'])}: its ${column} ${String(row['points_to'])} is not in ${target}.`,
    next: `Restore the missing row of ${target} from a backup: it was deleted past the ledger's guards.`,
  })),
}
