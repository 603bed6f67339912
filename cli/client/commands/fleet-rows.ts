import type { CommandRow } from '../command-row.js'

const group = 'Looking'

/** The commands that show who does the work, and whether all is well. */
export const FLEET_COMMANDS: readonly CommandRow[] = [
  { name: 'agents', group, help: 'list agents with their state', method: 'GET', path: '/v1/agents', show: 'agents', options: [] },
  { name: 'gateways', group, help: 'list gateways with their breakers', method: 'GET', path: '/v1/gateways', show: 'gateways', options: [] },
  { name: 'lanes', group, help: 'list lanes, which are paused, and what is open in each', method: 'GET', path: '/v1/lanes', show: 'lanes', options: [] },
  { name: 'dispatchers', group, help: 'list worker processes', method: 'GET', path: '/v1/dispatchers', show: 'dispatchers', options: [] },
  { name: 'health', group, help: 'what is open, the outbox, gateways, workers', method: 'GET', path: '/v1/health', show: 'health', options: [] },
]
