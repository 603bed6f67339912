import { z } from 'zod'
import { AgentId, JobId } from '../../contracts/ids.js'
import { JobView, MarkRunningBody } from '../../contracts/jobs.js'
import {
  AccountabilityLine,
  AccountabilityQuery,
  FinishStandingOrderBody,
  ListSlotsQuery,
  OrderName,
  SlotId,
  SlotView,
  StandingOrderView,
} from '../../contracts/standing-orders.js'
import { defineRoute, type Reply } from '../define-route.js'
import { requireRole } from '../read-access.js'

const tag = 'standing orders'
const readers = ['operator', 'auditor', 'agent'] as const
const ByJob = z.object({ id: JobId })

function jobReply(job: JobView): Reply {
  return { status: 200, body: job, headers: { ETag: `"${job.version}"` } }
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
    spec: { params: z.object({ agent: AgentId, name: OrderName }), response: StandingOrderView },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      const [order] = await ledger.listOrders({ order: `${params.agent}/${params.name}` })
      return { status: 200, body: order, headers: { ETag: `"${order?.version ?? 0}"` } }
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
