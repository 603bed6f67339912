import { sql } from 'drizzle-orm'
import type { TraceView } from '../contracts/trace.js'
import type { Db, Tx } from './database.js'
import { ATTEMPT_END, ATTEMPT_ENDED, cut, JOB_COLUMNS, jobOf, MOST_ENTRIES, told } from './trace-rows.js'

export interface AgentWindow {
  readonly agent: string
  /** ISO 8601; `to` is left out of the window. */
  readonly from: string
  readonly to: string
  /** Whether the bytes that it was sent are wanted. */
  readonly prompts: boolean
}

/**
 * What one agent was told, read, wrote and did in a window, in order of time: the prompts it was sent, its reads over the
 * API, every row of a history that it wrote, and how its runs ended.
 */
export async function traceAgent(db: Db | Tx, window: AgentWindow): Promise<TraceView> {
  const { agent, from, to } = window
  const within = (column: string) => sql`${sql.raw(column)} >= ${from}::timestamptz and ${sql.raw(column)} < ${to}::timestamptz`
  const story = sql`
    select story.*, ${agent}::text as agent, j.correlation_key from (
      select a.leased_at as at, 'told' as kind, a.job_id, a.id as attempt_id, 'attempt ' || a.attempt_no || ' was sent its order' as what,
        'worker' as actor_kind, a.lease_owner as actor, null::text as note,
        jsonb_build_object('prompt_hash', a.prompt_hash, 'bytes', p.bytes, 'contract_version', a.contract_version, 'gateway', a.gateway_id)
          || ${window.prompts ? sql`jsonb_build_object('prompt', case when p.pruned_by is null then p.body end)` : sql`'{}'::jsonb`} as details, 1::bigint as ord
      from job_attempts a join prompts p on p.hash = a.prompt_hash where a.agent_id = ${agent} and ${within('a.leased_at')}
      union all
      select r.at, 'read', r.job_id, r.attempt_id, r.route, r.actor_kind::text, r.actor, null, r.target || jsonb_build_object('status', r.status), r.id
      from accesses r where r.agent_id = ${agent} and ${within('r.at')}
      union all
      select t.at, 'wrote', t.job_id, t.attempt_id, case when t.kind = 'note' then t.reason::text else t.to_status::text || ' (' || t.reason::text || ')' end,
        t.actor_kind::text, t.actor, t.note, t.details, t.id
      from job_transitions t where t.actor = ${agent} and t.actor_kind in ('agent', 'attempt') and ${within('t.at')}
      union all
      select e.created_at, 'wrote', e.source_job_id, e.source_attempt_id, 'event ' || e.topic, 'agent', e.source_agent, null, e.payload, e.id
      from events e where e.source_agent = ${agent} and ${within('e.created_at')}
      union all
      select h.at, 'wrote', h.job_id, h.attempt_id, 'finding ' || f.topic || ' ' || f.subject_key || ': ' || h.kind::text, h.actor_kind::text, h.actor, null, h.details, h.seq
      from finding_history h join findings f on f.id = h.finding_id where h.actor = ${agent} and h.actor_kind in ('agent', 'attempt') and ${within('h.at')}
      union all
      select l.at, 'wrote', l.job_id, l.attempt_id, 'log of ' || l.project, l.actor_kind::text, l.actor, l.entry, l.details, l.id
      from project_log l where l.agent_id = ${agent} and ${within('l.at')}
      union all
      select s.at, 'wrote', s.job_id, null, 'status of ' || s.project || ': ' || s.status, s.actor_kind::text, s.actor, nullif(s.body, ''),
        jsonb_build_object('namespace', s.namespace, 'version', s.version), s.version
      from project_statuses s where s.agent_id = ${agent} and ${within('s.at')}
      union all
      select t.at, 'wrote', s.job_id, null, 'workflow ' || r.workflow || coalesce(' / ' || t.step, '') || ': ' || t.to_status, t.actor_kind::text, t.actor, t.reason,
        t.details || jsonb_build_object('workflow_run_id', t.run_id), t.seq
      from workflow_transitions t join workflow_runs r on r.id = t.run_id left join workflow_steps s on s.run_id = t.run_id and s.step = t.step
      where t.actor = ${agent} and t.actor_kind in ('agent', 'attempt') and ${within('t.at')}
      union all
      select t.at, 'wrote', p.job_id, null, 'approval ' || t.to_status::text || ': ' || p.subject, t.actor_kind::text, t.actor, t.note, jsonb_build_object('approval_id', p.id), t.seq
      from approval_transitions t join approvals p on p.id = t.approval_id where t.actor = ${agent} and t.actor_kind in ('agent', 'attempt') and ${within('t.at')}
      union all
      select r.at, 'wrote', r.job_id, r.attempt_id, 'idea ' || r.decision::text || ': ' || x.title, r.actor_kind::text, r.actor, r.notes,
        r.details || jsonb_build_object('idea_id', x.id), r.seq
      from idea_reviews r join ideas x on x.id = r.idea_id where r.reviewer = ${agent} and ${within('r.at')}
      union all
      select r.at, 'wrote', r.job_id, r.attempt_id, 'opportunity ' || r.decision::text || ': ' || x.title, r.actor_kind::text, r.actor, r.notes,
        jsonb_build_object('opportunity_id', x.id), r.seq
      from opportunity_reviews r join opportunities x on x.id = r.opportunity_id where r.reviewer = ${agent} and ${within('r.at')}
      union all
      select r.at, 'wrote', r.job_id, r.attempt_id, 'memory candidate ' || r.decision::text || ': ' || x.title, r.actor_kind::text, r.actor, r.notes,
        jsonb_build_object('memory_candidate_id', x.id), r.seq
      from memory_candidate_reviews r join memory_candidates x on x.id = r.memory_candidate_id where r.reviewer = ${agent} and ${within('r.at')}
      union all
      select r.at, 'wrote', r.job_id, r.attempt_id, 'memory ' || r.decision::text || ': ' || x.title, r.actor_kind::text, r.actor, r.notes,
        r.details || jsonb_build_object('memory_id', x.id), r.seq
      from memory_reviews r join memories x on x.id = r.memory_id where r.reviewer = ${agent} and ${within('r.at')}
      union all
      select o.at, 'refused', o.job_id, o.attempt_id, o.code, o.actor_kind::text, o.actor, o.detail, o.details, o.id
      from observations o where o.agent_id = ${agent} and o.kind in ('refusal', 'late_answer') and ${within('o.at')}
      union all
      select a.finished_at, 'did', a.job_id, a.id, ${ATTEMPT_ENDED}, 'worker', a.lease_owner, coalesce(a.summary, a.error), ${ATTEMPT_END}, 2
      from job_attempts a where a.agent_id = ${agent} and a.leased_at >= ${from}::timestamptz - interval '26 hours' and ${within('a.finished_at')}
    ) story left join jobs j on j.id = story.job_id
    order by story.at, story.ord limit ${MOST_ENTRIES + 1}`
  const { entries, truncated } = told((await db.execute(cut(story))).rows)
  return {
    correlation_key: null,
    jobs: await jobsOf(
      db,
      entries.flatMap(({ job_id: id }) => id ?? []),
    ),
    entries,
    truncated,
  }
}

async function jobsOf(db: Db | Tx, ids: readonly string[]): Promise<TraceView['jobs']> {
  const { rows } = await db.execute(sql`select ${JOB_COLUMNS} from jobs j where j.id = any(${sql.param([...new Set(ids)])}::uuid[]) order by j.created_at, j.id`)
  return rows.map(jobOf)
}
