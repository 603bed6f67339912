import { z } from 'zod'
import { AgentId, Namespace, uuid } from './ids.js'
import { LIMITS } from './request-limits.js'
import { Evidence, evidenced, Notes, paging, ReviewDetails, reviewOf, saidBy, Score, Title } from './reviews.js'
import { storableText, Time } from './text.js'

export const MemoryCandidateId = uuid().brand<'MemoryCandidateId'>()
export type MemoryCandidateId = z.infer<typeof MemoryCandidateId>
export const MemoryId = uuid().brand<'MemoryId'>()
export type MemoryId = z.infer<typeof MemoryId>

export const MEMORY_KINDS = ['decision', 'preference', 'pattern', 'mistake', 'lesson', 'playbook', 'constraint', 'entity_fact', 'context'] as const
export const MemoryKind = z.enum(MEMORY_KINDS)
export type MemoryKind = z.infer<typeof MemoryKind>

/** What a memory is about. */
export const MEMORY_SCOPES = ['global', 'agent', 'project', 'person', 'service'] as const
export const MemoryScope = z.enum(MEMORY_SCOPES)
export type MemoryScope = z.infer<typeof MemoryScope>

/**
 * Who may read a memory. shared: everyone. role_limited: the agents of `visible_to`. agent_private: the agent whose it is.
 * human_editable: everyone, and operators keep it. A candidate is read by the same agents, once it is promoted only by those that may read the
 * memory as well, and by the agent that has proposed it.
 */
export const MEMORY_VISIBILITIES = ['shared', 'role_limited', 'agent_private', 'human_editable'] as const
export const MemoryVisibility = z.enum(MEMORY_VISIBILITIES)
export type MemoryVisibility = z.infer<typeof MemoryVisibility>

export const MEMORY_STABILITIES = ['volatile', 'medium', 'stable'] as const
export const MemoryStability = z.enum(MEMORY_STABILITIES)

export const CANDIDATE_STATUSES = ['new', 'reviewed', 'promoted', 'rejected', 'archived'] as const
export const CandidateStatus = z.enum(CANDIDATE_STATUSES)
export type CandidateStatus = z.infer<typeof CandidateStatus>

export const MEMORY_STATUSES = ['active', 'superseded', 'expired', 'archived'] as const
export const MemoryStatus = z.enum(MEMORY_STATUSES)
export type MemoryStatus = z.infer<typeof MemoryStatus>

const VisibleTo = z
  .array(AgentId)
  .max(100)
  .refine((list) => new Set(list).size === list.length, 'names one twice')
const SubjectKey = storableText({ min: 1, max: LIMITS.key })
const Body = storableText({ min: 1, max: 8_000 })

/** The body of `POST /v1/memory-candidates`: what somebody thinks is worth to be remembered. No agent is told it before the curator has promoted it. */
export const CreateMemoryCandidateBody = z
  .strictObject({
    ...saidBy,
    candidate_kind: MemoryKind,
    scope: MemoryScope,
    /** Which agent, project, person or service; for `global` a word for what it is about. */
    subject_key: SubjectKey,
    title: Title,
    body: Body,
    /** Rows it comes from: jobs, events, opportunities, transcripts. */
    source_refs: Evidence.default({}),
    confidence_score: Score,
    stability: MemoryStability.default('medium'),
    visibility: MemoryVisibility.default('shared'),
    visible_to: VisibleTo.default([]),
    ...evidenced,
  })
  .refine((body) => (body.visibility === 'role_limited') === body.visible_to.length > 0, {
    error: 'names agents exactly when the visibility is role_limited',
    path: ['visible_to'],
  })
  .meta({ id: 'CreateMemoryCandidate' })
export type CreateMemoryCandidateBody = z.infer<typeof CreateMemoryCandidateBody>

/** The body of `POST /v1/memory-candidates/{id}/review`. Whoever rejects says why. */
export const ReviewCandidateBody = z
  .strictObject({ decision: CandidateStatus.extract(['reviewed', 'rejected', 'archived']), notes: Notes.optional() })
  .refine((body) => body.decision !== 'rejected' || body.notes !== undefined, { error: 'say why it is rejected', path: ['notes'] })
  .meta({ id: 'ReviewMemoryCandidate' })
export type ReviewCandidateBody = z.infer<typeof ReviewCandidateBody>

/** The body of `POST /v1/memory-candidates/{id}/promote`. What is left out is the candidate's. */
export const PromoteCandidateBody = z
  .strictObject({
    kind: MemoryKind.optional(),
    scope: MemoryScope.optional(),
    subject_key: SubjectKey.optional(),
    title: Title.optional(),
    body: Body.optional(),
    confidence_score: Score.optional(),
    stability: MemoryStability.optional(),
    visibility: MemoryVisibility.optional(),
    /** Beside a visibility of role_limited. */
    visible_to: VisibleTo.optional(),
    expires_at: Time.optional(),
    next_review_at: Time.optional(),
    /** The memory that this one takes the place of; it is superseded in the same transaction. */
    supersedes_memory_id: MemoryId.optional(),
    /** The version of that memory: it is superseded only on that one. */
    supersedes_version: z.int().min(1).optional(),
    dedupe_key: evidenced.dedupe_key,
    notes: Notes.optional(),
  })
  .refine((body) => body.visible_to === undefined || body.visibility === 'role_limited', { error: 'needs a visibility of role_limited', path: ['visible_to'] })
  .refine((body) => body.supersedes_version === undefined || body.supersedes_memory_id !== undefined, {
    error: 'needs the memory that it is the version of',
    path: ['supersedes_version'],
  })
  .meta({ id: 'PromoteMemoryCandidate' })
export type PromoteCandidateBody = z.infer<typeof PromoteCandidateBody>

/** The body of `POST /v1/memories/{id}/retire`: why nobody shall be told it any more. */
export const RetireMemoryBody = z.strictObject({ as: MemoryStatus.extract(['expired', 'archived']).default('expired'), notes: Notes }).meta({ id: 'RetireMemory' })
export type RetireMemoryBody = z.infer<typeof RetireMemoryBody>

/**
 * The body of `POST /v1/memories/{id}/refresh`: somebody has looked, and it holds. Null takes a date away; what is left out stays, but for a
 * date of review that has passed: that review was this one.
 */
export const RefreshMemoryBody = z
  .strictObject({
    next_review_at: Time.nullable().optional(),
    expires_at: Time.nullable().optional(),
    confidence_score: Score.optional(),
    notes: Notes,
  })
  .meta({ id: 'RefreshMemory' })
export type RefreshMemoryBody = z.infer<typeof RefreshMemoryBody>

/** The body of `POST /v1/memories/{id}/mark-stale`: it is due for a review now; it stays active until the curator has decided. */
export const MarkStaleBody = z.strictObject({ notes: Notes }).meta({ id: 'MarkMemoryStale' })
export type MarkStaleBody = z.infer<typeof MarkStaleBody>

const timestamp = z.iso.datetime({ offset: true })

export const MemoryCandidateView = z
  .object({
    id: MemoryCandidateId,
    namespace: Namespace,
    source_agent: AgentId.nullable(),
    candidate_kind: MemoryKind,
    scope: MemoryScope,
    subject_key: z.string(),
    title: z.string(),
    body: z.string(),
    evidence: z.record(z.string(), z.unknown()),
    source_refs: z.record(z.string(), z.unknown()),
    confidence_score: z.int(),
    stability: MemoryStability,
    visibility: MemoryVisibility,
    visible_to: z.array(AgentId),
    status: CandidateStatus,
    /** Rises with every review; the ETag. */
    version: z.int(),
    reviewer: z.string().nullable(),
    review_notes: z.string().nullable(),
    promoted_memory_id: MemoryId.nullable(),
    dedupe_key: z.string().nullable(),
    created_by: z.string(),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'MemoryCandidate' })
export type MemoryCandidateView = z.infer<typeof MemoryCandidateView>

export const MemoryView = z
  .object({
    id: MemoryId,
    namespace: Namespace,
    kind: MemoryKind,
    scope: MemoryScope,
    subject_key: z.string(),
    title: z.string(),
    body: z.string(),
    /** Whose it is when it is agent_private: the agent that proposed it. */
    owner_agent: AgentId.nullable(),
    source_candidate_id: MemoryCandidateId,
    source_refs: z.record(z.string(), z.unknown()),
    confidence_score: z.int(),
    stability: MemoryStability,
    visibility: MemoryVisibility,
    visible_to: z.array(AgentId),
    status: MemoryStatus,
    /** Rises with every change; the ETag. */
    version: z.int(),
    /** Whether agents may be told it now: it is active, and its time has not run out. */
    in_force: z.boolean(),
    created_by: z.string(),
    updated_by: z.string(),
    valid_from: timestamp,
    expires_at: timestamp.nullable(),
    next_review_at: timestamp.nullable(),
    supersedes_memory_id: MemoryId.nullable(),
    dedupe_key: z.string().nullable(),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: 'Memory' })
export type MemoryView = z.infer<typeof MemoryView>

export const CandidateReview = reviewOf(CandidateStatus).meta({ id: 'MemoryCandidateReview' })
export type CandidateReview = z.infer<typeof CandidateReview>
/**
 * A memory that is refreshed or marked stale keeps its state: the details of the row say what has changed, from what to what. Those of the first
 * row say what it began with.
 */
export const MemoryReview = reviewOf(MemoryStatus).extend({ details: ReviewDetails }).meta({ id: 'MemoryReview' })
export type MemoryReview = z.infer<typeof MemoryReview>

export const MemoryCandidateHistory = z.object({ candidate: MemoryCandidateView, reviews: z.array(CandidateReview) }).meta({ id: 'MemoryCandidateHistory' })
export type MemoryCandidateHistory = z.infer<typeof MemoryCandidateHistory>
export const MemoryHistory = z.object({ memory: MemoryView, reviews: z.array(MemoryReview) }).meta({ id: 'MemoryHistory' })
export type MemoryHistory = z.infer<typeof MemoryHistory>
export const PromotedCandidate = z.object({ candidate: MemoryCandidateView, memory: MemoryView }).meta({ id: 'PromotedMemoryCandidate' })
export type PromotedCandidate = z.infer<typeof PromotedCandidate>

export const ListMemoryCandidatesQuery = z
  .strictObject({
    ...paging,
    status: CandidateStatus.optional(),
    source_agent: AgentId.optional(),
    candidate_kind: MemoryKind.optional(),
    scope: MemoryScope.optional(),
    subject_key: SubjectKey.optional(),
  })
  .meta({ id: 'ListMemoryCandidates' })
export type ListMemoryCandidatesQuery = z.infer<typeof ListMemoryCandidatesQuery>

export const ListMemoriesQuery = z
  .strictObject({
    ...paging,
    /** `active` are those in force: one that is past its end is over, though nobody has put that down yet. */
    status: MemoryStatus.optional(),
    kind: MemoryKind.optional(),
    scope: MemoryScope.optional(),
    subject_key: SubjectKey.optional(),
    /** Whose review is due by now. */
    due: z.stringbool().optional(),
  })
  .meta({ id: 'ListMemories' })
export type ListMemoriesQuery = z.infer<typeof ListMemoriesQuery>
