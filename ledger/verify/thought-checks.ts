import { KINDS } from '../thoughts/kinds.js'
import { CHANGING, newestOf, saidOf } from '../thoughts/memory-changes.js'
import type { Kind } from '../thoughts/rows.js'
import { wordsHash } from '../thoughts/words.js'
import { agrees } from './state-checks.js'
import { sinceOn, type Bounds, type SqlCheck } from './statements.js'

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

/**
 * Rows of one kind that do not have the hash which the first row of their history keeps. It is computed from the text that is written out in the
 * code, and not by the function of the database, so that a function that was exchanged cannot speak for the rows.
 */
function changedWords(kind: Kind, bounds: Bounds): string {
  const { name, table, reviews, key } = KINDS[kind]
  return `select 'thought_words_changed' as kind, '${name}' as what, t.id, encode(r.words_hash, 'hex') as history_says, encode(${wordsHash(kind, 't')}, 'hex') as it_has
        from ${table} t join ${reviews} r on r.${key} = t.id and r.seq = 1
        where r.words_hash is distinct from ${wordsHash(kind, 't')} ${sinceOn('t.updated_at', bounds)}`
}

/** Ideas, opportunities, candidates and memories against their histories, against what came of them, and against who may decide. */
export const THOUGHTS: SqlCheck = {
  name: 'thoughts',
  statements: [
    agrees('idea_disagrees', 'ideas', { table: 'idea_reviews', key: 'idea_id', status: 'h.decision::text' }),
    agrees('opportunity_disagrees', 'opportunities', { table: 'opportunity_reviews', key: 'opportunity_id', status: 'h.decision::text' }),
    agrees('memory_candidate_disagrees', 'memory_candidates', { table: 'memory_candidate_reviews', key: 'memory_candidate_id', status: 'h.decision::text' }),
    agrees('memory_disagrees', 'memories', { table: 'memory_reviews', key: 'memory_id', status: 'h.decision::text' }),
    {
      sql: (bounds) => (Object.keys(KINDS) as Kind[]).map((kind) => changedWords(kind, bounds)).join(' union all '),
      what: (row) => `${text(row['what'])} ${text(row['id'])} does not say what it said when it was made: it does not have the hash ${text(row['history_says'])}.`,
      next: 'Restore it from a backup; the hash in the first row of its history tells when it is the right one. Words never change.',
    },
    {
      sql: (bounds) => `select 'memory_changed_unsaid' as kind, m.id as memory_id, m.expires_at, m.next_review_at, m.confidence_score,
          ${CHANGING.map((column) => `${newestOf('m', column)} as history_says_${column}`).join(', ')}
        from memories m
        where (${CHANGING.map((column) => `${saidOf('m', column)} is distinct from ${newestOf('m', column)}`).join(' or ')}) ${sinceOn('m.updated_at', bounds)}`,
      what: (row) =>
        `Memory ${text(row['memory_id'])} has another end, date of review or confidence than its history says: ${CHANGING.map((column) => `${column} ${text(row[`history_says_${column}`])}`).join(', ')}.`,
      next: COMPARE,
    },
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
      sql: (bounds) => `select 'idea_contradicts_opportunity' as kind, i.id as idea_id, i.promoted_opportunity_id as opportunity_id, r.details ->> 'opportunity_id' as history_says,
          i.namespace, o.namespace as opportunity_namespace
        from ideas i join idea_reviews r on r.idea_id = i.id and r.seq = i.last_seq left join opportunities o on o.id = i.promoted_opportunity_id
        where (i.promoted_opportunity_id::text is distinct from r.details ->> 'opportunity_id' or o.namespace <> i.namespace) ${sinceOn('i.updated_at', bounds)}`,
      what: (row) =>
        `Idea ${text(row['idea_id'])} of namespace ${text(row['namespace'])} is said to have become opportunity ${text(row['opportunity_id'])} of ${text(row['opportunity_namespace'])}; its history says ${text(row['history_says'])}.`,
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
      sql: (bounds) => `select 'memory_succession_broken' as kind, m.id as memory_id, m.status::text as status, m.namespace, s.id as successor, s.namespace as successor_namespace
        from memories m left join memories s on s.supersedes_memory_id = m.id
        where ((m.status = 'superseded') <> (s.id is not null) or s.namespace <> m.namespace) ${sinceOn('m.updated_at', bounds)}`,
      what: (row) =>
        `Memory ${text(row['memory_id'])} of namespace ${text(row['namespace'])} is ${text(row['status'])}; the memory that takes its place is ${row['successor'] === null ? 'none' : `${text(row['successor'])} of ${text(row['successor_namespace'])}`}.`,
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
