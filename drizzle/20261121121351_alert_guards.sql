-- Guards of alerts: histories that are append-only, ends that are final, and no state without its history row.

create trigger alert_history_append_only before update or delete on alert_history for each row execute function refuse_change();
--> statement-breakpoint
create trigger alert_history_no_truncate before truncate on alert_history for each statement execute function refuse_change();
--> statement-breakpoint
create trigger alert_attempts_append_only before update or delete on alert_attempts for each row execute function refuse_change();
--> statement-breakpoint
create trigger alert_attempts_no_truncate before truncate on alert_attempts for each statement execute function refuse_change();
--> statement-breakpoint
create trigger alerts_no_delete before delete on alerts for each row execute function refuse_change();
--> statement-breakpoint
create trigger alerts_no_truncate before truncate on alerts for each statement execute function refuse_change();
--> statement-breakpoint
create trigger alert_deliveries_no_delete before delete on alert_deliveries for each row execute function refuse_change();
--> statement-breakpoint
create trigger alert_deliveries_no_truncate before truncate on alert_deliveries for each statement execute function refuse_change();
--> statement-breakpoint
create trigger alert_silences_no_delete before delete on alert_silences for each row execute function refuse_change();
--> statement-breakpoint
create trigger alert_silences_no_truncate before truncate on alert_silences for each statement execute function refuse_change();
--> statement-breakpoint

-- What is over, told or lifted stays so.
create trigger alerts_resolved_are_final before update on alerts for each row when (old.status = 'resolved') execute function refuse_change();
--> statement-breakpoint
create trigger alert_deliveries_done_are_final before update on alert_deliveries for each row when (old.status <> 'pending') execute function refuse_change();
--> statement-breakpoint
create trigger alert_silences_lifted_are_final before update on alert_silences for each row when (old.lifted_at is not null) execute function refuse_change();
--> statement-breakpoint

-- At commit, an alert is what its history says, and that history has no gap.
create function alerts_have_history() returns trigger language plpgsql as $$
begin
  if exists (
    select from alerts a where a.id = new.id and (
      a.last_seq is distinct from (select count(*) from alert_history h where h.alert_id = a.id)
      or (a.status = 'resolved') is distinct from exists (select from alert_history h where h.alert_id = a.id and h.seq = a.last_seq and h.move = 'resolved')
      or (a.acknowledged_at is not null) is distinct from exists (select from alert_history h where h.alert_id = a.id and h.move = 'acknowledged')
    )
  ) then
    raise exception 'alert % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger alerts_have_history after insert or update of status, last_seq, acknowledged_at on alerts
  deferrable initially deferred for each row execute function alerts_have_history();
