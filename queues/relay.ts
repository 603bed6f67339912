import type { Logger } from 'pino'
import { parseTraceparent, type Tracing } from '../config/tracing.js'
import { messageOf } from '../contracts/errors.js'
import { cleanText } from '../contracts/text.js'
import type { Ledger } from '../ledger/ledger.js'
import { claimOutbox, unclaimOutbox, type OutboxItem } from '../ledger/outbox.js'
import { deliveryOptions, entryId } from './catalogue.js'
import type { QueueRegistry } from './queue-registry.js'
import { ToldRows } from './told-rows.js'

export interface RelayOptions {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly log: Logger
  /** Milliseconds between looks when no hint comes. */
  readonly pollMs: number
  /** Told of what a worker may pick up as soon as the store has it, right before the store is told. Must not throw. */
  readonly onPublish?: (items: readonly OutboxItem[]) => void
  readonly tracing?: Tracing | undefined
}

const BATCH = 500
/** Longer than the store may take for a batch; after it another relay publishes the same rows again, harmlessly. */
const CLAIM_SECONDS = 10
/** The same for what this process has just created. It is what a job waits when the process dies right after its commit. */
const FRESH_CLAIM_SECONDS = 2
/** Held in memory while the store is away; what is created beyond that waits in the outbox alone. */
const MOST_FRESH = 5_000
/** Milliseconds for which rows of others wait at most while this process has jobs of its own to publish. */
const LONGEST_UNSEEN_MS = 50

/**
 * Publishes the outbox to the queue store. Runs in every process and elects nobody: rows are claimed with
 * SKIP LOCKED. What this process creates itself it is handed right after the commit, and need not look for. A commit's
 * hint wakes it at once; polling finds what a lost hint missed. Rows of what was published go later, beside all this.
 */
export class Relay {
  readonly #options: RelayOptions
  readonly #told: ToldRows
  #timer: NodeJS.Timeout | undefined
  /** When the timer is due, by `performance.now()`. */
  #lookAtMs = 0
  #running: Promise<void> | undefined
  #lookedMs = 0
  /** Created by this process and not yet published; the rows are claimed for it. */
  #fresh: OutboxItem[] = []
  #shallLook = false
  #stopped = true
  #failures = 0
  #detach: () => void = () => undefined

  constructor(options: RelayOptions) {
    this.#options = options
    this.#told = new ToldRows(options)
  }

  start(): void {
    this.#stopped = false
    const { ledger } = this.#options
    const unlisten = ledger.hints.listen((hint, origin) => {
      // A process leaves its own commits to itself, and looks after others' a moment later, so that not all race for each row. While the store
      // is away they are no reason to try it sooner.
      if (hint.outbox === true && origin === 'local') this.kick()
      else if (hint.outbox === true && this.#failures === 0) this.#schedule(5)
    })
    const withdraw = ledger.publishBy({
      claimSeconds: FRESH_CLAIM_SECONDS,
      publish: (item) => {
        if (this.#fresh.length < MOST_FRESH) this.#fresh.push(item)
        this.#run()
      },
    })
    this.#detach = () => {
      unlisten()
      withdraw()
    }
    this.kick()
  }

  /** Looks now. Safe to call at any rate: looks that come while one is under way are folded into one. */
  kick(): void {
    this.#shallLook = true
    this.#run()
  }

  #run(): void {
    if (this.#stopped || this.#running !== undefined) return
    this.#running = this.#drain().finally(() => {
      this.#running = undefined
      // Something may have come between the last look at what is to be done and now; a failure waits for its time.
      if (this.#failures === 0 && (this.#shallLook || this.#fresh.length > 0)) this.#run()
      else this.#schedule(this.#failures === 0 ? this.#options.pollMs : Math.min(100 * 2 ** this.#failures, 2_000))
    })
  }

  /**
   * Looks in `ms` milliseconds, or before that when it would anyway. Nothing puts a look off: hints that come every moment, and jobs that
   * this process creates again and again, would else keep it from ever finding what nobody tells of.
   */
  #schedule(ms: number): void {
    const lookAtMs = performance.now() + ms
    if (this.#stopped || (this.#timer !== undefined && this.#lookAtMs <= lookAtMs)) return
    clearTimeout(this.#timer)
    this.#lookAtMs = lookAtMs
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.kick()
    }, ms)
  }

  async #drain(): Promise<void> {
    try {
      while (!this.#stopped && (this.#fresh.length > 0 || this.#shallLook)) {
        if (this.#fresh.length > 0) await this.#publish(this.#fresh.splice(0, BATCH))
        // What this process creates all the time may not keep it from what others have left here.
        if (this.#shallLook && (this.#fresh.length === 0 || performance.now() - this.#lookedMs >= LONGEST_UNSEEN_MS)) await this.#look()
        this.#failures = 0
      }
    } catch (error) {
      this.#failures = Math.min(this.#failures + 1, 6)
      if (!this.#stopped) this.#options.log.warn({ event: 'relay.failed', err: messageOf(error), failures: this.#failures }, 'relay failed; the outbox keeps the rows')
      await this.#handBack()
    }
  }

  async #look(): Promise<void> {
    this.#shallLook = false
    this.#lookedMs = performance.now()
    const claimed = await claimOutbox(this.#options.ledger.db, { limit: BATCH, leaseSeconds: CLAIM_SECONDS })
    if (claimed.length === BATCH) this.#shallLook = true
    const items = claimed.filter((item) => !this.#told.has(item))
    if (items.length > 0) await this.#publish(items)
  }

  /** What waits here is any relay's again. Where the ledger does not hear it, the claim runs out by itself. */
  async #handBack(): Promise<void> {
    const ids = this.#fresh.splice(0).map((item) => item.id)
    await unclaimOutbox(this.#options.ledger.db, ids).catch(() => undefined)
  }

  async #publish(items: readonly OutboxItem[]): Promise<void> {
    const byAgent = new Map<string, OutboxItem[]>()
    for (const item of items) {
      const group = byAgent.get(item.agentId)
      if (group === undefined) byAgent.set(item.agentId, [item])
      else group.push(item)
    }
    const results = await Promise.allSettled([...byAgent].map(([agentId, group]) => this.#publishTo(agentId, group)))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #publishTo(agentId: string, items: readonly OutboxItem[]): Promise<void> {
    const ids = items.map((item) => item.id)
    try {
      const queue = await this.#options.queues.get(agentId)
      const additions = items.filter((item) => item.kind === 'publish' && item.current)
      if (additions.length > 0) {
        this.#options.onPublish?.(additions.filter(({ delayMs }) => delayMs === 0))
        const telemetry = await this.#trace(agentId, additions)
        const entries = additions.map((item) => ({
          name: item.jobType,
          data: { v: 1, job_id: item.jobId, generation: item.generation, subject: cleanText(item.subject, 500) },
          opts: { ...deliveryOptions(item), ...telemetry.get(item.id) },
        }))
        const [only] = entries
        // Alone it needs no transaction of the store around it.
        if (entries.length === 1 && only !== undefined) await queue.add(only.name, only.data, only.opts)
        else await queue.addBulk(entries)
      }
      const removals = items.filter((item) => item.kind === 'remove')
      if (removals.length > 0)
        await this.#options.queues.backend.removeEntries(
          queue,
          removals.map((item) => entryId(item.jobId, item.generation)),
        )
    } catch (error) {
      await unclaimOutbox(this.#options.ledger.db, ids).catch(() => undefined)
      throw error
    }
    this.#told.add(items)
    this.#options.log.debug({ event: 'relay.published', agent: agentId, jobs: items.map((item) => item.jobId) }, 'the queue store was told')
  }

  /** What each entry carries on of the trace that its job was created in. Without traces nothing is read. */
  async #trace(agentId: string, items: readonly OutboxItem[]): Promise<Map<number, { readonly telemetry: { readonly metadata: string } }>> {
    const { tracing, ledger } = this.#options
    if (tracing === undefined) return new Map()
    const known = await ledger.traceparentsOf(items.map((item) => item.jobId))
    return new Map(
      items.map((item) => {
        const attributes = { 'agentbus.job_id': item.jobId, 'agentbus.agent': agentId, 'agentbus.generation': item.generation }
        const telemetry = tracing.enqueue(`enqueue ${agentId}`, { parent: parseTraceparent(known.get(item.jobId)), attributes })
        return [item.id, { telemetry }]
      }),
    )
  }

  /** Ends after the look under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#detach()
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#running
    await this.#told.stop()
    await this.#handBack()
  }
}
