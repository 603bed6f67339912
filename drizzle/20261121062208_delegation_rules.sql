-- Whether the rules of an agent let it send a job of this type to that agent. Without rules anything may be sent, and to itself always.
create function may_delegate(rules jsonb, source text, target text, job_type text) returns boolean language sql immutable as $$
  select rules is null or source = target or exists (
    select from jsonb_array_elements(rules) as rule
    where (rule -> 'to' ? '*' or rule -> 'to' ? target)
      and (not rule ? 'job_types' or exists (
        select from jsonb_array_elements_text(rule -> 'job_types') as allowed
        where allowed = job_type or (allowed like '%.*' and starts_with(job_type, left(allowed, -1)))
      ))
  )
$$;
