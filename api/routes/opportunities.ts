import { z } from 'zod'
import {
  ConvertBody,
  ConvertedOpportunity,
  CreateOpportunityBody,
  ListOpportunitiesQuery,
  OpportunityHistory,
  OpportunityId,
  OpportunityView,
  TriageBody,
} from '../../contracts/opportunities.js'
import { defineRoute } from '../define-route.js'
import { requireLiveAttempt } from '../read-access.js'
import { reply } from './reply.js'

const tag = 'opportunities'
const ById = z.object({ id: OpportunityId })

export const opportunityRoutes = [
  defineRoute({
    id: 'createOpportunity',
    method: 'post',
    path: '/v1/opportunities',
    tag,
    summary: 'Propose a scored opportunity; an agent does so in its own name; answers 200 with the open opportunity when one has the same dedupe key',
    status: 201,
    also: { status: 200, when: 'An opportunity with the dedupe key is open: that opportunity' },
    spec: { body: CreateOpportunityBody, response: OpportunityView },
    async handle({ body, context }, { ledger }) {
      const { opportunity, created, replayed } = await ledger.opportunities.create(context, body)
      return reply(created ? 201 : 200, opportunity, { replayed, version: opportunity.version, headers: { Location: `/v1/opportunities/${opportunity.id}` } })
    },
  }),
  defineRoute({
    id: 'listOpportunities',
    method: 'get',
    path: '/v1/opportunities',
    tag,
    summary: 'Opportunities, newest first; every agent sees those of all others',
    spec: {
      query: ListOpportunitiesQuery,
      response: z.object({ items: z.array(OpportunityView), next_cursor: z.string().nullable() }).meta({ id: 'OpportunityPage' }),
    },
    async handle({ query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listOpportunities(query) }
    },
  }),
  defineRoute({
    id: 'getOpportunity',
    method: 'get',
    path: '/v1/opportunities/{id}',
    tag,
    summary: 'One opportunity with all its reviews',
    spec: { params: ById, response: OpportunityHistory },
    async handle({ params, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      const history = await ledger.opportunityHistory(params.id)
      return reply(200, history, { version: history.opportunity.version })
    },
  }),
  defineRoute({
    id: 'triageOpportunity',
    method: 'post',
    path: '/v1/opportunities/{id}/triage',
    tag,
    summary: 'Decide about an opportunity: triaged, accepted, parked, or rejected with a reason; for operators and the agents of authority.triage',
    isConditional: true,
    spec: { params: ById, body: TriageBody, response: OpportunityView },
    async handle({ params, body, context }, { ledger }) {
      const { opportunity, replayed } = await ledger.opportunities.triage(context, params.id, body)
      return reply(200, opportunity, { replayed, version: opportunity.version })
    },
  }),
  defineRoute({
    id: 'convertOpportunity',
    method: 'post',
    path: '/v1/opportunities/{id}/convert',
    tag,
    summary: 'Make a job of an opportunity, in one transaction; for operators and the agents of authority.convert, within their delegation rules',
    isConditional: true,
    spec: { params: ById, body: ConvertBody, response: ConvertedOpportunity },
    async handle({ params, body, context }, { ledger }) {
      const { replayed, ...converted } = await ledger.opportunities.convert(context, params.id, body)
      return reply(200, converted, { replayed, version: converted.opportunity.version })
    },
  }),
]
