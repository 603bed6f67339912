import { sql } from 'drizzle-orm'
import type { Db } from './database.js'

/** What the ledger expects the queue store to say of itself. */
export interface Epoch {
  readonly epoch: string
  readonly tick: number
  readonly rebuilds: number
  readonly rebuilding: boolean
}

/** The epoch in force, or undefined on a new ledger. */
export async function readEpoch(db: Db): Promise<Epoch | undefined> {
  const { rows } = await db.execute(sql`
    select epoch, tick, rebuilds, coalesce(rebuilding_until > clock_timestamp(), false) as rebuilding from queue_epochs`)
  const row = rows[0]
  if (row === undefined) return undefined
  return { epoch: String(row['epoch']), tick: Number(row['tick']), rebuilds: Number(row['rebuilds']), rebuilding: row['rebuilding'] === true }
}

/**
 * Claims the right to rebuild the store under `nextEpoch`. Exactly one process gets it; a claim of one that died
 * runs out after `leaseSeconds`.
 */
export async function claimRebuild(
  db: Db,
  request: { readonly expected: string | undefined; readonly nextEpoch: string; readonly by: string; readonly leaseSeconds: number },
): Promise<boolean> {
  if (request.expected === undefined) {
    const { rows } = await db.execute(sql`
      insert into queue_epochs (epoch, rebuilding_until, rebuilding_by)
      values (${request.nextEpoch}::uuid, clock_timestamp() + make_interval(secs => ${request.leaseSeconds}), ${request.by})
      on conflict do nothing returning id`)
    return rows.length > 0
  }
  const { rows } = await db.execute(sql`
    update queue_epochs set epoch = ${request.nextEpoch}::uuid, tick = 0, ticked_at = clock_timestamp(),
      rebuilding_until = clock_timestamp() + make_interval(secs => ${request.leaseSeconds}), rebuilding_by = ${request.by}
    where epoch = ${request.expected}::uuid and (rebuilding_until is null or rebuilding_until < clock_timestamp())
    returning id`)
  return rows.length > 0
}

/** Keeps the claim alive while batches are written. */
export async function extendRebuild(db: Db, request: { readonly by: string; readonly leaseSeconds: number }): Promise<void> {
  await db.execute(sql`
    update queue_epochs set rebuilding_until = clock_timestamp() + make_interval(secs => ${request.leaseSeconds}) where rebuilding_by = ${request.by}`)
}

/** The store is whole again. */
export async function finishRebuild(db: Db, by: string): Promise<void> {
  await db.execute(sql`update queue_epochs set rebuilding_until = null, rebuilding_by = null, rebuilds = rebuilds + 1 where rebuilding_by = ${by}`)
}

/** Claims the right to write the next tick; one process gets it per second. */
export async function claimTick(db: Db, epoch: string): Promise<boolean> {
  const { rows } = await db.execute(sql`
    update queue_epochs set ticked_at = clock_timestamp()
    where epoch = ${epoch}::uuid and ticked_at < clock_timestamp() - interval '900 milliseconds'
    returning id`)
  return rows.length > 0
}

/** Remembers a tick that the store has acknowledged: a store that later shows an older one has fallen back to a copy. */
export async function recordTick(db: Db, epoch: string, tick: number): Promise<void> {
  await db.execute(sql`update queue_epochs set tick = greatest(tick, ${tick}) where epoch = ${epoch}::uuid`)
}
