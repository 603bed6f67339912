import { EventEmitter } from 'node:events'
import {
  PostgresConnection,
  PostgresQueueBackend,
  Queue,
  runMigrations,
  Worker,
  type BackendFactory,
  type JobProgress,
  type PostgresConnectionOptions,
  type WorkerOptions,
} from 'bullmq'
import pg from 'pg'
import { breakOff, endWhenSilent } from '../ledger/silence.js'
import { within, type BusQueue, type BusWorker, type QueueBackend, type ReportError } from './backend.js'
import { surveyPostgres, wakePostgres } from './postgres-survey.js'
import { repeatStrategy } from './schedulers.js'

/** As with Redis. Nothing here waits in PostgreSQL for work to come: workers listen, and what listens owes nothing. */
const SILENCE_MS = 120_000

/** A worker that waits has no connection that could be silent for too long. A listener that is lost ends all waits, and one that is dead is found by the watch. */
const IDLE_WAIT_SECONDS = 300

/** What a listener that lives takes for an answer, and much more. */
const LISTENER_MS = 3_000

/** Brings BullMQ's own schema up to date. Run before any BullMQ object is built: one that starts unmigrated never recovers. */
export async function migrateQueueStore(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    await runMigrations(client)
  } finally {
    await client.end()
  }
}

/**
 * One backend per queue on one shared connection. BullMQ's own factory opens a pool and a listener for each;
 * 50 agents would then need more connections than a default PostgreSQL has.
 */
class SharedPostgresBackend extends PostgresQueueBackend {
  /** The connection belongs to all queues: closing one queue only ends its own waits. */
  override async close(): Promise<void> {
    await this.disconnectBlocking()
  }

  override async disconnect(): Promise<void> {
    await this.disconnectBlocking()
  }

  /** Ends the wait that goes on, if any. At once and together: a close in between would find the next wait allowed. */
  async endWait(): Promise<void> {
    await Promise.all([this.disconnectBlocking(), this.reconnectBlocking()])
  }
}

/** BullMQ over its PostgreSQL backend: `poolSize` connections, one of which listens for all queues. */
export function createPostgresBackend(options: {
  readonly url: string
  readonly poolSize: number
  /**
   * Whether a commit waits for the disk. What the ledger knows can be lost here: a server that crashes may have forgotten the last
   * fraction of a second of its queues, as Redis forgets a second of them.
   */
  readonly durable: boolean
  readonly onError: ReportError
  readonly telemetry?: WorkerOptions['telemetry']
  /** Milliseconds after which a connection that owes an answer and says nothing counts as lost. */
  readonly silenceMs?: number
}): QueueBackend {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.poolSize,
    options: `-c search_path=bullmq${options.durable ? '' : ' -c synchronous_commit=off'}`,
    keepAlive: true,
    // The listener says nothing for hours; without this the system would not ask after it for two.
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: 10_000,
    application_name: 'agentbus-queues',
  })
  pool.setMaxListeners(0)
  pool.on('error', (error) => options.onError(error, 'postgres'))
  pool.on('connect', (client) => {
    client.setMaxListeners(0)
    // The pool listens for errors of idle clients only: one that breaks in use would end the process.
    client.on('error', (error) => options.onError(error, 'postgres'))
    endWhenSilent(client, options.silenceMs ?? SILENCE_MS)
  })
  const connection = new PostgresConnection(pool as unknown as PostgresConnectionOptions)
  connection.setMaxListeners(0)
  connection.on('error', (error: Error) => options.onError(error, 'postgres'))
  const back = new EventEmitter()
  connection.on('listenerinvalidated', () => back.emit('reconnect'))
  const factory: BackendFactory<PostgresQueueBackend, PostgresConnectionOptions> = (name, queueOptions) => new SharedPostgresBackend(connection, name, queueOptions, true)
  // The factory above ignores `connection`; BullMQ's types ask for one.
  const unused: PostgresConnectionOptions = options.url
  return {
    kind: 'postgres',
    openQueue: (name) => {
      const queue = new Queue(name, { connection: unused, settings: { repeatStrategy } }, factory)
      queue.on('error', (error) => options.onError(error, name))
      return queue as unknown as BusQueue
    },
    openWorker: (name, processor, workerOptions) => {
      const worker = new Worker<Record<string, unknown>, unknown, string, PostgresQueueBackend, JobProgress, PostgresConnectionOptions>(
        name,
        processor,
        { ...workerOptions, ...(options.telemetry === undefined ? {} : { telemetry: options.telemetry }), connection: unused },
        factory,
      )
      worker.on('error', (error) => options.onError(error, name))
      return worker as unknown as BusWorker
    },
    removeEntries: async (queue, ids) => {
      // One commit for all. BullMQ itself removes no more than one at a time.
      await pool.query('select count(remove($1, id, true)) from unnest($2::text[]) as id', [queue.name, ids]).catch(async () => {
        for (const id of ids) await queue.remove(id).catch(() => 0)
      })
    },
    survey: (names) => within(3_000, 'survey', surveyPostgres(pool, names)),
    wake: (names) => within(3_000, 'wake', wakePostgres(pool, names)),
    endWait: async (worker) => {
      // One that closes has ended its wait for good.
      if (worker.closing === undefined && worker.backend instanceof SharedPostgresBackend) await worker.backend.endWait()
      // It listens anew on the same connection, which has to answer: one that is dead would hold up all that listen for long.
      const listener = await connection.getListenClient()
      await within(LISTENER_MS, 'listener', listener.query('select 1')).catch(() =>
        breakOff(listener as unknown as pg.ClientBase, `a listener did not answer within ${LISTENER_MS / 1_000} s`),
      )
    },
    ping: async (timeoutMs) => {
      await within(timeoutMs, 'postgres', pool.query('select 1'))
    },
    onReconnect: (listener) => {
      back.on('reconnect', listener)
    },
    idleWaitSeconds: IDLE_WAIT_SECONDS,
    connectionsFor: () => options.poolSize,
    close: async () => {
      await connection.close()
      await pool.end()
    },
  }
}
