import { sql } from 'drizzle-orm'
import type { Actor } from '../../contracts/actor.js'
import type { RetentionConfig } from '../../contracts/retention.js'
import { ADVISORY } from '../advisory-locks.js'
import { inTransaction, type Db, type Tx } from '../database.js'
import { readPolicy } from '../policies.js'
import { PRUNE_RULES, type PruneKind, type PruneRule } from './kinds.js'
import { byKey, PruneRoot } from './prune-root.js'

/** Rows per transaction: short enough that nobody waits for its locks. */
const BATCH = 1_000
/** One at a time over all processes: each row of `prunes` follows the one before. */

export interface PruneOptions {
  readonly nowMs: number
  readonly actor: Actor
  /** Only counts; nothing is changed. */
  readonly dryRun: boolean
  readonly batch?: number
  /** After each batch, with all that was pruned of the kind so far. */
  readonly onBatch?: (progress: Pruned) => void
}

/** What became of one kind of row: none of it was touched when no rule is in force for it. */
export interface Pruned {
  readonly kind: PruneKind
  readonly days: number
  readonly before: string
  readonly rows: number
  readonly batches: number
}

/**
 * Takes out what the retention rules in force no longer keep, oldest kinds of text first, in batches that are each a
 * transaction and a row of `prunes`. A run that is stopped has pruned whole batches; the next one goes on.
 * @returns a line per rule in force; none when no fleet file has named any
 */
export async function pruneLedger(db: Db, options: PruneOptions): Promise<Pruned[]> {
  const { config, version } = await readPolicy(db, 'retention')
  const done: Pruned[] = []
  for (const rule of PRUNE_RULES) {
    const days = config[rule.days satisfies keyof RetentionConfig]
    if (days === undefined) continue
    const before = new Date(options.nowMs - days * 86_400_000).toISOString()
    done.push(await pruneKind(db, rule, { kind: rule.kind, days, before, rows: 0, batches: 0 }, version, options))
  }
  return done
}

async function pruneKind(db: Db, rule: PruneRule, start: Pruned, version: number, options: PruneOptions): Promise<Pruned> {
  const limit = options.batch ?? BATCH
  let [pruned, after] = [start, rule.first]
  for (;;) {
    const range = { before: start.before, after, limit }
    const batch = options.dryRun ? await candidates(db, rule, range) : await inTransaction(db, (tx) => pruneBatch(tx, rule, range, version, options.actor))
    const last = batch.at(-1)
    if (last === undefined) return pruned
    after = last.cursor
    pruned = { ...pruned, rows: pruned.rows + batch.length, batches: pruned.batches + 1 }
    options.onBatch?.(pruned)
    if (batch.length < limit) return pruned
  }
}

type Range = Parameters<PruneRule['candidates']>[0]
type Candidate = { readonly cursor: string; readonly key: string; readonly hash: string }

async function candidates(db: Db | Tx, rule: PruneRule, range: Range): Promise<readonly Candidate[]> {
  const { rows } = await db.execute<Candidate>(rule.candidates(range))
  return rows
}

async function pruneBatch(tx: Tx, rule: PruneRule, range: Range, version: number, actor: Actor): Promise<readonly Candidate[]> {
  await tx.execute(sql`select pg_advisory_xact_lock(${ADVISORY.prune})`)
  const batch = await candidates(tx, rule, range)
  // A log is cut by its range; the others by the keys themselves, which have no order in time.
  const [first, last] = [batch[0], batch.at(-1)]
  if (first === undefined || last === undefined) return []
  const root = new PruneRoot()
  for (const row of byKey(batch)) root.add(row)
  const { rows } = await tx.execute<{ seq: number }>(sql`
    insert into prunes (seq, kind, before, rows, first_key, last_key, root, policy_version, actor_kind, actor)
    values ((select coalesce(max(seq), 0) + 1 from prunes), ${rule.kind}, ${range.before}::timestamptz, ${batch.length}, ${first.key}, ${last.key},
      decode(${root.digest()}, 'hex'), ${version}, ${actor.kind}::actor_kind, ${actor.id})
    returning seq`)
  const seq = rows[0]?.seq
  if (seq === undefined) throw new Error('a prune has no number')
  const taken = await tx.execute(rule.take({ seq, keys: batch.map(({ key }) => key), hashes: batch.map(({ hash }) => hash) }))
  if (taken.rowCount !== batch.length) throw new Error(`${rule.kind}: ${batch.length} rows were to be pruned, ${taken.rowCount ?? 0} were`)
  return batch
}
