import type { RepeatStrategy } from 'bullmq'
import { z } from 'zod'
import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import { nextSlot } from '../config/schedule.js'
import { scheduleOf, type Schedule, type StandingOrderView } from '../contracts/standing-orders.js'
import { claimTurn } from '../ledger/turns.js'
import type { Ledger } from '../ledger/ledger.js'
import type { BusQueue } from './backend.js'
import { queueNameOf } from './catalogue.js'
import type { QueueRegistry } from './queue-registry.js'

/** What a tick carries. The slot's time is in the entry's id, where BullMQ puts it. */
export const TickEntry = z.object({ v: z.literal(1), order_id: z.uuid(), order: z.string(), version: z.int() })
export type TickEntry = z.infer<typeof TickEntry>

export const TICK_NAME = 'standing-order'

const EVERY = /^every (\d+)$/

function patternOf(schedule: Schedule): { pattern: string; tz?: string } {
  return 'cron' in schedule ? { pattern: schedule.cron, tz: schedule.timeZone } : { pattern: `every ${schedule.everySeconds}` }
}

/** BullMQ asks this for the next run of every scheduler, so that its ticks and the ledger's slots come from one function. */
export const repeatStrategy: RepeatStrategy = (millis, options) => {
  const pattern = options.pattern ?? ''
  const every = EVERY.exec(pattern)?.[1]
  return nextSlot(every === undefined ? { cron: pattern, timeZone: options.tz ?? 'UTC' } : { everySeconds: Number(every) }, millis)
}

/**
 * A scheduler's name. It names the version: a changed order is another scheduler, because changing one while its first run
 * is picked up gives wrong runs on BullMQ's PostgreSQL backend.
 */
function schedulerId(order: Pick<StandingOrderView, 'id' | 'version'>): string {
  return `${order.id}-v${order.version}`
}

const TICK_ID = /^repeat:[0-9a-f-]{36}-v\d+:(\d{1,15})$/

/** The time of the slot that a tick is for, in milliseconds; undefined for an entry that no scheduler of ours made. */
export function slotOfTick(entryId: string): number | undefined {
  const ms = TICK_ID.exec(entryId)?.[1]
  return ms === undefined ? undefined : Number(ms)
}

export interface SchedulerSyncOptions {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly log: Logger
  readonly processId: string
}

const TURN_SECONDS = 30

/**
 * Keeps one job scheduler per enabled standing order in its agent's queue: adds what is missing, takes out what is no
 * longer in force. One process at a time, because concurrent changes have lost schedulers.
 */
export class SchedulerSync {
  readonly #options: SchedulerSyncOptions
  #running: Promise<void> | undefined
  #again = false
  #retry: NodeJS.Timeout | undefined
  #unlisten: () => void = () => undefined
  #stopped = false

  constructor(options: SchedulerSyncOptions) {
    this.#options = options
  }

  start(): void {
    this.#unlisten = this.#options.ledger.hints.listen((hint) => {
      if (hint.fleet === true) void this.sync()
    })
  }

  /** Brings the schedulers to what the ledger says. Never rejects; calls while one runs are folded into one more. */
  sync(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true
      return this.#running
    }
    this.#running = this.#once().finally(() => {
      this.#running = undefined
      if (!this.#again) return
      this.#again = false
      void this.sync()
    })
    return this.#running
  }

  async #once(): Promise<void> {
    const { ledger, log, processId } = this.#options
    if (this.#stopped) return
    try {
      if (!(await claimTurn(ledger.db, { name: 'schedulers', by: processId, seconds: TURN_SECONDS }))) {
        // Whoever has the turn may have read the orders before they changed.
        clearTimeout(this.#retry)
        if (!this.#stopped) this.#retry = setTimeout(() => void this.sync(), 2_000)
        return
      }
      const orders = await ledger.listOrders()
      const agents = (await ledger.listAgents()).map(({ id }) => id)
      const survey = await this.#options.queues.backend.survey(agents.map(queueNameOf))
      for (const agent of agents) {
        if (this.#stopped) break
        const own = orders.filter((order) => order.agent_id === agent && order.enabled)
        if (own.length === 0 && survey.get(queueNameOf(agent))?.scheduled !== true) continue
        await this.#syncQueue(await this.#options.queues.get(agent), own)
        // Whoever has taken the turn over meanwhile has read the orders since, and does all of this.
        if (!(await claimTurn(ledger.db, { name: 'schedulers', by: processId, seconds: TURN_SECONDS }))) return
      }
      await claimTurn(ledger.db, { name: 'schedulers', by: processId, seconds: 0 })
    } catch (error) {
      if (!this.#stopped) log.warn({ event: 'schedulers.failed', err: messageOf(error) }, 'could not bring the schedulers up to date; the keeper starts their slots meanwhile')
    }
  }

  async #syncQueue(queue: BusQueue, orders: readonly StandingOrderView[]): Promise<void> {
    const present = new Set((await queue.getJobSchedulers(0, -1)).map((scheduler) => scheduler.key))
    const wanted = new Map(orders.map((order) => [schedulerId(order), order]))
    for (const key of present) if (!wanted.has(key)) await queue.removeJobScheduler(key)
    for (const [key, order] of wanted) {
      if (present.has(key)) continue
      const data: TickEntry = { v: 1, order_id: order.id, order: order.order, version: order.version }
      await queue.upsertJobScheduler(key, patternOf(scheduleOf(order.definition)), {
        name: TICK_NAME,
        data,
        opts: { attempts: 20, backoff: { type: 'fixed', delay: 1_000 }, removeOnComplete: { count: 20 }, removeOnFail: { count: 20 }, stackTraceLimit: 0 },
      })
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unlisten()
    clearTimeout(this.#retry)
    await this.#running
  }
}
