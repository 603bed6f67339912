import { option as o, type CommandRow } from './command-row.js'

const group = 'Projects'
const argument = 'project'
const namespace = o('namespace', 'text', 'namespace (default: default)')
const paging = [o('limit', 'int', 'how many (default: 50)'), o('cursor', 'text', 'where the last page ended')]

/** The commands about projects: everyone appends to the log, one role writes the status. */
export const PROJECT_COMMANDS: readonly CommandRow[] = [
  {
    name: 'append-project-log',
    group,
    help: 'say what happened in a project; entries stay as they are',
    argument,
    method: 'POST',
    path: '/v1/projects/{project}/log',
    show: 'project-entry',
    options: [namespace, o('entry', 'text', 'what happened, for people', true), o('details', 'json', 'more, as a JSON object')],
  },
  {
    name: 'project-log',
    group,
    help: 'show what was appended about a project, newest first',
    argument,
    method: 'GET',
    path: '/v1/projects/{project}/log',
    show: 'project-log',
    paged: true,
    options: [namespace, ...paging],
  },
  {
    name: 'set-project-status',
    group,
    help: 'write the status of a project, as a new version; for operators and the agents of authority.project_status',
    argument,
    method: 'PUT',
    path: '/v1/projects/{project}/status',
    show: 'project-status',
    options: [namespace, o('status', 'text', 'where it stands, in a few words', true), o('body', 'text', 'the whole of it, in Markdown')],
    conditional: true,
  },
  {
    name: 'project-status',
    group,
    help: 'show where a project stands',
    argument,
    method: 'GET',
    path: '/v1/projects/{project}/status',
    show: 'project-status',
    options: [namespace],
  },
  {
    name: 'project-statuses',
    group,
    help: 'list every status that a project had, newest first',
    argument,
    method: 'GET',
    path: '/v1/projects/{project}/statuses',
    show: 'project-statuses',
    paged: true,
    options: [namespace, ...paging],
  },
  {
    name: 'projects',
    group,
    help: 'list projects with their status and the time of their last log entry',
    method: 'GET',
    path: '/v1/projects',
    show: 'projects',
    paged: true,
    options: [o('namespace', 'text', 'in this namespace (default: all)'), ...paging],
  },
]
