import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AlertsConfig } from '../contracts/alerts.js'
import { AuthorityConfig, BlockedConfig, type Right } from '../contracts/authority.js'
import { AgentbusError } from '../contracts/errors.js'
import type { Fleet, FleetChange } from '../contracts/fleet.js'
import { LimitsConfig } from '../contracts/limits.js'
import { RetentionConfig } from '../contracts/retention.js'
import { ReactionsConfig } from '../contracts/subscriptions.js'
import { actorOf, type Caller } from './caller.js'
import type { Db, Tx } from './database.js'
import { differences } from './differences.js'

/** The sections of the fleet file that are one set of rules each. */
const POLICIES = { reactions: ReactionsConfig, alerts: AlertsConfig, blocked: BlockedConfig, authority: AuthorityConfig, limits: LimitsConfig, retention: RetentionConfig } as const
type Policies = {
  readonly alerts: AlertsConfig
  readonly reactions: ReactionsConfig
  readonly blocked: BlockedConfig
  readonly authority: AuthorityConfig
  readonly limits: LimitsConfig
  readonly retention: RetentionConfig
}
export type PolicyName = keyof Policies

/** The rules in force, and their version; 0 while no fleet file has named any. */
export async function readPolicy<N extends PolicyName>(db: Db | Tx, name: N): Promise<{ readonly config: Policies[N]; readonly version: number }> {
  const { rows } = await db.execute(sql`
    select spec, version from fleet_versions where kind = 'policy' and id = ${name} order by version desc limit 1`)
  const row = rows[0]
  return { config: POLICIES[name].parse(row?.['spec'] ?? {}) as Policies[N], version: Number(row?.['version'] ?? 0) }
}

/** Puts the sections that a fleet file has in force: a change is a new version. A section that is absent stays. */
export async function applyPolicies(tx: Tx, fleet: Fleet, what: { readonly actor: Actor; readonly dryRun: boolean }): Promise<FleetChange[]> {
  const changes: FleetChange[] = []
  for (const name of Object.keys(POLICIES) as PolicyName[]) {
    const wanted = fleet[name]
    if (wanted === undefined) continue
    const known = await readPolicy(tx, name)
    const fields = differences(known.version === 0 ? undefined : known.config, wanted)
    const changed = known.version === 0 || Object.keys(fields).length > 0
    changes.push({ kind: 'policy', id: name, change: !changed ? 'unchanged' : known.version === 0 ? 'added' : 'changed', fields })
    if (!changed || what.dryRun) continue
    await tx.execute(sql`
      insert into fleet_versions (kind, id, version, spec, actor_kind, actor)
      values ('policy', ${name}, ${known.version + 1}, ${JSON.stringify(wanted)}::jsonb, ${what.actor.kind}::actor_kind, ${what.actor.id})`)
  }
  return changes
}

/** Whether a caller may see all that a right is about: operators and auditors do, and the agents that hold it. */
export async function seesAllOf(db: Db | Tx, caller: Caller, right: Right): Promise<boolean> {
  if (caller.role !== 'agent' && caller.role !== 'attempt') return true
  const { config } = await readPolicy(db, 'authority')
  return (config[right] as readonly string[]).includes(caller.agentId)
}

/**
 * Whether the caller has a right that operators have and the fleet file gives to some agents. An attempt has the rights of
 * its agent. @throws AGENTBUS_FORBIDDEN naming the rule
 */
export async function requireRight(db: Db | Tx, caller: Caller, right: Right, what: string): Promise<void> {
  if (caller.role === 'operator' || caller.role === 'internal') return
  const { config } = await readPolicy(db, 'authority')
  const holders: readonly string[] = config[right]
  if (caller.role !== 'auditor' && holders.includes(caller.agentId)) return
  const who = holders.length === 0 ? 'no agent may' : `of the agents, ${holders.join(', ')} may`
  throw new AgentbusError('AGENTBUS_FORBIDDEN', `${actorOf(caller).id} may not ${what}; authority.${right} says: ${who}.`, { right, holders })
}
