import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, exitCodeOf } from '../exit-codes.js'
import { CliError } from '../io.js'
import { oneLine } from '../printable.js'
import { rowsOf, type Json } from './json.js'

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined
  readonly idempotencyKey?: string | undefined
  readonly ifVersion?: number | undefined
  /** The API does not recognise a repeat of this request: it is sent again only when it cannot have arrived. */
  readonly unrepeatable?: true
}

interface Answer {
  readonly kind: 'answer'
  readonly status: number
  /** Undefined when the body is no JSON object: then it was not agentbus that answered. */
  readonly body: Json | undefined
}

interface NoAnswer {
  readonly kind: 'none'
  readonly reason: string
  /** The connection was never made, so nothing was carried out. */
  readonly unsent: boolean
}

/** Waits between tries, in milliseconds; one try more than there are waits. */
const WAITS_MS = [100, 400, 1_600]
const TOTAL_MS = 10_000
const UNSENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'])

/** Calls the API. What may pass by itself is tried again with the same Idempotency-Key, so nothing happens twice. */
export class ApiClient {
  readonly #url: string
  readonly #token: string
  readonly #totalMs: number

  /** `totalMs` bounds one call with all its tries; 10 s when not given. */
  constructor(options: { readonly url: string; readonly token: string; readonly totalMs?: number }) {
    this.#url = options.url
    this.#token = options.token
    this.#totalMs = options.totalMs ?? TOTAL_MS
  }

  /** @throws CliError with the exit code that the answer stands for */
  async call(request: ApiRequest): Promise<Json> {
    const key = request.method === 'GET' ? undefined : (request.idempotencyKey ?? randomUUID())
    const endMs = performance.now() + this.#totalMs
    for (const waitMs of [...WAITS_MS, Infinity]) {
      const outcome = await this.#once(request, key, endMs)
      const isLast = performance.now() + waitMs >= endMs || !mayPass(outcome) || (request.unrepeatable === true && !isUnsent(outcome))
      if (isLast) return this.#settle(request, outcome, key)
      await sleep(waitMs)
    }
    throw new Error('unreachable: the last wait is endless')
  }

  async #once(request: ApiRequest, key: string | undefined, endMs: number): Promise<Answer | NoAnswer> {
    const url = new URL(`${this.#url}${request.path}`)
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value))
    try {
      const response = await fetch(url, {
        method: request.method,
        headers: {
          authorization: `Bearer ${this.#token}`,
          accept: 'application/json',
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(key === undefined ? {} : { 'idempotency-key': key }),
          ...(request.ifVersion === undefined ? {} : { 'if-match': `"${request.ifVersion}"` }),
        },
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        // Followed, a redirect would take the token to another place.
        redirect: 'manual',
        signal: AbortSignal.timeout(Math.max(1, Math.ceil(endMs - performance.now()))),
      })
      return { kind: 'answer', status: response.status, body: objectOf(await response.text()) }
    } catch (error) {
      return noAnswerOf(error, this.#totalMs)
    }
  }

  #settle(request: ApiRequest, outcome: Answer | NoAnswer, key: string | undefined): Json {
    if (outcome.kind === 'answer' && outcome.status < 300 && outcome.body !== undefined) return outcome.body
    if (outcome.kind === 'none') {
      const detail = `Cannot reach agentbus at ${this.#url}: ${outcome.reason}.`
      const next = `Check that it runs and that AGENTBUS_URL is right.${outcome.unsent ? '' : repeating(request, key)}`
      throw failed({ title: 'agentbus cannot be reached', detail, next, exit_code: EXIT.unavailable }, EXIT.unavailable, key)
    }
    const isProblem = typeof outcome.body?.['code'] === 'string'
    if (outcome.body === undefined || !isProblem) throw this.#notAgentbus(request, outcome, key)
    const exitCode = exitCodeOf(outcome.status)
    throw failed(outcome.body, exitCode, exitCode === EXIT.unavailable ? key : undefined)
  }

  /** An answer without a problem document came from something else on the way. Above all, it is no success and no 409. */
  #notAgentbus(request: ApiRequest, { status }: Answer, key: string | undefined): CliError {
    const isAboutJobs = status < 400 || status === 404 || status === 409 || status === 412
    const exitCode = isAboutJobs ? EXIT.unexpected : exitCodeOf(status)
    const detail = `${this.#url} answered ${status}, but not as agentbus does.`
    const next = `Check that AGENTBUS_URL is the address of the API itself.${exitCode === EXIT.unavailable ? repeating(request, key) : ''}`
    return failed({ title: 'Not an answer of agentbus', status, detail, next, exit_code: exitCode }, exitCode, exitCode === EXIT.unavailable ? key : undefined)
  }
}

function mayPass(outcome: Answer | NoAnswer): boolean {
  return outcome.kind === 'none' || exitCodeOf(outcome.status) === EXIT.unavailable
}

function isUnsent(outcome: Answer | NoAnswer): boolean {
  return outcome.kind === 'none' && outcome.unsent
}

/** The key was made here: unless it is told, a repeat by hand could do the thing twice. */
function repeating(request: ApiRequest, key: string | undefined): string {
  if (key === undefined) return ''
  if (request.unrepeatable === true) return ' Whether it was carried out is not known; look before you repeat it.'
  return ` Repeat the command with --idempotency-key ${key}, and it happens once.`
}

function failed(problem: Json, exitCode: number, key: string | undefined): CliError {
  const line = [sentence(whatOf(problem)), problem['next']].filter((part) => typeof part === 'string').join(' ')
  return new CliError(oneLine(line), exitCode, key === undefined ? problem : { ...problem, idempotency_key: key })
}

/** Every fault of the input, when the API names them one by one; else its sentence. */
function whatOf(problem: Json): string {
  const faults = rowsOf(problem['errors']).map((fault) => `${String(fault['path'])}: ${String(fault['message'])}`)
  return faults.length > 0 ? faults.join('; ') : String(problem['detail'] ?? problem['title'])
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

function objectOf(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Json) : undefined
  } catch {
    return undefined
  }
}

function noAnswerOf(error: unknown, totalMs: number): NoAnswer {
  if (error instanceof Error && error.name === 'TimeoutError') return { kind: 'none', reason: `no answer within ${totalMs / 1_000} s`, unsent: false }
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined
  return { kind: 'none', reason: code ?? (cause instanceof Error ? oneLine(cause.message, 200) : 'the connection failed'), unsent: code !== undefined && UNSENT.has(code) }
}
