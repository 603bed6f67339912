import { sql, type SQL } from 'drizzle-orm'
import type {
  CandidateReview,
  ListMemoriesQuery,
  ListMemoryCandidatesQuery,
  MemoryCandidateHistory,
  MemoryCandidateId,
  MemoryCandidateView,
  MemoryHistory,
  MemoryId,
  MemoryReview,
  MemoryView,
} from '../../contracts/memories.js'
import type { Caller } from '../caller.js'
import type { Db } from '../database.js'
import { page, uuidCursor, type Page } from '../queries.js'
import { candidateView, type CandidateRow } from './candidate-rows.js'
import { MEMORY_COLUMNS, memoryView, type MemoryRow } from './memory-rows.js'
import { notFound, reviewsOf } from './reviews.js'
import { whoSees } from './who-sees.js'

/** Candidates that the caller may read, newest first; keyset paging on the id. */
export async function listMemoryCandidates(db: Db, query: ListMemoryCandidatesQuery, caller: Caller): Promise<Page<MemoryCandidateView>> {
  const where: SQL[] = [await whoSees(db, caller, 'source_agent')]
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::memory_candidate_status`)
  if (query.source_agent !== undefined) where.push(sql`source_agent = ${query.source_agent}`)
  if (query.candidate_kind !== undefined) where.push(sql`candidate_kind = ${query.candidate_kind}::memory_kind`)
  if (query.scope !== undefined) where.push(sql`scope = ${query.scope}::memory_scope`)
  if (query.subject_key !== undefined) where.push(sql`subject_key = ${query.subject_key}`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from memory_candidates where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as CandidateRow[]).map(candidateView), query.limit, (candidate) => candidate.id)
}

/** One candidate with every decision about it. @throws AGENTBUS_NOT_FOUND, also for one that the caller may not read */
export async function memoryCandidateHistory(db: Db, id: MemoryCandidateId, caller: Caller): Promise<MemoryCandidateHistory> {
  const seen = await whoSees(db, caller, 'source_agent')
  const { rows } = await db.execute(sql`select * from memory_candidates where id = ${id}::uuid and ${seen}`)
  const row = rows[0]
  if (row === undefined) throw notFound('candidate', id)
  return { candidate: candidateView(row as unknown as CandidateRow), reviews: await reviewsOf<CandidateReview>(db, 'candidate', id) }
}

/** Whose review is due by now. */
const DUE = sql.raw(`(status = 'active' and next_review_at is not null and next_review_at <= statement_timestamp())`)

/** Memories that the caller may read, in force or over, newest first; keyset paging on the id. */
export async function listMemories(db: Db, query: ListMemoriesQuery, caller: Caller): Promise<Page<MemoryView>> {
  const where: SQL[] = [await whoSees(db, caller, 'owner_agent')]
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::memory_status`)
  if (query.kind !== undefined) where.push(sql`kind = ${query.kind}::memory_kind`)
  if (query.scope !== undefined) where.push(sql`scope = ${query.scope}::memory_scope`)
  if (query.subject_key !== undefined) where.push(sql`subject_key = ${query.subject_key}`)
  if (query.due !== undefined) where.push(query.due ? DUE : sql`not ${DUE}`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select ${MEMORY_COLUMNS} from memories where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as MemoryRow[]).map(memoryView), query.limit, (memory) => memory.id)
}

/** One memory with everything that was decided about it. @throws AGENTBUS_NOT_FOUND, also for one that the caller may not read */
export async function memoryHistory(db: Db, id: MemoryId, caller: Caller): Promise<MemoryHistory> {
  const seen = await whoSees(db, caller, 'owner_agent')
  const { rows } = await db.execute(sql`select ${MEMORY_COLUMNS} from memories where id = ${id}::uuid and ${seen}`)
  const row = rows[0]
  if (row === undefined) throw notFound('memory', id)
  return { memory: memoryView(row as unknown as MemoryRow), reviews: await reviewsOf<MemoryReview>(db, 'memory', id) }
}
