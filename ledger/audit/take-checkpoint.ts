import { sql, type SQL } from 'drizzle-orm'
import { constraintOf, inTransaction, type Db, type Tx } from '../database.js'
import { checkpointHash, NOTHING_BEFORE, XACT, type Checkpoint } from './checkpoint-text.js'
import { MerkleRoot } from './merkle.js'
import type { Signer } from './signing.js'

/** Transactions that one checkpoint covers at most: a few ten thousand rows, a second of work. */
const MOST_TRANSACTIONS = 10_000n
const FETCH = 2_000
/** One at a time over all processes; a second one has nothing to do. */
const LOCK = 7_717_002

/**
 * What came of it. `behind`: this cluster's transaction numbers are below those of the last checkpoint, as after a dump was
 * restored into a new cluster; what is written now would count as covered.
 */
export type Taken =
  { readonly kind: 'taken'; readonly checkpoint: Checkpoint } | { readonly kind: 'nothing' } | { readonly kind: 'busy' } | { readonly kind: 'behind'; readonly last: string }

interface Range {
  readonly seq: number
  readonly prevHash: string
  readonly from: bigint
  readonly to: bigint
}

/**
 * Takes one checkpoint over the rows that no checkpoint covers yet, in one transaction and from one snapshot. Only
 * transactions older than every one that still runs count: a row of theirs cannot turn up later in the range.
 */
export async function takeCheckpoint(db: Db, options: { readonly signer: Signer | undefined; readonly mostTransactions?: number }): Promise<Taken> {
  try {
    return await inTransaction(db, async (tx) => {
      await tx.execute(sql`set transaction isolation level repeatable read`)
      const { rows } = await tx.execute<{ got: boolean }>(sql`select pg_try_advisory_xact_lock(${LOCK}) as got`)
      if (rows[0]?.got !== true) return { kind: 'busy' }
      const range = await nextRange(tx, BigInt(options.mostTransactions ?? MOST_TRANSACTIONS))
      return 'kind' in range ? range : { kind: 'taken', checkpoint: await write(tx, range, options.signer) }
    })
  } catch (error) {
    // Another process took it between the snapshot and the lock.
    if (constraintOf(error) === 'audit_checkpoints_pkey') return { kind: 'busy' }
    throw error
  }
}

async function nextRange(tx: Tx, most: bigint): Promise<Range | Exclude<Taken, { kind: 'taken' }>> {
  const { rows } = await tx.execute<{ seq: number | null; hash: string | null; covered: string; ended: string }>(sql`
    select c.seq, encode(c.hash, 'hex') as hash, coalesce(c.xact_to::text, '0') as covered, pg_snapshot_xmin(pg_current_snapshot())::text as ended
    from (select 1) one left join (select * from audit_checkpoints order by seq desc limit 1) c on true`)
  const last = rows[0]
  if (last === undefined) throw new Error('a row of constants is missing')
  const [covered, ended] = [BigInt(last.covered), BigInt(last.ended)]
  if (ended < covered) return { kind: 'behind', last: last.covered }
  const first = (await firstIn(tx, covered, min(covered + most, ended))) ?? (await firstIn(tx, covered, ended))
  if (first === undefined) return { kind: 'nothing' }
  return { seq: (last.seq ?? 0) + 1, prevHash: last.hash ?? NOTHING_BEFORE, from: covered, to: min(first + most, ended) }
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)

const within = (range: { readonly from: bigint; readonly to: bigint }): SQL => sql.raw(`${XACT} >= ${range.from} and ${XACT} < ${range.to}`)

/** The first transaction of the range that wrote history. Asked for a short range first: the whole of what is not covered may be long. */
async function firstIn(tx: Tx, from: bigint, to: bigint): Promise<bigint | undefined> {
  const { rows } = await tx.execute<{ first: string | null }>(sql`select min(${sql.raw(XACT)})::text as first from job_transitions t where ${within({ from, to })}`)
  const first = rows[0]?.first ?? null
  return first === null ? undefined : BigInt(first)
}

async function write(tx: Tx, range: Range, signer: Signer | undefined): Promise<Checkpoint> {
  const tree = new MerkleRoot()
  let [firstId, lastId] = ['', '']
  await tx.execute(sql`declare covered no scroll cursor for select t.id::text as id, t.hash from job_transitions t where ${within(range)} order by t.xact, t.id`)
  for (;;) {
    const { rows } = await tx.execute<{ id: string; hash: Buffer }>(sql.raw(`fetch ${FETCH} from covered`))
    for (const row of rows) tree.add(row.hash)
    if (firstId === '') firstId = rows[0]?.id ?? ''
    lastId = rows.at(-1)?.id ?? lastId
    if (rows.length < FETCH) break
  }
  const grouped = sql`
    select t.job_id, min(t.seq) as first_seq, max(t.seq) as last_seq, (array_agg(t.hash order by t.seq desc))[1] as last_hash
    from job_transitions t where ${within(range)} group by t.job_id`
  const { rows } = await tx.execute<{ jobs: number; jobs_hash: string; created_at: string }>(sql`
    select count(*)::int as jobs, to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at,
      encode(sha256(convert_to(string_agg(j.job_id || ' ' || j.first_seq || ' ' || j.last_seq || ' ' || encode(j.last_hash, 'hex') || E'\n', '' order by j.job_id), 'UTF8')), 'hex') as jobs_hash
    from (${grouped}) j`)
  const about = rows[0]
  if (about === undefined) throw new Error('a count is missing')
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
    prev_hash: range.prevHash,
  }
  const hash = checkpointHash(draft)
  const checkpoint: Checkpoint = { ...draft, hash, signature: signer?.sign(Buffer.from(hash, 'hex')).toString('hex') ?? null }
  await tx.execute(sql`
    insert into audit_checkpoints (seq, xact_from, xact_to, rows, jobs, first_id, last_id, root, jobs_hash, key_id, created_at, prev_hash, hash, signature)
    values (${checkpoint.seq}, ${checkpoint.xact_from}::xid8, ${checkpoint.xact_to}::xid8, ${checkpoint.rows}, ${checkpoint.jobs}, ${checkpoint.first_id}::bigint,
      ${checkpoint.last_id}::bigint, decode(${checkpoint.root}, 'hex'), decode(${checkpoint.jobs_hash}, 'hex'), ${checkpoint.key_id}, ${checkpoint.created_at}::timestamptz,
      decode(${checkpoint.prev_hash}, 'hex'), decode(${hash}, 'hex'), decode(${checkpoint.signature}, 'hex'))`)
  await tx.execute(sql`
    insert into audit_checkpoint_jobs (checkpoint_seq, job_id, first_seq, last_seq, last_hash) select ${checkpoint.seq}::int, g.* from (${grouped}) g order by g.job_id`)
  return checkpoint
}
