import { z } from 'zod'
import {
  CreateMemoryCandidateBody,
  ListMemoriesQuery,
  ListMemoryCandidatesQuery,
  MarkStaleBody,
  MemoryCandidateHistory,
  MemoryCandidateId,
  MemoryCandidateView,
  MemoryHistory,
  MemoryId,
  MemoryView,
  PromoteCandidateBody,
  PromotedCandidate,
  RefreshMemoryBody,
  RetireMemoryBody,
  ReviewCandidateBody,
} from '../../contracts/memories.js'
import { defineRoute } from '../define-route.js'
import { requireLiveAttempt } from '../read-access.js'
import { reply } from './reply.js'

const tag = 'memories'
const ByCandidate = z.object({ id: MemoryCandidateId })
const ByMemory = z.object({ id: MemoryId })

export const memoryRoutes = [
  defineRoute({
    id: 'createMemoryCandidate',
    method: 'post',
    path: '/v1/memory-candidates',
    tag,
    summary: 'Propose what is worth to be remembered; an agent does so in its own name; answers 200 with the open candidate when one has the same dedupe key',
    status: 201,
    also: { status: 200, when: 'A candidate with the dedupe key is open: that candidate' },
    spec: { body: CreateMemoryCandidateBody, response: MemoryCandidateView },
    async handle({ body, context }, { ledger }) {
      const { candidate, created, replayed } = await ledger.memories.propose(context, body)
      return reply(created ? 201 : 200, candidate, { replayed, version: candidate.version, headers: { Location: `/v1/memory-candidates/${candidate.id}` } })
    },
  }),
  defineRoute({
    id: 'listMemoryCandidates',
    method: 'get',
    path: '/v1/memory-candidates',
    tag,
    summary: 'Memory candidates, newest first; an agent that is not of authority.promote sees its own, and those whose visibility lets it',
    spec: {
      query: ListMemoryCandidatesQuery,
      response: z.object({ items: z.array(MemoryCandidateView), next_cursor: z.string().nullable() }).meta({ id: 'MemoryCandidatePage' }),
    },
    async handle({ query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listMemoryCandidates(query, caller) }
    },
  }),
  defineRoute({
    id: 'getMemoryCandidate',
    method: 'get',
    path: '/v1/memory-candidates/{id}',
    tag,
    summary: 'One memory candidate with all its reviews; one that the caller may not see is not there',
    spec: { params: ByCandidate, response: MemoryCandidateHistory },
    async handle({ params, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      const history = await ledger.memoryCandidateHistory(params.id, caller)
      return reply(200, history, { version: history.candidate.version })
    },
  }),
  defineRoute({
    id: 'reviewMemoryCandidate',
    method: 'post',
    path: '/v1/memory-candidates/{id}/review',
    tag,
    summary: 'Decide about a memory candidate without promoting it: reviewed, archived, or rejected with a reason; for operators and the agents of authority.promote',
    isConditional: true,
    spec: { params: ByCandidate, body: ReviewCandidateBody, response: MemoryCandidateView },
    async handle({ params, body, context }, { ledger }) {
      const { candidate, replayed } = await ledger.memories.review(context, params.id, body)
      return reply(200, candidate, { replayed, version: candidate.version })
    },
  }),
  defineRoute({
    id: 'promoteMemoryCandidate',
    method: 'post',
    path: '/v1/memory-candidates/{id}/promote',
    tag,
    summary: 'Make a memory of a candidate that has evidence, in place of another memory if one is named; for operators and the agents of authority.promote',
    isConditional: true,
    spec: { params: ByCandidate, body: PromoteCandidateBody, response: PromotedCandidate },
    async handle({ params, body, context }, { ledger }) {
      const { replayed, ...promoted } = await ledger.memories.promote(context, params.id, body)
      return reply(200, promoted, { replayed, version: promoted.candidate.version })
    },
  }),
  defineRoute({
    id: 'listMemories',
    method: 'get',
    path: '/v1/memories',
    tag,
    summary: 'Memories, newest first, of the state active those in force; an agent that is not of authority.promote sees those whose visibility lets it',
    spec: { query: ListMemoriesQuery, response: z.object({ items: z.array(MemoryView), next_cursor: z.string().nullable() }).meta({ id: 'MemoryPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      return { status: 200, body: await ledger.listMemories(query, caller) }
    },
  }),
  defineRoute({
    id: 'getMemory',
    method: 'get',
    path: '/v1/memories/{id}',
    tag,
    summary: 'One memory with everything that was decided about it; one that the caller may not see is not there',
    spec: { params: ByMemory, response: MemoryHistory },
    async handle({ params, caller }, { ledger }) {
      await requireLiveAttempt(ledger, caller)
      const history = await ledger.memoryHistory(params.id, caller)
      // Whether it is in force ends with its time, and its version rises only when somebody has written that down.
      return { ...reply(200, history, { version: history.memory.version }), isLive: true }
    },
  }),
  defineRoute({
    id: 'refreshMemory',
    method: 'post',
    path: '/v1/memories/{id}/refresh',
    tag,
    summary: 'Say that a memory in force still holds, with new dates or another confidence; for operators and the agents of authority.promote',
    isConditional: true,
    spec: { params: ByMemory, body: RefreshMemoryBody, response: MemoryView },
    async handle({ params, body, context }, { ledger }) {
      const { memory, replayed } = await ledger.memories.refresh(context, params.id, body)
      return reply(200, memory, { replayed, version: memory.version })
    },
  }),
  defineRoute({
    id: 'markMemoryStale',
    method: 'post',
    path: '/v1/memories/{id}/mark-stale',
    tag,
    summary: 'Make a memory due for a review now; it stays in force until somebody has decided; for operators and the agents of authority.promote',
    isConditional: true,
    spec: { params: ByMemory, body: MarkStaleBody, response: MemoryView },
    async handle({ params, body, context }, { ledger }) {
      const { memory, replayed } = await ledger.memories.markStale(context, params.id, body)
      return reply(200, memory, { replayed, version: memory.version })
    },
  }),
  defineRoute({
    id: 'retireMemory',
    method: 'post',
    path: '/v1/memories/{id}/retire',
    tag,
    summary: 'End a memory for good, as expired or archived; for operators and the agents of authority.promote',
    isConditional: true,
    spec: { params: ByMemory, body: RetireMemoryBody, response: MemoryView },
    async handle({ params, body, context }, { ledger }) {
      const { memory, replayed } = await ledger.memories.retire(context, params.id, body)
      return reply(200, memory, { replayed, version: memory.version })
    },
  }),
]
