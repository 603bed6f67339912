import pg from 'pg'
import { prepareStatements, StatementNames } from './prepared-statements.js'
import { endWhenSilent } from './silence.js'

export interface PipelinedClientsOptions {
  readonly config: pg.ClientConfig
  readonly size: number
  readonly onError: (error: Error) => void
  /** Milliseconds after which a connection that owes an answer and says nothing counts as lost. */
  readonly silenceMs: number
  /**
   * `together`: what is asked for in one turn of the event loop goes out in one write at its end, for many small questions at
   * once. `at once`: for statements that serve many callers each, where the turn that was waited for is behind them already.
   */
  readonly send: 'together' | 'at once'
}

/**
 * A few connections that take the next statement before the last one is answered. Only for statements that are each a
 * transaction of their own: PostgreSQL works through what is sent without waiting for this process in between.
 */
export class PipelinedClients {
  readonly #options: PipelinedClientsOptions
  readonly #lanes: Lane[]
  readonly #names = new StatementNames()
  #ended = false

  constructor(options: PipelinedClientsOptions) {
    this.#options = options
    this.#lanes = Array.from({ length: options.size }, () => new Lane((...asked) => this.#query(...asked)))
  }

  /** The signature of pg's own `query`, so that Drizzle takes this object for a client. */
  query = (config: unknown, values?: unknown): Promise<unknown> => this.#query(this.#leastBusy(), config, values)

  /** One of them, the least busy: what is asked of it is done in the order in which it was asked. */
  lane(): Lane {
    return this.#leastBusy()
  }

  /** Statements that are asked and not answered. */
  get underWay(): number {
    return this.#lanes.reduce((sum, { underWay }) => sum + underWay, 0)
  }

  /** Connections that are open, or being opened. */
  get connected(): number {
    return this.#lanes.filter(({ client }) => client !== undefined).length
  }

  #leastBusy(): Lane {
    return this.#lanes.reduce((least, one) => (one.underWay < least.underWay ? one : least))
  }

  async #query(lane: Lane, config: unknown, values?: unknown): Promise<unknown> {
    lane.underWay += 1
    try {
      lane.client ??= this.#connect(lane)
      const client = await lane.client
      if (this.#options.send === 'together') coalesce(client)
      return await (client.query as (config: unknown, values: unknown) => Promise<unknown>)(config, values)
    } finally {
      lane.underWay -= 1
    }
  }

  #connect(lane: Lane): Promise<pg.Client> {
    // A request that outlives its server would open one that nobody ends, and the process would never come to its end.
    if (this.#ended) return Promise.reject(new Error('server closed the connection: this process has ended all of its own'))
    const client = new pg.Client({ ...this.#options.config, pipeline: true })
    const forget = (): void => {
      if (lane.client === connected) lane.client = undefined
    }
    client.on('error', (error) => {
      forget()
      this.#options.onError(error)
    })
    client.on('end', forget)
    const connected: Promise<pg.Client> = client.connect().then(
      () => {
        prepareStatements(client, this.#names)
        endWhenSilent(client, this.#options.silenceMs)
        return client
      },
      (error: unknown) => {
        forget()
        throw error
      },
    )
    return connected
  }

  /** Ends each connection, one that is being opened too. What is asked afterwards is refused as if the server was away. */
  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#lanes.map(async (lane) => (await lane.client?.catch(() => undefined))?.end().catch(() => undefined)))
  }
}

type Query = (config: unknown, values?: unknown) => Promise<unknown>

/** One connection; a class, for Drizzle takes a plain object for its settings. */
class Lane {
  client: Promise<pg.Client> | undefined
  underWay = 0
  /** As {@link PipelinedClients.query}. */
  readonly query: Query

  constructor(query: (lane: Lane, ...asked: Parameters<Query>) => Promise<unknown>) {
    this.query = (config, values) => query(this, config, values)
  }
}

const corked = new WeakSet<pg.Client>()

/** Holds what is written in this tick back for one write at its end. */
function coalesce(client: pg.Client): void {
  if (corked.has(client)) return
  corked.add(client)
  const { stream } = (client as unknown as { connection: { stream: NodeJS.WritableStream & { cork(): void; uncork(): void } } }).connection
  stream.cork()
  setImmediate(() => {
    corked.delete(client)
    stream.uncork()
  })
}
