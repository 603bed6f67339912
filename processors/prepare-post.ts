import { AgentbusError } from '../contracts/errors.js'
import { reportRefused, reportReleased } from '../ledger/deliver-attempt.js'
import type { HookPost } from '../openclaw/hook-client.js'
import type { HookBodies } from '../openclaw/render-hook.js'
import { end, go, type Delivery, type Step } from './delivery.js'

/** What both posts need. */
export interface Post {
  readonly token: string
  readonly bodies: HookBodies
}

/**
 * Reads the hook token and the bodies; nothing is sent yet. A token or a body that cannot be had blocks the job.
 * @throws AgentbusError AGENTBUS_UNAVAILABLE, with the attempt left open; anything that is no AgentbusError, with the lease given back
 */
export async function preparePost(d: Delivery): Promise<Step<Post>> {
  try {
    const token = d.deps.hookToken(d.target.tokenRef)
    const bodies = await d.deps.hookBodies(d.attempt)
    return go({ token, bodies })
  } catch (error) {
    // A ledger that is away is no fault of the job: as at any other step, the entry comes again and the attempt is taken on.
    if (error instanceof AgentbusError && error.code === 'AGENTBUS_UNAVAILABLE') throw error
    if (!(error instanceof AgentbusError)) {
      await d.deps.ledger.run((tx) => reportReleased(tx, d.report, 'The worker could not prepare the hook.'))
      throw error
    }
    const reason = error.message
    await d.deps.ledger.run((tx) => reportRefused(tx, d.report, { reason }))
    return end({ kind: 'done', outcome: 'blocked: refused' })
  }
}

/** One of the two posts. Both carry the attempt's id as their key, by which the gateway knows the second for the same run. */
export function request(d: Delivery, post: Post, body: string, deadlineMs: number): HookPost {
  return {
    gateway: { baseUrl: d.target.baseUrl, hookPath: d.target.hookPath },
    token: post.token,
    body,
    idempotencyKey: d.attempt.id,
    deadlineMs,
    signal: d.signal,
  }
}
