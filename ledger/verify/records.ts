import { createHash } from 'node:crypto'
import type pg from 'pg'
import { CHECKPOINT_COLUMNS, XACT, type Checkpoint } from '../audit/checkpoint-text.js'
import { inEra } from '../audit/eras.js'
import { HISTORIES, NUMBERED_BEFORE, type History } from '../audit/histories.js'
import { HISTORY_RESTORES, HistoryEras, LISTED_PARTS, ListsHash, NOT_GIVEN_OUT, rowsOfPart, type HistoryRestore, type ListedPart } from '../audit/record-lists.js'
import type { Findings } from './report.js'

const FETCH = 500
/** Checkpoints that are looked at together, as long as they list so many rows in all. One that lists more is looked at in windows of as many. */
const PAGE_ROWS = 20_000
const PAGE_CHECKPOINTS = 200

/** Where the walk stands: the last checkpoint whose lists were compared. */
export interface RecordPosition {
  readonly seq: number
}

export interface RecordWalk {
  readonly from: RecordPosition | undefined
  readonly since: string | undefined
  readonly findings: Findings
  readonly onPage: (position: RecordPosition, rows: number) => Promise<void>
  /** Rows that are compared at once; a test asks for fewer. */
  readonly pageRows?: number
}

/** A checkpoint that has lists. */
type Listing = Checkpoint & { readonly records: number; readonly records_hash: string }

const COMPARE = 'Compare this row with a backup or an export from after the checkpoint.'

/** Compares the rows of every history beside those of jobs with what checkpoints list of them. @returns what a person should know of the result */
export async function walkRecords(client: pg.Client, { from, since, findings, onPage, pageRows = PAGE_ROWS }: RecordWalk): Promise<string> {
  let seq = from?.seq ?? (await startOf(client, since))
  const eras = new HistoryEras((await client.query<HistoryRestore>(HISTORY_RESTORES)).rows)
  const { rows: firsts } = await client.query<{ seq: number | null }>('select min(seq) as seq from audit_checkpoints where records is not null')
  const ledger = { client, eras, firstListing: firsts[0]?.seq ?? 0, findings, pageRows }
  for (;;) {
    const page = await nextPage(ledger, seq)
    const last = page.at(-1)
    if (last === undefined) break
    let rows = 0
    for await (const window of windowsOf(ledger, page)) rows += await compare(ledger, window)
    seq = last.seq
    await onPage({ seq }, rows)
  }
  await checkLists(client, findings)
  await checkFuture(ledger)
  return seq === 0 ? 'no checkpoint lists any yet' : `up to checkpoint ${seq}`
}

interface Walked {
  readonly client: pg.Client
  readonly eras: HistoryEras
  /** The first checkpoint that has lists. */
  readonly firstListing: number
  readonly findings: Findings
  readonly pageRows: number
}

/** With `since`, what the last checkpoint before it lists is taken as given. */
async function startOf(client: pg.Client, since: string | undefined): Promise<number> {
  if (since === undefined) return 0
  const { rows } = await client.query<{ seq: number | null }>(`select max(seq) as seq from audit_checkpoints where created_at < $1`, [since])
  return rows[0]?.seq ?? 0
}

/** Checkpoints with lists, of one era, so that their rows are one range of transactions. */
async function nextPage({ client, eras, pageRows }: Walked, after: number): Promise<Listing[]> {
  const { rows } = await client.query<Listing>(
    `select ${CHECKPOINT_COLUMNS} from audit_checkpoints c where c.seq > $1 and c.records is not null order by c.seq limit ${PAGE_CHECKPOINTS}`,
    [after],
  )
  const page: Listing[] = []
  let listed = 0
  for (const checkpoint of rows) {
    listed += checkpoint.records
    const [first] = page
    if (first !== undefined && (listed > pageRows || !isSameEra(eras, first, checkpoint))) break
    page.push(checkpoint)
  }
  return page
}

const isSameEra = (eras: HistoryEras, one: Checkpoint, other: Checkpoint): boolean => eras.restoreAfter(one) === eras.restoreAfter(other)

interface Listed {
  readonly checkpoint: Listing
  readonly history: string
  readonly id: string
  readonly hash: string
}

/** What is compared at once: what checkpoints list, by table and id, and the rows that they should list, by table. */
interface Window {
  readonly page: readonly Listing[]
  readonly listed: Map<string, Listed>
  readonly rows: readonly { readonly history: History; readonly where: string }[]
}

/** A page as one window, or the only checkpoint of it in several: its memory does not grow with what a checkpoint lists. */
async function* windowsOf(ledger: Walked, page: readonly Listing[]): AsyncGenerator<Window> {
  const [only, second] = page
  if (only === undefined) return
  const everything = HISTORIES.map((history) => ({ history, where: rangeOf(ledger, page, history) }))
  if (second !== undefined || only.records <= ledger.pageRows) {
    const listed = new Map<string, Listed>()
    const lists = new ListCheck(page, ledger.findings)
    for await (const part of partsOf(ledger.client, page)) lists.add(part, (one) => listed.set(`${one.history} ${one.id}`, one))
    lists.end()
    yield { page, listed, rows: everything }
    return
  }
  const lists = new ListCheck(page, ledger.findings)
  // Ids of a list rise, so that a window is a range of them; the last one of a table has no end.
  let open = { table: '', after: '', listed: new Map<string, Listed>(), last: '' }
  const close = (isLast: boolean): Window => {
    const rows = everything
      .filter(({ history }) => history.table === open.table)
      .map(({ history, where }) => {
        const from = open.after === '' ? '' : ` and t.${history.id} > ${BigInt(open.after)}`
        return { history, where: `${where}${from}${isLast ? '' : ` and t.${history.id} <= ${BigInt(open.last)}`}` }
      })
    return { page, listed: open.listed, rows }
  }
  const seen = new Set<string>()
  for await (const part of partsOf(ledger.client, page)) {
    if (part.history !== open.table || open.listed.size >= ledger.pageRows) {
      const isSame = part.history === open.table
      if (open.table !== '') yield close(!isSame)
      open = { table: part.history, after: isSame ? open.last : '', listed: new Map(), last: '' }
    }
    seen.add(part.history)
    lists.add(part, (one) => {
      open.listed.set(`${one.history} ${one.id}`, one)
      open.last = one.id
    })
  }
  if (open.table !== '') yield close(true)
  lists.end()
  yield { page, listed: new Map(), rows: everything.filter(({ history }) => !seen.has(history.table)) }
}

/** @returns how many rows were looked at */
async function compare({ client, findings }: Walked, { page, listed, rows }: Window): Promise<number> {
  let found = 0
  for await (const { history, id, xact, text } of rowsOf(client, rows)) {
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
  // Read after the rows: a prune that was under way deletes and says so in one transaction.
  const pruned = listed.size === 0 ? new Map<string, bigint>() : await prunedUpTo(client)
  for (const { checkpoint, history, id } of listed.values()) {
    if (BigInt(id) <= (pruned.get(history) ?? 0n)) continue
    const row = { table: history, id, checkpoint: checkpoint.seq }
    findings.add({ kind: 'record_deleted', what: `Row ${id} of ${history} is missing: ${named(checkpoint)} lists it.`, row, next: COMPARE })
  }
  return found
}

const named = ({ seq, created_at }: Checkpoint): string => `checkpoint ${seq} (${created_at})`

/** The lists of a page, part by part, in the order that their hash is taken in. */
async function* partsOf(client: pg.Client, page: readonly Listing[]): AsyncGenerator<ListedPart> {
  let at: [seq: number, history: string, part: number] = [page[0]?.seq ?? 0, '', -1]
  for (;;) {
    const { rows } = await client.query<ListedPart>(
      `${LISTED_PARTS} where checkpoint_seq >= $1 and (checkpoint_seq, history collate "C", part) > ($1, $2, $3) and checkpoint_seq <= $4 order by checkpoint_seq, history collate "C", part limit ${PARTS}`,
      [...at, page.at(-1)?.seq],
    )
    yield* rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < PARTS) return
    at = [last.checkpoint_seq, last.history, last.part]
  }
}

const PARTS = 20

/** Compares each list with the hash that its checkpoint has of it. */
class ListCheck {
  readonly #bySeq: ReadonlyMap<number, { readonly checkpoint: Listing; readonly hash: ListsHash; rows: number }>
  readonly #findings: Findings

  constructor(page: readonly Listing[], findings: Findings) {
    this.#bySeq = new Map(page.map((checkpoint) => [checkpoint.seq, { checkpoint, hash: new ListsHash(), rows: 0 }]))
    this.#findings = findings
  }

  add(part: ListedPart, each: (one: Listed) => void): void {
    const of = this.#bySeq.get(part.checkpoint_seq)
    if (of === undefined) return
    of.hash.add(part)
    for (const { id, hash } of rowsOfPart(part)) {
      of.rows += 1
      each({ checkpoint: of.checkpoint, history: part.history, id, hash })
    }
  }

  end(): void {
    for (const { checkpoint, hash, rows } of this.#bySeq.values()) {
      if (rows === checkpoint.records && hash.digest() === checkpoint.records_hash) continue
      this.#findings.add({
        kind: 'record_list_changed',
        what: `The list of rows that ${named(checkpoint)} covers was changed.`,
        row: { checkpoint: checkpoint.seq, rows: checkpoint.records, rows_now: rows },
        next: KEPT,
      })
    }
  }
}

const KEPT = 'Compare the checkpoints with copies kept elsewhere (docs/audit.md): whoever could change this could change more.'

interface RecordRow {
  readonly history: string
  readonly id: string
  readonly xact: string
  readonly text: string
}

/**
 * The rows that the checkpoints of a page are to list, as a condition. Where a restore has ended the era its end is open, and where lists begin
 * its beginning: nothing else covers what lies there.
 */
function rangeOf({ eras, firstListing }: Walked, page: readonly Listing[], { table, id }: History): string {
  const [first, last] = [page[0], page.at(-1)]
  if (first === undefined || last === undefined) return 'false'
  const parts = [inEra(eras.of(table, last), id)]
  if (first.seq !== firstListing || NUMBERED_BEFORE.has(table)) parts.push(`${XACT} >= ${BigInt(first.xact_from)}`)
  if (!eras.isLastOfItsEra(last)) parts.push(`${XACT} < ${BigInt(last.xact_to)}`)
  return parts.join(' and ')
}

async function* rowsOf(client: pg.Client, rows: Window['rows']): AsyncGenerator<RecordRow> {
  if (rows.length === 0) return
  const each = rows.map(
    ({ history: { table, id, text }, where }) => `select '${table}' as history, t.${id}::text as id, t.xact::text as xact, ${text} as text from ${table} t where ${where}`,
  )
  await client.query('begin')
  try {
    await client.query(`declare records no scroll cursor for ${each.join(' union all ')}`)
    for (;;) {
      const { rows: found } = await client.query<RecordRow>(`fetch ${FETCH} from records`)
      yield* found
      if (found.length < FETCH) return
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

/** Lists whose checkpoint is gone, and a checkpoint without lists after one that has them. */
async function checkLists(client: pg.Client, findings: Findings): Promise<void> {
  const { rows } = await client.query<{ seq: number; gone: boolean }>(
    `select distinct r.checkpoint_seq as seq, true as gone from audit_checkpoint_records r where not exists (select from audit_checkpoints c where c.seq = r.checkpoint_seq)
     union all
     select c.seq, false from audit_checkpoints c where c.records is null and c.seq > (select min(seq) from audit_checkpoints where records is not null)
     order by seq`,
  )
  for (const { seq, gone } of rows) {
    const what = gone ? `There is a list of rows for checkpoint ${seq}, which is gone.` : `Checkpoint ${seq} lists no rows, those before it do.`
    findings.add({ kind: gone ? 'record_list_without_checkpoint' : 'record_list_missing', what, row: { checkpoint: seq }, next: KEPT })
  }
}

/** A row with a number that was not given out yet would never be listed. */
async function checkFuture({ client, eras, findings }: Walked): Promise<void> {
  const { rows: state } = await client.query<{ behind: boolean; unlisted: boolean }>(
    `select coalesce((select pg_snapshot_xmin(pg_current_snapshot()) < c.xact_to and c.restored_to is null from audit_checkpoints c order by c.seq desc limit 1), false) as behind,
       exists (select from audit_checkpoints where restored_to is not null and records is null) as unlisted`,
  )
  // The check of checkpoints tells that the ledger was restored; what it brought along bears the numbers of another cluster.
  if (state[0]?.behind === true) return
  // So do rows of these tables where the restore was recorded before there were lists.
  const tables = HISTORIES.filter(({ table }) => state[0]?.unlisted !== true || !NUMBERED_BEFORE.has(table))
  const here = { seq: Number.MAX_SAFE_INTEGER, restored_to: null }
  const each = tables.map(
    ({ table, id }) => `select '${table}' as history, t.${id}::text as id from ${table} t where ${XACT} >= ${NOT_GIVEN_OUT} and ${inEra(eras.of(table, here), id)}`,
  )
  const { rows } = await client.query<{ history: string; id: string }>(`${each.join(' union all ')} limit ${MOST}`)
  for (const { history, id } of rows) {
    findings.add({
      kind: 'record_of_the_future',
      what: `Row ${id} of ${history} bears the number of a transaction that has not begun: no checkpoint would list it.`,
      row: { table: history, id },
      next: 'The ledger numbers rows itself: this one was put in, or its number was changed. Compare with a backup.',
    })
  }
}

/** Faults that are told one by one. */
const MOST = 1_000
