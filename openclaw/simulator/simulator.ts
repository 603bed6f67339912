import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { HookDesk, type SimulatedRun, type RunRecord } from './hook-desk.js'

export type { RunRecord, SimulatedRun } from './hook-desk.js'

export interface SimulatorOptions {
  readonly hookToken: string
  readonly port?: number
  readonly host?: string
  readonly hookPath?: string
  /** Agent ids that exist, or any. */
  readonly agents: readonly string[] | 'any'
  /** The agent: what happens in a run. */
  readonly behave: (run: SimulatedRun) => Promise<{ readonly status: 'ok' | 'error' | 'skipped' }>
  /** Runs at once; the rest queue. */
  readonly maxRuns?: number
  /** Milliseconds a queued run waits for its place before 503. */
  readonly admissionTimeoutMs?: number
  /** False: like a gateway that knows no `waitForCompletion`. */
  readonly completions?: boolean
  readonly nowMs?: () => number
}

export interface RequestRecord {
  readonly method: string
  readonly path: string
  readonly key: string | undefined
  readonly body: string
  readonly status: number
  readonly atMs: number
}

export interface Simulator {
  readonly url: string
  start(): Promise<void>
  /** `drain`: running runs finish and waiting clients get their answer first. */
  stop(options: { readonly drain: boolean }): Promise<void>
  /** As SIGKILL would: sockets reset, runs gone, all memory of keys gone. `start` brings it back on the same port. */
  crash(): Promise<void>
  setDraining(draining: boolean): void
  /** Answers every hook with this status and text while set. */
  setFault(fault: { readonly status: number; readonly body: string; readonly retryAfter?: string } | undefined): void
  runs(): readonly RunRecord[]
  requests(): readonly RequestRecord[]
}

const BODY_LIMIT = 262_144
const LOG_LIMIT = 200_000

/** The built-in stand-in for an OpenClaw gateway: the same statuses, texts and shapes, observed on the real one. */
export function createSimulator(options: SimulatorOptions): Simulator {
  return new GatewaySimulator(options)
}

class GatewaySimulator implements Simulator {
  readonly #options: SimulatorOptions
  readonly #nowMs: () => number
  readonly #sockets = new Set<Socket>()
  readonly #requests: RequestRecord[] = []
  readonly #runs: RunRecord[] = []
  #server: Server | undefined
  #desk: HookDesk
  #bootedAtMs = 0
  #port: number
  #draining = false
  #fault: { readonly status: number; readonly body: string; readonly retryAfter?: string } | undefined
  #rejectedAt: number[] = []

  constructor(options: SimulatorOptions) {
    this.#options = options
    this.#nowMs = options.nowMs ?? (() => Date.now())
    this.#port = options.port ?? 0
    this.#desk = this.#freshDesk()
  }

  get url(): string {
    return `http://${this.#options.host ?? '127.0.0.1'}:${this.#port}`
  }

  #freshDesk(): HookDesk {
    return new HookDesk({
      behave: this.#options.behave,
      maxRuns: this.#options.maxRuns ?? 8,
      admissionTimeoutMs: this.#options.admissionTimeoutMs ?? 15_000,
      nowMs: this.#nowMs,
      record: (run) => {
        if (this.#runs.length < LOG_LIMIT) this.#runs.push(run)
      },
    })
  }

  async start(): Promise<void> {
    this.#desk = this.#freshDesk()
    this.#draining = false
    const server = createServer((request, response) => void this.#handle(request, response))
    server.keepAliveTimeout = 60_000
    server.requestTimeout = 0
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, this.#options.host ?? '127.0.0.1', () => resolve())
    })
    this.#port = (server.address() as AddressInfo).port
    this.#bootedAtMs = this.#nowMs()
  }

  async stop({ drain }: { readonly drain: boolean }): Promise<void> {
    if (drain) {
      this.#draining = true
      await this.#desk.idle()
    }
    await this.#shut()
  }

  async crash(): Promise<void> {
    await this.#shut()
  }

  async #shut(): Promise<void> {
    this.#desk.kill()
    const server = this.#server
    this.#server = undefined
    for (const socket of this.#sockets) socket.resetAndDestroy()
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  setDraining(draining: boolean): void {
    this.#draining = draining
  }

  setFault(fault: { readonly status: number; readonly body: string; readonly retryAfter?: string } | undefined): void {
    this.#fault = fault
  }

  runs(): readonly RunRecord[] {
    return this.#runs
  }

  requests(): readonly RequestRecord[] {
    return this.#requests
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://simulator').pathname
    let body = ''
    response.on('finish', () => {
      const key = request.headers['idempotency-key']
      if (this.#requests.length < LOG_LIMIT) {
        this.#requests.push({ method: request.method ?? '', path, key: typeof key === 'string' ? key : undefined, body, status: response.statusCode, atMs: this.#nowMs() })
      }
    })
    if (path === '/healthz') return json(response, 200, { ok: true, status: 'live' })
    if (path === '/readyz') return this.#readyz(response)
    // Draining is answered before auth, for replays too, in a shape of its own.
    if (this.#draining) {
      response.setHeader('Retry-After', '1')
      return json(response, 503, { error: { message: 'gateway is draining', code: 'gateway_unavailable' } })
    }
    const hookPath = this.#options.hookPath ?? '/hooks'
    if (path !== `${hookPath}/agent` && path !== `${hookPath}/wake`) return text(response, 404, 'Not Found')
    if (request.method !== 'POST') {
      response.setHeader('Allow', 'POST')
      return text(response, 405, 'Method Not Allowed')
    }
    if (request.headers.authorization !== `Bearer ${this.#options.hookToken}`) return this.#reject(response)
    if (this.#fault !== undefined) {
      if (this.#fault.retryAfter !== undefined) response.setHeader('Retry-After', this.#fault.retryAfter)
      return text(response, this.#fault.status, this.#fault.body)
    }
    const read = await readBody(request)
    if (read === undefined) return json(response, 413, { ok: false, error: 'payload too large' })
    body = read
    const parsed = parseObject(body)
    if (parsed === undefined) return json(response, 400, { ok: false, error: 'invalid JSON body' })
    if (path.endsWith('/wake')) return json(response, 200, { ok: true, mode: parsed['mode'] ?? 'now', eventOutcome: 'queued' })
    return this.#hook(request, response, parsed, body)
  }

  #readyz(response: ServerResponse): void {
    if (this.#draining) return json(response, 503, { ready: false, failing: ['draining'] })
    return json(response, 200, { ready: true, failing: [], uptimeMs: Math.max(0, this.#nowMs() - this.#bootedAtMs) })
  }

  #reject(response: ServerResponse): void {
    const now = this.#nowMs()
    this.#rejectedAt = this.#rejectedAt.filter((at) => now - at < 60_000)
    this.#rejectedAt.push(now)
    if (this.#rejectedAt.length <= 20) return text(response, 401, 'Unauthorized')
    response.setHeader('Retry-After', '60')
    return text(response, 429, 'Too Many Requests')
  }

  async #hook(request: IncomingMessage, response: ServerResponse, body: Record<string, unknown>, raw: string): Promise<void> {
    const fault = this.#faultOf(body)
    if (fault !== undefined) return json(response, 400, { ok: false, error: fault })
    const header = request.headers['idempotency-key'] ?? request.headers['x-openclaw-idempotency-key']
    const key = typeof header === 'string' ? header : typeof body['idempotencyKey'] === 'string' ? body['idempotencyKey'] : undefined
    const run = this.#desk.take({ key, body, bytes: raw })
    const admitted = await run.admitted
    if (!admitted) return json(response, 503, { ok: false, error: 'hook agent run did not start before admission timeout', runId: run.runId })
    if (body['waitForCompletion'] !== true || this.#options.completions === false) return json(response, 200, { ok: true, runId: run.runId })
    const completion = await run.completion
    return json(response, 200, { ok: true, runId: run.runId, completion: { status: completion.status, replyDisposition: 'visible', delivered: false, deliveryAttempted: false } })
  }

  #faultOf(body: Record<string, unknown>): string | undefined {
    if (typeof body['message'] !== 'string' || body['message'].trim() === '') return 'message required'
    const agentId = body['agentId']
    if (this.#options.agents === 'any') return undefined
    if (typeof agentId !== 'string' && this.#options.agents.length > 1) return 'agentId required'
    if (typeof agentId === 'string' && !this.#options.agents.includes(agentId)) return `unknown agent: ${agentId}`
    return undefined
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

function text(response: ServerResponse, status: number, body: string): void {
  if (response.destroyed) return
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' })
  response.end(body)
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > BODY_LIMIT) return undefined
      chunks.push(chunk)
    }
  } catch {
    return undefined
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
