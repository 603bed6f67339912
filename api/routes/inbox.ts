import { z } from 'zod'
import {
  AcknowledgeBody,
  FiledView,
  FileFindingBody,
  FindingHistory,
  FindingId,
  FindingView,
  InboxMessageView,
  ListFindingsQuery,
  ListInboxQuery,
  ReadInboxBody,
  SettleFindingBody,
} from '../../contracts/findings.js'
import { defineRoute } from '../define-route.js'
import { reply } from './reply.js'
import { requireRole } from '../read-access.js'

const tag = 'inbox'
const readers = ['operator', 'auditor', 'agent'] as const
const ById = z.object({ id: FindingId })
const Messages = z.object({ items: z.array(InboxMessageView) }).meta({ id: 'InboxMessages' })

export const inboxRoutes = [
  defineRoute({
    id: 'fileFinding',
    method: 'post',
    path: '/v1/findings',
    tag,
    summary: 'File a finding; the same topic and subject again is the same finding, and the nag policy says whether it is raised',
    status: 201,
    also: { status: 200, when: 'The finding is known: it was counted once more' },
    spec: { body: FileFindingBody, response: FiledView },
    async handle({ body, context }, { ledger }) {
      const { created, replayed, ...filed } = await ledger.inbox.file(context, body)
      return reply(created ? 201 : 200, filed, { replayed })
    },
  }),
  defineRoute({
    id: 'listFindings',
    method: 'get',
    path: '/v1/findings',
    tag,
    summary: 'Findings, newest first',
    spec: { query: ListFindingsQuery, response: z.object({ items: z.array(FindingView), next_cursor: z.string().nullable() }).meta({ id: 'FindingPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listFindings(query) }
    },
  }),
  defineRoute({
    id: 'getFinding',
    method: 'get',
    path: '/v1/findings/{id}',
    tag,
    summary: 'One finding with its messages and everything that happened to it',
    spec: { params: ById, response: FindingHistory },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.findingHistory(params.id) }
    },
  }),
  defineRoute({
    id: 'settleFinding',
    method: 'post',
    path: '/v1/findings/{id}/settle',
    tag,
    summary: 'End a finding: the matter is over; what is unread of it is withdrawn',
    spec: { params: ById, body: SettleFindingBody, response: FindingView },
    async handle({ params, body, context }, { ledger }) {
      const { finding, replayed } = await ledger.inbox.settle(context, params.id, body)
      return reply(200, finding, { replayed })
    },
  }),
  defineRoute({
    id: 'listInbox',
    method: 'get',
    path: '/v1/inbox',
    tag,
    summary: 'What is in inboxes, without taking it; by default what is not acknowledged yet',
    spec: { query: ListInboxQuery, response: z.object({ items: z.array(InboxMessageView), next_cursor: z.string().nullable() }).meta({ id: 'InboxPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listInbox(query) }
    },
  }),
  defineRoute({
    id: 'readInbox',
    method: 'post',
    path: '/v1/inbox/read',
    tag,
    summary: 'Take what is open, worst first; a message is held by one reader until it is acknowledged or the reader ends',
    spec: { body: ReadInboxBody, response: Messages },
    async handle({ body, context }, { ledger }) {
      const { items, replayed } = await ledger.inbox.read(context, body)
      return reply(200, { items }, { replayed })
    },
  }),
  defineRoute({
    id: 'acknowledgeInbox',
    method: 'post',
    path: '/v1/inbox/acknowledge',
    tag,
    summary: 'Close messages that the caller has read, all or none',
    spec: { body: AcknowledgeBody, response: Messages },
    async handle({ body, context }, { ledger }) {
      const { items, replayed } = await ledger.inbox.acknowledge(context, body)
      return reply(200, { items }, { replayed })
    },
  }),
]
