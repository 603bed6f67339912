import { AgentbusError } from '../contracts/errors.js'
import { HOOK_BODY_LIMIT, type HookRequest } from '../contracts/hooks.js'

/** The bytes of the two posts of one attempt. Equal bytes under one key are what a gateway recognises a run by. */
export interface HookBodies {
  /** Answered as soon as the run is admitted. */
  readonly admit: string
  /** The same with `waitForCompletion`: joins the run and is answered when it ends. */
  readonly join: string
}

export interface HookInput {
  readonly message: string
  readonly gatewayAgentId: string
  readonly name: string
  readonly timeoutSeconds: number
}

/**
 * Renders both bodies with a fixed order of keys: equal input gives equal bytes.
 * @throws AgentbusError AGENTBUS_TOO_LARGE when the gateway would refuse the body
 */
export function renderHookBodies(input: HookInput): HookBodies {
  const request: HookRequest = {
    message: input.message,
    agentId: input.gatewayAgentId,
    name: input.name,
    deliver: false,
    wakeMode: 'next-heartbeat',
    timeoutSeconds: input.timeoutSeconds,
  }
  const admit = JSON.stringify(request)
  return { admit, join: withinLimit(joinBodyOf(admit)) }
}

/**
 * The body of a wake-up: one turn in the agent's main session, now.
 * @throws AgentbusError AGENTBUS_TOO_LARGE when the gateway would refuse the body
 */
export function renderWakeBody(input: { readonly text: string; readonly gatewayAgentId: string; readonly mode: 'now' | 'next-heartbeat' }): string {
  return withinLimit(JSON.stringify({ text: input.text, agentId: input.gatewayAgentId, mode: input.mode }))
}

function withinLimit(body: string): string {
  const bytes = Buffer.byteLength(body)
  if (bytes <= HOOK_BODY_LIMIT) return body
  throw new AgentbusError(
    'AGENTBUS_TOO_LARGE',
    `The hook would have ${bytes} bytes; a gateway takes at most ${HOOK_BODY_LIMIT}. Put the large part of the payload elsewhere and reference it.`,
    { bytes },
  )
}

/** The join body of an admission body: the same bytes and one more field. */
export function joinBodyOf(admit: string): string {
  return `${admit.slice(0, -1)},"waitForCompletion":true}`
}
