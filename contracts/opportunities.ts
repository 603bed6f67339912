import { z } from 'zod'
import { AgentId, JobId, Namespace, uuid } from './ids.js'
import { JobType, JobView } from './jobs.js'
import { LIMITS } from './request-limits.js'
import { evidenced, Notes, paging, reviewOf, saidBy, Score, Theme, Title } from './reviews.js'
import { JsonObject, storableText } from './text.js'

export const OpportunityId = uuid().brand<'OpportunityId'>()
export type OpportunityId = z.infer<typeof OpportunityId>

export const OPPORTUNITY_STATUSES = ['new', 'triaged', 'accepted', 'rejected', 'parked', 'converted_to_job'] as const
export const OpportunityStatus = z.enum(OPPORTUNITY_STATUSES)
export type OpportunityStatus = z.infer<typeof OpportunityStatus>

/** How easily it is undone. */
export const REVERSIBILITIES = ['high', 'medium', 'low'] as const
export const Reversibility = z.enum(REVERSIBILITIES)

/** What makes a thought ready to be decided about. */
export const scored = {
  why_now: storableText({ min: 1, max: LIMITS.reason }),
  impact_score: Score,
  confidence_score: Score,
  urgency_score: Score,
  reversibility: Reversibility,
  owner_candidate: AgentId.optional(),
  /** The smallest useful next step. */
  suggested_next_step: storableText({ min: 1, max: LIMITS.reason }),
}

/** The body of `POST /v1/opportunities`. Field names are those of the source thread. */
export const CreateOpportunityBody = z.strictObject({ ...saidBy, theme: Theme, title: Title, ...scored, ...evidenced }).meta({ id: 'CreateOpportunity' })
export type CreateOpportunityBody = z.infer<typeof CreateOpportunityBody>

/** The body of `POST /v1/opportunities/{id}/triage`. Whoever rejects says why. */
export const TriageBody = z
  .strictObject({ decision: OpportunityStatus.extract(['triaged', 'accepted', 'rejected', 'parked']), notes: Notes.optional() })
  .refine((body) => body.decision !== 'rejected' || body.notes !== undefined, { error: 'say why it is rejected', path: ['notes'] })
  .meta({ id: 'TriageOpportunity' })
export type TriageBody = z.infer<typeof TriageBody>

/** The body of `POST /v1/opportunities/{id}/convert`: the job that it becomes. */
export const ConvertBody = z
  .strictObject({
    target_agent: AgentId,
    job_type: JobType.default('proactive'),
    subject: storableText({ min: 1, max: LIMITS.subject }),
    priority: z.int().min(1).max(1000).default(100),
    /** Beside what the opportunity says, which the bus puts in: `origin`, `opportunity_id`, `title`, `theme`, `why_now`, `suggested_next_step`. */
    payload: JsonObject.default({}),
    notes: Notes.optional(),
  })
  .meta({ id: 'ConvertOpportunity' })
export type ConvertBody = z.infer<typeof ConvertBody>

const timestamp = z.iso.datetime({ offset: true })

export const OpportunityView = z
  .object({
    id: OpportunityId,
    namespace: Namespace,
    source_agent: AgentId.nullable(),
    theme: z.string(),
    title: z.string(),
    why_now: z.string(),
    evidence: z.record(z.string(), z.unknown()),
    impact_score: z.int(),
    confidence_score: z.int(),
    urgency_score: z.int(),
    reversibility: Reversibility,
    owner_candidate: AgentId.nullable(),
    suggested_next_step: z.string(),
    status: OpportunityStatus,
    /** Rises with every review; the ETag. */
    version: z.int(),
    /** The newest decision after the one that made it; null while nobody has looked. */
    triaged_by: z.string().nullable(),
    triage_notes: z.string().nullable(),
    triaged_at: timestamp.nullable(),
    converted_job_id: JobId.nullable(),
    dedupe_key: z.string().nullable(),
    created_by: z.string(),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'Opportunity' })
export type OpportunityView = z.infer<typeof OpportunityView>

export const OpportunityReview = reviewOf(OpportunityStatus).meta({ id: 'OpportunityReview' })
export type OpportunityReview = z.infer<typeof OpportunityReview>

export const OpportunityHistory = z.object({ opportunity: OpportunityView, reviews: z.array(OpportunityReview) }).meta({ id: 'OpportunityHistory' })
export type OpportunityHistory = z.infer<typeof OpportunityHistory>

export const ConvertedOpportunity = z.object({ opportunity: OpportunityView, job: JobView }).meta({ id: 'ConvertedOpportunity' })
export type ConvertedOpportunity = z.infer<typeof ConvertedOpportunity>

export const ListOpportunitiesQuery = z
  .strictObject({
    ...paging,
    status: OpportunityStatus.optional(),
    /** new, triaged, accepted and parked. */
    open: z.stringbool().optional(),
    source_agent: AgentId.optional(),
    theme: Theme.optional(),
  })
  .meta({ id: 'ListOpportunities' })
export type ListOpportunitiesQuery = z.infer<typeof ListOpportunitiesQuery>
