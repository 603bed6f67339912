-- Guards of hand-offs: append-only histories, ends that are final, and no state without its history row.

create trigger approval_transitions_append_only before update or delete on approval_transitions for each row execute function refuse_change();
--> statement-breakpoint
create trigger approval_transitions_no_truncate before truncate on approval_transitions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger agent_state_changes_append_only before update or delete on agent_state_changes for each row execute function refuse_change();
--> statement-breakpoint
create trigger agent_state_changes_no_truncate before truncate on agent_state_changes for each statement execute function refuse_change();
--> statement-breakpoint
create trigger project_log_append_only before update or delete on project_log for each row execute function refuse_change();
--> statement-breakpoint
create trigger project_log_no_truncate before truncate on project_log for each statement execute function refuse_change();
--> statement-breakpoint
create trigger project_statuses_append_only before update or delete on project_statuses for each row execute function refuse_change();
--> statement-breakpoint
create trigger project_statuses_no_truncate before truncate on project_statuses for each statement execute function refuse_change();
--> statement-breakpoint
create trigger workflows_append_only before update or delete on workflows for each row execute function refuse_change();
--> statement-breakpoint
create trigger workflows_no_truncate before truncate on workflows for each statement execute function refuse_change();
--> statement-breakpoint
create trigger workflow_transitions_append_only before update or delete on workflow_transitions for each row execute function refuse_change();
--> statement-breakpoint
create trigger workflow_transitions_no_truncate before truncate on workflow_transitions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger approvals_no_delete before delete on approvals for each row execute function refuse_change();
--> statement-breakpoint
create trigger approvals_no_truncate before truncate on approvals for each statement execute function refuse_change();
--> statement-breakpoint
create trigger reactions_no_delete before delete on reactions for each row execute function refuse_change();
--> statement-breakpoint
create trigger reactions_no_truncate before truncate on reactions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger subscriptions_no_delete before delete on subscriptions for each row execute function refuse_change();
--> statement-breakpoint
create trigger subscriptions_no_truncate before truncate on subscriptions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger workflow_runs_no_delete before delete on workflow_runs for each row execute function refuse_change();
--> statement-breakpoint
create trigger workflow_runs_no_truncate before truncate on workflow_runs for each statement execute function refuse_change();
--> statement-breakpoint
create trigger workflow_steps_no_delete before delete on workflow_steps for each row execute function refuse_change();
--> statement-breakpoint
create trigger workflow_steps_no_truncate before truncate on workflow_steps for each statement execute function refuse_change();
--> statement-breakpoint

-- A decision, a reaction and an end are said once.
create trigger approvals_decided_are_final before update on approvals for each row when (old.status <> 'pending') execute function refuse_change();
--> statement-breakpoint
create trigger reactions_done_are_final before update on reactions for each row when (old.status <> 'pending') execute function refuse_change();
--> statement-breakpoint
create trigger workflow_runs_ended_are_final before update on workflow_runs for each row when (old.status <> 'running') execute function refuse_change();
--> statement-breakpoint
create trigger workflow_steps_ended_are_final before update on workflow_steps
  for each row when (old.status not in ('pending', 'running')) execute function refuse_change();
--> statement-breakpoint

-- At commit, an approval is what the last row of its history says, and that history has no gap.
create function approvals_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from approvals a where a.id = new.id and (
      a.last_seq is distinct from (select count(*) from approval_transitions t where t.approval_id = a.id)
      or not exists (select from approval_transitions t where t.approval_id = a.id and t.seq = a.last_seq and t.to_status = a.status)
    )
  ) then
    raise exception 'approval % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger approvals_have_history after insert or update on approvals
  deferrable initially deferred for each row execute function approvals_have_history();
--> statement-breakpoint

-- At commit, a workflow run ends where its history does.
create function workflow_runs_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from workflow_runs r where r.id = new.id and (
      not exists (select from workflow_transitions t where t.run_id = r.id and t.seq = r.last_seq)
      or exists (select from workflow_transitions t where t.run_id = r.id and t.seq > r.last_seq)
      or (r.last_seq > 1 and not exists (select from workflow_transitions t where t.run_id = r.id and t.seq = r.last_seq - 1))
      or r.status::text is distinct from (
        select t.to_status from workflow_transitions t where t.run_id = r.id and t.step is null order by t.seq desc limit 1)
    )
  ) then
    raise exception 'workflow run % does not end where its history does', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger workflow_runs_have_history after insert or update on workflow_runs
  deferrable initially deferred for each row execute function workflow_runs_have_history();
--> statement-breakpoint

-- At commit, a step is what the last row of its history says; one that nothing has happened to has none.
create function workflow_steps_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from workflow_steps s where s.run_id = new.run_id and s.step = new.step and s.status::text is distinct from coalesce((
      select t.to_status from workflow_transitions t where t.run_id = s.run_id and t.step = s.step order by t.seq desc limit 1), 'pending')
  ) then
    raise exception 'step % of workflow run % is not what its history says', new.step, new.run_id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger workflow_steps_have_history after insert or update on workflow_steps
  deferrable initially deferred for each row execute function workflow_steps_have_history();
--> statement-breakpoint

-- Events know their jobs; the way back is here, because the two tables name each other.
alter table jobs add constraint jobs_source_event_id_fk foreign key (source_event_id) references events (id);
--> statement-breakpoint

-- What waits for whom, longest first.
create view blocked_work_v as
  select id, namespace, target_agent, source_agent, subject, blocked_at, now() - blocked_at as blocked_for, blocked_reason, blocked_owner,
    waits_for ->> 'kind' as waits_for, waits_for as waiting, unblock_action, look_again_at, escalate_at
  from jobs where status = 'blocked'
  order by blocked_at;
--> statement-breakpoint
create view agent_states_v as
  select a.id as agent_id, coalesce(s.state, case when a.enabled then 'idle' else 'disabled' end::agent_state) as state, s.since, a.gateway_id, a.capabilities,
    a.concurrency, s.assigned_count, s.last_assigned_at
  from agents a left join agent_states s on s.agent_id = a.id;
--> statement-breakpoint
create view hand_offs_v as
  select id as job_id, source_agent, target_agent, subject, status, source_event_id, parent_job_id, correlation_key, hops, created_at,
    finished_at, finished_at - created_at as took
  from jobs where source_agent is not null and source_agent is distinct from target_agent;
