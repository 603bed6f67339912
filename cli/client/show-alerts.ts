import { assertNever } from '../../contracts/errors.js'
import type { ShowKind } from './command-row.js'
import { asObject, rowsOf, type Json } from './json.js'
import { fields, page, table } from './tables.js'

type AlertKind = Extract<ShowKind, 'alert' | 'alerts' | 'alert-history' | 'alert-deliveries' | 'silence' | 'silences'>

const ALERT = [
  'id',
  'status',
  'level',
  'rule',
  'subject',
  'figure',
  'value',
  'peak',
  'threshold',
  'since',
  'opened_at',
  'told',
  'acknowledged_by',
  'note',
  'silenced_until',
  'resolved_at',
  'resolved_as',
]
const DELIVERY = ['id', 'notice', 'receiver_kind', 'receiver', 'status', 'tries', 'last_error', 'done_at', 'job_id']
const SILENCE = ['id', 'rule', 'subject', 'until', 'created_by', 'reason', 'lifted_by', 'lift_reason']

/** Answers about alerts as text for people. */
export function showAlerts(kind: AlertKind, body: Json): string {
  const items = rowsOf(body['items'])
  switch (kind) {
    case 'alert':
      return fields(body, ALERT)
    case 'alerts':
      return page(body, table(items, ['id', 'status', 'level', 'rule', 'subject', 'value', 'threshold', 'opened_at', 'acknowledged_by', 'silenced_until']))
    case 'alert-history':
      return [
        fields(asObject(body['alert']), ALERT),
        'History',
        table(rowsOf(body['history']), ['seq', 'at', 'move', 'actor', 'note', 'details']),
        'Messages',
        table(rowsOf(body['deliveries']).map(deliveryRow), DELIVERY),
      ].join('\n')
    case 'alert-deliveries':
      return table(items.map(deliveryRow), DELIVERY)
    case 'silence':
      return fields(body, SILENCE)
    case 'silences':
      return table(items, SILENCE.slice(0, 6))
    default:
      return assertNever(kind)
  }
}

function deliveryRow(delivery: Json): Json {
  return { ...delivery, last_error: rowsOf(delivery['attempts']).at(-1)?.['error'] ?? null }
}
