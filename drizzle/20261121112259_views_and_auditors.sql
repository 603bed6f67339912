-- Views of the ledger's health, pruning that leaves a proof, and a role that can read and nothing else.

-- One row per agent and namespace: what is open, and the dead letters that nobody has buried. What is over is not counted: that would cost more each day.
create or replace view queue_health_summary_v as
select
  j.namespace,
  j.target_agent,
  count(*) filter (where j.status = 'waiting') as waiting_count,
  count(*) filter (where j.status = 'queued') as queued_count,
  count(*) filter (where j.status = 'leased') as leased_count,
  count(*) filter (where j.status = 'running') as running_count,
  count(*) filter (where j.status = 'blocked') as blocked_count,
  count(*) filter (where j.attempt_count >= 3 and j.finished_at is null) as retry_hotspot_count,
  extract(epoch from (now() - min(j.created_at) filter (where j.status = 'queued'))) as oldest_queued_age_seconds,
  extract(epoch from (now() - min(j.updated_at) filter (where j.status = 'blocked'))) as oldest_blocked_age_seconds,
  count(*) filter (where j.status = 'failed') as failed_count,
  count(*) filter (where j.status = 'dead') as dead_count,
  -- Leases that ran out and that no worker has reaped yet.
  count(a.id) as expired_lease_count
from jobs j
  -- Written so that the two small partial indexes (open work, dead letters) answer, and never the table.
  left join job_attempts a on a.id = j.current_attempt_id and a.finished_at is null and a.leased_until < now()
where j.finished_at is null or (j.status in ('failed', 'dead') and j.buried_at is null)
group by j.namespace, j.target_agent;
--> statement-breakpoint

-- One row per standing order: its next and its last slot, and what became of the slots of the last 24 hours.
create or replace view standing_order_health_summary_v as
select
  o.id as order_id,
  o.namespace,
  o.agent_id,
  o.name,
  o.version,
  o.enabled,
  n.slot_at as next_slot_at,
  l.slot_at as last_slot_at,
  l.status as last_status,
  l.cause as last_cause,
  d.slots as slots_24h,
  d.no_work as no_work_24h,
  d.completed as completed_24h,
  d.blocked as blocked_24h,
  d.failed as failed_24h,
  d.skipped as skipped_24h,
  d.missed as missed_24h,
  -- The same by the names of the source thread; a run is a slot that was started.
  d.runs as runs_last_24h,
  d.completed as completed_last_24h,
  d.no_work as no_work_last_24h,
  d.blocked as blocked_last_24h,
  d.failed as failed_last_24h,
  d.missed as missed_last_24h
from standing_orders o
  left join lateral (
    select slot_at from standing_order_runs where order_id = o.id and slot_at > now() order by slot_at limit 1
  ) n on true
  left join lateral (
    select slot_at, status, cause from standing_order_runs where order_id = o.id and slot_at <= now() order by slot_at desc limit 1
  ) l on true
  left join lateral (
    select
      count(*) as slots,
      count(r.started_at) as runs,
      count(*) filter (where r.status = 'no_work') as no_work,
      count(*) filter (where r.status = 'completed') as completed,
      count(*) filter (where r.status = 'blocked') as blocked,
      count(*) filter (where r.status = 'failed') as failed,
      count(*) filter (where r.status = 'skipped') as skipped,
      count(*) filter (where r.status = 'missed') as missed
    from standing_order_runs r
    where r.order_id = o.id and r.slot_at > now() - interval '1 day' and r.slot_at <= now()
  ) d on true;
--> statement-breakpoint

-- Queued and due, whole rows.
create or replace view ready_jobs_v as
select
  id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload, payload_hash, state, result, summary,
  status, last_seq, generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, blocked_reason,
  blocked_owner, unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at,
  awaited, standing_order_run_id, session_mode, source_event_id, hops, lineage, capabilities, blocked_at, escalate_at, answer
from jobs
where status = 'queued' and run_after <= now();
--> statement-breakpoint

-- Held by an attempt whose lease has run out, whole rows: a reaper takes them within seconds, so what stays here tells that none runs.
create or replace view stuck_jobs_v as
select
  j.id, j.namespace, j.parent_job_id, j.flow_key, j.correlation_key, j.source_agent, j.target_agent, j.job_type, j.subject, j.lane, j.priority, j.dedupe_key, j.payload, j.payload_hash,
  j.state, j.result, j.summary, j.status, j.last_seq, j.generation, j.run_after, j.attempt_count, j.max_attempts, j.timeout_seconds, j.lease_seconds, j.on_lost, j.on_dependency_death,
  j.current_attempt_id, j.held_reason, j.blocked_reason, j.blocked_owner, j.unblock_action, j.look_again_at, j.waits_for, j.last_error, j.last_error_code, j.created_by, j.created_at,
  j.updated_at, j.finished_at, j.buried_at,
  a.leased_until, a.lease_owner, a.attempt_no,
  j.awaited, j.standing_order_run_id, j.session_mode, j.source_event_id, j.hops, j.lineage, j.capabilities, j.blocked_at, j.escalate_at, j.answer
from jobs j
  join job_attempts a on a.id = j.current_attempt_id
where a.finished_at is null and a.leased_until < now();
--> statement-breakpoint

-- One row per namespace: everything a person looks at first. No row on a ledger without work, orders and processes.
create view system_health_snapshot_v as
with queue as (
  select
    namespace,
    sum(waiting_count)::bigint as waiting_count,
    sum(queued_count)::bigint as queued_count,
    sum(leased_count)::bigint as leased_count,
    sum(running_count)::bigint as running_count,
    sum(blocked_count)::bigint as blocked_count,
    sum(failed_count)::bigint as failed_count,
    sum(dead_count)::bigint as dead_count,
    sum(expired_lease_count)::bigint as expired_lease_count,
    sum(retry_hotspot_count)::bigint as retry_hotspot_count,
    max(oldest_queued_age_seconds) as oldest_queued_age_seconds,
    max(oldest_blocked_age_seconds) as oldest_blocked_age_seconds
  from queue_health_summary_v
  group by namespace
), standing as (
  select
    o.namespace,
    count(r.started_at) as runs_last_24h,
    count(*) filter (where r.status = 'completed') as completed_last_24h,
    count(*) filter (where r.status = 'no_work') as no_work_last_24h,
    count(*) filter (where r.status = 'blocked') as blocked_last_24h,
    count(*) filter (where r.status = 'failed') as failed_last_24h,
    count(*) filter (where r.status = 'skipped') as skipped_last_24h,
    count(*) filter (where r.status = 'missed') as missed_last_24h
  from standing_orders o
    left join standing_order_runs r on r.order_id = o.id and r.slot_at > now() - interval '1 day' and r.slot_at <= now()
  group by o.namespace
), dispatchers as (
  -- Processes that said they stopped are not counted: they are neither healthy nor lost.
  select
    namespace,
    count(*) as dispatcher_count,
    count(*) filter (where health = 'alive') as healthy_dispatcher_count,
    count(*) filter (where health = 'stale') as stale_dispatcher_count,
    max(last_seen) as last_dispatcher_seen_at,
    extract(epoch from (now() - max(last_seen))) as seconds_since_last_dispatcher_seen,
    sum(leases_owned) filter (where health = 'alive') as leases_owned_total,
    sum(busy_agents) filter (where health = 'alive') as busy_agents_total
  from dispatcher_health_summary_v
  where health <> 'stopped'
  group by namespace
)
select
  namespace,
  coalesce(q.waiting_count, 0) as waiting_count,
  coalesce(q.queued_count, 0) as queued_count,
  coalesce(q.leased_count, 0) as leased_count,
  coalesce(q.running_count, 0) as running_count,
  coalesce(q.blocked_count, 0) as blocked_count,
  coalesce(q.failed_count, 0) as failed_count,
  coalesce(q.dead_count, 0) as dead_count,
  coalesce(q.expired_lease_count, 0) as expired_lease_count,
  coalesce(q.retry_hotspot_count, 0) as retry_hotspot_count,
  q.oldest_queued_age_seconds,
  q.oldest_blocked_age_seconds,
  coalesce(s.runs_last_24h, 0) as standing_runs_last_24h,
  coalesce(s.completed_last_24h, 0) as standing_completed_last_24h,
  coalesce(s.no_work_last_24h, 0) as standing_no_work_last_24h,
  coalesce(s.blocked_last_24h, 0) as standing_blocked_last_24h,
  coalesce(s.failed_last_24h, 0) as standing_failed_last_24h,
  coalesce(s.skipped_last_24h, 0) as standing_skipped_last_24h,
  coalesce(s.missed_last_24h, 0) as standing_missed_last_24h,
  coalesce(d.dispatcher_count, 0) as dispatcher_count,
  coalesce(d.healthy_dispatcher_count, 0) as healthy_dispatcher_count,
  coalesce(d.stale_dispatcher_count, 0) as stale_dispatcher_count,
  d.last_dispatcher_seen_at,
  d.seconds_since_last_dispatcher_seen,
  coalesce(d.leases_owned_total, 0) as leases_owned_total,
  coalesce(d.busy_agents_total, 0) as busy_agents_total
from queue q
  full join standing s using (namespace)
  full join dispatchers d using (namespace);
--> statement-breakpoint

-- Standing orders over time, without what the agent is told.
create view standing_order_definitions_v as
select
  v.order_id, o.namespace, o.agent_id, o.name, v.version, v.enabled, v.in_force_from, v.actor_kind, v.actor,
  v.definition - 'message' as definition
from standing_order_versions v
  join standing_orders o on o.id = v.order_id;
--> statement-breakpoint

-- Who put what of the fleet in force. What a subscription tells its agent is left out, and where a gateway's token is found; the token itself is nowhere in the ledger.
create view fleet_changes_v as
select kind, id, version, valid_from, actor_kind, actor, case when kind <> 'subscription' then spec - 'token' end as spec
from fleet_versions;
--> statement-breakpoint

comment on view queue_health_summary_v is 'Per agent and namespace: open work by state, dead letters nobody has buried, the age of the oldest.';
--> statement-breakpoint
comment on view standing_order_health_summary_v is 'Per standing order: next and last slot, and what became of the slots of the last 24 hours.';
--> statement-breakpoint
comment on view dispatcher_health_summary_v is 'Per process that delivers work: alive, stale (not heard of for 20 seconds) or stopped.';
--> statement-breakpoint
comment on view system_health_snapshot_v is 'Per namespace: queues, the last 24 hours of standing orders, processes.';
--> statement-breakpoint
comment on view ready_jobs_v is 'Jobs that are queued and due.';
--> statement-breakpoint
comment on view stuck_jobs_v is 'Jobs whose attempt is past its lease and was not reaped yet.';
--> statement-breakpoint
comment on view standing_order_definitions_v is 'Each version of each standing order, without the message to the agent.';
--> statement-breakpoint
comment on view fleet_changes_v is 'Each version of each agent, gateway, subscription and policy, and who put it in force.';
--> statement-breakpoint

-- The text that the hash of a prune covers, beside the hash of the one before.
create function prune_canonical(p prunes) returns text language sql stable as $$
  select concat_ws(E'\n', 'agentbus prune 1', p.seq, p.kind, to_char(p.before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), p.rows, p.first_key, p.last_key,
    encode(p.root, 'hex'), p.policy_version, p.actor_kind, p.actor, to_char(p.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
$$;
--> statement-breakpoint
create function prunes_chain() returns trigger language plpgsql as $$
declare
  prior prunes;
begin
  select * into prior from prunes order by seq desc limit 1;
  if new.seq <> coalesce(prior.seq, 0) + 1 then
    raise exception 'prune % does not follow the one before', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  new.xact := pg_current_xact_id();
  new.prev_hash := coalesce(prior.hash, decode(repeat('00', 32), 'hex'));
  new.hash := sha256(new.prev_hash || convert_to(prune_canonical(new), 'UTF8'));
  return new;
end $$;
--> statement-breakpoint
create trigger prunes_chain before insert on prunes for each row execute function prunes_chain();
--> statement-breakpoint
create trigger prunes_append_only before update or delete on prunes for each row execute function refuse_change();
--> statement-breakpoint
create trigger prunes_no_truncate before truncate on prunes for each statement execute function refuse_change();
--> statement-breakpoint

-- At commit, as many rows bear a prune's number as it says.
create function prunes_name_their_rows() returns trigger language plpgsql as $$
declare
  found_rows bigint;
begin
  found_rows := case new.kind
    when 'prompts' then (select count(*) from prompts where pruned_by = new.seq)
    when 'jobs' then (select count(*) from jobs where pruned_by = new.seq)
    when 'attempts' then (select count(*) from job_attempts where pruned_by = new.seq)
    when 'events' then (select count(*) from events where pruned_by = new.seq)
    else new.rows
  end;
  if found_rows <> new.rows then
    raise exception 'prune % names % rows, % bear its number', new.seq, new.rows, found_rows using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger prunes_name_their_rows after insert on prunes deferrable initially deferred for each row execute function prunes_name_their_rows();
--> statement-breakpoint

-- Lets go of what a prune of this very transaction names, and of nothing else. Arguments: the kind; the column with the row's time; the columns that may be emptied.
create function refuse_change_but_pruning() returns trigger language plpgsql as $$
declare
  emptied text[] := string_to_array(tg_argv[2], ' ') || array['pruned_by', 'pruned_hash'];
  old_row jsonb := to_jsonb(old);
  pruning prunes;
begin
  if tg_op = 'DELETE' then
    select * into pruning from prunes p where p.kind = tg_argv[0] and p.xact = pg_current_xact_id()
      and (old_row ->> 'id')::bigint between p.first_key::bigint and p.last_key::bigint;
    if found and (old_row ->> tg_argv[1])::timestamptz < pruning.before then
      return old;
    end if;
  elsif old_row ->> 'pruned_by' is null and new.pruned_by is not null then
    select * into pruning from prunes p where p.kind = tg_argv[0] and p.xact = pg_current_xact_id() and p.seq = new.pruned_by;
    if found and (old_row ->> tg_argv[1])::timestamptz < pruning.before and old_row - emptied = to_jsonb(new) - emptied then
      return new;
    end if;
  end if;
  raise exception '% on % is refused: the table is append-only', tg_op, tg_table_name using errcode = 'restrict_violation';
end $$;
--> statement-breakpoint
drop trigger prompts_append_only on prompts;
--> statement-breakpoint
create trigger prompts_no_delete before delete on prompts for each row execute function refuse_change();
--> statement-breakpoint
create trigger prompts_append_only before update on prompts for each row execute function refuse_change_but_pruning('prompts', 'created_at', 'body');
--> statement-breakpoint
drop trigger events_append_only on events;
--> statement-breakpoint
create trigger events_no_delete before delete on events for each row execute function refuse_change();
--> statement-breakpoint
create trigger events_append_only before update on events for each row execute function refuse_change_but_pruning('events', 'created_at', 'payload');
--> statement-breakpoint
drop trigger job_attempts_closed_are_final on job_attempts;
--> statement-breakpoint
create trigger job_attempts_closed_are_final before update on job_attempts
  for each row when (old.finished_at is not null) execute function refuse_change_but_pruning('attempts', 'finished_at', 'hook_response openclaw_meta');
--> statement-breakpoint
drop trigger accesses_append_only on accesses;
--> statement-breakpoint
create trigger accesses_no_update before update on accesses for each row execute function refuse_change();
--> statement-breakpoint
create trigger accesses_append_only before delete on accesses for each row execute function refuse_change_but_pruning('accesses', 'at', '');
--> statement-breakpoint
drop trigger observations_append_only on observations;
--> statement-breakpoint
create trigger observations_no_update before update on observations for each row execute function refuse_change();
--> statement-breakpoint
create trigger observations_append_only before delete on observations for each row execute function refuse_change_but_pruning('observations', 'at', '');
--> statement-breakpoint
-- Jobs change while they live; of them only pruning itself is guarded, and that what was pruned stays so.
create trigger jobs_pruned_by_a_prune before update on jobs
  for each row when (new.pruned_by is distinct from old.pruned_by) execute function refuse_change_but_pruning('jobs', 'finished_at', 'payload state result answer');
--> statement-breakpoint
create trigger jobs_pruned_are_final before update on jobs
  for each row when (old.pruned_by is not null and (new.payload, new.state, new.result, new.answer, new.pruned_hash) is distinct from (old.payload, old.state, old.result, old.answer, old.pruned_hash))
  execute function refuse_change();
--> statement-breakpoint

-- What an auditor may read: histories and views. No token hash, no prompt, no payload, no answer of an agent, no message. Says whether the role is there.
-- Tables that come later are closed to it until a migration opens them.
create function grant_auditor() returns boolean language plpgsql as $$
begin
  if not exists (select from pg_roles where rolname = 'agentbus_auditor') then
    return false;
  end if;
  grant usage on schema public to agentbus_auditor;
  -- Whole: nothing in them was said by an agent or to one, or it is what histories are there for.
  grant select on
    job_transitions, job_dependencies, agent_state_changes, agent_states, agents, accesses, observations, controls, presence, dispatcher_heartbeats, approval_transitions,
    audit_checkpoints, audit_checkpoint_jobs, outbox, queue_epochs, reactions, standing_order_run_transitions, standing_order_runs, workflow_transitions, prunes,
    project_log
  to agentbus_auditor;
  grant select on
    agent_states_v, blocked_work_v, dispatcher_health_summary_v, hand_offs_v, inbox_open_v, queue_health_summary_v, standing_order_daily_counts_v, standing_order_gaps_v,
    standing_order_health_summary_v, system_health_snapshot_v, standing_order_definitions_v, fleet_changes_v
  to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, blocked_reason, blocked_owner,
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
  grant select (id, namespace, topic, source_agent, source_job_id, source_attempt_id, dedupe_key, correlation_key, hops, lineage, created_by, created_at, pruned_by, pruned_hash)
    on events to agentbus_auditor;
  grant select (id, namespace, subject, agent_id, job_id, workflow_run_id, step, correlation_key, status, last_seq, created_by, created_at, expires_at, decided_at, decided_by, note)
    on approvals to agentbus_auditor;
  grant select (id, name, role, agent_id, created_by, created_at, expires_at, revoked_at) on api_tokens to agentbus_auditor;
  grant select (id, namespace, agent_id, topic, subject_key, level, source_agent, since, first_seen_at, last_seen_at, count, last_raised_at, nag_count, nag_level, raise_at, status, settled_at,
    settled_as, last_seq) on findings to agentbus_auditor;
  grant select (id, finding_id, agent_id, level, tone, nag_level, status, created_at, read_by, read_attempt_id, read_at, read_until, closed_at, outcome, note) on inbox_messages to agentbus_auditor;
  grant select (kind, id, version, actor_kind, actor, valid_from) on fleet_versions to agentbus_auditor;
  grant select (id, base_url, hook_path, version, breaker, breaker_reason, breaker_changed_at, failures, reopened, probe_after, last_ready_at, last_down_at, booted_at, created_at, updated_at)
    on gateways to agentbus_auditor;
  grant select (id, namespace, agent_id, name, version, enabled, in_force_from, planned_until, plan_at) on standing_orders to agentbus_auditor;
  grant select (order_id, version, enabled, in_force_from, actor_kind, actor) on standing_order_versions to agentbus_auditor;
  grant select (id, namespace, name, agent_id, topic, enabled, version, updated_at) on subscriptions to agentbus_auditor;
  grant select (id, namespace, workflow, version, status, source_agent, dedupe_key, correlation_key, last_error, last_seq, created_by, created_at, finished_at) on workflow_runs to agentbus_auditor;
  grant select (run_id, step, status, job_id, approval_id, reason, started_at, finished_at) on workflow_steps to agentbus_auditor;
  grant select (finding_id, seq, kind, message_id, job_id, attempt_id, actor_kind, actor, at) on finding_history to agentbus_auditor;
  grant select (namespace, name, version, hash, created_by, created_at) on workflows to agentbus_auditor;
  grant select (namespace, project, version, status, agent_id, job_id, actor_kind, actor, at) on project_statuses to agentbus_auditor;
  return true;
end $$;
--> statement-breakpoint
revoke execute on function grant_auditor() from public;
--> statement-breakpoint

-- Roles belong to the whole server: another ledger may have made it already, or makes it at this moment. Where this user may not make roles, `agentbus migrate` says what to do.
do $$
begin
  if not exists (select from pg_roles where rolname = 'agentbus_auditor') then
    begin
      create role agentbus_auditor nologin;
    exception
      when duplicate_object or unique_violation or insufficient_privilege then null;
    end;
  end if;
  perform grant_auditor();
end $$;
