import { assertNever } from '../../contracts/errors.js'
import { oneLine, printable } from '../printable.js'
import type { ShowKind } from './command-row.js'
import { controlLines, controlRow } from './show-controls.js'
import { difference } from './difference.js'
import { asObject, rowsOf, type Json } from './json.js'
import { blockedRow, runLines, traceLines, workflowLines } from './show-hand-offs.js'
import { showAlerts } from './show-alerts.js'
import { showThoughts } from './show-thoughts.js'
import { fields, indented, page, table, text } from './tables.js'

/** An answer as text for people. `--json` does not come here. */
export function show(kind: ShowKind, body: Json): string {
  const items = rowsOf(body['items'])
  switch (kind) {
    case 'job':
      return jobLines(body)
    case 'jobs':
      return page(body, table(items, ['id', 'status', 'target_agent', 'priority', 'attempt_count', 'subject']))
    case 'graph':
      return table(
        items.map((item) => ({ ...asObject(item['job']), key: item['key'] })),
        ['key', 'id', 'status', 'target_agent', 'subject'],
      )
    case 'claimed':
      return claimedLines(items)
    case 'history':
      return historyLines(body)
    case 'event':
      return fields(body, ['id', 'topic', 'created_at'])
    case 'events':
      return page(body, table(items, ['id', 'created_at', 'topic', 'source_agent', 'payload']))
    case 'agents':
      return table(items, ['id', 'state', 'state_since', 'gateway_id', 'concurrency', 'open_attempts', 'queued', 'blocked', 'paused', 'capabilities'])
    case 'paused':
      return `${body['paused'] === true ? 'paused' : 'working'}${body['changed'] === true ? '' : ' (as before)'}\n`
    case 'gateways':
      return table(items, ['id', 'breaker', 'breaker_reason', 'base_url', 'last_ready_at', 'last_down_at', 'probe_after'])
    case 'lanes':
      return table(items, ['lane', 'paused', 'queued', 'running', 'since', 'by', 'reason'])
    case 'control':
      return controlLines(body)
    case 'controls':
      return table(items.map(controlRow), ['action', 'of', 'since', 'until', 'by', 'still_running', 'waits_for', 'drained_at', 'reason'])
    case 'control-changes':
      return page(body, table(items.map(controlRow), ['id', 'at', 'change', 'action', 'of', 'actor', 'until', 'reason']))
    case 'cancelled-flow':
      return `${fields(body, ['cancelled', 'left_running'])}${table(rowsOf(body['jobs']), ['id', 'status', 'target_agent', 'subject'])}`
    case 'dispatchers':
      return dispatcherTable(items)
    case 'health':
      return healthLines(body)
    case 'attempt':
      return fields(body, ['id', 'job_id', 'attempt_no', 'status', 'outcome_code', 'error', 'leased_at', 'leased_until', 'finished_at'])
    case 'prompt':
      return `${printable(text(body['body']))}\n`
    case 'orders':
      return table(items.map(orderRow), ['order', 'schedule', 'zone', 'lane', 'session', 'next', 'last', 'outcome'])
    case 'order-change':
      return difference([asObject(body['change'])], { dryRun: false })
    case 'slots':
      return page(body, table(items, ['id', 'slot_at', 'order', 'status', 'cause', 'trigger', 'summary', 'job_id']))
    case 'slot':
      return `${fields(asObject(body['slot']), SLOT)}\n${table(rowsOf(body['transitions']), ['seq', 'at', 'from_status', 'to_status', 'cause', 'actor', 'details'])}`
    case 'accountability':
      return accountabilityLines(body)
    case 'result':
      return fields(body, ['job_id', 'status', 'over', 'summary', 'result', 'blocked_reason', 'last_error', 'finished_at'])
    case 'filed':
      return fields({ ...asObject(body['finding']), message: body['message_id'], raised: body['raised'], held_because: body['held_because'] }, [
        ...FINDING,
        'message',
        'raised',
        'held_because',
      ])
    case 'finding':
      return fields(body, FINDING)
    case 'findings':
      return page(body, table(items, ['id', 'status', 'level', 'topic', 'subject_key', 'count', 'nag_level', 'last_seen_at', 'body']))
    case 'inbox':
      return page(body, table(items, ['id', 'status', 'level', 'tone', 'topic', 'subject_key', 'count', 'text']))
    case 'blocked':
      return page(body, table(items.map(blockedRow), ['id', 'agent', 'since', 'waits for', 'owner', 'reason', 'escalates']))
    case 'subscriptions':
      return table(items, ['name', 'topic', 'agent', 'as', 'job_type', 'lane', 'enabled', 'version'])
    case 'reactions':
      return page(body, table(items, ['event_id', 'topic', 'subscription', 'agent', 'status', 'job_id', 'finding_id', 'detail']))
    case 'approval':
      return fields(body, APPROVAL)
    case 'approvals':
      return page(body, table(items, ['id', 'status', 'agent', 'subject', 'created_at', 'expires_at', 'job_id', 'step']))
    case 'approval-history':
      return `${fields(asObject(body['approval']), APPROVAL)}\n${table(rowsOf(body['transitions']), ['seq', 'at', 'to_status', 'actor_kind', 'actor', 'note'])}`
    case 'trace':
      return traceLines(body)
    case 'workflow':
      return workflowLines(body)
    case 'workflows':
      return table(
        items.map((item) => ({ ...item, steps: rowsOf(asObject(item['definition'])['steps']).length, description: asObject(item['definition'])['description'] })),
        ['name', 'namespace', 'version', 'steps', 'description', 'created_at'],
      )
    case 'workflow-run':
      return runLines(body)
    case 'workflow-runs':
      return page(body, table(items, ['id', 'workflow', 'workflow_version', 'status', 'created_at', 'finished_at', 'last_error']))
    case 'finding-history':
      return [
        fields(asObject(body['finding']), FINDING),
        'Messages',
        table(rowsOf(body['messages']), ['id', 'status', 'tone', 'created_at', 'read_by', 'outcome', 'text']),
        'History',
        table(rowsOf(body['history']), ['seq', 'at', 'kind', 'actor', 'message_id', 'details']),
      ].join('\n')
    case 'projects':
      return page(body, table(items, ['namespace', 'project', 'status', 'version', 'status_at', 'last_log_at']))
    case 'project-log':
      return page(body, items.length === 0 ? 'nothing\n' : items.map(entryLines).join(''))
    case 'project-entry':
      return entryLines(body)
    case 'project-status':
      return statusLines(body)
    case 'project-statuses':
      return page(body, table(items, ['version', 'at', 'actor', 'status', 'job_id']))
    case 'idea':
    case 'ideas':
    case 'idea-history':
    case 'promoted-idea':
    case 'opportunity':
    case 'opportunities':
    case 'opportunity-history':
    case 'converted-opportunity':
    case 'memory-candidate':
    case 'memory-candidates':
    case 'memory-candidate-history':
    case 'promoted-memory-candidate':
    case 'memory':
    case 'memories':
    case 'memory-history':
      return showThoughts(kind, body)
    case 'alert':
    case 'alerts':
    case 'alert-history':
    case 'alert-deliveries':
    case 'silence':
    case 'silences':
      return showAlerts(kind, body)
    default:
      return assertNever(kind)
  }
}

const FINDING = [
  'id',
  'status',
  'agent_id',
  'topic',
  'subject_key',
  'level',
  'body',
  'count',
  'since',
  'first_seen_at',
  'last_seen_at',
  'last_raised_at',
  'nag_count',
  'nag_level',
  'settled_as',
]

const APPROVAL = ['id', 'status', 'subject', 'details', 'agent', 'job_id', 'workflow_run_id', 'step', 'expires_at', 'decided_by', 'decided_at', 'note']

const JOB_HEAD = ['id', 'status', 'target_agent', 'subject', 'priority', 'attempt_count', 'max_attempts', 'run_after']
const JOB_OUTCOME = ['blocked_reason', 'blocked_owner', 'unblock_action', 'look_again_at', 'last_error', 'summary', 'result']

function jobLines(job: Json): string {
  return fields(job, [...JOB_HEAD, 'version', ...JOB_OUTCOME])
}

/** Each with its token, which is shown here and nowhere else. */
function claimedLines(items: readonly Json[]): string {
  if (items.length === 0) return 'nothing\n'
  return items
    .map((item) => {
      const [job, attempt] = [asObject(item['job']), asObject(item['attempt'])]
      const shown = { ...job, attempt: attempt['id'], attempt_no: attempt['attempt_no'], leased_until: attempt['leased_until'], attempt_token: item['attempt_token'] }
      return fields(shown, ['id', 'target_agent', 'subject', 'payload', 'attempt', 'attempt_no', 'leased_until', 'attempt_token'])
    })
    .join('\n')
}

function dispatcherTable(rows: readonly Json[]): string {
  return table(rows, ['dispatcher_id', 'health', 'host', 'pid', 'leases_owned', 'busy_agents', 'last_seen'])
}

function healthLines(body: Json): string {
  const outbox = asObject(body['outbox'])
  return [
    `Outbox: ${text(outbox['rows'])} rows to publish, the oldest ${Number(outbox['oldest_seconds'] ?? 0).toFixed(1)} s old\n`,
    'Open jobs',
    table(rowsOf(body['open']), ['agent', 'status', 'n']),
    'Gateways',
    table(rowsOf(body['gateways']), ['id', 'breaker', 'reason', 'last_ready_at']),
    'Workers',
    dispatcherTable(rowsOf(body['dispatchers'])),
  ].join('\n')
}

const SLOT = ['id', 'order', 'slot_at', 'status', 'cause', 'trigger', 'unstated', 'summary', 'evidence', 'job_id', 'started_at', 'finished_at', 'grace_until', 'version']

function orderRow(order: Json): Json {
  const definition = asObject(order['definition'])
  const last = asObject(order['last_slot'])
  const schedule = definition['cron'] ?? `every ${text(definition['every_seconds'])} s`
  return {
    order: order['order'],
    schedule: order['enabled'] === true ? schedule : `(disabled) ${text(schedule)}`,
    zone: definition['time_zone'],
    lane: definition['lane'],
    session: definition['session'],
    next: order['next_slot_at'],
    last: last['slot_at'],
    outcome: [last['status'], last['cause']].filter((part) => typeof part === 'string').join(': ') || '-',
  }
}

/** An entry whole; indented, so that no line of it can pass for the head of another. */
function entryLines(entry: Json): string {
  const details = asObject(entry['details'])
  const head = [entry['id'], entry['at'], entry['actor_kind'], entry['actor'], entry['job_id'], ...(Object.keys(details).length === 0 ? [] : [details])]
  return `${head
    .filter((part) => part !== null && part !== undefined)
    .map((part) => oneLine(text(part), 500))
    .join('  ')}\n${indented(text(entry['entry']))}\n`
}

function statusLines(status: Json): string {
  const head = fields(status, ['project', 'status', 'version', 'at', 'actor', 'job_id'])
  return typeof status['body'] === 'string' && status['body'] !== '' ? `${head}\n${indented(status['body'])}\n` : head
}

const COUNTS = ['expected', 'no_work', 'completed', 'unstated', 'blocked', 'failed', 'skipped', 'missed', 'running', 'pending', 'unaccounted']

function accountabilityLines(body: Json): string {
  const lines = rowsOf(body['lines'])
  const sum = Object.fromEntries(COUNTS.map((name) => [name, lines.reduce((all, line) => all + Number(line[name] ?? 0), 0)]))
  return `${text(body['from'])} to ${text(body['to'])}\n${table([...lines, { order: 'all', ...sum }], ['order', ...COUNTS])}`
}

/** Whether a window holds a slot that nobody ran, or one that has no row. */
export function hasMissed(body: Json): boolean {
  return rowsOf(body['lines']).some((line) => Number(line['missed'] ?? 0) > 0 || Number(line['unaccounted'] ?? 0) > 0)
}

function moveOf(row: Json): string {
  const to = text(row['to_status'])
  if (row['kind'] === 'note') return `(${to})`
  return row['from_status'] === null || row['from_status'] === undefined ? to : `${text(row['from_status'])} → ${to}`
}

/** The whole story of a job: each row of its history, each run, each refusal. */
export function historyLines(history: Json): string {
  const rows = rowsOf(history['transitions']).map((row) => ({
    ...row,
    state: moveOf(row),
    by: `${text(row['actor_kind'])} ${text(row['actor'])}`,
    hash: text(row['hash']).slice(0, 12),
  }))
  const observations = rowsOf(history['observations'])
  return [
    jobLines(asObject(history['job'])),
    'History',
    table(rows, ['seq', 'at', 'state', 'reason', 'by', 'note', 'hash']),
    'Attempts',
    table(rowsOf(history['attempts']), ['attempt_no', 'status', 'outcome_code', 'burned', 'lease_owner', 'leased_at', 'finished_at', 'openclaw_task_ref']),
    ...(observations.length === 0 ? [] : ['Refused, dropped, mended', table(observations, ['at', 'kind', 'code', 'actor', 'detail'])]),
  ].join('\n')
}
