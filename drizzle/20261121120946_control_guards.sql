-- Controls from before there was a history of them get theirs: how each began, and that it was lifted.
insert into control_changes (control_id, seq, change, reason, actor_kind, actor, at)
  select id, 1, 'set', reason, set_by_kind, set_by, set_at from controls
  union all
  select id, 2, 'resumed', 'lifted before reasons were written down', set_by_kind, coalesce(lifted_by, set_by), lifted_at from controls where lifted_at is not null;
--> statement-breakpoint
update controls set last_seq = case when lifted_at is null then 1 else 2 end, lifted_because = case when lifted_at is not null then 'resumed' end,
  lifted_by_kind = case when lifted_at is not null then set_by_kind end;
--> statement-breakpoint

-- What is written down of a control stays.
create trigger control_changes_append_only before update or delete on control_changes for each row execute function refuse_change();
--> statement-breakpoint
create trigger control_changes_no_truncate before truncate on control_changes for each statement execute function refuse_change();
--> statement-breakpoint
create trigger controls_no_delete before delete on controls for each row execute function refuse_change();
--> statement-breakpoint
create trigger controls_no_truncate before truncate on controls for each statement execute function refuse_change();
--> statement-breakpoint
create trigger controls_lifted_are_final before update on controls for each row when (old.lifted_at is not null) execute function refuse_change();
--> statement-breakpoint
create trigger controls_begin_stays before update on controls for each row
  when ((old.action, old.scope, old.target, old.reason, old.set_by_kind, old.set_by, old.set_at, old.until_at)
    is distinct from (new.action, new.scope, new.target, new.reason, new.set_by_kind, new.set_by, new.set_at, new.until_at))
  execute function refuse_change();
--> statement-breakpoint

-- At commit, the newest row of a control's history says the same as the control.
create function controls_have_history() returns trigger language plpgsql as $$
declare
  newest text;
  newest_seq integer;
  c controls;
begin
  select * into c from controls where id = new.id;
  select h.change, h.seq into newest, newest_seq from control_changes h where h.control_id = c.id order by h.seq desc limit 1;
  if newest_seq is distinct from c.last_seq
    or (c.lifted_at is not null) is distinct from (newest in ('resumed', 'expired', 'replaced'))
    or c.lifted_because is distinct from (case when newest in ('resumed', 'expired', 'replaced') then newest end)
    or (c.drained_at is not null and not exists (select from control_changes h where h.control_id = c.id and h.change = 'drained'))
  then
    raise exception 'control % does not end where its history does', c.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger controls_have_history after insert or update on controls
  deferrable initially deferred for each row execute function controls_have_history();
--> statement-breakpoint

-- A crash may forget what callers have sent: they may then send a little more.
alter table rate_buckets set unlogged;
--> statement-breakpoint

-- What is stopped now, by whom, why and until when. One whose time has come stops nothing, lifted or not.
create view controls_in_force_v as
  select id, action, scope::text as scope, nullif(target, '') as target, reason, set_by_kind, set_by, set_at, until_at, running, drained_at
  from controls
  where lifted_at is null and (until_at is null or until_at > clock_timestamp());
