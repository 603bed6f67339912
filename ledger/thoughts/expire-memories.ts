import { sql, type SQL } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../../contracts/actor.js'
import type { Tx } from '../database.js'
import { isFound } from '../is-found.js'

/** Whether {@link expireMemories} finds any. */
export const MEMORIES_EXPIRED = isFound(sql`memories where status = 'active' and expires_at <= statement_timestamp() order by expires_at`)

/**
 * Puts down that the time of memories has passed; nobody was told them since then. What another process puts down, or a curator decides about at
 * the same moment, is skipped. @returns how many
 */
export function expireMemories(tx: Tx, limit: number): Promise<number> {
  return putDown(tx, sql`select id from memories where status = 'active' and expires_at <= statement_timestamp() order by expires_at limit ${limit} for update skip locked`)
}

/** The same of one, for whoever cannot wait until it is done. Waits for whoever decides about it; nothing happens when it is over since then. */
export async function expireMemory(tx: Tx, id: string): Promise<void> {
  await putDown(tx, sql`select id from memories where id = ${id}::uuid and status = 'active' and expires_at <= clock_timestamp() for update`)
}

/** @param due the ids of memories whose time has passed, locked */
async function putDown(tx: Tx, due: SQL): Promise<number> {
  const { rows } = await tx.execute<{ n: number }>(sql`
    with due as (
      ${due}
    ), changed as (
      update memories m set status = 'expired', last_seq = m.last_seq + 1, updated_by = ${`${SYSTEM_ACTOR.kind}:${SYSTEM_ACTOR.id}`}, updated_at = clock_timestamp()
      from due where m.id = due.id returning m.id, m.last_seq, m.status
    ), logged as (
      insert into memory_reviews (memory_id, seq, from_status, decision, notes, actor_kind, actor)
      select id, last_seq, 'active', status, 'Its time has come.', ${SYSTEM_ACTOR.kind}::actor_kind, ${SYSTEM_ACTOR.id}::text from changed
    )
    select count(*)::int as n from changed`)
  return rows[0]?.n ?? 0
}
