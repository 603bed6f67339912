-- How long work has waited: from when it was due, not from when it was made, and from when it was blocked, not from its last note. As metrics and alerts have it.
create or replace view queue_health_summary_v as
select
  j.namespace,
  j.target_agent,
  count(*) filter (where j.status = 'waiting') as waiting_count,
  count(*) filter (where j.status = 'queued') as queued_count,
  count(*) filter (where j.status = 'leased') as leased_count,
  count(*) filter (where j.status = 'running') as running_count,
  count(*) filter (where j.status = 'blocked') as blocked_count,
  count(*) filter (where j.attempt_count >= 3 and j.finished_at is null) as retry_hotspot_count,
  extract(epoch from (now() - min(j.run_after) filter (where j.status = 'queued' and j.run_after <= now()))) as oldest_queued_age_seconds,
  extract(epoch from (now() - min(j.blocked_at) filter (where j.status = 'blocked'))) as oldest_blocked_age_seconds,
  count(*) filter (where j.status = 'failed') as failed_count,
  count(*) filter (where j.status = 'dead') as dead_count,
  -- Leases that ran out and that no worker has reaped yet.
  count(a.id) as expired_lease_count
from jobs j
  -- Written so that the two small partial indexes (open work, dead letters) answer, and never the table.
  left join job_attempts a on a.id = j.current_attempt_id and a.finished_at is null and a.leased_until < now()
where j.finished_at is null or (j.status in ('failed', 'dead') and j.buried_at is null)
group by j.namespace, j.target_agent;
