import { sql } from 'drizzle-orm'
import type { CreateIdeaBody, IdeaId, IdeaView } from '../../contracts/ideas.js'
import { uuidv7, type AgentId } from '../../contracts/ids.js'
import type { OpportunityId } from '../../contracts/opportunities.js'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'
import { signed, type Reviewer } from './as-reviewer.js'
import { createOnce } from './create-once.js'
import type { Rows } from './rows.js'

export type IdeaRow = Rows['idea']

/** Notes an idea in the name that the body says, or answers the open one with its dedupe key. */
export async function createIdea(tx: Tx, body: CreateIdeaBody, by: Reviewer): Promise<{ readonly idea: IdeaRow; readonly created: boolean }> {
  const insert = sql`
      insert into ideas (id, namespace, source_agent, theme, title, body, evidence, tags, status, last_seq, dedupe_key, created_by)
      values (${uuidv7(by.nowMs)}::uuid, ${body.namespace}, ${body.source_agent ?? null}, ${body.theme}, ${body.title}, ${body.body}, ${JSON.stringify(body.evidence)}::jsonb,
        ${sql.param(body.tags)}::text[], 'new', 1, ${body.dedupe_key ?? null}, ${signed(by)})`
  const { row, created } = await createOnce(tx, 'idea', body, insert, by)
  return { idea: row, created }
}

export function ideaView(row: IdeaRow): IdeaView {
  return {
    id: row.id as IdeaId,
    namespace: row.namespace,
    source_agent: row.source_agent as AgentId | null,
    theme: row.theme,
    title: row.title,
    body: row.body,
    evidence: row.evidence,
    tags: row.tags,
    status: row.status,
    version: row.last_seq,
    promoted_opportunity_id: row.promoted_opportunity_id as OpportunityId | null,
    dedupe_key: row.dedupe_key,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
  }
}
