import type { HookCompletion } from '../contracts/hooks.js'
import { messageOf } from '../contracts/errors.js'
import { cleanJson, cleanText, JSON_LIMITS } from '../contracts/text.js'
import type { NoAnswerError } from './hook-transport.js'

/** What of a gateway's answer is kept beside the history. */
export type AnswerBody = Record<string, unknown>

/** What a status means to a sender; the body of a 2xx is still to be judged. */
export type StatusClass = 'answered' | 'not_delivered' | 'refused' | 'unclear'

/** Nothing ran and the same key may be sent again: 409 is a session conflict, 408 a body that came too slowly. */
const NOT_DELIVERED = new Set([408, 409, 425, 429, 502, 503])

/**
 * Sorts a status. Every 3xx and every 4xx not named above is our mistake: sending it again helps nobody. Of 500, 504 and
 * other 5xx nobody knows whether the run was admitted.
 */
export function classOf(status: number): StatusClass {
  if (status >= 200 && status < 300) return 'answered'
  if (NOT_DELIVERED.has(status)) return 'not_delivered'
  return status >= 300 && status < 500 ? 'refused' : 'unclear'
}

const LONGEST_RETRY_MS = 3_600_000

/** `Retry-After` in milliseconds, from seconds or a date (RFC 9110 section 10.2.3), at most an hour. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  const text = header?.trim()
  if (text === undefined || text === '') return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : httpDateMs(text) - nowMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), LONGEST_RETRY_MS)
}

/** Date.parse alone is too kind: it reads "-5" as a year. */
function httpDateMs(text: string): number {
  return /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text) ? Date.parse(text) : Number.NaN
}

/** The JSON of an answer; undefined when it is none, or nested so deep that walking it would overflow the stack. */
export function parseAnswer(text: string | undefined): unknown {
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return isDeeperThan(value, JSON_LIMITS.maxDepth) ? undefined : value
  } catch {
    return undefined
  }
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (value === null || typeof value !== 'object') return false
  if (levels === 0) return true
  return Object.values(value).some((item) => isDeeperThan(item, levels - 1))
}

const KEPT_CHARS = 8_192

/** A parsed answer with every text cleaned and short; replaced by a note when it is still too large to keep. */
export function keptBody(value: unknown): AnswerBody {
  const cleaned = cleanJson(value, 500)
  const isObject = cleaned !== null && typeof cleaned === 'object' && !Array.isArray(cleaned)
  if (isObject && JSON.stringify(cleaned).length <= KEPT_CHARS) return cleaned as AnswerBody
  return { note: 'the answer was not kept: too large or not a JSON object' }
}

/** A completion with its unknown fields kept, as long as they are small. */
export function keptCompletion(completion: HookCompletion): HookCompletion {
  const { status, replyDisposition } = completion
  return { ...keptBody(completion), status, ...(replyDisposition === undefined ? {} : { replyDisposition: cleanText(replyDisposition, 100) }) }
}

/** The gateway's own words, from whichever of its shapes: `{error: text}`, `{error: {message}}`, or plain text. */
export function wordsOf(status: number, text: string | undefined): string {
  if (status >= 300 && status < 400) return `${status} a redirect, which is not followed`
  const body = parseAnswer(text)
  const error = body !== null && typeof body === 'object' && 'error' in body ? body.error : undefined
  const nested = error !== null && typeof error === 'object' && 'message' in error ? error.message : error
  const words = typeof nested === 'string' ? nested : (text ?? 'an answer too large or too broken to read')
  return `${status} ${cleanText(words.replace(/\s+/g, ' ').trim(), 500)}`.trim()
}

/** Why there was no answer, in one line without a secret. */
export function reasonOf(error: NoAnswerError): string {
  switch (error.why) {
    case 'deadline':
      return error.sent ? 'no answer in time' : 'no connection in time'
    case 'aborted':
      return 'given up by the sender'
    case 'connection': {
      const { cause } = error
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
      const message = messageOf(cause)
      return cleanText(code === '' || message.includes(code) ? message : `${code}: ${message}`, 300)
    }
  }
}
