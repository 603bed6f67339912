import type { IncomingMessage } from 'node:http'
import { HOOK_BODY_LIMIT, IDEMPOTENCY_KEY_LIMIT } from '../../contracts/hooks.js'
import type { RunRequest } from './hook-desk.js'

type Body = Readonly<Record<string, unknown>>

/** What a post asks for, or the words of the 400 it gets. */
export type Read<T> = { readonly kind: 'ok'; readonly value: T } | { readonly kind: 'fault'; readonly error: string }

/** The JSON object of a body. An array, a number or nothing counts as an empty object, as on the real gateway. */
export function readObject(text: string): Read<Body> {
  if (text.trim() === '') return { kind: 'ok', value: {} }
  try {
    const value: unknown = JSON.parse(text)
    return { kind: 'ok', value: value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Body) : {} }
  } catch (error) {
    return { kind: 'fault', error: error instanceof Error ? error.message : 'invalid JSON' }
  }
}

/** Reads the body of `/hooks/agent`. Unknown fields and most bad optional values are ignored. */
export function readRun(body: Body, bytes: string, header: string | undefined, agents: readonly string[] | 'any'): Read<RunRequest> {
  const message = typeof body['message'] === 'string' ? body['message'].trim() : ''
  if (message === '') return { kind: 'fault', error: 'message required' }
  const agent = readAgent(body, agents)
  if (agent.kind === 'fault') return agent
  const wait = body['waitForCompletion']
  if (wait !== undefined && typeof wait !== 'boolean') return { kind: 'fault', error: 'waitForCompletion must be boolean' }
  if (typeof body['sessionKey'] === 'string') {
    return { kind: 'fault', error: 'sessionKey is disabled for externally supplied hook payload values; set hooks.allowRequestSessionKey=true to enable' }
  }
  const fingerprint = JSON.stringify([
    message,
    agent.value,
    typeof body['name'] === 'string' ? body['name'] : 'Hook',
    body['deliver'] !== false,
    body['wakeMode'] === 'next-heartbeat' ? 'next-heartbeat' : 'now',
    typeof body['timeoutSeconds'] === 'number' && body['timeoutSeconds'] > 0 ? body['timeoutSeconds'] : null,
    ...['sessionMode', 'model', 'thinking'].map((field) => (typeof body[field] === 'string' ? body[field] : null)),
  ])
  const key = readKey(header ?? body['idempotencyKey'])
  return { kind: 'ok', value: { key, fingerprint, agentId: agent.value, message, body, bytes } }
}

/** A wake-up: one turn in the agent's main session. */
export interface WakeRequest {
  readonly agentId: string
  readonly text: string
  readonly mode: 'now' | 'next-heartbeat'
}

/** Reads the body of `/hooks/wake`. */
export function readWake(body: Body, agents: readonly string[] | 'any'): Read<WakeRequest> {
  const text = typeof body['text'] === 'string' ? body['text'].trim() : ''
  if (text === '') return { kind: 'fault', error: 'text required' }
  const agent = readAgent(body, agents)
  if (agent.kind === 'fault') return agent
  return { kind: 'ok', value: { agentId: agent.value, text, mode: body['mode'] === 'next-heartbeat' ? 'next-heartbeat' : 'now' } }
}

function readAgent(body: Body, agents: readonly string[] | 'any'): Read<string> {
  const id = body['agentId']
  if (id === undefined) {
    if (agents !== 'any' && agents.length > 1) return { kind: 'fault', error: 'agentId is required when multiple agents are configured' }
    return { kind: 'ok', value: agents === 'any' ? 'main' : (agents[0] ?? 'main') }
  }
  if (typeof id !== 'string' || id.trim() === '') return { kind: 'fault', error: 'agentId must be a non-empty string' }
  if (agents === 'any') return { kind: 'ok', value: id.trim() }
  const known = agents.find((agent) => agent.toLowerCase() === id.trim().toLowerCase())
  return known === undefined ? { kind: 'fault', error: `unknown agentId ${JSON.stringify(id)}` } : { kind: 'ok', value: known }
}

/** A blank or over-long key is ignored without an error: the post then is a new run. */
function readKey(value: unknown): string | undefined {
  const key = typeof value === 'string' ? value.trim() : ''
  return key === '' || key.length > IDEMPOTENCY_KEY_LIMIT ? undefined : key
}

/** Reads a body and keeps what a gateway would take of it. @returns undefined when the client broke off */
export async function readBody(request: IncomingMessage): Promise<{ readonly text: string; readonly tooLarge: boolean } | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size <= HOOK_BODY_LIMIT) chunks.push(chunk)
    }
  } catch {
    return undefined
  }
  return { text: Buffer.concat(chunks).toString('utf8'), tooLarge: size > HOOK_BODY_LIMIT }
}
