import { createHash } from 'node:crypto'
import type pg from 'pg'
import { NOTHING_BEFORE } from '../audit/checkpoint-text.js'
import { PruneRoot } from '../prune/prune-root.js'
import type { Findings } from './report.js'

const FETCH = 5_000

interface Prune {
  readonly seq: number
  readonly kind: string
  readonly rows: number
  readonly first_key: string
  readonly last_key: string
  readonly root: string
  readonly prev_hash: string
  readonly hash: string
  readonly canonical: string
}

/** The text that the hash of a prune covers, written out here and not taken from the ledger's function. A test compares the two. */
const CANONICAL = `concat_ws(E'\\n', 'agentbus prune 1', p.seq, p.kind, to_char(p.before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), p.rows, p.first_key, p.last_key,
  encode(p.root, 'hex'), p.policy_version, p.actor_kind, p.actor, to_char(p.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))`

/** Rows that were emptied, by their prune; and how a row shows that something is in it again. */
const EMPTIED = [
  { kind: 'prompts', table: 'prompts', key: 'hash', hash: 'hash', full: `body <> ''` },
  { kind: 'jobs', table: 'jobs', key: 'id::text', hash: `encode(pruned_hash, 'hex')`, full: `payload <> '{}' or state <> '{}' or result is not null or answer is not null` },
  { kind: 'attempts', table: 'job_attempts', key: 'id::text', hash: `encode(pruned_hash, 'hex')`, full: `hook_response is not null or openclaw_meta <> '{}'` },
  { kind: 'events', table: 'events', key: 'id::text', hash: `encode(pruned_hash, 'hex')`, full: `payload <> '{}'` },
] as const
const DELETED = ['accesses', 'observations'] as const

const COMPARE = 'Compare it with a backup or an export from before; the ledger itself refuses this.'

/**
 * What was pruned is what the prunes say: their chain holds, and the rows that bear their numbers are those they were made
 * over. @returns how many rows were looked at
 */
export async function checkPrunes(client: pg.Client, findings: Findings): Promise<number> {
  const { rows: prunes } = await client.query<Prune>(
    `select p.seq, p.kind, p.rows, p.first_key, p.last_key, encode(p.root, 'hex') as root, encode(p.prev_hash, 'hex') as prev_hash, encode(p.hash, 'hex') as hash, ${CANONICAL} as canonical
     from prunes p order by p.seq`,
  )
  checkChain(prunes, findings)
  let examined = prunes.length
  for (const of of EMPTIED) examined += await checkEmptied(client, of, prunes, findings)
  for (const kind of DELETED) await checkDeleted(client, kind, prunes, findings)
  return examined
}

function checkChain(prunes: readonly Prune[], findings: Findings): void {
  let [seq, hash] = [0, NOTHING_BEFORE]
  for (const prune of prunes) {
    const row = { prune: prune.seq, kind: prune.kind }
    if (prune.seq !== seq + 1) findings.add({ kind: 'prune_missing', what: `Prune ${seq + 1} is missing: ${seq} is followed by ${prune.seq}.`, row, next: COMPARE })
    else if (prune.prev_hash !== hash) findings.add({ kind: 'prune_chain_broken', what: `Prune ${prune.seq} does not follow prune ${seq}.`, row, next: COMPARE })
    const own = createHash('sha256').update(Buffer.from(prune.prev_hash, 'hex')).update(prune.canonical).digest('hex')
    if (own !== prune.hash) findings.add({ kind: 'prune_changed', what: `Prune ${prune.seq} does not have the hash of what it says: it was changed.`, row, next: COMPARE })
    ;[seq, hash] = [prune.seq, prune.hash]
  }
}

async function checkEmptied(client: pg.Client, of: (typeof EMPTIED)[number], prunes: readonly Prune[], findings: Findings): Promise<number> {
  const roots = new Map<number, PruneRoot>()
  let examined = 0
  await client.query('begin')
  try {
    await client.query(`declare pruned no scroll cursor for
      select pruned_by, ${of.key}, ${of.hash}, ${of.full} from ${of.table} where pruned_by is not null order by pruned_by, ${of.key} collate "C"`)
    for (;;) {
      const { rows } = await client.query<[number, string, string, boolean]>({ text: `fetch ${FETCH} from pruned`, rowMode: 'array' })
      for (const [seq, key, hash, full] of rows) {
        const root = roots.get(seq) ?? new PruneRoot()
        root.add({ key, hash })
        roots.set(seq, root)
        if (full)
          findings.add({
            kind: 'pruned_row_filled',
            what: `${of.table} ${key} was pruned and holds something again.`,
            row: { table: of.table, key, prune: seq },
            next: COMPARE,
          })
      }
      examined += rows.length
      if (rows.length < FETCH) break
    }
  } finally {
    await client.query('rollback')
  }
  const said = new Map(prunes.filter(({ kind }) => kind === of.kind).map((prune) => [prune.seq, prune]))
  for (const seq of new Set([...said.keys(), ...roots.keys()])) compare(of.table, seq, said.get(seq), roots.get(seq), findings)
  return examined
}

function compare(table: string, seq: number, prune: Prune | undefined, found: PruneRoot | undefined, findings: Findings): void {
  const row = { table, prune: seq, rows: found?.count ?? 0, rows_said: prune?.rows ?? null }
  if (prune === undefined) {
    findings.add({ kind: 'pruned_without_prune', what: `${found?.count ?? 0} rows of ${table} say that prune ${seq} emptied them; there is no such prune.`, row, next: COMPARE })
  } else if (found?.count !== prune.rows || found.digest() !== prune.root) {
    findings.add({
      kind: 'pruned_rows_differ',
      what: `The ${found?.count ?? 0} rows of ${table} that prune ${seq} emptied are not the ${prune.rows} it was made over.`,
      row,
      next: COMPARE,
    })
  }
}

async function checkDeleted(client: pg.Client, kind: (typeof DELETED)[number], prunes: readonly Prune[], findings: Findings): Promise<void> {
  const last = prunes.filter((prune) => prune.kind === kind).at(-1)
  if (last === undefined) return
  const { rows } = await client.query<{ id: string; n: number }>(`select min(id)::text as id, count(*)::int as n from ${kind} where id <= $1::bigint having count(*) > 0`, [
    last.last_key,
  ])
  const found = rows[0]
  if (found === undefined) return
  findings.add(
    {
      kind: 'row_in_pruned_range',
      what: `Row ${found.id} of ${kind} lies where prune ${last.seq} left nothing, up to ${last.last_key}: it was put in later.`,
      row: { table: kind, id: found.id, prune: last.seq },
      next: COMPARE,
    },
    found.n,
  )
}
