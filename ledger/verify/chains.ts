import { createHash } from 'node:crypto'
import type pg from 'pg'
import { canMove, type JobStatus } from '../../contracts/job-states.js'
import type { Findings } from './report.js'

/**
 * The text that a history row's hash covers. Written out here and not taken from the ledger's function, so that a
 * function that was exchanged cannot speak for the rows. A test compares the two.
 */
export const CANONICAL = `jsonb_build_array(
  t.job_id, t.seq, t.kind, t.from_status, t.to_status, t.reason, t.note, t.attempt_id, t.actor_kind, t.actor, t.details,
  to_char(t.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text`

/** Rows per page: a few megabytes with long notes. */
const PAGE = 5_000
const NIL = '00000000-0000-0000-0000-000000000000'

interface Row {
  readonly job: string
  readonly seq: number
  readonly kind: string
  readonly from: JobStatus | null
  readonly to: JobStatus
  readonly reason: string
  readonly prev: string
  readonly hash: string
  readonly canonical: string
  readonly orphan: boolean
}

/** Where the walk stands, small enough to be written down after each page. */
export interface ChainPosition {
  readonly job: string
  readonly seq: number
  readonly hash: string
  readonly to: JobStatus
  /** A row whose link to the one before is broken, until the next row tells what became of it. */
  readonly suspect?: { readonly seq: number; readonly prev: string; readonly before: string }
}

type Values = [string, number, string, JobStatus | null, JobStatus, string, string, string, string, boolean]

/** The next rows in the order of jobs and their numbers. */
async function readPage(client: pg.Client, after: ChainPosition | undefined, since: string | undefined): Promise<Row[]> {
  const touched = `and t.job_id in (select job_id from job_transitions where at >= $3::timestamptz union select id from jobs where finished_at is null or updated_at >= $3::timestamptz)`
  const { rows } = await client.query<Values>({
    text: `select t.job_id, t.seq, t.kind, t.from_status, t.to_status, t.reason, encode(t.prev_hash, 'hex'), encode(t.hash, 'hex'), ${CANONICAL}, j.id is null
      from job_transitions t left join jobs j on j.id = t.job_id
      where (t.job_id, t.seq) > ($1::uuid, $2::int) ${since === undefined ? '' : touched}
      order by t.job_id, t.seq limit ${PAGE}`,
    values: [after?.job ?? NIL, after?.seq ?? 0, ...(since === undefined ? [] : [since])],
    rowMode: 'array',
  })
  return rows.map(([job, seq, kind, from, to, reason, prev, hash, canonical, orphan]) => ({ job, seq, kind, from, to, reason, prev, hash, canonical, orphan }))
}

/**
 * Walks every history in the order (job, seq), a page at a time, and recomputes its hashes here. After a fault it goes on
 * from what the row says of itself, so that one fault is told once.
 */
export async function walkChains(
  client: pg.Client,
  options: {
    readonly from: ChainPosition | undefined
    readonly since: string | undefined
    readonly findings: Findings
    readonly onPage: (position: ChainPosition, rows: number) => Promise<void>
  },
): Promise<void> {
  let position = options.from
  for (;;) {
    const page = await readPage(client, position, options.since)
    for (const row of page) position = step(position, row, options.findings)
    if (page.length > 0 && position !== undefined) await options.onPage(position, page.length)
    if (page.length < PAGE) break
  }
  if (position !== undefined) settle(position, undefined, options.findings)
}

const RESTORE = 'Compare this job with a backup or an export; the row is not what the ledger wrote.'

function step(before: ChainPosition | undefined, row: Row, findings: Findings): ChainPosition {
  const isNew = before === undefined || before.job !== row.job
  if (before !== undefined && before.suspect !== undefined) settle(before, isNew ? undefined : row, findings)
  const where = { job_id: row.job, seq: row.seq }
  if (isNew && row.orphan)
    findings.add({ kind: 'history_without_job', what: `Job ${row.job} is gone, its history is still there.`, row: where, next: 'Restore the row of the job from a backup.' })

  const expectedSeq = isNew ? 1 : before.seq + 1
  const isGap = row.seq !== expectedSeq
  if (isGap) {
    const missing = row.seq - 1 === expectedSeq ? `row ${expectedSeq} is` : `rows ${expectedSeq} to ${row.seq - 1} are`
    findings.add({
      kind: 'rows_missing',
      what: `Of the history of job ${row.job} ${missing} missing.`,
      row: { ...where, first_missing: expectedSeq, last_missing: row.seq - 1 },
      next: 'Restore the rows from a backup or an export: history was deleted.',
    })
  } else if (!isLegal(isNew ? undefined : before, row) && before?.suspect === undefined) {
    findings.add({
      kind: 'illegal_move',
      what: `Row ${row.seq} of job ${row.job} says ${row.from ?? 'nothing'} → ${row.to}; that does not follow from ${isNew ? 'nothing' : before.to}.`,
      row: { ...where, from: row.from, to: row.to },
      next: RESTORE,
    })
  }

  const linkedTo = row.seq === 1 ? sha256(Buffer.from(row.job, 'utf8')) : isGap ? row.prev : (before?.hash ?? '')
  const isLinked = row.prev === linkedTo
  const isOwn = row.hash === sha256(Buffer.concat([Buffer.from(row.prev, 'hex'), Buffer.from(row.canonical, 'utf8')]))
  if (isLinked && !isOwn) {
    findings.add({
      kind: 'row_changed',
      what: `Row ${row.seq} of job ${row.job} does not have the hash of what it says: it was changed, or not written by the ledger.`,
      row: where,
      next: RESTORE,
    })
  }
  const position = { job: row.job, seq: row.seq, hash: row.hash, to: row.to }
  return isLinked ? position : { ...position, suspect: { seq: row.seq, prev: row.prev, before: linkedTo } }
}

/** Says what a broken link means, by the row after it. */
function settle(position: ChainPosition, next: Row | undefined, findings: Findings): void {
  const { job, suspect } = position
  if (suspect === undefined) return
  const row = { job_id: job, seq: suspect.seq }
  if (next !== undefined && next.hash === suspect.prev) {
    findings.add({ kind: 'rows_reordered', what: `Rows ${suspect.seq} and ${suspect.seq + 1} of job ${job} have changed places.`, row, next: RESTORE })
  } else if (next !== undefined && next.prev === suspect.before) {
    findings.add({ kind: 'row_inserted', what: `Row ${suspect.seq} of job ${job} was put in: the row after it follows the row before it.`, row, next: RESTORE })
  } else {
    findings.add({ kind: 'chain_broken', what: `Row ${suspect.seq} of job ${job} does not follow the row before it.`, row, next: RESTORE })
  }
}

function isLegal(before: ChainPosition | undefined, row: Row): boolean {
  if ((before === undefined) !== (row.reason === 'created')) return false
  if (before === undefined) return row.from === null && row.kind === 'move' && (row.to === 'queued' || row.to === 'waiting')
  if (row.from !== before.to) return false
  return row.kind === 'note' ? row.from === row.to : canMove(row.from, row.to)
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
