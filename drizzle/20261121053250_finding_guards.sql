-- Guards of findings and the inbox: append-only history, and no state of a message or count of a finding without its history row.

create trigger finding_history_append_only before update or delete on finding_history for each row execute function refuse_change();
--> statement-breakpoint
create trigger finding_history_no_truncate before truncate on finding_history for each statement execute function refuse_change();
--> statement-breakpoint
create trigger findings_no_delete before delete on findings for each row execute function refuse_change();
--> statement-breakpoint
create trigger findings_no_truncate before truncate on findings for each statement execute function refuse_change();
--> statement-breakpoint
create trigger inbox_messages_no_delete before delete on inbox_messages for each row execute function refuse_change();
--> statement-breakpoint
create trigger inbox_messages_no_truncate before truncate on inbox_messages for each statement execute function refuse_change();
--> statement-breakpoint

-- What is settled or closed is history: seen again, it is a new finding and a new message.
create trigger findings_settled_are_final before update on findings for each row when (old.status = 'settled') execute function refuse_change();
--> statement-breakpoint
create trigger inbox_messages_closed_are_final before update on inbox_messages
  for each row when (old.status in ('acknowledged', 'withdrawn')) execute function refuse_change();
--> statement-breakpoint
create function refuse_unread() returns trigger language plpgsql as $$
begin
  raise exception 'message % was read and cannot be unread', old.id using errcode = 'restrict_violation';
end $$;
--> statement-breakpoint
create trigger inbox_messages_stay_read before update on inbox_messages
  for each row when (old.status = 'read' and new.status = 'unread') execute function refuse_unread();
--> statement-breakpoint

-- At commit, the history of a finding ends where the finding says, and begins at 1.
create function findings_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from findings f where f.id = new.id and (
      not exists (select from finding_history h where h.finding_id = f.id and h.seq = f.last_seq)
      or (f.last_seq > 1 and not exists (select from finding_history h where h.finding_id = f.id and h.seq = f.last_seq - 1))
      or exists (select from finding_history h where h.finding_id = f.id and h.seq > f.last_seq)
    )
  ) then
    raise exception 'finding % does not end where its history does', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger findings_have_history after insert or update on findings
  deferrable initially deferred for each row execute function findings_have_history();
--> statement-breakpoint
create function messages_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from inbox_messages m where m.id = new.id and m.status::text is distinct from (
      select case h.kind when 'raised' then 'unread' else h.kind::text end from finding_history h
      where h.finding_id = m.finding_id and h.message_id = m.id and h.kind in ('raised', 'read', 'acknowledged', 'withdrawn')
      order by h.seq desc limit 1
    )
  ) then
    raise exception 'message % is % without a history row that says so', new.id, new.status using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger inbox_messages_have_history after insert or update of status, read_by on inbox_messages
  deferrable initially deferred for each row execute function messages_have_history();
--> statement-breakpoint

-- What waits to be read or acknowledged, and for how long.
create view inbox_open_v as
  select m.id as message_id, m.agent_id, f.topic, f.subject_key, m.level, m.tone, m.nag_level, m.status, m.read_by, m.created_at,
    f.first_seen_at, f.last_seen_at, f.count, extract(epoch from now() - m.created_at)::bigint as age_seconds
  from inbox_messages m join findings f on f.id = m.finding_id
  where m.status in ('unread', 'read');
--> statement-breakpoint
-- What a day's digest counts, "found nothing" among it. Days are those of UTC.
create view standing_order_daily_counts_v as
  select (r.slot_at at time zone 'UTC')::date as day, o.namespace, o.agent_id, o.name, count(*) as slots,
    count(*) filter (where r.status = 'no_work') as no_work,
    count(*) filter (where r.status = 'completed') as completed,
    count(*) filter (where r.status = 'blocked') as blocked,
    count(*) filter (where r.status = 'failed') as failed,
    count(*) filter (where r.status = 'skipped') as skipped,
    count(*) filter (where r.status = 'missed') as missed,
    count(*) filter (where r.status in ('expected', 'started')) as open
  from standing_order_runs r join standing_orders o on o.id = r.order_id
  group by 1, 2, 3, 4;
