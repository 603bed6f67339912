import type { Clock } from '../config/clock.js'
import type { Tracing } from '../config/tracing.js'
import { HookAnswer, ReadyzReply, WakeAnswer, type HookCompletion } from '../contracts/hooks.js'
import { assertNever } from '../contracts/errors.js'
import { cleanText } from '../contracts/text.js'
import { classOf, keptBody, keptCompletion, parseAnswer, reasonOf, retryAfterMs, wordsOf, type AnswerBody } from './hook-answers.js'
import { HookTransport, NoAnswerError, type RawAnswer } from './hook-transport.js'

/** One post to a gateway's hook. */
export interface HookPost {
  readonly gateway: { readonly baseUrl: string; readonly hookPath: string }
  readonly token: string
  readonly body: string
  /** At most 256 characters: a gateway ignores a longer one, and every post is then a new run. */
  readonly idempotencyKey: string
  /** Milliseconds until we give up, whatever the gateway promises. */
  readonly deadlineMs: number
  readonly signal: AbortSignal
}

/** One post to a gateway's wake hook; its body is made by `renderWakeBody`. */
export type WakePost = Omit<HookPost, 'idempotencyKey'>

/** `certain`: surely not delivered. Otherwise the gateway may have acted on it and only the answer is missing. */
export interface Undelivered {
  readonly kind: 'undelivered'
  readonly certain: boolean
  readonly reason: string
  readonly httpStatus?: number
  readonly retryAfterMs?: number
  readonly body?: AnswerBody
}

/** Our mistake, in the gateway's words. */
export interface Refused {
  readonly kind: 'refused'
  readonly httpStatus: number
  readonly reason: string
  readonly body: AnswerBody
}

export type AdmitOutcome =
  { readonly kind: 'admitted'; readonly runId: string; readonly completion?: HookCompletion; readonly httpStatus: number; readonly body: AnswerBody } | Undelivered | Refused

export type JoinOutcome =
  | { readonly kind: 'completed'; readonly runId: string; readonly completion: HookCompletion }
  /** The gateway knows no `waitForCompletion`. */
  | { readonly kind: 'no_completion'; readonly runId: string }
  /** The connection was lost, or the gateway cannot answer. The run may go on: a gateway that still lives keeps it. */
  | { readonly kind: 'broken'; readonly reason: string }
  | Refused
  | { readonly kind: 'deadline' }
  | { readonly kind: 'aborted' }

export type WakeOutcome = { readonly kind: 'woken'; readonly body: AnswerBody } | Undelivered | Refused

export type ProbeOutcome = { readonly ready: true; readonly bootedAtMs?: number } | { readonly ready: false; readonly reason: string }

type Settled = { readonly kind: 'answered'; readonly status: number; readonly value: unknown } | Undelivered | Refused

type PostInput = Omit<HookPost, 'idempotencyKey'> & { readonly idempotencyKey?: string }

/** Talks to OpenClaw gateways; one per process. Nothing it is sent makes a method reject: every end is an outcome. */
export class HookClient {
  readonly #transport = new HookTransport()
  readonly #nowMs: () => number
  readonly #tracing: Tracing | undefined

  constructor(options: { readonly clock?: Clock; readonly tracing?: Tracing | undefined } = {}) {
    this.#tracing = options.tracing
    const { clock } = options
    this.#nowMs = clock === undefined ? () => Date.now() : () => clock.nowMs()
  }

  /** Posts a run. Resolves as soon as the gateway has admitted it, or says why it has not. */
  async admit(input: HookPost): Promise<AdmitOutcome> {
    const settled = await this.#settle(() => this.#post(input, 'agent', 'short'), input.token)
    if (settled.kind !== 'answered') return settled
    const answer = HookAnswer.safeParse(settled.value)
    if (!answer.success) return malformed(settled)
    return {
      kind: 'admitted',
      runId: cleanText(answer.data.runId, 300),
      ...(answer.data.completion === undefined ? {} : { completion: keptCompletion(answer.data.completion) }),
      httpStatus: settled.status,
      body: keptBody(settled.value),
    }
  }

  /** Joins the run of a key and resolves when it ends, the connection breaks, or the deadline passes. */
  async join(input: HookPost): Promise<JoinOutcome> {
    let answer: RawAnswer
    try {
      answer = await this.#post(input, 'agent', 'long')
    } catch (error) {
      return joinWithoutAnswer(asNoAnswer(error))
    }
    const settled = this.#judge(answer, input.token)
    if (settled.kind === 'refused') return settled
    if (settled.kind === 'undelivered') return { kind: 'broken', reason: settled.reason }
    const parsed = HookAnswer.safeParse(settled.value)
    if (!parsed.success) return { kind: 'broken', reason: 'malformed answer' }
    const runId = cleanText(parsed.data.runId, 300)
    if (parsed.data.completion === undefined) return { kind: 'no_completion', runId }
    return { kind: 'completed', runId, completion: keptCompletion(parsed.data.completion) }
  }

  /** One turn in the agent's main session. There is no run id, no completion and no idempotency. */
  async wake(input: WakePost): Promise<WakeOutcome> {
    const settled = await this.#settle(() => this.#post(input, 'wake', 'short'), input.token)
    if (settled.kind !== 'answered') return settled
    return WakeAnswer.safeParse(settled.value).success ? { kind: 'woken', body: keptBody(settled.value) } : malformed(settled)
  }

  /** Asks `/readyz`. `bootedAtMs` is by this machine's clock, from the gateway's own uptime. */
  async probe(input: { readonly baseUrl: string; readonly deadlineMs: number; readonly signal?: AbortSignal }): Promise<ProbeOutcome> {
    let answer: RawAnswer
    try {
      answer = await this.#transport.exchange({ method: 'GET', url: `${trimmed(input.baseUrl)}/readyz`, patience: 'short', deadlineMs: input.deadlineMs, signal: input.signal })
    } catch (error) {
      return { ready: false, reason: reasonOf(asNoAnswer(error)) }
    }
    const reply = ReadyzReply.safeParse(parseAnswer(answer.text))
    if (answer.status === 200 && reply.success && reply.data.ready) {
      return reply.data.uptimeMs === undefined ? { ready: true } : { ready: true, bootedAtMs: this.#nowMs() - reply.data.uptimeMs }
    }
    const failing = reply.success && reply.data.failing !== undefined ? `: ${cleanText(reply.data.failing.map(String).join(', '), 200)}` : ''
    return { ready: false, reason: `/readyz answered ${answer.status}${failing}` }
  }

  /** Cuts every connection; what is under way ends as undelivered or broken. */
  async close(): Promise<void> {
    await this.#transport.close()
  }

  #post(input: PostInput, end: 'agent' | 'wake', patience: 'short' | 'long'): Promise<RawAnswer> {
    if (this.#tracing === undefined) return this.#send(input, end, patience, {})
    const attributes = { 'agentbus.attempt_id': input.idempotencyKey ?? '', 'agentbus.hook': end }
    const name = end === 'wake' ? 'hook wake' : patience === 'short' ? 'hook admit' : 'hook join'
    return this.#tracing.call(
      name,
      attributes,
      (headers) => this.#send(input, end, patience, headers),
      (answer) => ({ 'http.response.status_code': answer.status }),
    )
  }

  #send(input: PostInput, end: 'agent' | 'wake', patience: 'short' | 'long', trace: Readonly<Record<string, string>>): Promise<RawAnswer> {
    return this.#transport.exchange({
      method: 'POST',
      url: `${trimmed(input.gateway.baseUrl)}${trimmed(input.gateway.hookPath)}/${end}`,
      headers: {
        ...trace,
        authorization: `Bearer ${input.token}`,
        'content-type': 'application/json',
        ...(input.idempotencyKey === undefined ? {} : { 'idempotency-key': input.idempotencyKey }),
      },
      body: input.body,
      patience,
      deadlineMs: input.deadlineMs,
      signal: input.signal,
    })
  }

  async #settle(post: () => Promise<RawAnswer>, token: string): Promise<Settled> {
    try {
      return this.#judge(await post(), token)
    } catch (error) {
      const failure = asNoAnswer(error)
      return { kind: 'undelivered', certain: !failure.sent, reason: reasonOf(failure) }
    }
  }

  #judge(answer: RawAnswer, token: string): Settled {
    const { status } = answer
    const text = withoutToken(answer.text, token)
    const value = parseAnswer(text)
    const verdict = classOf(status)
    switch (verdict) {
      case 'answered':
        return { kind: 'answered', status, value }
      case 'refused':
        return { kind: 'refused', httpStatus: status, reason: wordsOf(status, text), body: keptBody(value) }
      case 'not_delivered':
      case 'unclear': {
        const retry = retryAfterMs(answer.retryAfter, this.#nowMs())
        return {
          kind: 'undelivered',
          certain: verdict === 'not_delivered',
          reason: wordsOf(status, text),
          httpStatus: status,
          ...(retry === undefined ? {} : { retryAfterMs: retry }),
          body: keptBody(value),
        }
      }
      default:
        return assertNever(verdict)
    }
  }
}

/**
 * A gateway that echoes our header, or the message with the attempt's token in it, must not carry a token into the ledger:
 * whoever sent a job may read what its gateway said.
 */
function withoutToken(text: string | undefined, token: string): string | undefined {
  const safe = text?.replace(ATTEMPT_TOKEN, '[attempt token]')
  return token.length < 8 ? safe : safe?.replaceAll(token, '[hook token]')
}

const ATTEMPT_TOKEN = /(?<![A-Za-z0-9])aat_[A-Za-z0-9_-]{20,}/g

function malformed({ status, value }: { readonly status: number; readonly value: unknown }): Undelivered {
  return { kind: 'undelivered', certain: false, reason: 'malformed answer', httpStatus: status, body: keptBody(value) }
}

function joinWithoutAnswer(failure: NoAnswerError): JoinOutcome {
  switch (failure.why) {
    case 'aborted':
      return { kind: 'aborted' }
    case 'deadline':
      return { kind: 'deadline' }
    case 'connection':
      return { kind: 'broken', reason: reasonOf(failure) }
    default:
      return assertNever(failure.why)
  }
}

function asNoAnswer(error: unknown): NoAnswerError {
  return error instanceof NoAnswerError ? error : new NoAnswerError('connection', true, error)
}

function trimmed(url: string): string {
  return url.replace(/\/+$/, '')
}
