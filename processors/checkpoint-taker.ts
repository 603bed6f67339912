import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../config/logger.js'
import { takeCheckpoint } from '../ledger/audit/take-checkpoint.js'
import { endedBelow } from '../ledger/audit/write-checkpoint.js'
import type { Signer } from '../ledger/audit/signing.js'
import type { Ledger } from '../ledger/ledger.js'
import type { Turns } from '../ledger/turns.js'

/**
 * What a checkpoint of a running bus covers at most, and with how many waiting the next one is not put off: a tenth of a second of
 * work. A minute of a busy bus in one go would hold up what is delivered just then. All transactions of the server count, those of
 * queues on it among them.
 */
const TRANSACTIONS = 2_000n
/** How soon it is seen that so many wait. */
const LOOK_EVERY_MS = 5_000
/** A process that has the turn is asked for it again no later than this. */
const LONGEST_TURN_MS = 60_000
/** When somebody else has the turn: it may be one that has died. */
const ASK_AGAIN_MS = 15_000
/** Of the time that one took, before the next. A fifth of the time of one connection is left for this. */
const REST = 4
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

/**
 * Takes checkpoints: every so often whatever has been written, and sooner, a small one at a time, when many transactions have gone by. One
 * process does so at a time.
 */
export class CheckpointTaker {
  readonly #options: CheckpointTakerOptions
  readonly #nowMs: () => number
  /** Milliseconds between two looks, a whole part of the time between two checkpoints. */
  readonly lookEveryMs: number
  #dueMs: number
  /** It had the turn and all went well at the last look: only then more is taken before it is due. */
  #goesOn = false
  /** All below it had ended, and was covered, when this process was last through. */
  #coveredTo = 0n

  constructor(options: CheckpointTakerOptions) {
    this.#options = options
    this.#nowMs = options.nowMs ?? (() => performance.now())
    this.lookEveryMs = options.everyMs / Math.ceil(options.everyMs / LOOK_EVERY_MS)
    this.#dueMs = this.#nowMs() + options.everyMs
  }

  async look(): Promise<void> {
    const { ledger, turns, everyMs } = this.#options
    const nowMs = this.#nowMs()
    // The rounds come a little early: one that is due within half of their distance is due now.
    const isDue = nowMs >= this.#dueMs - this.lookEveryMs / 2
    if (!isDue && !this.#goesOn) return
    const ended = await endedBelow(ledger.db)
    if (!isDue && ended - this.#coveredTo < TRANSACTIONS) return
    this.#goesOn = false
    const isMine = await turns.isMine('checkpoints', Math.min(everyMs, LONGEST_TURN_MS) / 1_000 + 5)
    this.#dueMs = nowMs + (isMine ? everyMs : Math.min(everyMs, ASK_AGAIN_MS))
    if (!isMine) return
    const end = await this.#takeUpTo(ended)
    if (end === 'all') this.#coveredTo = ended
    this.#goesOn = end !== 'behind'
  }

  /** Another process may go on at once. */
  async stop(): Promise<void> {
    await this.#options.turns.giveBack('checkpoints')
  }

  /** What it takes is told, so that the log keeps a copy of each hash. @returns `all` when nothing below `ended` is left to cover */
  async #takeUpTo(ended: bigint): Promise<'all' | 'some' | 'behind'> {
    const { ledger, log, signer, isStopped } = this.#options
    for (let count = 0; count < MOST_CHECKPOINTS && !isStopped(); count += 1) {
      const startedMs = performance.now()
      const taken = await takeCheckpoint(ledger.db, { signer, mostTransactions: Number(TRANSACTIONS) })
      if (taken.kind === 'behind') {
        log.error({ event: 'checkpoint.behind', covered_to: taken.last }, 'transactions are numbered below the last checkpoint: run agentbus checkpoint --after-restore')
        return 'behind'
      }
      if (taken.kind !== 'taken') return taken.kind === 'nothing' ? 'all' : 'some'
      const { seq, hash, rows, records, xact_to } = taken.checkpoint
      log.info({ event: 'checkpoint.taken', seq, hash, rows, records, xact_to }, 'a checkpoint was taken')
      if (BigInt(xact_to) >= ended) return 'all'
      await sleep(Math.min(LONGEST_REST_MS, REST * (performance.now() - startedMs)))
    }
    return 'some'
  }
}
