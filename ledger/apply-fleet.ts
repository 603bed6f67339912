import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { AgentConfig, FleetChange, Fleet, GatewayConfig } from '../contracts/fleet.js'
import { ADVISORY } from './advisory-locks.js'
import { applyOrders } from './apply-orders.js'
import type { Tx } from './database.js'
import { differences } from './differences.js'
import { hintAfterCommit } from './hints.js'
import { applyInboxConfig } from './inbox-config.js'
import { applyPolicies } from './policies.js'
import { applySubscriptions } from './apply-subscriptions.js'

type Spec = Record<string, unknown>

interface Known {
  readonly id: string
  readonly version: number
  readonly spec: Spec
}

/** Whoever changes definitions waits here for whoever does: of two, the second sees what the first has made. */
export async function lockDefinitions(tx: Tx): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(${ADVISORY.applyFleet})`)
}

/**
 * Brings gateways and agents to what the file says. Idempotent; each change is a new version with the time it came
 * into force. Agents that the file no longer names are disabled, never deleted: their history stays.
 * With `dryRun` nothing is written and the same list of changes is answered.
 */
export async function applyFleet(
  tx: Tx,
  fleet: Fleet,
  what: { readonly actor: Actor; readonly dryRun: boolean; readonly prune: boolean; readonly nowMs: number },
): Promise<FleetChange[]> {
  await lockDefinitions(tx)
  const gateways = await knownGateways(tx)
  const agents = await knownAgents(tx)
  const changes: FleetChange[] = []
  for (const gateway of fleet.gateways) {
    const spec = gatewaySpec(gateway)
    const change = compare('gateway', gateway.id, gateways.get(gateway.id), spec)
    changes.push(change)
    if (!what.dryRun && change.change !== 'unchanged') await writeGateway(tx, gateway, spec, gateways.get(gateway.id)?.version ?? 0, what.actor)
  }
  for (const agent of fleet.agents) {
    const spec = agentSpec(agent)
    const change = compare('agent', agent.id, agents.get(agent.id), spec)
    changes.push(change)
    if (!what.dryRun && change.change !== 'unchanged') await writeAgent(tx, agent, spec, agents.get(agent.id)?.version ?? 0, what.actor)
  }
  if (what.prune) changes.push(...(await disableUnnamed(tx, fleet, agents, what)))
  if (fleet.standing_orders !== undefined) changes.push(...(await applyOrders(tx, fleet.standing_orders, what)))
  if (fleet.inbox !== undefined) changes.push(await applyInboxConfig(tx, fleet.inbox, what))
  if (fleet.subscriptions !== undefined) changes.push(...(await applySubscriptions(tx, fleet.subscriptions, what)))
  changes.push(...(await applyPolicies(tx, fleet, what)))
  if (!what.dryRun && changes.some((change) => change.change !== 'unchanged')) hintAfterCommit(tx, { fleet: true })
  return changes
}

function gatewaySpec(gateway: GatewayConfig): Spec {
  return { base_url: gateway.base_url.replace(/\/+$/, ''), hook_path: gateway.hook_path, token_ref: gateway.token }
}

function agentSpec(agent: AgentConfig): Spec {
  return {
    gateway_id: agent.gateway,
    gateway_agent_id: agent.gateway_agent_id ?? agent.id,
    role: agent.role ?? null,
    concurrency: agent.concurrency,
    capabilities: agent.capabilities,
    delegation: agent.delegation ?? null,
    timeout_seconds: agent.timeout_seconds,
    lease_seconds: agent.lease_seconds,
    enabled: agent.enabled,
  }
}

async function knownGateways(tx: Tx): Promise<Map<string, Known>> {
  const { rows } = await tx.execute(sql`select id, version, base_url, hook_path, token_ref from gateways for no key update`)
  return new Map(rows.map(({ id, version, ...spec }) => [String(id), { id: String(id), version: Number(version), spec }]))
}

async function knownAgents(tx: Tx): Promise<Map<string, Known>> {
  const { rows } = await tx.execute(sql`
    select id, version, gateway_id, gateway_agent_id, role, concurrency, capabilities, delegation, timeout_seconds, lease_seconds, enabled from agents for no key update`)
  return new Map(rows.map(({ id, version, ...spec }) => [String(id), { id: String(id), version: Number(version), spec }]))
}

function compare(kind: 'gateway' | 'agent', id: string, known: Known | undefined, spec: Spec): FleetChange {
  const fields = differences(known?.spec, spec)
  if (known === undefined) return { kind, id, change: 'added', fields }
  return { kind, id, change: Object.keys(fields).length === 0 ? 'unchanged' : 'changed', fields }
}

async function writeGateway(tx: Tx, gateway: GatewayConfig, spec: Spec, version: number, actor: Actor): Promise<void> {
  await tx.execute(sql`
    insert into gateways (id, base_url, hook_path, token_ref, version)
    values (${gateway.id}, ${spec['base_url']}, ${gateway.hook_path}, ${gateway.token}, ${version + 1})
    on conflict (id) do update set base_url = excluded.base_url, hook_path = excluded.hook_path, token_ref = excluded.token_ref,
      version = excluded.version, updated_at = now(), probe_after = now(), booted_at = null`)
  await writeVersion(tx, 'gateway', gateway.id, version + 1, spec, actor)
}

async function writeAgent(tx: Tx, agent: AgentConfig, spec: Spec, version: number, actor: Actor): Promise<void> {
  await tx.execute(sql`
    insert into agents (id, gateway_id, gateway_agent_id, role, concurrency, capabilities, delegation, timeout_seconds, lease_seconds, enabled, version)
    values (${agent.id}, ${agent.gateway}, ${spec['gateway_agent_id']}, ${agent.role ?? null}, ${agent.concurrency},
      ${sql.param(agent.capabilities)}::text[], ${agent.delegation === undefined ? null : JSON.stringify(agent.delegation)}::jsonb, ${agent.timeout_seconds}, ${agent.lease_seconds}, ${agent.enabled}, ${version + 1})
    on conflict (id) do update set gateway_id = excluded.gateway_id, gateway_agent_id = excluded.gateway_agent_id, role = excluded.role,
      concurrency = excluded.concurrency, capabilities = excluded.capabilities, delegation = excluded.delegation, timeout_seconds = excluded.timeout_seconds,
      lease_seconds = excluded.lease_seconds, enabled = excluded.enabled, version = excluded.version, updated_at = now()`)
  await writeVersion(tx, 'agent', agent.id, version + 1, spec, actor)
}

async function writeVersion(tx: Tx, kind: 'gateway' | 'agent', id: string, version: number, spec: Spec, actor: Actor): Promise<void> {
  await tx.execute(sql`
    insert into fleet_versions (kind, id, version, spec, actor_kind, actor)
    values (${kind}, ${id}, ${version}, ${JSON.stringify(spec)}::jsonb, ${actor.kind}::actor_kind, ${actor.id})`)
}

async function disableUnnamed(tx: Tx, fleet: Fleet, known: Map<string, Known>, what: { readonly actor: Actor; readonly dryRun: boolean }): Promise<FleetChange[]> {
  const named = new Set<string>(fleet.agents.map((agent) => agent.id))
  const changes: FleetChange[] = []
  for (const agent of known.values()) {
    if (named.has(agent.id) || agent.spec['enabled'] === false) continue
    changes.push({ kind: 'agent', id: agent.id, change: 'disabled', fields: { enabled: { from: true, to: false } } })
    if (what.dryRun) continue
    await tx.execute(sql`update agents set enabled = false, version = version + 1, updated_at = now() where id = ${agent.id}`)
    await writeVersion(tx, 'agent', agent.id, agent.version + 1, { ...agent.spec, enabled: false }, what.actor)
  }
  return changes
}
