import { sql } from 'drizzle-orm'
import { ADVISORY } from '../advisory-locks.js'
import { inTransaction, type Db, type Tx } from '../database.js'
import { NOTHING_BEFORE, type Checkpoint } from './checkpoint-text.js'
import { beginsAt } from './eras.js'
import { HISTORIES } from './histories.js'
import type { Signer } from './signing.js'
import { endedBelow, firstTransaction, hasMoves, lastCheckpoint, lesserOf, MOST_TRANSACTIONS, wasTaken, writeCheckpoint, type CheckpointRange } from './write-checkpoint.js'

/**
 * What came of it. `behind`: this cluster's transaction numbers are below those of the last checkpoint, as after a dump was
 * restored into a new cluster; what is written now would count as covered until `recordRestore` has begun a new era.
 */
export type Taken =
  { readonly kind: 'taken'; readonly checkpoint: Checkpoint } | { readonly kind: 'nothing' } | { readonly kind: 'busy' } | { readonly kind: 'behind'; readonly last: string }

/**
 * Takes one checkpoint over the rows that no checkpoint covers yet, in one transaction and from one snapshot. Only
 * transactions older than every one that still runs count: a row of theirs cannot turn up later in the range.
 */
export async function takeCheckpoint(db: Db, options: { readonly signer: Signer | undefined; readonly mostTransactions?: number }): Promise<Taken> {
  try {
    return await inTransaction(db, async (tx) => {
      await tx.execute(sql`set transaction isolation level repeatable read`)
      const { rows } = await tx.execute<{ got: boolean }>(sql`select pg_try_advisory_xact_lock(${ADVISORY.checkpoint}) as got`)
      if (rows[0]?.got !== true) return { kind: 'busy' }
      const range = await nextRange(tx, BigInt(options.mostTransactions ?? MOST_TRANSACTIONS))
      return 'kind' in range ? range : { kind: 'taken', checkpoint: await writeCheckpoint(tx, range, options.signer) }
    })
  } catch (error) {
    // Another process took it between the snapshot and the lock.
    if (wasTaken(error)) return { kind: 'busy' }
    throw error
  }
}

async function nextRange(tx: Tx, most: bigint): Promise<CheckpointRange | Exclude<Taken, { kind: 'taken' }>> {
  const { last, eras, historyEras } = await lastCheckpoint(tx)
  const from = BigInt(beginsAt(last, null))
  const ended = await endedBelow(tx)
  if (ended < from) return { kind: 'behind', last: String(from) }
  const seq = (last?.seq ?? 0) + 1
  const here = { seq, restored_to: null }
  const histories = HISTORIES.map((history) => ({ history, era: historyEras.of(history.table, here), restoredTo: null }))
  const rows = { era: eras.of(here), histories }
  const short = lesserOf(from + most, ended)
  // On a busy bus nothing is to be skipped, and to ask every history where it begins costs as much as the rest.
  if (await hasMoves(tx, rows.era, from, short)) return { seq, prevHash: last?.hash ?? NOTHING_BEFORE, from, to: short, ...rows, restoredTo: null }
  // Asked for a short range first: the whole of what is not covered may be long.
  const first = (await firstTransaction(tx, rows, from, short)) ?? (await firstTransaction(tx, rows, from, ended))
  if (first === undefined) return { kind: 'nothing' }
  return { seq, prevHash: last?.hash ?? NOTHING_BEFORE, from, to: lesserOf(first + most, ended), ...rows, restoredTo: null }
}
