import { createHash } from 'node:crypto'

/** A checkpoint as it is read: hashes in hex, transactions as text because they outgrow a number. */
export interface Checkpoint {
  readonly seq: number
  readonly xact_from: string
  readonly xact_to: string
  readonly rows: number
  readonly jobs: number
  readonly first_id: string
  readonly last_id: string
  readonly root: string
  readonly jobs_hash: string
  readonly key_id: string | null
  /** UTC with microseconds. */
  readonly created_at: string
  /** The id up to which rows carry transaction numbers of a cluster that was dumped; set when it records a restore. */
  readonly restored_to: string | null
  /** How many rows of other histories are listed for it, and the hash over the lists; null in one from before there were lists. */
  readonly records: number | null
  readonly records_hash: string | null
  readonly prev_hash: string
  readonly hash: string
  readonly signature: string | null
}

/** Selects a {@link Checkpoint} from `audit_checkpoints c`. */
export const CHECKPOINT_COLUMNS = `c.seq, c.xact_from::text, c.xact_to::text, c.rows, c.jobs, c.first_id::text, c.last_id::text, encode(c.root, 'hex') as root,
  encode(c.jobs_hash, 'hex') as jobs_hash, c.key_id, to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at,
  c.restored_to::text, c.records, encode(c.records_hash, 'hex') as records_hash, encode(c.prev_hash, 'hex') as prev_hash, encode(c.hash, 'hex') as hash, encode(c.signature, 'hex') as signature`

/** The transaction of a history row `t`, in the form that its index knows. */
export const XACT = '(t.xact::text)::bigint'

/** What the first checkpoint follows. */
export const NOTHING_BEFORE = '00'.repeat(32)

/** The text that a checkpoint's hash covers; `audit_checkpoint_canonical` in the database says the same. */
export function checkpointText(c: Omit<Checkpoint, 'prev_hash' | 'hash' | 'signature'>): string {
  const about = [c.seq, c.xact_from, c.xact_to, c.rows, c.jobs, c.first_id, c.last_id, c.root, c.jobs_hash, c.key_id ?? '', c.created_at]
  const restored = c.restored_to === null ? [] : [c.restored_to]
  if (c.records === null || c.records_hash === null) return [`agentbus checkpoint ${restored.length + 1}`, ...about, ...restored].join('\n')
  return ['agentbus checkpoint 3', ...about, c.restored_to ?? '', c.records, c.records_hash].join('\n')
}

/** The hash of a checkpoint, in hex. */
export function checkpointHash(c: Omit<Checkpoint, 'hash' | 'signature'>): string {
  return createHash('sha256').update(Buffer.from(c.prev_hash, 'hex')).update(checkpointText(c)).digest('hex')
}

/** A job in a checkpoint: which of its rows it covers, and the hash of the last of them. */
export interface CoveredJob {
  readonly job_id: string
  readonly first_seq: number
  readonly last_seq: number
  readonly last_hash: string
}

/** The hash over the jobs of a checkpoint, which come ordered by id. */
export class CoveredJobsHash {
  readonly #hash = createHash('sha256')

  add(job: CoveredJob): void {
    this.#hash.update(`${job.job_id} ${job.first_seq} ${job.last_seq} ${job.last_hash}\n`)
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}
