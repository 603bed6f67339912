import { createHash } from 'node:crypto'
import type pg from 'pg'
import { CHECKPOINT_COLUMNS, XACT, type Checkpoint } from '../audit/checkpoint-text.js'
import { inEra } from '../audit/eras.js'
import { HISTORIES } from '../audit/histories.js'
import { HISTORY_RESTORES, HistoryEras, LISTED_PARTS, ListsHash, rowsOfPart, type HistoryRestore, type ListedPart } from '../audit/record-lists.js'
import type { Findings } from './report.js'

const FETCH = 2_000
/** Checkpoints that are looked at together, and how many rows they may list in all (one of them may list more). */
const PAGE = { checkpoints: 200, rows: 20_000 }

/** Where the walk stands: the last checkpoint whose lists were compared. */
export interface RecordPosition {
  readonly seq: number
}

export interface RecordWalk {
  readonly from: RecordPosition | undefined
  readonly since: string | undefined
  readonly findings: Findings
  readonly onPage: (position: RecordPosition, rows: number) => Promise<void>
}

/** A checkpoint that has lists. */
type Listing = Checkpoint & { readonly records: number; readonly records_hash: string }

const COMPARE = 'Compare this row with a backup or an export from after the checkpoint.'

/** Compares the rows of every history beside those of jobs with what checkpoints list of them. @returns what a person should know of the result */
export async function walkRecords(client: pg.Client, { from, since, findings, onPage }: RecordWalk): Promise<string> {
  let seq = from?.seq ?? (await startOf(client, since))
  const eras = new HistoryEras((await client.query<HistoryRestore>(HISTORY_RESTORES)).rows)
  const pruned = await prunedUpTo(client)
  for (;;) {
    const page = await nextPage(client, seq, eras)
    const last = page.at(-1)
    if (last === undefined) break
    const rows = await comparePage(client, { page, eras, pruned, findings })
    seq = last.seq
    await onPage({ seq }, rows)
  }
  return coverage(client, seq, eras, findings)
}

/** With `since`, what the last checkpoint before it lists is taken as given. */
async function startOf(client: pg.Client, since: string | undefined): Promise<number> {
  if (since === undefined) return 0
  const { rows } = await client.query<{ seq: number | null }>(`select max(seq) as seq from audit_checkpoints where created_at < $1`, [since])
  return rows[0]?.seq ?? 0
}

/** Checkpoints with lists, of one era, so that their rows are one range of transactions. */
async function nextPage(client: pg.Client, after: number, eras: HistoryEras): Promise<Listing[]> {
  const { rows } = await client.query<Listing>(
    `select ${CHECKPOINT_COLUMNS} from audit_checkpoints c where c.seq > $1 and c.records is not null order by c.seq limit ${PAGE.checkpoints}`,
    [after],
  )
  const page: Listing[] = []
  let listed = 0
  for (const checkpoint of rows) {
    listed += checkpoint.records
    const [first] = page
    if (first !== undefined && (listed > PAGE.rows || !isSameEra(eras, first, checkpoint))) break
    page.push(checkpoint)
  }
  return page
}

const isSameEra = (eras: HistoryEras, one: Checkpoint, other: Checkpoint): boolean => eras.restoreAfter(one) === eras.restoreAfter(other)

interface Page {
  readonly page: readonly Listing[]
  readonly eras: HistoryEras
  readonly pruned: ReadonlyMap<string, bigint>
  readonly findings: Findings
}

interface Listed {
  readonly checkpoint: Listing
  readonly history: string
  readonly id: string
  readonly hash: string
}

async function comparePage(client: pg.Client, { page, eras, pruned, findings }: Page): Promise<number> {
  const listed = await readLists(client, page, findings)
  let found = 0
  for await (const { history, id, xact, text } of rowsOf(client, page, eras)) {
    found += 1
    const key = `${history} ${id}`
    const own = listed.get(key)
    listed.delete(key)
    const at = checkpointAt(page, BigInt(xact))
    const row = { table: history, id, checkpoint: at.seq }
    if (own === undefined) {
      findings.add({ kind: 'record_added', what: `Row ${id} of ${history} was put into the past: ${named(at)} does not list it.`, row, next: COMPARE })
    } else if (own.checkpoint.seq !== at.seq) {
      const what = `Row ${id} of ${history} bears the number of another transaction than when ${named(own.checkpoint)} was taken.`
      findings.add({ kind: 'record_moved', what, row: { ...row, checkpoint: own.checkpoint.seq }, next: COMPARE })
    } else if (createHash('sha256').update(text).digest('hex') !== own.hash) {
      findings.add({ kind: 'record_changed', what: `Row ${id} of ${history} is not what ${named(at)} knows: it was changed.`, row, next: COMPARE })
    }
  }
  for (const { checkpoint, history, id } of listed.values()) {
    if (BigInt(id) <= (pruned.get(history) ?? 0n)) continue
    const row = { table: history, id, checkpoint: checkpoint.seq }
    findings.add({ kind: 'record_deleted', what: `Row ${id} of ${history} is missing: ${named(checkpoint)} lists it.`, row, next: COMPARE })
  }
  return found
}

const named = ({ seq, created_at }: Checkpoint): string => `checkpoint ${seq} (${created_at})`

/** What checkpoints list, by table and id; each list is compared with the hash that its checkpoint has of it. */
async function readLists(client: pg.Client, page: readonly Listing[], findings: Findings): Promise<Map<string, Listed>> {
  const bySeq = new Map(page.map((checkpoint) => [checkpoint.seq, { checkpoint, hash: new ListsHash(), rows: 0 }]))
  const listed = new Map<string, Listed>()
  const { rows: parts } = await client.query<ListedPart>(
    `${LISTED_PARTS} where checkpoint_seq between $1 and $2 order by checkpoint_seq, history collate "C", part`,
    [page[0]?.seq, page.at(-1)?.seq],
  )
  for (const part of parts) {
    const of = bySeq.get(part.checkpoint_seq)
    if (of === undefined) continue
    of.hash.add(part)
    for (const { id, hash } of rowsOfPart(part)) {
      of.rows += 1
      listed.set(`${part.history} ${id}`, { checkpoint: of.checkpoint, history: part.history, id, hash })
    }
  }
  for (const { checkpoint, hash, rows } of bySeq.values()) {
    if (rows === checkpoint.records && hash.digest() === checkpoint.records_hash) continue
    findings.add({
      kind: 'record_list_changed',
      what: `The list of rows that ${named(checkpoint)} covers was changed.`,
      row: { checkpoint: checkpoint.seq, rows: checkpoint.records, rows_now: rows },
      next: 'Compare the checkpoints with copies kept elsewhere (docs/audit.md): whoever could change this could change more.',
    })
  }
  return listed
}

interface RecordRow {
  readonly history: string
  readonly id: string
  readonly xact: string
  readonly text: string
}

/** All rows that the checkpoints of a page are to list. Where a restore has ended the era, its end is open: nothing else covers what lies there. */
async function* rowsOf(client: pg.Client, page: readonly Listing[], eras: HistoryEras): AsyncGenerator<RecordRow> {
  const [first, last] = [page[0], page.at(-1)]
  if (first === undefined || last === undefined) return
  const end = eras.isLastOfItsEra(last) ? '' : ` and ${XACT} < ${BigInt(last.xact_to)}`
  const each = HISTORIES.map(
    ({ table, id, text }) =>
      `select '${table}' as history, t.${id}::text as id, t.xact::text as xact, ${text} as text from ${table} t where ${XACT} >= ${BigInt(first.xact_from)}${end} and ${inEra(eras.of(table, last), id)}`,
  )
  await client.query('begin')
  try {
    await client.query(`declare records no scroll cursor for ${each.join(' union all ')}`)
    for (;;) {
      const { rows } = await client.query<RecordRow>(`fetch ${FETCH} from records`)
      yield* rows
      if (rows.length < FETCH) return
    }
  } finally {
    await client.query('rollback')
  }
}

/** The checkpoint of a page in whose range a transaction lies. */
function checkpointAt(page: readonly Listing[], xact: bigint): Listing {
  const found = page.find(({ xact_to }) => xact < BigInt(xact_to)) ?? page.at(-1)
  if (found === undefined) throw new RangeError('a page has no checkpoint')
  return found
}

/** Logs that prunes cut from their beginning: the last id that is gone. */
async function prunedUpTo(client: pg.Client): Promise<ReadonlyMap<string, bigint>> {
  const { rows } = await client.query<{ kind: string; last: string }>(
    `select kind, max(last_key::bigint)::text as last from prunes where kind in ('accesses', 'observations') group by kind`,
  )
  return new Map(rows.map(({ kind, last }) => [kind, BigInt(last)]))
}

/** A row with a number that was not given out yet would never be listed; one from before lists were made has one that is lower. */
async function coverage(client: pg.Client, seq: number, eras: HistoryEras, findings: Findings): Promise<string> {
  const here = { seq: Number.MAX_SAFE_INTEGER, restored_to: null }
  const each = HISTORIES.map(
    ({ table, id }) => `select '${table}' as history, t.${id}::text as id from ${table} t where ${XACT} >= (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint and ${inEra(eras.of(table, here), id)}`,
  )
  const behind = `select coalesce((select pg_snapshot_xmin(pg_current_snapshot()) < c.xact_to and c.restored_to is null from audit_checkpoints c order by c.seq desc limit 1), false) as behind`
  const { rows: state } = await client.query<{ behind: boolean }>(behind)
  // The check of checkpoints tells that the ledger was restored; what it brought along bears the numbers of another cluster.
  const { rows } = state[0]?.behind === true ? { rows: [] } : await client.query<{ history: string; id: string }>(each.join(' union all '))
  for (const { history, id } of rows) {
    findings.add({
      kind: 'record_of_the_future',
      what: `Row ${id} of ${history} bears the number of a transaction that has not begun: no checkpoint would list it.`,
      row: { table: history, id },
      next: 'The ledger numbers rows itself: this one was put in, or its number was changed. Compare with a backup.',
    })
  }
  return seq === 0 ? 'no checkpoint lists any yet' : `up to checkpoint ${seq}`
}
