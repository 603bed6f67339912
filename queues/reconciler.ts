import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Actor } from '../contracts/actor.js'
import { messageOf } from '../contracts/errors.js'
import { claimRebuild, claimTick, extendRebuild, finishRebuild, readEpoch, recordTick } from '../ledger/epoch.js'
import type { Ledger } from '../ledger/ledger.js'
import { observe } from '../ledger/observe.js'
import { emitEvent } from '../ledger/emit-event.js'
import { PRESENCE_EVERY_MS, seen } from '../ledger/presence.js'
import { lostEntries, republishBatch, type LostEntry } from '../ledger/queue-parity.js'
import { claimTurn } from '../ledger/turns.js'
import { EpochSentinel } from './epoch-sentinel.js'
import type { QueueRegistry } from './queue-registry.js'
import { Sweep } from './sweep.js'

/** Whether a part of what is done regularly is this process's, and not another's. */
export type IsMine = (part: 'sweep' | 'limits' | 'schedulers') => Promise<boolean>

export interface ReconcilerOptions {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly log: Logger
  readonly processId: string
  /** Milliseconds between full comparisons of ledger and queues. */
  readonly sweepMs: number
  /** Milliseconds between looks at the epoch mark. */
  readonly checkMs?: number
  /**
   * Called after a rebuild, and in every process when a sweep is due, for what else lives in the store: limits, pauses,
   * schedulers. Each part asks first whether this process is to do it.
   */
  readonly applySettings: (isMine: IsMine) => Promise<void>
}

/** Jobs that are listed at once, and published by one statement. */
const PAGE = 20_000
const BATCH = 1_000
const REBUILD_LEASE_SECONDS = 30
/** Milliseconds from a reconnection to the sweep: a little more than a sweep leaves jobs in peace after they have changed. */
const RECONNECTED_MS = 4_000
/** Ticks that may be under way between two processes. More than that missing means an older copy. */
const TICK_TOLERANCE = 3

/**
 * Keeps the queue store equal to the ledger: notices at once that the store was wiped or fell back to an old copy and
 * rebuilds it, and sweeps for differences of single entries. Runs in every process; claims are taken in the ledger, and
 * one process sweeps for all.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions
  readonly #sentinel: EpochSentinel
  readonly #sweep: Sweep
  readonly #actor: Actor
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()
  #nextSweepAt = 0
  #nextPresenceAt = 0
  #stopped = true

  constructor(options: ReconcilerOptions) {
    this.#options = options
    this.#sentinel = new EpochSentinel(options.queues.backend)
    this.#actor = { kind: 'reconciler', id: options.processId }
    this.#sweep = new Sweep({ ledger: options.ledger, queues: options.queues, log: options.log, actor: this.#actor })
  }

  /** The first look is awaited, so that a store that is empty is filled before workers start. */
  async start(): Promise<void> {
    this.#stopped = false
    this.#options.queues.backend.onReconnect(() => {
      // Not at once: what was lost with the store's last second is too young for a sweep to judge.
      this.#nextSweepAt = Math.min(this.#nextSweepAt, this.#options.ledger.nowMs() + RECONNECTED_MS)
    })
    this.#nextSweepAt = this.#options.ledger.nowMs() + this.#options.sweepMs
    await this.look()
    this.#schedule()
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.#running = this.look().finally(() => this.#schedule())
    }, this.#options.checkMs ?? 1_000)
  }

  /** One look at the mark, and a sweep when it is due. Never rejects. */
  async look(): Promise<void> {
    try {
      await this.#checkEpoch()
      if (this.#options.ledger.nowMs() >= this.#nextSweepAt) {
        this.#nextSweepAt = this.#options.ledger.nowMs() + this.#options.sweepMs
        const isMine: IsMine = (part) => this.#claim(part)
        if (await isMine('sweep')) await this.#sweep.run()
        await this.#options.applySettings(isMine)
      }
    } catch (error) {
      if (!this.#stopped) this.#options.log.warn({ event: 'reconciler.failed', err: messageOf(error) }, 'reconciler could not look; it will again')
    }
  }

  /** Who had the turn keeps it while it lives: it is longer than the time between two sweeps. */
  #claim(part: string): Promise<boolean> {
    const { ledger, processId, sweepMs } = this.#options
    return claimTurn(ledger.db, { name: `regular_${part}`, by: processId, seconds: (1.5 * sweepMs) / 1_000 + 1 })
  }

  async #checkEpoch(): Promise<void> {
    const db = this.#options.ledger.db
    const [expected, found] = await Promise.all([readEpoch(db), this.#sentinel.read()])
    await this.#notePresence()
    if (expected?.rebuilding === true) return
    const fault = faultOf(expected, found)
    if (fault !== undefined) return this.#rebuild(expected?.epoch, fault)
    if (expected === undefined || found === undefined) return
    if (await claimTick(db, expected.epoch)) {
      const tick = found.tick + 1
      if (await this.#sentinel.advance({ epoch: expected.epoch, tick })) await recordTick(db, expected.epoch, tick)
    }
  }

  /** The store has just answered: when it was there tells later why a slot was missed. */
  async #notePresence(): Promise<void> {
    const nowMs = this.#options.ledger.nowMs()
    if (nowMs < this.#nextPresenceAt) return
    this.#nextPresenceAt = nowMs + PRESENCE_EVERY_MS
    await seen(this.#options.ledger.db, 'queue_store', nowMs)
  }

  async #rebuild(expected: string | undefined, reason: string): Promise<void> {
    const { ledger, log, processId } = this.#options
    const epoch = randomUUID()
    if (!(await claimRebuild(ledger.db, { expected, nextEpoch: epoch, by: processId, leaseSeconds: REBUILD_LEASE_SECONDS }))) return
    const startedMs = ledger.nowMs()
    let count: number
    do {
      // Of no epoch: it only shows whether the store was lost again meanwhile, and whoever finds it after this process has died rebuilds.
      await this.#sentinel.write({ epoch: randomUUID(), tick: 0 })
      count = await this.#republishAll(epoch)
      await this.#options.applySettings(async () => true)
    } while (!(await this.#sentinel.advance({ epoch, tick: 0 })))
    await finishRebuild(ledger.db, processId)
    const tookMs = ledger.nowMs() - startedMs
    const details = { reason, jobs: count, took_ms: tookMs, epoch }
    await ledger.run(async (tx) => {
      await observe(tx, { kind: 'mend', code: 'queue_rebuilt', actor: this.#actor, detail: `The queue store was rebuilt from the ledger: ${reason}.`, details })
      await emitEvent(tx, { namespace: 'default', topic: 'queue.rebuilt', payload: details }, { actor: this.#actor, nowMs: ledger.nowMs() })
    })
    log.info({ event: 'queue.rebuilt', ...details }, 'the queue store was rebuilt from the ledger')
  }

  /** Publishes everything that should be in the queues. @returns how many jobs that are */
  async #republishAll(epoch: string): Promise<number> {
    const { ledger, processId } = this.#options
    let count = 0
    let after: LostEntry | undefined
    do {
      const page = await lostEntries(ledger.db, { after, limit: PAGE })
      for (let at = 0; at < page.length; at += BATCH) {
        count += await republishBatch(ledger.db, { actor: this.#actor, epoch, entries: page.slice(at, at + BATCH) })
        ledger.hints.give({ outbox: true })
        await extendRebuild(ledger.db, { by: processId, leaseSeconds: REBUILD_LEASE_SECONDS })
      }
      after = page.length < PAGE ? undefined : page.at(-1)
    } while (after !== undefined)
    return count
  }

  /** Compares ledger and queues now. @returns how many differences were mended */
  sweepNow(): Promise<number> {
    return this.#sweep.run()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
    await this.#sentinel.close()
  }
}

function faultOf(expected: { epoch: string; tick: number } | undefined, found: { epoch: string; tick: number } | undefined): string | undefined {
  if (expected === undefined) return 'first use of this ledger'
  if (found === undefined) return 'the store lost its content'
  if (found.epoch !== expected.epoch) return 'the store holds another epoch'
  if (found.tick < expected.tick - TICK_TOLERANCE) return `the store fell back to an older copy (tick ${found.tick}, ledger ${expected.tick})`
  return undefined
}
