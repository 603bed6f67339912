import { sql, type SQL } from 'drizzle-orm'
import type { ListOpportunitiesQuery, OpportunityHistory, OpportunityId, OpportunityReview, OpportunityView } from '../../contracts/opportunities.js'
import type { Db } from '../database.js'
import { page, uuidCursor, type Page } from '../queries.js'
import { openIn, OPPORTUNITY_MOVES } from './moves.js'
import { opportunityView, type OpportunityRow } from './opportunity-rows.js'
import { notFound, reviewsOf } from './reviews.js'

/** Opportunities, newest first; keyset paging on the id. They are open to everybody. */
export async function listOpportunities(db: Db, query: ListOpportunitiesQuery): Promise<Page<OpportunityView>> {
  const isOpen = sql.raw(openIn(OPPORTUNITY_MOVES))
  const where: SQL[] = [sql`true`]
  if (query.namespace !== undefined) where.push(sql`namespace = ${query.namespace}`)
  if (query.status !== undefined) where.push(sql`status = ${query.status}::opportunity_status`)
  if (query.open !== undefined) where.push(query.open ? isOpen : sql`not ${isOpen}`)
  if (query.source_agent !== undefined) where.push(sql`source_agent = ${query.source_agent}`)
  if (query.theme !== undefined) where.push(sql`theme = ${query.theme}`)
  if (query.cursor !== undefined) where.push(sql`id < ${uuidCursor(query.cursor)}::uuid`)
  const { rows } = await db.execute(sql`select * from opportunities where ${sql.join(where, sql` and `)} order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as OpportunityRow[]).map(opportunityView), query.limit, (opportunity) => opportunity.id)
}

/** One opportunity with every decision about it. @throws AGENTBUS_NOT_FOUND */
export async function opportunityHistory(db: Db, id: OpportunityId): Promise<OpportunityHistory> {
  const { rows } = await db.execute(sql`select * from opportunities where id = ${id}::uuid`)
  const row = rows[0]
  if (row === undefined) throw notFound('opportunity', id)
  return { opportunity: opportunityView(row as unknown as OpportunityRow), reviews: await reviewsOf<OpportunityReview>(db, 'opportunity', id) }
}
