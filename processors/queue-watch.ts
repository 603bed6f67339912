import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { BusWorker, QueueBackend } from '../queues/backend.js'
import { queueNameOf } from '../queues/catalogue.js'
import type { Survey } from '../queues/survey.js'

/** A worker as the watch sees it. */
export interface Watched {
  readonly worker: BusWorker
  /** Whether entries may be picked up now. */
  readonly open: boolean
}

export interface QueueWatchOptions {
  readonly backend: QueueBackend
  /** This process's workers by agent. */
  readonly workers: ReadonlyMap<string, Watched>
  readonly log: Logger
  readonly everyMs: number
}

/**
 * Does for all queues of a process what each BullMQ worker would do for its own: finding the entries of workers that died, and
 * looking again whether there is anything to do. One survey says which queues it concerns; idle ones cost nothing, so workers
 * may wait long. It runs in every worker process, because any other may be the one that died.
 */
export class QueueWatch {
  readonly #options: QueueWatchOptions
  /** Where an entry could have started at the look before. */
  #wereDue: ReadonlySet<string> = new Set()
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: QueueWatchOptions) {
    this.#options = options
  }

  start(): void {
    void this.look().finally(() => {
      if (!this.#stopped) this.#timer = setTimeout(() => this.start(), this.#options.everyMs)
    })
  }

  /** One look at all queues. Never rejects. */
  async look(): Promise<void> {
    const { workers, log } = this.#options
    try {
      const survey = await this.#survey()
      for (const [agentId, { worker }] of workers) {
        if (this.#stopped) return
        // Marks what is in hand, and puts back what was marked at an earlier look and whose lock has run out since.
        if (survey.get(queueNameOf(agentId))?.held === true) await worker.backend.moveStalledJobsToWait()
      }
      await this.#wake(survey)
      await this.#endDeafWaits(survey)
    } catch (error) {
      if (!this.#stopped) log.warn({ event: 'queues.watch_failed', err: messageOf(error) }, 'could not look at the queues; it will again')
    }
  }

  /** Tells the workers that wait at queues where an entry could start. Never rejects: the look of any other process finds them too. */
  async wakeDue(): Promise<void> {
    await this.#survey()
      .then((survey) => this.#wake(survey))
      .catch(() => undefined)
  }

  #survey(): Promise<Survey> {
    return this.#options.backend.survey([...this.#options.workers.keys()].map(queueNameOf))
  }

  async #wake(survey: Survey): Promise<void> {
    const open = [...this.#options.workers].filter(([, watched]) => watched.open).map(([agentId]) => queueNameOf(agentId))
    await this.#options.backend.wake(open.filter((name) => survey.get(name)?.due === true))
  }

  /** An entry that a look later still has not started: whoever waits for it hears nothing. */
  async #endDeafWaits(survey: Survey): Promise<void> {
    const due = new Set<string>()
    for (const [agentId, { worker, open }] of this.#options.workers) {
      if (!open || survey.get(queueNameOf(agentId))?.due !== true) continue
      due.add(agentId)
      if (this.#wereDue.has(agentId)) await this.#options.backend.endWait(worker)
    }
    this.#wereDue = due
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }
}
