-- Guards of standing orders: one door for every move of a slot, append-only histories, and the job's end closes its slot.

create trigger standing_order_versions_append_only before update or delete on standing_order_versions for each row execute function refuse_change();
--> statement-breakpoint
create trigger standing_order_versions_no_truncate before truncate on standing_order_versions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger standing_order_run_transitions_append_only before update or delete on standing_order_run_transitions for each row execute function refuse_change();
--> statement-breakpoint
create trigger standing_order_run_transitions_no_truncate before truncate on standing_order_run_transitions for each statement execute function refuse_change();
--> statement-breakpoint
create trigger standing_orders_no_delete before delete on standing_orders for each row execute function refuse_change();
--> statement-breakpoint
create trigger standing_order_runs_no_truncate before truncate on standing_order_runs for each statement execute function refuse_change();
--> statement-breakpoint
-- A slot that is only expected is a plan, and goes with the version it was planned from. Anything later stays.
create trigger standing_order_runs_no_delete before delete on standing_order_runs
  for each row when (old.status <> 'expected') execute function refuse_change();
--> statement-breakpoint

-- The legal moves of a slot. no_work, completed, skipped and missed are final.
create function slot_may_move(from_status slot_status, to_status slot_status) returns boolean language sql immutable as $$
  select case from_status
    when 'expected' then to_status in ('started', 'skipped', 'missed')
    when 'started' then to_status in ('no_work', 'completed', 'blocked', 'failed')
    when 'blocked' then to_status in ('started', 'failed')
    when 'failed' then to_status = 'started'
    else false
  end
$$;
--> statement-breakpoint
alter table standing_order_run_transitions add constraint standing_order_run_transitions_legal check (slot_may_move(from_status, to_status));
--> statement-breakpoint

-- The only writer of standing_order_runs.status. Returns false when the slot is there already.
create function move_slot(
  run uuid, target slot_status, why text, by_kind actor_kind, by_whom text, more jsonb, moved_at timestamptz
) returns boolean language plpgsql as $$
declare
  slot standing_order_runs;
  stated boolean;
begin
  select * into slot from standing_order_runs where id = run for no key update;
  if not found then
    raise exception 'no slot has the id %', run using errcode = 'no_data_found';
  end if;
  if slot.status = target then
    return false;
  end if;
  -- A job that succeeded says "completed"; what the agent claimed before says it better.
  stated := target = 'completed' and coalesce(slot.claimed in ('no_work', 'completed'), false);
  update standing_order_runs r set
    status = case when stated then slot.claimed else target end,
    unstated = target = 'completed' and not stated,
    cause = why,
    last_seq = slot.last_seq + 1,
    trigger = case when slot.status = 'expected' and target = 'started' then more ->> 'trigger' else slot.trigger end,
    started_at = case when slot.status = 'expected' and target = 'started' then moved_at else slot.started_at end,
    finished_at = case when target in ('expected', 'started') then null else moved_at end,
    claimed = case when target = 'started' then null else slot.claimed end,
    details = slot.details || more
  where r.id = run;
  insert into standing_order_run_transitions (run_id, seq, from_status, to_status, cause, actor_kind, actor, details, at)
  values (run, slot.last_seq + 1, slot.status, case when stated then slot.claimed else target end, why, by_kind, by_whom, more, moved_at);
  return true;
end $$;
--> statement-breakpoint

-- At commit, the state of a slot is what its newest history row says.
create function slots_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from standing_order_runs r
    where r.id = new.id and (r.last_seq > 0 or r.status <> 'expected') and not exists (
      select from standing_order_run_transitions t where t.run_id = r.id and t.seq = r.last_seq and t.to_status = r.status
    )
  ) then
    raise exception 'slot % is % without a history row that says so', new.id, new.status using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger standing_order_runs_have_history after insert or update of status, last_seq on standing_order_runs
  deferrable initially deferred for each row when (new.status <> 'expected' or new.last_seq > 0) execute function slots_have_history();
--> statement-breakpoint

-- Whatever ends the job of a slot ends the slot in the same transaction, and whatever opens the job again opens it.
create function jobs_move_their_slot() returns trigger language plpgsql as $$
declare
  target slot_status;
  by_whom record;
begin
  target := case
    when new.status = 'succeeded' then 'completed'
    when new.status = 'blocked' then 'blocked'
    when new.status in ('failed', 'dead', 'cancelled') then 'failed'
    else 'started'
  end;
  select actor_kind, actor into by_whom from job_transitions where job_id = new.id and seq = new.last_seq;
  perform move_slot(new.standing_order_run_id, target, null, by_whom.actor_kind, by_whom.actor,
    case when target = 'failed' then jsonb_build_object('job_status', new.status) else '{}'::jsonb end, clock_timestamp());
  return null;
end $$;
--> statement-breakpoint
create trigger jobs_move_their_slot after update of status on jobs
  for each row when (new.standing_order_run_id is not null and old.status is distinct from new.status) execute function jobs_move_their_slot();
--> statement-breakpoint

create view standing_order_gaps_v as
  select o.agent_id, o.name, r.id as run_id, r.version, r.slot_at, r.grace_until, r.status, r.cause, r.details
  from standing_order_runs r join standing_orders o on o.id = r.order_id
  where r.status = 'missed' or (r.status = 'expected' and r.grace_until < now());
--> statement-breakpoint
-- One line per order over its newest day of slots, so that it costs the same after a year.
create view standing_order_health_summary_v as
  select o.id as order_id, o.namespace, o.agent_id, o.name, o.version, o.enabled, n.slot_at as next_slot_at,
    l.slot_at as last_slot_at, l.status as last_status, l.cause as last_cause,
    count(r.id) as slots_24h,
    count(r.id) filter (where r.status = 'no_work') as no_work_24h,
    count(r.id) filter (where r.status = 'completed') as completed_24h,
    count(r.id) filter (where r.status = 'blocked') as blocked_24h,
    count(r.id) filter (where r.status = 'failed') as failed_24h,
    count(r.id) filter (where r.status = 'skipped') as skipped_24h,
    count(r.id) filter (where r.status = 'missed') as missed_24h
  from standing_orders o
    left join lateral (select slot_at from standing_order_runs where order_id = o.id and slot_at > now() order by slot_at limit 1) n on true
    left join lateral (select slot_at, status, cause from standing_order_runs where order_id = o.id and slot_at <= now() order by slot_at desc limit 1) l on true
    left join standing_order_runs r on r.order_id = o.id and r.slot_at > now() - interval '1 day' and r.slot_at <= now()
  group by o.id, n.slot_at, l.slot_at, l.status, l.cause;
