import { openOrSince, sinceOn, type SqlCheck } from './statements.js'

const text = (value: unknown): string => (value === null || value === undefined ? 'nothing' : String(value))

/** A change of the fleet file and a decision at the same moment: both may be right. */
const OVERLAP = `interval '60 seconds'`
const COMPARE = 'Compare it with a backup or an export, and with the history of the job that it is about.'
/** Of what is older, the payload of the event may have been pruned; the event and what came of it are written at about the same time. */
const TOLD_SINCE = `coalesce((select max(p.before) from prunes p where p.kind = 'events') + ${OVERLAP}, '-infinity')`

/** Each decision against who may decide, what was told of it, and what the histories of jobs say came of it. */
const approvals: SqlCheck = {
  name: 'approvals',
  statements: [
    {
      sql: (
        bounds,
      ) => `select 'approval_decision_changed' as kind, a.id as approval_id, a.status, a.decided_by, t.actor_kind || ':' || t.actor as history_says, a.note, t.note as history_note
        from approvals a join approval_transitions t on t.approval_id = a.id and t.seq = a.last_seq
        where a.status <> 'pending' and (a.decided_by is distinct from t.actor_kind || ':' || t.actor or a.note is distinct from t.note) ${sinceOn('a.decided_at', bounds)}`,
      what: (row) =>
        `Approval ${text(row['approval_id'])} is ${text(row['status'])} by ${text(row['decided_by'])}; its history says by ${text(row['history_says'])}, or with another note.`,
      next: COMPARE,
    },
    {
      sql: (
        bounds,
      ) => `select case when a.agent_id = t.actor and t.actor_kind in ('agent', 'attempt') then 'approval_decided_by_asker' when t.at > a.expires_at + ${OVERLAP} then 'approval_decided_late'
            else 'approval_without_right' end as kind, a.id as approval_id, t.to_status as decision, t.actor_kind, t.actor, t.at, a.expires_at
        from approval_transitions t join approvals a on a.id = t.approval_id
        where t.to_status in ('approved', 'rejected') ${sinceOn('t.at', bounds)} and (
          t.at > a.expires_at + ${OVERLAP} or (t.actor_kind in ('agent', 'attempt') and a.agent_id = t.actor) or t.actor_kind not in ('operator', 'agent', 'attempt')
          or (t.actor_kind in ('agent', 'attempt') and not exists (
            select from (select spec, valid_from, lead(valid_from) over (order by version) as until from fleet_versions where kind = 'policy' and id = 'authority') v
            where v.valid_from <= t.at and (v.until is null or v.until > t.at - ${OVERLAP}) and v.spec -> 'approve' ? t.actor)))`,
      what: (row) =>
        row['kind'] === 'approval_decided_late'
          ? `Approval ${text(row['approval_id'])} was ${text(row['decision'])} at ${text(row['at'])}, and could be until ${text(row['expires_at'])}.`
          : `Approval ${text(row['approval_id'])} was ${text(row['decision'])} by ${text(row['actor_kind'])} ${text(row['actor'])}, who had no right to.`,
      next: 'The ledger refuses such a decision. Find out who could write to the database, and undo what came of it.',
    },
    {
      sql: (
        bounds,
      ) => `select case when a.id is null then 'approval_deleted' else 'approval_contradicts_job' end as kind, t.job_id, t.seq, t.details ->> 'approval_id' as approval_id,
          t.details ->> 'decision' as job_was_told, a.status
        from job_transitions t left join approvals a on a.id::text = t.details ->> 'approval_id'
        where t.reason = 'condition_met' and t.details ? 'decision' and a.status::text is distinct from t.details ->> 'decision' ${sinceOn('t.at', bounds)}`,
      what: (row) =>
        `Row ${text(row['seq'])} of job ${text(row['job_id'])} says that approval ${text(row['approval_id'])} was ${text(row['job_was_told'])}; it is ${text(row['status'])}.`,
      next: 'The history of the job is chained: believe it, and restore the approval from a backup.',
    },
    {
      sql: (
        bounds,
      ) => `select case when a.id is null then 'approval_deleted' else 'approval_contradicts_event' end as kind, e.id as event_id, e.topic, e.payload ->> 'approval_id' as approval_id, a.status
        from events e left join approvals a on a.id::text = e.payload ->> 'approval_id'
        where e.topic in ('approvals.asked', 'approvals.approved', 'approvals.rejected', 'approvals.expired') and e.pruned_by is null ${sinceOn('e.created_at', bounds)}
          and (a.id is null or (e.topic <> 'approvals.asked' and e.topic <> 'approvals.' || a.status))`,
      what: (row) => `Event ${text(row['event_id'])} (${text(row['topic'])}) is about approval ${text(row['approval_id'])}, which is ${text(row['status'])}.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'approval_untold' as kind, a.id as approval_id, a.status, a.decided_by, a.decided_at
        from approvals a left join (select distinct topic, payload ->> 'approval_id' as approval_id from events where topic in ('approvals.approved', 'approvals.rejected', 'approvals.expired')) e
          on e.approval_id = a.id::text and e.topic = 'approvals.' || a.status
        where a.status in ('approved', 'rejected', 'expired') and e.topic is null and a.decided_at > ${TOLD_SINCE} ${sinceOn('a.decided_at', bounds)}`,
      what: (row) => `Approval ${text(row['approval_id'])} is ${text(row['status'])} by ${text(row['decided_by'])}, and no event tells of it.`,
      next: 'The ledger writes both at once: the decision was written past it, or the event was deleted.',
    },
    {
      sql: (bounds) => `select 'approval_question_changed' as kind, a.id as approval_id, a.subject, e.id as event_id, e.payload ->> 'subject' as event_says
        from events e join approvals a on a.id::text = e.payload ->> 'approval_id'
        where e.topic = 'approvals.asked' and e.pruned_by is null ${sinceOn('e.created_at', bounds)}
          and (a.subject, a.job_id::text, a.workflow_run_id::text, a.step)
            is distinct from (e.payload ->> 'subject', e.payload ->> 'job_id', e.payload ->> 'workflow_run_id', e.payload ->> 'step')`,
      what: (row) =>
        `Approval ${text(row['approval_id'])} asks "${text(row['subject'])}"; event ${text(row['event_id'])}, by which it was asked, says "${text(row['event_says'])}", or for another job or step.`,
      next: 'Find out what was approved: the question or the event was changed. Compare both with a backup.',
    },
  ],
}

/** Every run with the steps of the definition it began with; `d` is a step as defined, `s` as it is, null when either lacks. */
const WITH_STEPS = `workflow_runs r join workflows w on w.namespace = r.namespace and w.name = r.workflow and w.version = r.version`

/** Each run against its steps, and each step against its job or decision. */
const workflows: SqlCheck = {
  name: 'workflows',
  statements: [
    {
      sql: (bounds) => `select 'workflow_step_deleted' as kind, r.id as run_id, r.status, d ->> 'id' as step
        from ${WITH_STEPS} cross join lateral jsonb_array_elements(w.definition -> 'steps') d
        where not exists (select from workflow_steps s where s.run_id = r.id and s.step = d ->> 'id') ${openOrSince('r.finished_at', bounds)}
        union all
        select 'workflow_step_unknown', r.id, r.status, s.step from ${WITH_STEPS} join workflow_steps s on s.run_id = r.id
        where not exists (select from jsonb_array_elements(w.definition -> 'steps') d where d ->> 'id' = s.step) ${openOrSince('r.finished_at', bounds)}`,
      what: (row) =>
        row['kind'] === 'workflow_step_deleted'
          ? `Workflow run ${text(row['run_id'])} has no row for its step ${text(row['step'])}.`
          : `Workflow run ${text(row['run_id'])} has a step ${text(row['step'])} that its definition does not name.`,
      next: 'Compare it with a backup: steps are written when the run starts and never deleted.',
    },
    {
      sql: (bounds) => `select 'workflow_run_contradicts_steps' as kind, r.id as run_id, r.workflow, r.status, x.open, x.broken, r.last_error
        from ${WITH_STEPS} cross join lateral (
          select count(*) filter (where s.status in ('pending', 'running'))::int as open,
            count(*) filter (where s.status in ('failed', 'cancelled') and coalesce(d ->> 'on_failure', 'fail') = 'fail')::int as broken
          from workflow_steps s join jsonb_array_elements(w.definition -> 'steps') d on d ->> 'id' = s.step where s.run_id = r.id) x
        where ((r.status = 'running') <> (x.open > 0) or (r.status = 'succeeded' and x.broken > 0)
          or (r.status = 'failed' and x.broken = 0 and coalesce(r.last_error, '') not like 'outputs:%')) ${openOrSince('r.finished_at', bounds)}`,
      what: (row) =>
        `Workflow run ${text(row['run_id'])} is ${text(row['status'])}; of its steps ${text(row['open'])} are open, and ${text(row['broken'])} have failed that may not.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'workflow_step_contradicts_job' as kind, s.run_id, s.step, s.status, s.job_id, j.status as job_status
        from workflow_steps s join jobs j on j.id = s.job_id join workflow_runs r on r.id = s.run_id
        where (case s.status
            when 'pending' then true
            when 'skipped' then true
            when 'running' then j.finished_at is not null
            when 'succeeded' then j.status <> 'succeeded' or (j.pruned_by is null and coalesce(s.result, '{}') <> coalesce(j.result, '{}'))
            when 'failed' then not exists (select from job_transitions t where t.job_id = j.id and t.to_status in ('failed', 'dead') and t.kind = 'move')
            else r.status <> 'cancelled' and not exists (select from job_transitions t where t.job_id = j.id and t.to_status = 'cancelled' and t.kind = 'move')
          end) ${openOrSince('s.finished_at', bounds)}`,
      what: (row) =>
        `Step ${text(row['step'])} of workflow run ${text(row['run_id'])} is ${text(row['status'])}; its job ${text(row['job_id'])} is ${text(row['job_status'])}, or ended with another result.`,
      next: 'The history of the job is chained: believe it, and restore the step from a backup.',
    },
    {
      sql: (bounds) => `select 'workflow_step_contradicts_approval' as kind, s.run_id, s.step, s.status, s.approval_id, a.status as approval_status
        from workflow_steps s join approvals a on a.id = s.approval_id
        where not (case s.status when 'running' then a.status = 'pending' when 'succeeded' then a.status = 'approved' when 'cancelled' then a.status = 'withdrawn'
            when 'failed' then a.status in ('rejected', 'expired', 'withdrawn') else false end
          and (s.status not in ('succeeded', 'failed') or s.result ->> 'decided_by' is not distinct from a.decided_by)) ${openOrSince('s.finished_at', bounds)}`,
      what: (row) =>
        `Step ${text(row['step'])} of workflow run ${text(row['run_id'])} is ${text(row['status'])}; its approval ${text(row['approval_id'])} is ${text(row['approval_status'])}.`,
      next: COMPARE,
    },
    {
      sql: (bounds) => `select 'workflow_history_broken' as kind, h.run_id, h.seq, h.step, h.before, h.from_status, h.to_status
        from (select t.*, lag(t.to_status, 1, case when t.step is null then null else 'pending' end) over (partition by t.run_id, t.step order by t.seq) as before
          from workflow_transitions t ${bounds.since === undefined ? '' : `where t.run_id in (select run_id from workflow_transitions x where true ${sinceOn('x.at', bounds)})`}) h
        where h.from_status is distinct from h.before or h.before in ('succeeded', 'failed', 'skipped', 'cancelled')`,
      what: (row) =>
        `Row ${text(row['seq'])} of workflow run ${text(row['run_id'])} moves ${row['step'] === null ? 'the run' : `step ${text(row['step'])}`} from ${text(row['from_status'])} to ${text(row['to_status'])}; before it is ${text(row['before'])}.`,
      next: COMPARE,
    },
  ],
}

/** Decisions and runs of workflows against everything else that tells of them. */
export const HAND_OFF_CHECKS: readonly SqlCheck[] = [approvals, workflows]
