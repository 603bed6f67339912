import type { Logger } from 'pino'
import { messageOf } from '../contracts/errors.js'
import type { BusWorker, QueueBackend } from '../queues/backend.js'
import { queueNameOf } from '../queues/catalogue.js'

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
    const { backend, workers, log } = this.#options
    try {
      const survey = await backend.survey([...workers.keys()].map(queueNameOf))
      const due: string[] = []
      for (const [agentId, { worker, open }] of workers) {
        if (this.#stopped) return
        const name = queueNameOf(agentId)
        const glance = survey.get(name)
        // Marks what is in hand, and puts back what was marked at an earlier look and whose lock has run out since.
        if (glance?.held === true) await worker.backend.moveStalledJobsToWait()
        if (glance?.due === true && open) due.push(name)
      }
      await backend.wake(due)
    } catch (error) {
      if (!this.#stopped) log.warn({ event: 'queues.watch_failed', err: messageOf(error) }, 'could not look at the queues; it will again')
    }
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }
}
