import type { AttemptStatus, TransitionReason } from '../../contracts/job-states.js'
import { openOrSince, type SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

/** What an attempt is afterwards, by the reason of the move that takes its job away from it. That reason is its outcome. */
const STATUS_BY_OUTCOME = {
  completed_by_agent: 'succeeded',
  blocked_by_agent: 'blocked',
  failed_by_agent: 'failed',
  retry_asked_by_agent: 'failed',
  ended_without_terminal_write: 'failed',
  refused_by_gateway: 'failed',
  deadline_exceeded: 'timed_out',
  lease_expired: 'timed_out',
  run_lost: 'lost',
  undelivered: 'released',
  released: 'released',
  cancelled: 'cancelled',
  operator_retry: 'cancelled',
  operator_dead: 'cancelled',
} as const satisfies Partial<Record<TransitionReason, Exclude<AttemptStatus, 'leased' | 'running'>>>

/** The outcome by the row `e` that ended the attempt. A job that dies of its last attempt names in the details what that attempt ended of. */
const OUTCOME = `case when e.reason = 'attempts_exhausted' then e.details ->> 'last_reason' else e.reason::text end`
/** The attempt `a` is open though the row `e` ended it, or over in another way; `s` is how the outcome leaves an attempt. */
const CONTRADICTS_END = `(e.seq is not null and (a.finished_at is null or a.outcome_code is distinct from ${OUTCOME} or a.status::text <> s.status))`

/** Each attempt against its job, and against the chained moves that opened and ended it. */
export const ATTEMPTS: SqlCheck = {
  name: 'attempts',
  statements: [
    {
      sql: () => `select 'two_open_attempts' as kind, a.job_id, count(*)::int as open, array_agg(a.id order by a.id) as attempts
        from job_attempts a where a.finished_at is null group by a.job_id having count(*) > 1`,
      what: (row) => `Job ${text(row['job_id'])} has ${text(row['open'])} open attempts.`,
      next: 'Find out which run is real, cancel the job, and restore the index job_attempts_one_open_idx.',
    },
    {
      sql: () => `select 'attempt_disagrees' as kind, j.id as job_id, j.status, j.current_attempt_id, a.id as attempt_id, a.status as attempt_status
        from jobs j full join (select id, job_id, status from job_attempts where finished_at is null) a on a.job_id = j.id
        where (a.id is not null and j.current_attempt_id is distinct from a.id) or (j.finished_at is null and j.current_attempt_id is not null and a.id is null)
          or (j.current_attempt_id = a.id and a.status::text <> j.status::text)`,
      what: (row) =>
        `Job ${text(row['job_id'])} is ${text(row['status'])} with attempt ${text(row['current_attempt_id'])}; open is ${text(row['attempt_id'])} (${text(row['attempt_status'])}).`,
      next: 'Read the history of the job: its last rows tell which attempt holds it.',
    },
    {
      // An outcome that this build does not know has no status to compare with; that the move says the same is compared in any case.
      sql: (bounds) => `select case when l.seq is null then 'attempt_without_lease' when a.finished_at is not null and e.seq is null then 'attempt_without_end'
          when ${CONTRADICTS_END} then 'attempt_contradicts_end' else 'attempt_contradicts_lease' end as kind,
          a.id as attempt_id, a.job_id, a.attempt_no, a.status::text as status, a.outcome_code, l.seq as leased_by, e.seq as ended_by, ${OUTCOME} as history_says
        from job_attempts a
          left join job_transitions l on l.job_id = a.job_id and l.attempt_id = a.id and l.kind = 'move' and l.reason = 'leased'
          left join job_transitions e on e.job_id = a.job_id and e.attempt_id = a.id and e.kind = 'move'
            and e.from_status in ('leased', 'running') and e.to_status not in ('leased', 'running')
          left join (values ${Object.entries(STATUS_BY_OUTCOME)
            .map(([outcome, status]) => `('${outcome}', '${status}')`)
            .join(', ')}) s (outcome, status) on s.outcome = ${OUTCOME}
        where (l.seq is null or (a.finished_at is not null and e.seq is null) or ${CONTRADICTS_END} or l.details ->> 'attempt_no' is distinct from a.attempt_no::text
          or (l.details ? 'prompt_hash' and l.details ->> 'prompt_hash' is distinct from a.prompt_hash)) ${openOrSince('a.finished_at', bounds)}`,
      what: (row) => {
        const attempt = `Attempt ${text(row['attempt_id'])} of job ${text(row['job_id'])}`
        switch (row['kind']) {
          case 'attempt_without_lease':
            return `${attempt} was put in: no row of the history of its job opened it.`
          case 'attempt_without_end':
            return `${attempt} is over (${text(row['status'])}), and no row of the history of its job ended it.`
          case 'attempt_contradicts_end':
            return `${attempt} is ${text(row['status'])} (${text(row['outcome_code'])}); row ${text(row['ended_by'])} of the history of its job ended it as ${text(row['history_says'])}.`
          default:
            return `${attempt} has another number or prompt than row ${text(row['leased_by'])} of the history of its job, which opened it.`
        }
      },
      next: 'The history of the job is chained: believe it, and restore the attempt from a backup.',
    },
    {
      sql: (bounds) => `select 'attempt_payload_differs' as kind, a.id as attempt_id, a.job_id, a.payload_hash, t.details ->> 'payload_hash' as history_says
        from job_attempts a join job_transitions t on t.job_id = a.job_id and t.seq = 1
        where a.payload_hash is distinct from t.details ->> 'payload_hash' ${openOrSince('a.finished_at', bounds)}`,
      what: (row) =>
        `Attempt ${text(row['attempt_id'])} of job ${text(row['job_id'])} is said to have been given the payload ${text(row['payload_hash'])}; the job was created with ${text(row['history_says'])}.`,
      next: 'The history of the job is chained: believe it, and restore the attempt from a backup.',
    },
  ],
}
