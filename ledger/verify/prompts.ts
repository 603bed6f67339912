import type pg from 'pg'
import type { AttemptId } from '../../contracts/ids.js'
import { sha256 } from '../canonical.js'
import type { Findings } from './report.js'

/** Bodies have up to 256 KiB each. */
const PAGE = 100
const NIL = '00000000-0000-0000-0000-000000000000'

/**
 * Checks what each attempt was sent against its hash. The token of the attempt was cut out of the stored text and is put back
 * by `exactBody`; equal hashes then say that these were the bytes. Goes by attempts: a text that nobody was sent proves nothing.
 * Texts that were pruned are the affair of the check of prunes.
 */
export async function walkPrompts(
  client: pg.Client,
  options: {
    readonly from: string | undefined
    readonly since: string | undefined
    readonly findings: Findings
    readonly exactBody: (storedBody: string, attemptId: AttemptId) => string
    readonly onPage: (position: string, rows: number) => Promise<void>
  },
): Promise<void> {
  let position = options.from ?? NIL
  for (;;) {
    const { rows } = await client.query<{ id: string; hash: string; body: string; bytes: number }>(
      `select a.id, p.hash, p.body, p.bytes from job_attempts a join prompts p on p.hash = a.prompt_hash
       where a.id > $1::uuid and p.pruned_by is null and ($2::timestamptz is null or a.leased_at >= $2) order by a.id limit ${PAGE}`,
      [position, options.since ?? null],
    )
    for (const row of rows) {
      const body = options.exactBody(row.body, row.id as AttemptId)
      if (sha256(body) === row.hash && Buffer.byteLength(body) === row.bytes) continue
      options.findings.add({
        kind: 'prompt_changed',
        what: `The stored prompt of attempt ${row.id} is not the text that was sent: it does not have the hash ${row.hash}.`,
        row: { attempt_id: row.id, hash: row.hash },
        next: 'Restore the text from a backup; its hash tells when it is the right one.',
      })
    }
    position = rows.at(-1)?.id ?? position
    if (rows.length > 0) await options.onPage(position, rows.length)
    if (rows.length < PAGE) return
  }
}
