import { observations } from './schema/index.js'
import type { Actor } from '../contracts/actor.js'
import { cleanText } from '../contracts/text.js'
import type { Db, Tx } from './database.js'

export interface Observation {
  readonly kind: 'refusal' | 'late_answer' | 'mend' | 'drop' | 'outside_change' | 'operator_action'
  readonly code: string
  readonly actor: Actor
  readonly detail: string
  readonly jobId?: string | undefined
  readonly attemptId?: string | undefined
  readonly agentId?: string | undefined
  readonly gatewayId?: string | undefined
  readonly details?: Record<string, unknown> | undefined
}

/** Writes the row that rule seven asks for. Takes a transaction, or the pool when the refused command has none. */
export async function observe(db: Tx | Db, what: Observation): Promise<void> {
  await db.insert(observations).values({
    kind: what.kind,
    code: what.code,
    job_id: what.jobId ?? null,
    attempt_id: what.attemptId ?? null,
    agent_id: what.agentId ?? null,
    gateway_id: what.gatewayId ?? null,
    actor_kind: what.actor.kind,
    actor: what.actor.id,
    detail: cleanText(what.detail, 2_000),
    details: what.details ?? {},
  })
}
