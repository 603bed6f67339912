import { z } from 'zod'
import { AgentId, Namespace, uuid } from './ids.js'
import { OpportunityId, OpportunityView, scored } from './opportunities.js'
import { Evidence, evidenced, Notes, paging, ReviewDetails, reviewOf, saidBy, Theme, Title } from './reviews.js'
import { storableText } from './text.js'

export const IdeaId = uuid().brand<'IdeaId'>()
export type IdeaId = z.infer<typeof IdeaId>

export const IDEA_STATUSES = ['new', 'reviewed', 'promoted_to_opportunity', 'archived'] as const
export const IdeaStatus = z.enum(IDEA_STATUSES)
export type IdeaStatus = z.infer<typeof IdeaStatus>

const Tag = storableText({ min: 1, max: 50 })

/** The body of `POST /v1/ideas`: a low bar, no scores. */
export const CreateIdeaBody = z
  .strictObject({
    ...saidBy,
    theme: Theme,
    title: Title,
    body: storableText({ min: 1, max: 8_000 }),
    tags: z.array(Tag).max(20).default([]),
    ...evidenced,
  })
  .meta({ id: 'CreateIdea' })
export type CreateIdeaBody = z.infer<typeof CreateIdeaBody>

/** The body of `POST /v1/ideas/{id}/review` and `/archive`. */
export const ReviewIdeaBody = z.strictObject({ notes: Notes.optional() }).meta({ id: 'ReviewIdea' })
export type ReviewIdeaBody = z.infer<typeof ReviewIdeaBody>

/** The body of `POST /v1/ideas/{id}/promote`: what an opportunity has and an idea has not. What is left out is the idea's. */
export const PromoteIdeaBody = z
  .strictObject({
    ...scored,
    theme: Theme.optional(),
    title: Title.optional(),
    evidence: Evidence.optional(),
    /** The idea is linked to an opportunity that is open under it, whoever has proposed that, and no second one is made. */
    dedupe_key: evidenced.dedupe_key,
    notes: Notes.optional(),
  })
  .meta({ id: 'PromoteIdea' })
export type PromoteIdeaBody = z.infer<typeof PromoteIdeaBody>

const timestamp = z.iso.datetime({ offset: true })

export const IdeaView = z
  .object({
    id: IdeaId,
    namespace: Namespace,
    source_agent: AgentId.nullable(),
    theme: z.string(),
    title: z.string(),
    body: z.string(),
    evidence: z.record(z.string(), z.unknown()),
    tags: z.array(z.string()),
    status: IdeaStatus,
    /** Rises with every review; the ETag. */
    version: z.int(),
    promoted_opportunity_id: OpportunityId.nullable(),
    dedupe_key: z.string().nullable(),
    created_by: z.string(),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'Idea' })
export type IdeaView = z.infer<typeof IdeaView>

/** The one that has promoted it names the opportunity in its details. */
export const IdeaReview = reviewOf(IdeaStatus).extend({ details: ReviewDetails }).meta({ id: 'IdeaReview' })
export type IdeaReview = z.infer<typeof IdeaReview>

export const IdeaHistory = z.object({ idea: IdeaView, reviews: z.array(IdeaReview) }).meta({ id: 'IdeaHistory' })
export type IdeaHistory = z.infer<typeof IdeaHistory>

export const PromotedIdea = z
  .object({
    idea: IdeaView,
    opportunity: OpportunityView,
    /** False when the idea was linked to an opportunity that was open already. */
    created: z.boolean(),
  })
  .meta({ id: 'PromotedIdea' })
export type PromotedIdea = z.infer<typeof PromotedIdea>

export const ListIdeasQuery = z
  .strictObject({ ...paging, status: IdeaStatus.optional(), source_agent: AgentId.optional(), theme: Theme.optional(), tag: Tag.optional() })
  .meta({ id: 'ListIdeas' })
export type ListIdeasQuery = z.infer<typeof ListIdeasQuery>
