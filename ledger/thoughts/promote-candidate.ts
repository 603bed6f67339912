import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../../contracts/errors.js'
import { uuidv7, type AgentId } from '../../contracts/ids.js'
import type { MemoryId, PromoteCandidateBody } from '../../contracts/memories.js'
import type { Tx } from '../database.js'
import { mustLieAhead } from '../preconditions.js'
import { signed, type Reviewer } from './as-reviewer.js'
import { mustKnowAgents } from './author.js'
import { mustHaveOwner, newestReview, type CandidateRow } from './candidate-rows.js'
import { expireMemory } from './expire-memories.js'
import { KINDS } from './kinds.js'
import { BEGINNING } from './memory-changes.js'
import { mustMoveMemory, type MemoryRow } from './memory-rows.js'
import { decide, firstReview, lockThought, notFound } from './reviews.js'

/**
 * Makes a memory of a candidate that the caller has locked, in the place of another one if the body names it: that is locked second, whoever
 * does it, so that no two promotions wait for each other.
 * @returns the candidate as it is since, and the memory
 * @throws AGENTBUS_BAD_REQUEST for a candidate without evidence, for readers that do not fit the visibility, and for an end that is past;
 * AGENTBUS_UNKNOWN_AGENT; AGENTBUS_NOT_FOUND, AGENTBUS_VERSION_MISMATCH and AGENTBUS_REVIEW_OVER for the memory to be superseded;
 * AGENTBUS_MEMORY_EXISTS
 */
export async function promoteCandidate(
  tx: Tx,
  candidate: CandidateRow,
  body: PromoteCandidateBody,
  by: Reviewer,
): Promise<{ readonly candidate: CandidateRow; readonly memory: MemoryRow }> {
  mustHaveEvidence(candidate)
  const readers = await readersOf(tx, candidate, body)
  await mustLieAhead(tx, 'expires_at', body.expires_at)
  const memoryId = uuidv7(by.nowMs)
  // First, so that its dedupe key is free for the one that comes in its place.
  if (body.supersedes_memory_id !== undefined) {
    await supersede(tx, { id: body.supersedes_memory_id, version: body.supersedes_version }, { namespace: candidate.namespace, by: memoryId }, by)
  }
  const memory = await insertMemory(
    tx,
    { namespace: candidate.namespace, dedupe_key: body.dedupe_key },
    sql`
      insert into memories (id, namespace, kind, scope, subject_key, title, body, owner_agent, source_candidate_id, source_refs, confidence_score, stability, visibility,
        visible_to, status, last_seq, created_by, updated_by, expires_at, next_review_at, supersedes_memory_id, dedupe_key)
      values (${memoryId}::uuid, ${candidate.namespace}, ${body.kind ?? candidate.candidate_kind}::memory_kind, ${body.scope ?? candidate.scope}::memory_scope,
        ${body.subject_key ?? candidate.subject_key}, ${body.title ?? candidate.title}, ${body.body ?? candidate.body}, ${candidate.source_agent}, ${candidate.id}::uuid,
        ${JSON.stringify(candidate.source_refs)}::jsonb, ${body.confidence_score ?? candidate.confidence_score}::int,
        ${body.stability ?? candidate.stability}::memory_stability, ${readers.visibility}::memory_visibility, ${sql.param(readers.visibleTo)}::text[], 'active', 1, ${signed(by)},
        ${signed(by)}, ${body.expires_at ?? null}::timestamptz, ${body.next_review_at ?? null}::timestamptz, ${body.supersedes_memory_id ?? null}::uuid,
        ${body.dedupe_key ?? null})`,
    { by, notes: body.notes },
  )
  const set = sql`${newestReview(by, body.notes)}, promoted_memory_id = ${memoryId}::uuid`
  return { candidate: await decide(tx, 'candidate', candidate, { to: 'promoted', notes: body.notes, set }, by), memory }
}

function mustHaveEvidence({ id, evidence, source_refs: refs }: CandidateRow): void {
  if (Object.keys(evidence).length > 0 || Object.keys(refs).length > 0) return
  throw new AgentbusError('AGENTBUS_BAD_REQUEST', `Memories are promoted from evidence, not from guesses: memory candidate ${id} has neither evidence nor source_refs.`, {
    field: 'evidence',
  })
}

/** Who may read the memory: as the candidate says, unless the body says otherwise. */
async function readersOf(tx: Tx, candidate: CandidateRow, body: PromoteCandidateBody): Promise<{ readonly visibility: CandidateRow['visibility']; readonly visibleTo: string[] }> {
  const visibility = body.visibility ?? candidate.visibility
  mustHaveOwner(visibility, candidate.source_agent)
  if (visibility !== 'role_limited') return { visibility, visibleTo: [] }
  const visibleTo: string[] = body.visible_to ?? candidate.visible_to
  if (visibleTo.length === 0) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'A visibility of role_limited names the agents that may read it.', { field: 'visible_to' })
  await mustKnowAgents(tx, { visible_to: visibleTo as AgentId[] })
  return { visibility, visibleTo }
}

async function supersede(
  tx: Tx,
  { id, version }: { readonly id: MemoryId; readonly version: number | undefined },
  successor: { readonly namespace: string; readonly by: string },
  by: Reviewer,
): Promise<void> {
  const memory = await lockThought(tx, 'memory', id)
  // Namespaces know nothing of each other: for this candidate there is no such memory.
  if (memory.namespace !== successor.namespace) throw notFound('memory', id)
  mustMoveMemory(memory, 'superseded', version)
  // Without the notes of the promotion: those are about the new one, and who reads the old one may not be meant to read them.
  const details = sql`jsonb_build_object('superseded_by', ${successor.by}::text)`
  await decide(tx, 'memory', memory, { to: 'superseded', set: sql`updated_by = ${signed(by)}`, details }, by)
}

/** @throws AGENTBUS_MEMORY_EXISTS when another one is in force under the key */
async function insertMemory(
  tx: Tx,
  key: { readonly namespace: string; readonly dedupe_key: string | undefined },
  insert: SQL,
  why: { readonly by: Reviewer; readonly notes: string | undefined },
): Promise<MemoryRow> {
  const { rows } = await tx.execute(sql`
    with made as (
      ${insert}
      on conflict (namespace, dedupe_key) where dedupe_key is not null and status = 'active' do nothing
      returning *
    ), logged as (${firstReview('memory', why.by, { notes: why.notes, details: BEGINNING })})
    select ${sql.raw(KINDS.memory.columns)} from made`)
  if (rows[0] !== undefined) return rows[0] as unknown as MemoryRow
  const active = await tx.execute<{ id: string; is_past: boolean }>(sql`
    select id, coalesce(expires_at <= clock_timestamp(), false) as is_past from memories
    where namespace = ${key.namespace} and dedupe_key = ${key.dedupe_key ?? null} and status = 'active'`)
  const other = active.rows[0]
  if (other?.is_past === false) {
    // The refusal is a row, and not everybody who reads that may read the memory or know its key.
    throw new AgentbusError('AGENTBUS_MEMORY_EXISTS', 'Another memory is in force under that dedupe key.', { memory_id: other.id, dedupe_key: key.dedupe_key })
  }
  // Either it has ended since the insert, or its time has passed and nobody has put that down: the key is free.
  if (other !== undefined) await expireMemory(tx, other.id)
  return insertMemory(tx, key, insert, why)
}
