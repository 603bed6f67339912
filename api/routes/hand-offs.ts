import { z } from 'zod'
import { ApprovalHistory, ApprovalId, ApprovalView, DecideBody, ListApprovalsQuery, RejectBody } from '../../contracts/approvals.js'
import { AgentbusError } from '../../contracts/errors.js'
import { FleetChange } from '../../contracts/fleet.js'
import { AgentId, JobId, Namespace } from '../../contracts/ids.js'
import { UnblockBody } from '../../contracts/job-operations.js'
import { JobView, ListBlockedQuery } from '../../contracts/jobs.js'
import { ListReactionsQuery, ReactionView, SetSubscriptionBody, SubscriptionName, SubscriptionView } from '../../contracts/subscriptions.js'
import { TraceQuery, TraceView } from '../../contracts/trace.js'
import { defineRoute } from '../define-route.js'
import { reply } from './reply.js'
import { onlyOwn, requireOwn, requireRole } from '../read-access.js'

const readers = ['operator', 'auditor', 'agent'] as const
const ByName = z.object({ name: SubscriptionName })
const SubscriptionChange = z.object({ change: FleetChange, subscription: SubscriptionView.nullable() }).meta({ id: 'SubscriptionChange' })

export const handOffRoutes = [
  defineRoute({
    id: 'listSubscriptions',
    method: 'get',
    path: '/v1/subscriptions',
    tag: 'subscriptions',
    summary: 'Who reacts to which topics, and how',
    spec: {
      query: z.strictObject({ agent: AgentId.optional(), namespace: Namespace.optional() }),
      response: z.object({ items: z.array(SubscriptionView) }).meta({ id: 'Subscriptions' }),
    },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: { items: await ledger.listSubscriptions(query) } }
    },
  }),
  defineRoute({
    id: 'setSubscription',
    method: 'put',
    path: '/v1/subscriptions/{name}',
    tag: 'subscriptions',
    access: 'operator',
    summary: 'Bring one subscription to this definition; idempotent, with the difference',
    isConditional: true,
    also: { status: 201, when: 'The subscription is new' },
    spec: { params: ByName, query: z.strictObject({ dry_run: z.enum(['true', 'false']).default('false') }), body: SetSubscriptionBody, response: SubscriptionChange },
    async handle({ params, query, body, context }, { ledger }) {
      const dryRun = query.dry_run === 'true'
      const { replayed, ...changed } = await ledger.handOffs.setSubscription(context, { ...body, ...params }, { dryRun })
      return reply(changed.change.change === 'added' && !dryRun ? 201 : 200, changed, { replayed, version: changed.subscription?.version })
    },
  }),
  defineRoute({
    id: 'disableSubscription',
    method: 'delete',
    path: '/v1/subscriptions/{name}',
    tag: 'subscriptions',
    access: 'operator',
    summary: 'Disable one subscription; what it made stays explained',
    isConditional: true,
    spec: { params: ByName, query: z.strictObject({ namespace: Namespace.default('default') }), response: SubscriptionChange },
    async handle({ params, query, context }, { ledger }) {
      const { replayed, ...changed } = await ledger.handOffs.disableSubscription(context, { ...params, ...query })
      return reply(200, changed, { replayed, version: changed.subscription?.version })
    },
  }),
  defineRoute({
    id: 'listReactions',
    method: 'get',
    path: '/v1/reactions',
    tag: 'subscriptions',
    summary: 'What subscriptions made of events, newest first: the job or finding, or why nothing',
    spec: { query: ListReactionsQuery, response: z.object({ items: z.array(ReactionView), next_cursor: z.string().nullable() }).meta({ id: 'ReactionPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listReactions(query) }
    },
  }),
  defineRoute({
    id: 'trace',
    method: 'get',
    path: '/v1/trace',
    tag: 'trace',
    access: 'operator or auditor',
    summary: 'The story of a job with its whole lineage, of a correlation key, or of an agent in a window, in order of time',
    spec: { query: TraceQuery, response: TraceView },
    async handle({ query }, { ledger }) {
      return { status: 200, body: await ledger.trace(query) }
    },
  }),
  defineRoute({
    id: 'listBlocked',
    method: 'get',
    path: '/v1/blocked',
    tag: 'jobs',
    summary: 'Blocked work, longest first: who waits for what, since when; an agent sees its own',
    spec: { query: ListBlockedQuery, response: z.object({ items: z.array(JobView), next_cursor: z.string().nullable() }).meta({ id: 'BlockedPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      if (caller.role === 'agent' && query.agent !== undefined && query.agent !== caller.agentId) {
        const error = new AgentbusError('AGENTBUS_FORBIDDEN', `Agent ${caller.agentId} may list only its own blocked work.`)
        await ledger.recordRefusal(caller, error, {})
        throw error
      }
      return { status: 200, body: await ledger.listBlocked(caller.role === 'agent' ? { ...query, agent: caller.agentId } : query) }
    },
  }),
  defineRoute({
    id: 'unblockJob',
    method: 'post',
    path: '/v1/jobs/{id}/unblock',
    tag: 'jobs',
    summary: 'Answer a blocked job: it is queued again and its next attempt is told',
    spec: { params: z.object({ id: JobId }), body: UnblockBody, response: JobView },
    async handle({ params, body, context }, { ledger }) {
      const { job, replayed } = await ledger.handOffs.unblock(context, params.id, body)
      return reply(200, job, { replayed, version: job.version })
    },
  }),
  defineRoute({
    id: 'listApprovals',
    method: 'get',
    path: '/v1/approvals',
    tag: 'approvals',
    summary: 'What has to be decided, newest first; with `status`, what was; an agent that does not decide sees what it has asked for',
    spec: { query: ListApprovalsQuery, response: z.object({ items: z.array(ApprovalView), next_cursor: z.string().nullable() }).meta({ id: 'ApprovalPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listApprovals(query, await onlyOwn(ledger, caller, 'approve')) }
    },
  }),
  defineRoute({
    id: 'getApproval',
    method: 'get',
    path: '/v1/approvals/{id}',
    tag: 'approvals',
    summary: 'One approval with everything that happened to it',
    spec: { params: z.object({ id: ApprovalId }), response: ApprovalHistory },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      const history = await ledger.approvalHistory(params.id)
      await requireOwn(ledger, caller, 'approve', history.approval.agent)
      return { status: 200, body: history }
    },
  }),
  defineRoute({
    id: 'approve',
    method: 'post',
    path: '/v1/approvals/{id}/approve',
    tag: 'approvals',
    summary: 'Approve: for operators, and agents to whom the fleet file gives the right',
    spec: { params: z.object({ id: ApprovalId }), body: DecideBody, response: ApprovalView },
    async handle({ params, body, context }, { ledger }) {
      const { approval, replayed } = await ledger.handOffs.decide(context, params.id, 'approved', body.note)
      return reply(200, approval, { replayed, version: approval.version })
    },
  }),
  defineRoute({
    id: 'reject',
    method: 'post',
    path: '/v1/approvals/{id}/reject',
    tag: 'approvals',
    summary: 'Reject, with a note: for operators, and agents to whom the fleet file gives the right',
    spec: { params: z.object({ id: ApprovalId }), body: RejectBody, response: ApprovalView },
    async handle({ params, body, context }, { ledger }) {
      const { approval, replayed } = await ledger.handOffs.decide(context, params.id, 'rejected', body.note)
      return reply(200, approval, { replayed, version: approval.version })
    },
  }),
]
