import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { FindingHistory, FindingId, FindingView, InboxMessageView, ListFindingsQuery, ListInboxQuery } from '../contracts/findings.js'
import type { Db } from './database.js'
import { findingView, messageView, type FindingRow, type MessageRow } from './finding-rows.js'
import { page, uuidCursor, type Page } from './queries.js'
import { iso } from './rows.js'

/** Findings, newest first; keyset paging on the id. */
export async function listFindings(db: Db, query: ListFindingsQuery): Promise<Page<FindingView>> {
  const where: SQL[] = [sql`true`]
  if (query.agent !== undefined) where.push(sql`agent_id = ${query.agent}`)
  if (query.topic !== undefined) where.push(sql`topic = ${query.topic}`)
  if (query.subject_key !== undefined) where.push(sql`subject_key = ${query.subject_key}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::finding_status`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from findings where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as FindingRow[]).map(findingView), query.limit, (finding) => finding.id)
}

/** Messages of inboxes, newest first, without taking them; by default those that are not closed. */
export async function listInbox(db: Db, query: ListInboxQuery): Promise<Page<InboxMessageView>> {
  const where: SQL[] = [query.status === undefined ? sql`status in ('unread', 'read')` : sql`status = ${query.status}::message_status`]
  if (query.agent !== undefined) where.push(sql`agent_id = ${query.agent}`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from inbox_messages where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page(await withFindings(db, rows as MessageRow[]), query.limit, (message) => message.id)
}

async function withFindings(db: Db, messages: readonly MessageRow[]): Promise<InboxMessageView[]> {
  const ids = [...new Set(messages.map((message) => message.finding_id))]
  if (ids.length === 0) return []
  const { rows } = await db.execute(sql`select * from findings where id = any(${sql.param(ids)}::uuid[])`)
  const byId = new Map((rows as FindingRow[]).map((row) => [row.id, row]))
  return messages.flatMap((message) => {
    const finding = byId.get(message.finding_id)
    return finding === undefined ? [] : [messageView(message, finding)]
  })
}

/** One finding with its messages and everything that happened to it. @throws AGENTBUS_NOT_FOUND */
export async function findingHistory(db: Db, id: FindingId): Promise<FindingHistory> {
  const found = await db.execute(sql`select * from findings where id = ${id}::uuid`)
  const finding = found.rows[0] as FindingRow | undefined
  if (finding === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No finding has the id ${id}.`)
  const messages = await db.execute(sql`select * from inbox_messages where finding_id = ${id}::uuid order by id limit 1000`)
  const history = await db.execute(sql`
    select seq, kind, message_id, job_id, attempt_id, actor_kind, actor, details, at from finding_history where finding_id = ${id}::uuid order by seq limit 10000`)
  return {
    finding: findingView(finding),
    messages: (messages.rows as MessageRow[]).map((message) => messageView(message, finding)),
    history: history.rows.map((row) => ({ ...(row as FindingHistory['history'][number]), at: iso(String(row['at'])) })),
  }
}
