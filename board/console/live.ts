import type { Request, Response } from 'express'
import type { Logger } from '../../config/logger.js'
import { AgentbusError, messageOf } from '../../contracts/errors.js'
import type { EventView } from '../../contracts/jobs.js'
import type { Pulse } from '../../ledger/console/pulse.js'
import type { Ledger } from '../../ledger/ledger.js'
import { keyOf, markOf, marksOf } from './marks.js'

export interface LiveOptions {
  readonly ledger: Ledger
  readonly log: Logger
  readonly renderEvent: (event: EventView) => string
  /** Streams of one person, and of all. */
  readonly perPerson?: number
  readonly most?: number
}

const BEAT_MS = 1_000
/** After a hint: soon, but not more often than this. */
const HINT_MS = 250
const HEARTBEAT_MS = 15_000
/** Ages on a page grow old, though nothing happens. */
const AGED_MS = 30_000
/** Then the browser comes again, and its token is asked for again. */
const LIFE_MS = 600_000
const TAIL_LIMIT = 300
/** A reader that takes nothing is let go rather than kept in memory. */
const UNREAD_LIMIT = 262_144

interface Stream {
  readonly response: Response
  readonly person: string
  /** Undefined: no tail. Empty: every topic. */
  readonly topic: string | undefined
  readonly sent: Set<string>
  readonly startedMs: number
  spokeMs: number
  agedMs: number
}

/**
 * Server-sent events for the pages: `changed` when something has happened, and the events themselves for the tail. While
 * anybody looks, this process asks once a second (and at once after a hint) where the append-only tables end: one query
 * however many look, none when nobody does.
 */
export class LiveStreams {
  readonly #options: LiveOptions
  readonly #streams = new Set<Stream>()
  #timer: NodeJS.Timeout | undefined
  #soon: NodeJS.Timeout | undefined
  #pulse: Pulse | undefined
  /** Events up to here can get no new neighbours; see `eventsAfter`. */
  #floor: string | undefined
  #beating: Promise<void> | undefined
  readonly #unlisten: () => void

  constructor(options: LiveOptions) {
    this.#options = options
    this.#unlisten = options.ledger.hints.listen(() => {
      if (this.#streams.size > 0) this.#soon ??= setTimeout(() => void this.#beat(), HINT_MS)
    })
  }

  get size(): number {
    return this.#streams.size
  }

  /** @throws AGENTBUS_TOO_MANY_REQUESTS when that person, or everybody together, has too many pages open */
  async open(request: Request, response: Response, what: { readonly person: string; readonly topic: string | undefined; readonly last: string | undefined }): Promise<void> {
    const own = [...this.#streams].filter((stream) => stream.person === what.person).length
    if (own >= (this.#options.perPerson ?? 8) || this.#streams.size >= (this.#options.most ?? 200)) {
      throw new AgentbusError('AGENTBUS_TOO_MANY_REQUESTS', `${own} pages of ${what.person} are live already; close one, or load this page by hand.`, { retry_after: 30 })
    }
    const resumed = marksOf(what.last)
    const now = await this.#options.ledger.console.pulse()
    if (request.destroyed || request.socket.destroyed) return
    const nowMs = performance.now()
    const stream: Stream = { response, person: what.person, topic: what.topic, sent: new Set(), startedMs: nowMs, spokeMs: nowMs, agedMs: nowMs }
    response.status(200).setHeader('Content-Type', 'text/event-stream; charset=utf-8')
    // When the bus stops, the connection of a stream that ended must not be kept for another request.
    response.setHeader('Connection', 'close')
    response.setHeader('X-Accel-Buffering', 'no')
    response.flushHeaders()
    response.on('close', () => this.#forget(stream))
    this.#streams.add(stream)
    this.#pulse ??= now
    this.#floor ??= now.events
    const isMissed = resumed !== undefined && keyOf(resumed.pulse) !== keyOf(now)
    this.#say(stream, `retry: 2000\nevent: ${isMissed ? 'changed' : 'hello'}\n${this.#idLine()}data: {}\n\n`)
    if (what.topic !== undefined && resumed !== undefined) await this.#catchUp(stream, resumed.floor)
    this.#timer ??= setInterval(() => void this.#beat(), BEAT_MS)
  }

  /** Ends every stream, so that the server can close. */
  async stop(): Promise<void> {
    this.#unlisten()
    clearTimeout(this.#soon)
    for (const stream of [...this.#streams]) {
      stream.response.end()
      this.#forget(stream)
    }
    await this.#beating
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#pulse = undefined
    this.#floor = undefined
  }

  /** One look at a time; what comes in between is seen by the next one. */
  #beat(): Promise<void> {
    clearTimeout(this.#soon)
    this.#soon = undefined
    this.#beating ??= this.#look().finally(() => {
      this.#beating = undefined
    })
    return this.#beating
  }

  async #look(): Promise<void> {
    const { ledger, log } = this.#options
    try {
      const now = await ledger.console.pulse()
      const before = this.#pulse
      if (before === undefined) return
      this.#pulse = now
      const isTailed = [...this.#streams].some((stream) => stream.topic !== undefined)
      if (isTailed && this.#floor !== undefined && now.events !== '0') await this.#tail(this.#floor)
      else this.#floor = now.events
      const isChanged = keyOf(before) !== keyOf(now)
      for (const stream of this.#streams) this.#tell(stream, isChanged)
    } catch (error) {
      // The pages say that they are not live as soon as their streams end; until the ledger is back there is nothing to say.
      log.warn({ event: 'console.live_failed', err: messageOf(error) }, 'the console could not look for changes')
      for (const stream of [...this.#streams]) stream.response.end()
    }
  }

  async #tail(floor: string): Promise<void> {
    const found = await this.#options.ledger.console.eventsAfter(floor, TAIL_LIMIT)
    for (const stream of this.#streams) if (stream.topic !== undefined) this.#pass(stream, found)
    this.#floor = found.floor
  }

  async #catchUp(stream: Stream, floor: string): Promise<void> {
    this.#pass(stream, await this.#options.ledger.console.eventsAfter(floor, TAIL_LIMIT))
  }

  #pass(stream: Stream, found: { readonly events: readonly EventView[]; readonly cut: boolean }): void {
    const fresh = found.events.filter((event) => !stream.sent.has(event.id))
    if (found.cut && fresh.length === found.events.length) this.#say(stream, `event: gap\ndata: {}\n\n`)
    for (const event of fresh) {
      stream.sent.add(event.id)
      if (!isAbout(event.topic, stream.topic ?? '')) continue
      this.#say(stream, `event: happened\n${this.#idLine()}data: ${JSON.stringify({ id: event.id, row: this.#options.renderEvent(event) })}\n\n`)
    }
    // Only those above the floor can come again.
    for (const id of stream.sent) if (stream.sent.size > TAIL_LIMIT * 4) stream.sent.delete(id)
  }

  #tell(stream: Stream, isChanged: boolean): void {
    const nowMs = performance.now()
    if (nowMs - stream.startedMs > LIFE_MS) {
      stream.response.end()
      return
    }
    const isAged = nowMs - stream.agedMs > AGED_MS
    if (isChanged || isAged) {
      stream.agedMs = nowMs
      this.#say(stream, `event: changed\n${this.#idLine()}data: {}\n\n`)
    } else if (nowMs - stream.spokeMs > HEARTBEAT_MS) this.#say(stream, ': still here\n\n')
  }

  #say(stream: Stream, text: string): void {
    stream.spokeMs = performance.now()
    stream.response.write(text)
    if (stream.response.writableLength > UNREAD_LIMIT) stream.response.destroy()
  }

  #idLine(): string {
    return this.#pulse === undefined ? '' : `id: ${markOf({ pulse: this.#pulse, floor: this.#floor ?? '0' })}\n`
  }
}

function isAbout(topic: string, pattern: string): boolean {
  return pattern === '' || pattern === '*' || (pattern.endsWith('.*') ? topic.startsWith(pattern.slice(0, -1)) : topic === pattern)
}
