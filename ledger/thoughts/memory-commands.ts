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
import { asReviewer, signed } from './as-reviewer.js'
import { authorOf, mustKnowAgents } from './author.js'
import { candidateView, createCandidate, newestReview } from './candidate-rows.js'
import { memoryOf, mustEndLater } from './memory-rows.js'
import { mustNotBeFrozen } from './not-frozen.js'
import { promoteCandidate } from './promote-candidate.js'
import { decide, lockThought, mustMove, type Decision } from './reviews.js'

/** What is proposed to be remembered, and what is. Everybody proposes; the curator, who holds the right `promote`, and operators decide. */
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
      async (tx, by) => {
        const author = authorOf(context.caller, body.source_agent)
        await mustKnowAgents(tx, { source_agent: author })
        const { candidate, created } = await createCandidate(tx, { ...body, source_agent: author }, by)
        return { candidate: candidateView(candidate), created }
      },
      body,
    )
  }

  /**
   * Decides about a candidate without promoting it.
   * @throws AGENTBUS_NOT_FOUND; AGENTBUS_FORBIDDEN, AGENTBUS_VERSION_MISMATCH and AGENTBUS_REVIEW_OVER, each with a row
   */
  review(context: CommandContext, id: MemoryCandidateId, body: ReviewCandidateBody): Promise<{ candidate: MemoryCandidateView; replayed?: boolean }> {
    return asReviewer(this.#deps, context, async (tx, by) => {
      await requireRight(tx, context.caller, 'promote', 'decide about memory candidates')
      const candidate = await lockThought(tx, 'candidate', id)
      mustMove('candidate', candidate, body.decision, context.ifVersion)
      const decided = await decide(tx, 'candidate', candidate, { to: body.decision, notes: body.notes, set: newestReview(by, body.notes) }, by)
      return { candidate: candidateView(decided) }
    })
  }

  /**
   * Makes a memory of a candidate that has evidence, in one transaction with the end of the memory that it takes the place of.
   * @throws what {@link review} throws, also for the memory to be superseded; AGENTBUS_FROZEN and AGENTBUS_MEMORY_EXISTS, each with a row; AGENTBUS_BAD_REQUEST,
   * AGENTBUS_UNKNOWN_AGENT
   */
  promote(context: CommandContext, id: MemoryCandidateId, body: PromoteCandidateBody): Promise<PromotedCandidate & { replayed?: boolean }> {
    return asReviewer(this.#deps, context, async (tx, by): Promise<PromotedCandidate> => {
      await requireRight(tx, context.caller, 'promote', 'promote memories')
      const candidate = await lockThought(tx, 'candidate', id)
      await mustNotBeFrozen(tx, 'promotions')
      mustMove('candidate', candidate, 'promoted', context.ifVersion)
      const promoted = await promoteCandidate(tx, candidate, body, by)
      return { candidate: candidateView(promoted.candidate), memory: await memoryOf(tx, promoted.memoryId) }
    })
  }

  /** Says that a memory holds, with new dates or another confidence. @throws what {@link review} throws; AGENTBUS_BAD_REQUEST for an end that is past */
  refresh(context: CommandContext, id: MemoryId, body: RefreshMemoryBody): Promise<{ memory: MemoryView; replayed?: boolean }> {
    const { notes, ...refreshed } = body
    return this.#keep(context, id, 'refresh memories', { to: 'active', notes, set: refreshOf(body), details: { refreshed } }, body.expires_at)
  }

  /** Makes a memory due for a review now; it stays active until somebody has decided. @throws what {@link review} throws */
  markStale(context: CommandContext, id: MemoryId, body: MarkStaleBody): Promise<{ memory: MemoryView; replayed?: boolean }> {
    const set = sql`next_review_at = clock_timestamp()`
    return this.#keep(context, id, 'mark memories as stale', { to: 'active', notes: body.notes, set, details: { stale: true } })
  }

  /** Ends a memory: nobody is told it any more. @throws what {@link review} throws */
  retire(context: CommandContext, id: MemoryId, body: RetireMemoryBody): Promise<{ memory: MemoryView; replayed?: boolean }> {
    return this.#keep(context, id, 'retire memories', { to: body.as, notes: body.notes })
  }

  /** One decision about a memory that is active. */
  #keep(context: CommandContext, id: MemoryId, what: string, decision: Decision<'memory'>, expiresAt?: string | null): Promise<{ memory: MemoryView; replayed?: boolean }> {
    return asReviewer(this.#deps, context, async (tx, by) => {
      await requireRight(tx, context.caller, 'promote', what)
      const memory = await lockThought(tx, 'memory', id)
      mustMove('memory', memory, decision.to, context.ifVersion)
      await mustEndLater(tx, expiresAt)
      const set = [sql`updated_by = ${signed(by)}`, ...(decision.set === undefined ? [] : [decision.set])]
      await decide(tx, 'memory', memory, { ...decision, set: sql.join(set, sql`, `) }, by)
      return { memory: await memoryOf(tx, id) }
    })
  }
}

/** What is given changes, null takes a date away, and what is left out stays. */
function refreshOf(body: RefreshMemoryBody): SQL | undefined {
  const set: SQL[] = []
  if (body.next_review_at !== undefined) set.push(sql`next_review_at = ${body.next_review_at}::timestamptz`)
  if (body.expires_at !== undefined) set.push(sql`expires_at = ${body.expires_at}::timestamptz`)
  if (body.confidence_score !== undefined) set.push(sql`confidence_score = ${body.confidence_score}::int`)
  return set.length === 0 ? undefined : sql.join(set, sql`, `)
}
