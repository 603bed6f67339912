import { sql, type SQL, type SQLWrapper } from 'drizzle-orm'
import { check, foreignKey, index, integer, jsonb, pgTable, primaryKey, text, uniqueIndex, uuid, type AnyPgColumn } from 'drizzle-orm/pg-core'
import { CANDIDATE_MOVES, IDEA_MOVES, legalPairs, MEMORY_MOVES, openIn, OPPORTUNITY_MOVES, type Moves } from '../thoughts/moves.js'
import { bytea, byTransaction, instant, recordId, writtenIn } from './columns.js'
import {
  actorKind,
  candidateStatus,
  ideaStatus,
  memoryKind,
  memoryScope,
  memoryStability,
  memoryStatus,
  memoryVisibility,
  opportunityReversibility,
  opportunityStatus,
} from './enums.js'
import { agents } from './fleet.js'
import { job_attempts, jobs } from './jobs.js'

type Json = Record<string, unknown>

/** Who said it, when, and the number of its newest review. */
const said = () => ({
  /** Seq of the newest row of its history; the version of the row. */
  last_seq: integer('last_seq').notNull(),
  created_by: text('created_by').notNull(),
  created_at: instant('created_at')
    .notNull()
    .default(sql`clock_timestamp()`),
  updated_at: instant('updated_at')
    .notNull()
    .default(sql`clock_timestamp()`),
})

/** What every row of a history of reviews says beside its number and its states. */
const reviewed = () => ({
  notes: text('notes'),
  /** The agent that decided; null for an operator or the bus. */
  reviewer: text('reviewer'),
  job_id: uuid('job_id').references(() => jobs.id),
  attempt_id: uuid('attempt_id').references(() => job_attempts.id),
  actor_kind: actorKind('actor_kind').notNull(),
  actor: text('actor').notNull(),
  /** Of the first row alone: the hash of what was said, see `ledger/thoughts/words.ts`. */
  words_hash: bytea('words_hash'),
  at: instant('at')
    .notNull()
    .default(sql`clock_timestamp()`),
  record_id: recordId(),
  xact: writtenIn(),
})

/** Of an agent, and of those who have none, one with a key may be open. Null is no value that an index could tell apart. */
const author = sql`(coalesce(source_agent, ''))`
const openWithKey = (moves: Moves): SQL => sql.raw(`dedupe_key is not null and ${openIn(moves)}`)

/** The first row says as what it began; each other is a legal move from where the one before has led. */
const legalReview = (columns: { readonly seq: SQLWrapper; readonly from_status: SQLWrapper; readonly decision: SQLWrapper }, first: string, moves: Moves): SQL =>
  sql`case when ${columns.from_status} is null then ${columns.seq} = 1 and ${columns.decision} = ${sql.raw(`'${first}'`)}
        else ${columns.seq} > 1 and (${columns.from_status}, ${columns.decision}) in (${sql.raw(legalPairs(moves))}) end`

/** The first row vouches for what was said, and no other one has anything to vouch for. */
const vouchesForWords = (columns: { readonly seq: SQLWrapper; readonly words_hash: SQLWrapper }): SQL => sql`(${columns.seq} = 1) = (${columns.words_hash} is not null)`

// Lists come by the id, newest first: their indexes end with it and are read backwards. One that is made descending has nulls at the other end
// than `order by id desc`, and would be sorted again.

/** Proposals that are ready to be decided about. */
export const opportunities = pgTable(
  'opportunities',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    /** Whose proposal it is; null for one that an operator has made in nobody's name. */
    source_agent: text('source_agent').references(() => agents.id),
    theme: text('theme').notNull(),
    title: text('title').notNull(),
    why_now: text('why_now').notNull(),
    evidence: jsonb('evidence').notNull().default({}).$type<Json>(),
    impact_score: integer('impact_score').notNull(),
    confidence_score: integer('confidence_score').notNull(),
    urgency_score: integer('urgency_score').notNull(),
    reversibility: opportunityReversibility('reversibility').notNull(),
    owner_candidate: text('owner_candidate').references(() => agents.id),
    suggested_next_step: text('suggested_next_step').notNull(),
    status: opportunityStatus('status').notNull().default('new'),
    /** The newest decision after the one that made it: who, why and when. */
    triaged_by: text('triaged_by'),
    triage_notes: text('triage_notes'),
    triaged_at: instant('triaged_at'),
    converted_job_id: uuid('converted_job_id').references(() => jobs.id),
    dedupe_key: text('dedupe_key'),
    ...said(),
  },
  (t) => [
    check('opportunities_scores_check', sql`${t.impact_score} between 1 and 5 and ${t.confidence_score} between 1 and 5 and ${t.urgency_score} between 1 and 5`),
    check('opportunities_seq_check', sql`${t.last_seq} >= 1 and (${t.status} = 'new') = (${t.last_seq} = 1)`),
    check('opportunities_converted_check', sql`(${t.status} = 'converted_to_job') = (${t.converted_job_id} is not null)`),
    check(
      'opportunities_triaged_check',
      sql`(${t.status} = 'new') = (${t.triaged_at} is null) and (${t.triaged_at} is null) = (${t.triaged_by} is null) and (${t.triaged_at} is not null or ${t.triage_notes} is null)`,
    ),
    // The author comes last: a promotion looks for the key over all authors.
    uniqueIndex('opportunities_dedupe_idx').on(t.namespace, t.dedupe_key, author).where(openWithKey(OPPORTUNITY_MOVES)),
    uniqueIndex('opportunities_job_idx')
      .on(t.converted_job_id)
      .where(sql`converted_job_id is not null`),
    index('opportunities_open_idx')
      .on(t.id)
      .where(sql.raw(openIn(OPPORTUNITY_MOVES))),
    index('opportunities_namespace_idx').on(t.namespace, t.id),
    index('opportunities_status_idx').on(t.status, t.id),
    index('opportunities_source_idx')
      .on(t.source_agent, t.id)
      .where(sql`source_agent is not null`),
    index('opportunities_theme_idx').on(t.theme, t.id),
    // For the summary: counts and ages are read without the table.
    index('opportunities_counts_idx').on(t.namespace, t.status, t.created_at),
  ],
)

/** Every decision about an opportunity. Append-only; gapless per opportunity. */
export const opportunity_reviews = pgTable(
  'opportunity_reviews',
  {
    opportunity_id: uuid('opportunity_id')
      .notNull()
      .references(() => opportunities.id),
    seq: integer('seq').notNull(),
    from_status: opportunityStatus('from_status'),
    decision: opportunityStatus('decision').notNull(),
    ...reviewed(),
  },
  (t) => [
    primaryKey({ columns: [t.opportunity_id, t.seq] }),
    check('opportunity_reviews_legal_move', legalReview(t, 'new', OPPORTUNITY_MOVES)),
    check('opportunity_reviews_words_check', vouchesForWords(t)),
    check('opportunity_reviews_reviewer_check', sql`${t.reviewer} is null or ${t.reviewer} = ${t.actor}`),
    index('opportunity_reviews_reviewer_idx')
      .on(t.reviewer, t.at)
      .where(sql`reviewer is not null`),
    byTransaction('opportunity_reviews'),
  ],
)

/** What somebody thought worth noting, without scores. */
export const ideas = pgTable(
  'ideas',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    /** Whose idea it is; null for one that an operator has noted in nobody's name. */
    source_agent: text('source_agent').references(() => agents.id),
    theme: text('theme').notNull(),
    title: text('title').notNull(),
    body: text('body').notNull(),
    evidence: jsonb('evidence').notNull().default({}).$type<Json>(),
    tags: text('tags')
      .array()
      .notNull()
      .default(sql`'{}'::text[]`),
    status: ideaStatus('status').notNull().default('new'),
    promoted_opportunity_id: uuid('promoted_opportunity_id').references(() => opportunities.id),
    dedupe_key: text('dedupe_key'),
    ...said(),
  },
  (t) => [
    check('ideas_seq_check', sql`${t.last_seq} >= 1 and (${t.status} = 'new') = (${t.last_seq} = 1)`),
    check('ideas_promoted_check', sql`(${t.status} = 'promoted_to_opportunity') = (${t.promoted_opportunity_id} is not null)`),
    uniqueIndex('ideas_dedupe_idx').on(t.namespace, author, t.dedupe_key).where(openWithKey(IDEA_MOVES)),
    index('ideas_namespace_idx').on(t.namespace, t.id),
    index('ideas_status_idx').on(t.status, t.id),
    index('ideas_source_idx')
      .on(t.source_agent, t.id)
      .where(sql`source_agent is not null`),
    index('ideas_theme_idx').on(t.theme, t.id),
    index('ideas_tags_idx').using('gin', t.tags),
    // For the summary: counts and ages are read without the table.
    index('ideas_counts_idx').on(t.namespace, t.status, t.created_at),
  ],
)

/** Every decision about an idea. Append-only; gapless per idea. */
export const idea_reviews = pgTable(
  'idea_reviews',
  {
    idea_id: uuid('idea_id')
      .notNull()
      .references(() => ideas.id),
    seq: integer('seq').notNull(),
    from_status: ideaStatus('from_status'),
    decision: ideaStatus('decision').notNull(),
    /** Which opportunity has come of it. */
    details: jsonb('details').notNull().default({}).$type<Json>(),
    ...reviewed(),
  },
  (t) => [
    primaryKey({ columns: [t.idea_id, t.seq] }),
    check('idea_reviews_legal_move', legalReview(t, 'new', IDEA_MOVES)),
    check('idea_reviews_words_check', vouchesForWords(t)),
    check('idea_reviews_reviewer_check', sql`${t.reviewer} is null or ${t.reviewer} = ${t.actor}`),
    index('idea_reviews_reviewer_idx')
      .on(t.reviewer, t.at)
      .where(sql`reviewer is not null`),
    byTransaction('idea_reviews'),
  ],
)

/** What somebody thinks should be remembered. No agent is told it before the curator has promoted it. */
export const memory_candidates = pgTable(
  'memory_candidates',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    source_agent: text('source_agent').references(() => agents.id),
    candidate_kind: memoryKind('candidate_kind').notNull(),
    scope: memoryScope('scope').notNull(),
    subject_key: text('subject_key').notNull(),
    title: text('title').notNull(),
    body: text('body').notNull(),
    evidence: jsonb('evidence').notNull().default({}).$type<Json>(),
    /** Rows it comes from. */
    source_refs: jsonb('source_refs').notNull().default({}).$type<Json>(),
    confidence_score: integer('confidence_score').notNull(),
    stability: memoryStability('stability').notNull().default('medium'),
    visibility: memoryVisibility('visibility').notNull().default('shared'),
    visible_to: text('visible_to')
      .array()
      .notNull()
      .default(sql`'{}'::text[]`),
    status: candidateStatus('status').notNull().default('new'),
    /** The newest decision after the one that made it: who and why. */
    reviewer: text('reviewer'),
    review_notes: text('review_notes'),
    promoted_memory_id: uuid('promoted_memory_id').references((): AnyPgColumn => memories.id),
    dedupe_key: text('dedupe_key'),
    ...said(),
  },
  (t) => [
    check('memory_candidates_score_check', sql`${t.confidence_score} between 1 and 5`),
    check('memory_candidates_seq_check', sql`${t.last_seq} >= 1 and (${t.status} = 'new') = (${t.last_seq} = 1)`),
    check('memory_candidates_promoted_check', sql`(${t.status} = 'promoted') = (${t.promoted_memory_id} is not null)`),
    check('memory_candidates_reviewer_check', sql`(${t.status} = 'new') = (${t.reviewer} is null) and (${t.reviewer} is not null or ${t.review_notes} is null)`),
    check('memory_candidates_visible_to_check', sql`(${t.visibility} = 'role_limited') = (cardinality(${t.visible_to}) > 0)`),
    check('memory_candidates_private_check', sql`${t.visibility} <> 'agent_private' or ${t.source_agent} is not null`),
    uniqueIndex('memory_candidates_dedupe_idx').on(t.namespace, author, t.dedupe_key).where(openWithKey(CANDIDATE_MOVES)),
    index('memory_candidates_namespace_idx').on(t.namespace, t.id),
    index('memory_candidates_status_idx').on(t.status, t.id),
    index('memory_candidates_source_idx')
      .on(t.source_agent, t.id)
      .where(sql`source_agent is not null`),
    // Whichever the scope: few subjects have a namesake in another one.
    index('memory_candidates_subject_idx').on(t.subject_key, t.id),
  ],
)

/** Every decision about a candidate. Append-only; gapless per candidate. */
export const memory_candidate_reviews = pgTable(
  'memory_candidate_reviews',
  {
    memory_candidate_id: uuid('memory_candidate_id').notNull(),
    seq: integer('seq').notNull(),
    from_status: candidateStatus('from_status'),
    decision: candidateStatus('decision').notNull(),
    ...reviewed(),
  },
  (t) => [
    primaryKey({ columns: [t.memory_candidate_id, t.seq] }),
    // By a name of its own: the one that would be made of all names in it is longer than PostgreSQL allows.
    foreignKey({ name: 'memory_candidate_reviews_candidate_fk', columns: [t.memory_candidate_id], foreignColumns: [memory_candidates.id] }),
    check('memory_candidate_reviews_legal_move', legalReview(t, 'new', CANDIDATE_MOVES)),
    check('memory_candidate_reviews_words_check', vouchesForWords(t)),
    check('memory_candidate_reviews_reviewer_check', sql`${t.reviewer} is null or ${t.reviewer} = ${t.actor}`),
    index('memory_candidate_reviews_reviewer_idx')
      .on(t.reviewer, t.at)
      .where(sql`reviewer is not null`),
    byTransaction('memory_candidate_reviews'),
  ],
)

/** What is known, for how long, and who may be told it. */
export const memories = pgTable(
  'memories',
  {
    id: uuid('id').primaryKey(),
    namespace: text('namespace').notNull().default('default'),
    kind: memoryKind('kind').notNull(),
    scope: memoryScope('scope').notNull(),
    subject_key: text('subject_key').notNull(),
    title: text('title').notNull(),
    body: text('body').notNull(),
    /** The agent that proposed it; whose it is when it is private. */
    owner_agent: text('owner_agent').references(() => agents.id),
    source_candidate_id: uuid('source_candidate_id')
      .notNull()
      .references(() => memory_candidates.id),
    source_refs: jsonb('source_refs').notNull().default({}).$type<Json>(),
    confidence_score: integer('confidence_score').notNull(),
    stability: memoryStability('stability').notNull().default('medium'),
    visibility: memoryVisibility('visibility').notNull().default('shared'),
    visible_to: text('visible_to')
      .array()
      .notNull()
      .default(sql`'{}'::text[]`),
    status: memoryStatus('status').notNull().default('active'),
    updated_by: text('updated_by').notNull(),
    valid_from: instant('valid_from')
      .notNull()
      .default(sql`clock_timestamp()`),
    /** From then on nobody is told it, whether or not anybody has written that down yet. */
    expires_at: instant('expires_at'),
    next_review_at: instant('next_review_at'),
    supersedes_memory_id: uuid('supersedes_memory_id').references((): AnyPgColumn => memories.id),
    dedupe_key: text('dedupe_key'),
    ...said(),
  },
  (t) => [
    check('memories_score_check', sql`${t.confidence_score} between 1 and 5`),
    check('memories_seq_check', sql`${t.last_seq} >= 1 and (${t.status} = 'active' or ${t.last_seq} > 1)`),
    check('memories_visible_to_check', sql`(${t.visibility} = 'role_limited') = (cardinality(${t.visible_to}) > 0)`),
    check('memories_private_check', sql`${t.visibility} <> 'agent_private' or ${t.owner_agent} is not null`),
    check('memories_not_own_successor', sql`${t.supersedes_memory_id} is distinct from ${t.id}`),
    uniqueIndex('memories_dedupe_idx')
      .on(t.namespace, t.dedupe_key)
      .where(sql`dedupe_key is not null and status = 'active'`),
    // A candidate is promoted once, and a memory has one successor.
    uniqueIndex('memories_candidate_idx').on(t.source_candidate_id),
    uniqueIndex('memories_supersedes_idx')
      .on(t.supersedes_memory_id)
      .where(sql`supersedes_memory_id is not null`),
    index('memories_namespace_idx').on(t.namespace, t.id),
    index('memories_status_idx').on(t.status, t.id),
    // Whichever the scope: few subjects have a namesake in another one.
    index('memories_subject_idx').on(t.subject_key, t.id),
    index('memories_review_idx')
      .on(t.next_review_at)
      .where(sql`status = 'active' and next_review_at is not null`),
    index('memories_expiry_idx')
      .on(t.expires_at)
      .where(sql`status = 'active' and expires_at is not null`),
  ],
)

/** Every decision about a memory; one that is refreshed or marked as stale stays active. Append-only; gapless per memory. */
export const memory_reviews = pgTable(
  'memory_reviews',
  {
    memory_id: uuid('memory_id')
      .notNull()
      .references(() => memories.id),
    seq: integer('seq').notNull(),
    from_status: memoryStatus('from_status'),
    decision: memoryStatus('decision').notNull(),
    /** What it began with, and what has changed beside the state. */
    details: jsonb('details').notNull().default({}).$type<Json>(),
    ...reviewed(),
  },
  (t) => [
    primaryKey({ columns: [t.memory_id, t.seq] }),
    check('memory_reviews_legal_move', legalReview(t, 'active', MEMORY_MOVES)),
    check('memory_reviews_words_check', vouchesForWords(t)),
    check('memory_reviews_reviewer_check', sql`${t.reviewer} is null or ${t.reviewer} = ${t.actor}`),
    index('memory_reviews_reviewer_idx')
      .on(t.reviewer, t.at)
      .where(sql`reviewer is not null`),
    byTransaction('memory_reviews'),
  ],
)
