import pg from 'pg'
import { vi } from 'vitest'
import { HISTORIES } from '../../ledger/audit/histories.js'
import type { Signer } from '../../ledger/audit/signing.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import { openReader } from '../../ledger/verify/reader.js'
import type { CheckResult, Violation } from '../../ledger/verify/report.js'
import type { TestLedger } from './ledger.js'
import { verifyLedger, type VerifyOptions } from '../../ledger/verify/verify.js'

/** Changes rows the way only somebody with all rights over the database can: past every trigger and foreign key. */
export async function tamper(url: string, ...statements: (string | readonly [string, unknown[]])[]): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('set session_replication_role = replica')
    for (const one of statements) await (typeof one === 'string' ? client.query(one) : client.query(one[0], one[1]))
  } finally {
    await client.end()
  }
}

/** Runs all checks of the ledger. */
export async function verifyNow(url: string, options: Partial<Omit<VerifyOptions, 'reader'>> = {}): Promise<readonly CheckResult[]> {
  const reader = await openReader(url)
  try {
    return await verifyLedger({
      reader,
      since: undefined,
      graceSeconds: 120,
      outboxSeconds: 3_600,
      nowMs: Date.now(),
      exactBody: (body) => body,
      keys: [],
      anchors: [],
      resume: undefined,
      save: async () => undefined,
      onResult: () => undefined,
      ...options,
    })
  } finally {
    await reader.close()
  }
}

/** All that was found, as `check/kind`. */
export function kindsOf(results: readonly CheckResult[]): string[] {
  return results.flatMap(({ check, violations }) => violations.map(({ kind }) => `${check}/${kind}`))
}

/** The violation of a kind. */
export function found(results: readonly CheckResult[], kind: string): Violation {
  const one = results.flatMap(({ violations }) => violations).find((violation) => violation.kind === kind)
  if (one === undefined) throw new Error(`nothing of kind ${kind} was found, but ${kindsOf(results).join(', ')}`)
  return one
}

/** Writes rows of a history anew with hashes that fit, as whoever knows the rule of the chain could. */
export const REHASH = `do $$ declare r record; before bytea; begin
  for r in select t as row, t.job_id, t.seq from job_transitions t order by t.job_id, t.seq loop
    if r.seq = 1 then before := sha256(convert_to(r.job_id::text, 'UTF8')); end if;
    update job_transitions set prev_hash = before, hash = sha256(before || convert_to(job_transition_canonical(r.row), 'UTF8'))
      where job_id = r.job_id and seq = r.seq returning hash into before;
  end loop; end $$`

/** Takes the signatures off all checkpoints, with hashes and links made to fit, as if nobody had ever signed. */
export const UNSIGN = `do $$ declare r record; before bytea; begin
  for r in select c.seq from audit_checkpoints c order by c.seq loop
    update audit_checkpoints c set key_id = null, signature = null, prev_hash = coalesce(before, c.prev_hash) where c.seq = r.seq;
    update audit_checkpoints c set hash = sha256(c.prev_hash || convert_to(audit_checkpoint_canonical(c), 'UTF8')) where c.seq = r.seq returning c.hash into before;
  end loop; end $$`

/** Takes checkpoints until every row is covered. Transactions of other tests on the same server can hold the newest back for a moment. */
export async function coverAll(t: Pick<TestLedger, 'database'>, options: { readonly signer?: Signer; readonly mostTransactions?: number } = {}): Promise<void> {
  const isAllCovered = async (): Promise<boolean> => {
    const { kind } = await takeCheckpoint(t.database.db, { signer: options.signer, ...options })
    const tables = ['job_transitions', ...HISTORIES.map(({ table }) => table)]
    const open = tables.map((table) => `exists (select from ${table} t where t.xact >= c.upto and t.xact < '9000000000000000000')`)
    const { rows } = await t.database.pool.query<{ open: boolean }>(
      `select ${open.join(' or ')} as open from (select coalesce(max(xact_to::text::bigint)::text, '0')::xid8 as upto from audit_checkpoints) c`,
    )
    return kind !== 'taken' && rows[0]?.open === false
  }
  // Not `expect.poll`: that works inside a test alone, and a file may do this before its first.
  await vi.waitUntil(isAllCovered, { timeout: 20_000, interval: 20 })
}
