import { z } from 'zod'
import { CreateIdeaBody, IdeaHistory, IdeaId, IdeaView, ListIdeasQuery, PromotedIdea, PromoteIdeaBody, ReviewIdeaBody } from '../../contracts/ideas.js'
import { defineRoute } from '../define-route.js'
import { requireLiveAttempt } from '../read-access.js'
import { reply } from './reply.js'

const tag = 'ideas'
const ById = z.object({ id: IdeaId })

export const ideaRoutes = [
  defineRoute({
    id: 'createIdea',
    method: 'post',
    path: '/v1/ideas',
    tag,
    summary: 'Note an idea, without scores; an agent does so in its own name; answers 200 with the open idea when one has the same dedupe key',
    status: 201,
    also: { status: 200, when: 'An idea with the dedupe key is open: that idea' },
    spec: { body: CreateIdeaBody, response: IdeaView },
    async handle({ body, context }, { ledger }) {
      const { idea, created, replayed } = await ledger.ideas.create(context, body)
      return reply(created ? 201 : 200, idea, { replayed, version: idea.version, headers: { Location: `/v1/ideas/${idea.id}` } })
    },
  }),
  defineRoute({
    id: 'listIdeas',
    method: 'get',
    path: '/v1/ideas',
    tag,
    summary: 'Ideas, newest first; every agent sees those of all others',
    spec: { query: ListIdeasQuery, response: z.object({ items: z.array(IdeaView), next_cursor: z.string().nullable() }).meta({ id: 'IdeaPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listIdeas(query) }
    },
  }),
  defineRoute({
    id: 'getIdea',
    method: 'get',
    path: '/v1/ideas/{id}',
    tag,
    summary: 'One idea with all its reviews',
    spec: { params: ById, response: IdeaHistory },
    async handle({ params, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      const history = await ledger.ideaHistory(params.id)
      return reply(200, history, { version: history.idea.version })
    },
  }),
  defineRoute({
    id: 'reviewIdea',
    method: 'post',
    path: '/v1/ideas/{id}/review',
    tag,
    summary: 'Say that an idea was looked at; for operators and the agents of authority.triage',
    isConditional: true,
    spec: { params: ById, body: ReviewIdeaBody, response: IdeaView },
    async handle({ params, body, context }, { ledger }) {
      const { idea, replayed } = await ledger.ideas.review(context, params.id, body)
      return reply(200, idea, { replayed, version: idea.version })
    },
  }),
  defineRoute({
    id: 'archiveIdea',
    method: 'post',
    path: '/v1/ideas/{id}/archive',
    tag,
    summary: 'Lay an idea aside for good; for operators, the agents of authority.triage, and an agent its own',
    isConditional: true,
    spec: { params: ById, body: ReviewIdeaBody, response: IdeaView },
    async handle({ params, body, context }, { ledger }) {
      const { idea, replayed } = await ledger.ideas.archive(context, params.id, body)
      return reply(200, idea, { replayed, version: idea.version })
    },
  }),
  defineRoute({
    id: 'promoteIdea',
    method: 'post',
    path: '/v1/ideas/{id}/promote',
    tag,
    summary: 'Make an opportunity of an idea, or link it to the one that is open under the dedupe key, whoever proposed it; for operators and the agents of authority.promote',
    isConditional: true,
    spec: { params: ById, body: PromoteIdeaBody, response: PromotedIdea },
    async handle({ params, body, context }, { ledger }) {
      const { replayed, ...promoted } = await ledger.ideas.promote(context, params.id, body)
      return reply(200, promoted, { replayed, version: promoted.idea.version })
    },
  }),
]
