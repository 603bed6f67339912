import type { ConvertBody, ConvertedOpportunity, CreateOpportunityBody, OpportunityId, OpportunityView, TriageBody } from '../../contracts/opportunities.js'
import type { CallerDeps } from '../as-caller.js'
import type { CommandContext } from '../caller.js'
import { requireRight } from '../policies.js'
import { jobView } from '../rows.js'
import { asReviewer } from './as-reviewer.js'
import { authorOf } from './author.js'
import { convertOpportunity } from './convert-opportunity.js'
import { mustNotBeFrozen } from './not-frozen.js'
import { createOpportunity, newestDecision, opportunityView } from './opportunity-rows.js'
import { decide, lockThought, mustMove } from './reviews.js'

/** What is proposed and decided about opportunities. An attempt may do what its agent may, as long as it is open. */
export class OpportunityCommands {
  readonly #deps: CallerDeps

  constructor(deps: CallerDeps) {
    this.#deps = deps
  }

  /**
   * Proposes an opportunity in the caller's own name, or answers its open one with the dedupe key.
   * @throws AGENTBUS_FORBIDDEN and AGENTBUS_LIMIT_REACHED, each with a row; AGENTBUS_UNKNOWN_AGENT
   */
  create(context: CommandContext, body: CreateOpportunityBody): Promise<{ opportunity: OpportunityView; created: boolean; replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        const author = await authorOf(tx, context.caller, body.source_agent)
        const { opportunity, created } = await createOpportunity(tx, { ...body, source_agent: author }, by)
        return { opportunity: opportunityView(opportunity), created }
      },
      { sent: body },
    )
  }

  /**
   * Decides about an open opportunity without making work of it; for operators and the agents of `authority.triage`.
   * @throws AGENTBUS_NOT_FOUND; AGENTBUS_FORBIDDEN, AGENTBUS_VERSION_MISMATCH and AGENTBUS_REVIEW_OVER, each with a row
   */
  triage(context: CommandContext, id: OpportunityId, body: TriageBody): Promise<{ opportunity: OpportunityView; replayed?: boolean }> {
    return asReviewer(
      this.#deps,
      context,
      async (tx, by) => {
        await requireRight(tx, context.caller, 'triage', 'triage opportunities')
        const opportunity = await lockThought(tx, 'opportunity', id)
        mustMove('opportunity', opportunity, body.decision, context.ifVersion)
        const decided = await decide(tx, 'opportunity', opportunity, { to: body.decision, notes: body.notes, set: newestDecision(by, body.notes) }, by)
        return { opportunity: opportunityView(decided) }
      },
      { sent: body },
    )
  }

  /**
   * Makes a job of an open opportunity, in one transaction; for operators and the agents of `authority.convert`.
   * @throws what {@link triage} throws; AGENTBUS_FROZEN, AGENTBUS_DELEGATION_REFUSED and AGENTBUS_LIMIT_REACHED, each with a row; AGENTBUS_UNKNOWN_AGENT
   */
  convert(context: CommandContext, id: OpportunityId, body: ConvertBody): Promise<ConvertedOpportunity & { replayed?: boolean }> {
    return asReviewer(this.#deps, context, async (tx, by): Promise<ConvertedOpportunity> => {
      await requireRight(tx, context.caller, 'convert', 'turn opportunities into jobs')
      const opportunity = await lockThought(tx, 'opportunity', id)
      await mustNotBeFrozen(tx, 'conversions')
      mustMove('opportunity', opportunity, 'converted_to_job', context.ifVersion)
      const converted = await convertOpportunity(tx, opportunity, body, by)
      // Its bytes count with its job, in this transaction, and not before it.
      await this.#deps.rates.takeStarted(tx, context.caller, 1, body)
      return { opportunity: opportunityView(converted.opportunity), job: jobView(converted.job) }
    })
  }
}
