import { createHmac } from 'node:crypto'
import type { AlertWebhook } from '../contracts/alerts.js'
import type { ReadToken } from '../config/token-ref.js'
import { AgentbusError } from '../contracts/errors.js'
import type { Tried } from '../ledger/alerts/deliveries.js'
import type { DeliveryRow } from '../ledger/alerts/rows.js'
import { reasonOf, retryAfterMs } from '../openclaw/hook-answers.js'
import { isCredentialsAddress } from '../openclaw/link-local.js'
import { NoAnswerError, type HookTransport } from '../openclaw/hook-transport.js'

export interface PostDeps {
  readonly transport: HookTransport
  readonly readSecret: ReadToken
  readonly nowMs: () => number
  readonly worker: string
}

/** The header of a post's signature: seconds since the epoch, and HMAC-SHA256 over them, a dot and the body. */
export function signatureOf(secret: string, seconds: number, body: string): string {
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`
}

/**
 * One try to post a notice. Never rejects: every end is a try with its outcome. Nothing that it answers has the URL, the key
 * or a word of the receiver in it: a URL may be a secret, and an answer may echo one.
 */
export async function postNotice(deps: PostDeps, delivery: DeliveryRow, webhook: AlertWebhook | undefined): Promise<Tried> {
  const startedMs = performance.now()
  const end = (what: Omit<Tried, 'ms' | 'worker'>): Tried => ({ ...what, ms: performance.now() - startedMs, worker: deps.worker })
  if (webhook === undefined) return end({ ok: false, error: `The fleet file names no webhook ${delivery.receiver} any more.`, final: true })
  try {
    const url = urlOf(webhook, deps.readSecret)
    const body = JSON.stringify({ ...delivery.body, delivery_id: delivery.id })
    const signature = signatureOf(deps.readSecret(webhook.secret), Math.floor(deps.nowMs() / 1_000), body)
    const headers = { 'content-type': 'application/json', 'user-agent': 'agentbus', 'idempotency-key': delivery.id, 'x-agentbus-signature': signature }
    const answer = await deps.transport.exchange({ method: 'POST', url, headers, body, patience: 'short', deadlineMs: webhook.timeout_seconds * 1_000 })
    const httpStatus = answer.status
    if (httpStatus >= 200 && httpStatus < 300) return end({ ok: true, httpStatus })
    const words = httpStatus >= 300 && httpStatus < 400 ? `answered ${httpStatus}; redirects are not followed` : `answered ${httpStatus}`
    return end({ ok: false, httpStatus, error: words, retryAfterMs: retryAfterMs(answer.retryAfter, deps.nowMs()) })
  } catch (error) {
    if (error instanceof NoAnswerError) return end({ ok: false, error: error.why === 'deadline' ? `no answer within ${webhook.timeout_seconds} s` : reasonOf(error) })
    if (error instanceof AgentbusError) return end({ ok: false, error: error.message })
    return end({ ok: false, error: 'the post could not be made' })
  }
}

/** @throws AgentbusError AGENTBUS_CONFIG, never with the URL in it */
function urlOf(webhook: AlertWebhook, readSecret: ReadToken): string {
  const isReference = !/^https?:/i.test(webhook.url)
  const text = isReference ? readSecret(webhook.url) : webhook.url
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '') {
    throw new AgentbusError('AGENTBUS_CONFIG', `What ${webhook.url} names is no http or https URL without user and password.`)
  }
  if (isCredentialsAddress(url.hostname)) throw new AgentbusError('AGENTBUS_CONFIG', `Webhook ${webhook.id} leads to a link-local address; nothing is sent there.`)
  return url.href
}
