import pg from 'pg'
import { openReader } from '../../ledger/verify/reader.js'
import type { CheckResult, Violation } from '../../ledger/verify/report.js'
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
