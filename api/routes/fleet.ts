import { z } from 'zod'
import { AgentbusError } from '../../contracts/errors.js'
import { AgentView, FleetChange, FleetFile, GatewayView, Paused } from '../../contracts/fleet.js'
import { AgentId, TokenId } from '../../contracts/ids.js'
import { EmitEventBody, EventView, ListEventsQuery } from '../../contracts/events.js'
import { ReasonBody } from '../../contracts/job-operations.js'
import { storableText, Time } from '../../contracts/text.js'
import { defineRoute } from '../define-route.js'
import { requireRole } from '../read-access.js'

const readers = ['operator', 'auditor', 'agent'] as const
const ById = z.object({ id: AgentId })
const TokenView = z
  .object({
    id: TokenId,
    name: z.string(),
    role: z.enum(['operator', 'agent', 'auditor']),
    agent_id: AgentId.nullable(),
    created_by: z.string(),
    created_at: z.string(),
    expires_at: z.string().nullable(),
    revoked_at: z.string().nullable(),
  })
  .meta({ id: 'Token' })
const CreateTokenBody = z
  .strictObject({
    name: storableText({ min: 1, max: 100 }),
    role: z.enum(['operator', 'agent', 'auditor']),
    agent_id: AgentId.optional(),
    expires_at: Time.optional(),
  })
  .refine((body) => (body.role === 'agent') === (body.agent_id !== undefined), { path: ['agent_id'], message: 'is needed for the role agent, and only for it' })
  .meta({ id: 'CreateToken' })

export const fleetRoutes = [
  defineRoute({
    id: 'emitEvent',
    method: 'post',
    path: '/v1/events',
    tag: 'events',
    summary: 'Append a fact and wake what waits for its topic; answers 200 with the first event when the dedupe key is known',
    status: 201,
    also: { status: 200, when: 'The dedupe key is known: the first event' },
    spec: { body: EmitEventBody, response: EventView },
    async handle({ body, context }, { ledger }) {
      const { event, created, replayed } = await ledger.jobs.emit(context, body)
      return { status: created ? 201 : 200, body: event, ...(replayed === true ? { headers: { 'Idempotency-Replayed': 'true' } } : {}) }
    },
  }),
  defineRoute({
    id: 'listEvents',
    method: 'get',
    path: '/v1/events',
    tag: 'events',
    summary: 'Events by topic or by a pattern such as `security.*`',
    spec: { query: ListEventsQuery, response: z.object({ items: z.array(EventView), next_cursor: z.string().nullable() }).meta({ id: 'EventPage' }) },
    async handle({ query, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: await ledger.listEvents(query) }
    },
  }),
  defineRoute({
    id: 'listAgents',
    method: 'get',
    path: '/v1/agents',
    tag: 'fleet',
    summary: 'Agents with their state',
    spec: { response: z.object({ items: z.array(AgentView) }).meta({ id: 'Agents' }) },
    async handle({ caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      return { status: 200, body: { items: await ledger.listAgents() } }
    },
  }),
  defineRoute({
    id: 'getAgent',
    method: 'get',
    path: '/v1/agents/{id}',
    tag: 'fleet',
    summary: 'One agent',
    spec: { params: ById, response: AgentView },
    async handle({ params, caller }, { ledger }) {
      await requireRole(ledger, caller, readers)
      const agent = (await ledger.listAgents(params.id))[0]
      if (agent === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No agent has the id ${params.id}.`)
      return { status: 200, body: agent, headers: { ETag: `"${agent.version}"` }, isLive: true }
    },
  }),
  ...(['pause', 'resume'] as const).map((verb) =>
    defineRoute({
      id: `${verb}Agent`,
      method: 'post',
      path: `/v1/agents/{id}/${verb}`,
      tag: 'fleet',
      access: 'operator',
      summary: verb === 'pause' ? 'Start nothing new for an agent; what runs is left alone' : 'Let an agent work again',
      spec: { params: ById, body: ReasonBody, response: Paused },
      async handle({ params, body, context }, { ledger }) {
        if ((await ledger.listAgents(params.id)).length === 0) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No agent has the id ${params.id}.`)
        const changed = await ledger.setPaused(context, { scope: 'agent', target: params.id, reason: body.reason, paused: verb === 'pause' })
        return { status: 200, body: { changed, paused: verb === 'pause' } }
      },
    }),
  ),
  defineRoute({
    id: 'listGateways',
    method: 'get',
    path: '/v1/gateways',
    tag: 'fleet',
    access: 'operator or auditor',
    summary: 'Gateways with breaker and probes',
    spec: { response: z.object({ items: z.array(GatewayView) }).meta({ id: 'Gateways' }) },
    async handle(_input, { ledger }) {
      return { status: 200, body: { items: await ledger.listGateways() } }
    },
  }),
  defineRoute({
    id: 'applyFleet',
    method: 'post',
    path: '/v1/fleet',
    tag: 'fleet',
    access: 'operator',
    summary: 'Bring gateways and agents to what a fleet file says; idempotent, with the difference',
    spec: {
      body: z.strictObject({ fleet: FleetFile, dry_run: z.boolean().default(false), prune: z.boolean().default(false) }).meta({ id: 'ApplyFleet' }),
      response: z.object({ changes: z.array(FleetChange) }).meta({ id: 'FleetChanges' }),
    },
    async handle({ body, context }, { ledger }) {
      return { status: 200, body: { changes: await ledger.applyFleet(context, body.fleet, { dryRun: body.dry_run, prune: body.prune }) } }
    },
  }),
  defineRoute({
    id: 'createToken',
    method: 'post',
    path: '/v1/tokens',
    tag: 'tokens',
    access: 'operator',
    summary: 'Make a token; it is shown once and kept as a hash',
    status: 201,
    spec: { body: CreateTokenBody, response: TokenView.extend({ token: z.string() }).meta({ id: 'NewToken' }) },
    async handle({ body, context }, { ledger }) {
      const { token, view } = await ledger.tokens.create(context, { name: body.name, role: body.role, agentId: body.agent_id, expiresAt: body.expires_at })
      return { status: 201, body: { token, ...view } }
    },
  }),
  defineRoute({
    id: 'listTokens',
    method: 'get',
    path: '/v1/tokens',
    tag: 'tokens',
    access: 'operator',
    summary: 'Tokens, without their secrets',
    spec: { response: z.object({ items: z.array(TokenView) }).meta({ id: 'Tokens' }) },
    async handle(_input, { ledger }) {
      return { status: 200, body: { items: await ledger.tokens.list() } }
    },
  }),
  defineRoute({
    id: 'revokeToken',
    method: 'delete',
    path: '/v1/tokens/{id}',
    tag: 'tokens',
    access: 'operator',
    summary: 'Revoke a token at once',
    spec: { params: z.object({ id: TokenId }), response: TokenView },
    async handle({ params, context }, { ledger }) {
      return { status: 200, body: await ledger.tokens.revoke(context, params.id) }
    },
  }),
  defineRoute({
    id: 'listDispatchers',
    method: 'get',
    path: '/v1/dispatchers',
    tag: 'health',
    access: 'operator or auditor',
    summary: 'Worker processes and when each was last seen',
    spec: { response: z.object({ items: z.array(z.record(z.string(), z.unknown())) }).meta({ id: 'Dispatchers' }) },
    async handle(_input, { ledger }) {
      return { status: 200, body: { items: await ledger.listDispatchers() } }
    },
  }),
  defineRoute({
    id: 'getHealth',
    method: 'get',
    path: '/v1/health',
    tag: 'health',
    access: 'operator or auditor',
    summary: 'What is open per agent, the outbox, gateways and workers',
    spec: { response: z.record(z.string(), z.unknown()).meta({ id: 'Health' }) },
    async handle(_input, { ledger }) {
      const [open, outbox, gateways, dispatchers] = await Promise.all([ledger.openCounts(), ledger.outboxLag(), ledger.listGateways(), ledger.listDispatchers()])
      return {
        status: 200,
        body: {
          open,
          outbox: { rows: outbox.rows, oldest_seconds: outbox.oldestSeconds },
          gateways: gateways.map((gateway) => ({ id: gateway.id, breaker: gateway.breaker, reason: gateway.breaker_reason, last_ready_at: gateway.last_ready_at })),
          dispatchers,
        },
      }
    },
  }),
]
