/** An append-only table beside the histories of jobs, and what a checkpoint's list says of each of its rows. */
export interface History {
  readonly table: string
  /** Rises with each insert, and no other row has it. */
  readonly id: string
  /** SQL for what row `t` says, as one text whose parts cannot run into each other. Frozen: a hash of it is kept for good. */
  readonly text: string
}

interface Columns {
  readonly id?: string
  /** As they are in JSON. */
  readonly plain: readonly string[]
  readonly times?: readonly string[]
  /** What agents are told or say: its hash is taken in, so that an audit bundle does not show it. */
  readonly closed?: readonly string[]
  /** Like those; a prune that empties one keeps the same hash beside it. */
  readonly prunable?: readonly string[]
  readonly bytes?: readonly string[]
}

/** UTC with microseconds, whatever the session's time zone is. */
const time = (column: string): string => `to_char(t.${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
const bytes = (column: string): string => `encode(t.${column}, 'hex')`
const closed = (column: string): string => `encode(sha256(convert_to(t.${column}::text, 'UTF8')), 'hex')`
const prunable = (column: string): string => `encode(case when t.pruned_by is null then sha256(convert_to(t.${column}::text, 'UTF8')) else t.pruned_hash end, 'hex')`

function history(table: string, columns: Columns): History {
  const id = columns.id ?? 'record_id'
  const parts = [
    `'${table}'`,
    ...[id, ...columns.plain].map((name) => `t.${name}`),
    ...(columns.times ?? ['at']).map(time),
    ...(columns.closed ?? []).map(closed),
    ...(columns.prunable ?? []).map(prunable),
    ...(columns.bytes ?? []).map(bytes),
  ]
  return { table, id, text: `jsonb_build_array(${parts.join(', ')})::text` }
}

/** What a review of an idea, an opportunity, a candidate or a memory says beside which one it is of. */
const REVIEW = ['seq', 'from_status', 'decision', 'notes', 'reviewer', 'job_id', 'attempt_id', 'actor_kind', 'actor'] as const

/**
 * Every append-only table whose rows no chain of their own holds together, by name, and the prunes. Their columns are written out: a
 * column that a later migration adds must not change what earlier rows say. A test compares them with the schema, both ways.
 */
export const HISTORIES: readonly History[] = [
  history('accesses', { id: 'id', plain: ['actor_kind', 'actor', 'agent_id', 'attempt_id', 'job_id', 'route', 'target', 'status'] }),
  history('agent_state_changes', { id: 'id', plain: ['agent_id', 'from_state', 'to_state', 'reason'] }),
  history('alert_attempts', { plain: ['delivery_id', 'try_no', 'ok', 'http_status', 'error', 'ms', 'worker'] }),
  history('alert_history', { plain: ['alert_id', 'seq', 'move', 'actor_kind', 'actor', 'note', 'details'] }),
  history('approval_transitions', { plain: ['approval_id', 'seq', 'to_status', 'actor_kind', 'actor', 'note'] }),
  history('control_changes', { id: 'id', plain: ['control_id', 'seq', 'change', 'reason', 'actor_kind', 'actor', 'details'] }),
  history('events', {
    id: 'id',
    plain: ['namespace', 'topic', 'source_agent', 'source_job_id', 'source_attempt_id', 'dedupe_key', 'correlation_key', 'hops', 'lineage', 'created_by'],
    times: ['created_at'],
    prunable: ['payload'],
  }),
  history('finding_history', { plain: ['finding_id', 'seq', 'kind', 'message_id', 'job_id', 'attempt_id', 'actor_kind', 'actor'], closed: ['details'] }),
  history('fleet_versions', { plain: ['kind', 'id', 'version', 'actor_kind', 'actor'], times: ['valid_from'], closed: ['spec'] }),
  history('idea_reviews', { plain: ['idea_id', ...REVIEW, 'details'], bytes: ['words_hash'] }),
  history('memory_candidate_reviews', { plain: ['memory_candidate_id', ...REVIEW], bytes: ['words_hash'] }),
  history('memory_reviews', { plain: ['memory_id', ...REVIEW, 'details'], bytes: ['words_hash'] }),
  history('observations', { id: 'id', plain: ['kind', 'code', 'job_id', 'attempt_id', 'agent_id', 'gateway_id', 'actor_kind', 'actor', 'detail', 'details'] }),
  history('opportunity_reviews', { plain: ['opportunity_id', ...REVIEW], bytes: ['words_hash'] }),
  history('project_log', { id: 'id', plain: ['namespace', 'project', 'entry', 'details', 'agent_id', 'job_id', 'attempt_id', 'actor_kind', 'actor'] }),
  history('project_statuses', { plain: ['namespace', 'project', 'version', 'status', 'agent_id', 'job_id', 'actor_kind', 'actor'], closed: ['body'] }),
  history('prunes', {
    id: 'seq',
    plain: ['kind', 'rows', 'first_key', 'last_key', 'policy_version', 'actor_kind', 'actor'],
    times: ['before', 'at'],
    bytes: ['root', 'prev_hash', 'hash'],
  }),
  history('standing_order_run_transitions', { plain: ['run_id', 'seq', 'from_status', 'to_status', 'cause', 'actor_kind', 'actor', 'details'] }),
  history('standing_order_versions', { plain: ['order_id', 'version', 'enabled', 'actor_kind', 'actor'], times: ['in_force_from'], closed: ['definition'] }),
  history('workflow_transitions', { plain: ['run_id', 'seq', 'step', 'from_status', 'to_status', 'reason', 'details', 'actor_kind', 'actor'] }),
  history('workflows', { plain: ['namespace', 'name', 'version', 'hash', 'created_by'], times: ['created_at'], closed: ['definition'] }),
]

/** Tables that had numbers of transactions before checkpoints listed their rows: of these, not every row of a migrated ledger is in a list. */
export const NUMBERED_BEFORE: ReadonlySet<string> = new Set(['prunes', 'standing_order_run_transitions'])
