import type { IQueueBackend, Job, Processor, Queue, Worker, WorkerOptions } from 'bullmq'
import type { Survey } from './survey.js'

/** What is stored in an entry and what a delivery returns; both are parsed before they are trusted. */
type Data = Record<string, unknown>
export type BusQueue = Queue<Data, unknown, string, Data, unknown, string, IQueueBackend>
export type BusWorker = Worker<Data, unknown, string, IQueueBackend>
export type BusJob = Job<Data, unknown, string>
export type BusProcessor = Processor<Data, unknown, string>

/** What BullMQ is built on. Everything above `queues/` is the same on both. */
export interface QueueBackend {
  readonly kind: 'redis' | 'postgres'
  /** Opens a queue on the shared connection. Close it with its own `close()`. */
  openQueue(name: string): BusQueue
  openWorker(name: string, processor: BusProcessor, options: Omit<WorkerOptions, 'connection' | 'prefix'>): BusWorker
  /**
   * Takes entries out of a queue. One that a worker holds stays, and so does any that the store will not give up: its pick-up
   * or its end finds the ledger's word.
   */
  removeEntries(queue: BusQueue, ids: readonly string[]): Promise<void>
  /** Looks at many queues at once. Rejects when the store does not answer in 3 s. */
  survey(names: readonly string[]): Promise<Survey>
  /** Tells the workers that wait at these queues to look, once each. */
  wake(names: readonly string[]): Promise<void>
  /** Lets a worker of this process that waits look at once, where the store's word may no longer reach it. */
  endWait(worker: BusWorker): Promise<void>
  /** Resolves when the store answers, rejects after `timeoutMs`. */
  ping(timeoutMs: number): Promise<void>
  /** Called each time the store is back after it was away. */
  onReconnect(listener: () => void): void
  /**
   * Seconds that a worker may wait at an empty queue before it asks again by itself. An entry that comes wakes it at once, and what
   * nobody was told of the watch finds; this is for a wait that the store has forgotten.
   */
  readonly idleWaitSeconds: number
  /** How many connections the store sees from `queues` queues with a worker each. */
  connectionsFor(queues: number): number
  close(): Promise<void>
}

export type ReportError = (error: Error, where: string) => void

/** Rejects with `what` when `work` takes longer than `ms`; the work itself goes on. */
export async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
    work.catch(() => undefined)
  }
}

/** Takes entries out one by one, and leaves those that the store will not give up. */
export async function removeEach(queue: BusQueue, ids: readonly string[]): Promise<void> {
  await Promise.all(ids.map((id) => queue.remove(id).catch(() => 0)))
}
