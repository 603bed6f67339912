import { Queue, Worker, type WorkerOptions } from 'bullmq'
import { Redis } from 'ioredis'
import { removeEach, within, type QueueBackend, type ReportError } from './backend.js'
import { surveyRedis, wakeRedis } from './redis-survey.js'
import { repeatStrategy } from './schedulers.js'

/** Workers wait long on their connections: one whose other end is gone without a word is noticed by this. */
const KEEP_ALIVE_MS = 10_000
/** What is asked and not answered for so long never will be: longer than any worker blocks, and than any script runs. */
const SILENCE_MS = 120_000

/** With a quarter more it is over before the connection that waits counts as silent. */
const IDLE_WAIT_SECONDS = 75

/**
 * BullMQ over Redis on one shared connection; each worker adds one of its own, on which it blocks.
 * Probe the server before this is built (see embedded/probe-stores).
 */
export function createRedisBackend(options: {
  readonly url: string
  readonly prefix: string
  readonly onError: ReportError
  readonly telemetry?: WorkerOptions['telemetry']
  /** Milliseconds after which a connection that owes an answer and says nothing counts as lost. */
  readonly silenceMs?: number
}): QueueBackend {
  const connection = new Redis(options.url, {
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    keepAlive: KEEP_ALIVE_MS,
    socketTimeout: options.silenceMs ?? SILENCE_MS,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), 1_000),
  })
  const reconnected: (() => void)[] = []
  let wasAway = false
  connection.on('error', (error: Error) => options.onError(error, 'redis'))
  connection.on('close', () => {
    wasAway = true
  })
  connection.on('ready', () => {
    if (!wasAway) return
    wasAway = false
    for (const listener of reconnected) listener()
  })
  connection.setMaxListeners(0)
  return {
    kind: 'redis',
    openQueue: (name) => {
      const queue = new Queue(name, { connection, prefix: options.prefix, settings: { repeatStrategy } })
      queue.on('error', (error) => options.onError(error, name))
      return queue
    },
    openWorker: (name, processor, workerOptions) => {
      const worker = new Worker<Record<string, unknown>, unknown, string>(name, processor, {
        ...workerOptions,
        ...(options.telemetry === undefined ? {} : { telemetry: options.telemetry }),
        connection,
        prefix: options.prefix,
      })
      worker.on('error', (error) => options.onError(error, name))
      return worker
    },
    // On one connection, so they go out together.
    removeEntries: removeEach,
    survey: (names) => within(3_000, 'survey', surveyRedis(connection, options.prefix, names)),
    wake: (names) => within(3_000, 'wake', wakeRedis(connection, options.prefix, names)),
    // Each waits on a connection of its own, whose silence is noticed.
    endWait: () => Promise.resolve(),
    ping: async (timeoutMs) => {
      await within(timeoutMs, 'redis', connection.ping())
    },
    onReconnect: (listener) => {
      reconnected.push(listener)
    },
    idleWaitSeconds: IDLE_WAIT_SECONDS,
    connectionsFor: (queues) => 1 + queues,
    close: async () => {
      connection.disconnect()
    },
  }
}

/** Removes every key below a prefix. For prefixes of one's own only: it does not ask what the keys are. */
export async function forgetPrefix(url: string, prefix: string): Promise<void> {
  if (!/^[A-Za-z0-9_-]+$/.test(prefix)) throw new Error('a prefix of letters, digits, underscore and hyphen is meant')
  const connection = new Redis(url, { maxRetriesPerRequest: 3 })
  connection.on('error', () => undefined)
  try {
    for await (const keys of connection.scanStream({ match: `${prefix}:*`, count: 500 }) as AsyncIterable<string[]>) {
      if (keys.length > 0) await connection.unlink(...keys)
    }
  } finally {
    connection.disconnect()
  }
}
