import { sql, type SQL } from 'drizzle-orm'
import type {
  CreateMemoryCandidateBody,
  MarkStaleBody,
  MemoryCandidateId,
  MemoryCandidateView,
  MemoryId,
  MemoryView,
  PromoteCandidateBody,
  PromotedCandidate,
  RefreshMemoryBody,
  RetireMemoryBody,
  ReviewCandidateBody,
} from '../../contracts/memories.js'
import type { CallerDeps } from '../as-caller.js'
import type { CommandContext } from '../caller.js'
import { requireRight } from '../policies.js'
import { mustLieAhead } from '../preconditions.js'
import { asReviewer, signed } from './as-reviewer.js'
import { authorOf } from './author.js'
import { candidateView, createCandidate, newestReview } from './candidate-rows.js'
import { CHANGES } from './memory-changes.js'
import { memoryView, mustMoveMemory } from './memory-rows.js'
import { mustNotBeFrozen } from './not-frozen.js'
import { promoteCandidate } from './promote-candidate.js'
import { decide, lockThought, mustMove, type Decision } from './reviews.js'
import { mustSee } from './who-sees.js'

/**
 * What is proposed to be remembered, and what is. Everybody proposes; the curator, who holds the right `promote`, and operators decide. An answer
 * that is given once more is given to whoever may have it then.
 */
export class MemoryCommands {
  readonly #deps: CallerDeps

  constructor(deps: CallerDeps) {
    this.#deps = deps
  }

  /**
   * Proposes a memory in the caller's own name, or answers its open candidate with the dedupe key.
   * @throws AGENTBUS_FORBIDDEN and AGENTBUS_LIMIT_REACHED, each with a row; AGENTBUS_UNKNOWN_AGENT; AGENTBUS_BAD_REQUEST for a private one of nobody
   */
  propose(context: CommandContext, body: CreateMemoryCandidateBody): Promise<{ candidate: MemoryCandidateView; created: boolean; replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by): Promise<{ candidate: MemoryCandidateView; created: boolean }> => {
        const author = await authorOf(tx, context.caller, body.source_agent)
        const { candidate, created } = await createCandidate(tx, { ...body, source_agent: author }, by)
        return { candidate: candidateView(candidate), created }
      },
      { sent: body, again: (tx, { candidate }) => mustSee(tx, context.caller, 'candidate', candidate.id) },
    )
  }

  /**
   * Decides about a candidate without promoting it.
   * @throws AGENTBUS_NOT_FOUND; AGENTBUS_FORBIDDEN, AGENTBUS_VERSION_MISMATCH and AGENTBUS_REVIEW_OVER, each with a row
   */
  review(context: CommandContext, id: MemoryCandidateId, body: ReviewCandidateBody): Promise<{ candidate: MemoryCandidateView; replayed?: boolean }> {
    const what = 'decide about memory candidates'
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        await requireRight(tx, context.caller, 'promote', what)
        const candidate = await lockThought(tx, 'candidate', id)
        mustMove('candidate', candidate, body.decision, context.ifVersion)
        const decided = await decide(tx, 'candidate', candidate, { to: body.decision, notes: body.notes, set: newestReview(by, body.notes) }, by)
        return { candidate: candidateView(decided) }
      },
      { sent: body, again: (tx) => requireRight(tx, context.caller, 'promote', what) },
    )
  }

  /**
   * Makes a memory of a candidate that has evidence, in one transaction with the end of the memory that it takes the place of.
   * @throws what {@link review} throws, also for the memory to be superseded; AGENTBUS_FROZEN and AGENTBUS_MEMORY_EXISTS, each with a row; AGENTBUS_BAD_REQUEST,
   * AGENTBUS_UNKNOWN_AGENT
   */
  promote(context: CommandContext, id: MemoryCandidateId, body: PromoteCandidateBody): Promise<PromotedCandidate & { replayed?: boolean }> {
    const what = 'promote memories'
    return asReviewer(
      this.#deps,
      context,
      async (tx, by): Promise<PromotedCandidate> => {
        await requireRight(tx, context.caller, 'promote', what)
        const candidate = await lockThought(tx, 'candidate', id)
        await mustNotBeFrozen(tx, 'promotions')
        mustMove('candidate', candidate, 'promoted', context.ifVersion)
        const promoted = await promoteCandidate(tx, candidate, body, by)
        return { candidate: candidateView(promoted.candidate), memory: memoryView(promoted.memory) }
      },
      { sent: body, again: (tx) => requireRight(tx, context.caller, 'promote', what) },
    )
  }

  /**
   * Says that a memory holds, with new dates or another confidence. A date of review that has passed is over with it, unless another is given.
   * @throws what {@link review} throws; AGENTBUS_BAD_REQUEST for an end that is past
   */
  refresh(context: CommandContext, id: MemoryId, body: RefreshMemoryBody): Promise<{ memory: MemoryView; replayed?: boolean }> {
    const decision = { to: 'active', notes: body.notes, set: refreshOf(body), details: sql`jsonb_build_object('refreshed', ${CHANGES})` } as const
    return this.#keep(context, id, { what: 'refresh memories', body, decision, endsAt: body.expires_at })
  }

  /** Makes a memory due for a review now; it stays active until somebody has decided. @throws what {@link review} throws */
  markStale(context: CommandContext, id: MemoryId, body: MarkStaleBody): Promise<{ memory: MemoryView; replayed?: boolean }> {
    const set = sql`next_review_at = clock_timestamp()`
    const decision = { to: 'active', notes: body.notes, set, details: sql`jsonb_build_object('stale', ${CHANGES})` } as const
    return this.#keep(context, id, { what: 'mark memories as stale', body, decision })
  }

  /** Ends a memory: nobody is told it any more. @throws what {@link review} throws */
  retire(context: CommandContext, id: MemoryId, body: RetireMemoryBody): Promise<{ memory: MemoryView; replayed?: boolean }> {
    return this.#keep(context, id, { what: 'retire memories', body, decision: { to: body.as, notes: body.notes } })
  }

  /** One decision about a memory that is in force. */
  #keep(
    context: CommandContext,
    id: MemoryId,
    asked: { readonly what: string; readonly body: unknown; readonly decision: Decision<'memory'>; readonly endsAt?: string | null | undefined },
  ): Promise<{ memory: MemoryView; replayed?: boolean }> {
    const { what, body, decision, endsAt } = asked
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        await requireRight(tx, context.caller, 'promote', what)
        const memory = await lockThought(tx, 'memory', id)
        mustMoveMemory(memory, decision.to, context.ifVersion)
        await mustLieAhead(tx, 'expires_at', endsAt)
        const set = [sql`updated_by = ${signed(by)}`, ...(decision.set === undefined ? [] : [decision.set])]
        return { memory: memoryView(await decide(tx, 'memory', memory, { ...decision, set: sql.join(set, sql`, `) }, by)) }
      },
      { sent: body, again: (tx) => requireRight(tx, context.caller, 'promote', what) },
    )
  }
}

/** What is given changes, null takes a date away, and what is left out stays, but for a date of review that has passed: that review was this one. */
function refreshOf(body: RefreshMemoryBody): SQL {
  const reviewAt = body.next_review_at === undefined ? sql`case when next_review_at > clock_timestamp() then next_review_at end` : sql`${body.next_review_at}::timestamptz`
  const set: SQL[] = [sql`next_review_at = ${reviewAt}`]
  if (body.expires_at !== undefined) set.push(sql`expires_at = ${body.expires_at}::timestamptz`)
  if (body.confidence_score !== undefined) set.push(sql`confidence_score = ${body.confidence_score}::int`)
  return sql.join(set, sql`, `)
}
