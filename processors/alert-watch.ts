import type { Logger } from 'pino'
import type { ReadToken } from '../config/token-ref.js'
import type { DuePost } from '../ledger/alerts/deliveries.js'
import type { Ledger } from '../ledger/ledger.js'
import { Turns } from '../ledger/turns.js'
import { HookTransport } from '../openclaw/hook-transport.js'
import { lookupWithoutCredentials } from '../openclaw/link-local.js'
import { postNotice } from './alert-post.js'
import { Rounds } from './rounds.js'

export interface AlertWatchOptions {
  readonly ledger: Ledger
  readonly log: Logger
  readonly workerId: string
  readonly readSecret: ReadToken
}

/** Longer than the time between two looks, so that the same process goes on; another follows when it has died. */
const TURN_SECONDS = 5
/** Longer than the longest timeout of a webhook. */
const CLAIM_SECONDS = 45
/** Posts of one claim. Nothing more is claimed for a receiver while any of its own is under way. */
const AT_ONCE = 10

/**
 * Looks at the rules and sends what is owed. Holds nothing: all of it is in the ledger, and any process may go on. It runs
 * beside the API as well as beside workers, since what it watches includes whether workers live.
 */
export class AlertWatch {
  readonly #options: AlertWatchOptions
  readonly #transport = new HookTransport({ lookup: lookupWithoutCredentials })
  readonly #rounds: Rounds
  readonly #turns: Turns
  /** Posts under way, and to whom. */
  readonly #posts = new Map<Promise<void>, string>()
  #beginSoon: () => void = () => undefined

  constructor(options: AlertWatchOptions) {
    this.#options = options
    this.#rounds = new Rounds(options.log)
    this.#turns = new Turns({ db: options.ledger.db, by: options.workerId })
  }

  start(): void {
    this.#rounds.every(2_000, 'alerts', () => this.look())
    this.#beginSoon = this.#rounds.alone('alerts_due', () => this.#begin())
    this.#rounds.every(1_000, 'alerts_due', async () => this.#beginSoon())
  }

  /** One look at the rules, in one process at a time. */
  async look(): Promise<void> {
    const { ledger, log } = this.#options
    if (!(await this.#turns.isMine('alerts', TURN_SECONDS))) return
    const { opened, told, resolved } = await ledger.alerts.evaluate()
    if (opened + told + resolved > 0) log.warn({ event: 'alerts.changed', opened, told, resolved }, 'alerts began, were told or ended')
  }

  /**
   * Sends what is due: to agents as jobs, to webhooks as posts, several at a time. Resolves when each post that was begun has its answer.
   * Begins nothing after the end: each post would fail, and a try be used up.
   */
  async send(): Promise<void> {
    do {
      await this.#begin()
      if (this.#posts.size === 0) return
      await Promise.all(this.#posts.keys())
    } while (!this.#rounds.isStopped)
  }

  /** Begins all that is due. Waits for no receiver: one that takes long to answer holds back what is for itself, and nothing else. */
  async #begin(): Promise<void> {
    const { ledger, workerId } = this.#options
    if (!(await ledger.alerts.anyDue())) return
    while (!this.#rounds.isStopped) {
      const told = await ledger.alerts.tellAgent(workerId)
      if (told === undefined) break
      if (told.error !== undefined) this.#warn({ delivery_id: told.id, status: told.status, error: told.error })
    }
    while (!this.#rounds.isStopped) {
      const due = await ledger.alerts.claimPosts({ limit: AT_ONCE, claimSeconds: CLAIM_SECONDS, butTo: [...new Set(this.#posts.values())] })
      for (const one of due) {
        const post: Promise<void> = this.#rounds.once('alert_posts', () => this.#post(one)).finally(() => this.#ended(post, one.delivery.receiver))
        this.#posts.set(post, one.delivery.receiver)
      }
      if (due.length < AT_ONCE) return
    }
  }

  #ended(post: Promise<void>, receiver: string): void {
    this.#posts.delete(post)
    // What else there is for it need not wait for the next look.
    if (![...this.#posts.values()].includes(receiver)) this.#beginSoon()
  }

  async #post({ delivery, webhook }: DuePost): Promise<void> {
    const { ledger, workerId, readSecret } = this.#options
    const tried = await postNotice({ transport: this.#transport, readSecret, nowMs: ledger.nowMs, worker: workerId }, delivery, webhook)
    const status = await ledger.alerts.recordTry(delivery, tried)
    if (!tried.ok) this.#warn({ delivery_id: delivery.id, status, error: tried.error, try_no: delivery.tries, receiver: delivery.receiver })
  }

  #warn(about: Record<string, unknown>): void {
    this.#options.log.warn({ event: 'alert.undelivered', ...about }, 'an alert could not be told')
  }

  /** Cuts what is under way; it is sent again by whoever is next. */
  async close(): Promise<void> {
    this.#rounds.halt()
    await this.#transport.close()
    await this.#rounds.settled()
    await Promise.all(this.#posts.keys())
  }
}
