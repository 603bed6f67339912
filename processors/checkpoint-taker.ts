import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../config/logger.js'
import { takeCheckpoint } from '../ledger/audit/take-checkpoint.js'
import { endedBelow } from '../ledger/audit/write-checkpoint.js'
import type { Signer } from '../ledger/audit/signing.js'
import type { Ledger } from '../ledger/ledger.js'
import type { Turns } from '../ledger/turns.js'

/**
 * What a checkpoint of a running bus covers at most, and with how many waiting the next one is not put off: a tenth of a second of
 * work. A minute of a busy bus in one go would hold up what is delivered just then.
 */
const TRANSACTIONS = 2_000n
/** How soon it is seen that so many wait. */
const LOOK_EVERY_MS = 5_000
/** Of the time that one took, before the next. Beside one core's worth of deliveries a third of another is left for this. */
const REST = 2
const LONGEST_REST_MS = 1_000
/** Checkpoints per look, which is some seconds of work: what was left undone for long is caught up with look by look. */
const MOST_CHECKPOINTS = 20

export interface CheckpointTakerOptions {
  readonly ledger: Ledger
  readonly log: Logger
  readonly turns: Turns
  readonly signer: Signer | undefined
  /** How often at least, if there is anything new. */
  readonly everyMs: number
  readonly isStopped: () => boolean
  /** Milliseconds of a clock that never goes back; the one of the process when not given. */
  readonly nowMs?: () => number
}

/** Takes checkpoints: every so often whatever has been written, and sooner, a small one at a time, when much is. One process does so at a time. */
export class CheckpointTaker {
  readonly #options: CheckpointTakerOptions
  readonly #nowMs: () => number
  #dueMs: number
  #isMine = false
  /** All below it had ended, and was covered, when this process was last through. */
  #coveredTo = 0n

  constructor(options: CheckpointTakerOptions) {
    this.#options = options
    this.#nowMs = options.nowMs ?? (() => performance.now())
    this.#dueMs = this.#nowMs() + options.everyMs
  }

  /** Milliseconds between two looks. */
  get lookEveryMs(): number {
    return Math.min(LOOK_EVERY_MS, this.#options.everyMs)
  }

  async look(): Promise<void> {
    const { ledger, turns, everyMs } = this.#options
    const nowMs = this.#nowMs()
    // The rounds come a little early: one that is due within half of their distance is due now.
    const isDue = nowMs >= this.#dueMs - this.lookEveryMs / 2
    if (!isDue && !this.#isMine) return
    const ended = await endedBelow(ledger.db)
    if (!isDue && ended - this.#coveredTo < TRANSACTIONS) return
    if (isDue) this.#dueMs = nowMs + everyMs
    this.#isMine = await turns.isMine('checkpoints', everyMs / 1_000 + 5)
    if (this.#isMine && (await this.#takeUpTo(ended))) this.#coveredTo = ended
  }

  /** @returns whether nothing below `ended` is left to cover. What it takes is told, so that the log keeps a copy of each hash. */
  async #takeUpTo(ended: bigint): Promise<boolean> {
    const { ledger, log, signer, isStopped } = this.#options
    for (let count = 0; count < MOST_CHECKPOINTS && !isStopped(); count += 1) {
      const startedMs = performance.now()
      const taken = await takeCheckpoint(ledger.db, { signer, mostTransactions: Number(TRANSACTIONS) })
      if (taken.kind === 'behind')
        log.error({ event: 'checkpoint.behind', covered_to: taken.last }, 'transactions are numbered below the last checkpoint: run agentbus checkpoint --after-restore')
      if (taken.kind !== 'taken') return taken.kind === 'nothing'
      const { seq, hash, rows, records, xact_to } = taken.checkpoint
      log.info({ event: 'checkpoint.taken', seq, hash, rows, records, xact_to }, 'a checkpoint was taken')
      if (BigInt(xact_to) >= ended) return true
      await sleep(Math.min(LONGEST_REST_MS, REST * (performance.now() - startedMs)))
    }
    return false
  }
}
