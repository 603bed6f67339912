import { setTimeout as sleep } from 'node:timers/promises'
import { withToken } from '../../cli/hook-prompts.js'
import { messageOf } from '../../contracts/errors.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import type { Ledger } from '../../ledger/ledger.js'
import { openReader, type Reader } from '../../ledger/verify/reader.js'
import type { CheckResult } from '../../ledger/verify/report.js'
import { verifyLedger } from '../../ledger/verify/verify.js'
import { within, type QueueBackend } from '../../queues/backend.js'
import { checkParity } from '../../queues/check-parity.js'
import { QueueRegistry } from '../../queues/queue-registry.js'

/** As `agentbus verify` has them. */
const GRACE_SECONDS = 120
const OUTBOX_SECONDS = 60
/** A checkpoint waits for transactions that still run. */
const CHECKPOINT_BOUND_MS = 20_000
/** A store that fell back to an older copy holds entries of jobs that are over until a sweep, due every five seconds, takes them out. */
const PARITY_BOUND_MS = 30_000
const CLOSE_MS = 5_000

/** What `agentbus verify` finds after a storm. */
export interface Audit {
  /** One result for each check of the books. */
  readonly ledger: readonly CheckResult[]
  /** One result for each agent's queue. */
  readonly queues: readonly CheckResult[]
}

/**
 * Takes a checkpoint over all that the storm has left, runs every check of `agentbus verify`, prompts included, and compares
 * each queue with the ledger. What cannot be checked is a result that says so; nothing is thrown.
 */
export async function auditAll(options: {
  /** With the secret of the storm: prompts are recomputed with its tokens. */
  readonly ledger: Ledger
  readonly url: string
  /** Closed at the end. */
  readonly backend: QueueBackend
  readonly agents: readonly string[]
}): Promise<Audit> {
  const queues = new QueueRegistry(options.backend)
  try {
    const reader = await openReader(options.url)
    try {
      const ledger = await auditBooks(options.ledger, reader)
      const compared: CheckResult[] = []
      for (const agent of options.agents) compared.push(await compareQueue(reader, queues, agent))
      return { ledger, queues: compared }
    } finally {
      await reader.close().catch(() => undefined)
    }
  } catch (error) {
    return { ledger: [unchecked('ledger', error)], queues: [unchecked('queues', error)] }
  } finally {
    await within(CLOSE_MS, 'closing the queues', queues.close()).catch(() => undefined)
    await options.backend.close().catch(() => undefined)
  }
}

async function auditBooks(ledger: Ledger, reader: Reader): Promise<readonly CheckResult[]> {
  try {
    await coverAll(ledger)
    return await verifyLedger({
      reader,
      since: undefined,
      graceSeconds: GRACE_SECONDS,
      outboxSeconds: OUTBOX_SECONDS,
      nowMs: Date.now(),
      exactBody: (body, attemptId) => withToken(body, ledger.tokens.attempts.issue(attemptId)),
      keys: [],
      anchors: [],
      resume: undefined,
      save: async () => undefined,
      onResult: () => undefined,
    })
  } catch (error) {
    return [unchecked('ledger', error)]
  }
}

/** Takes checkpoints until nothing is left to cover. A worker of the storm may take one at the same moment. */
async function coverAll({ db }: Ledger): Promise<void> {
  const endMs = performance.now() + CHECKPOINT_BOUND_MS
  while (performance.now() < endMs) {
    const { kind } = await takeCheckpoint(db, { signer: undefined })
    if (kind === 'nothing') return
    // Of a ledger that was never restored this would be a fault; the check of checkpoints says so.
    if (kind === 'behind') return
    if (kind === 'busy') await sleep(100)
  }
}

async function compareQueue(reader: Reader, queues: QueueRegistry, agent: string): Promise<CheckResult> {
  const endMs = performance.now() + PARITY_BOUND_MS
  for (;;) {
    const compared = await checkParity(reader.db, queues, [agent], 0).catch((error: unknown) => unchecked('queues', error))
    if (compared.verdict === 'ok' || performance.now() > endMs) return compared
    await sleep(500)
  }
}

function unchecked(check: string, error: unknown): CheckResult {
  return { check, verdict: 'unchecked', examined: 0, violations: [], note: messageOf(error) }
}
