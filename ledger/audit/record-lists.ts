import { createHash } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Tx } from '../database.js'
import { XACT, type Checkpoint } from './checkpoint-text.js'
import { coveredBy, Eras, inEra, type Era, type Restore } from './eras.js'
import { HISTORIES, type History } from './histories.js'

/** Ids in one part of a list: some 40 kB. */
const PART = 1_000

/** A history in a range of transactions: which of its rows have numbers of this cluster, and up to which row a restore is recorded. */
export interface HistoryRange {
  readonly history: History
  readonly era: Era
  readonly restoredTo: bigint | null
}

export interface HistoryRestore extends Restore {
  readonly history: string
}

/** Selects each {@link HistoryRestore}, oldest first. */
export const HISTORY_RESTORES = `select r.history, r.checkpoint_seq as seq, c.restored_to::text as restored_to, r.restored_to::text as boundary
  from audit_checkpoint_records r join audit_checkpoints c on c.seq = r.checkpoint_seq where r.restored_to is not null order by r.checkpoint_seq`

const NO_RESTORE = new Eras([])

/** Which eras each history went through: their boundaries lie elsewhere in each table, and the restores are the same. */
export class HistoryEras {
  readonly #byTable: ReadonlyMap<string, Eras>
  readonly #all: readonly HistoryRestore[]

  constructor(restores: readonly HistoryRestore[]) {
    this.#all = restores
    const tables = new Set(restores.map(({ history }) => history))
    this.#byTable = new Map([...tables].map((table) => [table, new Eras(restores.filter(({ history }) => history === table))]))
  }

  /** The era that a checkpoint covers rows of a table of. */
  of(table: string, checkpoint: Pick<Checkpoint, 'seq' | 'restored_to'>): Era {
    return (this.#byTable.get(table) ?? NO_RESTORE).of(checkpoint)
  }

  /** The restore that ended the era of a checkpoint, by name; undefined while it lasts. */
  restoreAfter({ seq }: Pick<Checkpoint, 'seq'>): string | undefined {
    return this.#all.find((one) => one.seq >= seq)?.restored_to
  }

  /** Whether a restore was recorded after this checkpoint, or with it, and no other checkpoint of its era follows. */
  isLastOfItsEra(checkpoint: Pick<Checkpoint, 'seq' | 'restored_to'>): boolean {
    if (checkpoint.restored_to === null) return false
    return !this.#all.some(({ seq, restored_to }) => seq > checkpoint.seq && restored_to === checkpoint.restored_to)
  }
}

/** The eras of all histories as they are on record. */
export async function historyEras(tx: Tx): Promise<HistoryEras> {
  const { rows } = await tx.execute<HistoryRestore & Record<string, unknown>>(sql.raw(HISTORY_RESTORES))
  return new HistoryEras(rows)
}

/** The first transaction of a range that wrote one of the histories; undefined when there is none. */
export async function firstOfHistories(tx: Tx, ranges: readonly HistoryRange[], from: bigint, to: bigint): Promise<bigint | undefined> {
  const range = { xact_from: String(from), xact_to: String(to) }
  return extreme(tx, 'min', ranges, ({ history, era }) => coveredBy(range, era, history.id))
}

/** The last transaction, from one on, that wrote one of the histories; undefined when there is none. */
export async function lastOfHistories(tx: Tx, ranges: readonly HistoryRange[], from: bigint): Promise<bigint | undefined> {
  return extreme(tx, 'max', ranges, ({ history, era }) => `${XACT} >= ${from} and ${inEra(era, history.id)}`)
}

async function extreme(tx: Tx, which: 'min' | 'max', ranges: readonly HistoryRange[], rowsOf: (range: HistoryRange) => string): Promise<bigint | undefined> {
  const each = ranges.map((range) => `select ${which}(${XACT}) as xact from ${range.history.table} t where ${rowsOf(range)}`)
  const { rows } = await tx.execute<{ xact: string | null }>(sql.raw(`select ${which}(xact)::text as xact from (${each.join(' union all ')}) e`))
  const xact = rows[0]?.xact ?? null
  return xact === null ? undefined : BigInt(xact)
}

/**
 * Lists the rows of all histories for a checkpoint that is still to be written, a part at a time: after a migration, all that was there
 * before is one transaction. @returns how many, and the hash over the lists
 */
export async function listRecords(
  tx: Tx,
  seq: number,
  covered: { readonly from: bigint; readonly to: bigint; readonly histories: readonly HistoryRange[] },
): Promise<{ readonly records: number; readonly records_hash: string }> {
  const range = { xact_from: String(covered.from), xact_to: String(covered.to) }
  const written = await writtenIn(tx, covered.histories, range)
  const hash = new ListsHash()
  let records = 0
  for (const { history, era, restoredTo } of covered.histories) {
    if (restoredTo === null && !written.has(history.table)) continue
    const { table, id, text } = history
    // The hashes are taken after the sort, so that each fetch is short.
    await tx.execute(
      sql.raw(`declare listed no scroll cursor for select t.${id}::text as id, encode(sha256(convert_to(${text}, 'UTF8')), 'hex') as hash
      from (select t.* from ${table} t where ${coveredBy(range, era, id)} order by t.${id} offset 0) t`),
    )
    for (let part = 0; ; part += 1) {
      const { rows } = await tx.execute<{ id: string; hash: string }>(sql.raw(`fetch ${PART} from listed`))
      if (rows.length === 0 && (part > 0 || restoredTo === null)) break
      const ids = rows.map((row) => row.id).join(',')
      const hashes = Buffer.from(rows.map((row) => row.hash).join(''), 'hex')
      const restored = part === 0 && restoredTo !== null ? String(restoredTo) : null
      await tx.execute(sql`insert into audit_checkpoint_records (checkpoint_seq, history, part, restored_to, ids, hashes)
        values (${seq}, ${table}, ${part}, ${restored}::bigint, ${`{${ids}}`}::bigint[], ${hashes})`)
      hash.add({ checkpoint_seq: seq, history: table, part, restored_to: restored, ids, hashes })
      records += rows.length
      if (rows.length < PART) break
    }
    await tx.execute(sql`close listed`)
  }
  return { records, records_hash: hash.digest() }
}

/** The tables that have rows in a range: most have none in a minute. */
async function writtenIn(tx: Tx, ranges: readonly HistoryRange[], range: Parameters<typeof coveredBy>[0]): Promise<ReadonlySet<string>> {
  const each = ranges.map(({ history, era }) => `select '${history.table}' as history where exists (select from ${history.table} t where ${coveredBy(range, era, history.id)})`)
  const { rows } = await tx.execute<{ history: string }>(sql.raw(each.join(' union all ')))
  return new Set(rows.map(({ history }) => history))
}

/** A part of a list as it is read. */
export interface ListedPart {
  readonly checkpoint_seq: number
  readonly history: string
  readonly part: number
  readonly restored_to: string | null
  /** Joined by commas. */
  readonly ids: string
  readonly hashes: Buffer
}

/** Selects each {@link ListedPart}; in the order that their hash is taken in when ordered by checkpoint, history (as bytes) and part. */
export const LISTED_PARTS = `select checkpoint_seq, history, part, restored_to::text, array_to_string(ids, ',') as ids, hashes from audit_checkpoint_records`

/** The hash over the lists of a checkpoint, each part a line, by history and part. Computed outside of the database. */
export class ListsHash {
  readonly #hash = createHash('sha256')

  add({ history, part, restored_to, ids, hashes }: ListedPart): void {
    this.#hash.update(`${history} ${part} ${restored_to ?? ''} ${ids} ${hashes.toString('hex')}\n`)
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}

/** The rows of a part with their hashes, in hex. */
export function* rowsOfPart({ ids, hashes }: ListedPart): Generator<{ readonly id: string; readonly hash: string }> {
  if (ids === '') return
  for (const [at, id] of ids.split(',').entries()) yield { id, hash: hashes.toString('hex', at * 32, at * 32 + 32) }
}

/** The first number that no transaction of this cluster has had: a row that bears one from there on was restored. */
export const NOT_GIVEN_OUT = '(pg_snapshot_xmax(pg_current_snapshot())::text)::bigint'

/** Each history as a restore finds it: the boundary up to which its rows were restored. */
export async function restoredHistories(tx: Tx, eras: HistoryEras, at: { readonly seq: number; readonly covered: bigint }): Promise<HistoryRange[]> {
  const each = HISTORIES.map(({ table, id }) => {
    const era = eras.of(table, { seq: at.seq, restored_to: null })
    return `select '${table}' as history, greatest((select max(t.${id})::bigint from ${table} t where (${XACT} >= ${at.covered} or ${XACT} >= ${NOT_GIVEN_OUT}) and ${inEra(era, id)}),
      (select last_id from listed where history = '${table}'), ${era.after})::text as restored_to`
  })
  const listed = 'select history, max(l.id) as last_id from audit_checkpoint_records cross join unnest(ids) l (id) group by history'
  const { rows } = await tx.execute<{ history: string; restored_to: string }>(sql.raw(`with listed as materialized (${listed}) ${each.join(' union all ')}`))
  const boundaries = new Map(rows.map(({ history, restored_to }) => [history, BigInt(restored_to)]))
  return HISTORIES.map((history) => {
    const restoredTo = boundaries.get(history.table) ?? 0n
    const { after } = eras.of(history.table, { seq: at.seq, restored_to: null })
    return { history, era: { after, upTo: restoredTo }, restoredTo }
  })
}
