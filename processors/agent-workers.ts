import { setMaxListeners } from 'node:events'
import type { Logger } from 'pino'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import type { Clock } from '../config/clock.js'
import type { Ledger } from '../ledger/ledger.js'
import { observe } from '../ledger/observe.js'
import type { OutboxItem } from '../ledger/outbox.js'
import type { BusJob, BusProcessor, BusWorker } from '../queues/backend.js'
import { DeliveryEntry, MAX_STALLED_COUNT, queueNameOf } from '../queues/catalogue.js'
import type { QueueRegistry } from '../queues/queue-registry.js'
import { raiseEntries } from '../queues/raise-entries.js'
import { repeatStrategy, TICK_NAME, TickEntry } from '../queues/schedulers.js'
import { childSignal } from './child-signal.js'
import { deliver, type DeliverDeps } from './deliver.js'
import { ledgerBackoff, settle, type DeliveryEnd } from './delivery-error.js'
import { EntryLocks } from './entry-locks.js'
import { idleWaits, waitLongerSoon } from './idle-waits.js'
import { LeaseAhead } from './lease-ahead.js'
import { Places } from './places.js'
import { QueueWatch } from './queue-watch.js'
import { ShortLeases } from './short-leases.js'
import { tick } from './tick.js'
import { readChangedGates, readGates, type Gate, type Gates } from './worker-gates.js'

export interface AgentWorkersOptions {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly deliver: Omit<DeliverDeps, 'shortLeases' | 'ahead'>
  readonly clock: Clock
  readonly log: Logger
  /** Milliseconds a worker may be silent before its entries count as stalled. */
  readonly lockMs: number
  /** Milliseconds between looks for stalled entries. Lock plus look bounds how long a dead worker's job waits. */
  readonly stalledCheckMs: number
  /** Milliseconds between looks at pauses, breakers and changes of the fleet. */
  readonly gatePollMs: number
}

/** A worker that could not reach the store asks again after this; BullMQ's own 15 s would keep an agent waiting long after the store is back. */
const STORE_AGAIN_MS = 3_000

/** Milliseconds until an entry comes again that found the ledger away. */
const AWAY_MS = 1_000

interface Running {
  readonly worker: BusWorker
  concurrency: number
  open: boolean
  paused: boolean
}

/** The BullMQ workers of this process: one per agent, paused while the agent's gate is closed. */
export class AgentWorkers {
  readonly #options: AgentWorkersOptions
  readonly #running = new Map<string, Running>()
  readonly #shutdown = new AbortController()
  readonly #watch: QueueWatch
  readonly #shortLeases: ShortLeases
  readonly #deliver: DeliverDeps
  readonly #places = new Places()
  readonly #ahead: LeaseAhead
  readonly #locks: EntryLocks
  /** What the workers were brought to last. */
  #applied: Gates | undefined
  #timer: NodeJS.Timeout | undefined
  #refreshing: Promise<void> | undefined
  #again = false
  #unlisten: () => void = () => undefined
  #withdraw: () => void = () => undefined

  constructor(options: AgentWorkersOptions) {
    this.#options = options
    this.#locks = new EntryLocks(options)
    this.#watch = new QueueWatch({ backend: options.queues.backend, workers: this.#running, log: options.log, everyMs: options.stalledCheckMs })
    this.#shortLeases = new ShortLeases(options)
    this.#ahead = new LeaseAhead({ ...options.deliver, places: this.#places, placesOf: (agentId) => this.#ownPlacesOf(agentId) })
    this.#deliver = { ...options.deliver, shortLeases: this.#shortLeases, ahead: this.#ahead }
    // Each entry in hand listens to it.
    setMaxListeners(0, this.#shutdown.signal)
  }

  /** Needs a {@link stop} also when it rejects: workers may be open by then. */
  async start(): Promise<void> {
    await this.#look()
    // Not before: of two looks at once the older one could be the last to apply what it has read.
    this.#unlisten = this.#options.ledger.hints.listen((hint) => {
      if (hint.fleet === true) void this.refresh()
    })
    this.#watch.start()
    this.#withdraw = this.#options.ledger.leaseEarlyFor(this.#ahead)
    this.#schedule()
  }

  /** The store is about to be told of these: entries that will come here are leased meanwhile. Never throws, and waits for nothing. */
  expect(items: readonly OutboxItem[]): void {
    this.#ahead.leaseAll(items)
  }

  /** How many entries of an agent are taken at once, where nobody but this process takes any. */
  #ownPlacesOf(agentId: string): number | undefined {
    const known = this.#applied?.alone === true ? this.#running.get(agentId) : undefined
    return known?.open === true ? known.concurrency : undefined
  }

  #schedule(): void {
    if (this.#shutdown.signal.aborted) return
    this.#timer = setTimeout(() => {
      void this.refresh().finally(() => this.#schedule())
    }, this.#options.gatePollMs)
  }

  /**
   * Brings the workers to what the ledger says. Never rejects; one look at a time. What is asked for during a look may have
   * changed after that read: it is looked once more.
   */
  refresh(): Promise<void> {
    this.#again = true
    this.#refreshing ??= this.#lookUntilTold().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  async #lookUntilTold(): Promise<void> {
    while (this.#again && !this.#shutdown.signal.aborted) {
      this.#again = false
      await this.#look().catch((error: unknown) => {
        if (!this.#shutdown.signal.aborted) this.#options.log.warn({ event: 'gates.failed', err: messageOf(error) }, 'could not read the gates')
      })
    }
  }

  async #look(): Promise<void> {
    const changed = await readChangedGates(this.#options.ledger, this.#options.deliver.workerId, this.#applied)
    // At each look: what an admission has taken out, and then could not write down, is still to be forgotten.
    for (const id of (changed ?? this.#applied)?.failingGateways ?? []) this.#options.deliver.failing.add(id)
    if (changed === undefined) return
    // Until all of it is applied nothing counts as known: a look that fails half-way may be followed by one that finds things as they were before it.
    this.#applied = undefined
    const { gates } = changed
    this.#shortLeases.look(gates)
    await this.#settle(gates.filter(({ agentId }) => !this.#running.has(agentId)))
    const opened: string[] = []
    for (const gate of gates) if (await this.#apply(gate)) opened.push(queueNameOf(gate.agentId))
    // A place that came free while nobody took entries has woken nobody: who was waiting already would wait on.
    await this.#options.queues.backend.wake(opened)
    // Last: what failed half-way is read and done again at the next look.
    this.#applied = changed
  }

  /** @returns whether entries may start now that could not before */
  async #apply(gate: Gate): Promise<boolean> {
    if (this.#shutdown.signal.aborted) return false
    const known = this.#running.get(gate.agentId)
    if (known === undefined) {
      const worker = this.#open(gate)
      this.#places.opened(gate.agentId)
      this.#running.set(gate.agentId, { worker, concurrency: gate.concurrency, open: gate.open, paused: gate.paused })
      return false
    }
    const isWider = gate.concurrency > known.concurrency
    // What is known is changed last each time: what could not be written is tried again at the next look.
    if (known.concurrency !== gate.concurrency) {
      known.worker.concurrency = gate.concurrency
      await this.#settle([gate])
      if (isWider && known.open) await nudge(known.worker)
      known.concurrency = gate.concurrency
    }
    if (known.paused !== gate.paused) {
      await this.#settle([gate])
      known.paused = gate.paused
    }
    if (known.open === gate.open) return isWider && gate.open
    if (gate.open) this.#places.opened(gate.agentId)
    if (gate.open) await known.worker.resume()
    else await known.worker.pause(true)
    known.open = gate.open
    return gate.open
  }

  /** Writes BullMQ's limits over all processes, and pauses for people at the board, where the store has others. The ledger checks again at each lease. */
  async #settle(gates: readonly Gate[]): Promise<void> {
    if (gates.length === 0) return
    const { queues } = this.#options
    const survey = await queues.backend.survey(gates.map(({ agentId }) => queueNameOf(agentId)))
    for (const gate of gates) {
      const found = survey.get(queueNameOf(gate.agentId))
      const queue = await queues.get(gate.agentId)
      if (found?.limit !== gate.concurrency) await queue.setGlobalConcurrency(gate.concurrency)
      if (found?.paused === gate.paused) continue
      if (gate.paused) await queue.pause()
      else await queue.resume()
    }
  }

  /** Writes limits and pauses that were lost with the store, or changed behind the ledger's back. */
  async reapplyLimits(): Promise<void> {
    await this.#settle((await readGates(this.#options.ledger, this.#options.deliver.workerId)).gates)
  }

  #open(gate: Gate): BusWorker {
    const { ledger, queues, lockMs, stalledCheckMs } = this.#options
    // Three parameters: BullMQ hands out the abort signal only to a processor that asks for it by its arity.
    const attend: BusProcessor = (job, token, signal) => this.#locks.during({ worker, job, token }, () => this.#process(gate.agentId, job, token, signal))
    const waits = idleWaits(queues.backend.idleWaitSeconds, () => ledger.random())
    const worker = queues.backend.openWorker(queueNameOf(gate.agentId), attend, {
      concurrency: gate.concurrency,
      lockDuration: lockMs,
      // Its timer would run in each worker; what is in hand is seen to by EntryLocks, and entries of dead workers by QueueWatch.
      skipLockRenewal: true,
      skipStalledCheck: true,
      stalledInterval: stalledCheckMs,
      drainDelay: waits.first,
      maxStalledCount: MAX_STALLED_COUNT,
      runRetryDelay: STORE_AGAIN_MS,
      settings: { backoffStrategy: ledgerBackoff, repeatStrategy },
    })
    waitLongerSoon(worker, waits)
    if (!gate.open) void worker.pause(true)
    return worker
  }

  async #process(agentId: string, job: BusJob, token: string | undefined, signal: AbortSignal | undefined): Promise<{ outcome: string }> {
    const due = job.name === TICK_NAME ? TickEntry.safeParse(job.data) : undefined
    if (due?.success === true) return tick({ ledger: this.#options.ledger, actor: { kind: 'worker', id: this.#options.deliver.workerId } }, due.data, job.id ?? '')
    const entry = DeliveryEntry.safeParse(job.data)
    if (!entry.success) return this.#refuseForeign(job)
    const stop = childSignal(this.#shutdown.signal, ...(signal === undefined ? [] : [signal]))
    const place = this.#places.enter(agentId)
    try {
      const end = await deliver(this.#deliver, entry.data, place, stop.signal).catch(awayIsNotYet)
      if (end.kind === 'busy') await this.#raise(agentId, end.heldBy)
      const onLeft = (error: unknown): void =>
        this.#options.log.warn({ event: 'entries.not_put_off', agent: agentId, err: messageOf(error) }, 'an entry could not be put off; it comes again when its lock has run out')
      return await settle(job, token, end, { clock: this.#options.clock, onLeft })
    } finally {
      this.#places.leave(agentId, place)
      stop.end()
    }
  }

  /**
   * Never rejects: an entry that cannot be raised now, as when it was taken out at this moment, is raised by whoever finds the agent busy
   * next. As a failure it would use up a try of the entry in hand, which is only to wait.
   */
  async #raise(agentId: string, heldBy: Extract<DeliveryEnd, { kind: 'busy' }>['heldBy']): Promise<void> {
    try {
      await raiseEntries(await this.#options.queues.get(agentId), heldBy)
    } catch (error) {
      this.#options.log.warn({ event: 'entries.not_raised', agent: agentId, err: messageOf(error) }, 'entries of runs that hold an agent could not be raised; the next look does')
    }
  }

  /** An entry that the relay did not make: somebody added it to the queue by hand. */
  async #refuseForeign(job: BusJob): Promise<{ outcome: string }> {
    await observe(this.#options.ledger.db, {
      kind: 'outside_change',
      code: 'foreign_entry',
      actor: { kind: 'worker', id: this.#options.deliver.workerId },
      detail: `Queue entry ${(job.id ?? '').slice(0, 100)} was not made by agentbus and was dropped.`,
    })
    return { outcome: 'dropped: foreign entry' }
  }

  /** Busy agents and attended attempts, for the heartbeat. */
  load(): { leasesOwned: number; agents: number } {
    return { leasesOwned: this.#options.deliver.watches.size, agents: this.#running.size }
  }

  /** Hands every entry back and ends. Attempts stay open: the next worker re-attaches. */
  async stop(): Promise<void> {
    this.#shutdown.abort()
    this.#unlisten()
    this.#withdraw()
    this.#ahead.close()
    this.#watch.stop()
    clearTimeout(this.#timer)
    await this.#refreshing
    await Promise.allSettled([...this.#running.values()].map(({ worker }) => worker.close()))
    await this.#ahead.stop()
    // What was handed back lies there without a word to the workers of other processes.
    await this.#watch.wakeDue()
    this.#running.clear()
  }
}

/**
 * Has a worker look at its limit. While all its places are taken it waits for the end of a run, which can be an hour away;
 * only its own resumption interrupts that.
 */
async function nudge(worker: BusWorker): Promise<void> {
  await worker.pause(true)
  // A loop that ends just now has to be through with it: BullMQ would take it for one that still runs, and never start it again.
  await new Promise((resolve) => setImmediate(resolve))
  await worker.resume()
}

/**
 * A ledger that is away is nobody's failure: the entry comes again and takes the attempt on. As a failure it would use up the
 * tries of the entry, and lie among the failed ones until a sweep finds it, while the ledger knows of no failed attempt.
 */
function awayIsNotYet(error: unknown): DeliveryEnd {
  if (error instanceof AgentbusError && error.code === 'AGENTBUS_UNAVAILABLE') return { kind: 'delay', ms: AWAY_MS, outcome: 'the ledger is away' }
  throw error
}
