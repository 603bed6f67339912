import { systemClock } from '../config/clock.js'
import type { SignatureCheck } from '../ledger/audit/signing.js'
import { AttemptTokens, knowsSecret } from '../ledger/tokens.js'
import { openReader } from '../ledger/verify/reader.js'
import type { CheckResult } from '../ledger/verify/report.js'
import { verifyLedger } from '../ledger/verify/verify.js'
import { withToken } from './hook-prompts.js'

const GRACE_SECONDS = 120

/**
 * Every check of the ledger, as of the moment the backup was made: nobody has renewed a lease or kept a slot since, and that
 * is no fault of the backup.
 */
export async function verifyRestored(request: {
  readonly url: string
  readonly secret: string | undefined
  readonly madeAt: string
  /** Public keys for the signatures of checkpoints; none: they are not checked. */
  readonly keys: readonly SignatureCheck[]
  /** The newest checkpoint that the backup brought along, before the restore added its own. */
  readonly newestKept: number | undefined
  readonly onResult: (result: CheckResult) => void
}): Promise<readonly CheckResult[]> {
  const reader = await openReader(request.url)
  try {
    const tokens = request.secret === undefined ? undefined : new AttemptTokens(request.secret)
    const known = tokens !== undefined && (await knowsSecret(reader.db, tokens)) ? tokens : undefined
    const madeMs = Date.parse(request.madeAt)
    const ageSeconds = Math.max(0, Math.ceil((systemClock.nowMs() - madeMs) / 1_000))
    return await verifyLedger({
      reader,
      since: undefined,
      graceSeconds: GRACE_SECONDS + ageSeconds,
      outboxSeconds: GRACE_SECONDS + ageSeconds,
      nowMs: madeMs,
      exactBody: known === undefined ? undefined : (body, attemptId) => withToken(body, known.issue(attemptId)),
      keys: request.keys,
      anchors: [],
      newestKept: request.newestKept,
      resume: undefined,
      save: async () => undefined,
      onResult: request.onResult,
    })
  } finally {
    await reader.close()
  }
}

/** The number of the newest checkpoint; undefined when there is none. */
export async function newestCheckpoint(url: string): Promise<number | undefined> {
  const reader = await openReader(url)
  try {
    const { rows } = await reader.client.query<{ seq: number | null }>('select max(seq) as seq from audit_checkpoints')
    return rows[0]?.seq ?? undefined
  } finally {
    await reader.close()
  }
}
