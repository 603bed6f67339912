import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import { observe } from './observe.js'

export type ControlScope = 'everything' | 'lane' | 'gateway' | 'agent'

/** Stops new work in a scope. What runs is left alone. @returns false when it was paused already */
export async function pause(tx: Tx, what: { readonly scope: ControlScope; readonly target: string; readonly reason: string; readonly actor: Actor }): Promise<boolean> {
  const { rows } = await tx.execute(sql`
    insert into controls (scope, target, reason, set_by_kind, set_by)
    values (${what.scope}::control_scope, ${what.target}, ${what.reason}, ${what.actor.kind}::actor_kind, ${what.actor.id})
    on conflict (scope, target) where lifted_at is null do nothing returning id`)
  if (rows.length === 0) return false
  await observe(tx, { kind: 'operator_action', code: 'paused', actor: what.actor, detail: what.reason, details: { scope: what.scope, target: what.target }, ...agentOf(what) })
  hintAfterCommit(tx, { fleet: true })
  return true
}

/** Lets new work start again. @returns false when it was not paused */
export async function resume(tx: Tx, what: { readonly scope: ControlScope; readonly target: string; readonly reason: string; readonly actor: Actor }): Promise<boolean> {
  const { rows } = await tx.execute(sql`
    update controls set lifted_at = clock_timestamp(), lifted_by = ${what.actor.id}
    where scope = ${what.scope}::control_scope and target = ${what.target} and lifted_at is null returning id`)
  if (rows.length === 0) return false
  await observe(tx, { kind: 'operator_action', code: 'resumed', actor: what.actor, detail: what.reason, details: { scope: what.scope, target: what.target }, ...agentOf(what) })
  hintAfterCommit(tx, { fleet: true })
  return true
}

function agentOf(what: { readonly scope: ControlScope; readonly target: string }): { agentId?: string; gatewayId?: string } {
  if (what.scope === 'agent') return { agentId: what.target }
  if (what.scope === 'gateway') return { gatewayId: what.target }
  return {}
}
