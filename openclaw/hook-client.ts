import { Agent, request as send } from 'undici'
import { HookAnswer, ReadyzAnswer, type HookCompletion } from '../contracts/hooks.js'
import { messageOf } from '../contracts/errors.js'
import { cleanJson, cleanText } from '../contracts/text.js'
import { isSurelyUndelivered, retryAfterMs } from './hook-failures.js'

export interface HookRequest {
  readonly gateway: { readonly baseUrl: string; readonly hookPath: string }
  readonly token: string
  readonly body: string
  readonly idempotencyKey: string
  /** Milliseconds until we give up, whatever the gateway promises. */
  readonly deadlineMs: number
  readonly signal: AbortSignal
}

type Body = Record<string, unknown>

export type AdmitOutcome =
  | { readonly kind: 'admitted'; readonly runId: string; readonly httpStatus: number; readonly body: Body }
  /** `certain`: surely not delivered. Otherwise the run may have been admitted and only the answer is missing. */
  | { readonly kind: 'undelivered'; readonly certain: boolean; readonly reason: string; readonly httpStatus?: number; readonly retryAfterMs?: number }
  /** Our mistake, in the gateway's words. */
  | { readonly kind: 'refused'; readonly httpStatus: number; readonly reason: string }

export type JoinOutcome =
  | { readonly kind: 'completed'; readonly runId: string; readonly completion: HookCompletion }
  /** The gateway knows no `waitForCompletion`. */
  | { readonly kind: 'no_completion'; readonly runId: string }
  | { readonly kind: 'broken'; readonly reason: string }
  | { readonly kind: 'refused'; readonly httpStatus: number; readonly reason: string }
  | { readonly kind: 'deadline' }
  | { readonly kind: 'aborted' }

export type ProbeOutcome = { readonly ready: true; readonly bootedAtMs?: number } | { readonly ready: false; readonly reason: string }

export type WakeOutcome = { readonly kind: 'woken'; readonly body: Body } | { readonly kind: 'undelivered'; readonly reason: string } | { readonly kind: 'refused'; readonly httpStatus: number; readonly reason: string }

const MAX_ANSWER_BYTES = 65_536
const CONNECT_TIMEOUT_MS = 5_000
/** Statuses that mean: correct the request or the settings; sending it again helps nobody. */
const OUR_MISTAKE = new Set([400, 401, 403, 404, 405, 411, 413, 414, 415, 422, 431])
/** Statuses after which the same key may be sent again: nothing ran. 409 is a session conflict, 408 a slow body. */
const NOT_DELIVERED = new Set([408, 409, 425, 429, 502, 503])

interface Answer {
  readonly status: number
  readonly retryAfterMs: number | undefined
  readonly text: string
}

/** Talks to OpenClaw gateways over kept connections. Follows no redirect, reads at most 64 KiB, keeps its own deadline. */
export class HookClient {
  readonly #agent: Agent
  readonly #nowMs: () => number

  constructor(options: { readonly nowMs?: () => number } = {}) {
    this.#nowMs = options.nowMs ?? (() => Date.now())
    this.#agent = new Agent({
      connections: 256,
      pipelining: 1,
      keepAliveTimeout: 30_000,
      connect: { timeout: CONNECT_TIMEOUT_MS },
      // Deadlines are ours, by signal: a joined run may be silent for many minutes.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: 16_384,
    })
  }

  /** Posts a run. Resolves as soon as it is admitted, or says why it was not; never rejects. */
  async admit(input: HookRequest): Promise<AdmitOutcome> {
    let answer: Answer
    try {
      answer = await this.#post(input, `${input.gateway.hookPath}/agent`)
    } catch (error) {
      return { kind: 'undelivered', certain: isSurelyUndelivered(error), reason: reasonOf(error) }
    }
    if (answer.status === 200) {
      const parsed = HookAnswer.safeParse(parseJson(answer.text))
      if (!parsed.success) return { kind: 'undelivered', certain: false, reason: 'malformed answer', httpStatus: 200 }
      return { kind: 'admitted', runId: cleanText(parsed.data.runId, 300), httpStatus: 200, body: bounded(parsed.data) }
    }
    if (OUR_MISTAKE.has(answer.status) || isRedirect(answer.status)) return refusal(answer)
    return {
      kind: 'undelivered',
      certain: NOT_DELIVERED.has(answer.status),
      reason: wordsOf(answer),
      httpStatus: answer.status,
      ...(answer.retryAfterMs === undefined ? {} : { retryAfterMs: answer.retryAfterMs }),
    }
  }

  /** Joins the run of a key and resolves when it ends, breaks, or our deadline passes; never rejects. */
  async join(input: HookRequest): Promise<JoinOutcome> {
    let answer: Answer
    try {
      answer = await this.#post(input, `${input.gateway.hookPath}/agent`)
    } catch (error) {
      if (input.signal.aborted) return { kind: 'aborted' }
      return isTimeout(error) ? { kind: 'deadline' } : { kind: 'broken', reason: reasonOf(error) }
    }
    if (answer.status !== 200) {
      if (OUR_MISTAKE.has(answer.status) || isRedirect(answer.status)) return refusal(answer)
      return { kind: 'broken', reason: wordsOf(answer) }
    }
    const parsed = HookAnswer.safeParse(parseJson(answer.text))
    if (!parsed.success) return { kind: 'broken', reason: 'malformed answer' }
    const runId = cleanText(parsed.data.runId, 300)
    if (parsed.data.completion === undefined) return { kind: 'no_completion', runId }
    return { kind: 'completed', runId, completion: cleanJson(parsed.data.completion, 500) as HookCompletion }
  }

  /** One turn in the agent's main session. There is no run id and no completion. */
  async wake(input: Omit<HookRequest, 'body' | 'idempotencyKey'> & { readonly text: string; readonly gatewayAgentId: string; readonly mode: 'now' | 'next-heartbeat' }): Promise<WakeOutcome> {
    const body = JSON.stringify({ text: input.text, agentId: input.gatewayAgentId, mode: input.mode })
    try {
      const answer = await this.#post({ ...input, body, idempotencyKey: undefined }, `${input.gateway.hookPath}/wake`)
      if (answer.status === 200) return { kind: 'woken', body: bounded(parseJson(answer.text)) }
      if (OUR_MISTAKE.has(answer.status) || isRedirect(answer.status)) return { ...refusal(answer) }
      return { kind: 'undelivered', reason: wordsOf(answer) }
    } catch (error) {
      return { kind: 'undelivered', reason: reasonOf(error) }
    }
  }

  /** Asks `/readyz`. `bootedAtMs` is by this machine's clock, from the gateway's own uptime. Never rejects. */
  async probe(input: { readonly baseUrl: string; readonly deadlineMs: number }): Promise<ProbeOutcome> {
    try {
      const response = await send(new URL('/readyz', input.baseUrl), {
        dispatcher: this.#agent,
        method: 'GET',
        signal: AbortSignal.timeout(input.deadlineMs),
      })
      const text = await readBounded(response.body)
      const parsed = ReadyzAnswer.safeParse(parseJson(text))
      if (response.statusCode === 200 && parsed.success && parsed.data.ready) {
        return parsed.data.uptimeMs === undefined ? { ready: true } : { ready: true, bootedAtMs: this.#nowMs() - parsed.data.uptimeMs }
      }
      const failing = parsed.success && parsed.data.failing !== undefined ? `: ${cleanText(JSON.stringify(parsed.data.failing), 200)}` : ''
      return { ready: false, reason: `/readyz answered ${response.statusCode}${failing}` }
    } catch (error) {
      return { ready: false, reason: reasonOf(error) }
    }
  }

  async #post(input: Omit<HookRequest, 'idempotencyKey'> & { readonly idempotencyKey: string | undefined }, path: string): Promise<Answer> {
    const response = await send(`${input.gateway.baseUrl.replace(/\/+$/, '')}${path}`, {
      dispatcher: this.#agent,
      method: 'POST',
      headers: {
        authorization: `Bearer ${input.token}`,
        'content-type': 'application/json',
        ...(input.idempotencyKey === undefined ? {} : { 'idempotency-key': input.idempotencyKey }),
      },
      body: input.body,
      signal: AbortSignal.any([input.signal, AbortSignal.timeout(Math.max(1, Math.min(input.deadlineMs, 2_147_483_647)))]),
    })
    const header = response.headers['retry-after']
    const retry = retryAfterMs(Array.isArray(header) ? header[0] : header, this.#nowMs())
    return { status: response.statusCode, retryAfterMs: retry, text: await readBounded(response.body) }
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

class AnswerTooLargeError extends Error {}

async function readBounded(body: AsyncIterable<unknown> & { destroy(): unknown }): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk))
    size += bytes.length
    if (size > MAX_ANSWER_BYTES) {
      body.destroy()
      throw new AnswerTooLargeError(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`)
    }
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What of an answer is worth keeping, with every text cleaned and short. */
function bounded(value: unknown): Body {
  const cleaned = cleanJson(value, 500)
  const isSmall = cleaned !== null && typeof cleaned === 'object' && !Array.isArray(cleaned) && JSON.stringify(cleaned).length <= 8_192
  return isSmall ? (cleaned as Body) : { note: 'the answer was not kept: too large or not an object' }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400
}

function refusal(answer: Answer): { kind: 'refused'; httpStatus: number; reason: string } {
  return { kind: 'refused', httpStatus: answer.status, reason: isRedirect(answer.status) ? 'a redirect, which is not followed' : wordsOf(answer) }
}

/** The gateway's own words, from whichever of its shapes. */
function wordsOf(answer: Answer): string {
  const body = parseJson(answer.text)
  const error = body !== null && typeof body === 'object' && 'error' in body ? body.error : undefined
  const nested = error !== null && typeof error === 'object' && 'message' in error ? error.message : error
  const words = typeof nested === 'string' ? nested : answer.text
  return `${answer.status} ${cleanText(words.replace(/\s+/g, ' ').trim(), 500)}`.trim()
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

function reasonOf(error: unknown): string {
  if (isTimeout(error)) return 'no answer in time'
  const code = error instanceof Error && 'code' in error ? `${String(error.code)}: ` : ''
  return cleanText(`${code}${messageOf(error)}`, 300)
}
