import { z } from 'zod'
import { ActorKind } from './actor.js'
import { AgentId, AttemptId, JobId, Namespace } from './ids.js'
import { LIMITS } from './request-limits.js'
import { jsonObject, reasonText, storableText } from './text.js'

/** What ideas, opportunities and memories have in common: who says it, about what, on which evidence. */

const timestamp = z.iso.datetime({ offset: true })

/** What it is about, so that what belongs together can be found together. */
export const Theme = storableText({ min: 1, max: 100 })
export const Title = storableText({ min: 1, max: LIMITS.subject })
export const Score = z.int().min(1).max(5)
export const Notes = reasonText(LIMITS.reason)
/** Sources, signals, ids of rows: it names what speaks for a thought, and is told whole in every list. */
export const Evidence = jsonObject({ maxBytes: LIMITS.evidenceBytes })

export const saidBy = {
  namespace: Namespace.default('default'),
  /** Whose thought it is. An agent's own, always; an operator may name one. */
  source_agent: AgentId.optional(),
}

export const evidenced = {
  /** What speaks for it. */
  evidence: Evidence.default({}),
  /** While one of this agent with the key is open, that one is answered instead of a second one. */
  dedupe_key: storableText({ min: 1, max: LIMITS.key }).optional(),
}

/** One row of an append-only history of reviews. The first says that it was made. */
export const reviewOf = <S extends z.ZodType>(status: S) =>
  z.object({
    seq: z.int(),
    from_status: status.nullable(),
    /** What the reviewer decided: the state it has since. */
    decision: status,
    notes: z.string().nullable(),
    /** The agent that decided; null for an operator or the bus. */
    reviewer: AgentId.nullable(),
    job_id: JobId.nullable(),
    attempt_id: AttemptId.nullable(),
    actor_kind: ActorKind,
    actor: z.string(),
    at: timestamp,
  })

/** What has changed beside the state, by a review. */
export const ReviewDetails = z.record(z.string(), z.unknown())

export const paging = {
  namespace: Namespace.optional(),
  limit: z.coerce.number().int().min(1).max(LIMITS.page).default(50),
  cursor: z
    .string()
    .regex(/^[0-9a-f-]{36}$/, 'is not one that a list has given')
    .optional(),
}
