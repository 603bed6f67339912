import { z } from 'zod'

/** Who did it. `board` is a person acting in Bull Board; `gateway` is what an OpenClaw gateway answered. */
export const ACTOR_KINDS = ['operator', 'agent', 'attempt', 'auditor', 'worker', 'relay', 'reaper', 'reconciler', 'prober', 'board', 'system'] as const
export const ActorKind = z.enum(ACTOR_KINDS)
export type ActorKind = z.infer<typeof ActorKind>

/** The author of a history row. `id` is a token's name, an agent id, a worker id or an attempt id; never a secret. */
export interface Actor {
  readonly kind: ActorKind
  readonly id: string
}

export const SYSTEM_ACTOR: Actor = { kind: 'system', id: 'agentbus' }
