-- Guards of checkpoints after a dump was restored: see docs/decisions/0029-restored-ledgers.md.

-- The same bytes as before for a checkpoint that records no restore; one more line for one that does.
create or replace function audit_checkpoint_canonical(c audit_checkpoints) returns text language sql stable as $$
  select concat_ws(E'\n', case when c.restored_to is null then 'agentbus checkpoint 1' else 'agentbus checkpoint 2' end,
    c.seq, c.xact_from, c.xact_to, c.rows, c.jobs, c.first_id, c.last_id, encode(c.root, 'hex'),
    encode(c.jobs_hash, 'hex'), coalesce(c.key_id, ''), to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), c.restored_to)
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
  if new.restored_to > (select max(id) from job_transitions) or new.restored_to < (select max(restored_to) from audit_checkpoints) then
    raise exception 'checkpoint % records a restore of rows that are not there', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.hash <> sha256(new.prev_hash || convert_to(audit_checkpoint_canonical(new), 'UTF8')) then
    raise exception 'checkpoint % does not have the hash of what it says', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
