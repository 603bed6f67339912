-- The checks of jobs and of their history, as triggers: PostgreSQL keeps a check as text and reads it anew for each statement, a function once for a connection.
-- Of the CPU time of a move they took a tenth. Their names stay what they were, and so does the SQLSTATE.

-- The rule that a row breaks, by its name; null for one that breaks none. `agentbus verify` asks it of every row. The trigger below has the same text: to call
-- a function with the whole row takes half of what is saved. A test compares both.
create function job_rule_broken(j jobs) returns text language sql immutable as $$
  select case
    when not (j.priority between 1 and 1000) then 'jobs_priority_check'
    when not (j.attempt_count between 0 and j.max_attempts and j.max_attempts between 1 and 10000) then 'jobs_attempts_check'
    when not (j.generation >= 1 and j.last_seq >= 1) then 'jobs_generation_check'
    when (j.status in ('succeeded', 'failed', 'dead', 'cancelled')) <> (j.finished_at is not null) then 'jobs_terminal_iff_finished'
    when (j.status in ('leased', 'running')) <> (j.current_attempt_id is not null) then 'jobs_leased_iff_attempt'
    when (j.status = 'blocked') <> (j.blocked_reason is not null) or (j.status = 'blocked') <> (j.blocked_owner is not null) then 'jobs_blocked_iff_reason'
    when j.status <> 'blocked' and num_nonnulls(j.waits_for, j.look_again_at, j.unblock_action, j.blocked_at, j.escalate_at) > 0 then 'jobs_blocked_waits'
    when j.target_agent is null and (cardinality(j.capabilities) = 0 or j.current_attempt_id is not null) then 'jobs_agent_or_capabilities'
    when j.hops < 0 or cardinality(j.lineage) > j.hops then 'jobs_hops_check'
    when j.buried_at is not null and j.status not in ('failed', 'dead') then 'jobs_buried_when_over'
    when j.parent_job_id = j.id then 'jobs_not_own_parent'
    when j.pruned_by is not null and (j.finished_at is null or j.pruned_hash is null) then 'jobs_pruned_when_over'
  end
$$;
--> statement-breakpoint
create function jobs_are_consistent() returns trigger language plpgsql as $$
declare
  broken text := case
    when not (new.priority between 1 and 1000) then 'jobs_priority_check'
    when not (new.attempt_count between 0 and new.max_attempts and new.max_attempts between 1 and 10000) then 'jobs_attempts_check'
    when not (new.generation >= 1 and new.last_seq >= 1) then 'jobs_generation_check'
    when (new.status in ('succeeded', 'failed', 'dead', 'cancelled')) <> (new.finished_at is not null) then 'jobs_terminal_iff_finished'
    when (new.status in ('leased', 'running')) <> (new.current_attempt_id is not null) then 'jobs_leased_iff_attempt'
    when (new.status = 'blocked') <> (new.blocked_reason is not null) or (new.status = 'blocked') <> (new.blocked_owner is not null) then 'jobs_blocked_iff_reason'
    when new.status <> 'blocked' and num_nonnulls(new.waits_for, new.look_again_at, new.unblock_action, new.blocked_at, new.escalate_at) > 0 then 'jobs_blocked_waits'
    when new.target_agent is null and (cardinality(new.capabilities) = 0 or new.current_attempt_id is not null) then 'jobs_agent_or_capabilities'
    when new.hops < 0 or cardinality(new.lineage) > new.hops then 'jobs_hops_check'
    when new.buried_at is not null and new.status not in ('failed', 'dead') then 'jobs_buried_when_over'
    when new.parent_job_id = new.id then 'jobs_not_own_parent'
    when new.pruned_by is not null and (new.finished_at is null or new.pruned_hash is null) then 'jobs_pruned_when_over'
  end;
begin
  if broken is not null then
    raise exception 'job % would not be consistent: it violates "%"', new.id, broken
      using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = broken;
  end if;
  return new;
end $$;
--> statement-breakpoint
-- None of the triggers that come after it by name changes the row.
create trigger jobs_are_consistent before insert or update on jobs for each row execute function jobs_are_consistent();
--> statement-breakpoint

-- A condition in a trigger is read anew for each statement as well: short ones stay, this one goes into its function.
create function refuse_change_of_pruned_job() returns trigger language plpgsql as $$
begin
  if (new.payload, new.state, new.result, new.answer, new.pruned_hash) is distinct from (old.payload, old.state, old.result, old.answer, old.pruned_hash) then
    raise exception '% on % is refused: what was pruned stays so', tg_op, tg_table_name using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
--> statement-breakpoint
drop trigger jobs_pruned_are_final on jobs;
--> statement-breakpoint
create trigger jobs_pruned_are_final before update on jobs for each row when (old.pruned_by is not null) execute function refuse_change_of_pruned_job();
--> statement-breakpoint

create function job_move_is_legal(before job_status, after job_status) returns boolean language sql immutable as $$
  select case before
    when 'waiting' then after in ('queued', 'blocked', 'cancelled', 'dead')
    when 'queued' then after in ('leased', 'blocked', 'dead', 'cancelled')
    when 'leased' then after in ('queued', 'running', 'succeeded', 'blocked', 'failed', 'dead', 'cancelled')
    when 'running' then after in ('queued', 'succeeded', 'blocked', 'failed', 'dead', 'cancelled')
    when 'blocked' then after in ('queued', 'dead', 'cancelled')
    when 'failed' then after = 'queued'
    when 'dead' then after = 'queued'
    when 'cancelled' then after = 'queued'
    else false
  end
$$;
--> statement-breakpoint
create or replace function job_transitions_chain() returns trigger language plpgsql as $$
declare
  prior record;
  broken text := case
    when (new.seq = 1) <> (new.from_status is null) or (new.seq = 1) <> (new.reason = 'created') then 'job_transitions_first_is_created'
    when not case
      when new.from_status is null then new.kind = 'move' and new.to_status in ('waiting', 'queued')
      when new.kind = 'note' then new.from_status = new.to_status
      else job_move_is_legal(new.from_status, new.to_status)
    end then 'job_transitions_legal_move'
  end;
begin
  if broken is not null then
    raise exception 'history of job % cannot go on from % to % at seq %: it violates "%"', new.job_id, new.from_status, new.to_status, new.seq, broken
      using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = broken;
  end if;
  new.xact := pg_current_xact_id();
  if new.seq = 1 then
    new.prev_hash := sha256(convert_to(new.job_id::text, 'UTF8'));
  else
    select hash, to_status into prior from job_transitions where job_id = new.job_id and seq = new.seq - 1;
    if not found then
      raise exception 'history of job % has a gap before seq %', new.job_id, new.seq using errcode = 'integrity_constraint_violation';
    end if;
    if prior.to_status is distinct from new.from_status then
      raise exception 'history of job % breaks at seq %: % follows %', new.job_id, new.seq, new.from_status, prior.to_status
        using errcode = 'integrity_constraint_violation';
    end if;
    new.prev_hash := prior.hash;
  end if;
  new.hash := sha256(new.prev_hash || convert_to(job_transition_canonical(new), 'UTF8'));
  return new;
end $$;
