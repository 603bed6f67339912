import { sql } from 'drizzle-orm'
import { AgentbusError } from '../../contracts/errors.js'
import type { AgentId } from '../../contracts/ids.js'
import type { MemoryCandidateId, MemoryId, MemoryView } from '../../contracts/memories.js'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'
import type { Rows } from './rows.js'

/** A memory as {@link MEMORY_COLUMNS} reads it. */
export type MemoryRow = Rows['memory'] & { readonly f_in_force: boolean }

/** All columns, and whether agents may be told it at this moment: from its end on they are not, written down or not. */
export const MEMORY_COLUMNS = sql.raw(`*, (status = 'active' and (expires_at is null or expires_at > clock_timestamp())) as f_in_force`)

/** The memory as it is now, for whoever has just changed it. */
export async function memoryOf(tx: Tx, id: string): Promise<MemoryView> {
  const { rows } = await tx.execute(sql`select ${MEMORY_COLUMNS} from memories where id = ${id}::uuid`)
  const row = rows[0] as unknown as MemoryRow | undefined
  if (row === undefined) throw new Error(`memory ${id} is gone`)
  return memoryView(row)
}

/** @throws AGENTBUS_BAD_REQUEST for an end that is past by the ledger's clock */
export async function mustEndLater(tx: Tx, expiresAt: string | null | undefined): Promise<void> {
  if (expiresAt === null || expiresAt === undefined) return
  const { rows } = await tx.execute<{ now: string; ahead: boolean }>(sql`
    select to_json(clock_timestamp()) #>> '{}' as now, ${expiresAt}::timestamptz > clock_timestamp() as ahead`)
  if (rows[0]?.ahead === true) return
  throw new AgentbusError('AGENTBUS_BAD_REQUEST', `expires_at ${expiresAt} is not ahead: by the ledger's clock it is ${rows[0]?.now ?? ''}.`, { field: 'expires_at' })
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
