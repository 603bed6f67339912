-- The number of its transaction decides which checkpoint covers a row, and no hash covers it: whoever may insert must not choose it.
create or replace function job_transitions_chain() returns trigger language plpgsql as $$
declare
  prior record;
begin
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
