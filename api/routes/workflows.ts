import { z } from 'zod'
import { JobId, Namespace } from '../../contracts/ids.js'
import {
  CancelWorkflowBody,
  ListWorkflowRunsQuery,
  StartWorkflowBody,
  WorkflowDefinition,
  WorkflowName,
  WorkflowRunHistory,
  WorkflowRunId,
  WorkflowRunView,
  WorkflowView,
} from '../../contracts/workflows.js'
import { defineRoute } from '../define-route.js'
import { reply } from './reply.js'
import { onlyOwn, requireOwn, requireRole } from '../read-access.js'

const tag = 'workflows'
const readers = ['operator', 'auditor', 'agent'] as const
const ByName = z.object({ name: WorkflowName })
const ById = z.object({ id: WorkflowRunId })
const InNamespace = z.strictObject({ namespace: Namespace.default('default') })

/** Where a workflow is read again; one of another namespace than `default` says which. */
function placeOf({ name, namespace }: WorkflowView): string {
  return `/v1/workflows/${name}${namespace === 'default' ? '' : `?namespace=${namespace}`}`
}

export const workflowRoutes = [
  defineRoute({
    id: 'listWorkflows',
    method: 'get',
    path: '/v1/workflows',
    tag,
    summary: 'Every workflow, in its newest version',
    spec: { response: z.object({ items: z.array(WorkflowView) }).meta({ id: 'Workflows' }) },
    async handle({ caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: { items: await ledger.listWorkflows() } }
    },
  }),
  defineRoute({
    id: 'defineWorkflow',
    method: 'post',
    path: '/v1/workflows',
    tag,
    summary: 'Put a workflow in force: a new version, or the same one when nothing has changed',
    status: 201,
    also: { status: 200, when: 'It is in force already' },
    spec: { body: WorkflowDefinition, response: WorkflowView },
    async handle({ body, context }, { ledger }) {
      const { workflow, created, replayed } = await ledger.workflows.define(context, body)
      return reply(created ? 201 : 200, workflow, { replayed, version: workflow.version, headers: { Location: placeOf(workflow) } })
    },
  }),
  defineRoute({
    id: 'getWorkflow',
    method: 'get',
    path: '/v1/workflows/{name}',
    tag,
    summary: 'One workflow, in its newest version or the one asked for',
    spec: { params: ByName, query: InNamespace.extend({ version: z.coerce.number().int().min(1).optional() }), response: WorkflowView },
    async handle({ params, query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      const workflow = await ledger.getWorkflow({ ...params, ...query })
      return { status: 200, body: workflow, headers: { ETag: `"${workflow.version}"` } }
    },
  }),
  defineRoute({
    id: 'startWorkflow',
    method: 'post',
    path: '/v1/workflows/{name}/runs',
    tag,
    summary: 'Start a run; answers 200 with the open run when one has the same dedupe key',
    status: 201,
    also: { status: 200, when: 'A run with the dedupe key is open: that run' },
    spec: { params: ByName, query: InNamespace, body: StartWorkflowBody, response: WorkflowRunHistory },
    async handle({ params, query, body, context }, { ledger }) {
      const { run, created, replayed } = await ledger.workflows.start(context, { ...params, ...query }, body)
      return reply(created ? 201 : 200, run, { replayed, headers: { Location: `/v1/workflow-runs/${run.run.id}` } })
    },
  }),
  defineRoute({
    id: 'listWorkflowRuns',
    method: 'get',
    path: '/v1/workflow-runs',
    tag,
    summary: 'Runs of workflows, newest first; an agent that may not start any sees those in its name',
    spec: { query: ListWorkflowRunsQuery, response: z.object({ items: z.array(WorkflowRunView), next_cursor: z.string().nullable() }).meta({ id: 'WorkflowRunPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listWorkflowRuns(query, await onlyOwn(ledger, caller, 'workflow')) }
    },
  }),
  defineRoute({
    id: 'getWorkflowRun',
    method: 'get',
    path: '/v1/workflow-runs/{id}',
    tag,
    summary: 'One run with its steps and everything that happened',
    spec: { params: ById, response: WorkflowRunHistory },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      const history = await ledger.runHistory(params.id)
      await requireOwn(ledger, caller, 'workflow', history.run.source_agent)
      return { status: 200, body: history }
    },
  }),
  defineRoute({
    id: 'cancelWorkflowRun',
    method: 'post',
    path: '/v1/workflow-runs/{id}/cancel',
    tag,
    summary: 'Cancel a run: what has not started is cancelled, what runs is named, and cancelled too when asked',
    spec: { params: ById, body: CancelWorkflowBody, response: z.object({ ...WorkflowRunHistory.shape, still_running: z.array(JobId) }).meta({ id: 'CancelledWorkflowRun' }) },
    async handle({ params, body, context }, { ledger }) {
      const { run, still_running, replayed } = await ledger.workflows.cancel(context, params.id, body)
      return reply(200, { ...run, still_running }, { replayed })
    },
  }),
]
