import { sql } from 'drizzle-orm'
import { CreateJobBody } from '../../contracts/jobs.js'
import type { ConvertBody } from '../../contracts/opportunities.js'
import { createJob } from '../create-job.js'
import type { Tx } from '../database.js'
import { limitsOf } from '../limits.js'
import type { JobRow } from '../rows.js'
import type { Reviewer } from './as-reviewer.js'
import { newestDecision, type OpportunityRow } from './opportunity-rows.js'
import { decide } from './reviews.js'

/**
 * Makes the job that a locked opportunity becomes, and links the two. The job is sent in the name of the agent that converts, by its rules and
 * within the limits; an attempt's is a child of its own job.
 * @throws AGENTBUS_UNKNOWN_AGENT, AGENTBUS_DELEGATION_REFUSED, AGENTBUS_LIMIT_REACHED; the transaction must then not commit
 */
export async function convertOpportunity(
  tx: Tx,
  opportunity: OpportunityRow,
  body: ConvertBody,
  by: Reviewer,
): Promise<{ readonly opportunity: OpportunityRow; readonly job: JobRow }> {
  const { job } = await createJob(tx, jobOf(opportunity, body, by), { actor: by.actor, nowMs: by.nowMs })
  await limitsOf(tx).mustFit(tx, [job])
  const set = sql`${newestDecision(by, body.notes)}, converted_job_id = ${job.id}::uuid`
  return { opportunity: await decide(tx, 'opportunity', opportunity, { to: 'converted_to_job', notes: body.notes, set }, by), job }
}

function jobOf(opportunity: OpportunityRow, body: ConvertBody, by: Reviewer): CreateJobBody {
  const { id, namespace, title, theme, why_now, suggested_next_step } = opportunity
  const job = CreateJobBody.parse({
    namespace,
    target_agent: body.target_agent,
    job_type: body.job_type,
    subject: body.subject,
    lane: 'proactive',
    priority: body.priority,
    correlation_key: `opportunity:${id}`,
    source_agent: by.agentId,
    parent_job_id: by.jobId,
  })
  // What the bus says comes last: nobody may give a job another origin than it has. It is not measured once more, as if somebody had sent it all.
  return { ...job, payload: { ...body.payload, origin: 'opportunity', opportunity_id: id, title, theme, why_now, suggested_next_step } }
}
