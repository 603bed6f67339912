import { option as o, type CommandRow } from './command-row.js'

const group = 'Alerts'

/** The commands about alerts. The rules stand in the fleet file. */
export const ALERT_COMMANDS: readonly CommandRow[] = [
  {
    name: 'alerts',
    group,
    help: 'list alerts that are open; with --status any also those that are over',
    method: 'GET',
    path: '/v1/alerts',
    show: 'alerts',
    paged: true,
    options: [
      o('status', 'text', 'open, resolved or any (default: open)'),
      o('rule', 'text', 'of this rule'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  {
    name: 'alert',
    group,
    help: 'show one alert with its history and who was told',
    argument: 'alert-id',
    method: 'GET',
    path: '/v1/alerts/{id}',
    show: 'alert-history',
    options: [],
  },
  {
    name: 'acknowledge-alert',
    group,
    help: 'say that somebody looks after it: no more reminders; its end is told still',
    argument: 'alert-id',
    method: 'POST',
    path: '/v1/alerts/{id}/acknowledge',
    show: 'alert',
    options: [o('reason', 'text', 'who does what about it', true)],
  },
  {
    name: 'silence-alert',
    group,
    help: 'tell nobody of a rule, or of one subject of it, until a time',
    argument: 'rule',
    method: 'POST',
    path: '/v1/alert-rules/{rule}/silence',
    show: 'silence',
    options: [
      o('until', 'text', 'such as 2026-11-20T08:00:00Z', true),
      o('reason', 'text', 'why', true),
      o('subject', 'text', 'only this agent, lane, gateway or standing order (default: all)'),
    ],
  },
  { name: 'alert-silences', group, help: 'list silences that hold', method: 'GET', path: '/v1/alert-silences', show: 'silences', options: [] },
  {
    name: 'lift-silence',
    group,
    help: 'end a silence before its time',
    argument: 'silence-id',
    method: 'POST',
    path: '/v1/alert-silences/{id}/lift',
    show: 'silence',
    options: [o('reason', 'text', 'why', true)],
  },
  {
    name: 'test-alert',
    group,
    help: 'send a test to every receiver of a rule, by the way that an alert takes',
    argument: 'rule',
    method: 'POST',
    path: '/v1/alert-rules/{rule}/test',
    show: 'alert-deliveries',
    options: [],
  },
]
