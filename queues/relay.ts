import type { Logger } from 'pino'
import { parseTraceparent, type Tracing } from '../config/tracing.js'
import { messageOf } from '../contracts/errors.js'
import { cleanText } from '../contracts/text.js'
import type { Ledger } from '../ledger/ledger.js'
import { claimOutbox, settleOutbox, unclaimOutbox, type OutboxItem } from '../ledger/outbox.js'
import { deliveryOptions, entryId } from './catalogue.js'
import type { QueueRegistry } from './queue-registry.js'

export interface RelayOptions {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly log: Logger
  /** Milliseconds between looks when no hint comes. */
  readonly pollMs: number
  readonly tracing?: Tracing | undefined
}

const BATCH = 500
/** Longer than the store may take for a batch; after it another relay publishes the same rows again, harmlessly. */
const CLAIM_SECONDS = 10

/**
 * Publishes the outbox to the queue store. Runs in every process and elects nobody: rows are claimed with
 * SKIP LOCKED. A commit's hint wakes it at once; polling finds what a lost hint missed.
 */
export class Relay {
  readonly #options: RelayOptions
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #again = false
  #stopped = true
  #failures = 0
  #unlisten: () => void = () => undefined

  constructor(options: RelayOptions) {
    this.#options = options
  }

  start(): void {
    this.#stopped = false
    this.#unlisten = this.#options.ledger.hints.listen((hint, origin) => {
      // A process leaves its own commits to itself, and looks after others' a moment later, so that not all race for each row.
      if (hint.outbox === true && origin === 'local') this.kick()
      else if (hint.outbox === true) this.#schedule(5)
    })
    this.kick()
  }

  /** Looks now. Safe to call at any rate: looks that come while one is under way are folded into one. */
  kick(): void {
    if (this.#stopped) return
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#running = this.#drain().finally(() => {
      this.#running = undefined
      const again = this.#again
      this.#again = false
      if (again) this.kick()
      else this.#schedule(this.#failures === 0 ? this.#options.pollMs : Math.min(100 * 2 ** this.#failures, 2_000))
    })
  }

  #schedule(ms: number): void {
    if (this.#stopped || this.#running !== undefined) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.kick(), ms)
  }

  async #drain(): Promise<void> {
    try {
      for (;;) {
        const items = await claimOutbox(this.#options.ledger.db, { limit: BATCH, leaseSeconds: CLAIM_SECONDS })
        if (items.length > 0) await this.#publish(items)
        this.#failures = 0
        if (items.length < BATCH || this.#stopped) return
      }
    } catch (error) {
      this.#failures = Math.min(this.#failures + 1, 6)
      if (!this.#stopped) this.#options.log.warn({ event: 'relay.failed', err: messageOf(error), failures: this.#failures }, 'relay failed; the outbox keeps the rows')
    }
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
        const telemetry = await this.#trace(agentId, additions)
        await queue.addBulk(
          additions.map((item) => ({
            name: item.jobType,
            data: { v: 1, job_id: item.jobId, generation: item.generation, subject: cleanText(item.subject, 500) },
            opts: { ...deliveryOptions(item), ...telemetry.get(item.id) },
          })),
        )
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
    await settleOutbox(this.#options.ledger.db, ids)
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
    this.#unlisten()
    clearTimeout(this.#timer)
    await this.#running
  }
}
