import { option as o, type CommandRow } from '../command-row.js'
import { inNamespace, namespace, reason } from './shared-options.js'

const group = 'Workflows'

/** The commands about workflows and their runs. Workflows are defined from files, in hand-off-files.ts. */
export const WORKFLOW_COMMANDS: readonly CommandRow[] = [
  { name: 'workflows', group, help: 'list workflows', method: 'GET', path: '/v1/workflows', show: 'workflows', options: [] },
  {
    name: 'workflow',
    group,
    help: 'show one workflow',
    argument: 'name',
    method: 'GET',
    path: '/v1/workflows/{id}',
    show: 'workflow',
    options: [o('version', 'int', 'this version (default: the newest)'), namespace],
  },
  {
    name: 'start-workflow',
    group,
    help: 'start a run of a workflow',
    argument: 'name',
    method: 'POST',
    path: '/v1/workflows/{id}/runs',
    show: 'workflow-run',
    options: [
      { ...namespace, inQuery: true },
      o('inputs', 'json', 'what it is given, a JSON object'),
      o('version', 'int', 'this version (default: the newest)'),
      o('dedupe-key', 'text', 'while a run with this key is open, no second one is started'),
      o('correlation-key', 'text', 'groups everything about one matter'),
      o('source-agent', 'text', 'in whose name; its delegation rules hold'),
    ],
  },
  {
    name: 'workflow-runs',
    group,
    help: 'list runs, newest first',
    method: 'GET',
    path: '/v1/workflow-runs',
    show: 'workflow-runs',
    paged: true,
    options: [
      inNamespace,
      o('workflow', 'text', 'of this workflow'),
      o('status', 'text', 'running, succeeded, failed or cancelled'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  {
    name: 'workflow-run',
    group,
    help: 'show one run with its steps and everything that happened',
    argument: 'run-id',
    method: 'GET',
    path: '/v1/workflow-runs/{id}',
    show: 'workflow-run',
    options: [],
  },
  {
    name: 'cancel-workflow',
    group,
    help: 'cancel a run; what runs is named',
    argument: 'run-id',
    method: 'POST',
    path: '/v1/workflow-runs/{id}/cancel',
    show: 'workflow-run',
    options: [...reason, o('running', 'text', 'leave or cancel what runs already (default: leave)')],
  },
]
