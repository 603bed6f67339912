-- Guards that Drizzle cannot express: append-only tables, the hash chain, and "no change of state without its history row".

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% on % is refused: the table is append-only', tg_op, tg_table_name using errcode = 'restrict_violation';
end $$;
--> statement-breakpoint
create trigger job_transitions_append_only before update or delete on job_transitions for each row execute function refuse_change();
--> statement-breakpoint
create trigger job_transitions_no_truncate before truncate on job_transitions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger events_append_only before update or delete on events for each row execute function refuse_change();
--> statement-breakpoint
create trigger events_no_truncate before truncate on events for each statement execute function refuse_change();
--> statement-breakpoint
create trigger observations_append_only before update or delete on observations for each row execute function refuse_change();
--> statement-breakpoint
create trigger observations_no_truncate before truncate on observations for each statement execute function refuse_change();
--> statement-breakpoint
create trigger fleet_versions_append_only before update or delete on fleet_versions for each row execute function refuse_change();
--> statement-breakpoint
create trigger fleet_versions_no_truncate before truncate on fleet_versions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger prompts_append_only before update or delete on prompts for each row execute function refuse_change();
--> statement-breakpoint
create trigger prompts_no_truncate before truncate on prompts for each statement execute function refuse_change();
--> statement-breakpoint
create trigger jobs_no_delete before delete on jobs for each row execute function refuse_change();
--> statement-breakpoint
create trigger jobs_no_truncate before truncate on jobs for each statement execute function refuse_change();
--> statement-breakpoint
create trigger job_attempts_no_delete before delete on job_attempts for each row execute function refuse_change();
--> statement-breakpoint
create trigger job_attempts_no_truncate before truncate on job_attempts for each statement execute function refuse_change();
--> statement-breakpoint

-- A closed attempt is history.
create function refuse_change_of_closed_attempt() returns trigger language plpgsql as $$
begin
  raise exception 'attempt % is closed and cannot change', old.id using errcode = 'restrict_violation';
end $$;
--> statement-breakpoint
create trigger job_attempts_closed_are_final before update on job_attempts
  for each row when (old.finished_at is not null) execute function refuse_change_of_closed_attempt();
--> statement-breakpoint

-- The bytes that a history row's hash covers, beside the hash of the row before it. One text, so that a verifier
-- in any language can recompute it from an export.
create function job_transition_canonical(t job_transitions) returns text language sql stable as $$
  select jsonb_build_array(
    t.job_id, t.seq, t.kind, t.from_status, t.to_status, t.reason, t.note, t.attempt_id, t.actor_kind, t.actor, t.details,
    to_char(t.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
  )::text
$$;
--> statement-breakpoint
create function job_transitions_chain() returns trigger language plpgsql as $$
declare
  prior record;
begin
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
--> statement-breakpoint
create trigger job_transitions_chain before insert on job_transitions for each row execute function job_transitions_chain();
--> statement-breakpoint

-- At commit, the state of a job is what its newest history row says. A bare UPDATE of jobs.status cannot commit.
create function jobs_state_has_history() returns trigger language plpgsql as $$
begin
  if not exists (
    select from job_transitions t join jobs j on j.id = t.job_id
    where t.job_id = new.id and t.seq = j.last_seq and t.to_status = j.status
  ) then
    raise exception 'job % is % without a history row that says so', new.id, new.status using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger jobs_insert_has_history after insert on jobs
  deferrable initially deferred for each row execute function jobs_state_has_history();
--> statement-breakpoint
create constraint trigger jobs_update_has_history after update of status, last_seq on jobs
  deferrable initially deferred for each row
  when (old.status is distinct from new.status or old.last_seq is distinct from new.last_seq)
  execute function jobs_state_has_history();
--> statement-breakpoint

-- The attempt a job points at exists, belongs to it and is open. Checked at commit, because both are written in one transaction.
create function jobs_current_attempt_is_open() returns trigger language plpgsql as $$
begin
  if not exists (
    select from jobs j left join job_attempts a on a.id = j.current_attempt_id
    where j.id = new.id
      and (j.current_attempt_id is null or (a.job_id = j.id and a.finished_at is null and a.status::text = j.status::text))
  ) then
    raise exception 'job % points at an attempt that is not its own open one', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger jobs_attempt_is_open after insert or update of current_attempt_id, status on jobs
  deferrable initially deferred for each row when (new.current_attempt_id is not null)
  execute function jobs_current_attempt_is_open();
--> statement-breakpoint

create function job_attempts_open_is_current() returns trigger language plpgsql as $$
begin
  if not exists (
    select from job_attempts a join jobs j on j.id = a.job_id
    where a.id = new.id and (a.finished_at is null) = (j.current_attempt_id is not distinct from a.id)
  ) then
    raise exception 'attempt % is open but does not hold its job, or holds it closed', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger job_attempts_hold_their_job after insert or update of status, finished_at on job_attempts
  deferrable initially deferred for each row execute function job_attempts_open_is_current();
--> statement-breakpoint

create view ready_jobs_v as
  select * from jobs where status = 'queued' and run_after <= now();
--> statement-breakpoint
create view stuck_jobs_v as
  select j.*, a.leased_until, a.lease_owner, a.attempt_no
  from jobs j join job_attempts a on a.id = j.current_attempt_id
  where a.finished_at is null and a.leased_until < now();
--> statement-breakpoint
create view dispatcher_health_summary_v as
  select namespace, dispatcher_id, host, pid, started_at, last_seen, leases_owned, busy_agents, metrics,
    case when stopped_at is not null then 'stopped' when last_seen < now() - interval '20 seconds' then 'stale' else 'alive' end as health
  from dispatcher_heartbeats;
--> statement-breakpoint
-- Counts only what is open or recent, so that it costs the same after a million finished jobs.
create view queue_health_summary_v as
  select j.namespace, j.target_agent,
    count(*) filter (where j.status = 'waiting') as waiting_count,
    count(*) filter (where j.status = 'queued') as queued_count,
    count(*) filter (where j.status = 'leased') as leased_count,
    count(*) filter (where j.status = 'running') as running_count,
    count(*) filter (where j.status = 'blocked') as blocked_count,
    count(*) filter (where j.attempt_count >= 3) as retry_hotspot_count,
    extract(epoch from now() - min(j.created_at) filter (where j.status = 'queued')) as oldest_queued_age_seconds,
    extract(epoch from now() - min(j.updated_at) filter (where j.status = 'blocked')) as oldest_blocked_age_seconds
  from jobs j
  where j.finished_at is null
  group by j.namespace, j.target_agent;
