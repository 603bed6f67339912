import { sql, type SQL } from 'drizzle-orm'
import type { IdeaHistory, IdeaId, IdeaReview, IdeaView, ListIdeasQuery } from '../../contracts/ideas.js'
import type { Db } from '../database.js'
import { page, uuidCursor, type Page } from '../queries.js'
import { ideaView, type IdeaRow } from './idea-rows.js'
import { notFound, reviewsOf } from './reviews.js'

/** Ideas, newest first; keyset paging on the id. They are open to everybody. */
export async function listIdeas(db: Db, query: ListIdeasQuery): Promise<Page<IdeaView>> {
  const where: SQL[] = [sql`true`]
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::idea_status`)
  if (query.source_agent !== undefined) where.push(sql`source_agent = ${query.source_agent}`)
  if (query.theme !== undefined) where.push(sql`theme = ${query.theme}`)
  if (query.tag !== undefined) where.push(sql`tags @> array[${query.tag}]::text[]`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from ideas where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as IdeaRow[]).map(ideaView), query.limit, (idea) => idea.id)
}

/** One idea with all its reviews. @throws AGENTBUS_NOT_FOUND */
export async function ideaHistory(db: Db, id: IdeaId): Promise<IdeaHistory> {
  const { rows } = await db.execute(sql`select * from ideas where id = ${id}::uuid`)
  const row = rows[0]
  if (row === undefined) throw notFound('idea', id)
  return { idea: ideaView(row as unknown as IdeaRow), reviews: await reviewsOf<IdeaReview>(db, 'idea', id) }
}
