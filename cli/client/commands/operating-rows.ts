import { option as o, type CommandRow } from '../command-row.js'
import { reason } from './shared-options.js'

const group = 'Operating'

/** What operators do to jobs, agents and lanes; what stops more at once is in control-rows.ts. */
export const OPERATING_COMMANDS: readonly CommandRow[] = [
  {
    name: 'cancel-job',
    group,
    help: 'cancel an open job',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/cancel',
    show: 'job',
    options: reason,
    conditional: true,
  },
  {
    name: 'retry-job',
    group,
    help: 'queue a failed, dead, cancelled, blocked or waiting job again',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/retry',
    show: 'job',
    options: [...reason, o('extra-attempts', 'int', 'room for more attempts (default: 1)'), o('run-after', 'text', 'not before this time (ISO 8601)')],
    conditional: true,
  },
  {
    name: 'bury-job',
    group,
    help: 'lay a dead letter to rest',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/bury',
    show: 'job',
    options: reason,
    conditional: true,
  },
  {
    name: 'promote-job',
    group,
    help: 'make a delayed job due now',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/promote',
    show: 'job',
    options: reason,
    conditional: true,
  },
  {
    name: 'pause-agent',
    group,
    help: 'start nothing new for an agent',
    argument: 'agent',
    method: 'POST',
    path: '/v1/agents/{id}/pause',
    show: 'paused',
    options: reason,
  },
  { name: 'resume-agent', group, help: 'let an agent work again', argument: 'agent', method: 'POST', path: '/v1/agents/{id}/resume', show: 'paused', options: reason },
  {
    name: 'pause-lane',
    group,
    help: 'start nothing new in a lane, of any agent',
    argument: 'lane',
    method: 'POST',
    path: '/v1/lanes/{id}/pause',
    show: 'paused',
    options: reason,
  },
  { name: 'resume-lane', group, help: 'let a lane go on', argument: 'lane', method: 'POST', path: '/v1/lanes/{id}/resume', show: 'paused', options: reason },
]
