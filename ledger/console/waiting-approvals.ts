import { sql } from 'drizzle-orm'
import type { ApprovalView } from '../../contracts/approvals.js'
import type { ApprovalRow } from '../ask-approval.js'
import type { Tx } from '../database.js'
import { approvalView } from '../handoff-queries.js'
import { page, uuidCursor, type Page } from '../queries.js'

/**
 * Approvals that wait, longest first: a person takes them from the top, and what is old must not stand on the last page. Ids
 * begin with their time, and in this order of nulls `approvals_open_idx` leads through those that wait alone, from its end.
 */
export async function waitingApprovals(tx: Tx, query: { readonly limit: number; readonly cursor?: string | undefined }): Promise<Page<ApprovalView>> {
  const after = query.cursor === undefined ? sql`true` : sql`id > ${uuidCursor(query.cursor)}::uuid`
  const { rows } = await tx.execute(sql`select * from approvals where status = 'pending' and ${after} order by id nulls first limit ${query.limit + 1}`)
  return page((rows as unknown as ApprovalRow[]).map(approvalView), query.limit, (approval) => approval.id)
}
