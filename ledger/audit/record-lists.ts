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

/** Each part of a list as one line; what `records_hash` covers is all of them, by history and part. */
const LINE = `concat(history, ' ', part, ' ', restored_to, ' ', array_to_string(ids, ','), ' ', encode(hashes, 'hex'), E'\\n')`

/** Lists the rows of all histories for a checkpoint that is still to be written. @returns how many, and the hash over the lists */
export async function listRecords(
  tx: Tx,
  seq: number,
  covered: { readonly from: bigint; readonly to: bigint; readonly histories: readonly HistoryRange[] },
): Promise<{ readonly records: number; readonly records_hash: string }> {
  const range = { xact_from: String(covered.from), xact_to: String(covered.to) }
  const each = covered.histories.map(
    ({ history, era }) =>
      `select '${history.table}' as history, t.${history.id}::bigint as id, t.xact, sha256(convert_to(${history.text}, 'UTF8')) as hash from ${history.table} t where ${coveredBy(range, era, history.id)}`,
  )
  const boundaries = covered.histories.map(({ history, restoredTo }) => `('${history.table}', ${restoredTo ?? 'null'}::bigint)`)
  await tx.execute(
    sql.raw(`
    insert into audit_checkpoint_records (checkpoint_seq, history, part, restored_to, ids, hashes)
    with records as (${each.join(' union all ')}),
    placed as (select *, (row_number() over (partition by history order by xact, id) - 1) / ${PART} as part from records),
    parts as (select history, part, array_agg(id order by xact, id) as ids, string_agg(hash, ''::bytea order by xact, id) as hashes from placed group by history, part)
    select ${seq}, b.history, coalesce(p.part, 0), case when coalesce(p.part, 0) = 0 then b.restored_to end, coalesce(p.ids, '{}'), coalesce(p.hashes, '')
    from (values ${boundaries.join(', ')}) b (history, restored_to) left join parts p on p.history = b.history
    where p.part is not null or b.restored_to is not null`),
  )
  const { rows } = await tx.execute<{ records: number; records_hash: string }>(
    sql.raw(`select coalesce(sum(cardinality(ids)), 0)::int as records,
      encode(sha256(convert_to(coalesce(string_agg(${LINE}, '' order by history collate "C", part), ''), 'UTF8')), 'hex') as records_hash
      from audit_checkpoint_records where checkpoint_seq = ${seq}`),
  )
  if (rows[0] === undefined) throw new Error('a count is missing')
  return rows[0]
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

/** The hash over the lists of a checkpoint, computed outside of the database. */
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

/** Each history as a restore finds it: the boundary up to which its rows were restored. */
export async function restoredHistories(tx: Tx, eras: HistoryEras, at: { readonly seq: number; readonly covered: bigint }): Promise<HistoryRange[]> {
  const each = HISTORIES.map(({ table, id }) => {
    const era = eras.of(table, { seq: at.seq, restored_to: null })
    return `select '${table}' as history, greatest((select max(t.${id})::bigint from ${table} t where ${XACT} >= ${at.covered} and ${inEra(era, id)}),
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
