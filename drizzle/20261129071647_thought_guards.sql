-- Guards of ideas, opportunities and memories: histories that are append-only, words and ends that stay, no state without its review and no words
-- without their hash; and the views on them.

create trigger idea_reviews_append_only before update or delete on idea_reviews for each row execute function refuse_change();
--> statement-breakpoint
create trigger idea_reviews_no_truncate before truncate on idea_reviews for each statement execute function refuse_change();
--> statement-breakpoint
create trigger opportunity_reviews_append_only before update or delete on opportunity_reviews for each row execute function refuse_change();
--> statement-breakpoint
create trigger opportunity_reviews_no_truncate before truncate on opportunity_reviews for each statement execute function refuse_change();
--> statement-breakpoint
create trigger memory_candidate_reviews_append_only before update or delete on memory_candidate_reviews for each row execute function refuse_change();
--> statement-breakpoint
create trigger memory_candidate_reviews_no_truncate before truncate on memory_candidate_reviews for each statement execute function refuse_change();
--> statement-breakpoint
create trigger memory_reviews_append_only before update or delete on memory_reviews for each row execute function refuse_change();
--> statement-breakpoint
create trigger memory_reviews_no_truncate before truncate on memory_reviews for each statement execute function refuse_change();
--> statement-breakpoint
create trigger ideas_no_delete before delete on ideas for each row execute function refuse_change();
--> statement-breakpoint
create trigger ideas_no_truncate before truncate on ideas for each statement execute function refuse_change();
--> statement-breakpoint
create trigger opportunities_no_delete before delete on opportunities for each row execute function refuse_change();
--> statement-breakpoint
create trigger opportunities_no_truncate before truncate on opportunities for each statement execute function refuse_change();
--> statement-breakpoint
create trigger memory_candidates_no_delete before delete on memory_candidates for each row execute function refuse_change();
--> statement-breakpoint
create trigger memory_candidates_no_truncate before truncate on memory_candidates for each statement execute function refuse_change();
--> statement-breakpoint
create trigger memories_no_delete before delete on memories for each row execute function refuse_change();
--> statement-breakpoint
create trigger memories_no_truncate before truncate on memories for each statement execute function refuse_change();
--> statement-breakpoint

-- What is final stays as it is: whoever thinks it again makes a new row.
create trigger ideas_decided_are_final before update on ideas for each row when (old.status in ('promoted_to_opportunity', 'archived')) execute function refuse_change();
--> statement-breakpoint
create trigger opportunities_decided_are_final before update on opportunities for each row when (old.status in ('rejected', 'converted_to_job')) execute function refuse_change();
--> statement-breakpoint
create trigger memory_candidates_decided_are_final before update on memory_candidates
  for each row when (old.status in ('promoted', 'rejected', 'archived')) execute function refuse_change();
--> statement-breakpoint
create trigger memories_over_are_final before update on memories for each row when (old.status in ('superseded', 'expired', 'archived')) execute function refuse_change();
--> statement-breakpoint

-- What was said stays as it was said, and whose it is: decisions are about these words.
create trigger ideas_words_stay before update on ideas for each row
  when ((old.id, old.namespace, old.source_agent, old.theme, old.title, old.body, old.evidence, old.tags, old.dedupe_key, old.created_by)
    is distinct from (new.id, new.namespace, new.source_agent, new.theme, new.title, new.body, new.evidence, new.tags, new.dedupe_key, new.created_by))
  execute function refuse_change();
--> statement-breakpoint
create trigger opportunities_words_stay before update on opportunities for each row
  when ((old.id, old.namespace, old.source_agent, old.theme, old.title, old.why_now, old.evidence, old.impact_score, old.confidence_score, old.urgency_score,
      old.reversibility, old.owner_candidate, old.suggested_next_step, old.dedupe_key, old.created_by)
    is distinct from (new.id, new.namespace, new.source_agent, new.theme, new.title, new.why_now, new.evidence, new.impact_score, new.confidence_score, new.urgency_score,
      new.reversibility, new.owner_candidate, new.suggested_next_step, new.dedupe_key, new.created_by))
  execute function refuse_change();
--> statement-breakpoint
create trigger memory_candidates_words_stay before update on memory_candidates for each row
  when ((old.id, old.namespace, old.source_agent, old.candidate_kind, old.scope, old.subject_key, old.title, old.body, old.evidence, old.source_refs,
      old.confidence_score, old.stability, old.visibility, old.visible_to, old.dedupe_key, old.created_by)
    is distinct from (new.id, new.namespace, new.source_agent, new.candidate_kind, new.scope, new.subject_key, new.title, new.body, new.evidence, new.source_refs,
      new.confidence_score, new.stability, new.visibility, new.visible_to, new.dedupe_key, new.created_by))
  execute function refuse_change();
--> statement-breakpoint
create trigger memories_words_stay before update on memories for each row
  when ((old.id, old.namespace, old.kind, old.scope, old.subject_key, old.title, old.body, old.owner_agent, old.source_candidate_id, old.source_refs,
      old.stability, old.visibility, old.visible_to, old.supersedes_memory_id, old.dedupe_key, old.created_by)
    is distinct from (new.id, new.namespace, new.kind, new.scope, new.subject_key, new.title, new.body, new.owner_agent, new.source_candidate_id, new.source_refs,
      new.stability, new.visibility, new.visible_to, new.supersedes_memory_id, new.dedupe_key, new.created_by))
  execute function refuse_change();
--> statement-breakpoint

-- The hash of the same words, which the first row of the history keeps. Frozen: the hash is kept for good.
create function idea_words(i ideas) returns bytea language sql stable as $$
  select sha256(convert_to(jsonb_build_array(
    i.id, i.namespace, i.source_agent, i.theme, i.title, i.body, i.evidence, i.tags, i.dedupe_key, i.created_by
  )::text, 'UTF8'))
$$;
--> statement-breakpoint
create function opportunity_words(o opportunities) returns bytea language sql stable as $$
  select sha256(convert_to(jsonb_build_array(
    o.id, o.namespace, o.source_agent, o.theme, o.title, o.why_now, o.evidence, o.impact_score, o.confidence_score, o.urgency_score, o.reversibility,
    o.owner_candidate, o.suggested_next_step, o.dedupe_key, o.created_by
  )::text, 'UTF8'))
$$;
--> statement-breakpoint
create function memory_candidate_words(c memory_candidates) returns bytea language sql stable as $$
  select sha256(convert_to(jsonb_build_array(
    c.id, c.namespace, c.source_agent, c.candidate_kind, c.scope, c.subject_key, c.title, c.body, c.evidence, c.source_refs, c.confidence_score,
    c.stability, c.visibility, c.visible_to, c.dedupe_key, c.created_by
  )::text, 'UTF8'))
$$;
--> statement-breakpoint
create function memory_words(m memories) returns bytea language sql stable as $$
  select sha256(convert_to(jsonb_build_array(
    m.id, m.namespace, m.kind, m.scope, m.subject_key, m.title, m.body, m.owner_agent, m.source_candidate_id, m.source_refs, m.stability,
    m.visibility, m.visible_to, m.supersedes_memory_id, m.dedupe_key, m.created_by
  )::text, 'UTF8'))
$$;
--> statement-breakpoint

-- At commit, each is what its newest review says, its reviews are numbered from 1 without a gap, each going on from the one before, and the first
-- has the hash of what it says.
create function ideas_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from ideas s cross join lateral (select count(*) as n, max(r.seq) as newest from idea_reviews r where r.idea_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from idea_reviews r where r.idea_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from idea_reviews r join idea_reviews p on p.idea_id = r.idea_id and p.seq = r.seq - 1
        where r.idea_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from idea_reviews r where r.idea_id = s.id and r.seq = 1 and r.words_hash = idea_words(s))
    )
  ) then
    raise exception 'idea % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger ideas_have_history after insert or update on ideas
  deferrable initially deferred for each row execute function ideas_have_history();
--> statement-breakpoint
create function opportunities_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from opportunities s cross join lateral (select count(*) as n, max(r.seq) as newest from opportunity_reviews r where r.opportunity_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from opportunity_reviews r where r.opportunity_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from opportunity_reviews r join opportunity_reviews p on p.opportunity_id = r.opportunity_id and p.seq = r.seq - 1
        where r.opportunity_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from opportunity_reviews r where r.opportunity_id = s.id and r.seq = 1 and r.words_hash = opportunity_words(s))
    )
  ) then
    raise exception 'opportunity % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger opportunities_have_history after insert or update on opportunities
  deferrable initially deferred for each row execute function opportunities_have_history();
--> statement-breakpoint
create function memory_candidates_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from memory_candidates s cross join lateral (select count(*) as n, max(r.seq) as newest from memory_candidate_reviews r where r.memory_candidate_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from memory_candidate_reviews r where r.memory_candidate_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from memory_candidate_reviews r join memory_candidate_reviews p on p.memory_candidate_id = r.memory_candidate_id and p.seq = r.seq - 1
        where r.memory_candidate_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from memory_candidate_reviews r where r.memory_candidate_id = s.id and r.seq = 1 and r.words_hash = memory_candidate_words(s))
    )
  ) then
    raise exception 'memory candidate % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger memory_candidates_have_history after insert or update on memory_candidates
  deferrable initially deferred for each row execute function memory_candidates_have_history();
--> statement-breakpoint
create function memories_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from memories s cross join lateral (select count(*) as n, max(r.seq) as newest from memory_reviews r where r.memory_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from memory_reviews r where r.memory_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from memory_reviews r join memory_reviews p on p.memory_id = r.memory_id and p.seq = r.seq - 1
        where r.memory_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from memory_reviews r where r.memory_id = s.id and r.seq = 1 and r.words_hash = memory_words(s))
    )
  ) then
    raise exception 'memory % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger memories_have_history after insert or update on memories
  deferrable initially deferred for each row execute function memories_have_history();
--> statement-breakpoint

-- What waits for a decision, whole rows.
create view open_opportunities_v as
  select id, namespace, source_agent, theme, title, why_now, evidence, impact_score, confidence_score, urgency_score, reversibility, owner_candidate, suggested_next_step,
    status, last_seq, triaged_by, triage_notes, triaged_at, converted_job_id, dedupe_key, created_by, created_at, updated_at
  from opportunities
  where status in ('new', 'triaged', 'accepted', 'parked');
--> statement-breakpoint
-- What is known now, whole rows: one whose time has passed is not, whether or not anybody has written that down.
create view active_memories_v as
  select id, namespace, kind, scope, subject_key, title, body, owner_agent, source_candidate_id, source_refs, confidence_score, stability, visibility, visible_to, status, last_seq,
    created_by, updated_by, valid_from, expires_at, next_review_at, supersedes_memory_id, dedupe_key, created_at, updated_at
  from memories
  where status = 'active' and (expires_at is null or expires_at > now());
--> statement-breakpoint
-- Counted from an index, without the rows. What is over is counted here, unlike jobs: there are few, and how many were rejected is what is asked.
create view opportunity_health_summary_v as
select
  namespace,
  count(*) filter (where status = 'new') as new_count,
  count(*) filter (where status = 'triaged') as triaged_count,
  count(*) filter (where status = 'accepted') as accepted_count,
  count(*) filter (where status = 'rejected') as rejected_count,
  count(*) filter (where status = 'parked') as parked_count,
  count(*) filter (where status = 'converted_to_job') as converted_count,
  extract(epoch from (now() - min(created_at) filter (where status = 'new'))) as oldest_new_age_seconds
from opportunities
group by namespace;
--> statement-breakpoint
create view idea_health_summary_v as
select
  namespace,
  count(*) filter (where status = 'new') as new_count,
  count(*) filter (where status = 'reviewed') as reviewed_count,
  count(*) filter (where status = 'promoted_to_opportunity') as promoted_count,
  count(*) filter (where status = 'archived') as archived_count,
  extract(epoch from (now() - min(created_at) filter (where status = 'new'))) as oldest_new_age_seconds
from ideas
group by namespace;
--> statement-breakpoint

-- The same as before, and at the end what is proposed and noted in each namespace.
create or replace view system_health_snapshot_v as
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
  coalesce(d.busy_agents_total, 0) as busy_agents_total,
  coalesce(o.new_count, 0) as opp_new_count,
  coalesce(o.triaged_count, 0) as opp_triaged_count,
  coalesce(o.accepted_count, 0) as opp_accepted_count,
  coalesce(o.parked_count, 0) as opp_parked_count,
  coalesce(o.converted_count, 0) as opp_converted_count,
  o.oldest_new_age_seconds as opp_oldest_new_age_seconds,
  coalesce(i.new_count, 0) as idea_new_count,
  coalesce(i.reviewed_count, 0) as idea_reviewed_count,
  coalesce(i.promoted_count, 0) as idea_promoted_count,
  coalesce(i.archived_count, 0) as idea_archived_count,
  i.oldest_new_age_seconds as idea_oldest_new_age_seconds
from queue q
  full join standing s using (namespace)
  full join dispatchers d using (namespace)
  full join opportunity_health_summary_v o using (namespace)
  full join idea_health_summary_v i using (namespace);
--> statement-breakpoint

comment on view opportunity_health_summary_v is 'Per namespace: opportunities by state, and the age of the oldest that nobody has looked at.';
--> statement-breakpoint
comment on view idea_health_summary_v is 'Per namespace: ideas by state, and the age of the oldest that nobody has looked at.';
--> statement-breakpoint
comment on view open_opportunities_v is 'Opportunities that can still be decided about.';
--> statement-breakpoint
comment on view active_memories_v is 'Memories that are in force: active, and not past their end.';
--> statement-breakpoint
comment on view system_health_snapshot_v is 'Per namespace: queues, the last 24 hours of standing orders, processes, opportunities, ideas.';
--> statement-breakpoint

-- The reviews whole: the words of those who decide are what an audit is about. Of what agents have said, all but the words.
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
    project_log, control_changes, alerts, alert_history, alert_silences, alert_attempts, metric_marks, metric_totals,
    idea_reviews, opportunity_reviews, memory_candidate_reviews, memory_reviews
  to agentbus_auditor;
  grant select on
    agent_states_v, blocked_work_v, dispatcher_health_summary_v, hand_offs_v, inbox_open_v, queue_health_summary_v, standing_order_daily_counts_v, standing_order_gaps_v,
    standing_order_health_summary_v, system_health_snapshot_v, standing_order_definitions_v, fleet_changes_v, controls_in_force_v,
    opportunity_health_summary_v, idea_health_summary_v
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
  grant select (id, namespace, source_agent, theme, tags, status, last_seq, promoted_opportunity_id, dedupe_key, created_by, created_at, updated_at) on ideas to agentbus_auditor;
  grant select (id, namespace, source_agent, theme, impact_score, confidence_score, urgency_score, reversibility, owner_candidate, status, last_seq, triaged_by, triage_notes, triaged_at,
    converted_job_id, dedupe_key, created_by, created_at, updated_at) on opportunities to agentbus_auditor;
  grant select (id, namespace, source_agent, theme, impact_score, confidence_score, urgency_score, reversibility, owner_candidate, status, last_seq, triaged_by, triage_notes, triaged_at,
    converted_job_id, dedupe_key, created_by, created_at, updated_at) on open_opportunities_v to agentbus_auditor;
  grant select (id, namespace, source_agent, candidate_kind, scope, subject_key, confidence_score, stability, visibility, visible_to, status, last_seq, reviewer, review_notes,
    promoted_memory_id, dedupe_key, created_by, created_at, updated_at) on memory_candidates to agentbus_auditor;
  grant select (id, namespace, kind, scope, subject_key, owner_agent, source_candidate_id, confidence_score, stability, visibility, visible_to, status, last_seq, created_by, updated_by,
    valid_from, expires_at, next_review_at, supersedes_memory_id, dedupe_key, created_at, updated_at) on memories to agentbus_auditor;
  grant select (id, namespace, kind, scope, subject_key, owner_agent, source_candidate_id, confidence_score, stability, visibility, visible_to, status, last_seq, created_by, updated_by,
    valid_from, expires_at, next_review_at, supersedes_memory_id, dedupe_key, created_at, updated_at) on active_memories_v to agentbus_auditor;
  return true;
end $$;
--> statement-breakpoint
select grant_auditor();
