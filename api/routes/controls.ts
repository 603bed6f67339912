import { z } from 'zod'
import { CancelFlowBody, CancelledFlow, ControlAnswer, ControlChangeView, ControlView, ListControlChangesQuery, ResumeBody, SetControlBody } from '../../contracts/controls.js'
import { defineRoute } from '../define-route.js'
import { requireRole } from '../read-access.js'

const tag = 'controls'

function replay(replayed: boolean | undefined): { headers: Record<string, string> } | Record<string, never> {
  return replayed === true ? { headers: { 'Idempotency-Replayed': 'true' } } : {}
}

export const controlRoutes = [
  defineRoute({
    id: 'setControl',
    method: 'post',
    path: '/v1/controls',
    tag,
    summary:
      'Pause everything, a lane, an agent, a gateway or a standing order, drain an agent, or freeze promotions or conversions; for operators and the agents of authority.control',
    status: 201,
    also: { status: 200, when: 'It is in force already: the control that is' },
    spec: { body: SetControlBody, response: ControlAnswer },
    async handle({ body, context }, { ledger }) {
      const { created, replayed, ...answer } = await ledger.controls.set(context, body)
      return { status: created ? 201 : 200, body: answer, ...replay(replayed) }
    },
  }),
  defineRoute({
    id: 'resumeControl',
    method: 'post',
    path: '/v1/controls/resume',
    tag,
    summary: 'End what is in force there: work that was held starts by itself; nothing changes when nothing was in force',
    spec: { body: ResumeBody, response: ControlAnswer },
    async handle({ body, context }, { ledger }) {
      const { replayed, ...answer } = await ledger.controls.resume(context, body)
      return { status: 200, body: answer, ...replay(replayed) }
    },
  }),
  defineRoute({
    id: 'listControls',
    method: 'get',
    path: '/v1/controls',
    tag,
    summary: 'What is stopped now: by whom, why, until when, and how much of it still runs',
    spec: { response: z.object({ items: z.array(ControlView) }).meta({ id: 'Controls' }) },
    async handle({ caller }, { ledger }) {
      await requireRole(ledger, caller, ['operator', 'auditor', 'agent'])
      return { status: 200, body: { items: await ledger.listControls() } }
    },
  }),
  defineRoute({
    id: 'listControlChanges',
    method: 'get',
    path: '/v1/controls/history',
    tag,
    summary: 'Everything that was stopped and started again, newest first',
    spec: { query: ListControlChangesQuery, response: z.object({ items: z.array(ControlChangeView), next_cursor: z.string().nullable() }).meta({ id: 'ControlChangePage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, ['operator', 'auditor', 'agent'])
      return { status: 200, body: await ledger.listControlChanges(query) }
    },
  }),
  defineRoute({
    id: 'cancelFlow',
    method: 'post',
    path: '/v1/flows/cancel',
    tag,
    summary: 'Cancel all jobs that belong together: by a key, of a workflow run, or a job with all that descends from it',
    spec: { body: CancelFlowBody, response: CancelledFlow },
    async handle({ body, context }, { ledger }) {
      const { replayed, ...answer } = await ledger.controls.cancelFlow(context, body)
      return { status: 200, body: answer, ...replay(replayed) }
    },
  }),
]
