import type { CommandRow } from './command-table.js'

type Json = Record<string, unknown>

/** An answer as text for people. `--json` does not come here. */
export function show(kind: CommandRow['show'], body: Json): string {
  switch (kind) {
    case 'job':
      return jobLines(body)
    case 'jobs':
      return page(body, table(items(body), ['id', 'status', 'target_agent', 'priority', 'attempt_count', 'subject']))
    case 'history':
      return historyLines(body)
    case 'event':
      return fields(body, ['id', 'topic', 'created_at'])
    case 'events':
      return page(body, table(items(body), ['id', 'created_at', 'topic', 'source_agent', 'payload']))
    case 'agents':
      return table(items(body), ['id', 'state', 'gateway_id', 'concurrency', 'open_attempts', 'queued', 'blocked', 'paused'])
    case 'attempt':
      return fields(body, ['id', 'job_id', 'attempt_no', 'status', 'outcome_code', 'error', 'leased_at', 'leased_until', 'finished_at'])
    case 'prompt':
      return `${text(body['body'])}\n`
    case 'table': {
      const rows = items(body)
      return table(rows, Object.keys(rows[0] ?? {}))
    }
    case 'token':
    case 'plain':
      return `${JSON.stringify(body, undefined, 2)}\n`
  }
}

function items(body: Json): Json[] {
  return Array.isArray(body['items']) ? (body['items'] as Json[]) : []
}

function text(value: unknown): string {
  if (value === null || value === undefined) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Control characters from stored text must not steer a person's terminal. */
function safe(value: unknown, max: number): string {
  const line = text(value).replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
  return line.length > max ? `${line.slice(0, max - 1)}…` : line
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly Json[], columns: readonly string[]): string {
  if (rows.length === 0) return 'nothing\n'
  const cells = rows.map((row) => columns.map((column) => safe(row[column], 70)))
  const widths = columns.map((column, at) => Math.max(column.length, ...cells.map((row) => row[at]?.length ?? 0)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd()
  return `${[line(columns), ...cells.map(line)].join('\n')}\n`
}

function page(body: Json, shown: string): string {
  return typeof body['next_cursor'] === 'string' ? `${shown}more: --cursor ${body['next_cursor']}\n` : shown
}

function fields(body: Json, names: readonly string[]): string {
  const present = names.filter((name) => body[name] !== null && body[name] !== undefined)
  const width = Math.max(...present.map((name) => name.length), 0)
  return `${present.map((name) => `${name.padEnd(width)}  ${safe(body[name], 500)}`).join('\n')}\n`
}

function jobLines(job: Json): string {
  return fields(job, [
    'id',
    'status',
    'target_agent',
    'subject',
    'priority',
    'attempt_count',
    'max_attempts',
    'run_after',
    'blocked_reason',
    'blocked_owner',
    'last_error',
    'summary',
    'result',
  ])
}

/** The whole story of a job: each row of its history, each run, each refusal. */
export function historyLines(history: Json): string {
  const transitions = (history['transitions'] as Json[] | undefined) ?? []
  const rows = transitions.map((row) => ({
    seq: row['seq'],
    at: row['at'],
    state: row['kind'] === 'note' ? `(${text(row['to_status'])})` : `${row['from_status'] === null ? '' : `${text(row['from_status'])} → `}${text(row['to_status'])}`,
    reason: row['reason'],
    by: `${text(row['actor_kind'])} ${text(row['actor'])}`,
    note: row['note'],
    hash: text(row['hash']).slice(0, 12),
  }))
  const attempts = (history['attempts'] as Json[] | undefined) ?? []
  const observations = (history['observations'] as Json[] | undefined) ?? []
  return [
    jobLines((history['job'] as Json | undefined) ?? {}),
    'History',
    table(rows, ['seq', 'at', 'state', 'reason', 'by', 'note', 'hash']),
    'Attempts',
    table(attempts, ['attempt_no', 'status', 'outcome_code', 'burned', 'lease_owner', 'leased_at', 'finished_at', 'openclaw_task_ref']),
    ...(observations.length === 0 ? [] : ['Refused, dropped, mended', table(observations, ['at', 'kind', 'code', 'actor', 'detail'])]),
  ].join('\n')
}
