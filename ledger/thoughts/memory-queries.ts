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
import { KINDS } from './kinds.js'
import { memoryView, type MemoryRow } from './memory-rows.js'
import { notFound, reviewsOf } from './reviews.js'
import { whoSees } from './who-sees.js'

/** Candidates that the caller may read, newest first; keyset paging on the id. */
export async function listMemoryCandidates(db: Db, query: ListMemoryCandidatesQuery, caller: Caller): Promise<Page<MemoryCandidateView>> {
  const where: SQL[] = [await whoSees(db, caller, 'candidate')]
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
  const seen = await whoSees(db, caller, 'candidate')
  const { rows } = await db.execute(sql`select * from memory_candidates where id = ${id}::uuid and ${seen}`)
  const row = rows[0]
  if (row === undefined) throw notFound('candidate', id)
  return { candidate: candidateView(row as unknown as CandidateRow), reviews: await reviewsOf<CandidateReview>(db, 'candidate', id) }
}

const COLUMNS = sql.raw(KINDS.memory.columns)
/** Not past its end: one that is counts as over, whether or not anybody has put that down. */
const IN_TIME = sql.raw(`(expires_at is null or expires_at > statement_timestamp())`)
/** Whose review is due by now. */
const DUE = sql`(status = 'active' and next_review_at is not null and next_review_at <= statement_timestamp() and ${IN_TIME})`

/** Memories that the caller may read, in force or over, newest first; keyset paging on the id. Those that are `active` are in force. */
export async function listMemories(db: Db, query: ListMemoriesQuery, caller: Caller): Promise<Page<MemoryView>> {
  const where: SQL[] = [await whoSees(db, caller, 'memory')]
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::memory_status`)
  if (query.status === 'active') where.push(IN_TIME)
  if (query.kind !== undefined) where.push(sql`kind = ${query.kind}::memory_kind`)
  if (query.scope !== undefined) where.push(sql`scope = ${query.scope}::memory_scope`)
  if (query.subject_key !== undefined) where.push(sql`subject_key = ${query.subject_key}`)
  if (query.due !== undefined) where.push(query.due ? DUE : sql`not ${DUE}`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select ${COLUMNS} from memories where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as MemoryRow[]).map(memoryView), query.limit, (memory) => memory.id)
}

/** One memory with everything that was decided about it. @throws AGENTBUS_NOT_FOUND, also for one that the caller may not read */
export async function memoryHistory(db: Db, id: MemoryId, caller: Caller): Promise<MemoryHistory> {
  const seen = await whoSees(db, caller, 'memory')
  const { rows } = await db.execute(sql`select ${COLUMNS} from memories where id = ${id}::uuid and ${seen}`)
  const row = rows[0]
  if (row === undefined) throw notFound('memory', id)
  return { memory: memoryView(row as unknown as MemoryRow), reviews: await reviewsOf<MemoryReview>(db, 'memory', id) }
}
