import { sql } from 'drizzle-orm'
import type { CreateIdeaBody, IdeaId, IdeaView, PromotedIdea, PromoteIdeaBody, ReviewIdeaBody } from '../../contracts/ideas.js'
import type { AgentId } from '../../contracts/ids.js'
import type { CallerDeps } from '../as-caller.js'
import { agentOfCaller, type Caller, type CommandContext } from '../caller.js'
import type { Tx } from '../database.js'
import { requireRight } from '../policies.js'
import { asReviewer } from './as-reviewer.js'
import { authorOf } from './author.js'
import { createIdea, ideaView, type IdeaRow } from './idea-rows.js'
import { mustNotBeFrozen } from './not-frozen.js'
import { openOrNewOpportunity, opportunityView } from './opportunity-rows.js'
import { decide, lockThought, mustMove } from './reviews.js'

/** What is said and decided about ideas. An attempt may do what its agent may, as long as it is open. */
export class IdeaCommands {
  readonly #deps: CallerDeps

  constructor(deps: CallerDeps) {
    this.#deps = deps
  }

  /**
   * Notes an idea in the caller's own name, or answers its open one with the dedupe key.
   * @throws AGENTBUS_FORBIDDEN and AGENTBUS_LIMIT_REACHED, each with a row; AGENTBUS_UNKNOWN_AGENT
   */
  create(context: CommandContext, body: CreateIdeaBody): Promise<{ idea: IdeaView; created: boolean; replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        const author = await authorOf(tx, context.caller, body.source_agent)
        const { idea, created } = await createIdea(tx, { ...body, source_agent: author }, by)
        return { idea: ideaView(idea), created }
      },
      { sent: body },
    )
  }

  /**
   * Says that somebody has looked at it; for operators and the agents of `authority.triage`.
   * @throws AGENTBUS_NOT_FOUND; AGENTBUS_FORBIDDEN, AGENTBUS_VERSION_MISMATCH and AGENTBUS_REVIEW_OVER, each with a row
   */
  review(context: CommandContext, id: IdeaId, body: ReviewIdeaBody): Promise<{ idea: IdeaView; replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        await requireRight(tx, context.caller, 'triage', 'review ideas')
        const idea = await lockThought(tx, 'idea', id)
        mustMove('idea', idea, 'reviewed', context.ifVersion)
        return { idea: ideaView(await decide(tx, 'idea', idea, { to: 'reviewed', notes: body.notes }, by)) }
      },
      { sent: body },
    )
  }

  /** Lays it aside for good; for those who may review it, and for the agent whose idea it is. @throws what {@link review} throws */
  archive(context: CommandContext, id: IdeaId, body: ReviewIdeaBody): Promise<{ idea: IdeaView; replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        const idea = await lockThought(tx, 'idea', id)
        await mayArchive(tx, context.caller, idea)
        mustMove('idea', idea, 'archived', context.ifVersion)
        return { idea: ideaView(await decide(tx, 'idea', idea, { to: 'archived', notes: body.notes }, by)) }
      },
      { sent: body },
    )
  }

  /**
   * Makes an opportunity of it in the name of whose idea it was, or links it to the one that is open under the dedupe key, whoever has proposed that;
   * for operators and the agents of `authority.promote`. @throws what {@link review} throws, AGENTBUS_FROZEN with a row, AGENTBUS_UNKNOWN_AGENT for
   * the owner_candidate of a new one
   */
  promote(context: CommandContext, id: IdeaId, body: PromoteIdeaBody): Promise<PromotedIdea & { replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by): Promise<PromotedIdea> => {
        await requireRight(tx, context.caller, 'promote', 'promote ideas')
        const idea = await lockThought(tx, 'idea', id)
        await mustNotBeFrozen(tx, 'promotions')
        mustMove('idea', idea, 'promoted_to_opportunity', context.ifVersion)
        const { notes, ...scores } = body
        const said = {
          namespace: idea.namespace,
          source_agent: (idea.source_agent ?? undefined) as AgentId | undefined,
          theme: body.theme ?? idea.theme,
          title: body.title ?? idea.title,
          evidence: body.evidence ?? idea.evidence,
        }
        const { opportunity, created } = await openOrNewOpportunity(tx, { ...scores, ...said }, by)
        const set = sql`promoted_opportunity_id = ${opportunity.id}::uuid`
        const details = sql`jsonb_build_object('opportunity_id', ${opportunity.id}::text)`
        const promoted = await decide(tx, 'idea', idea, { to: 'promoted_to_opportunity', notes, set, details }, by)
        return { idea: ideaView(promoted), opportunity: opportunityView(opportunity), created }
      },
      { sent: body },
    )
  }
}

async function mayArchive(tx: Tx, caller: Caller, idea: IdeaRow): Promise<void> {
  const agent = agentOfCaller(caller)
  if (agent !== undefined && agent === idea.source_agent) return
  await requireRight(tx, caller, 'triage', `archive idea ${idea.id}`)
}
