-- Guards of the lists of rows that checkpoints cover beside the histories of jobs: see docs/decisions/0034-listed-records.md.

create trigger audit_checkpoint_records_append_only before update or delete on audit_checkpoint_records for each row execute function refuse_change();
--> statement-breakpoint
create trigger audit_checkpoint_records_no_truncate before truncate on audit_checkpoint_records for each statement execute function refuse_change();
--> statement-breakpoint
-- The lists come first, since their hash is in the checkpoint.
alter table audit_checkpoint_records add constraint audit_checkpoint_records_checkpoint_seq_fk foreign key (checkpoint_seq) references audit_checkpoints (seq) deferrable initially deferred;
--> statement-breakpoint

-- The same bytes as before for a checkpoint from before there were lists; three more lines for one that has them.
create or replace function audit_checkpoint_canonical(c audit_checkpoints) returns text language sql stable as $$
  select concat_ws(E'\n', case when c.records is not null then 'agentbus checkpoint 3' when c.restored_to is null then 'agentbus checkpoint 1' else 'agentbus checkpoint 2' end,
    c.seq, c.xact_from, c.xact_to, c.rows, c.jobs, c.first_id, c.last_id, encode(c.root, 'hex'),
    encode(c.jobs_hash, 'hex'), coalesce(c.key_id, ''), to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    case when c.records is null then c.restored_to::text else coalesce(c.restored_to::text, '') end, c.records, encode(c.records_hash, 'hex'))
$$;
--> statement-breakpoint
create or replace function audit_checkpoints_chain() returns trigger language plpgsql as $$
declare
  prior audit_checkpoints;
  begins xid8;
begin
  select * into prior from audit_checkpoints order by seq desc limit 1;
  -- After a restore the numbers begin again; a restore may be recorded in several parts.
  begins := case when prior.seq is null or (prior.restored_to is not null and prior.restored_to is distinct from new.restored_to) then '0'::xid8 else prior.xact_to end;
  if new.seq <> coalesce(prior.seq, 0) + 1 or new.xact_from <> begins or new.prev_hash <> coalesce(prior.hash, decode(repeat('00', 32), 'hex')) then
    raise exception 'checkpoint % does not follow the one before', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.restored_to is null and new.xact_to > pg_snapshot_xmin(pg_current_snapshot()) then
    raise exception 'checkpoint % reaches into transactions that have not ended', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  -- One more than what is there: restores between which no job moved have boundaries of their own all the same.
  if new.restored_to > greatest((select max(id) from job_transitions), (select max(restored_to) from audit_checkpoints), 0) + 1 or new.restored_to < (select max(restored_to) from audit_checkpoints) then
    raise exception 'checkpoint % records a restore of rows that are not there', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.records is null then
    raise exception 'checkpoint % lists no rows of other histories', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.hash <> sha256(new.prev_hash || convert_to(audit_checkpoint_canonical(new), 'UTF8')) then
    raise exception 'checkpoint % does not have the hash of what it says', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
--> statement-breakpoint

-- At commit, a checkpoint names as many jobs, and lists as many rows, as it says.
create or replace function audit_checkpoints_name_their_jobs() returns trigger language plpgsql as $$
begin
  if new.jobs <> (select count(*) from audit_checkpoint_jobs where checkpoint_seq = new.seq) then
    raise exception 'checkpoint % does not name its jobs', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.records <> (select coalesce(sum(cardinality(ids)), 0) from audit_checkpoint_records where checkpoint_seq = new.seq) then
    raise exception 'checkpoint % does not list its rows', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create or replace function grant_auditor() returns boolean language plpgsql as $$
begin
  if not exists (select from pg_roles where rolname = 'agentbus_auditor') then
    return false;
  end if;
  grant usage on schema public to agentbus_auditor;
  -- Whole: nothing in them was said by an agent or to one, or it is what histories are there for.
  grant select on
    job_transitions, job_dependencies, agent_state_changes, agent_states, agents, accesses, observations, controls, presence, dispatcher_heartbeats, approval_transitions,
    audit_checkpoints, audit_checkpoint_jobs, audit_checkpoint_records, outbox, queue_epochs, reactions, standing_order_run_transitions, standing_order_runs, workflow_transitions, prunes,
    project_log, control_changes, alerts, alert_history, alert_silences, alert_attempts, metric_marks, metric_totals
  to agentbus_auditor;
  grant select on
    agent_states_v, blocked_work_v, dispatcher_health_summary_v, hand_offs_v, inbox_open_v, queue_health_summary_v, standing_order_daily_counts_v, standing_order_gaps_v,
    standing_order_health_summary_v, system_health_snapshot_v, standing_order_definitions_v, fleet_changes_v, controls_in_force_v
  to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, held_by, blocked_reason, blocked_owner,
    unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at, awaited, standing_order_run_id, session_mode,
    source_event_id, hops, lineage, capabilities, blocked_at, escalate_at, pruned_by, pruned_hash) on jobs to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, blocked_reason, blocked_owner,
    unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at, awaited, standing_order_run_id, session_mode,
    source_event_id, hops, lineage, capabilities, blocked_at, escalate_at) on ready_jobs_v to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, blocked_reason, blocked_owner,
    unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at, awaited, standing_order_run_id, session_mode,
    source_event_id, hops, lineage, capabilities, blocked_at, escalate_at,
    leased_until, lease_owner, attempt_no) on stuck_jobs_v to agentbus_auditor;
  grant select (id, job_id, attempt_no, agent_id, gateway_id, status, slot, burned, lease_owner, leased_at, leased_until, gateway_booted_at, deadline_at, admitted_at, finished_at, outcome_code,
    error, summary, prompt_hash, contract_version, payload_hash, hook_status, openclaw_task_ref, openclaw_session_key, pruned_by, pruned_hash) on job_attempts to agentbus_auditor;
  grant select (hash, bytes, created_at, pruned_by) on prompts to agentbus_auditor;
  grant select (id, namespace, topic, source_agent, source_job_id, source_attempt_id, dedupe_key, correlation_key, hops, lineage, created_by, created_at, pruned_by, pruned_hash, xact)
    on events to agentbus_auditor;
  grant select (id, namespace, subject, agent_id, job_id, workflow_run_id, step, correlation_key, status, last_seq, created_by, created_at, expires_at, decided_at, decided_by, note)
    on approvals to agentbus_auditor;
  grant select (id, name, role, agent_id, created_by, created_at, expires_at, revoked_at) on api_tokens to agentbus_auditor;
  grant select (id, namespace, agent_id, topic, subject_key, level, source_agent, since, first_seen_at, last_seen_at, count, last_raised_at, nag_count, nag_level, raise_at, status, settled_at,
    settled_as, last_seq) on findings to agentbus_auditor;
  grant select (id, finding_id, agent_id, level, tone, nag_level, status, created_at, read_by, read_attempt_id, read_at, read_until, closed_at, outcome, note) on inbox_messages to agentbus_auditor;
  grant select (kind, id, version, actor_kind, actor, valid_from, record_id, xact) on fleet_versions to agentbus_auditor;
  grant select (id, base_url, hook_path, version, breaker, breaker_reason, breaker_changed_at, failures, reopened, probe_after, last_ready_at, last_down_at, booted_at, created_at, updated_at)
    on gateways to agentbus_auditor;
  grant select (id, namespace, agent_id, name, version, enabled, in_force_from, planned_until, plan_at) on standing_orders to agentbus_auditor;
  grant select (order_id, version, enabled, in_force_from, actor_kind, actor, record_id, xact) on standing_order_versions to agentbus_auditor;
  grant select (id, namespace, name, agent_id, topic, enabled, version, updated_at) on subscriptions to agentbus_auditor;
  grant select (id, namespace, workflow, version, status, source_agent, dedupe_key, correlation_key, last_error, last_seq, created_by, created_at, finished_at) on workflow_runs to agentbus_auditor;
  grant select (run_id, step, status, job_id, approval_id, reason, started_at, finished_at) on workflow_steps to agentbus_auditor;
  grant select (finding_id, seq, kind, message_id, job_id, attempt_id, actor_kind, actor, at, record_id, xact) on finding_history to agentbus_auditor;
  grant select (namespace, name, version, hash, created_by, created_at, record_id, xact) on workflows to agentbus_auditor;
  grant select (namespace, project, version, status, agent_id, job_id, actor_kind, actor, at, record_id, xact) on project_statuses to agentbus_auditor;
  grant select (id, alert_id, seq, rule, notice, receiver_kind, receiver, status, tries, next_try_at, job_id, created_at, done_at) on alert_deliveries to agentbus_auditor;
  return true;
end $$;
--> statement-breakpoint
select grant_auditor();
