import { AgentbusError } from '../contracts/errors.js'

/** OpenClaw's limit for a hook body, in bytes. */
export const HOOK_BODY_LIMIT = 262_144

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
 * Renders both bodies with a fixed order of keys. `deliver: false` and `wakeMode: "next-heartbeat"`: with the default
 * wake mode a failed run starts an extra turn in the agent's main session.
 * @throws AgentbusError AGENTBUS_TOO_LARGE when the gateway would refuse the body
 */
export function renderHookBodies(input: HookInput): HookBodies {
  const admit = JSON.stringify({
    message: input.message,
    agentId: input.gatewayAgentId,
    name: input.name,
    deliver: false,
    wakeMode: 'next-heartbeat',
    timeoutSeconds: input.timeoutSeconds,
  })
  const join = joinBodyOf(admit)
  if (Buffer.byteLength(join) > HOOK_BODY_LIMIT) {
    throw new AgentbusError('AGENTBUS_TOO_LARGE', `The hook would have ${Buffer.byteLength(join)} bytes; a gateway takes at most ${HOOK_BODY_LIMIT}. Put the large part of the payload elsewhere and reference it.`)
  }
  return { admit, join }
}

/** The join body of an admission body: the same bytes and one more field. */
export function joinBodyOf(admit: string): string {
  return `${admit.slice(0, -1)},"waitForCompletion":true}`
}
