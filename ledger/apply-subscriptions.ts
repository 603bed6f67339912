import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { FleetChange } from '../contracts/fleet.js'
import { uuidv7 } from '../contracts/ids.js'
import { SubscriptionConfig } from '../contracts/subscriptions.js'
import type { Tx } from './database.js'
import { differences } from './differences.js'

export interface KnownSubscription {
  readonly id: string
  readonly version: number
  readonly definition: SubscriptionConfig
}

interface Apply {
  readonly actor: Actor
  readonly dryRun: boolean
  /** Those that are not named are disabled, never deleted: what they made stays explained. */
  readonly prune: boolean
  readonly nowMs: number
}

/** What a subscription is called in lists of changes and in `fleet_versions`. */
export function subscriptionKey({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return namespace === 'default' ? name : `${namespace}/${name}`
}

/** Brings subscriptions to what is asked for. A change is a new version, in force for the next event. */
export async function applySubscriptions(tx: Tx, wanted: readonly SubscriptionConfig[], what: Apply): Promise<FleetChange[]> {
  const known = await knownSubscriptions(tx)
  const changes: FleetChange[] = []
  const named = new Set<string>()
  for (const definition of wanted) {
    const id = subscriptionKey(definition)
    named.add(id)
    const before = known.get(id)
    const fields = differences(before?.definition, definition)
    const unchanged = before !== undefined && Object.keys(fields).length === 0
    changes.push({ kind: 'subscription', id, change: before === undefined ? 'added' : unchanged ? 'unchanged' : 'changed', fields })
    if (!unchanged && !what.dryRun) await write(tx, definition, before, what)
  }
  for (const [id, before] of what.prune ? known : []) {
    if (named.has(id) || !before.definition.enabled) continue
    changes.push({ kind: 'subscription', id, change: 'disabled', fields: { enabled: { from: true, to: false } } })
    if (!what.dryRun) await write(tx, { ...before.definition, enabled: false }, before, what)
  }
  return changes
}

export async function knownSubscriptions(tx: Tx): Promise<Map<string, KnownSubscription>> {
  const { rows } = await tx.execute(sql`select id, namespace, name, version, definition from subscriptions for no key update`)
  return new Map(
    rows.map((row) => [
      subscriptionKey({ namespace: String(row['namespace']), name: String(row['name']) }),
      { id: String(row['id']), version: Number(row['version']), definition: SubscriptionConfig.parse(row['definition']) },
    ]),
  )
}

async function write(tx: Tx, definition: SubscriptionConfig, before: KnownSubscription | undefined, { actor, nowMs }: Apply): Promise<void> {
  const version = (before?.version ?? 0) + 1
  const spec = JSON.stringify(definition)
  await tx.execute(sql`
    insert into subscriptions (id, namespace, name, agent_id, topic, definition, enabled, version)
    values (${before?.id ?? uuidv7(nowMs)}::uuid, ${definition.namespace}, ${definition.name}, ${definition.agent}, ${definition.topic},
      ${spec}::jsonb, ${definition.enabled}, ${version})
    on conflict (id) do update set agent_id = excluded.agent_id, topic = excluded.topic, definition = excluded.definition, enabled = excluded.enabled,
      version = excluded.version, updated_at = clock_timestamp()`)
  await tx.execute(sql`
    insert into fleet_versions (kind, id, version, spec, actor_kind, actor)
    values ('subscription', ${subscriptionKey(definition)}, ${version}, ${spec}::jsonb, ${actor.kind}::actor_kind, ${actor.id})`)
}
