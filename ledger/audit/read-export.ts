import type pg from 'pg'
import { CANONICAL } from '../verify/chains.js'
import { CHECKPOINT_COLUMNS, XACT, type Checkpoint } from './checkpoint-text.js'
import { beginsAt, coveredBy, Eras, inEra, RESTORES, type Restore } from './eras.js'
import { HISTORIES } from './histories.js'
import { HISTORY_RESTORES, HistoryEras, type HistoryRestore } from './record-lists.js'

/** The files of a bundle, each of JSON lines. */
export const BUNDLE_FILES = ['checkpoints.jsonl', 'checkpoint-jobs.jsonl', 'transitions.jsonl', 'jobs.jsonl', 'checkpoint-records.jsonl', 'records.jsonl', 'prunes.jsonl'] as const
export type BundleFile = (typeof BUNDLE_FILES)[number]

export interface ExportRange {
  /** From the checkpoint that was the last one at this time. */
  readonly from: string | undefined
  /** Up to the checkpoint that is the first one after this time; if there is none, with the rows that none covers yet. */
  readonly to: string | undefined
}

const FETCH = 2_000

/**
 * Reads what an auditor needs to check a time offline, in one snapshot: whole checkpoints, the jobs they name, every history row
 * they cover with the text that was hashed, and those jobs as they are now; and the rows of the other histories that they list. `write` gets one JSON line after the other.
 * @returns how many lines each file has
 */
export async function readExport(client: pg.Client, range: ExportRange, write: (file: BundleFile, line: string) => Promise<void>): Promise<Record<BundleFile, number>> {
  await client.query('begin isolation level repeatable read read only')
  try {
    const covered = await client.query<{ first: number | null; last: number | null }>(
      `select coalesce((select max(seq) from audit_checkpoints where created_at <= $1), (select min(seq) from audit_checkpoints)) as first,
        coalesce((select min(seq) from audit_checkpoints where created_at >= $2), (select max(seq) from audit_checkpoints)) as last`,
      [range.from ?? '-infinity', range.to ?? 'infinity'],
    )
    const first = covered.rows[0]?.first ?? null
    const last = await reachingTo(client, covered.rows[0]?.last ?? null, range.to)
    const checkpoints = (
      await client.query<Checkpoint>(`select ${CHECKPOINT_COLUMNS} from audit_checkpoints c where c.seq between $1 and $2 order by c.seq`, [first ?? 0, last ?? 0])
    ).rows
    const restores = (await client.query<Restore>(RESTORES)).rows
    const rows = rowsOf(checkpoints, new Eras(restores), range)
    const records = recordsOf(checkpoints, new HistoryEras((await client.query<HistoryRestore>(HISTORY_RESTORES)).rows))
    // Eras follow each other; inside of one, rows come in the order in which checkpoints cover them.
    const era = restores.map(({ restored_to }) => `(t.id > ${BigInt(restored_to)})::int`).join(' + ')
    const lines = (file: BundleFile, text: string): Promise<number> => copy(client, text, (line) => write(file, line))
    for (const checkpoint of checkpoints) await write('checkpoints.jsonl', JSON.stringify(checkpoint))
    return {
      'checkpoints.jsonl': checkpoints.length,
      'checkpoint-jobs.jsonl': await lines(
        'checkpoint-jobs.jsonl',
        `select json_build_object('checkpoint_seq', checkpoint_seq, 'job_id', job_id, 'first_seq', first_seq, 'last_seq', last_seq, 'last_hash', encode(last_hash, 'hex'))::text
         from audit_checkpoint_jobs where checkpoint_seq between ${first ?? 0} and ${last ?? 0} order by checkpoint_seq, job_id`,
      ),
      'transitions.jsonl': await lines(
        'transitions.jsonl',
        `select json_build_object('xact', t.xact::text, 'id', t.id::text, 'job_id', t.job_id, 'seq', t.seq, 'prev_hash', encode(t.prev_hash, 'hex'), 'hash', encode(t.hash, 'hex'), 'canonical', ${CANONICAL})::text
         from job_transitions t where ${rows} order by ${era === '' ? '' : `${era}, `}t.xact, t.id`,
      ),
      'jobs.jsonl': await lines(
        'jobs.jsonl',
        `select json_build_object('id', j.id, 'namespace', j.namespace, 'status', j.status, 'last_seq', j.last_seq, 'source_agent', j.source_agent, 'target_agent', j.target_agent,
           'job_type', j.job_type, 'subject', j.subject, 'payload_hash', j.payload_hash, 'created_by', j.created_by, 'created_at', j.created_at, 'finished_at', j.finished_at)::text
         from jobs j where j.id in (select t.job_id from job_transitions t where ${rows}) order by j.id`,
      ),
      'checkpoint-records.jsonl': await lines(
        'checkpoint-records.jsonl',
        `select json_build_object('checkpoint_seq', checkpoint_seq, 'history', history, 'part', part, 'restored_to', restored_to::text, 'ids', array_to_string(ids, ','), 'hashes', encode(hashes, 'hex'))::text
         from audit_checkpoint_records where checkpoint_seq between ${first ?? 0} and ${last ?? 0} order by checkpoint_seq, history collate "C", part`,
      ),
      'records.jsonl': await lines('records.jsonl', records),
      // Rows of these two logs may be gone, and rightly so.
      'prunes.jsonl': await lines(
        'prunes.jsonl',
        `select json_build_object('kind', kind, 'last_key', max(last_key::bigint)::text)::text from prunes where kind in ('accesses', 'observations') group by kind order by kind`,
      ),
    }
  } finally {
    await client.query('rollback')
  }
}

/**
 * The checkpoint by which everything up to `to` is covered: one covers so many transactions at most, and after a busy time several
 * are taken one after the other. A row is timed a moment before its transaction ends, so the jobs that a checkpoint names tell.
 */
async function reachingTo(client: pg.Client, last: number | null, to: string | undefined): Promise<number | null> {
  if (last === null || to === undefined) return last
  let reached = last
  for (let seq = last + 1; ; seq += 1) {
    const { rows } = await client.query<{ jobs: number; reaches: boolean }>(
      `select c.jobs, exists (select from audit_checkpoint_jobs k join job_transitions t on t.job_id = k.job_id and t.seq between k.first_seq and k.last_seq
         where k.checkpoint_seq = c.seq and t.at <= $2) as reaches from audit_checkpoints c where c.seq = $1`,
      [seq, to],
    )
    const [next] = rows
    // One in which no job moved says nothing of those after it.
    if (next === undefined || (next.jobs > 0 && !next.reaches)) return reached
    if (next.reaches) reached = seq
  }
}

/** The history rows of the bundle, as a condition: those of its checkpoints, and newer ones when nothing covers the end of the time. */
function rowsOf(checkpoints: readonly Checkpoint[], eras: Eras, { to }: ExportRange): string {
  const byEra = new Map<bigint, { from: string; end: Checkpoint }>()
  for (const one of checkpoints) {
    const { after } = eras.of(one)
    byEra.set(after, { from: byEra.get(after)?.from ?? one.xact_from, end: one })
  }
  const parts = [...byEra.values()].map(({ from, end }) => coveredBy({ xact_from: from, xact_to: end.xact_to }, eras.of(end)))
  const last = checkpoints.at(-1)
  const isCovered = to !== undefined && last !== undefined && Date.parse(last.created_at) >= Date.parse(to)
  if (!isCovered) {
    const newer = inEra(eras.of({ seq: (last?.seq ?? 0) + 1, restored_to: null }))
    parts.push(`${XACT} >= ${BigInt(beginsAt(last, null))} and ${newer} and ${to === undefined ? 'true' : `t.at <= '${new Date(to).toISOString()}'::timestamptz`}`)
  }
  return parts.map((part) => `(${part})`).join(' or ')
}

/** A statement for the rows that the checkpoints of the bundle list, or should. */
function recordsOf(checkpoints: readonly Checkpoint[], eras: HistoryEras): string {
  const listing = checkpoints.filter(({ records }) => records !== null)
  const each = HISTORIES.map(({ table, id, text }) => {
    const byRestore = new Map<string | undefined, { readonly from: string; readonly end: Checkpoint }>()
    for (const one of listing) byRestore.set(eras.restoreAfter(one), { from: byRestore.get(eras.restoreAfter(one))?.from ?? one.xact_from, end: one })
    const parts = [...byRestore.values()].map(({ from, end }) => coveredBy({ xact_from: from, xact_to: end.xact_to }, eras.of(table, end), id))
    return `select json_build_object('history', '${table}', 'id', t.${id}::text, 'text', ${text})::text from ${table} t where ${parts.length === 0 ? 'false' : parts.map((part) => `(${part})`).join(' or ')}`
  })
  return each.join(' union all ')
}

async function copy(client: pg.Client, text: string, write: (line: string) => Promise<void>): Promise<number> {
  let count = 0
  await client.query(`declare lines no scroll cursor for ${text}`)
  for (;;) {
    const { rows } = await client.query<[string]>({ text: `fetch ${FETCH} from lines`, rowMode: 'array' })
    for (const [line] of rows) await write(line)
    count += rows.length
    if (rows.length < FETCH) break
  }
  await client.query('close lines')
  return count
}
