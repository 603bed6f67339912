-- Guards of checkpoints: append-only, one after the other, with the hash of what they say, and only over transactions that have ended.

create trigger audit_checkpoints_append_only before update or delete on audit_checkpoints for each row execute function refuse_change();
--> statement-breakpoint
create trigger audit_checkpoints_no_truncate before truncate on audit_checkpoints for each statement execute function refuse_change();
--> statement-breakpoint
create trigger audit_checkpoint_jobs_append_only before update or delete on audit_checkpoint_jobs for each row execute function refuse_change();
--> statement-breakpoint
create trigger audit_checkpoint_jobs_no_truncate before truncate on audit_checkpoint_jobs for each statement execute function refuse_change();
--> statement-breakpoint

-- The bytes that a checkpoint's hash covers, beside the hash of the checkpoint before it: a line for each field.
create function audit_checkpoint_canonical(c audit_checkpoints) returns text language sql stable as $$
  select concat_ws(E'\n', 'agentbus checkpoint 1', c.seq, c.xact_from, c.xact_to, c.rows, c.jobs, c.first_id, c.last_id, encode(c.root, 'hex'),
    encode(c.jobs_hash, 'hex'), coalesce(c.key_id, ''), to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
$$;
--> statement-breakpoint
create function audit_checkpoints_chain() returns trigger language plpgsql as $$
declare
  prior audit_checkpoints;
begin
  select * into prior from audit_checkpoints order by seq desc limit 1;
  if new.seq <> coalesce(prior.seq, 0) + 1 or new.xact_from <> coalesce(prior.xact_to, '0'::xid8)
    or new.prev_hash <> coalesce(prior.hash, decode(repeat('00', 32), 'hex')) then
    raise exception 'checkpoint % does not follow the one before', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.xact_to > pg_snapshot_xmin(pg_current_snapshot()) then
    raise exception 'checkpoint % reaches into transactions that have not ended', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.hash <> sha256(new.prev_hash || convert_to(audit_checkpoint_canonical(new), 'UTF8')) then
    raise exception 'checkpoint % does not have the hash of what it says', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
--> statement-breakpoint
create trigger audit_checkpoints_chain before insert on audit_checkpoints for each row execute function audit_checkpoints_chain();
--> statement-breakpoint

-- At commit, a checkpoint names as many jobs as it says.
create function audit_checkpoints_name_their_jobs() returns trigger language plpgsql as $$
begin
  if new.jobs <> (select count(*) from audit_checkpoint_jobs where checkpoint_seq = new.seq) then
    raise exception 'checkpoint % does not name its jobs', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger audit_checkpoints_name_their_jobs after insert on audit_checkpoints
  deferrable initially deferred for each row execute function audit_checkpoints_name_their_jobs();
