import { option as o, type CommandRow } from './command-row.js'

const group = 'Controls'
const reason = o('reason', 'text', 'why; kept in the history', true)

/** The commands about controls that are one request; those that choose their scope by a flag are in stop-commands.ts. */
export const CONTROL_COMMANDS: readonly CommandRow[] = [
  { name: 'controls', group, help: 'show what is stopped now, by whom, why and until when', method: 'GET', path: '/v1/controls', show: 'controls', options: [] },
  {
    name: 'controls-history',
    group,
    help: 'show everything that was stopped and started again, newest first',
    method: 'GET',
    path: '/v1/controls/history',
    show: 'control-changes',
    paged: true,
    options: [
      o('scope', 'text', 'everything, lane, gateway, agent, order, promotions or conversions'),
      o('target', 'text', 'of this lane, gateway, agent, or order as agent/name'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  {
    name: 'cancel-flow',
    group,
    help: 'cancel all jobs that belong together; give exactly one of the four',
    method: 'POST',
    path: '/v1/flows/cancel',
    show: 'cancelled-flow',
    options: [
      o('correlation-key', 'text', 'everything about this matter'),
      o('flow-key', 'text', 'everything of this flow'),
      o('workflow-run-id', 'text', 'a run of a workflow, with the jobs of its steps'),
      o('job-id', 'text', 'this job, and all that descends from it'),
      o('namespace', 'text', 'for a key: its namespace (default: default)'),
      reason,
      o('running', 'text', 'leave or cancel what runs already (default: leave)'),
    ],
  },
  {
    name: 'force-retry',
    group,
    help: 'queue a job again whatever it is doing, unless it has succeeded; what runs is cut off',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/retry',
    show: 'job',
    fixed: { force: true },
    options: [reason, o('extra-attempts', 'int', 'room for more attempts (default: 1)')],
    conditional: true,
  },
  {
    name: 'force-dead',
    group,
    help: 'make an open job a dead letter whatever it is doing; what runs is cut off',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/dead',
    show: 'job',
    options: [reason],
    conditional: true,
  },
]
