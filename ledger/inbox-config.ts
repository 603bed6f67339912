import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { FleetChange } from '../contracts/fleet.js'
import { InboxConfig } from '../contracts/inbox.js'
import type { Db, Tx } from './database.js'
import { differences } from './differences.js'

/** The inbox rules in force, and their version; 0 while no fleet file has named any. */
export async function readInboxConfig(db: Db | Tx): Promise<{ config: InboxConfig; version: number }> {
  const { rows } = await db.execute(sql`
    select spec, version from fleet_versions where kind = 'inbox' and id = 'default' order by version desc limit 1`)
  const row = rows[0]
  if (row === undefined) return { config: InboxConfig.parse({}), version: 0 }
  return { config: InboxConfig.parse(row['spec']), version: Number(row['version']) }
}

/** Puts the inbox rules of a fleet file in force: a change is a new version. */
export async function applyInboxConfig(tx: Tx, config: InboxConfig, what: { readonly actor: Actor; readonly dryRun: boolean }): Promise<FleetChange> {
  const known = await readInboxConfig(tx)
  const fields = differences(known.version === 0 ? undefined : known.config, config)
  const changed = known.version === 0 || Object.keys(fields).length > 0
  if (changed && !what.dryRun) {
    await tx.execute(sql`
      insert into fleet_versions (kind, id, version, spec, actor_kind, actor)
      values ('inbox', 'default', ${known.version + 1}, ${JSON.stringify(config)}::jsonb, ${what.actor.kind}::actor_kind, ${what.actor.id})`)
  }
  if (!changed) return { kind: 'inbox', id: 'default', change: 'unchanged', fields }
  return { kind: 'inbox', id: 'default', change: known.version === 0 ? 'added' : 'changed', fields }
}
