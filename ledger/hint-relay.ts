import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { z } from 'zod'
import type { Hint, HintBus } from './hints.js'

const CHANNEL = 'agentbus_hints'
const Message = z.object({
  from: z.string(),
  outbox: z.boolean().optional(),
  fleet: z.boolean().optional(),
  closed: z.array(z.string()).optional(),
  over: z.array(z.string()).optional(),
})

/** pg_notify takes 8,000 bytes; an id in quotes has 39, and a message has ids of two kinds. */
const IDS_PER_MESSAGE = 90

/**
 * Carries hints between processes by LISTEN and NOTIFY on a connection of its own. Never in the transaction of a
 * command: NOTIFY makes commits wait for each other. Everything said within `windowMs` goes in one message.
 * A hint that is lost only costs the time until the next poll.
 */
export class HintRelay {
  readonly #self = randomUUID()
  readonly #bus: HintBus
  readonly #url: string
  readonly #windowMs: number
  readonly #onError: (error: Error) => void
  #client: pg.Client | undefined
  #timer: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #unlisten: () => void = () => undefined
  #outbox = false
  #fleet = false
  #closed = new Set<string>()
  #over = new Set<string>()
  #stopped = false
  /** Whether another process listens; asked every second, and assumed until then. */
  #others = true
  #census: NodeJS.Timeout | undefined

  constructor(options: { readonly bus: HintBus; readonly url: string; readonly windowMs: number; readonly onError: (error: Error) => void }) {
    this.#bus = options.bus
    this.#url = options.url
    this.#windowMs = options.windowMs
    this.#onError = options.onError
  }

  async start(): Promise<void> {
    this.#unlisten = this.#bus.listen((hint, origin) => {
      if (origin === 'local') this.#collect(hint)
    })
    await this.#connect()
    if (!this.#stopped) this.#census = setInterval(() => void this.#count(), 1_000)
  }

  /** Nobody is told what nobody hears. Who comes in between polls first, so nothing is missed for good. */
  async #count(): Promise<void> {
    try {
      const found = await this.#client?.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where application_name = 'agentbus-hints' and datname = current_database()`,
      )
      this.#others = (found?.rows[0]?.n ?? 2) > 1
    } catch {
      this.#others = true
    }
  }

  async #connect(): Promise<void> {
    if (this.#stopped) return
    const client = new pg.Client({ connectionString: this.#url, application_name: 'agentbus-hints', keepAlive: true, connectionTimeoutMillis: 5_000 })
    const lost = (): void => {
      if (this.#client === client) this.#client = undefined
      if (!this.#stopped) this.#reconnectSoon()
    }
    client.on('error', (error: Error) => {
      this.#onError(error)
      lost()
    })
    client.on('end', lost)
    client.on('notification', (message) => this.#receive(message.payload))
    try {
      await client.connect()
      // It was stopped meanwhile, here or while it was told to listen: nobody would ever end this one.
      if (this.#stopped) return await client.end()
      await client.query(`listen ${CHANNEL}`)
      if (this.#stopped) return await client.end()
      this.#client = client
      // What was said while nobody listened may have been missed.
      this.#bus.receive({ outbox: true, fleet: true })
    } catch (error) {
      this.#onError(error instanceof Error ? error : new Error(String(error)))
      if (!this.#stopped) this.#reconnectSoon()
    }
  }

  #reconnectSoon(): void {
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => void this.#connect(), 500)
  }

  #collect(hint: Hint): void {
    if (hint.outbox === true) this.#outbox = true
    if (hint.fleet === true) this.#fleet = true
    for (const id of hint.closed ?? []) this.#closed.add(id)
    for (const id of hint.over ?? []) this.#over.add(id)
    this.#timer ??= setTimeout(() => this.#send(), this.#windowMs)
  }

  #send(): void {
    this.#timer = undefined
    const client = this.#client
    const [closed, over] = [[...this.#closed], [...this.#over]]
    const said = { from: this.#self, outbox: this.#outbox, fleet: this.#fleet }
    this.#closed = new Set()
    this.#over = new Set()
    this.#outbox = false
    this.#fleet = false
    if (client === undefined || !this.#others) return
    const messages = []
    for (let at = 0; at === 0 || at < Math.max(closed.length, over.length); at += IDS_PER_MESSAGE) {
      const part = (ids: readonly string[]): readonly string[] => ids.slice(at, at + IDS_PER_MESSAGE)
      messages.push(JSON.stringify({ ...said, closed: part(closed), over: part(over) }))
    }
    client.query('select pg_notify($1, m) from unnest($2::text[]) as m', [CHANNEL, messages]).catch((error: unknown) => {
      this.#onError(error instanceof Error ? error : new Error(String(error)))
    })
  }

  #receive(payload: string | undefined): void {
    const parsed = Message.safeParse(safeJson(payload ?? ''))
    if (!parsed.success || parsed.data.from === this.#self) return
    this.#bus.receive({ outbox: parsed.data.outbox === true, fleet: parsed.data.fleet === true, closed: parsed.data.closed ?? [], over: parsed.data.over ?? [] })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#unlisten()
    clearTimeout(this.#timer)
    clearTimeout(this.#retry)
    clearInterval(this.#census)
    this.#timer = undefined
    await this.#client?.end().catch(() => undefined)
  }
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
