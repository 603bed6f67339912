import { EVENT_HASH } from '../event-hash.js'
import { sinceOn, type SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

/** Reads are timed by the API's clock, attempts by the database's; and one that waits for a job takes its minutes. */
const CLOCKS = `interval '10 minutes'`
const COMPARE = 'Compare it with a backup or an export, and with the history of the job.'
/** Observations up to here may have been pruned; a reaction and what tells of it are written at about the same time. */
const TOLD_SINCE = `coalesce((select max(p.before) from prunes p where p.kind = 'observations') + ${CLOCKS}, '-infinity')`

/** What became of events against the jobs that came of them, and against the observations that tell why none did. */
const reactions: SqlCheck = {
  name: 'reactions',
  statements: [
    {
      sql: (bounds) => `select 'reaction_contradicts_job' as kind, r.event_id, r.subscription_id, r.status, r.job_id, t.details ->> 'event_id' as job_came_of
        from reactions r join job_transitions t on t.job_id = r.job_id and t.seq = 1
        where r.status = 'made' and t.details ->> 'event_id' is distinct from r.event_id::text ${sinceOn('r.done_at', bounds)}`,
      what: (row) =>
        `Event ${text(row['event_id'])} is said to have made job ${text(row['job_id'])} by subscription ${text(row['subscription_id'])}; that job came of event ${text(row['job_came_of'])}.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'reaction_deleted' as kind, j.id as job_id, j.source_event_id as event_id, j.lineage[cardinality(j.lineage)] as subscription_id
        from jobs j left join reactions r on r.event_id = j.source_event_id and r.subscription_id = j.lineage[cardinality(j.lineage)] and r.job_id = j.id and r.status = 'made'
        where j.source_event_id is not null and r.event_id is null ${sinceOn('j.created_at', bounds)}`,
      what: (row) => `Job ${text(row['job_id'])} came of event ${text(row['event_id'])} by subscription ${text(row['subscription_id'])}, and no row says so.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'job_origin_changed' as kind, j.id as job_id, j.source_event_id as event_id, t.details ->> 'event_id' as history_says
        from jobs j join job_transitions t on t.job_id = j.id and t.seq = 1
        where t.details ->> 'event_id' is distinct from j.source_event_id::text ${sinceOn('j.created_at', bounds)}`,
      what: (row) => `Job ${text(row['job_id'])} is said to come of event ${text(row['event_id'])}; its history says of ${text(row['history_says'])}.`,
      next: 'The history of the job is chained: believe it.',
    },
    {
      sql: (bounds) => `select 'event_changed' as kind, e.id as event_id, j.id as job_id, t.details ->> 'event_hash' as history_says
        from jobs j join events e on e.id = j.source_event_id join job_transitions t on t.job_id = j.id and t.seq = 1
        where e.pruned_by is null and t.details ->> 'event_hash' <> ${EVENT_HASH} ${sinceOn('j.created_at', bounds)}`,
      what: (row) => `Event ${text(row['event_id'])} is not as it was when job ${text(row['job_id'])} came of it: it does not have the hash ${text(row['history_says'])}.`,
      next: 'The history of the job is chained: restore the event from a backup; its hash tells when it is the right one.',
    },
    {
      sql: (bounds) => `select 'reaction_unexplained' as kind, r.event_id, r.subscription_id, r.status, s.name
        from reactions r join subscriptions s on s.id = r.subscription_id
          left join (select distinct code, details ->> 'event_id' as event_id, details ->> 'subscription' as name from observations where code in ('reaction_cut', 'reaction_refused', 'reaction_failed')) o
            on o.code = 'reaction_' || r.status and o.event_id = r.event_id::text and o.name = s.name
        where r.status in ('cut', 'refused', 'failed') and o.code is null and r.done_at > ${TOLD_SINCE} ${sinceOn('r.done_at', bounds)}`,
      what: (row) => `The reaction of subscription ${text(row['name'])} to event ${text(row['event_id'])} is ${text(row['status'])}, and no observation tells why.`,
      next: 'The ledger writes both at once: the outcome was changed, or the observation was deleted.',
    },
    {
      sql: (bounds) => `select 'subscription_version_unknown' as kind, r.event_id, r.subscription_id, r.version, s.name
        from reactions r join subscriptions s on s.id = r.subscription_id
        where not exists (select from fleet_versions v where v.kind = 'subscription' and v.version = r.version
          and v.id = case when s.namespace = 'default' then s.name else s.namespace || '/' || s.name end) ${sinceOn('r.created_at', bounds)}`,
      what: (row) => `Event ${text(row['event_id'])} matched version ${text(row['version'])} of subscription ${text(row['name'])}, which the ledger does not have.`,
      next: 'Restore the version from a backup: versions are never deleted.',
    },
    {
      sql: ({ outboxSeconds }) => `select 'reaction_stuck' as kind, r.event_id, r.subscription_id, r.created_at from reactions r
        where r.status = 'pending' and coalesce(r.not_before, r.created_at) < clock_timestamp() - interval '${outboxSeconds} seconds'`,
      what: (row) => `Event ${text(row['event_id'])} matched subscription ${text(row['subscription_id'])} at ${text(row['created_at'])}, and nothing was made of it yet.`,
      next: 'Start a process that relays. If one runs, look for relay.failed in its log.',
    },
  ],
}

/** Observations against the reactions and attempts that they tell of. */
const observations: SqlCheck = {
  name: 'observations',
  statements: [
    {
      sql: (
        bounds,
      ) => `select 'observation_contradicts_reaction' as kind, o.id as observation_id, o.code, o.details ->> 'event_id' as event_id, o.details ->> 'subscription' as subscription
        from observations o left join (select r.event_id::text as event_id, r.status::text as status, s.name from reactions r join subscriptions s on s.id = r.subscription_id) r
          on r.event_id = o.details ->> 'event_id' and r.name = o.details ->> 'subscription' and 'reaction_' || r.status = o.code
        where o.code in ('reaction_cut', 'reaction_refused', 'reaction_failed') and r.event_id is null ${sinceOn('o.at', bounds)}`,
      what: (row) =>
        `Observation ${text(row['observation_id'])} (${text(row['code'])}) is about subscription ${text(row['subscription'])} and event ${text(row['event_id'])}; no reaction is like that.`,
      next: 'The ledger writes both at once: the reaction or the observation was changed.',
    },
    {
      sql: (bounds) => `select 'observation_contradicts_attempt' as kind, o.id as observation_id, o.code, o.attempt_id, o.job_id, a.job_id as job_of_attempt
        from observations o left join job_attempts a on a.id = o.attempt_id
        where o.attempt_id is not null and (a.id is null or (o.job_id is not null and o.kind = 'late_answer' and a.job_id <> o.job_id)) ${sinceOn('o.at', bounds)}`,
      what: (row) =>
        `Observation ${text(row['observation_id'])} (${text(row['code'])}) names attempt ${text(row['attempt_id'])} and job ${text(row['job_id'])}; the attempt is of job ${text(row['job_of_attempt'])}.`,
      next: COMPARE,
    },
  ],
}

/** Reads against the attempts whose tokens they were made with. */
const reads: SqlCheck = {
  name: 'reads',
  statements: [
    {
      sql: (
        bounds,
      ) => `select case when a.id is null then 'read_without_attempt' when a.agent_id <> r.agent_id or r.actor <> a.agent_id then 'read_of_another_agent' else 'read_outside_attempt' end as kind,
          r.id as access_id, r.at, r.agent_id, r.attempt_id, a.agent_id as agent_of_attempt, a.leased_at, a.finished_at
        from accesses r left join job_attempts a on a.id = r.attempt_id
        where (r.attempt_id is not null or r.actor_kind = 'attempt') ${sinceOn('r.at', bounds)} and (a.id is null or a.agent_id is distinct from r.agent_id or r.actor is distinct from a.agent_id
          or r.at < a.leased_at - ${CLOCKS} or r.at > a.finished_at + ${CLOCKS})`,
      what: (row) =>
        `Read ${text(row['access_id'])} is by attempt ${text(row['attempt_id'])} of ${text(row['agent_id'])} at ${text(row['at'])}; that attempt is of ${text(row['agent_of_attempt'])}, from ${text(row['leased_at'])} to ${text(row['finished_at'])}.`,
      next: 'Compare it with a backup and with the log of the API.',
    },
    {
      sql: (
        bounds,
      ) => `select case when r.agent_id is null or r.agent_id <> r.actor then 'read_of_another_agent' else 'read_of_unknown_agent' end as kind, r.id as access_id, r.at, r.actor, r.agent_id
        from accesses r left join agents g on g.id = r.agent_id
        where r.actor_kind = 'agent' and (r.agent_id is distinct from r.actor or g.id is null) ${sinceOn('r.at', bounds)}`,
      what: (row) => `Read ${text(row['access_id'])} is by agent ${text(row['actor'])}, and is counted to ${text(row['agent_id'])}.`,
      next: 'Compare it with a backup and with the log of the API.',
    },
    {
      sql: (bounds) => `select 'read_of_missing_job' as kind, r.id as access_id, r.at, r.actor, r.job_id, r.route
        from accesses r where r.job_id is not null and r.route ~ '^(/v1/jobs/\\{id\\}|/console/)' and r.status between 200 and 399 ${sinceOn('r.at', bounds)} and not exists (select from jobs j where j.id = r.job_id)`,
      what: (row) => `Read ${text(row['access_id'])} by ${text(row['actor'])} was answered with job ${text(row['job_id'])}, which is not in the ledger.`,
      next: 'Restore the job from a backup: it was deleted, or the row was changed.',
    },
  ],
}

/** What is written down beside the histories, against what it is about. */
export const RECORD_CHECKS: readonly SqlCheck[] = [reactions, observations, reads]
