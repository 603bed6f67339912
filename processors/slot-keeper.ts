import type { Actor } from '../contracts/actor.js'
import type { Logger } from '../config/logger.js'
import { messageOf } from '../contracts/errors.js'
import { keepSlots } from '../ledger/keep-slots.js'
import type { Ledger } from '../ledger/ledger.js'
import { planSlots } from '../ledger/plan-slots.js'

export interface SlotKeeperOptions {
  readonly ledger: Ledger
  readonly log: Logger
  readonly processId: string
  /** Milliseconds ahead for which every slot is a row. */
  readonly horizonMs: number
  /** Milliseconds between looks. */
  readonly everyMs: number
}

const ORDERS_PER_PLAN = 500
const ORDERS_PER_LOOK = 100
const MOST_ROUNDS = 200

/**
 * Writes slots before they are due and settles those that nobody started. Runs in every process, workers or not, and
 * elects nobody: orders are claimed with SKIP LOCKED. What the scheduler of a queue thinks is never asked.
 */
export class SlotKeeper {
  readonly #options: SlotKeeperOptions
  readonly #actor: Actor
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()
  #unlisten: () => void = () => undefined
  #stopped = true

  constructor(options: SlotKeeperOptions) {
    this.#options = options
    this.#actor = { kind: 'system', id: options.processId }
  }

  /** The first look is awaited, so that the slots of a fleet that is applied already are rows before anything ticks. */
  async start(): Promise<void> {
    this.#stopped = false
    await this.look()
    this.#unlisten = this.#options.ledger.hints.listen((hint) => {
      if (hint.fleet === true) this.#schedule(0)
    })
    this.#schedule(this.#options.everyMs)
  }

  #schedule(ms: number): void {
    if (this.#stopped) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#running = this.#running.then(() => this.look()).finally(() => this.#schedule(this.#options.everyMs))
    }, ms)
  }

  /** Plans and settles whatever wants it now; when nothing does, one statement says so. Never rejects. */
  async look(): Promise<void> {
    const { ledger, log } = this.#options
    try {
      const due = await ledger.upkeep.slotsDue()
      if (due.plan) await this.#plan()
      // What was just planned may want a look already.
      if (due.plan || due.look) await this.#keep()
    } catch (error) {
      if (!this.#stopped) log.warn({ event: 'slots.failed', err: messageOf(error) }, 'could not keep the slots; it will try again')
    }
  }

  async #plan(): Promise<void> {
    const { ledger, horizonMs } = this.#options
    for (let round = 0; round < MOST_ROUNDS && !this.#stopped; round += 1) {
      const planned = await ledger.run((tx) => planSlots(tx, { nowMs: ledger.nowMs(), horizonMs, limit: ORDERS_PER_PLAN }))
      if (planned.orders < ORDERS_PER_PLAN && planned.slots < ORDERS_PER_PLAN) break
    }
  }

  async #keep(): Promise<void> {
    const { ledger, log } = this.#options
    for (let round = 0; round < MOST_ROUNDS && !this.#stopped; round += 1) {
      const kept = await ledger.run((tx) => keepSlots(tx, { nowMs: ledger.nowMs(), actor: this.#actor, limit: ORDERS_PER_LOOK }))
      if (kept.missed > 0) log.warn({ event: 'slots.missed', missed: kept.missed }, 'slots of standing orders were missed')
      if (kept.started + kept.missed + kept.caughtUp + kept.skipped + kept.waiting === 0) break
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unlisten()
    clearTimeout(this.#timer)
    await this.#running
  }
}
