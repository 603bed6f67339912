import type pg from 'pg'
import { CHECKPOINT_COLUMNS, checkpointHash, CoveredJobsHash, NOTHING_BEFORE, XACT, type Checkpoint, type CoveredJob } from '../audit/checkpoint-text.js'
import { beginsAt, coveredBy, Eras, inEra, RESTORES, type Restore } from '../audit/eras.js'
import { MerkleRoot } from '../audit/merkle.js'
import type { SignatureCheck } from '../audit/signing.js'
import { nameFaults } from './checkpoint-faults.js'
import type { Findings } from './report.js'

const FETCH = 5_000
const PAGE = 50

/** Where the walk stands: the last checkpoint that was looked at. */
export interface CheckpointPosition {
  readonly seq: number
  readonly hash: string
  readonly xactTo: string
  /** Set when it recorded a restore: the next one begins a new era. */
  readonly restoredTo: string | null
  readonly signed: boolean
}

/** A checkpoint that somebody kept outside of this database. */
export interface Anchor {
  readonly seq: number
  readonly hash: string
}

export interface CheckpointWalk {
  readonly from: CheckpointPosition | undefined
  readonly since: string | undefined
  /** None: signatures are not checked. */
  readonly keys: readonly SignatureCheck[]
  readonly anchors: readonly Anchor[]
  /** With keys, one more that has to be signed beside the newest. */
  readonly newestKept: number | undefined
  readonly findings: Findings
  readonly onPage: (position: CheckpointPosition, rows: number) => Promise<void>
}

/** Recomputes every checkpoint from the rows that it covers, and its place in the chain. @returns what a person should know of the result */
export async function walkCheckpoints(client: pg.Client, walk: CheckpointWalk): Promise<string> {
  let position = walk.from ?? (await startOf(client, walk.since))
  const eras = new Eras((await client.query<Restore>(RESTORES)).rows)
  for (;;) {
    const { rows } = await client.query<Checkpoint>(`select ${CHECKPOINT_COLUMNS} from audit_checkpoints c where c.seq > $1 order by c.seq limit ${PAGE}`, [position.seq])
    for (const checkpoint of rows) {
      checkLink(checkpoint, position, walk.findings)
      checkSignature(checkpoint, position, walk)
      await checkContent(client, checkpoint, coveredBy(checkpoint, eras.of(checkpoint)), walk.findings)
      position = positionAt(checkpoint, position.signed)
      await walk.onPage(position, checkpoint.rows)
    }
    if (rows.length < PAGE) break
  }
  checkNewest(position, walk)
  if (position.seq === 0) await checkNone(client, walk)
  await checkAnchors(client, walk)
  return coverage(client, position, eras, walk)
}

const START: CheckpointPosition = { seq: 0, hash: NOTHING_BEFORE, xactTo: '0', restoredTo: null, signed: false }

function positionAt({ seq, hash, xact_to, restored_to, key_id }: Checkpoint, signedBefore: boolean): CheckpointPosition {
  return { seq, hash, xactTo: xact_to, restoredTo: restored_to, signed: signedBefore || key_id !== null }
}

/** With `since`, the last checkpoint before it is taken as given. */
async function startOf(client: pg.Client, since: string | undefined): Promise<CheckpointPosition> {
  if (since === undefined) return START
  const { rows } = await client.query<Checkpoint>(`select ${CHECKPOINT_COLUMNS} from audit_checkpoints c where c.created_at < $1 order by c.seq desc limit 1`, [since])
  const before = rows[0]
  return before === undefined ? START : positionAt(before, false)
}

const COMPARE = 'Compare the checkpoints with copies kept elsewhere (docs/audit.md): whoever could change this could change more.'

function checkLink(checkpoint: Checkpoint, before: CheckpointPosition, findings: Findings): void {
  const row = { checkpoint: checkpoint.seq, created_at: checkpoint.created_at }
  if (checkpoint.seq !== before.seq + 1) {
    findings.add({ kind: 'checkpoint_missing', what: `Checkpoint ${before.seq + 1} is missing: ${before.seq} is followed by ${checkpoint.seq}.`, row, next: COMPARE })
  } else if (checkpoint.prev_hash !== before.hash || checkpoint.xact_from !== beginsAt({ xact_to: before.xactTo, restored_to: before.restoredTo }, checkpoint.restored_to)) {
    findings.add({ kind: 'checkpoint_chain_broken', what: `Checkpoint ${checkpoint.seq} does not follow checkpoint ${before.seq}.`, row, next: COMPARE })
  }
  if (checkpointHash(checkpoint) !== checkpoint.hash) {
    findings.add({ kind: 'checkpoint_changed', what: `Checkpoint ${checkpoint.seq} does not have the hash of what it says: it was changed.`, row, next: COMPARE })
  }
}

function checkSignature(checkpoint: Checkpoint, before: CheckpointPosition, { keys, newestKept, findings }: CheckpointWalk): void {
  const row = { checkpoint: checkpoint.seq, key_id: checkpoint.key_id }
  if (checkpoint.key_id === null) {
    if (before.signed)
      findings.add({
        kind: 'signature_missing',
        what: `Checkpoint ${checkpoint.seq} is not signed, earlier ones are.`,
        row,
        next: 'Find out whether a process ran without AGENTBUS_SIGNING_KEY.',
      })
    else if (keys.length > 0 && checkpoint.seq === newestKept) {
      findings.add({
        kind: 'signature_missing',
        what: `Checkpoint ${checkpoint.seq}, the newest of the backup, is not signed, and neither is one before it.`,
        row,
        next: SIGNED_NOW,
      })
    }
    return
  }
  if (keys.length === 0) return
  const key = keys.find(({ keyId }) => keyId === checkpoint.key_id)
  if (key === undefined) {
    findings.add({
      kind: 'signature_of_unknown_key',
      what: `Checkpoint ${checkpoint.seq} is signed with the key ${checkpoint.key_id}, which was not given.`,
      row,
      next: 'If the key was yours, give its public part with --public-key; if not, somebody else signed.',
    })
  } else if (!key.verify(Buffer.from(checkpoint.hash, 'hex'), Buffer.from(checkpoint.signature ?? '', 'hex'))) {
    findings.add({ kind: 'signature_wrong', what: `The signature of checkpoint ${checkpoint.seq} is not one over its hash.`, row, next: COMPARE })
  }
}

const SIGNED_NOW =
  'Signatures may have been taken off: compare with copies kept elsewhere. If signing has only begun, take a checkpoint where AGENTBUS_SIGNING_KEY is set (`agentbus checkpoint`, once there is history that none covers), and verify again.'

/**
 * With a key at hand the newest checkpoint has to be signed, for its signature vouches for all before it. Those before the first
 * signed one may lack theirs: people begin to sign later. Without this, taking all signatures off would pass for never having signed.
 */
function checkNewest(newest: CheckpointPosition, { keys, newestKept, findings }: CheckpointWalk): void {
  // An unsigned one after a signed one, and the newest of a backup, were told when they were looked at.
  if (keys.length === 0 || newest.seq === 0 || newest.signed || newest.seq === newestKept) return
  const row = { checkpoint: newest.seq, key_id: null }
  findings.add({ kind: 'signature_missing', what: `Checkpoint ${newest.seq}, the newest, is not signed, and neither is one before it.`, row, next: SIGNED_NOW })
}

/** Workers take one a minute. */
const PATIENCE = '1 hour'

/** With a key at hand, a ledger with history and no checkpoint at all has lost them: taking all away would else pass for never having had any. */
async function checkNone(client: pg.Client, { keys, findings }: CheckpointWalk): Promise<void> {
  if (keys.length === 0) return
  const { rows } = await client.query<{ first: string | null }>(`select min(t.at)::text as first from job_transitions t where t.at < now() - interval '${PATIENCE}'`)
  const first = rows[0]?.first ?? null
  if (first === null) return
  findings.add({
    kind: 'checkpoints_gone',
    what: `There is no checkpoint, and history since ${first}.`,
    row: { checkpoint: null, history_since: first },
    next: 'Checkpoints may have been taken away: compare with copies kept elsewhere. If no worker has ever taken one, take it (`agentbus checkpoint`), and verify again.',
  })
}

/** @param covers the rows that it is to cover, as a condition */
async function checkContent(client: pg.Client, checkpoint: Checkpoint, covers: string, findings: Findings): Promise<void> {
  const row = { checkpoint: checkpoint.seq, created_at: checkpoint.created_at }
  const covered = new CoveredJobsHash()
  const { rows: jobs } = await client.query<CoveredJob>(
    `select job_id, first_seq, last_seq, encode(last_hash, 'hex') as last_hash from audit_checkpoint_jobs where checkpoint_seq = $1 order by job_id`,
    [checkpoint.seq],
  )
  for (const job of jobs) covered.add(job)
  if (jobs.length !== checkpoint.jobs || covered.digest() !== checkpoint.jobs_hash) {
    findings.add({ kind: 'checkpoint_jobs_changed', what: `The list of jobs that checkpoint ${checkpoint.seq} covers was changed.`, row, next: COMPARE })
  }
  const tree = await treeOf(client, covers)
  if (tree.count === checkpoint.rows && tree.root().toString('hex') === checkpoint.root) return
  const named = await nameFaults(client, checkpoint, covers, findings)
  if (!named) {
    findings.add({
      kind: 'checkpoint_root_differs',
      what: `The ${tree.count} rows that checkpoint ${checkpoint.seq} covers are not the ${checkpoint.rows} it was taken over.`,
      row: { ...row, rows: checkpoint.rows, rows_now: tree.count },
      next: 'Look at what the check of chains says; if it holds, hashes were written anew. Compare with a backup or an export.',
    })
  }
}

async function treeOf(client: pg.Client, covers: string): Promise<MerkleRoot> {
  const tree = new MerkleRoot()
  await client.query('begin')
  try {
    await client.query({
      text: `declare covered no scroll cursor for select t.hash from job_transitions t where ${covers} order by t.xact, t.id`,
    })
    for (;;) {
      const { rows } = await client.query<[Buffer]>({ text: `fetch ${FETCH} from covered`, rowMode: 'array' })
      for (const [hash] of rows) tree.add(hash)
      if (rows.length < FETCH) return tree
    }
  } finally {
    await client.query('rollback')
  }
}

async function checkAnchors(client: pg.Client, { anchors, findings }: CheckpointWalk): Promise<void> {
  for (const anchor of anchors) {
    const { rows } = await client.query<{ hash: string }>(`select encode(hash, 'hex') as hash from audit_checkpoints where seq = $1`, [anchor.seq])
    if (rows[0]?.hash === anchor.hash) continue
    findings.add({
      kind: 'checkpoint_not_as_kept',
      what: `Checkpoint ${anchor.seq} ${rows[0] === undefined ? 'is not in the ledger any more' : `has the hash ${rows[0].hash}`}; the copy that was kept says ${anchor.hash}.`,
      row: { checkpoint: anchor.seq, kept: anchor.hash, hash: rows[0]?.hash ?? null },
      next: 'History up to that checkpoint was rewritten or cut off. Compare with a backup or an export from before.',
    })
  }
}

async function coverage(client: pg.Client, last: CheckpointPosition, eras: Eras, { keys, findings }: CheckpointWalk): Promise<string> {
  const from = beginsAt({ xact_to: last.xactTo, restored_to: last.restoredTo }, null)
  const era = eras.of({ seq: last.seq + 1, restored_to: null })
  const { rows } = await client.query<{ newer: number; behind: boolean; ahead: string | null }>(
    `select count(*)::int as newer, pg_snapshot_xmin(pg_current_snapshot()) < $1::text::xid8 as behind,
       min(t.id) filter (where t.xact >= pg_snapshot_xmax(pg_current_snapshot()))::text as ahead from job_transitions t where ${XACT} >= ${BigInt(from)} and ${inEra(era)}`,
    [from],
  )
  if (rows[0]?.behind === true) {
    findings.add({
      kind: 'transactions_behind',
      what: `Transactions of this database are numbered below ${from}, up to which checkpoints reach: what is written now counts as covered and is not.`,
      row: { covered_to: from },
      next: 'The ledger was restored from a dump into another cluster: record that with `agentbus checkpoint --after-restore` (docs/audit.md).',
    })
  }
  const ahead = rows[0]?.behind === true ? null : (rows[0]?.ahead ?? null)
  if (ahead !== null) {
    findings.add({
      kind: 'transaction_of_the_future',
      what: `History row ${ahead} bears the number of a transaction that has not begun: no checkpoint would cover it.`,
      row: { id: ahead },
      next: 'The ledger numbers rows itself: this one was put in, or its number was changed. Compare with a backup.',
    })
  }
  const signatures = !last.signed ? 'not signed' : keys.length === 0 ? 'signatures not checked: no key was given' : 'signatures checked'
  const restores = eras.restores === 0 ? '' : `, ${eras.restores === 1 ? 'a restore' : `${eras.restores} restores`} on record`
  return `up to checkpoint ${last.seq}, ${signatures}${restores}; ${rows[0]?.newer ?? 0} newer rows are not covered`
}
