import { setTimeout as timeout } from 'node:timers/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Clock } from '../../config/clock.js'
import { BoundedLog } from './bounded-log.js'
import { readBody, readObject, readRun, readWake, type WakeRequest } from './hook-body.js'
import { HookDesk, type RunEnd, type RunRecord, type SimulatedRun } from './hook-desk.js'

export type { RunEnd, RunRecord, SimulatedRun } from './hook-desk.js'

export interface SimulatorOptions {
  readonly hookToken: string
  /** 0, the default, takes a free one and keeps it over crashes. */
  readonly port?: number
  readonly host?: string
  readonly hookPath?: string
  /** Agent ids that exist, or any. */
  readonly agents: readonly string[] | 'any'
  /** The agent: what happens in a run. */
  readonly behave: (run: SimulatedRun) => Promise<RunEnd>
  /** Runs at once; the rest queue. */
  readonly maxRuns?: number
  /** Milliseconds a queued run waits for its place before 503. */
  readonly admissionTimeoutMs?: number
  /** False: like a gateway that knows no `waitForCompletion`. */
  readonly completions?: boolean
  readonly clock?: Clock
}

/** One request as it arrived. `status` is 0 while it has no answer, and for good when the client or the gateway went away. */
export interface RequestRecord {
  readonly method: string
  readonly path: string
  readonly key: string | undefined
  readonly body: string
  readonly status: number
  readonly atMs: number
}

export interface Fault {
  readonly status: number
  readonly body: string
  readonly retryAfter?: string
}

export interface Simulator {
  readonly url: string
  start(): Promise<void>
  /** `drain`: new posts get 503, running runs finish and waiting clients get their answer first. */
  stop(options: { readonly drain: boolean }): Promise<void>
  /** As SIGKILL would: sockets reset, runs gone, all memory of keys gone. `start` brings it back on the same port. */
  crash(): Promise<void>
  /** Loses all memory of keys and nothing else, and does not let it be seen: runs and uptime go on. */
  forget(): void
  setDraining(draining: boolean): void
  /** Resets every connection, new ones too, as a cut network does. Runs go on. */
  setDown(down: boolean): void
  /** Answers every hook that has the right token with this status and text while set. */
  setFault(fault: Fault | undefined): void
  runs(): readonly RunRecord[]
  /** How many runs the log of {@link runs} has dropped, for it is bounded: whoever takes it for evidence has to ask. */
  droppedRuns(): number
  requests(): readonly RequestRecord[]
  wakes(): readonly WakeRequest[]
}

/** The built-in stand-in for an OpenClaw gateway: the same statuses, texts and shapes, observed on the real one (2026.9.6). */
export function createSimulator(options: SimulatorOptions): Simulator {
  return new GatewaySimulator(options)
}

const realClock: Clock = {
  nowMs: () => Date.now(),
  sleep: (ms, signal) => timeout(ms, undefined, { ref: false, ...(signal === undefined ? {} : { signal }) }),
}

type OpenRequest = { -readonly [K in keyof RequestRecord]: RequestRecord[K] }

interface Reply {
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

class GatewaySimulator implements Simulator {
  readonly #options: SimulatorOptions
  readonly #clock: Clock
  readonly #sockets = new Set<Socket>()
  readonly #unanswered = new Set<Promise<void>>()
  readonly #requests = new BoundedLog<RequestRecord>()
  readonly #runs = new BoundedLog<RunRecord>()
  readonly #wakes = new BoundedLog<WakeRequest>()
  #pendingWakes = new Set<string>()
  #server: Server | undefined
  #desk: HookDesk
  #bootedAtMs = 0
  #port: number
  #draining = false
  #down = false
  #fault: Fault | undefined
  #rejectedAtMs: number[] = []

  constructor(options: SimulatorOptions) {
    this.#options = options
    this.#clock = options.clock ?? realClock
    this.#port = options.port ?? 0
    this.#desk = this.#freshDesk()
  }

  get url(): string {
    return `http://${this.#host}:${this.#port}`
  }

  get #host(): string {
    return this.#options.host ?? '127.0.0.1'
  }

  async start(): Promise<void> {
    if (this.#server !== undefined) throw new Error('the simulator runs already')
    this.#desk = this.#freshDesk()
    this.#pendingWakes = new Set()
    this.#rejectedAtMs = []
    this.#draining = false
    const server = createServer((request, response) => this.#serve(request, response))
    server.keepAliveTimeout = 5_000
    server.requestTimeout = 0
    server.on('connection', (socket) => this.#keep(socket))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, this.#host, resolve)
    })
    this.#port = (server.address() as AddressInfo).port
    this.#bootedAtMs = this.#clock.nowMs()
  }

  async stop({ drain }: { readonly drain: boolean }): Promise<void> {
    if (drain) {
      this.#draining = true
      await this.#desk.idle()
      await Promise.all(this.#unanswered)
      // A reset could overtake the last answers; these connections end in order.
      this.#server?.closeIdleConnections()
    }
    await this.crash()
  }

  async crash(): Promise<void> {
    this.#desk.kill()
    const server = this.#server
    this.#server = undefined
    for (const socket of this.#sockets) socket.resetAndDestroy()
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  forget(): void {
    this.#desk.forget()
  }

  setDraining(draining: boolean): void {
    this.#draining = draining
  }

  setDown(down: boolean): void {
    this.#down = down
    if (down) for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  setFault(fault: Fault | undefined): void {
    this.#fault = fault
  }

  runs(): readonly RunRecord[] {
    return this.#runs.entries()
  }

  droppedRuns(): number {
    return this.#runs.dropped
  }

  requests(): readonly RequestRecord[] {
    return this.#requests.entries()
  }

  wakes(): readonly WakeRequest[] {
    return this.#wakes.entries()
  }

  #freshDesk(): HookDesk {
    return new HookDesk({
      behave: this.#options.behave,
      maxRuns: this.#options.maxRuns ?? 8,
      admissionTimeoutMs: this.#options.admissionTimeoutMs ?? 15_000,
      clock: this.#clock,
      record: (run) => this.#runs.add(run, run.bytes.length),
    })
  }

  #keep(socket: Socket): void {
    if (this.#down) {
      socket.resetAndDestroy()
      return
    }
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => this.#sockets.delete(socket))
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const key = request.headers['idempotency-key'] ?? request.headers['x-openclaw-idempotency-key']
    const record: OpenRequest = {
      method: request.method ?? '',
      path: new URL(request.url ?? '/', 'http://simulator').pathname,
      key: typeof key === 'string' ? key : undefined,
      body: '',
      status: 0,
      atMs: this.#clock.nowMs(),
    }
    const gone = new Promise<void>((resolve) => response.on('close', resolve))
    this.#unanswered.add(gone)
    void gone.then(() => this.#unanswered.delete(gone))
    void this.#answer(request, record).then((reply) => {
      if (reply === undefined || response.socket?.destroyed !== false) return
      record.status = reply.status
      const isText = typeof reply.body === 'string'
      response.writeHead(reply.status, { 'content-type': `${isText ? 'text/plain' : 'application/json'}; charset=utf-8`, ...reply.headers })
      response.end(isText ? reply.body : JSON.stringify(reply.body))
    })
  }

  /** @returns undefined when the client has gone away */
  async #answer(request: IncomingMessage, record: OpenRequest): Promise<Reply | undefined> {
    const { path } = record
    const hookPath = this.#options.hookPath ?? '/hooks'
    const isHook = path === hookPath || path.startsWith(`${hookPath}/`)
    if (!isHook) {
      this.#requests.add(record, 0)
      return this.#probe(record)
    }
    const early = this.#beforeBody(request, path.slice(hookPath.length))
    // The body is read in any case: an answer to half a request resets the connection.
    const body = await readBody(request)
    if (body === undefined) return undefined
    record.body = early === undefined ? body.text : ''
    this.#requests.add(record, record.body.length)
    if (early !== undefined) return early
    if (this.#fault !== undefined) {
      return { status: this.#fault.status, body: this.#fault.body, ...(this.#fault.retryAfter === undefined ? {} : { headers: { 'retry-after': this.#fault.retryAfter } }) }
    }
    if (body.tooLarge) return { status: 413, body: { ok: false, error: 'payload too large' }, headers: { connection: 'close' } }
    const parsed = readObject(body.text)
    if (parsed.kind === 'fault') return fault(parsed.error)
    return path.endsWith('/wake') ? this.#wake(parsed.value) : this.#run(parsed.value, body.text, record.key)
  }

  #probe({ path, method }: RequestRecord): Reply {
    if (path !== '/healthz' && path !== '/readyz') return { status: 404, body: 'Not Found' }
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, body: 'Method Not Allowed', headers: { allow: 'GET, HEAD' } }
    if (path === '/healthz') return { status: 200, body: { ok: true, status: 'live' } }
    const uptimeMs = Math.max(0, this.#clock.nowMs() - this.#bootedAtMs)
    return this.#draining ? { status: 503, body: { ready: false, failing: ['gateway-draining'], uptimeMs } } : { status: 200, body: { ready: true, failing: [], uptimeMs } }
  }

  /** What a gateway says before it looks at the body, in its order: draining, method, token, path. */
  #beforeBody(request: IncomingMessage, end: string): Reply | undefined {
    if (this.#draining) {
      const error = { message: 'Gateway is temporarily unavailable while suspending or restarting', type: 'service_unavailable', code: 'gateway_unavailable' }
      return { status: 503, body: { error }, headers: { 'retry-after': '1' } }
    }
    if (request.method !== 'POST') return { status: 405, body: 'Method Not Allowed', headers: { allow: 'POST' } }
    const { authorization } = request.headers
    const token = authorization?.startsWith('Bearer ') === true ? authorization.slice(7) : request.headers['x-openclaw-token']
    if (token !== this.#options.hookToken) return this.#reject()
    this.#rejectedAtMs = []
    return end === '/agent' || end === '/wake' ? undefined : { status: 404, body: 'Not Found' }
  }

  /** Wrong tokens are counted over a minute; a right one is always let in, and starts the count anew. */
  #reject(): Reply {
    const nowMs = this.#clock.nowMs()
    this.#rejectedAtMs = [...this.#rejectedAtMs.filter((atMs) => nowMs - atMs < 60_000), nowMs].slice(-21)
    if (this.#rejectedAtMs.length <= 20) return { status: 401, body: 'Unauthorized' }
    return { status: 429, body: 'Too Many Requests', headers: { 'retry-after': '60' } }
  }

  #wake(body: Readonly<Record<string, unknown>>): Reply {
    const wake = readWake(body, this.#options.agents)
    if (wake.kind === 'fault') return fault(wake.error)
    const { mode } = wake.value
    const name = JSON.stringify(wake.value)
    const eventOutcome = this.#pendingWakes.has(name) ? 'coalesced' : 'queued'
    if (this.#pendingWakes.size < 10_000) this.#pendingWakes.add(name)
    this.#wakes.add(wake.value, name.length)
    // A turn in the main session: no key, no run id, no completion.
    if (mode === 'now') this.#desk.take({ key: undefined, fingerprint: name, agentId: wake.value.agentId, message: wake.value.text, body, bytes: name })
    return { status: 200, body: { ok: true, mode, eventOutcome } }
  }

  async #run(body: Readonly<Record<string, unknown>>, bytes: string, key: string | undefined): Promise<Reply> {
    const read = readRun(body, bytes, key, this.#options.agents)
    if (read.kind === 'fault') return fault(read.error)
    const { runId, admitted, completion } = this.#desk.take(read.value)
    if (!(await admitted)) return { status: 503, body: { ok: false, error: 'hook agent run did not start before admission timeout', runId } }
    if (body['waitForCompletion'] !== true || this.#options.completions === false) return { status: 200, body: { ok: true, runId } }
    const { status } = await completion
    return { status: 200, body: { ok: true, runId, completion: { status, replyDisposition: 'visible', delivered: false, deliveryAttempted: false } } }
  }
}

function fault(error: string): Reply {
  return { status: 400, body: { ok: false, error } }
}
