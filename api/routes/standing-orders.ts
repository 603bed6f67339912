import { z } from 'zod'
import { AgentbusError } from '../../contracts/errors.js'
import { StandingOrderChange } from '../../contracts/fleet.js'
import { AgentId, JobId } from '../../contracts/ids.js'
import { JobView } from '../../contracts/jobs.js'
import { MarkRunningBody } from '../../contracts/attempts.js'
import {
  AccountabilityLine,
  AccountabilityQuery,
  FinishStandingOrderBody,
  ListSlotsQuery,
  OrderName,
  SetStandingOrderBody,
  SlotId,
  SlotView,
  StandingOrderView,
} from '../../contracts/standing-orders.js'
import { defineRoute, type Reply } from '../define-route.js'
import { requireRole } from '../read-access.js'

const tag = 'standing orders'
const readers = ['operator', 'auditor', 'agent'] as const
const ByJob = z.object({ id: JobId })
const ByName = z.object({ agent: AgentId, name: OrderName })

function jobReply(job: JobView): Reply {
  return { status: 200, body: job, headers: { ETag: `"${job.version}"` } }
}

function otherThanPath(field: string): AgentbusError {
  return new AgentbusError('AGENTBUS_BAD_REQUEST', `body.${field}: is another than in the path`, { field })
}

function changeReply({ replayed, ...body }: StandingOrderChange & { readonly replayed?: boolean }, status: number): Reply {
  const headers = { ...(body.order === null ? {} : { ETag: `"${body.order.version}"` }), ...(replayed === true ? { 'Idempotency-Replayed': 'true' } : {}) }
  return { status, body, headers }
}

export const standingOrderRoutes = [
  defineRoute({
    id: 'listStandingOrders',
    method: 'get',
    path: '/v1/standing-orders',
    tag,
    summary: 'Standing orders with their next slot and the newest one that was due',
    spec: { query: z.strictObject({ agent: AgentId.optional() }), response: z.object({ items: z.array(StandingOrderView) }).meta({ id: 'StandingOrders' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: { items: await ledger.listOrders(query.agent === undefined ? {} : { agent: query.agent }) } }
    },
  }),
  defineRoute({
    id: 'getStandingOrder',
    method: 'get',
    path: '/v1/standing-orders/{agent}/{name}',
    tag,
    summary: 'One standing order',
    spec: { params: ByName, response: StandingOrderView },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      const [order] = await ledger.listOrders({ order: `${params.agent}/${params.name}` })
      return { status: 200, body: order, headers: { ETag: `"${order?.version ?? 0}"` }, isLive: true }
    },
  }),
  defineRoute({
    id: 'setStandingOrder',
    method: 'put',
    path: '/v1/standing-orders/{agent}/{name}',
    tag,
    access: 'operator',
    summary: 'Bring one standing order to this definition; idempotent, with the difference',
    isConditional: true,
    also: { status: 201, when: 'The order is new' },
    spec: { params: ByName, query: z.strictObject({ dry_run: z.enum(['true', 'false']).default('false') }), body: SetStandingOrderBody, response: StandingOrderChange },
    async handle({ params, query, body, context }, { ledger }) {
      const order = { ...body, ...params }
      if ((body.agent ?? params.agent) !== params.agent) throw otherThanPath('agent')
      if ((body.name ?? params.name) !== params.name) throw otherThanPath('name')
      const dryRun = query.dry_run === 'true'
      const changed = await ledger.orders.set(context, order, { dryRun })
      return changeReply(changed, changed.change.change === 'added' && !dryRun ? 201 : 200)
    },
  }),
  defineRoute({
    id: 'disableStandingOrder',
    method: 'delete',
    path: '/v1/standing-orders/{agent}/{name}',
    tag,
    access: 'operator',
    summary: 'Disable one standing order; its history stays',
    isConditional: true,
    spec: { params: ByName, response: StandingOrderChange },
    async handle({ params, context }, { ledger }) {
      return changeReply(await ledger.orders.disable(context, params), 200)
    },
  }),
  defineRoute({
    id: 'listStandingOrderRuns',
    method: 'get',
    path: '/v1/standing-order-runs',
    tag,
    summary: 'Slots, newest first: what was due, what came of it, and why it was skipped or missed',
    spec: { query: ListSlotsQuery, response: z.object({ items: z.array(SlotView), next_cursor: z.string().nullable() }).meta({ id: 'StandingOrderRunPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listSlots(query) }
    },
  }),
  defineRoute({
    id: 'getStandingOrderRun',
    method: 'get',
    path: '/v1/standing-order-runs/{id}',
    tag,
    summary: 'One slot with every move of it',
    spec: {
      params: z.object({ id: SlotId }),
      response: z.object({ slot: SlotView, transitions: z.array(z.record(z.string(), z.unknown())) }).meta({ id: 'StandingOrderRunHistory' }),
    },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.slotHistory(params.id) }
    },
  }),
  defineRoute({
    id: 'getAccountability',
    method: 'get',
    path: '/v1/accountability',
    tag,
    access: 'operator or auditor',
    summary: 'One line per standing order over a window, recounted from the definitions that were in force',
    spec: {
      query: AccountabilityQuery,
      response: z.object({ from: z.iso.datetime({ offset: true }), to: z.iso.datetime({ offset: true }), lines: z.array(AccountabilityLine) }).meta({ id: 'Accountability' }),
    },
    async handle({ query }, { ledger }) {
      return { status: 200, body: await ledger.accountability(query) }
    },
  }),
  defineRoute({
    id: 'startStandingOrder',
    method: 'post',
    path: '/v1/jobs/{id}/start-standing-order',
    tag,
    summary: "Say that the run of a standing order has begun; needs the attempt's token",
    spec: { params: ByJob, body: MarkRunningBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.markRunning(context, params.id, body))
    },
  }),
  defineRoute({
    id: 'finishStandingOrder',
    method: 'post',
    path: '/v1/jobs/{id}/finish-standing-order',
    tag,
    summary: "Close the run of a standing order with what it found, and the evidence; needs the attempt's token",
    spec: { params: ByJob, body: FinishStandingOrderBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      return jobReply(await ledger.jobs.finishStandingOrder(context, params.id, body))
    },
  }),
]
