import { AgentbusError } from '../../contracts/errors.js'
import type { AgentId } from '../../contracts/ids.js'
import type { MemoryCandidateId, MemoryId, MemoryStatus, MemoryView } from '../../contracts/memories.js'
import { iso } from '../rows.js'
import { mustMove } from './reviews.js'
import type { Rows } from './rows.js'

export type MemoryRow = Rows['memory']

/**
 * Whether a locked memory is at the version that the caller has seen, and may move there. One that is past its end is over, whether or not anybody
 * has put that down. @throws AGENTBUS_VERSION_MISMATCH, AGENTBUS_REVIEW_OVER
 */
export function mustMoveMemory(memory: MemoryRow, to: MemoryStatus, ifVersion: number | undefined): void {
  mustMove('memory', memory, to, ifVersion)
  if (memory.f_in_force) return
  const ended = memory.expires_at === null ? '' : ` at ${iso(memory.expires_at)}`
  throw new AgentbusError('AGENTBUS_REVIEW_OVER', `Memory ${memory.id} has come to its end${ended}, and cannot become ${to}.`, { id: memory.id, status: 'expired', to })
}

export function memoryView(row: MemoryRow): MemoryView {
  return {
    id: row.id as MemoryId,
    namespace: row.namespace,
    kind: row.kind,
    scope: row.scope,
    subject_key: row.subject_key,
    title: row.title,
    body: row.body,
    owner_agent: row.owner_agent as AgentId | null,
    source_candidate_id: row.source_candidate_id as MemoryCandidateId,
    source_refs: row.source_refs,
    confidence_score: row.confidence_score,
    stability: row.stability,
    visibility: row.visibility,
    visible_to: row.visible_to as AgentId[],
    status: row.status,
    version: row.last_seq,
    in_force: row.f_in_force,
    created_by: row.created_by,
    updated_by: row.updated_by,
    valid_from: iso(row.valid_from),
    expires_at: row.expires_at === null ? null : iso(row.expires_at),
    next_review_at: row.next_review_at === null ? null : iso(row.next_review_at),
    supersedes_memory_id: row.supersedes_memory_id as MemoryId | null,
    dedupe_key: row.dedupe_key,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
  }
}
