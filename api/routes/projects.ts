import { z } from 'zod'
import {
  AppendProjectLogBody,
  ListProjectLogQuery,
  ListProjectsQuery,
  ListProjectStatusesQuery,
  ProjectLogEntryView,
  ProjectName,
  ProjectQuery,
  ProjectStatusView,
  ProjectView,
  SetProjectStatusBody,
} from '../../contracts/projects.js'
import { defineRoute } from '../define-route.js'
import { requireLiveAttempt } from '../read-access.js'

const tag = 'projects'
const ByProject = z.object({ project: ProjectName })

function replay(replayed: boolean | undefined): Readonly<Record<string, string>> {
  return replayed === true ? { 'Idempotency-Replayed': 'true' } : {}
}

export const projectRoutes = [
  defineRoute({
    id: 'listProjects',
    method: 'get',
    path: '/v1/projects',
    tag,
    summary: 'Projects that somebody has written about, by name, each with its status and the time of its last log entry',
    spec: { query: ListProjectsQuery, response: z.object({ items: z.array(ProjectView), next_cursor: z.string().nullable() }).meta({ id: 'ProjectPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listProjects(query) }
    },
  }),
  defineRoute({
    id: 'appendProjectLog',
    method: 'post',
    path: '/v1/projects/{project}/log',
    tag,
    summary: 'Append an entry to the log of a project; every agent and operator may, and nobody changes an entry',
    status: 201,
    spec: { params: ByProject, body: AppendProjectLogBody, response: ProjectLogEntryView },
    async handle({ params, body, context }, { ledger }) {
      const { entry, replayed } = await ledger.projects.append(context, params.project, body)
      return { status: 201, body: entry, headers: replay(replayed) }
    },
  }),
  defineRoute({
    id: 'listProjectLog',
    method: 'get',
    path: '/v1/projects/{project}/log',
    tag,
    summary: 'The log of a project, newest first',
    spec: {
      params: ByProject,
      query: ListProjectLogQuery,
      response: z.object({ items: z.array(ProjectLogEntryView), next_cursor: z.string().nullable() }).meta({ id: 'ProjectLogPage' }),
    },
    async handle({ params, query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listProjectLog(params.project, query) }
    },
  }),
  defineRoute({
    id: 'setProjectStatus',
    method: 'put',
    path: '/v1/projects/{project}/status',
    tag,
    summary: 'Write the status of a project, as a new version; for operators and the agents of authority.project_status',
    isConditional: true,
    also: { status: 201, when: 'It is the first status of the project' },
    spec: { params: ByProject, body: SetProjectStatusBody, response: ProjectStatusView },
    async handle({ params, body, context }, { ledger }) {
      const { status, replayed } = await ledger.projects.setStatus(context, params.project, body)
      return { status: status.version === 1 ? 201 : 200, body: status, headers: { ETag: `"${status.version}"`, ...replay(replayed) } }
    },
  }),
  defineRoute({
    id: 'getProjectStatus',
    method: 'get',
    path: '/v1/projects/{project}/status',
    tag,
    summary: 'The status of a project that holds',
    spec: { params: ByProject, query: ProjectQuery, response: ProjectStatusView },
    async handle({ params, query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      const status = await ledger.projectStatus(params.project, query.namespace)
      return { status: 200, body: status, headers: { ETag: `"${status.version}"` } }
    },
  }),
  defineRoute({
    id: 'listProjectStatuses',
    method: 'get',
    path: '/v1/projects/{project}/statuses',
    tag,
    summary: 'Every status that a project had, newest first',
    spec: {
      params: ByProject,
      query: ListProjectStatusesQuery,
      response: z.object({ items: z.array(ProjectStatusView), next_cursor: z.string().nullable() }).meta({ id: 'ProjectStatusPage' }),
    },
    async handle({ params, query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listProjectStatuses(params.project, query) }
    },
  }),
]
