import { systemClock } from '../config/clock.js'
import { AttemptTokens, knowsSecret } from '../ledger/tokens.js'
import { openReader } from '../ledger/verify/reader.js'
import type { CheckResult } from '../ledger/verify/report.js'
import { verifyLedger } from '../ledger/verify/verify.js'
import { TOKEN_PLACE } from './hook-prompts.js'

const GRACE_SECONDS = 120

/**
 * Every check of the ledger, as of the moment the backup was made: nobody has renewed a lease or kept a slot since, and that
 * is no fault of the backup.
 */
export async function verifyRestored(request: {
  readonly url: string
  readonly secret: string | undefined
  readonly madeAt: string
  readonly onResult: (result: CheckResult) => void
}): Promise<readonly CheckResult[]> {
  const reader = await openReader(request.url)
  try {
    const tokens = request.secret === undefined ? undefined : new AttemptTokens(request.secret)
    const known = tokens !== undefined && (await knowsSecret(reader.db, tokens)) ? tokens : undefined
    const madeMs = Date.parse(request.madeAt)
    return await verifyLedger({
      reader,
      since: undefined,
      graceSeconds: GRACE_SECONDS + Math.max(0, Math.ceil((systemClock.nowMs() - madeMs) / 1_000)),
      outboxSeconds: GRACE_SECONDS,
      nowMs: madeMs,
      exactBody: known === undefined ? undefined : (body, attemptId) => body.replaceAll(TOKEN_PLACE, known.issue(attemptId)),
      keys: [],
      anchors: [],
      resume: undefined,
      save: async () => undefined,
      onResult: request.onResult,
    })
  } finally {
    await reader.close()
  }
}
