import { sql } from 'drizzle-orm'
import { constraintOf, type Db, type Tx } from '../database.js'
import { CHECKPOINT_COLUMNS, checkpointHash, XACT, type Checkpoint } from './checkpoint-text.js'
import { coveredBy, Eras, inEra, RESTORES, type Era, type Restore } from './eras.js'
import { MerkleRoot } from './merkle.js'
import { firstOfHistories, historyEras, lastOfHistories, listRecords, type HistoryEras, type HistoryRange } from './record-lists.js'
import type { Signer } from './signing.js'

/** Transactions that one checkpoint covers at most: a few ten thousand rows, a second of work. */
export const MOST_TRANSACTIONS = 10_000n
/** Rows at a time: little enough that hashing them holds up nothing else in this process. */
const FETCH = 500

/** What a new checkpoint is to cover, and what it follows. */
export interface CheckpointRange {
  readonly seq: number
  readonly prevHash: string
  readonly from: bigint
  readonly to: bigint
  readonly era: Era
  /** Set when it records a restore. */
  readonly restoredTo: bigint | null
  readonly histories: readonly HistoryRange[]
}

const BY_ANOTHER = new Set(['audit_checkpoints_pkey', 'audit_checkpoint_records_checkpoint_seq_history_part_pk'])

/** Whether a checkpoint could not be written because another process has written the same one. */
export function wasTaken(error: unknown): boolean {
  return BY_ANOTHER.has(constraintOf(error) ?? '')
}

export const lesserOf = (a: bigint, b: bigint): bigint => (a < b ? a : b)

/** The last checkpoint, if there is one, and every restore. */
export async function lastCheckpoint(tx: Tx): Promise<{ readonly last: Checkpoint | undefined; readonly eras: Eras; readonly historyEras: HistoryEras }> {
  const { rows } = await tx.execute<Checkpoint & Record<string, unknown>>(sql.raw(`select ${CHECKPOINT_COLUMNS} from audit_checkpoints c order by c.seq desc limit 1`))
  const restores = await tx.execute<Restore & Record<string, unknown>>(sql.raw(RESTORES))
  return { last: rows[0], eras: new Eras(restores.rows), historyEras: await historyEras(tx) }
}

/** The oldest transaction that still runs: all below it have ended. */
export async function endedBelow(db: Db | Tx): Promise<bigint> {
  const { rows } = await db.execute<{ ended: string }>(sql`select pg_snapshot_xmin(pg_current_snapshot())::text as ended`)
  return BigInt(rows[0]?.ended ?? 0)
}

/** Whether a job moved in a range. */
export async function hasMoves(tx: Tx, era: Era, from: bigint, to: bigint): Promise<boolean> {
  const range = coveredBy({ xact_from: String(from), xact_to: String(to) }, era)
  const { rows } = await tx.execute<{ moved: boolean }>(sql.raw(`select exists (select from job_transitions t where ${range}) as moved`))
  return rows[0]?.moved === true
}

/** The first transaction of a range that wrote history; undefined when there is none. */
export async function firstTransaction(tx: Tx, { era, histories }: Pick<CheckpointRange, 'era' | 'histories'>, from: bigint, to: bigint): Promise<bigint | undefined> {
  const range = coveredBy({ xact_from: String(from), xact_to: String(to) }, era)
  const { rows } = await tx.execute<{ first: string | null }>(sql.raw(`select min(${XACT})::text as first from job_transitions t where ${range}`))
  const ofJobs = rows[0]?.first ?? null
  const ofOthers = await firstOfHistories(tx, histories, from, to)
  if (ofJobs === null) return ofOthers
  return ofOthers === undefined ? BigInt(ofJobs) : lesserOf(BigInt(ofJobs), ofOthers)
}

/** The transaction after the last one of an era, as far as rows tell; `from` when no row is at or above it. */
export async function endOfEra(tx: Tx, { era, histories }: Pick<CheckpointRange, 'era' | 'histories'>, from: bigint): Promise<bigint> {
  const { rows } = await tx.execute<{ last: string | null }>(sql.raw(`select max(${XACT})::text as last from job_transitions t where ${XACT} >= ${from} and ${inEra(era)}`))
  const ends = [rows[0]?.last ?? null, (await lastOfHistories(tx, histories, from)) ?? null].map((last) => (last === null ? from : BigInt(last) + 1n))
  return ends.reduce((one, other) => (one > other ? one : other))
}

/** Writes one checkpoint over the rows that this transaction sees in the range. Memory is bounded by a page and the tree's levels. */
export async function writeCheckpoint(tx: Tx, range: CheckpointRange, signer: Signer | undefined): Promise<Checkpoint> {
  const covered = sql.raw(coveredBy({ xact_from: String(range.from), xact_to: String(range.to) }, range.era))
  const tree = new MerkleRoot()
  let [firstId, lastId] = ['0', '0']
  await tx.execute(sql`declare covered no scroll cursor for select t.id::text as id, t.hash from job_transitions t where ${covered} order by t.xact, t.id`)
  for (;;) {
    const { rows } = await tx.execute<{ id: string; hash: Buffer }>(sql.raw(`fetch ${FETCH} from covered`))
    for (const row of rows) tree.add(row.hash)
    if (firstId === '0') firstId = rows[0]?.id ?? '0'
    lastId = rows.at(-1)?.id ?? lastId
    if (rows.length < FETCH) break
  }
  await tx.execute(sql`close covered`)
  const grouped = sql`
    select t.job_id, min(t.seq) as first_seq, max(t.seq) as last_seq, (array_agg(t.hash order by t.seq desc))[1] as last_hash
    from job_transitions t where ${covered} group by t.job_id`
  const { rows } = await tx.execute<{ jobs: number; jobs_hash: string; created_at: string }>(sql`
    select count(*)::int as jobs, to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at,
      encode(sha256(convert_to(coalesce(string_agg(j.job_id || ' ' || j.first_seq || ' ' || j.last_seq || ' ' || encode(j.last_hash, 'hex') || E'\n', '' order by j.job_id), ''), 'UTF8')), 'hex') as jobs_hash
    from (${grouped}) j`)
  const about = rows[0]
  if (about === undefined) throw new Error('a count is missing')
  const lists = await listRecords(tx, range.seq, range)
  const draft = {
    seq: range.seq,
    xact_from: String(range.from),
    xact_to: String(range.to),
    rows: tree.count,
    ...about,
    first_id: firstId,
    last_id: lastId,
    root: tree.root().toString('hex'),
    key_id: signer?.keyId ?? null,
    restored_to: range.restoredTo === null ? null : String(range.restoredTo),
    ...lists,
    prev_hash: range.prevHash,
  }
  const hash = checkpointHash(draft)
  const checkpoint: Checkpoint = { ...draft, hash, signature: signer?.sign(Buffer.from(hash, 'hex')).toString('hex') ?? null }
  await tx.execute(sql`
    insert into audit_checkpoints (seq, xact_from, xact_to, rows, jobs, first_id, last_id, root, jobs_hash, key_id, created_at, restored_to, records, records_hash, prev_hash, hash, signature)
    values (${checkpoint.seq}, ${checkpoint.xact_from}::xid8, ${checkpoint.xact_to}::xid8, ${checkpoint.rows}, ${checkpoint.jobs}, ${checkpoint.first_id}::bigint,
      ${checkpoint.last_id}::bigint, decode(${checkpoint.root}, 'hex'), decode(${checkpoint.jobs_hash}, 'hex'), ${checkpoint.key_id}, ${checkpoint.created_at}::timestamptz, ${checkpoint.restored_to}::bigint,
      ${checkpoint.records}, decode(${checkpoint.records_hash}, 'hex'), decode(${checkpoint.prev_hash}, 'hex'), decode(${hash}, 'hex'), decode(${checkpoint.signature}, 'hex'))`)
  await tx.execute(sql`
    insert into audit_checkpoint_jobs (checkpoint_seq, job_id, first_seq, last_seq, last_hash) select ${checkpoint.seq}::int, g.* from (${grouped}) g order by g.job_id`)
  return checkpoint
}
