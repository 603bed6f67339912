import { sql } from 'drizzle-orm'
import type { ApprovalView } from '../../contracts/approvals.js'
import type { AgentId, JobId } from '../../contracts/ids.js'
import type { JobStatus } from '../../contracts/job-states.js'
import type { ApprovalRow } from '../ask-approval.js'
import type { Tx } from '../database.js'
import { approvalView } from '../handoff-queries.js'
import { iso } from '../rows.js'

/** Of each relation, and of approvals and findings. */
export const SURROUNDINGS_SHOWN = 100

export interface Relative {
  readonly id: JobId
  readonly subject: string
  readonly status: JobStatus
  readonly target_agent: AgentId | null
  readonly relation: 'parent' | 'child' | 'needs' | 'needed_by'
  /** Of a parent: how far above. */
  readonly distance: number
}

export interface FiledFinding {
  readonly id: string
  readonly agent_id: string
  readonly topic: string
  readonly subject_key: string
  readonly level: string
  readonly status: string
  readonly body: string
  readonly at: string
}

export interface JobSurroundings {
  readonly relatives: readonly Relative[]
  /** Of one relation at least there are more. */
  readonly more_relatives: boolean
  readonly approvals: readonly ApprovalView[]
  readonly findings: readonly FiledFinding[]
}

/** What stands around one job: where it comes from, what came of it, what was decided and what its runs reported. At most {@link SURROUNDINGS_SHOWN} of each. */
export async function jobSurroundings(tx: Tx, id: JobId): Promise<JobSurroundings> {
  const { rows: relatives } = await tx.execute(sql`
    with recursive up as (
      select p.id, p.parent_job_id, 1 as distance from jobs j join jobs p on p.id = j.parent_job_id where j.id = ${id}::uuid
      union all
      select p.id, p.parent_job_id, u.distance + 1 from up u join jobs p on p.id = u.parent_job_id where u.distance < 20
    ), related as (
      select id, 'parent' as relation, distance from up
      union all (select id, 'child', 1 from jobs where parent_job_id = ${id}::uuid order by id limit ${SURROUNDINGS_SHOWN + 1})
      union all (select depends_on_job_id, 'needs', 1 from job_dependencies where job_id = ${id}::uuid limit ${SURROUNDINGS_SHOWN + 1})
      union all (select job_id, 'needed_by', 1 from job_dependencies where depends_on_job_id = ${id}::uuid limit ${SURROUNDINGS_SHOWN + 1})
    )
    select j.id, left(j.subject, 300) as subject, j.status, j.target_agent, r.relation, r.distance from related r join jobs j on j.id = r.id
    order by array_position(array['parent', 'needs', 'needed_by', 'child'], r.relation), r.distance desc, j.id`)
  const { rows: approvals } = await tx.execute(sql`
    select * from approvals where job_id = ${id}::uuid
    union select a.* from approvals a join workflow_steps s on s.run_id = a.workflow_run_id where s.job_id = ${id}::uuid
    order by id desc limit ${SURROUNDINGS_SHOWN}`)
  const { rows: findings } = await tx.execute(sql`
    select f.id, f.agent_id, f.topic, f.subject_key, f.level, f.status, left(f.body, 2000) as body, min(h.at) as at
    from job_attempts a join finding_history h on h.attempt_id = a.id join findings f on f.id = h.finding_id
    where a.job_id = ${id}::uuid and h.kind = 'filed' group by f.id order by min(h.at) limit ${SURROUNDINGS_SHOWN}`)
  const related = relatives.map((row) => ({ ...(row as unknown as Relative), distance: Number(row['distance']) }))
  const shown = firstOfEach(related)
  return {
    relatives: shown,
    more_relatives: shown.length < related.length,
    approvals: (approvals as unknown as ApprovalRow[]).map(approvalView),
    findings: findings.map((row) => ({ ...(row as unknown as FiledFinding), at: iso(String(row['at'])) })),
  }
}

function firstOfEach(relatives: readonly Relative[]): Relative[] {
  const seen = new Map<Relative['relation'], number>()
  return relatives.filter(({ relation }) => {
    const n = (seen.get(relation) ?? 0) + 1
    seen.set(relation, n)
    return n <= SURROUNDINGS_SHOWN
  })
}
