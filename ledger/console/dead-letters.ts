import { sql } from 'drizzle-orm'
import type { AgentId, JobId } from '../../contracts/ids.js'
import type { JobStatus, Lane } from '../../contracts/job-states.js'
import { sha256 } from '../canonical.js'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'

/** So many dead letters are sorted into causes, the newest ones. */
export const DEAD_LETTERS_READ = 5_000

export interface DeadLetter {
  readonly id: JobId
  readonly subject: string
  readonly status: JobStatus
  readonly lane: Lane
  readonly target_agent: AgentId | null
  readonly last_error: string | null
  readonly last_error_code: string | null
  readonly attempt_count: number
  readonly max_attempts: number
  readonly finished_at: string
  readonly cause: string
}

export interface DeadLetterCause {
  readonly cause: string
  /** SHA-256 of the cause: what a form names it by. The text itself may hold what no form brings back as it was. */
  readonly key: string
  readonly code: string | null
  /** The error of the newest one, as it was written. */
  readonly example: string | null
  readonly letters: readonly DeadLetter[]
  readonly agents: readonly string[]
}

/** Dead letters that nobody has buried, grouped by cause, most first: the code, and the error without what differs from one to the next. */
export async function deadLetters(tx: Tx, only: { readonly agent?: string | undefined } = {}): Promise<{ causes: DeadLetterCause[]; total: number; cut: boolean }> {
  const { rows } = await tx.execute(sql`
    select id, left(subject, 300) as subject, status, lane, target_agent, left(last_error, 1000) as last_error, last_error_code, attempt_count, max_attempts, finished_at
    from jobs where status in ('failed', 'dead') and buried_at is null and (${only.agent ?? null}::text is null or target_agent = ${only.agent ?? null})
    order by finished_at desc nulls last limit ${DEAD_LETTERS_READ}`)
  const causes = new Map<string, DeadLetter[]>()
  for (const row of rows) {
    const cause = causeOf(row['last_error_code'] as string | null, row['last_error'] as string | null)
    const letter: DeadLetter = {
      ...(row as unknown as DeadLetter),
      attempt_count: Number(row['attempt_count']),
      max_attempts: Number(row['max_attempts']),
      finished_at: iso(String(row['finished_at'])),
      cause,
    }
    const known = causes.get(cause)
    if (known === undefined) causes.set(cause, [letter])
    else known.push(letter)
  }
  return {
    causes: [...causes]
      .map(([cause, letters]) => ({
        cause,
        key: sha256(cause),
        code: letters[0]?.last_error_code ?? null,
        example: letters[0]?.last_error ?? null,
        letters,
        agents: [...new Set(letters.map((letter) => letter.target_agent ?? 'nobody'))].sort(),
      }))
      .sort((a, b) => b.letters.length - a.letters.length || a.cause.localeCompare(b.cause)),
    total: rows.length,
    cut: rows.length >= DEAD_LETTERS_READ,
  }
}

/** The same for errors that differ only in ids, numbers and quoted names. */
export function causeOf(code: string | null, error: string | null): string {
  const line = (error ?? '').split(/\r\n|\r|\n/, 1)[0] ?? ''
  const plain = line
    .replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, '*')
    .replace(/\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b/gi, '*')
    .replace(/\d+/g, '*')
    .replace(/"[^"]{0,200}"|'[^']{0,200}'/g, '*')
  // Between characters: half of one is not text, and every half has the same bytes.
  return `${code ?? 'no code'}: ${Array.from(plain.slice(0, 320)).slice(0, 160).join('')}`
}
