import { sql } from 'drizzle-orm'
import { bigint, check, index, integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { bytea, instant, xid8 } from './columns.js'

/**
 * What all histories were, up to a transaction: the root of a Merkle tree over the hashes of the rows that the transactions
 * from `xact_from` to before `xact_to` wrote, in the order of transaction and id. Chained, and signed if there is a key.
 * Append-only; see docs/decisions/0013-checkpoints.md.
 */
export const audit_checkpoints = pgTable(
  'audit_checkpoints',
  {
    seq: integer('seq').primaryKey(),
    xact_from: xid8('xact_from').notNull(),
    xact_to: xid8('xact_to').notNull(),
    rows: integer('rows').notNull(),
    /** How many jobs the rows are about; each has a row in `audit_checkpoint_jobs`. */
    jobs: integer('jobs').notNull(),
    /** Ids of the first and the last of the rows, in their order; 0 when there are none. */
    first_id: bigint('first_id', { mode: 'number' }).notNull(),
    last_id: bigint('last_id', { mode: 'number' }).notNull(),
    root: bytea('root').notNull(),
    /** SHA-256 over the rows of `audit_checkpoint_jobs`. */
    jobs_hash: bytea('jobs_hash').notNull(),
    /** Who signed: the first 16 hex digits of the SHA-256 of the public key. Part of what is hashed. */
    key_id: text('key_id'),
    created_at: instant('created_at').notNull(),
    /**
     * Set when the ledger was restored from a dump: rows up to this id carry transaction numbers of the cluster that was dumped.
     * The checkpoint covers what was left of them; the one after it begins at transaction 0 with the rows above.
     */
    restored_to: bigint('restored_to', { mode: 'number' }),
    /** How many rows of the other histories are listed for it in `audit_checkpoint_records`; null before those were listed. */
    records: integer('records'),
    /** SHA-256 over these lists. */
    records_hash: bytea('records_hash'),
    prev_hash: bytea('prev_hash').notNull(),
    hash: bytea('hash').notNull(),
    /** Ed25519 over `hash`. */
    signature: bytea('signature'),
  },
  (t) => [
    check(
      'audit_checkpoints_range_check',
      sql`${t.seq} >= 1 and ${t.rows} >= ${t.jobs} and case when ${t.restored_to} is null then ${t.xact_from} < ${t.xact_to} and ${t.jobs} + coalesce(${t.records}, 0) >= 1
        else ${t.xact_from} <= ${t.xact_to} and ${t.jobs} >= 0 and ${t.restored_to} >= 0 end`,
    ),
    check('audit_checkpoints_records_check', sql`(${t.records} is null) = (${t.records_hash} is null) and (${t.records_hash} is null or octet_length(${t.records_hash}) = 32)`),
    check('audit_checkpoints_lengths_check', sql`octet_length(${t.root}) = 32 and octet_length(${t.jobs_hash}) = 32 and octet_length(${t.hash}) = 32`),
    check('audit_checkpoints_signed_check', sql`(${t.key_id} is null) = (${t.signature} is null)`),
  ],
)

/** Which jobs a checkpoint covers, and up to which row: a root tells that something is missing, this tells what. Append-only. */
export const audit_checkpoint_jobs = pgTable(
  'audit_checkpoint_jobs',
  {
    checkpoint_seq: integer('checkpoint_seq')
      .notNull()
      .references(() => audit_checkpoints.seq),
    /** No foreign key: it has to stay when the job does not. */
    job_id: uuid('job_id').notNull(),
    first_seq: integer('first_seq').notNull(),
    last_seq: integer('last_seq').notNull(),
    last_hash: bytea('last_hash').notNull(),
  },
  (t) => [primaryKey({ columns: [t.checkpoint_seq, t.job_id] }), check('audit_checkpoint_jobs_seq_check', sql`${t.first_seq} between 1 and ${t.last_seq}`)],
)

/**
 * The rows of the other histories that a checkpoint covers, by table: their ids as they rise, and the SHA-256 of what
 * each says. Long lists come in parts. Append-only; see docs/decisions/0034-listed-records.md.
 */
export const audit_checkpoint_records = pgTable(
  'audit_checkpoint_records',
  {
    /** Its foreign key is checked at commit: the hash over the lists has to be known before the checkpoint is written. */
    checkpoint_seq: integer('checkpoint_seq').notNull(),
    history: text('history').notNull(),
    part: integer('part').notNull(),
    /** In a checkpoint that records a restore, in the first part: up to which id rows of this table were restored. */
    restored_to: bigint('restored_to', { mode: 'number' }),
    ids: bigint('ids', { mode: 'number' }).array().notNull(),
    /** 32 bytes for each id. */
    hashes: bytea('hashes').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.checkpoint_seq, t.history, t.part] }),
    check('audit_checkpoint_records_lengths_check', sql`octet_length(${t.hashes}) = 32 * cardinality(${t.ids}) and ${t.part} >= 0`),
    index('audit_checkpoint_records_restored_idx')
      .on(t.checkpoint_seq)
      .where(sql`restored_to is not null`),
  ],
)
