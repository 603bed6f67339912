import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../../contracts/errors.js'
import { uuidv7, type AgentId } from '../../contracts/ids.js'
import type { CreateMemoryCandidateBody, MemoryCandidateId, MemoryCandidateView, MemoryId, MemoryVisibility } from '../../contracts/memories.js'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'
import { signed, type Reviewer } from './as-reviewer.js'
import { mustKnowAgents } from './author.js'
import { createOnce } from './create-once.js'
import type { Rows } from './rows.js'

export type CandidateRow = Rows['candidate']

/**
 * Makes a candidate in the name that the body says, or answers the open one with its dedupe key.
 * @throws AGENTBUS_UNKNOWN_AGENT for a reader that nobody knows; AGENTBUS_BAD_REQUEST for a private one that would be nobody's
 */
export async function createCandidate(tx: Tx, body: CreateMemoryCandidateBody, by: Reviewer): Promise<{ readonly candidate: CandidateRow; readonly created: boolean }> {
  await mustKnowAgents(tx, { visible_to: body.visible_to })
  mustHaveOwner(body.visibility, body.source_agent)
  const insert = sql`
      insert into memory_candidates (id, namespace, source_agent, candidate_kind, scope, subject_key, title, body, evidence, source_refs, confidence_score, stability,
        visibility, visible_to, status, last_seq, dedupe_key, created_by)
      values (${uuidv7(by.nowMs)}::uuid, ${body.namespace}, ${body.source_agent ?? null}, ${body.candidate_kind}::memory_kind, ${body.scope}::memory_scope, ${body.subject_key},
        ${body.title}, ${body.body}, ${JSON.stringify(body.evidence)}::jsonb, ${JSON.stringify(body.source_refs)}::jsonb, ${body.confidence_score}::int,
        ${body.stability}::memory_stability, ${body.visibility}::memory_visibility, ${sql.param(body.visible_to)}::text[], 'new', 1, ${body.dedupe_key ?? null}, ${signed(by)})`
  const { row, created } = await createOnce(tx, 'candidate', body, insert, by)
  return { candidate: row, created }
}

/** @throws AGENTBUS_BAD_REQUEST for what would be private and nobody's: nobody could read it */
export function mustHaveOwner(visibility: MemoryVisibility, owner: string | null | undefined): void {
  if (visibility !== 'agent_private' || (owner !== null && owner !== undefined)) return
  throw new AgentbusError('AGENTBUS_BAD_REQUEST', "What is agent_private is an agent's; this would be nobody's.", { field: 'visibility' })
}

/** What the row says of the newest decision about it. */
export function newestReview(by: Reviewer, notes: string | undefined): SQL {
  return sql`reviewer = ${signed(by)}, review_notes = ${notes ?? null}`
}

export function candidateView(row: CandidateRow): MemoryCandidateView {
  return {
    id: row.id as MemoryCandidateId,
    namespace: row.namespace,
    source_agent: row.source_agent as AgentId | null,
    candidate_kind: row.candidate_kind,
    scope: row.scope,
    subject_key: row.subject_key,
    title: row.title,
    body: row.body,
    evidence: row.evidence,
    source_refs: row.source_refs,
    confidence_score: row.confidence_score,
    stability: row.stability,
    visibility: row.visibility,
    visible_to: row.visible_to as AgentId[],
    status: row.status,
    version: row.last_seq,
    reviewer: row.reviewer,
    review_notes: row.review_notes,
    promoted_memory_id: row.promoted_memory_id as MemoryId | null,
    dedupe_key: row.dedupe_key,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
  }
}
