import { option as o, type CommandRow } from '../command-row.js'

const group = 'Standing orders'

/** The commands about standing orders and what came of their slots. Orders are set from files, in set-order-command.ts. */
export const STANDING_ORDER_COMMANDS: readonly CommandRow[] = [
  {
    name: 'standing-orders',
    group,
    help: 'list standing orders with their next slot and last outcome',
    method: 'GET',
    path: '/v1/standing-orders',
    show: 'orders',
    options: [o('agent', 'text', 'of this agent')],
  },
  {
    name: 'disable-standing-order',
    group,
    help: 'disable one standing order; its history stays',
    argument: 'agent/name',
    method: 'DELETE',
    path: '/v1/standing-orders/{agent}/{name}',
    show: 'order-change',
    options: [],
    conditional: true,
  },
  {
    name: 'slots',
    group,
    help: 'list what was due and what came of it, newest first',
    method: 'GET',
    path: '/v1/standing-order-runs',
    show: 'slots',
    paged: true,
    options: [
      o('order', 'text', 'of this order, agent/name'),
      o('agent', 'text', 'of this agent'),
      o('status', 'text', 'expected, started, no_work, completed, blocked, failed, skipped or missed'),
      o('from', 'text', 'due at this time or later (ISO 8601)'),
      o('to', 'text', 'due before this time (default: what is due by now)'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  {
    name: 'slot',
    group,
    help: 'show one slot with every move of it',
    argument: 'slot-id',
    method: 'GET',
    path: '/v1/standing-order-runs/{id}',
    show: 'slot',
    options: [],
  },
  {
    name: 'accountability',
    group,
    help: 'one line per standing order over a window; exit 1 if anything is missed',
    method: 'GET',
    path: '/v1/accountability',
    show: 'accountability',
    options: [o('from', 'text', 'start of the window (ISO 8601)', true), o('to', 'text', 'its end (default: now)'), o('agent', 'text', 'of this agent')],
    failsOn: 'missed',
  },
]
