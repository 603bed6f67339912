import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { CliError } from '../io.js'
import { EXIT, exitCodeOf } from '../exit-codes.js'

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly idempotencyKey?: string | undefined
  readonly ifVersion?: string | undefined
}

type Json = Record<string, unknown>

const TRIES = 3
const TOTAL_MS = 10_000

/** Calls the API. A connection that fails, or a 503, is tried again with the same Idempotency-Key, so nothing happens twice. */
export class ApiClient {
  readonly #url: string
  readonly #token: string | undefined

  constructor(options: { readonly url: string; readonly token: string | undefined }) {
    this.#url = options.url.replace(/\/+$/, '')
    this.#token = options.token
  }

  /** @throws CliError with the exit code that the answer stands for */
  async call(request: ApiRequest): Promise<Json> {
    if (this.#token === undefined) throw new CliError('No token: set AGENTBUS_TOKEN or give --token.', EXIT.refused)
    const key = request.method === 'POST' ? (request.idempotencyKey ?? randomUUID()) : undefined
    const endMs = performance.now() + TOTAL_MS
    for (let tries = 1; ; tries += 1) {
      const outcome = await this.#once(request, key, endMs)
      if (outcome.kind === 'answer' && outcome.status !== 503) return this.#accept(outcome)
      if (tries >= TRIES || performance.now() + 500 > endMs) {
        if (outcome.kind === 'answer') return this.#accept(outcome)
        throw new CliError(`Cannot reach agentbus at ${this.#url}: ${outcome.reason}. Check that it runs and that AGENTBUS_URL is right.`, EXIT.unavailable)
      }
      await sleep(100 * 3 ** (tries - 1))
    }
  }

  async #once(request: ApiRequest, key: string | undefined, endMs: number): Promise<{ kind: 'answer'; status: number; body: Json } | { kind: 'failed'; reason: string }> {
    const url = new URL(`${this.#url}${request.path}`)
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value))
    try {
      const response = await fetch(url, {
        method: request.method,
        headers: {
          authorization: `Bearer ${this.#token ?? ''}`,
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(key === undefined ? {} : { 'idempotency-key': key }),
          ...(request.ifVersion === undefined ? {} : { 'if-match': `"${request.ifVersion}"` }),
        },
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        redirect: 'error',
        signal: AbortSignal.timeout(Math.max(1, Math.ceil(endMs - performance.now()))),
      })
      const text = await response.text()
      return { kind: 'answer', status: response.status, body: parse(text) }
    } catch (error) {
      return { kind: 'failed', reason: reasonOf(error) }
    }
  }

  #accept(answer: { status: number; body: Json }): Json {
    if (answer.status < 400) return answer.body
    const detail = typeof answer.body['detail'] === 'string' ? answer.body['detail'] : `HTTP ${answer.status}`
    const next = typeof answer.body['next'] === 'string' ? ` ${answer.body['next']}` : ''
    throw new CliError(`${detail}${next}`, exitCodeOf(answer.status), answer.body)
  }
}

function parse(text: string): Json {
  try {
    const value: unknown = JSON.parse(text)
    return value !== null && typeof value === 'object' ? (value as Json) : {}
  } catch {
    return {}
  }
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code
  return cause instanceof Error ? cause.message : 'the connection failed'
}
