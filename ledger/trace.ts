import { sql, type SQL } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import type { TraceQuery, TraceView } from '../contracts/trace.js'
import type { Db, Tx } from './database.js'
import { ATTEMPT_END, ATTEMPT_ENDED, cut, JOB_COLUMNS, jobOf, MOST_ENTRIES, told, withDepths, type TracedJob } from './trace-rows.js'

const MOST_JOBS = 500
/** A lineage is followed so far up; what is above came from elsewhere. */
const MOST_GENERATIONS = 200

/**
 * The story of a job with all it came from and all that came of it, or of a correlation key: jobs, their histories, what their
 * attempts were told and read and how they ended, events, decisions, workflow runs, slots and observations, in order of time.
 * With the lineage come, one step from it, the other jobs of its workflow runs, what it depends on, and what depends on it.
 * @throws AGENTBUS_JOB_NOT_FOUND
 */
export async function trace(db: Db | Tx, query: TraceQuery): Promise<TraceView> {
  const { jobs, lineage } = await tracedJobs(db, query)
  const correlation = query.correlation_key ?? (await commonCorrelation(db, lineage))
  const { entries, truncated } = await entriesOf(
    db,
    jobs.map((job) => job.id),
    { correlation: query.correlation_key, prompts: query.prompts === 'true' },
  )
  return { correlation_key: correlation, jobs, entries, truncated: jobs.length >= MOST_JOBS || truncated }
}

async function tracedJobs(db: Db | Tx, query: TraceQuery): Promise<{ readonly jobs: TracedJob[]; readonly lineage: readonly string[] }> {
  const seeds: SQL[] = []
  if (query.job_id !== undefined) seeds.push(sql`(${rootOf(query.job_id)})`)
  if (query.correlation_key !== undefined) seeds.push(sql`(select id from jobs where correlation_key = ${query.correlation_key} order by id limit ${MOST_JOBS})`)
  // One step around the lineage and no further: what depends on the same job as we do is another matter.
  const { rows } = await db.execute(sql`
    with recursive seed as (${sql.join(seeds, sql` union `)}), tree as (
      select id, 0 as depth from seed
      union
      select j.id, t.depth + 1 from jobs j join tree t on j.parent_job_id = t.id where t.depth < ${MOST_GENERATIONS}
    ), lineage as (select distinct id from tree order by id limit ${MOST_JOBS}),
    around as (
      select other.job_id as id from workflow_steps mine join workflow_steps other on other.run_id = mine.run_id
      where mine.job_id in (select id from lineage) and other.job_id is not null
      union
      select d.depends_on_job_id from job_dependencies d where d.job_id in (select id from lineage)
      union
      select d.job_id from job_dependencies d where d.depends_on_job_id in (select id from lineage)
    ), found as (
      select id, steps from (
        select id, 0 as steps from lineage union all select id, 1 from around where id not in (select id from lineage)
      ) either order by steps, id limit ${MOST_JOBS}
    )
    select f.steps, ${JOB_COLUMNS} from found f join jobs j on j.id = f.id order by j.created_at, j.id`)
  if (rows.length === 0 && query.job_id !== undefined) throw new AgentbusError('AGENTBUS_JOB_NOT_FOUND', `No job has the id ${query.job_id}.`, { job_id: query.job_id })
  return { jobs: withDepths(rows.map(jobOf)), lineage: rows.filter((row) => Number(row['steps']) === 0).map((row) => String(row['id'])) }
}

function rootOf(id: string): SQL {
  return sql`
    select id from (
      with recursive up as (
        select id, parent_job_id, 0 as height from jobs where id = ${id}::uuid
        union all
        select p.id, p.parent_job_id, u.height + 1 from jobs p join up u on p.id = u.parent_job_id where u.height < ${MOST_GENERATIONS}
      )
      select id, height from up order by height desc limit 1
    ) root`
}

async function commonCorrelation(db: Db | Tx, ids: readonly string[]): Promise<string | null> {
  const { rows } = await db.execute<{ correlation_key: string | null }>(sql`
    select distinct correlation_key from jobs where id = any(${sql.param(ids)}::uuid[]) and correlation_key is not null limit 2`)
  return rows.length === 1 ? (rows[0]?.correlation_key ?? null) : null
}

interface Wanted {
  readonly correlation: string | undefined
  /** Whether the bytes that the attempts were sent are wanted. */
  readonly prompts: boolean
}

/** Reads are timed by the API's clock, attempts by the database's. */
const CLOCKS = sql.raw(`interval '10 minutes'`)

async function entriesOf(db: Db | Tx, ids: readonly string[], { correlation, prompts }: Wanted): Promise<Pick<TraceView, 'entries' | 'truncated'>> {
  const mine = sql`any(${sql.param(ids)}::uuid[])`
  const story = sql`
    select * from (
      select t.at, 'job' as kind, t.job_id, j.target_agent as agent, case when t.kind = 'note' then t.reason::text else t.to_status::text || ' (' || t.reason::text || ')' end as what,
        t.actor_kind::text, t.actor, t.note, t.details, t.seq::bigint as ord,
        t.attempt_id, j.correlation_key
      from job_transitions t join jobs j on j.id = t.job_id where t.job_id = ${mine}
      union all
      select e.created_at, 'event', e.source_job_id, e.source_agent, e.topic, split_part(e.created_by, ':', 1), substr(e.created_by, strpos(e.created_by, ':') + 1), null, e.payload, e.id,
        e.source_attempt_id, e.correlation_key
      from events e where e.id in (${eventsOf(mine, correlation)})
      union all
      select t.at, 'approval', a.job_id, a.agent_id, t.to_status::text || ': ' || a.subject, t.actor_kind::text, t.actor, t.note,
        jsonb_build_object('approval_id', a.id, 'workflow_run_id', a.workflow_run_id, 'step', a.step), t.seq,
        null, a.correlation_key
      from approvals a join approval_transitions t on t.approval_id = a.id
      where a.id in (
        select id from approvals where job_id = ${mine}
        union all select o.id from approvals o where o.workflow_run_id in (select run_id from workflow_steps where job_id = ${mine}))
      union all
      select t.at, 'workflow', s.job_id, null, r.workflow || coalesce(' / ' || t.step, '') || ': ' || t.to_status, t.actor_kind::text, t.actor, t.reason, t.details, t.seq,
        null, r.correlation_key
      from workflow_runs r join workflow_transitions t on t.run_id = r.id left join workflow_steps s on s.run_id = r.id and s.step = t.step
      where r.id in (select s2.run_id from workflow_steps s2 where s2.job_id = ${mine})
      union all
      select t.at, 'slot', j.id, r.agent_id, o.agent_id || '/' || o.name || ': ' || t.to_status::text, t.actor_kind::text, t.actor, t.cause,
        t.details || jsonb_build_object('slot_id', r.id, 'slot_at', r.slot_at), t.seq,
        null, j.correlation_key
      from jobs j join standing_order_runs r on r.id = j.standing_order_run_id join standing_orders o on o.id = r.order_id
        join standing_order_run_transitions t on t.run_id = r.id
      where j.id = ${mine}
      union all
      select a.leased_at, 'told', a.job_id, a.agent_id, 'attempt ' || a.attempt_no || ' was sent its order', 'worker', a.lease_owner, null,
        jsonb_build_object('prompt_hash', a.prompt_hash, 'bytes', p.bytes, 'contract_version', a.contract_version, 'gateway', a.gateway_id)
          || ${prompts ? sql`jsonb_build_object('prompt', case when p.pruned_by is null then p.body end)` : sql`'{}'::jsonb`}, 1000000000 + a.attempt_no, a.id, j.correlation_key
      from job_attempts a join prompts p on p.hash = a.prompt_hash join jobs j on j.id = a.job_id where a.job_id = ${mine}
      union all
      select a.finished_at, 'did', a.job_id, a.agent_id, ${ATTEMPT_ENDED}, 'worker', a.lease_owner, coalesce(a.summary, a.error), ${ATTEMPT_END}, 2000000000 + a.attempt_no,
        a.id, j.correlation_key
      from job_attempts a join jobs j on j.id = a.job_id where a.job_id = ${mine} and a.finished_at is not null
      union all
      select o.at, case when o.kind in ('refusal', 'late_answer') then 'refused' else 'observed' end, o.job_id, o.agent_id,
        case when o.kind in ('refusal', 'late_answer') then o.code else o.kind::text || ' ' || o.code end, o.actor_kind::text, o.actor, o.detail, o.details, o.id,
        o.attempt_id, j.correlation_key
      from observations o join jobs j on j.id = o.job_id where o.job_id = ${mine}
      union all
      select r.at, 'read', a.job_id, a.agent_id, r.route, r.actor_kind::text, r.actor, null,
        r.target || jsonb_strip_nulls(jsonb_build_object('status', r.status, 'job_id', r.job_id)), r.id, a.id, j.correlation_key
      from job_attempts a join jobs j on j.id = a.job_id
        join accesses r on r.agent_id = a.agent_id and r.attempt_id = a.id
          and r.at between a.leased_at - ${CLOCKS} and coalesce(a.finished_at, 'infinity'::timestamptz - ${CLOCKS}) + ${CLOCKS}
      where a.job_id = ${mine}
    ) story order by at, ord limit ${MOST_ENTRIES + 1}`
  return told((await db.execute(cut(story))).rows)
}

/** Events that the jobs emitted or were made for, and those of a correlation key. Each branch goes by its own index. */
function eventsOf(mine: SQL, correlation: string | undefined): SQL {
  return sql`
    select id from events where source_job_id = ${mine}
    union all select source_event_id from jobs where id = ${mine} and source_event_id is not null
    ${correlation === undefined ? sql`` : sql`union all select id from events where correlation_key = ${correlation}`}`
}
