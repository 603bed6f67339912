import { sql } from 'drizzle-orm'
import { ADVISORY } from '../advisory-locks.js'
import { inTransaction, type Db, type Tx } from '../database.js'
import { NOTHING_BEFORE, XACT, type Checkpoint } from './checkpoint-text.js'
import { beginsAt, inEra, type Era, type Eras } from './eras.js'
import { HISTORIES } from './histories.js'
import { restoredHistories, type HistoryRange } from './record-lists.js'
import type { Signer } from './signing.js'
import { endedBelow, endOfEra, firstTransaction, lastCheckpoint, lesserOf, MOST_TRANSACTIONS, wasTaken, writeCheckpoint } from './write-checkpoint.js'

/**
 * What came of it. `rows_in_the_past`: there are rows which no checkpoint knows though it should, and which were not written
 * after the restore either; nothing was recorded, and `agentbus verify` names them.
 */
export type RecordedRestore =
  | {
      readonly kind: 'recorded'
      /** One, or several when much was not covered yet; the last one ends the era. */
      readonly checkpoints: readonly Checkpoint[]
      /** Rows that were written between the restore and now; they belong to the new era. */
      readonly writtenSince: number
    }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'busy' }
  | { readonly kind: 'rows_in_the_past'; readonly jobId: string; readonly seq: number }

/**
 * To be called once after the ledger was restored from a dump, best before the bus writes again: records the restore as a chained
 * checkpoint that covers what the dump held beyond its last one, and begins a new era, in which transactions count from the
 * beginning. Checkpoints from before go on to cover the rows that were dumped. All or nothing; waits for transactions that
 * write history, and keeps new ones waiting meanwhile.
 */
export async function recordRestore(db: Db, options: { readonly signer: Signer | undefined; readonly mostTransactions?: number }): Promise<RecordedRestore> {
  try {
    return await inTransaction(db, async (tx) => {
      await tx.execute(sql`set transaction isolation level repeatable read`)
      await tx.execute(sql`set local statement_timeout = 0`)
      // Before the snapshot: whatever was given an id by then is seen, and what comes gets a higher one.
      await tx.execute(sql.raw(`lock table job_transitions, ${HISTORIES.map(({ table }) => table).join(', ')} in share mode`))
      const { rows } = await tx.execute<{ got: boolean }>(sql`select pg_try_advisory_xact_lock(${ADVISORY.checkpoint}) as got`)
      if (rows[0]?.got !== true) return { kind: 'busy' }
      return endEra(tx, options.signer, BigInt(options.mostTransactions ?? MOST_TRANSACTIONS))
    })
  } catch (error) {
    if (wasTaken(error)) return { kind: 'busy' }
    throw error
  }
}

async function endEra(tx: Tx, signer: Signer | undefined, most: bigint): Promise<RecordedRestore> {
  const known = await lastCheckpoint(tx)
  let { last, eras } = known
  const boundary = await boundaryOf(tx, last, eras)
  if ('kind' in boundary) return boundary
  const { restoredTo, writtenSince } = boundary
  const histories = await restoredHistories(tx, known.historyEras, { seq: (last?.seq ?? 0) + 1, covered: BigInt(beginsAt(last, null)) })
  await raiseIds(tx, restoredTo, histories)
  const checkpoints: Checkpoint[] = []
  for (;;) {
    const seq = (last?.seq ?? 0) + 1
    const from = BigInt(beginsAt(last, String(restoredTo)))
    const era: Era = { after: eras.of({ seq, restored_to: String(restoredTo) }).after, upTo: restoredTo }
    const end = await endOfEra(tx, { era, histories }, from)
    const first = await firstTransaction(tx, { era, histories }, from, end)
    const to = first === undefined ? end : lesserOf(first + most, end)
    const checkpoint = await writeCheckpoint(tx, { seq, prevHash: last?.hash ?? NOTHING_BEFORE, from, to, era, restoredTo, histories }, signer)
    checkpoints.push(checkpoint)
    if (to === end) return { kind: 'recorded', checkpoints, writtenSince }
    ;({ last, eras } = await lastCheckpoint(tx))
  }
}

/**
 * The highest id that was restored. Rows of the new cluster are told from restored ones by what checkpoints know: below the
 * transaction up to which they reach, each restored row is in the list of one of them.
 */
async function boundaryOf(
  tx: Tx,
  last: Checkpoint | undefined,
  eras: Eras,
): Promise<{ readonly restoredTo: bigint; readonly writtenSince: number } | Exclude<RecordedRestore, { kind: 'recorded' }>> {
  const covered = BigInt(beginsAt(last, null))
  const era = eras.of({ seq: (last?.seq ?? 0) + 1, restored_to: null })
  const unknown = `t.seq > coalesce(m.last_seq, 0) and ${XACT} < ${covered} and ${inEra(era)}`
  const rowsAndLists = 'from job_transitions t left join (select job_id, max(last_seq) as last_seq from audit_checkpoint_jobs group by job_id) m on m.job_id = t.job_id'
  const { rows } = await tx.execute<{ restored_to: string | null; first_new: string | null; written: number }>(
    sql.raw(`select max(t.id) filter (where not (${unknown}))::text as restored_to, min(t.id) filter (where ${unknown})::text as first_new,
      (count(*) filter (where ${unknown}))::int as written ${rowsAndLists}`),
  )
  const found = rows[0]
  if (found === undefined || (found.restored_to === null && last === undefined)) return { kind: 'nothing' }
  const restoredTo = nameOf(eras, BigInt(found.restored_to ?? 0))
  const isNewEra = found.first_new === null || ((await endedBelow(tx)) < covered && BigInt(found.first_new) > restoredTo)
  if (isNewEra) return { restoredTo, writtenSince: found.written }
  const first = await tx.execute<{ job_id: string; seq: number }>(sql`select job_id, seq from job_transitions where id = ${found.first_new}::bigint`)
  return { kind: 'rows_in_the_past', jobId: first.rows[0]?.job_id ?? '', seq: first.rows[0]?.seq ?? 0 }
}

/** Ids that are left out after a restore, for the names of restores between which no job moves. */
const LEFT_OUT = 1_000n

/** Each restore has a boundary of its own, also when no job moved since the last one: what else was written in between has its own era. */
function nameOf({ newest }: Eras, restoredTo: bigint): bigint {
  return newest !== undefined && restoredTo <= newest ? newest + 1n : restoredTo
}

/** New rows must get ids above all that were restored. A dump says so itself; a copy of the tables does not. */
async function raiseIds(tx: Tx, restoredTo: bigint, histories: readonly HistoryRange[]): Promise<void> {
  const reached = [
    { table: 'job_transitions', id: 'id', to: restoredTo + LEFT_OUT },
    ...histories.map(({ history, restoredTo: to }) => ({ table: history.table, id: history.id, to: to ?? 0n })),
  ]
  const highest = reached.map(({ table, id, to }) => `select '${table}' as relation, '${id}' as id, greatest(max(t.${id})::bigint, ${to}) as highest from ${table} t`)
  await tx.execute(
    sql.raw(`
    select setval(s.name::regclass, h.highest) from (${highest.join(' union all ')}) h, lateral (select pg_get_serial_sequence(h.relation, h.id) as name) s
    where s.name is not null and h.highest > coalesce((select last_value from pg_sequences where schemaname || '.' || sequencename = s.name), 0)`),
  )
}
