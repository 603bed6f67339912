import type { Request, Response } from 'express'
import type { Logger } from '../../config/logger.js'
import { AgentbusError, messageOf } from '../../contracts/errors.js'
import type { EventView } from '../../contracts/events.js'
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
/** Whoever has so much unread from before gets no rows until it has taken it. */
const UNREAD_LIMIT = 262_144
/** Rows that are written at once, at most: no burst of events fills the memory. */
const BURST_LIMIT = 1_048_576
/** A reader that takes nothing for so long is let go rather than kept in memory; what it is owed then, a little later. */
const BEHIND_MS = 15_000
const LAST_WORDS_MS = 5_000
/** Tells a tail that there was more than it was told. */
const GAP = 'event: gap\ndata: {}\n\n'

interface Stream {
  readonly response: Response
  readonly person: string
  /** Undefined: no tail. Empty: every topic. */
  readonly topic: string | undefined
  readonly sent: Set<string>
  readonly startedMs: number
  spokeMs: number
  agedMs: number
  /** Since when it has too much unread; undefined while it keeps up. */
  behindMs: number | undefined
  /** While it was behind something has passed that comes to it no more. */
  hasMissed: boolean
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
    this.#mustHaveRoom(what.person)
    const resumed = marksOf(what.last)
    const now = await this.#options.ledger.console.pulse()
    if (request.destroyed || request.socket.destroyed) return
    // All that came at the same time had room then: a server that is back is asked by every page at once.
    this.#mustHaveRoom(what.person)
    const nowMs = performance.now()
    const stream: Stream = {
      response,
      person: what.person,
      topic: what.topic,
      sent: new Set(),
      startedMs: nowMs,
      spokeMs: nowMs,
      agedMs: nowMs,
      behindMs: undefined,
      hasMissed: false,
    }
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
    if (this.#streams.has(stream)) this.#timer ??= setInterval(() => void this.#beat(), BEAT_MS)
  }

  /** @throws AGENTBUS_TOO_MANY_REQUESTS */
  #mustHaveRoom(person: string): void {
    const own = [...this.#streams].filter((stream) => stream.person === person).length
    if (own < (this.#options.perPerson ?? 8) && this.#streams.size < (this.#options.most ?? 200)) return
    throw new AgentbusError('AGENTBUS_TOO_MANY_REQUESTS', `${own} pages of ${person} are live already; close one, or load this page by hand.`, { retry_after: 30 })
  }

  /** Ends every stream, so that the server can close. */
  async stop(): Promise<void> {
    this.#unlisten()
    clearTimeout(this.#soon)
    for (const stream of [...this.#streams]) this.#end(stream)
    await this.#beating
  }

  /** Forgets it at once, so that nothing is written after its end, and its connection soon, whether it takes its last words or not. */
  #end(stream: Stream, lastWords = ''): void {
    this.#forget(stream)
    stream.response.end(lastWords)
    setTimeout(() => stream.response.destroy(), LAST_WORDS_MS).unref()
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
    for (const stream of [...this.#streams]) this.#weigh(stream)
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
      for (const stream of [...this.#streams]) this.#end(stream)
    }
  }

  /**
   * Looks at what is unread from before, at the start of a beat. Not after a write: Node gives a socket what one turn writes
   * only at its end, so a burst would find itself unread, whoever reads.
   */
  #weigh(stream: Stream): void {
    const nowMs = performance.now()
    if (stream.response.writableLength > UNREAD_LIMIT) {
      stream.behindMs ??= nowMs
      if (nowMs - stream.behindMs > BEHIND_MS) this.#end(stream, GAP)
      return
    }
    stream.behindMs = undefined
    if (stream.hasMissed) this.#say(stream, GAP)
    stream.hasMissed = false
  }

  async #tail(floor: string): Promise<void> {
    const found = await this.#options.ledger.console.eventsAfter(floor, TAIL_LIMIT)
    for (const stream of this.#streams) if (stream.topic !== undefined) this.#pass(stream, found)
    this.#floor = found.floor
  }

  async #catchUp(stream: Stream, floor: string): Promise<void> {
    this.#pass(stream, await this.#options.ledger.console.eventsAfter(floor, TAIL_LIMIT))
  }

  #pass(stream: Stream, found: { readonly events: readonly EventView[]; readonly floor: string; readonly cut: boolean }): void {
    const fresh = found.events.filter((event) => !stream.sent.has(event.id))
    const told = fresh.filter((event) => isAbout(event.topic, stream.topic ?? ''))
    if (stream.behindMs !== undefined) {
      // They come again, as long as they lie above the floor.
      stream.hasMissed ||= told.some((event) => BigInt(event.id) <= BigInt(found.floor))
      return
    }
    for (const event of fresh) stream.sent.add(event.id)
    const rows = this.#newestRows(told)
    if (rows.length < told.length || (found.cut && fresh.length === found.events.length)) this.#say(stream, GAP)
    for (const row of rows) this.#say(stream, row)
    // Only those above the floor can come again.
    for (const id of stream.sent) if (stream.sent.size > TAIL_LIMIT * 4) stream.sent.delete(id)
  }

  /** Those of the newest that fit into {@link BURST_LIMIT}, oldest first. */
  #newestRows(events: readonly EventView[]): string[] {
    const rows: string[] = []
    let size = 0
    for (const event of events.toReversed()) {
      const row = `event: happened\n${this.#idLine()}data: ${JSON.stringify({ id: event.id, row: this.#options.renderEvent(event) })}\n\n`
      size += row.length
      if (size > BURST_LIMIT) break
      rows.push(row)
    }
    return rows.reverse()
  }

  #tell(stream: Stream, isChanged: boolean): void {
    const nowMs = performance.now()
    if (nowMs - stream.startedMs > LIFE_MS) {
      this.#end(stream)
      return
    }
    const isAged = nowMs - stream.agedMs > AGED_MS
    if (isChanged || isAged) {
      stream.agedMs = nowMs
      this.#say(stream, `event: changed\n${this.#idLine()}data: {}\n\n`)
    } else if (nowMs - stream.spokeMs > HEARTBEAT_MS) this.#say(stream, ': still here\n\n')
  }

  #say(stream: Stream, text: string): void {
    // It may have ended while its events were read.
    if (!this.#streams.has(stream)) return
    stream.spokeMs = performance.now()
    stream.response.write(text)
  }

  #idLine(): string {
    return this.#pulse === undefined ? '' : `id: ${markOf({ pulse: this.#pulse, floor: this.#floor ?? '0' })}\n`
  }
}

function isAbout(topic: string, pattern: string): boolean {
  return pattern === '' || pattern === '*' || (pattern.endsWith('.*') ? topic.startsWith(pattern.slice(0, -1)) : topic === pattern)
}
