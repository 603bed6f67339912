import { z } from 'zod'
import { AGENT_STATES } from './agents.js'
import { AlertsConfig } from './alerts.js'
import { AuthorityConfig, BlockedConfig } from './authority.js'
import { AgentId, GatewayId } from './ids.js'
import { InboxConfig } from './inbox.js'
import { LimitsConfig } from './limits.js'
import { ReactionsConfig, SubscriptionConfig } from './subscriptions.js'
import { RetentionConfig } from './retention.js'
import { orderKey, StandingOrderConfig, StandingOrderView } from './standing-orders.js'
import { HttpUrl, TokenRef } from './references.js'
import { storableText } from './text.js'

export const GatewayConfig = z
  .strictObject({
    id: GatewayId,
    base_url: HttpUrl,
    /** The gateway's `hooks.path`. */
    hook_path: z
      .string()
      .regex(/^\/[A-Za-z0-9/_-]*$/)
      .default('/hooks'),
    token: TokenRef,
  })
  .meta({ id: 'Gateway' })
export type GatewayConfig = z.infer<typeof GatewayConfig>

/** What an agent may send to whom. */
export const DelegationRule = z
  .strictObject({
    /** Agents, or `*` for every one. */
    to: z
      .array(z.union([z.literal('*'), AgentId]))
      .min(1)
      .max(1_000),
    /** Only these types; a pattern may end in `.*`. Without it: any. */
    job_types: z
      .array(
        z
          .string()
          .regex(/^[A-Za-z0-9][A-Za-z0-9_:-]*(\.[A-Za-z0-9_:-]+)*(\.\*)?$/, 'a job type, or a pattern that ends in `.*`')
          .max(100),
      )
      .min(1)
      .max(100)
      .optional(),
  })
  .meta({ id: 'DelegationRule' })
export type DelegationRule = z.infer<typeof DelegationRule>

export const AgentConfig = z
  .strictObject({
    id: AgentId,
    gateway: GatewayId,
    /** The id the gateway knows the agent by, when it differs. */
    gateway_agent_id: storableText({ min: 1, max: 100 }).optional(),
    role: storableText({ min: 1, max: 200 }).optional(),
    /** How many runs of this agent may be open at once, over all workers. */
    concurrency: z.int().min(1).max(1000).default(1),
    capabilities: z
      .array(storableText({ min: 1, max: 100 }))
      .max(100)
      .default([]),
    /** To whom the agent may send work, beside itself. Absent: to anybody. An empty list: to nobody. */
    delegation: z.array(DelegationRule).max(100).optional(),
    timeout_seconds: z.int().min(1).max(86_400).default(600),
    lease_seconds: z.int().min(5).max(86_400).default(600),
    enabled: z.boolean().default(true),
  })
  .meta({ id: 'AgentConfig' })
export type AgentConfig = z.infer<typeof AgentConfig>

/** `fleet.yaml`: the gateways, agents, standing orders and inbox rules of a fleet. */
export const FleetFile = z
  .strictObject({
    version: z.literal(1).default(1),
    gateways: z.array(GatewayConfig).max(10_000).default([]),
    agents: z.array(AgentConfig).max(10_000).default([]),
    standing_orders: z.array(StandingOrderConfig).max(50_000).default([]),
    /** Absent: what was applied before stays. */
    inbox: InboxConfig.optional(),
    /** Absent: those that were applied before stay. Present: those it does not name are disabled. */
    subscriptions: z.array(SubscriptionConfig).max(50_000).optional(),
    reactions: ReactionsConfig.optional(),
    blocked: BlockedConfig.optional(),
    authority: AuthorityConfig.optional(),
    /** Absent: what was applied before stays. Without any, nothing is ever pruned. */
    retention: RetentionConfig.optional(),
    limits: LimitsConfig.optional(),
    /** Absent: the rules that were applied before stay; a fleet that never named any has none. */
    alerts: AlertsConfig.optional(),
  })
  .superRefine((fleet, ctx) => {
    const gateways = new Set<string>()
    for (const [at, gateway] of fleet.gateways.entries()) {
      if (gateways.has(gateway.id)) ctx.addIssue({ code: 'custom', path: ['gateways', at, 'id'], message: `gateway ${gateway.id} is defined twice` })
      gateways.add(gateway.id)
    }
    const agents = new Set<string>()
    for (const [at, agent] of fleet.agents.entries()) {
      if (agents.has(agent.id)) ctx.addIssue({ code: 'custom', path: ['agents', at, 'id'], message: `agent ${agent.id} is defined twice` })
      agents.add(agent.id)
      if (!gateways.has(agent.gateway)) ctx.addIssue({ code: 'custom', path: ['agents', at, 'gateway'], message: `gateway ${agent.gateway} is not defined` })
    }
    for (const [at, agent] of fleet.agents.entries()) {
      for (const [rule, { to }] of (agent.delegation ?? []).entries()) {
        for (const [place, id] of to.entries()) {
          if (id !== '*' && !agents.has(id)) ctx.addIssue({ code: 'custom', path: ['agents', at, 'delegation', rule, 'to', place], message: `agent ${id} is not defined` })
        }
      }
    }
    const coordinator = fleet.inbox?.coordinator
    if (coordinator !== undefined && !agents.has(coordinator)) ctx.addIssue({ code: 'custom', path: ['inbox', 'coordinator'], message: `agent ${coordinator} is not defined` })
    const named = new Set<string>()
    for (const [at, subscription] of (fleet.subscriptions ?? []).entries()) {
      const name = `${subscription.namespace}/${subscription.name}`
      if (named.has(name)) ctx.addIssue({ code: 'custom', path: ['subscriptions', at, 'name'], message: `subscription ${subscription.name} is defined twice` })
      named.add(name)
      if (!agents.has(subscription.agent)) ctx.addIssue({ code: 'custom', path: ['subscriptions', at, 'agent'], message: `agent ${subscription.agent} is not defined` })
    }
    if (fleet.blocked?.replan !== undefined && !agents.has(fleet.blocked.replan)) {
      ctx.addIssue({ code: 'custom', path: ['blocked', 'replan'], message: `agent ${fleet.blocked.replan} is not defined` })
    }
    for (const id of Object.keys(fleet.limits?.agents ?? {})) {
      if (!agents.has(id)) ctx.addIssue({ code: 'custom', path: ['limits', 'agents', id], message: `agent ${id} is not defined` })
    }
    for (const [right, holders] of Object.entries(fleet.authority ?? {})) {
      for (const [at, id] of holders.entries()) {
        if (!agents.has(id)) ctx.addIssue({ code: 'custom', path: ['authority', right, at], message: `agent ${id} is not defined` })
      }
    }
    for (const [at, rule] of (fleet.alerts?.rules ?? []).entries()) {
      for (const [place, { agent }] of rule.notify.entries()) {
        if (agent !== undefined && !agents.has(agent))
          ctx.addIssue({ code: 'custom', path: ['alerts', 'rules', at, 'notify', place, 'agent'], message: `agent ${agent} is not defined` })
      }
    }
    const topics = new Set<string>()
    for (const [at, policy] of (fleet.inbox?.policies ?? []).entries()) {
      if (topics.has(policy.topic)) ctx.addIssue({ code: 'custom', path: ['inbox', 'policies', at, 'topic'], message: `the policy for ${policy.topic} is defined twice` })
      topics.add(policy.topic)
    }
    const orders = new Set<string>()
    for (const [at, order] of fleet.standing_orders.entries()) {
      const key = orderKey(order)
      if (orders.has(key)) ctx.addIssue({ code: 'custom', path: ['standing_orders', at, 'name'], message: `standing order ${key} is defined twice` })
      orders.add(key)
      if (!agents.has(order.agent)) ctx.addIssue({ code: 'custom', path: ['standing_orders', at, 'agent'], message: `agent ${order.agent} is not defined` })
    }
  })
export type FleetFile = z.infer<typeof FleetFile>
/** What is applied: a whole file, or one made in code that says nothing of standing orders. */
export type Fleet = Omit<FleetFile, 'standing_orders'> & Partial<Pick<FleetFile, 'standing_orders'>>

export const AgentState = z.enum(AGENT_STATES)
export type AgentState = z.infer<typeof AgentState>

const timestamp = z.iso.datetime({ offset: true })

/** An agent as the API shows it. */
export const AgentView = z
  .object({
    id: AgentId,
    gateway_id: GatewayId,
    gateway_agent_id: z.string(),
    role: z.string().nullable(),
    queue: z.string(),
    concurrency: z.int(),
    capabilities: z.array(z.string()),
    /** To whom it may send work; null: to anybody. */
    delegation: z.array(DelegationRule).nullable(),
    timeout_seconds: z.int(),
    lease_seconds: z.int(),
    enabled: z.boolean(),
    paused: z.boolean(),
    state: AgentState,
    /** Since when, as far as the watch has seen it. */
    state_since: timestamp.nullable(),
    queued: z.int(),
    open_attempts: z.int(),
    blocked: z.int(),
    version: z.int(),
    updated_at: timestamp,
  })
  .meta({ id: 'Agent' })
export type AgentView = z.infer<typeof AgentView>

export const BreakerState = z.enum(['closed', 'open'])
export type BreakerState = z.infer<typeof BreakerState>

export const GatewayView = z
  .object({
    id: GatewayId,
    base_url: z.string(),
    hook_path: z.string(),
    token_ref: z.string(),
    breaker: BreakerState,
    breaker_reason: z.string().nullable(),
    breaker_changed_at: timestamp.nullable(),
    probe_after: timestamp,
    last_ready_at: timestamp.nullable(),
    last_down_at: timestamp.nullable(),
    booted_at: timestamp.nullable(),
    version: z.int(),
  })
  .meta({ id: 'GatewayState' })
export type GatewayView = z.infer<typeof GatewayView>

/** One line of what `agentbus apply` did or would do. */
export const FleetChange = z
  .object({
    kind: z.enum(['gateway', 'agent', 'standing_order', 'inbox', 'subscription', 'policy']),
    id: z.string(),
    change: z.enum(['added', 'changed', 'disabled', 'unchanged']),
    fields: z.record(z.string(), z.object({ from: z.unknown(), to: z.unknown() })),
  })
  .meta({ id: 'FleetChange' })
export type FleetChange = z.infer<typeof FleetChange>

/** What became of one standing order, and how it stands now; null when a dry run is about one that does not exist yet. */
export const StandingOrderChange = z.object({ change: FleetChange, order: StandingOrderView.nullable() }).meta({ id: 'StandingOrderChange' })
export type StandingOrderChange = z.infer<typeof StandingOrderChange>

/** What a pause or its end came to: `changed` is false when it was so already. */
export const Paused = z.object({ changed: z.boolean(), paused: z.boolean() }).meta({ id: 'Paused' })
