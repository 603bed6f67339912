import type { LookupFunction } from 'node:net'
import { Agent, DecoratorHandler, request as send, type Dispatcher } from 'undici'

/** More than this is not an answer of a gateway. */
export const MAX_ANSWER_BYTES = 65_536
const CONNECT_TIMEOUT_MS = 5_000
const LONGEST_TIMER_MS = 2_147_483_647

/** What to send. `patience` picks the pool: a joined run keeps its connection for as long as the run lasts. */
export interface Exchange {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly patience: 'short' | 'long'
  readonly deadlineMs: number
  readonly signal?: AbortSignal | undefined
}

/** The status always counts; `text` is undefined when the body was larger than 64 KiB or broke off. */
export interface RawAnswer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly text: string | undefined
}

/** Why there is no answer. `sent`: the request had begun to leave, so the gateway may have acted on it. */
export class NoAnswerError extends Error {
  readonly why: 'aborted' | 'deadline' | 'connection'
  readonly sent: boolean

  constructor(why: NoAnswerError['why'], sent: boolean, cause: unknown) {
    super(why, { cause })
    this.name = 'NoAnswerError'
    this.why = why
    this.sent = sent
  }
}

/**
 * Kept connections to gateways, in two pools per origin. With one pool, 128 joined runs would leave no connection for
 * a probe, and a gateway that is merely busy would look dead. Redirects are answers like any other.
 */
export class HookTransport {
  readonly #short: Agent
  readonly #long: Agent

  constructor(options: { readonly lookup?: LookupFunction } = {}) {
    this.#short = pool(32, options.lookup)
    this.#long = pool(128, options.lookup)
  }

  /** @throws NoAnswerError, and nothing else */
  async exchange(input: Exchange): Promise<RawAnswer> {
    const limit = new Limit(input.deadlineMs, input.signal)
    let sent = false
    try {
      // undici notices an abort only once a request has its connection; one that waits in a full pool must end too.
      return await Promise.race([limit.passed, this.#send(input, limit, () => (sent = true))])
    } catch (error) {
      throw error instanceof NoAnswerError ? error : new NoAnswerError(limit.reached ?? 'connection', sent, error)
    } finally {
      limit.lift()
    }
  }

  async #send(input: Exchange, limit: Limit, onSent: () => void): Promise<RawAnswer> {
    limit.signal.throwIfAborted()
    const agent = input.patience === 'short' ? this.#short : this.#long
    const response = await send(input.url, {
      dispatcher: agent.compose((dispatch) => (options, handler) => dispatch(options, new TellsWhenSent(handler, onSent))),
      method: input.method,
      headers: { ...input.headers },
      body: input.body ?? null,
      signal: limit.signal,
    })
    const header = response.headers['retry-after']
    return { status: response.statusCode, retryAfter: Array.isArray(header) ? header[0] : header, text: await readBody(response, limit) }
  }

  /** Cuts every connection. */
  async close(): Promise<void> {
    await Promise.all([this.#short.destroy(), this.#long.destroy()])
  }
}

function pool(connections: number, lookup: LookupFunction | undefined): Agent {
  return new Agent({
    connections,
    pipelining: 1,
    // Shorter than the 5 s after which a gateway closes an idle connection: a post must not meet that close.
    keepAliveTimeout: 3_000,
    keepAliveMaxTimeout: 3_000,
    connect: { timeout: CONNECT_TIMEOUT_MS, ...(lookup === undefined ? {} : { lookup }) },
    // The one deadline is ours, by signal: a joined run may be silent for many minutes.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: 16_384,
  })
}

/** Calls back when the request begins to leave on a connection: before that, no gateway can have seen it. */
class TellsWhenSent extends DecoratorHandler implements Dispatcher.DispatchHandler {
  readonly #tell: () => void

  constructor(handler: Dispatcher.DispatchHandler, tell: () => void) {
    super(handler)
    this.#tell = tell
  }

  onRequestStart(controller: Dispatcher.DispatchController, context: unknown): void {
    this.#tell()
    const inherited: Dispatcher.DispatchHandler = DecoratorHandler.prototype
    inherited.onRequestStart?.call(this, controller, context)
  }
}

/**
 * A deadline and a caller's signal as one. AbortSignal.any is not used: on a signal that lives as long as the process
 * it leaves something behind for every request.
 */
class Limit {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #outer: AbortSignal | undefined
  /** Rejects when the limit is reached; never resolves. */
  readonly passed: Promise<never>
  #reached: 'aborted' | 'deadline' | undefined

  constructor(deadlineMs: number, outer: AbortSignal | undefined) {
    this.#outer = outer
    const { signal } = this.#controller
    this.passed = new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    this.#timer = setTimeout(() => this.#reach('deadline'), Math.max(0, Math.min(deadlineMs, LONGEST_TIMER_MS)))
    outer?.addEventListener('abort', this.#onAbort, { once: true })
    if (outer?.aborted === true) this.#reach('aborted')
    this.passed.catch(() => undefined)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Which of the two came first, if any did. */
  get reached(): 'aborted' | 'deadline' | undefined {
    return this.#reached
  }

  lift(): void {
    clearTimeout(this.#timer)
    this.#outer?.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => this.#reach('aborted')

  #reach(what: 'aborted' | 'deadline'): void {
    this.#reached ??= what
    this.#controller.abort()
  }
}

/** Reads at most 64 KiB. When a 2xx breaks off there is no answer; of any other status the status is answer enough. */
async function readBody({ statusCode, body }: Dispatcher.ResponseData, limit: Limit): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  body.on('error', () => undefined)
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_ANSWER_BYTES) return undefined
      chunks.push(chunk)
    }
  } catch (error) {
    if (statusCode < 300) throw new NoAnswerError(limit.reached ?? 'connection', true, error)
    return undefined
  }
  return Buffer.concat(chunks).toString('utf8')
}
