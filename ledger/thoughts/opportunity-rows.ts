import { sql, type SQL } from 'drizzle-orm'
import { uuidv7, type AgentId, type JobId } from '../../contracts/ids.js'
import type { CreateOpportunityBody, OpportunityId, OpportunityView } from '../../contracts/opportunities.js'
import type { Tx } from '../database.js'
import { iso } from '../rows.js'
import { signed, type Reviewer } from './as-reviewer.js'
import { mustKnowAgents } from './author.js'
import { createOnce } from './create-once.js'
import type { Rows } from './rows.js'

export type OpportunityRow = Rows['opportunity']

/**
 * Makes an opportunity in the name that the body says, or answers the open one with its dedupe key.
 * @throws AGENTBUS_UNKNOWN_AGENT for an owner_candidate that nobody knows
 */
export async function createOpportunity(tx: Tx, body: CreateOpportunityBody, by: Reviewer): Promise<{ readonly opportunity: OpportunityRow; readonly created: boolean }> {
  await mustKnowAgents(tx, { owner_candidate: body.owner_candidate })
  const insert = sql`
      insert into opportunities (id, namespace, source_agent, theme, title, why_now, evidence, impact_score, confidence_score, urgency_score, reversibility,
        owner_candidate, suggested_next_step, status, last_seq, dedupe_key, created_by)
      values (${uuidv7(by.nowMs)}::uuid, ${body.namespace}, ${body.source_agent ?? null}, ${body.theme}, ${body.title}, ${body.why_now}, ${JSON.stringify(body.evidence)}::jsonb,
        ${body.impact_score}::int, ${body.confidence_score}::int, ${body.urgency_score}::int, ${body.reversibility}::opportunity_reversibility,
        ${body.owner_candidate ?? null}, ${body.suggested_next_step}, 'new', 1, ${body.dedupe_key ?? null}, ${signed(by)})`
  const { row, created } = await createOnce(tx, 'opportunity', body, insert, by)
  return { opportunity: row, created }
}

/** What the row says of the newest decision about it. */
export function newestDecision(by: Reviewer, notes: string | undefined): SQL {
  return sql`triaged_by = ${signed(by)}, triage_notes = ${notes ?? null}, triaged_at = clock_timestamp()`
}

export function opportunityView(row: OpportunityRow): OpportunityView {
  return {
    id: row.id as OpportunityId,
    namespace: row.namespace,
    source_agent: row.source_agent as AgentId | null,
    theme: row.theme,
    title: row.title,
    why_now: row.why_now,
    evidence: row.evidence,
    impact_score: row.impact_score,
    confidence_score: row.confidence_score,
    urgency_score: row.urgency_score,
    reversibility: row.reversibility,
    owner_candidate: row.owner_candidate as AgentId | null,
    suggested_next_step: row.suggested_next_step,
    status: row.status,
    version: row.last_seq,
    triaged_by: row.triaged_by,
    triage_notes: row.triage_notes,
    triaged_at: row.triaged_at === null ? null : iso(row.triaged_at),
    converted_job_id: row.converted_job_id as JobId | null,
    dedupe_key: row.dedupe_key,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
  }
}
