import { agrees } from './state-checks.js'
import { sinceOn, type SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

/** A change of the fleet file and a decision at the same moment: both may be right. */
const OVERLAP = `interval '60 seconds'`
const COMPARE = 'Compare it with a backup or an export: the ledger writes both at once.'

/** Every decision after which somebody believed or did something, with the right that it takes; `own` is what needs none. */
const DECISIONS = `(
    select 'idea' as what, r.idea_id as id, r.seq, r.decision::text as decision, case when r.decision = 'promoted_to_opportunity' then 'promote' else 'triage' end as needs,
      r.decision = 'archived' and t.source_agent is not distinct from r.actor as own, r.actor_kind::text as actor_kind, r.actor, r.at
    from idea_reviews r join ideas t on t.id = r.idea_id where r.seq > 1
    union all
    select 'opportunity', r.opportunity_id, r.seq, r.decision::text, case when r.decision = 'converted_to_job' then 'convert' else 'triage' end, false,
      r.actor_kind::text, r.actor, r.at
    from opportunity_reviews r where r.seq > 1
    union all
    select 'memory candidate', r.memory_candidate_id, r.seq, r.decision::text, 'promote', false, r.actor_kind::text, r.actor, r.at from memory_candidate_reviews r where r.seq > 1
    union all
    select 'memory', r.memory_id, r.seq, r.decision::text, 'promote', false, r.actor_kind::text, r.actor, r.at from memory_reviews r
  )`

/** Ideas, opportunities, candidates and memories against their histories, against what came of them, and against who may decide. */
export const THOUGHTS: SqlCheck = {
  name: 'thoughts',
  statements: [
    agrees('idea_disagrees', 'ideas', { table: 'idea_reviews', key: 'idea_id', status: 'h.decision::text' }),
    agrees('opportunity_disagrees', 'opportunities', { table: 'opportunity_reviews', key: 'opportunity_id', status: 'h.decision::text' }),
    agrees('memory_candidate_disagrees', 'memory_candidates', { table: 'memory_candidate_reviews', key: 'memory_candidate_id', status: 'h.decision::text' }),
    agrees('memory_disagrees', 'memories', { table: 'memory_reviews', key: 'memory_id', status: 'h.decision::text' }),
    {
      sql: (bounds) => `select 'opportunity_decision_changed' as kind, o.id as opportunity_id, o.triaged_by, r.actor_kind || ':' || r.actor as history_says,
          o.triage_notes, r.notes as history_notes
        from opportunities o join opportunity_reviews r on r.opportunity_id = o.id and r.seq = o.last_seq
        where o.last_seq > 1 and (o.triaged_by is distinct from r.actor_kind || ':' || r.actor or o.triage_notes is distinct from r.notes) ${sinceOn('o.updated_at', bounds)}`,
      what: (row) =>
        `Opportunity ${text(row['opportunity_id'])} is said to be decided by ${text(row['triaged_by'])}; its history says by ${text(row['history_says'])}, or with other notes.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'memory_candidate_decision_changed' as kind, c.id as memory_candidate_id, c.reviewer, r.actor_kind || ':' || r.actor as history_says,
          c.review_notes, r.notes as history_notes
        from memory_candidates c join memory_candidate_reviews r on r.memory_candidate_id = c.id and r.seq = c.last_seq
        where c.last_seq > 1 and (c.reviewer is distinct from r.actor_kind || ':' || r.actor or c.review_notes is distinct from r.notes) ${sinceOn('c.updated_at', bounds)}`,
      what: (row) =>
        `Memory candidate ${text(row['memory_candidate_id'])} is said to be decided by ${text(row['reviewer'])}; its history says by ${text(row['history_says'])}, or with other notes.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'memory_author_changed' as kind, m.id as memory_id, m.created_by, f.actor_kind || ':' || f.actor as history_began_with, m.updated_by,
          l.actor_kind || ':' || l.actor as history_ends_with
        from memories m join memory_reviews f on f.memory_id = m.id and f.seq = 1 join memory_reviews l on l.memory_id = m.id and l.seq = m.last_seq
        where (m.created_by is distinct from f.actor_kind || ':' || f.actor or m.updated_by is distinct from l.actor_kind || ':' || l.actor) ${sinceOn('m.updated_at', bounds)}`,
      what: (row) =>
        `Memory ${text(row['memory_id'])} is said to be made by ${text(row['created_by'])} and changed by ${text(row['updated_by'])}; its history says by ${text(row['history_began_with'])} and ${text(row['history_ends_with'])}.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'opportunity_contradicts_job' as kind, o.id as opportunity_id, j.id as job_id, j.correlation_key, j.lane::text as lane
        from opportunities o join jobs j on j.id = o.converted_job_id
        where (j.correlation_key is distinct from 'opportunity:' || o.id or j.namespace <> o.namespace or j.lane <> 'proactive') ${sinceOn('o.updated_at', bounds)}`,
      what: (row) => `Opportunity ${text(row['opportunity_id'])} is said to have become job ${text(row['job_id'])}, which belongs to ${text(row['correlation_key'])}.`,
      next: 'The history of the job is chained: believe it, and find the job that came of the opportunity by its correlation key.',
    },
    {
      sql: (bounds) => `select 'memory_contradicts_candidate' as kind, m.id as memory_id, c.id as memory_candidate_id, c.status::text as candidate_status, c.promoted_memory_id
        from memories m full join memory_candidates c on c.id = m.source_candidate_id
        where (c.promoted_memory_id is distinct from m.id or c.namespace <> m.namespace) ${sinceOn('coalesce(m.updated_at, c.updated_at)', bounds)}`,
      what: (row) =>
        `Memory candidate ${text(row['memory_candidate_id'])} is ${text(row['candidate_status'])} and became memory ${text(row['promoted_memory_id'])}; the memory that came of it is ${text(row['memory_id'])}.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'memory_succession_broken' as kind, m.id as memory_id, m.status::text as status, s.id as successor
        from memories m left join memories s on s.supersedes_memory_id = m.id
        where (m.status = 'superseded') <> (s.id is not null) ${sinceOn('m.updated_at', bounds)}`,
      what: (row) => `Memory ${text(row['memory_id'])} is ${text(row['status'])}; the memory that takes its place is ${text(row['successor'])}.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'decision_without_right' as kind, d.what, d.id, d.seq, d.decision, d.needs, d.actor_kind, d.actor, d.at
        from ${DECISIONS} d
        where not d.own and d.actor_kind in ('agent', 'attempt') ${sinceOn('d.at', bounds)} and not exists (
          select from (select spec, valid_from, lead(valid_from) over (order by version) as until from fleet_versions where kind = 'policy' and id = 'authority') v
          where v.valid_from <= d.at and (v.until is null or v.until > d.at - ${OVERLAP}) and v.spec -> d.needs ? d.actor)`,
      what: (row) =>
        `Row ${text(row['seq'])} of ${text(row['what'])} ${text(row['id'])} (${text(row['decision'])}) is by ${text(row['actor_kind'])} ${text(row['actor'])}, who did not have the right ${text(row['needs'])}.`,
      next: 'The ledger refuses such a decision. Find out who could write to the database, and undo what came of it.',
    },
    {
      sql: ({ graceSeconds }) => `select 'memory_not_ended' as kind, m.id as memory_id, m.expires_at from memories m
        where m.status = 'active' and m.expires_at < clock_timestamp() - interval '${graceSeconds} seconds'`,
      what: (row) => `Memory ${text(row['memory_id'])} was to end at ${text(row['expires_at'])}, and nobody has put that down. No agent has been told it since.`,
      next: 'Start a process: each puts down what has expired. If some run, look for maintenance.failed in their logs.',
    },
  ],
}
