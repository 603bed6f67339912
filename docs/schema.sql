-- The ledger as PostgreSQL holds it after all migrations. Made by `npm run schema`; do not edit.

-- types

create type actor_kind as enum ('operator', 'agent', 'attempt', 'auditor', 'worker', 'relay', 'reaper', 'reconciler', 'prober', 'board', 'system');
create type agent_state as enum ('offline', 'idle', 'assigned', 'working', 'blocked', 'disabled');
create type alert_delivery_status as enum ('pending', 'delivered', 'failed');
create type alert_level as enum ('warning', 'urgent');
create type alert_move as enum ('opened', 'told', 'acknowledged', 'resolved');
create type alert_notice as enum ('opened', 'reminder', 'resolved', 'test');
create type alert_receiver as enum ('webhook', 'agent');
create type alert_status as enum ('open', 'resolved');
create type approval_status as enum ('pending', 'approved', 'rejected', 'expired', 'withdrawn');
create type attempt_status as enum ('leased', 'running', 'succeeded', 'blocked', 'failed', 'timed_out', 'lost', 'cancelled', 'released');
create type breaker_state as enum ('closed', 'open');
create type control_scope as enum ('everything', 'lane', 'gateway', 'agent', 'order', 'promotions', 'conversions');
create type finding_level as enum ('info', 'warning', 'urgent');
create type finding_move as enum ('filed', 'raised', 'read', 'returned', 'acknowledged', 'withdrawn', 'settled');
create type finding_status as enum ('open', 'settled');
create type idea_status as enum ('new', 'reviewed', 'promoted_to_opportunity', 'archived');
create type job_status as enum ('waiting', 'queued', 'leased', 'running', 'blocked', 'succeeded', 'failed', 'dead', 'cancelled');
create type lane as enum ('reactive', 'scheduled', 'proactive', 'memory', 'idle', 'coding');
create type memory_candidate_status as enum ('new', 'reviewed', 'promoted', 'rejected', 'archived');
create type memory_kind as enum ('decision', 'preference', 'pattern', 'mistake', 'lesson', 'playbook', 'constraint', 'entity_fact', 'context');
create type memory_scope as enum ('global', 'agent', 'project', 'person', 'service');
create type memory_stability as enum ('volatile', 'medium', 'stable');
create type memory_status as enum ('active', 'superseded', 'expired', 'archived');
create type memory_visibility as enum ('shared', 'role_limited', 'agent_private', 'human_editable');
create type message_status as enum ('unread', 'read', 'acknowledged', 'withdrawn');
create type observation_kind as enum ('refusal', 'late_answer', 'mend', 'drop', 'outside_change', 'operator_action');
create type on_dependency_death as enum ('block', 'cancel', 'run');
create type on_lost as enum ('retry', 'block');
create type opportunity_reversibility as enum ('high', 'medium', 'low');
create type opportunity_status as enum ('new', 'triaged', 'accepted', 'rejected', 'parked', 'converted_to_job');
create type outbox_kind as enum ('publish', 'remove');
create type reaction_status as enum ('pending', 'made', 'joined', 'cut', 'refused', 'failed');
create type session_mode as enum ('isolated', 'main');
create type slot_status as enum ('expected', 'started', 'no_work', 'completed', 'blocked', 'failed', 'skipped', 'missed');
create type token_role as enum ('operator', 'agent', 'auditor');
create type transition_kind as enum ('move', 'note');
create type transition_reason as enum ('created', 'dependencies_met', 'dependency_died', 'leased', 'admitted', 'completed_by_agent', 'blocked_by_agent', 'failed_by_agent', 'retry_asked_by_agent', 'ended_without_terminal_write', 'deadline_exceeded', 'lease_expired', 'run_lost', 'undelivered', 'refused_by_gateway', 'attempts_exhausted', 'unblocked', 'look_again', 'condition_met', 'operator_retry', 'operator_dead', 'cancelled', 'released', 'progress', 'marked_running', 'lease_renewed', 'reattached', 'held', 'pause_ended', 'late_answer_refused', 'close_repeated', 'run_replaced', 'requeued_by_reconciler', 'queue_entry_dropped', 'outside_change', 'duplicate_create', 'assigned', 'given_back', 'escalated', 'answered', 'buried');
create type workflow_run_status as enum ('running', 'succeeded', 'failed', 'cancelled');
create type workflow_step_status as enum ('pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled');

-- tables

create table accesses (
  id bigint not null generated always as identity,
  at timestamp(6) with time zone not null,
  actor_kind actor_kind not null,
  actor text not null,
  agent_id text,
  attempt_id uuid,
  job_id uuid,
  route text not null,
  target jsonb not null default '{}'::jsonb,
  status integer not null,
  xact xid8 not null default pg_current_xact_id()
);
create table agent_state_changes (
  id bigint not null generated always as identity,
  agent_id text not null,
  from_state agent_state,
  to_state agent_state not null,
  reason text,
  at timestamp(6) with time zone not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id()
);
create table agent_states (
  agent_id text not null,
  state agent_state not null,
  since timestamp(6) with time zone not null,
  last_assigned_at timestamp(6) with time zone,
  assigned_count bigint not null default 0
);
create table agents (
  id text not null,
  gateway_id text not null,
  gateway_agent_id text not null,
  role text,
  concurrency integer not null default 1,
  capabilities text[] not null default '{}'::text[],
  timeout_seconds integer not null default 600,
  lease_seconds integer not null default 600,
  enabled boolean not null default true,
  version integer not null default 1,
  created_at timestamp(6) with time zone not null default now(),
  updated_at timestamp(6) with time zone not null default now(),
  delegation jsonb
);
create table alert_attempts (
  delivery_id uuid not null,
  try_no integer not null,
  ok boolean not null,
  http_status integer,
  error text,
  ms integer not null,
  worker text not null,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table alert_deliveries (
  id uuid not null,
  alert_id uuid,
  seq integer,
  rule text not null,
  notice alert_notice not null,
  receiver_kind alert_receiver not null,
  receiver text not null,
  body jsonb not null,
  status alert_delivery_status not null default 'pending'::alert_delivery_status,
  tries integer not null default 0,
  next_try_at timestamp(6) with time zone not null,
  job_id uuid,
  created_at timestamp(6) with time zone not null,
  done_at timestamp(6) with time zone
);
create table alert_history (
  alert_id uuid not null,
  seq integer not null,
  move alert_move not null,
  actor_kind actor_kind not null,
  actor text not null,
  note text,
  details jsonb not null default '{}'::jsonb,
  at timestamp(6) with time zone not null,
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table alert_silences (
  id uuid not null,
  rule text not null,
  subject text,
  until timestamp(6) with time zone not null,
  reason text not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null,
  lifted_at timestamp(6) with time zone,
  lifted_by text,
  lift_reason text
);
create table alert_watches (
  rule text not null,
  subject text not null,
  since timestamp(6) with time zone not null
);
create table alerts (
  id uuid not null,
  rule text not null,
  figure text not null,
  subject text not null,
  level alert_level not null,
  status alert_status not null default 'open'::alert_status,
  value double precision not null,
  peak double precision not null,
  threshold double precision not null,
  since timestamp(6) with time zone not null,
  opened_at timestamp(6) with time zone not null,
  clear_since timestamp(6) with time zone,
  resolved_at timestamp(6) with time zone,
  resolved_as text,
  acknowledged_at timestamp(6) with time zone,
  acknowledged_by text,
  note text,
  tell_at timestamp(6) with time zone,
  told integer not null default 0,
  last_seq integer not null default 1
);
create table api_tokens (
  id uuid not null,
  name text not null,
  role token_role not null,
  agent_id text,
  hash bytea not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default now(),
  expires_at timestamp(6) with time zone,
  revoked_at timestamp(6) with time zone
);
create table approval_transitions (
  approval_id uuid not null,
  seq integer not null,
  to_status approval_status not null,
  actor_kind actor_kind not null,
  actor text not null,
  note text,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table approvals (
  id uuid not null,
  namespace text not null default 'default'::text,
  subject text not null,
  details jsonb not null default '{}'::jsonb,
  agent_id text,
  job_id uuid,
  workflow_run_id uuid,
  step text,
  correlation_key text,
  status approval_status not null default 'pending'::approval_status,
  last_seq integer not null default 1,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  expires_at timestamp(6) with time zone,
  decided_at timestamp(6) with time zone,
  decided_by text,
  note text
);
create table audit_checkpoint_jobs (
  checkpoint_seq integer not null,
  job_id uuid not null,
  first_seq integer not null,
  last_seq integer not null,
  last_hash bytea not null
);
create table audit_checkpoint_records (
  checkpoint_seq integer not null,
  history text not null,
  part integer not null,
  restored_to bigint,
  ids bigint[] not null,
  hashes bytea not null
);
create table audit_checkpoints (
  seq integer not null,
  xact_from xid8 not null,
  xact_to xid8 not null,
  rows integer not null,
  jobs integer not null,
  first_id bigint not null,
  last_id bigint not null,
  root bytea not null,
  jobs_hash bytea not null,
  key_id text,
  created_at timestamp(6) with time zone not null,
  prev_hash bytea not null,
  hash bytea not null,
  signature bytea,
  restored_to bigint,
  records integer,
  records_hash bytea
);
create table control_changes (
  control_id bigint not null,
  seq integer not null,
  id bigint not null generated always as identity,
  change text not null,
  reason text not null,
  actor_kind actor_kind not null,
  actor text not null,
  details jsonb not null default '{}'::jsonb,
  at timestamp(6) with time zone not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id()
);
create table controls (
  id bigint not null generated always as identity,
  scope control_scope not null,
  target text not null default ''::text,
  reason text not null,
  set_by_kind actor_kind not null,
  set_by text not null,
  set_at timestamp(6) with time zone not null default clock_timestamp(),
  lifted_by text,
  lifted_at timestamp(6) with time zone,
  action text not null default 'pause'::text,
  until_at timestamp(6) with time zone,
  running text not null default 'leave'::text,
  drained_at timestamp(6) with time zone,
  lifted_by_kind actor_kind,
  lifted_because text,
  lift_reason text,
  last_seq integer not null default 0
);
create table dispatcher_heartbeats (
  namespace text not null default 'default'::text,
  dispatcher_id text not null,
  host text not null,
  pid integer not null,
  started_at timestamp(6) with time zone not null default now(),
  last_seen timestamp(6) with time zone not null default now(),
  stopped_at timestamp(6) with time zone,
  leases_owned integer not null default 0,
  busy_agents integer not null default 0,
  metrics jsonb not null default '{}'::jsonb
);
create table events (
  id bigint not null generated always as identity,
  namespace text not null default 'default'::text,
  topic text not null,
  source_agent text,
  source_job_id uuid,
  source_attempt_id uuid,
  dedupe_key text,
  correlation_key text,
  payload jsonb not null default '{}'::jsonb,
  hops integer not null default 0,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  lineage uuid[] not null default '{}'::uuid[],
  pruned_by integer,
  pruned_hash bytea,
  xact xid8 not null default pg_current_xact_id()
);
create table finding_history (
  finding_id uuid not null,
  seq integer not null,
  kind finding_move not null,
  message_id uuid,
  job_id uuid,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  details jsonb not null default '{}'::jsonb,
  at timestamp(6) with time zone not null,
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table findings (
  id uuid not null,
  namespace text not null default 'default'::text,
  agent_id text not null,
  topic text not null,
  subject_key text not null,
  level finding_level not null,
  body text not null,
  data jsonb not null default '{}'::jsonb,
  source_agent text,
  since timestamp(6) with time zone not null,
  first_seen_at timestamp(6) with time zone not null,
  last_seen_at timestamp(6) with time zone not null,
  count integer not null default 1,
  last_raised_at timestamp(6) with time zone,
  nag_count integer not null default 0,
  nag_level integer not null default 0,
  raise_at timestamp(6) with time zone,
  status finding_status not null default 'open'::finding_status,
  settled_at timestamp(6) with time zone,
  settled_as text,
  last_seq integer not null default 0
);
create table fleet_versions (
  kind text not null,
  id text not null,
  version integer not null,
  spec jsonb not null,
  actor_kind actor_kind not null,
  actor text not null,
  valid_from timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table gateways (
  id text not null,
  base_url text not null,
  hook_path text not null default '/hooks'::text,
  token_ref text not null,
  version integer not null default 1,
  breaker breaker_state not null default 'closed'::breaker_state,
  breaker_reason text,
  breaker_changed_at timestamp(6) with time zone,
  failures integer not null default 0,
  reopened integer not null default 0,
  probe_after timestamp(6) with time zone not null default now(),
  last_ready_at timestamp(6) with time zone,
  last_down_at timestamp(6) with time zone,
  booted_at timestamp(6) with time zone,
  created_at timestamp(6) with time zone not null default now(),
  updated_at timestamp(6) with time zone not null default now()
);
create table idea_reviews (
  idea_id uuid not null,
  seq integer not null,
  from_status idea_status,
  decision idea_status not null,
  details jsonb not null default '{}'::jsonb,
  notes text,
  reviewer text,
  job_id uuid,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  words_hash bytea,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table ideas (
  id uuid not null,
  namespace text not null default 'default'::text,
  source_agent text,
  theme text not null,
  title text not null,
  body text not null,
  evidence jsonb not null default '{}'::jsonb,
  tags text[] not null default '{}'::text[],
  status idea_status not null default 'new'::idea_status,
  promoted_opportunity_id uuid,
  dedupe_key text,
  last_seq integer not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  updated_at timestamp(6) with time zone not null default clock_timestamp()
);
create table idempotency_keys (
  caller text not null,
  key text not null,
  request_hash text not null,
  response json,
  created_at timestamp(6) with time zone not null default now()
);
create table inbox_messages (
  id uuid not null,
  finding_id uuid not null,
  agent_id text not null,
  level finding_level not null,
  tone text not null,
  nag_level integer not null,
  text text not null,
  status message_status not null default 'unread'::message_status,
  created_at timestamp(6) with time zone not null,
  read_by text,
  read_attempt_id uuid,
  read_at timestamp(6) with time zone,
  read_until timestamp(6) with time zone,
  closed_at timestamp(6) with time zone,
  outcome text,
  note text
);
create table job_attempts (
  id uuid not null,
  job_id uuid not null,
  attempt_no integer not null,
  agent_id text not null,
  gateway_id text not null,
  status attempt_status not null default 'leased'::attempt_status,
  slot integer not null,
  burned boolean not null default false,
  lease_owner text not null,
  leased_at timestamp(6) with time zone not null default clock_timestamp(),
  leased_until timestamp(6) with time zone not null,
  gateway_booted_at timestamp(6) with time zone,
  deadline_at timestamp(6) with time zone not null,
  admitted_at timestamp(6) with time zone,
  finished_at timestamp(6) with time zone,
  outcome_code text,
  error text,
  summary text,
  prompt_hash text not null,
  contract_version text not null,
  payload_hash text not null,
  hook_status integer,
  hook_response jsonb,
  openclaw_task_ref text,
  openclaw_session_key text,
  openclaw_meta jsonb not null default '{}'::jsonb,
  pruned_by integer,
  pruned_hash bytea
);
create table job_dependencies (
  job_id uuid not null,
  depends_on_job_id uuid not null
);
create table job_transitions (
  job_id uuid not null,
  seq integer not null,
  id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id(),
  kind transition_kind not null,
  from_status job_status,
  to_status job_status not null,
  reason transition_reason not null,
  note text,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  details jsonb not null default '{}'::jsonb,
  at timestamp(6) with time zone not null default clock_timestamp(),
  prev_hash bytea not null default '\x'::bytea,
  hash bytea not null default '\x'::bytea
);
create table jobs (
  id uuid not null,
  namespace text not null default 'default'::text,
  parent_job_id uuid,
  flow_key text,
  correlation_key text,
  source_agent text,
  target_agent text,
  job_type text not null,
  subject text not null,
  lane lane not null default 'reactive'::lane,
  priority integer not null default 100,
  dedupe_key text,
  payload jsonb not null default '{}'::jsonb,
  payload_hash text not null,
  state jsonb not null default '{}'::jsonb,
  result jsonb,
  summary text,
  status job_status not null,
  last_seq integer not null,
  generation integer not null default 1,
  run_after timestamp(6) with time zone not null,
  attempt_count integer not null default 0,
  max_attempts integer not null default 5,
  timeout_seconds integer not null,
  lease_seconds integer not null,
  on_lost on_lost not null default 'retry'::on_lost,
  on_dependency_death on_dependency_death not null default 'block'::on_dependency_death,
  current_attempt_id uuid,
  held_reason text,
  blocked_reason text,
  blocked_owner text,
  unblock_action text,
  look_again_at timestamp(6) with time zone,
  waits_for jsonb,
  last_error text,
  last_error_code text,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  updated_at timestamp(6) with time zone not null default clock_timestamp(),
  finished_at timestamp(6) with time zone,
  buried_at timestamp(6) with time zone,
  awaited boolean not null default false,
  standing_order_run_id uuid,
  session_mode session_mode not null default 'isolated'::session_mode,
  source_event_id bigint,
  hops integer not null default 0,
  lineage uuid[] not null default '{}'::uuid[],
  capabilities text[] not null default '{}'::text[],
  blocked_at timestamp(6) with time zone,
  escalate_at timestamp(6) with time zone,
  answer jsonb,
  pruned_by integer,
  pruned_hash bytea,
  held_by bigint
);
create table ledger_meta (
  key text not null,
  value text not null,
  set_at timestamp(6) with time zone not null default now()
);
create table memories (
  id uuid not null,
  namespace text not null default 'default'::text,
  kind memory_kind not null,
  scope memory_scope not null,
  subject_key text not null,
  title text not null,
  body text not null,
  owner_agent text,
  source_candidate_id uuid not null,
  source_refs jsonb not null default '{}'::jsonb,
  confidence_score integer not null,
  stability memory_stability not null default 'medium'::memory_stability,
  visibility memory_visibility not null default 'shared'::memory_visibility,
  visible_to text[] not null default '{}'::text[],
  status memory_status not null default 'active'::memory_status,
  updated_by text not null,
  valid_from timestamp(6) with time zone not null default clock_timestamp(),
  expires_at timestamp(6) with time zone,
  next_review_at timestamp(6) with time zone,
  supersedes_memory_id uuid,
  dedupe_key text,
  last_seq integer not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  updated_at timestamp(6) with time zone not null default clock_timestamp()
);
create table memory_candidate_reviews (
  memory_candidate_id uuid not null,
  seq integer not null,
  from_status memory_candidate_status,
  decision memory_candidate_status not null,
  notes text,
  reviewer text,
  job_id uuid,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  words_hash bytea,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table memory_candidates (
  id uuid not null,
  namespace text not null default 'default'::text,
  source_agent text,
  candidate_kind memory_kind not null,
  scope memory_scope not null,
  subject_key text not null,
  title text not null,
  body text not null,
  evidence jsonb not null default '{}'::jsonb,
  source_refs jsonb not null default '{}'::jsonb,
  confidence_score integer not null,
  stability memory_stability not null default 'medium'::memory_stability,
  visibility memory_visibility not null default 'shared'::memory_visibility,
  visible_to text[] not null default '{}'::text[],
  status memory_candidate_status not null default 'new'::memory_candidate_status,
  reviewer text,
  review_notes text,
  promoted_memory_id uuid,
  dedupe_key text,
  last_seq integer not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  updated_at timestamp(6) with time zone not null default clock_timestamp()
);
create table memory_reviews (
  memory_id uuid not null,
  seq integer not null,
  from_status memory_status,
  decision memory_status not null,
  details jsonb not null default '{}'::jsonb,
  notes text,
  reviewer text,
  job_id uuid,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  words_hash bytea,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table metric_marks (
  source text not null,
  xact xid8 not null
);
create table metric_totals (
  name text not null,
  labels jsonb not null,
  bucket text not null default ''::text,
  count bigint not null,
  sum double precision not null default 0
);
create table observations (
  id bigint not null generated always as identity,
  kind observation_kind not null,
  code text not null,
  job_id uuid,
  attempt_id uuid,
  agent_id text,
  gateway_id text,
  actor_kind actor_kind not null,
  actor text not null,
  detail text not null,
  details jsonb not null default '{}'::jsonb,
  at timestamp(6) with time zone not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id()
);
create table opportunities (
  id uuid not null,
  namespace text not null default 'default'::text,
  source_agent text,
  theme text not null,
  title text not null,
  why_now text not null,
  evidence jsonb not null default '{}'::jsonb,
  impact_score integer not null,
  confidence_score integer not null,
  urgency_score integer not null,
  reversibility opportunity_reversibility not null,
  owner_candidate text,
  suggested_next_step text not null,
  status opportunity_status not null default 'new'::opportunity_status,
  triaged_by text,
  triage_notes text,
  triaged_at timestamp(6) with time zone,
  converted_job_id uuid,
  dedupe_key text,
  last_seq integer not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  updated_at timestamp(6) with time zone not null default clock_timestamp()
);
create table opportunity_reviews (
  opportunity_id uuid not null,
  seq integer not null,
  from_status opportunity_status,
  decision opportunity_status not null,
  notes text,
  reviewer text,
  job_id uuid,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  words_hash bytea,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table outbox (
  id bigint not null generated always as identity,
  kind outbox_kind not null,
  job_id uuid not null,
  agent_id text not null,
  generation integer not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  claimed_until timestamp(6) with time zone not null default '-infinity'::timestamp with time zone,
  tries integer not null default 0
);
create table presence (
  id bigint not null generated always as identity,
  component text not null,
  seen_from timestamp(6) with time zone not null,
  seen_until timestamp(6) with time zone not null
);
create table project_log (
  id bigint not null generated always as identity,
  namespace text not null default 'default'::text,
  project text not null,
  entry text not null,
  details jsonb not null default '{}'::jsonb,
  agent_id text,
  job_id uuid,
  attempt_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  at timestamp(6) with time zone not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id()
);
create table project_statuses (
  namespace text not null default 'default'::text,
  project text not null,
  version integer not null,
  status text not null,
  body text not null default ''::text,
  agent_id text,
  job_id uuid,
  actor_kind actor_kind not null,
  actor text not null,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table prompts (
  hash text not null,
  body text not null,
  bytes integer not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  pruned_by integer
);
create table prunes (
  seq integer not null,
  kind text not null,
  before timestamp(6) with time zone not null,
  rows integer not null,
  first_key text not null,
  last_key text not null,
  root bytea not null,
  policy_version integer not null,
  actor_kind actor_kind not null,
  actor text not null,
  at timestamp(6) with time zone not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id(),
  prev_hash bytea not null default '\x'::bytea,
  hash bytea not null default '\x'::bytea
);
create table queue_epochs (
  id boolean not null default true,
  epoch uuid not null,
  tick bigint not null default 0,
  ticked_at timestamp(6) with time zone not null default now(),
  rebuilds integer not null default 0,
  rebuilding_until timestamp(6) with time zone,
  rebuilding_by text
);
create table rate_buckets (
  caller text not null,
  limit_name text not null,
  tokens double precision not null,
  filled_at timestamp(6) with time zone not null
);
create table reactions (
  event_id bigint not null,
  subscription_id uuid not null,
  version integer not null,
  status reaction_status not null default 'pending'::reaction_status,
  job_id uuid,
  finding_id uuid,
  detail text,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  done_at timestamp(6) with time zone,
  not_before timestamp(6) with time zone
);
create table standing_order_run_transitions (
  run_id uuid not null,
  seq integer not null,
  from_status slot_status not null,
  to_status slot_status not null,
  cause text,
  actor_kind actor_kind not null,
  actor text not null,
  details jsonb not null default '{}'::jsonb,
  at timestamp(6) with time zone not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id(),
  record_id bigint not null generated always as identity
);
create table standing_order_runs (
  id uuid not null,
  order_id uuid not null,
  version integer not null,
  agent_id text not null,
  slot_at timestamp(6) with time zone not null,
  grace_until timestamp(6) with time zone not null,
  look_at timestamp(6) with time zone not null,
  status slot_status not null default 'expected'::slot_status,
  cause text,
  trigger text,
  unstated boolean not null default false,
  claimed slot_status,
  summary text,
  evidence jsonb,
  details jsonb not null default '{}'::jsonb,
  last_seq integer not null default 0,
  started_at timestamp(6) with time zone,
  finished_at timestamp(6) with time zone,
  created_at timestamp(6) with time zone not null default clock_timestamp()
);
create table standing_order_versions (
  order_id uuid not null,
  version integer not null,
  definition jsonb not null,
  enabled boolean not null,
  in_force_from timestamp(6) with time zone not null,
  actor_kind actor_kind not null,
  actor text not null,
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table standing_orders (
  id uuid not null,
  namespace text not null default 'default'::text,
  agent_id text not null,
  name text not null,
  version integer not null,
  definition jsonb not null,
  enabled boolean not null,
  in_force_from timestamp(6) with time zone not null,
  planned_until timestamp(6) with time zone not null,
  plan_at timestamp(6) with time zone not null
);
create table subscriptions (
  id uuid not null,
  namespace text not null default 'default'::text,
  name text not null,
  agent_id text not null,
  topic text not null,
  definition jsonb not null,
  enabled boolean not null,
  version integer not null,
  updated_at timestamp(6) with time zone not null default clock_timestamp()
);
create table workflow_runs (
  id uuid not null,
  namespace text not null default 'default'::text,
  workflow text not null,
  version integer not null,
  status workflow_run_status not null,
  inputs jsonb not null,
  outputs jsonb,
  source_agent text,
  dedupe_key text,
  correlation_key text not null,
  last_error text,
  last_seq integer not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  finished_at timestamp(6) with time zone
);
create table workflow_steps (
  run_id uuid not null,
  step text not null,
  status workflow_step_status not null default 'pending'::workflow_step_status,
  job_id uuid,
  approval_id uuid,
  result jsonb,
  reason text,
  started_at timestamp(6) with time zone,
  finished_at timestamp(6) with time zone
);
create table workflow_transitions (
  run_id uuid not null,
  seq integer not null,
  step text,
  from_status text,
  to_status text not null,
  reason text,
  details jsonb not null default '{}'::jsonb,
  actor_kind actor_kind not null,
  actor text not null,
  at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);
create table workflows (
  namespace text not null default 'default'::text,
  name text not null,
  version integer not null,
  definition jsonb not null,
  hash text not null,
  created_by text not null,
  created_at timestamp(6) with time zone not null default clock_timestamp(),
  record_id bigint not null generated always as identity,
  xact xid8 not null default pg_current_xact_id()
);

-- constraints

alter table accesses add constraint accesses_pkey PRIMARY KEY (id);
alter table agent_state_changes add constraint agent_state_changes_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table agent_state_changes add constraint agent_state_changes_pkey PRIMARY KEY (id);
alter table agent_states add constraint agent_states_assigned_check CHECK ((assigned_count >= 0));
alter table agent_states add constraint agent_states_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table agent_states add constraint agent_states_pkey PRIMARY KEY (agent_id);
alter table agents add constraint agents_concurrency_check CHECK (((concurrency >= 1) AND (concurrency <= 1000)));
alter table agents add constraint agents_id_check CHECK ((id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'::text));
alter table agents add constraint agents_seconds_check CHECK ((((timeout_seconds >= 1) AND (timeout_seconds <= 86400)) AND ((lease_seconds >= 5) AND (lease_seconds <= 86400))));
alter table agents add constraint agents_gateway_id_gateways_id_fk FOREIGN KEY (gateway_id) REFERENCES gateways(id);
alter table agents add constraint agents_pkey PRIMARY KEY (id);
alter table alert_attempts add constraint alert_attempts_error_check CHECK ((ok = (error IS NULL)));
alter table alert_attempts add constraint alert_attempts_delivery_id_alert_deliveries_id_fk FOREIGN KEY (delivery_id) REFERENCES alert_deliveries(id);
alter table alert_attempts add constraint alert_attempts_delivery_id_try_no_pk PRIMARY KEY (delivery_id, try_no);
alter table alert_deliveries add constraint alert_deliveries_alert_check CHECK ((((notice = 'test'::alert_notice) = (alert_id IS NULL)) AND ((alert_id IS NULL) = (seq IS NULL))));
alter table alert_deliveries add constraint alert_deliveries_done_check CHECK (((status = 'pending'::alert_delivery_status) = (done_at IS NULL)));
alter table alert_deliveries add constraint alert_deliveries_job_check CHECK (((job_id IS NULL) OR (receiver_kind = 'agent'::alert_receiver)));
alter table alert_deliveries add constraint alert_deliveries_alert_id_alerts_id_fk FOREIGN KEY (alert_id) REFERENCES alerts(id);
alter table alert_deliveries add constraint alert_deliveries_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table alert_deliveries add constraint alert_deliveries_pkey PRIMARY KEY (id);
alter table alert_history add constraint alert_history_alert_id_alerts_id_fk FOREIGN KEY (alert_id) REFERENCES alerts(id);
alter table alert_history add constraint alert_history_alert_id_seq_pk PRIMARY KEY (alert_id, seq);
alter table alert_silences add constraint alert_silences_lifted_check CHECK ((num_nonnulls(lifted_at, lifted_by, lift_reason) = ANY (ARRAY[0, 3])));
alter table alert_silences add constraint alert_silences_pkey PRIMARY KEY (id);
alter table alert_watches add constraint alert_watches_rule_subject_pk PRIMARY KEY (rule, subject);
alter table alerts add constraint alerts_acknowledged_check CHECK ((num_nonnulls(acknowledged_at, acknowledged_by, note) = ANY (ARRAY[0, 3])));
alter table alerts add constraint alerts_resolved_check CHECK ((((status = 'resolved'::alert_status) = (resolved_at IS NOT NULL)) AND ((status = 'resolved'::alert_status) = (resolved_as IS NOT NULL))));
alter table alerts add constraint alerts_tell_check CHECK (((tell_at IS NULL) OR ((status = 'open'::alert_status) AND (acknowledged_at IS NULL))));
alter table alerts add constraint alerts_told_check CHECK (((told >= 0) AND (peak >= value)));
alter table alerts add constraint alerts_pkey PRIMARY KEY (id);
alter table api_tokens add constraint api_tokens_agent_check CHECK (((role = 'agent'::token_role) = (agent_id IS NOT NULL)));
alter table api_tokens add constraint api_tokens_hash_check CHECK ((octet_length(hash) = 32));
alter table api_tokens add constraint api_tokens_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table api_tokens add constraint api_tokens_pkey PRIMARY KEY (id);
alter table approval_transitions add constraint approval_transitions_approval_id_approvals_id_fk FOREIGN KEY (approval_id) REFERENCES approvals(id);
alter table approval_transitions add constraint approval_transitions_approval_id_seq_pk PRIMARY KEY (approval_id, seq);
alter table approvals add constraint approvals_decided_check CHECK ((((status = 'pending'::approval_status) = (decided_at IS NULL)) AND ((status = 'pending'::approval_status) = (decided_by IS NULL))));
alter table approvals add constraint approvals_step_check CHECK (((workflow_run_id IS NULL) = (step IS NULL)));
alter table approvals add constraint approvals_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table approvals add constraint approvals_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table approvals add constraint approvals_workflow_run_id_workflow_runs_id_fk FOREIGN KEY (workflow_run_id) REFERENCES workflow_runs(id);
alter table approvals add constraint approvals_pkey PRIMARY KEY (id);
alter table audit_checkpoint_jobs add constraint audit_checkpoint_jobs_seq_check CHECK (((first_seq >= 1) AND (first_seq <= last_seq)));
alter table audit_checkpoint_jobs add constraint audit_checkpoint_jobs_checkpoint_seq_audit_checkpoints_seq_fk FOREIGN KEY (checkpoint_seq) REFERENCES audit_checkpoints(seq);
alter table audit_checkpoint_jobs add constraint audit_checkpoint_jobs_checkpoint_seq_job_id_pk PRIMARY KEY (checkpoint_seq, job_id);
alter table audit_checkpoint_records add constraint audit_checkpoint_records_lengths_check CHECK (((octet_length(hashes) = (32 * cardinality(ids))) AND (part >= 0)));
alter table audit_checkpoint_records add constraint audit_checkpoint_records_checkpoint_seq_fk FOREIGN KEY (checkpoint_seq) REFERENCES audit_checkpoints(seq) DEFERRABLE INITIALLY DEFERRED;
alter table audit_checkpoint_records add constraint audit_checkpoint_records_checkpoint_seq_history_part_pk PRIMARY KEY (checkpoint_seq, history, part);
alter table audit_checkpoints add constraint audit_checkpoints_lengths_check CHECK (((octet_length(root) = 32) AND (octet_length(jobs_hash) = 32) AND (octet_length(hash) = 32)));
alter table audit_checkpoints add constraint audit_checkpoints_range_check CHECK (((seq >= 1) AND (rows >= jobs) AND
CASE
    WHEN (restored_to IS NULL) THEN ((xact_from < xact_to) AND ((jobs + COALESCE(records, 0)) >= 1))
    ELSE ((xact_from <= xact_to) AND (jobs >= 0) AND (restored_to >= 0))
END));
alter table audit_checkpoints add constraint audit_checkpoints_records_check CHECK ((((records IS NULL) = (records_hash IS NULL)) AND ((records_hash IS NULL) OR (octet_length(records_hash) = 32))));
alter table audit_checkpoints add constraint audit_checkpoints_signed_check CHECK (((key_id IS NULL) = (signature IS NULL)));
alter table audit_checkpoints add constraint audit_checkpoints_pkey PRIMARY KEY (seq);
alter table control_changes add constraint control_changes_change_check CHECK (((change = ANY (ARRAY['set'::text, 'running_cancelled'::text, 'drained'::text, 'resumed'::text, 'expired'::text, 'replaced'::text])) AND ((change = 'set'::text) = (seq = 1))));
alter table control_changes add constraint control_changes_control_id_controls_id_fk FOREIGN KEY (control_id) REFERENCES controls(id);
alter table control_changes add constraint control_changes_control_id_seq_pk PRIMARY KEY (control_id, seq);
alter table controls add constraint controls_action_check CHECK (((action = ANY (ARRAY['pause'::text, 'drain'::text, 'freeze'::text])) AND ((action <> 'drain'::text) OR ((scope)::text = 'agent'::text))));
alter table controls add constraint controls_drained_check CHECK (((drained_at IS NULL) OR (action = 'drain'::text)));
alter table controls add constraint controls_freeze_check CHECK (((action = 'freeze'::text) = ((scope)::text = ANY (ARRAY['promotions'::text, 'conversions'::text]))));
alter table controls add constraint controls_lifted_because_check CHECK (((lifted_because IS NULL) OR ((lifted_because = ANY (ARRAY['resumed'::text, 'expired'::text, 'replaced'::text])) AND (lifted_at IS NOT NULL))));
alter table controls add constraint controls_lifted_check CHECK (((lifted_at IS NULL) = (lifted_by IS NULL)));
alter table controls add constraint controls_running_check CHECK (((running = ANY (ARRAY['leave'::text, 'cancel'::text])) AND ((running = 'leave'::text) OR (action = 'pause'::text))));
alter table controls add constraint controls_target_check CHECK ((((scope)::text = ANY (ARRAY['everything'::text, 'promotions'::text, 'conversions'::text])) = (target = ''::text)));
alter table controls add constraint controls_until_check CHECK (((until_at IS NULL) OR (until_at > set_at)));
alter table controls add constraint controls_pkey PRIMARY KEY (id);
alter table dispatcher_heartbeats add constraint dispatcher_heartbeats_counts_check CHECK (((leases_owned >= 0) AND (busy_agents >= 0)));
alter table dispatcher_heartbeats add constraint dispatcher_heartbeats_namespace_dispatcher_id_pk PRIMARY KEY (namespace, dispatcher_id);
alter table events add constraint events_hops_check CHECK (((hops >= 0) AND (cardinality(lineage) <= hops)));
alter table events add constraint events_source_attempt_id_job_attempts_id_fk FOREIGN KEY (source_attempt_id) REFERENCES job_attempts(id);
alter table events add constraint events_source_job_id_jobs_id_fk FOREIGN KEY (source_job_id) REFERENCES jobs(id);
alter table events add constraint events_pkey PRIMARY KEY (id);
alter table finding_history add constraint finding_history_message_check CHECK (((kind = ANY (ARRAY['filed'::finding_move, 'settled'::finding_move])) OR (message_id IS NOT NULL)));
alter table finding_history add constraint finding_history_seq_check CHECK (((seq >= 1) AND ((seq > 1) OR (kind = 'filed'::finding_move))));
alter table finding_history add constraint finding_history_attempt_id_job_attempts_id_fk FOREIGN KEY (attempt_id) REFERENCES job_attempts(id);
alter table finding_history add constraint finding_history_finding_id_findings_id_fk FOREIGN KEY (finding_id) REFERENCES findings(id);
alter table finding_history add constraint finding_history_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table finding_history add constraint finding_history_message_id_inbox_messages_id_fk FOREIGN KEY (message_id) REFERENCES inbox_messages(id);
alter table finding_history add constraint finding_history_finding_id_seq_pk PRIMARY KEY (finding_id, seq);
alter table findings add constraint findings_count_check CHECK (((count >= 1) AND (nag_count >= 0) AND (nag_level >= 0)));
alter table findings add constraint findings_raise_at_check CHECK (((raise_at IS NULL) OR ((nag_count = 0) AND (status = 'open'::finding_status))));
alter table findings add constraint findings_raised_check CHECK ((((nag_count = 0) = (nag_level = 0)) AND ((nag_count = 0) OR (last_raised_at IS NOT NULL))));
alter table findings add constraint findings_seen_check CHECK ((last_seen_at >= first_seen_at));
alter table findings add constraint findings_settled_check CHECK ((((status = 'settled'::finding_status) = (settled_at IS NOT NULL)) AND ((settled_at IS NULL) = (settled_as IS NULL)) AND COALESCE((settled_as = ANY (ARRAY['settled'::text, 'forgotten'::text, 'answered'::text])), true)));
alter table findings add constraint findings_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table findings add constraint findings_pkey PRIMARY KEY (id);
alter table fleet_versions add constraint fleet_versions_kind_check CHECK ((kind = ANY (ARRAY['gateway'::text, 'agent'::text, 'inbox'::text, 'subscription'::text, 'policy'::text])));
alter table fleet_versions add constraint fleet_versions_kind_id_version_pk PRIMARY KEY (kind, id, version);
alter table gateways add constraint gateways_failures_check CHECK (((failures >= 0) AND (reopened >= 0)));
alter table gateways add constraint gateways_id_check CHECK ((id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'::text));
alter table gateways add constraint gateways_open_breaker_says_why CHECK (((breaker = 'open'::breaker_state) = (breaker_reason IS NOT NULL)));
alter table gateways add constraint gateways_token_ref_check CHECK ((token_ref ~ '^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^[:space:]]+|simulator)$'::text));
alter table gateways add constraint gateways_pkey PRIMARY KEY (id);
alter table idea_reviews add constraint idea_reviews_legal_move CHECK (
CASE
    WHEN (from_status IS NULL) THEN ((seq = 1) AND (decision = 'new'::idea_status))
    ELSE ((seq > 1) AND ((((((from_status = 'new'::idea_status) AND (decision = 'reviewed'::idea_status)) OR ((from_status = 'new'::idea_status) AND (decision = 'promoted_to_opportunity'::idea_status))) OR ((from_status = 'new'::idea_status) AND (decision = 'archived'::idea_status))) OR ((from_status = 'reviewed'::idea_status) AND (decision = 'promoted_to_opportunity'::idea_status))) OR ((from_status = 'reviewed'::idea_status) AND (decision = 'archived'::idea_status))))
END);
alter table idea_reviews add constraint idea_reviews_reviewer_check CHECK (((reviewer IS NULL) OR (reviewer = actor)));
alter table idea_reviews add constraint idea_reviews_words_check CHECK (((seq = 1) = (words_hash IS NOT NULL)));
alter table idea_reviews add constraint idea_reviews_attempt_id_job_attempts_id_fk FOREIGN KEY (attempt_id) REFERENCES job_attempts(id);
alter table idea_reviews add constraint idea_reviews_idea_id_ideas_id_fk FOREIGN KEY (idea_id) REFERENCES ideas(id);
alter table idea_reviews add constraint idea_reviews_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table idea_reviews add constraint idea_reviews_idea_id_seq_pk PRIMARY KEY (idea_id, seq);
alter table ideas add constraint ideas_promoted_check CHECK (((status = 'promoted_to_opportunity'::idea_status) = (promoted_opportunity_id IS NOT NULL)));
alter table ideas add constraint ideas_seq_check CHECK (((last_seq >= 1) AND ((status = 'new'::idea_status) = (last_seq = 1))));
alter table ideas add constraint ideas_promoted_opportunity_id_opportunities_id_fk FOREIGN KEY (promoted_opportunity_id) REFERENCES opportunities(id);
alter table ideas add constraint ideas_source_agent_agents_id_fk FOREIGN KEY (source_agent) REFERENCES agents(id);
alter table ideas add constraint ideas_pkey PRIMARY KEY (id);
alter table idempotency_keys add constraint idempotency_keys_caller_key_pk PRIMARY KEY (caller, key);
alter table inbox_messages add constraint inbox_messages_closed_check CHECK (((status = ANY (ARRAY['acknowledged'::message_status, 'withdrawn'::message_status])) = (closed_at IS NOT NULL)));
alter table inbox_messages add constraint inbox_messages_holder_check CHECK (((status <> 'read'::message_status) OR ((read_attempt_id IS NULL) <> (read_until IS NULL))));
alter table inbox_messages add constraint inbox_messages_outcome_check CHECK ((((status = 'acknowledged'::message_status) = (outcome IS NOT NULL)) AND COALESCE((outcome = ANY (ARRAY['delivered'::text, 'dismissed'::text, 'settled'::text])), true)));
alter table inbox_messages add constraint inbox_messages_read_check CHECK ((((read_by IS NULL) = (read_at IS NULL)) AND ((status <> ALL (ARRAY['read'::message_status, 'acknowledged'::message_status])) OR (read_by IS NOT NULL)) AND ((status <> 'unread'::message_status) OR (read_by IS NULL))));
alter table inbox_messages add constraint inbox_messages_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table inbox_messages add constraint inbox_messages_finding_id_findings_id_fk FOREIGN KEY (finding_id) REFERENCES findings(id);
alter table inbox_messages add constraint inbox_messages_read_attempt_id_job_attempts_id_fk FOREIGN KEY (read_attempt_id) REFERENCES job_attempts(id);
alter table inbox_messages add constraint inbox_messages_pkey PRIMARY KEY (id);
alter table job_attempts add constraint job_attempts_lease_order CHECK ((leased_until <= deadline_at));
alter table job_attempts add constraint job_attempts_no_check CHECK ((attempt_no >= 1));
alter table job_attempts add constraint job_attempts_open_iff_unfinished CHECK (((status = ANY (ARRAY['leased'::attempt_status, 'running'::attempt_status])) = (finished_at IS NULL)));
alter table job_attempts add constraint job_attempts_outcome_iff_finished CHECK (((finished_at IS NULL) = (outcome_code IS NULL)));
alter table job_attempts add constraint job_attempts_pruned_when_closed CHECK (((pruned_by IS NULL) OR ((finished_at IS NOT NULL) AND (pruned_hash IS NOT NULL))));
alter table job_attempts add constraint job_attempts_slot_check CHECK (((slot >= 1) AND (slot <= 1000)));
alter table job_attempts add constraint job_attempts_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table job_attempts add constraint job_attempts_gateway_id_gateways_id_fk FOREIGN KEY (gateway_id) REFERENCES gateways(id);
alter table job_attempts add constraint job_attempts_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table job_attempts add constraint job_attempts_prompt_hash_prompts_hash_fk FOREIGN KEY (prompt_hash) REFERENCES prompts(hash);
alter table job_attempts add constraint job_attempts_pkey PRIMARY KEY (id);
alter table job_dependencies add constraint job_dependencies_not_self CHECK ((job_id <> depends_on_job_id));
alter table job_dependencies add constraint job_dependencies_depends_on_job_id_jobs_id_fk FOREIGN KEY (depends_on_job_id) REFERENCES jobs(id);
alter table job_dependencies add constraint job_dependencies_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table job_dependencies add constraint job_dependencies_job_id_depends_on_job_id_pk PRIMARY KEY (job_id, depends_on_job_id);
alter table job_transitions add constraint job_transitions_attempt_id_job_attempts_id_fk FOREIGN KEY (attempt_id) REFERENCES job_attempts(id);
alter table job_transitions add constraint job_transitions_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table job_transitions add constraint job_transitions_job_id_seq_pk PRIMARY KEY (job_id, seq);
alter table jobs add constraint jobs_parent_job_id_jobs_id_fk FOREIGN KEY (parent_job_id) REFERENCES jobs(id);
alter table jobs add constraint jobs_source_event_id_fk FOREIGN KEY (source_event_id) REFERENCES events(id);
alter table jobs add constraint jobs_standing_order_run_id_standing_order_runs_id_fk FOREIGN KEY (standing_order_run_id) REFERENCES standing_order_runs(id);
alter table jobs add constraint jobs_target_agent_agents_id_fk FOREIGN KEY (target_agent) REFERENCES agents(id);
alter table jobs add constraint jobs_pkey PRIMARY KEY (id);
alter table ledger_meta add constraint ledger_meta_pkey PRIMARY KEY (key);
alter table memories add constraint memories_not_own_successor CHECK ((supersedes_memory_id IS DISTINCT FROM id));
alter table memories add constraint memories_private_check CHECK (((visibility <> 'agent_private'::memory_visibility) OR (owner_agent IS NOT NULL)));
alter table memories add constraint memories_score_check CHECK (((confidence_score >= 1) AND (confidence_score <= 5)));
alter table memories add constraint memories_seq_check CHECK (((last_seq >= 1) AND ((status = 'active'::memory_status) OR (last_seq > 1))));
alter table memories add constraint memories_visible_to_check CHECK (((visibility = 'role_limited'::memory_visibility) = (cardinality(visible_to) > 0)));
alter table memories add constraint memories_owner_agent_agents_id_fk FOREIGN KEY (owner_agent) REFERENCES agents(id);
alter table memories add constraint memories_source_candidate_id_memory_candidates_id_fk FOREIGN KEY (source_candidate_id) REFERENCES memory_candidates(id);
alter table memories add constraint memories_supersedes_memory_id_memories_id_fk FOREIGN KEY (supersedes_memory_id) REFERENCES memories(id);
alter table memories add constraint memories_pkey PRIMARY KEY (id);
alter table memory_candidate_reviews add constraint memory_candidate_reviews_legal_move CHECK (
CASE
    WHEN (from_status IS NULL) THEN ((seq = 1) AND (decision = 'new'::memory_candidate_status))
    ELSE ((seq > 1) AND ((((((((from_status = 'new'::memory_candidate_status) AND (decision = 'reviewed'::memory_candidate_status)) OR ((from_status = 'new'::memory_candidate_status) AND (decision = 'promoted'::memory_candidate_status))) OR ((from_status = 'new'::memory_candidate_status) AND (decision = 'rejected'::memory_candidate_status))) OR ((from_status = 'new'::memory_candidate_status) AND (decision = 'archived'::memory_candidate_status))) OR ((from_status = 'reviewed'::memory_candidate_status) AND (decision = 'promoted'::memory_candidate_status))) OR ((from_status = 'reviewed'::memory_candidate_status) AND (decision = 'rejected'::memory_candidate_status))) OR ((from_status = 'reviewed'::memory_candidate_status) AND (decision = 'archived'::memory_candidate_status))))
END);
alter table memory_candidate_reviews add constraint memory_candidate_reviews_reviewer_check CHECK (((reviewer IS NULL) OR (reviewer = actor)));
alter table memory_candidate_reviews add constraint memory_candidate_reviews_words_check CHECK (((seq = 1) = (words_hash IS NOT NULL)));
alter table memory_candidate_reviews add constraint memory_candidate_reviews_attempt_id_job_attempts_id_fk FOREIGN KEY (attempt_id) REFERENCES job_attempts(id);
alter table memory_candidate_reviews add constraint memory_candidate_reviews_candidate_fk FOREIGN KEY (memory_candidate_id) REFERENCES memory_candidates(id);
alter table memory_candidate_reviews add constraint memory_candidate_reviews_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table memory_candidate_reviews add constraint memory_candidate_reviews_memory_candidate_id_seq_pk PRIMARY KEY (memory_candidate_id, seq);
alter table memory_candidates add constraint memory_candidates_private_check CHECK (((visibility <> 'agent_private'::memory_visibility) OR (source_agent IS NOT NULL)));
alter table memory_candidates add constraint memory_candidates_promoted_check CHECK (((status = 'promoted'::memory_candidate_status) = (promoted_memory_id IS NOT NULL)));
alter table memory_candidates add constraint memory_candidates_reviewer_check CHECK ((((status = 'new'::memory_candidate_status) = (reviewer IS NULL)) AND ((reviewer IS NOT NULL) OR (review_notes IS NULL))));
alter table memory_candidates add constraint memory_candidates_score_check CHECK (((confidence_score >= 1) AND (confidence_score <= 5)));
alter table memory_candidates add constraint memory_candidates_seq_check CHECK (((last_seq >= 1) AND ((status = 'new'::memory_candidate_status) = (last_seq = 1))));
alter table memory_candidates add constraint memory_candidates_visible_to_check CHECK (((visibility = 'role_limited'::memory_visibility) = (cardinality(visible_to) > 0)));
alter table memory_candidates add constraint memory_candidates_promoted_memory_id_memories_id_fk FOREIGN KEY (promoted_memory_id) REFERENCES memories(id);
alter table memory_candidates add constraint memory_candidates_source_agent_agents_id_fk FOREIGN KEY (source_agent) REFERENCES agents(id);
alter table memory_candidates add constraint memory_candidates_pkey PRIMARY KEY (id);
alter table memory_reviews add constraint memory_reviews_legal_move CHECK (
CASE
    WHEN (from_status IS NULL) THEN ((seq = 1) AND (decision = 'active'::memory_status))
    ELSE ((seq > 1) AND (((((from_status = 'active'::memory_status) AND (decision = 'active'::memory_status)) OR ((from_status = 'active'::memory_status) AND (decision = 'superseded'::memory_status))) OR ((from_status = 'active'::memory_status) AND (decision = 'expired'::memory_status))) OR ((from_status = 'active'::memory_status) AND (decision = 'archived'::memory_status))))
END);
alter table memory_reviews add constraint memory_reviews_reviewer_check CHECK (((reviewer IS NULL) OR (reviewer = actor)));
alter table memory_reviews add constraint memory_reviews_words_check CHECK (((seq = 1) = (words_hash IS NOT NULL)));
alter table memory_reviews add constraint memory_reviews_attempt_id_job_attempts_id_fk FOREIGN KEY (attempt_id) REFERENCES job_attempts(id);
alter table memory_reviews add constraint memory_reviews_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table memory_reviews add constraint memory_reviews_memory_id_memories_id_fk FOREIGN KEY (memory_id) REFERENCES memories(id);
alter table memory_reviews add constraint memory_reviews_memory_id_seq_pk PRIMARY KEY (memory_id, seq);
alter table metric_marks add constraint metric_marks_pkey PRIMARY KEY (source);
alter table metric_totals add constraint metric_totals_count_check CHECK ((count >= 0));
alter table metric_totals add constraint metric_totals_name_labels_bucket_pk PRIMARY KEY (name, labels, bucket);
alter table observations add constraint observations_pkey PRIMARY KEY (id);
alter table opportunities add constraint opportunities_converted_check CHECK (((status = 'converted_to_job'::opportunity_status) = (converted_job_id IS NOT NULL)));
alter table opportunities add constraint opportunities_scores_check CHECK ((((impact_score >= 1) AND (impact_score <= 5)) AND ((confidence_score >= 1) AND (confidence_score <= 5)) AND ((urgency_score >= 1) AND (urgency_score <= 5))));
alter table opportunities add constraint opportunities_seq_check CHECK (((last_seq >= 1) AND ((status = 'new'::opportunity_status) = (last_seq = 1))));
alter table opportunities add constraint opportunities_triaged_check CHECK ((((status = 'new'::opportunity_status) = (triaged_at IS NULL)) AND ((triaged_at IS NULL) = (triaged_by IS NULL)) AND ((triaged_at IS NOT NULL) OR (triage_notes IS NULL))));
alter table opportunities add constraint opportunities_converted_job_id_jobs_id_fk FOREIGN KEY (converted_job_id) REFERENCES jobs(id);
alter table opportunities add constraint opportunities_owner_candidate_agents_id_fk FOREIGN KEY (owner_candidate) REFERENCES agents(id);
alter table opportunities add constraint opportunities_source_agent_agents_id_fk FOREIGN KEY (source_agent) REFERENCES agents(id);
alter table opportunities add constraint opportunities_pkey PRIMARY KEY (id);
alter table opportunity_reviews add constraint opportunity_reviews_legal_move CHECK (
CASE
    WHEN (from_status IS NULL) THEN ((seq = 1) AND (decision = 'new'::opportunity_status))
    ELSE ((seq > 1) AND ((((((((((((((((((from_status = 'new'::opportunity_status) AND (decision = 'triaged'::opportunity_status)) OR ((from_status = 'new'::opportunity_status) AND (decision = 'accepted'::opportunity_status))) OR ((from_status = 'new'::opportunity_status) AND (decision = 'rejected'::opportunity_status))) OR ((from_status = 'new'::opportunity_status) AND (decision = 'parked'::opportunity_status))) OR ((from_status = 'new'::opportunity_status) AND (decision = 'converted_to_job'::opportunity_status))) OR ((from_status = 'triaged'::opportunity_status) AND (decision = 'accepted'::opportunity_status))) OR ((from_status = 'triaged'::opportunity_status) AND (decision = 'rejected'::opportunity_status))) OR ((from_status = 'triaged'::opportunity_status) AND (decision = 'parked'::opportunity_status))) OR ((from_status = 'triaged'::opportunity_status) AND (decision = 'converted_to_job'::opportunity_status))) OR ((from_status = 'accepted'::opportunity_status) AND (decision = 'triaged'::opportunity_status))) OR ((from_status = 'accepted'::opportunity_status) AND (decision = 'rejected'::opportunity_status))) OR ((from_status = 'accepted'::opportunity_status) AND (decision = 'parked'::opportunity_status))) OR ((from_status = 'accepted'::opportunity_status) AND (decision = 'converted_to_job'::opportunity_status))) OR ((from_status = 'parked'::opportunity_status) AND (decision = 'triaged'::opportunity_status))) OR ((from_status = 'parked'::opportunity_status) AND (decision = 'accepted'::opportunity_status))) OR ((from_status = 'parked'::opportunity_status) AND (decision = 'rejected'::opportunity_status))) OR ((from_status = 'parked'::opportunity_status) AND (decision = 'converted_to_job'::opportunity_status))))
END);
alter table opportunity_reviews add constraint opportunity_reviews_reviewer_check CHECK (((reviewer IS NULL) OR (reviewer = actor)));
alter table opportunity_reviews add constraint opportunity_reviews_words_check CHECK (((seq = 1) = (words_hash IS NOT NULL)));
alter table opportunity_reviews add constraint opportunity_reviews_attempt_id_job_attempts_id_fk FOREIGN KEY (attempt_id) REFERENCES job_attempts(id);
alter table opportunity_reviews add constraint opportunity_reviews_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table opportunity_reviews add constraint opportunity_reviews_opportunity_id_opportunities_id_fk FOREIGN KEY (opportunity_id) REFERENCES opportunities(id);
alter table opportunity_reviews add constraint opportunity_reviews_opportunity_id_seq_pk PRIMARY KEY (opportunity_id, seq);
alter table outbox add constraint outbox_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table outbox add constraint outbox_pkey PRIMARY KEY (id);
alter table presence add constraint presence_order_check CHECK ((seen_until >= seen_from));
alter table presence add constraint presence_pkey PRIMARY KEY (id);
alter table project_log add constraint project_log_project_check CHECK ((project ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'::text));
alter table project_log add constraint project_log_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table project_log add constraint project_log_pkey PRIMARY KEY (id);
alter table project_statuses add constraint project_statuses_project_check CHECK (((project ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'::text) AND (version >= 1)));
alter table project_statuses add constraint project_statuses_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table project_statuses add constraint project_statuses_namespace_project_version_pk PRIMARY KEY (namespace, project, version);
alter table prompts add constraint prompts_hash_check CHECK ((hash ~ '^[0-9a-f]{64}$'::text));
alter table prompts add constraint prompts_pruned_check CHECK (((pruned_by IS NULL) OR (body = ''::text)));
alter table prompts add constraint prompts_pkey PRIMARY KEY (hash);
alter table prunes add constraint prunes_kind_check CHECK ((kind = ANY (ARRAY['prompts'::text, 'jobs'::text, 'attempts'::text, 'events'::text, 'accesses'::text, 'observations'::text])));
alter table prunes add constraint prunes_lengths_check CHECK (((octet_length(root) = 32) AND (octet_length(prev_hash) = 32) AND (octet_length(hash) = 32)));
alter table prunes add constraint prunes_rows_check CHECK (((seq >= 1) AND (rows >= 1)));
alter table prunes add constraint prunes_pkey PRIMARY KEY (seq);
alter table queue_epochs add constraint queue_epochs_single_row CHECK (id);
alter table queue_epochs add constraint queue_epochs_pkey PRIMARY KEY (id);
alter table rate_buckets add constraint rate_buckets_caller_limit_name_pk PRIMARY KEY (caller, limit_name);
alter table reactions add constraint reactions_detail_check CHECK (((status <> ALL (ARRAY['cut'::reaction_status, 'refused'::reaction_status, 'failed'::reaction_status])) OR (detail IS NOT NULL)));
alter table reactions add constraint reactions_done_check CHECK (((status = 'pending'::reaction_status) = (done_at IS NULL)));
alter table reactions add constraint reactions_made_check CHECK (((status <> ALL (ARRAY['made'::reaction_status, 'joined'::reaction_status])) OR (job_id IS NOT NULL) OR (finding_id IS NOT NULL)));
alter table reactions add constraint reactions_event_id_events_id_fk FOREIGN KEY (event_id) REFERENCES events(id);
alter table reactions add constraint reactions_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table reactions add constraint reactions_subscription_id_subscriptions_id_fk FOREIGN KEY (subscription_id) REFERENCES subscriptions(id);
alter table reactions add constraint reactions_event_id_subscription_id_pk PRIMARY KEY (event_id, subscription_id);
alter table standing_order_run_transitions add constraint standing_order_run_transitions_legal CHECK (slot_may_move(from_status, to_status));
alter table standing_order_run_transitions add constraint standing_order_run_transitions_run_id_standing_order_runs_id_fk FOREIGN KEY (run_id) REFERENCES standing_order_runs(id);
alter table standing_order_run_transitions add constraint standing_order_run_transitions_run_id_seq_pk PRIMARY KEY (run_id, seq);
alter table standing_order_runs add constraint standing_order_runs_cause_check CHECK (((status = ANY (ARRAY['skipped'::slot_status, 'missed'::slot_status])) = (cause IS NOT NULL)));
alter table standing_order_runs add constraint standing_order_runs_claimed_check CHECK (COALESCE((claimed = ANY (ARRAY['no_work'::slot_status, 'completed'::slot_status, 'blocked'::slot_status, 'failed'::slot_status])), true));
alter table standing_order_runs add constraint standing_order_runs_finished_check CHECK (((status = ANY (ARRAY['expected'::slot_status, 'started'::slot_status])) = (finished_at IS NULL)));
alter table standing_order_runs add constraint standing_order_runs_grace_check CHECK ((grace_until > slot_at));
alter table standing_order_runs add constraint standing_order_runs_started_check CHECK (((status = ANY (ARRAY['expected'::slot_status, 'skipped'::slot_status, 'missed'::slot_status])) = (started_at IS NULL)));
alter table standing_order_runs add constraint standing_order_runs_trigger_check CHECK ((((started_at IS NULL) = (trigger IS NULL)) AND COALESCE((trigger = ANY (ARRAY['tick'::text, 'keeper'::text, 'catch_up'::text])), true)));
alter table standing_order_runs add constraint standing_order_runs_unstated_check CHECK (((NOT unstated) OR (status = 'completed'::slot_status)));
alter table standing_order_runs add constraint standing_order_runs_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table standing_order_runs add constraint standing_order_runs_order_id_version_standing_order_versions_or FOREIGN KEY (order_id, version) REFERENCES standing_order_versions(order_id, version);
alter table standing_order_runs add constraint standing_order_runs_pkey PRIMARY KEY (id);
alter table standing_order_versions add constraint standing_order_versions_order_id_standing_orders_id_fk FOREIGN KEY (order_id) REFERENCES standing_orders(id);
alter table standing_order_versions add constraint standing_order_versions_order_id_version_pk PRIMARY KEY (order_id, version);
alter table standing_orders add constraint standing_orders_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'::text));
alter table standing_orders add constraint standing_orders_version_check CHECK ((version >= 1));
alter table standing_orders add constraint standing_orders_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table standing_orders add constraint standing_orders_pkey PRIMARY KEY (id);
alter table subscriptions add constraint subscriptions_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'::text));
alter table subscriptions add constraint subscriptions_version_check CHECK ((version >= 1));
alter table subscriptions add constraint subscriptions_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);
alter table subscriptions add constraint subscriptions_pkey PRIMARY KEY (id);
alter table workflow_runs add constraint workflow_runs_finished_check CHECK (((status = 'running'::workflow_run_status) = (finished_at IS NULL)));
alter table workflow_runs add constraint workflow_runs_namespace_workflow_version_workflows_namespace_na FOREIGN KEY (namespace, workflow, version) REFERENCES workflows(namespace, name, version);
alter table workflow_runs add constraint workflow_runs_pkey PRIMARY KEY (id);
alter table workflow_steps add constraint workflow_steps_finished_check CHECK (((status = ANY (ARRAY['pending'::workflow_step_status, 'running'::workflow_step_status])) = (finished_at IS NULL)));
alter table workflow_steps add constraint workflow_steps_started_check CHECK (((status <> 'running'::workflow_step_status) OR ((started_at IS NOT NULL) AND (num_nonnulls(job_id, approval_id) = 1))));
alter table workflow_steps add constraint workflow_steps_approval_id_approvals_id_fk FOREIGN KEY (approval_id) REFERENCES approvals(id);
alter table workflow_steps add constraint workflow_steps_job_id_jobs_id_fk FOREIGN KEY (job_id) REFERENCES jobs(id);
alter table workflow_steps add constraint workflow_steps_run_id_workflow_runs_id_fk FOREIGN KEY (run_id) REFERENCES workflow_runs(id);
alter table workflow_steps add constraint workflow_steps_run_id_step_pk PRIMARY KEY (run_id, step);
alter table workflow_transitions add constraint workflow_transitions_run_id_workflow_runs_id_fk FOREIGN KEY (run_id) REFERENCES workflow_runs(id);
alter table workflow_transitions add constraint workflow_transitions_run_id_seq_pk PRIMARY KEY (run_id, seq);
alter table workflows add constraint workflows_name_check CHECK (((name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'::text) AND (version >= 1)));
alter table workflows add constraint workflows_namespace_name_version_pk PRIMARY KEY (namespace, name, version);

-- indexes

CREATE INDEX accesses_agent_idx ON public.accesses USING btree (agent_id, at) WHERE (agent_id IS NOT NULL);
CREATE INDEX accesses_at_idx ON public.accesses USING btree (at);
CREATE INDEX accesses_job_idx ON public.accesses USING btree (job_id, at) WHERE (job_id IS NOT NULL);
CREATE INDEX accesses_xact_idx ON public.accesses USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX agent_state_changes_agent_idx ON public.agent_state_changes USING btree (agent_id, id DESC NULLS LAST);
CREATE INDEX agent_state_changes_xact_idx ON public.agent_state_changes USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX agents_gateway_idx ON public.agents USING btree (gateway_id);
CREATE INDEX alert_attempts_xact_idx ON public.alert_attempts USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX alert_deliveries_due_idx ON public.alert_deliveries USING btree (next_try_at) WHERE (status = 'pending'::alert_delivery_status);
CREATE UNIQUE INDEX alert_deliveries_once_idx ON public.alert_deliveries USING btree (alert_id, seq, receiver_kind, receiver) WHERE (alert_id IS NOT NULL);
CREATE INDEX alert_history_at_idx ON public.alert_history USING btree (at);
CREATE INDEX alert_history_xact_idx ON public.alert_history USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX alert_silences_until_idx ON public.alert_silences USING btree (rule, until);
CREATE UNIQUE INDEX alerts_one_open_idx ON public.alerts USING btree (rule, subject) WHERE (status = 'open'::alert_status);
CREATE INDEX alerts_rule_idx ON public.alerts USING btree (rule, id DESC NULLS LAST);
CREATE UNIQUE INDEX api_tokens_hash_idx ON public.api_tokens USING btree (hash);
CREATE INDEX approval_transitions_actor_idx ON public.approval_transitions USING btree (actor, at);
CREATE INDEX approval_transitions_xact_idx ON public.approval_transitions USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX approvals_expiry_idx ON public.approvals USING btree (expires_at) WHERE ((status = 'pending'::approval_status) AND (expires_at IS NOT NULL));
CREATE INDEX approvals_job_idx ON public.approvals USING btree (job_id) WHERE (job_id IS NOT NULL);
CREATE INDEX approvals_open_idx ON public.approvals USING btree (id DESC NULLS LAST) WHERE (status = 'pending'::approval_status);
CREATE INDEX approvals_workflow_run_idx ON public.approvals USING btree (workflow_run_id) WHERE (workflow_run_id IS NOT NULL);
CREATE INDEX audit_checkpoint_records_restored_idx ON public.audit_checkpoint_records USING btree (checkpoint_seq) WHERE (restored_to IS NOT NULL);
CREATE UNIQUE INDEX control_changes_id_idx ON public.control_changes USING btree (id);
CREATE INDEX control_changes_xact_idx ON public.control_changes USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE UNIQUE INDEX controls_open_idx ON public.controls USING btree (scope, target) WHERE (lifted_at IS NULL);
CREATE INDEX dispatcher_heartbeats_last_seen_idx ON public.dispatcher_heartbeats USING btree (last_seen);
CREATE INDEX events_correlation_idx ON public.events USING btree (correlation_key, id) WHERE (correlation_key IS NOT NULL);
CREATE UNIQUE INDEX events_dedupe_idx ON public.events USING btree (namespace, topic, dedupe_key) WHERE (dedupe_key IS NOT NULL);
CREATE INDEX events_pruned_idx ON public.events USING btree (pruned_by) WHERE (pruned_by IS NOT NULL);
CREATE INDEX events_source_agent_idx ON public.events USING btree (source_agent, created_at) WHERE (source_agent IS NOT NULL);
CREATE INDEX events_source_job_idx ON public.events USING btree (source_job_id, id) WHERE (source_job_id IS NOT NULL);
CREATE INDEX events_topic_idx ON public.events USING btree (topic text_pattern_ops, id);
CREATE INDEX events_xact_idx ON public.events USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX finding_history_at_idx ON public.finding_history USING btree (at);
CREATE INDEX finding_history_attempt_idx ON public.finding_history USING btree (attempt_id) WHERE (attempt_id IS NOT NULL);
CREATE INDEX finding_history_xact_idx ON public.finding_history USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX findings_agent_idx ON public.findings USING btree (agent_id, id DESC NULLS LAST);
CREATE UNIQUE INDEX findings_open_idx ON public.findings USING btree (namespace, agent_id, topic, subject_key) WHERE (status = 'open'::finding_status);
CREATE INDEX findings_pending_result_idx ON public.findings USING btree (subject_key) WHERE ((topic = 'pending_result'::text) AND (status = 'open'::finding_status));
CREATE INDEX findings_raise_idx ON public.findings USING btree (raise_at) WHERE (raise_at IS NOT NULL);
CREATE INDEX findings_subject_idx ON public.findings USING btree (topic, subject_key, id DESC NULLS LAST);
CREATE INDEX fleet_versions_xact_idx ON public.fleet_versions USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX gateways_probe_idx ON public.gateways USING btree (probe_after);
CREATE INDEX idea_reviews_reviewer_idx ON public.idea_reviews USING btree (reviewer, at) WHERE (reviewer IS NOT NULL);
CREATE INDEX idea_reviews_xact_idx ON public.idea_reviews USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX ideas_counts_idx ON public.ideas USING btree (namespace, status, created_at);
CREATE UNIQUE INDEX ideas_dedupe_idx ON public.ideas USING btree (namespace, COALESCE(source_agent, ''::text), dedupe_key) WHERE ((dedupe_key IS NOT NULL) AND (status = ANY (ARRAY['new'::idea_status, 'reviewed'::idea_status])));
CREATE INDEX ideas_namespace_idx ON public.ideas USING btree (namespace, id);
CREATE INDEX ideas_source_idx ON public.ideas USING btree (source_agent, id) WHERE (source_agent IS NOT NULL);
CREATE INDEX ideas_status_idx ON public.ideas USING btree (status, id);
CREATE INDEX ideas_tags_idx ON public.ideas USING gin (tags);
CREATE INDEX ideas_theme_idx ON public.ideas USING btree (theme, id);
CREATE INDEX idempotency_keys_created_idx ON public.idempotency_keys USING btree (created_at);
CREATE INDEX inbox_messages_agent_idx ON public.inbox_messages USING btree (agent_id, id DESC NULLS LAST);
CREATE INDEX inbox_messages_finding_idx ON public.inbox_messages USING btree (finding_id, id);
CREATE UNIQUE INDEX inbox_messages_one_open_idx ON public.inbox_messages USING btree (finding_id) WHERE (status = ANY (ARRAY['unread'::message_status, 'read'::message_status]));
CREATE INDEX inbox_messages_open_idx ON public.inbox_messages USING btree (agent_id, level DESC NULLS LAST, id) WHERE (status = ANY (ARRAY['unread'::message_status, 'read'::message_status]));
CREATE INDEX job_attempts_agent_idx ON public.job_attempts USING btree (agent_id, leased_at DESC NULLS LAST);
CREATE INDEX job_attempts_expiry_idx ON public.job_attempts USING btree (leased_until) WHERE (finished_at IS NULL);
CREATE UNIQUE INDEX job_attempts_no_idx ON public.job_attempts USING btree (job_id, attempt_no);
CREATE UNIQUE INDEX job_attempts_one_open_idx ON public.job_attempts USING btree (job_id) WHERE (finished_at IS NULL);
CREATE INDEX job_attempts_pruned_idx ON public.job_attempts USING btree (pruned_by) WHERE (pruned_by IS NOT NULL);
CREATE UNIQUE INDEX job_attempts_slot_idx ON public.job_attempts USING btree (agent_id, slot) WHERE (finished_at IS NULL);
CREATE INDEX job_dependencies_on_idx ON public.job_dependencies USING btree (depends_on_job_id);
CREATE INDEX job_transitions_actor_idx ON public.job_transitions USING btree (actor, at);
CREATE INDEX job_transitions_at_idx ON public.job_transitions USING btree (at);
CREATE UNIQUE INDEX job_transitions_id_idx ON public.job_transitions USING btree (id);
CREATE INDEX job_transitions_xact_idx ON public.job_transitions USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE UNIQUE INDEX jobs_active_dedupe_idx ON public.jobs USING btree (namespace, target_agent, dedupe_key) WHERE ((dedupe_key IS NOT NULL) AND (finished_at IS NULL) AND (cardinality(capabilities) = 0));
CREATE INDEX jobs_blocked_idx ON public.jobs USING btree (blocked_at) WHERE (status = 'blocked'::job_status);
CREATE INDEX jobs_blocked_look_idx ON public.jobs USING btree (look_again_at) WHERE ((status = 'blocked'::job_status) AND (look_again_at IS NOT NULL));
CREATE INDEX jobs_blocked_on_agent_idx ON public.jobs USING btree (((waits_for ->> 'agent'::text))) WHERE ((status = 'blocked'::job_status) AND ((waits_for ->> 'kind'::text) = 'agent'::text));
CREATE INDEX jobs_blocked_on_approval_idx ON public.jobs USING btree (((waits_for ->> 'approval_id'::text))) WHERE ((status = 'blocked'::job_status) AND ((waits_for ->> 'kind'::text) = 'approval'::text));
CREATE INDEX jobs_blocked_on_event_idx ON public.jobs USING btree (((waits_for ->> 'topic'::text))) WHERE ((status = 'blocked'::job_status) AND ((waits_for ->> 'kind'::text) = 'event'::text));
CREATE INDEX jobs_blocked_on_job_idx ON public.jobs USING btree (((waits_for ->> 'job_id'::text))) WHERE ((status = 'blocked'::job_status) AND ((waits_for ->> 'kind'::text) = 'job'::text));
CREATE INDEX jobs_correlation_idx ON public.jobs USING btree (correlation_key, id DESC NULLS LAST) WHERE (correlation_key IS NOT NULL);
CREATE INDEX jobs_created_at_idx ON public.jobs USING brin (created_at) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX jobs_created_idx ON public.jobs USING btree (namespace, id DESC NULLS LAST);
CREATE INDEX jobs_dead_letters_idx ON public.jobs USING btree (finished_at DESC NULLS LAST) WHERE ((status = ANY (ARRAY['failed'::job_status, 'dead'::job_status])) AND (buried_at IS NULL));
CREATE INDEX jobs_escalate_idx ON public.jobs USING btree (escalate_at) WHERE (escalate_at IS NOT NULL);
CREATE INDEX jobs_flow_idx ON public.jobs USING btree (flow_key, id DESC NULLS LAST) WHERE (flow_key IS NOT NULL);
CREATE INDEX jobs_handed_over_idx ON public.jobs USING btree (created_at) WHERE ((finished_at IS NULL) AND (source_agent IS NOT NULL));
CREATE INDEX jobs_open_idx ON public.jobs USING btree (target_agent, status) WHERE (finished_at IS NULL);
CREATE INDEX jobs_open_lane_idx ON public.jobs USING btree (lane, status) WHERE (finished_at IS NULL);
CREATE INDEX jobs_open_source_idx ON public.jobs USING btree (source_agent) WHERE ((finished_at IS NULL) AND (source_agent IS NOT NULL));
CREATE INDEX jobs_parent_idx ON public.jobs USING btree (parent_job_id) WHERE (parent_job_id IS NOT NULL);
CREATE INDEX jobs_parked_idx ON public.jobs USING btree (held_by, priority DESC NULLS LAST, run_after, id) WHERE ((status = 'queued'::job_status) AND (held_by IS NOT NULL));
CREATE INDEX jobs_pruned_idx ON public.jobs USING btree (pruned_by) WHERE (pruned_by IS NOT NULL);
CREATE INDEX jobs_queued_idx ON public.jobs USING btree (lane, target_agent, run_after) WHERE (status = 'queued'::job_status);
CREATE INDEX jobs_ready_idx ON public.jobs USING btree (target_agent, priority DESC NULLS LAST, run_after, id) WHERE (status = 'queued'::job_status);
CREATE UNIQUE INDEX jobs_routed_dedupe_idx ON public.jobs USING btree (namespace, dedupe_key) WHERE ((dedupe_key IS NOT NULL) AND (finished_at IS NULL) AND (cardinality(capabilities) > 0));
CREATE INDEX jobs_routed_idx ON public.jobs USING btree (target_agent) WHERE ((status = 'queued'::job_status) AND (cardinality(capabilities) > 0));
CREATE UNIQUE INDEX jobs_standing_order_run_idx ON public.jobs USING btree (standing_order_run_id) WHERE (standing_order_run_id IS NOT NULL);
CREATE INDEX jobs_status_created_idx ON public.jobs USING btree (status, id DESC NULLS LAST);
CREATE INDEX jobs_target_created_idx ON public.jobs USING btree (target_agent, id DESC NULLS LAST);
CREATE INDEX jobs_unassigned_idx ON public.jobs USING btree (priority DESC NULLS LAST, run_after, id) WHERE ((status = 'queued'::job_status) AND (target_agent IS NULL));
CREATE UNIQUE INDEX memories_candidate_idx ON public.memories USING btree (source_candidate_id);
CREATE UNIQUE INDEX memories_dedupe_idx ON public.memories USING btree (namespace, dedupe_key) WHERE ((dedupe_key IS NOT NULL) AND (status = 'active'::memory_status));
CREATE INDEX memories_expiry_idx ON public.memories USING btree (expires_at) WHERE ((status = 'active'::memory_status) AND (expires_at IS NOT NULL));
CREATE INDEX memories_namespace_idx ON public.memories USING btree (namespace, id);
CREATE INDEX memories_review_idx ON public.memories USING btree (next_review_at) WHERE ((status = 'active'::memory_status) AND (next_review_at IS NOT NULL));
CREATE INDEX memories_status_idx ON public.memories USING btree (status, id);
CREATE INDEX memories_subject_idx ON public.memories USING btree (subject_key, id);
CREATE UNIQUE INDEX memories_supersedes_idx ON public.memories USING btree (supersedes_memory_id) WHERE (supersedes_memory_id IS NOT NULL);
CREATE INDEX memory_candidate_reviews_reviewer_idx ON public.memory_candidate_reviews USING btree (reviewer, at) WHERE (reviewer IS NOT NULL);
CREATE INDEX memory_candidate_reviews_xact_idx ON public.memory_candidate_reviews USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE UNIQUE INDEX memory_candidates_dedupe_idx ON public.memory_candidates USING btree (namespace, COALESCE(source_agent, ''::text), dedupe_key) WHERE ((dedupe_key IS NOT NULL) AND (status = ANY (ARRAY['new'::memory_candidate_status, 'reviewed'::memory_candidate_status])));
CREATE INDEX memory_candidates_namespace_idx ON public.memory_candidates USING btree (namespace, id);
CREATE INDEX memory_candidates_source_idx ON public.memory_candidates USING btree (source_agent, id) WHERE (source_agent IS NOT NULL);
CREATE INDEX memory_candidates_status_idx ON public.memory_candidates USING btree (status, id);
CREATE INDEX memory_candidates_subject_idx ON public.memory_candidates USING btree (subject_key, id);
CREATE INDEX memory_reviews_reviewer_idx ON public.memory_reviews USING btree (reviewer, at) WHERE (reviewer IS NOT NULL);
CREATE INDEX memory_reviews_xact_idx ON public.memory_reviews USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX observations_at_idx ON public.observations USING btree (at);
CREATE INDEX observations_job_idx ON public.observations USING btree (job_id, id) WHERE (job_id IS NOT NULL);
CREATE INDEX observations_kind_idx ON public.observations USING btree (kind, id);
CREATE INDEX observations_xact_idx ON public.observations USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX opportunities_counts_idx ON public.opportunities USING btree (namespace, status, created_at);
CREATE UNIQUE INDEX opportunities_dedupe_idx ON public.opportunities USING btree (namespace, dedupe_key, COALESCE(source_agent, ''::text)) WHERE ((dedupe_key IS NOT NULL) AND (status = ANY (ARRAY['new'::opportunity_status, 'triaged'::opportunity_status, 'accepted'::opportunity_status, 'parked'::opportunity_status])));
CREATE UNIQUE INDEX opportunities_job_idx ON public.opportunities USING btree (converted_job_id) WHERE (converted_job_id IS NOT NULL);
CREATE INDEX opportunities_namespace_idx ON public.opportunities USING btree (namespace, id);
CREATE INDEX opportunities_open_idx ON public.opportunities USING btree (id) WHERE (status = ANY (ARRAY['new'::opportunity_status, 'triaged'::opportunity_status, 'accepted'::opportunity_status, 'parked'::opportunity_status]));
CREATE INDEX opportunities_source_idx ON public.opportunities USING btree (source_agent, id) WHERE (source_agent IS NOT NULL);
CREATE INDEX opportunities_status_idx ON public.opportunities USING btree (status, id);
CREATE INDEX opportunities_theme_idx ON public.opportunities USING btree (theme, id);
CREATE INDEX opportunity_reviews_reviewer_idx ON public.opportunity_reviews USING btree (reviewer, at) WHERE (reviewer IS NOT NULL);
CREATE INDEX opportunity_reviews_xact_idx ON public.opportunity_reviews USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX outbox_claim_idx ON public.outbox USING btree (claimed_until, id);
CREATE INDEX outbox_job_idx ON public.outbox USING btree (job_id);
CREATE INDEX presence_component_idx ON public.presence USING btree (component, seen_until DESC NULLS LAST);
CREATE INDEX project_log_agent_idx ON public.project_log USING btree (agent_id, at) WHERE (agent_id IS NOT NULL);
CREATE INDEX project_log_project_idx ON public.project_log USING btree (namespace, project, id DESC NULLS LAST);
CREATE INDEX project_log_xact_idx ON public.project_log USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX project_statuses_xact_idx ON public.project_statuses USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX prompts_pruned_idx ON public.prompts USING btree (pruned_by) WHERE (pruned_by IS NOT NULL);
CREATE INDEX prunes_xact_idx ON public.prunes USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX rate_buckets_filled_idx ON public.rate_buckets USING btree (filled_at);
CREATE INDEX reactions_job_idx ON public.reactions USING btree (job_id) WHERE (job_id IS NOT NULL);
CREATE INDEX reactions_pending_idx ON public.reactions USING btree (event_id, subscription_id) WHERE (status = 'pending'::reaction_status);
CREATE INDEX reactions_subscription_idx ON public.reactions USING btree (subscription_id, event_id DESC NULLS LAST);
CREATE INDEX standing_order_run_transitions_xact_idx ON public.standing_order_run_transitions USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX standing_order_runs_day_idx ON public.standing_order_runs USING brin ((((slot_at AT TIME ZONE 'UTC'::text))::date)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX standing_order_runs_finished_idx ON public.standing_order_runs USING btree (order_id, finished_at) WHERE (started_at IS NOT NULL);
CREATE INDEX standing_order_runs_look_idx ON public.standing_order_runs USING btree (look_at) WHERE (status = 'expected'::slot_status);
CREATE INDEX standing_order_runs_missed_idx ON public.standing_order_runs USING btree (slot_at, order_id, cause) WHERE (status = 'missed'::slot_status);
CREATE INDEX standing_order_runs_open_idx ON public.standing_order_runs USING btree (order_id) WHERE (status = 'started'::slot_status);
CREATE INDEX standing_order_runs_slot_at_idx ON public.standing_order_runs USING btree (slot_at);
CREATE UNIQUE INDEX standing_order_runs_slot_idx ON public.standing_order_runs USING btree (order_id, slot_at);
CREATE INDEX standing_order_versions_xact_idx ON public.standing_order_versions USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE UNIQUE INDEX standing_orders_name_idx ON public.standing_orders USING btree (namespace, agent_id, name);
CREATE INDEX standing_orders_plan_idx ON public.standing_orders USING btree (plan_at) WHERE enabled;
CREATE UNIQUE INDEX subscriptions_name_idx ON public.subscriptions USING btree (namespace, name);
CREATE INDEX subscriptions_topic_idx ON public.subscriptions USING btree (namespace, topic) WHERE enabled;
CREATE UNIQUE INDEX workflow_runs_dedupe_idx ON public.workflow_runs USING btree (namespace, workflow, dedupe_key) WHERE ((dedupe_key IS NOT NULL) AND (finished_at IS NULL));
CREATE INDEX workflow_runs_open_idx ON public.workflow_runs USING btree (id) WHERE (finished_at IS NULL);
CREATE INDEX workflow_runs_workflow_idx ON public.workflow_runs USING btree (namespace, workflow, id DESC NULLS LAST);
CREATE UNIQUE INDEX workflow_steps_approval_idx ON public.workflow_steps USING btree (approval_id) WHERE (approval_id IS NOT NULL);
CREATE UNIQUE INDEX workflow_steps_job_idx ON public.workflow_steps USING btree (job_id) WHERE (job_id IS NOT NULL);
CREATE INDEX workflow_transitions_xact_idx ON public.workflow_transitions USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');
CREATE INDEX workflows_xact_idx ON public.workflows USING brin ((((xact)::text)::bigint)) WITH (pages_per_range='32', autosummarize='true');

-- functions

CREATE OR REPLACE FUNCTION public.alerts_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.approvals_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from approvals a where a.id = new.id and (
      a.last_seq is distinct from (select count(*) from approval_transitions t where t.approval_id = a.id)
      or not exists (select from approval_transitions t where t.approval_id = a.id and t.seq = a.last_seq and t.to_status = a.status)
    )
  ) then
    raise exception 'approval % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.audit_checkpoint_canonical(c audit_checkpoints)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select concat_ws(E'\n', case when c.records is not null then 'agentbus checkpoint 3' when c.restored_to is null then 'agentbus checkpoint 1' else 'agentbus checkpoint 2' end,
    c.seq, c.xact_from, c.xact_to, c.rows, c.jobs, c.first_id, c.last_id, encode(c.root, 'hex'),
    encode(c.jobs_hash, 'hex'), coalesce(c.key_id, ''), to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    case when c.records is null then c.restored_to::text else coalesce(c.restored_to::text, '') end, c.records, encode(c.records_hash, 'hex'))
$function$
;
CREATE OR REPLACE FUNCTION public.audit_checkpoints_chain()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
  -- One more than what is there: restores between which no job moved have boundaries of their own all the same.
  if new.restored_to > greatest((select max(id) from job_transitions), (select max(restored_to) from audit_checkpoints), 0) + 1 or new.restored_to < (select max(restored_to) from audit_checkpoints) then
    raise exception 'checkpoint % records a restore of rows that are not there', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.records is null then
    raise exception 'checkpoint % lists no rows of other histories', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.hash <> sha256(new.prev_hash || convert_to(audit_checkpoint_canonical(new), 'UTF8')) then
    raise exception 'checkpoint % does not have the hash of what it says', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $function$
;
CREATE OR REPLACE FUNCTION public.audit_checkpoints_name_their_jobs()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if new.jobs <> (select count(*) from audit_checkpoint_jobs where checkpoint_seq = new.seq) then
    raise exception 'checkpoint % does not name its jobs', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  if new.records <> (select coalesce(sum(cardinality(ids)), 0) from audit_checkpoint_records where checkpoint_seq = new.seq) then
    raise exception 'checkpoint % does not list its rows', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.controls_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.findings_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.grant_auditor()
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
begin
  if not exists (select from pg_roles where rolname = 'agentbus_auditor') then
    return false;
  end if;
  grant usage on schema public to agentbus_auditor;
  -- Whole: nothing in them was said by an agent or to one, or it is what histories are there for.
  grant select on
    job_transitions, job_dependencies, agent_state_changes, agent_states, agents, accesses, observations, controls, presence, dispatcher_heartbeats, approval_transitions,
    audit_checkpoints, audit_checkpoint_jobs, audit_checkpoint_records, outbox, queue_epochs, reactions, standing_order_run_transitions, standing_order_runs, workflow_transitions, prunes,
    project_log, control_changes, alerts, alert_history, alert_silences, alert_attempts, metric_marks, metric_totals,
    idea_reviews, opportunity_reviews, memory_candidate_reviews, memory_reviews
  to agentbus_auditor;
  grant select on
    agent_states_v, blocked_work_v, dispatcher_health_summary_v, hand_offs_v, inbox_open_v, queue_health_summary_v, standing_order_daily_counts_v, standing_order_gaps_v,
    standing_order_health_summary_v, system_health_snapshot_v, standing_order_definitions_v, fleet_changes_v, controls_in_force_v,
    opportunity_health_summary_v, idea_health_summary_v
  to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, held_by, blocked_reason, blocked_owner,
    unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at, awaited, standing_order_run_id, session_mode,
    source_event_id, hops, lineage, capabilities, blocked_at, escalate_at, pruned_by, pruned_hash) on jobs to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, blocked_reason, blocked_owner,
    unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at, awaited, standing_order_run_id, session_mode,
    source_event_id, hops, lineage, capabilities, blocked_at, escalate_at) on ready_jobs_v to agentbus_auditor;
  grant select (id, namespace, parent_job_id, flow_key, correlation_key, source_agent, target_agent, job_type, subject, lane, priority, dedupe_key, payload_hash, summary, status, last_seq,
    generation, run_after, attempt_count, max_attempts, timeout_seconds, lease_seconds, on_lost, on_dependency_death, current_attempt_id, held_reason, blocked_reason, blocked_owner,
    unblock_action, look_again_at, waits_for, last_error, last_error_code, created_by, created_at, updated_at, finished_at, buried_at, awaited, standing_order_run_id, session_mode,
    source_event_id, hops, lineage, capabilities, blocked_at, escalate_at,
    leased_until, lease_owner, attempt_no) on stuck_jobs_v to agentbus_auditor;
  grant select (id, job_id, attempt_no, agent_id, gateway_id, status, slot, burned, lease_owner, leased_at, leased_until, gateway_booted_at, deadline_at, admitted_at, finished_at, outcome_code,
    error, summary, prompt_hash, contract_version, payload_hash, hook_status, openclaw_task_ref, openclaw_session_key, pruned_by, pruned_hash) on job_attempts to agentbus_auditor;
  grant select (hash, bytes, created_at, pruned_by) on prompts to agentbus_auditor;
  grant select (id, namespace, topic, source_agent, source_job_id, source_attempt_id, dedupe_key, correlation_key, hops, lineage, created_by, created_at, pruned_by, pruned_hash, xact)
    on events to agentbus_auditor;
  grant select (id, namespace, subject, agent_id, job_id, workflow_run_id, step, correlation_key, status, last_seq, created_by, created_at, expires_at, decided_at, decided_by, note)
    on approvals to agentbus_auditor;
  grant select (id, name, role, agent_id, created_by, created_at, expires_at, revoked_at) on api_tokens to agentbus_auditor;
  grant select (id, namespace, agent_id, topic, subject_key, level, source_agent, since, first_seen_at, last_seen_at, count, last_raised_at, nag_count, nag_level, raise_at, status, settled_at,
    settled_as, last_seq) on findings to agentbus_auditor;
  grant select (id, finding_id, agent_id, level, tone, nag_level, status, created_at, read_by, read_attempt_id, read_at, read_until, closed_at, outcome, note) on inbox_messages to agentbus_auditor;
  grant select (kind, id, version, actor_kind, actor, valid_from, record_id, xact) on fleet_versions to agentbus_auditor;
  grant select (id, base_url, hook_path, version, breaker, breaker_reason, breaker_changed_at, failures, reopened, probe_after, last_ready_at, last_down_at, booted_at, created_at, updated_at)
    on gateways to agentbus_auditor;
  grant select (id, namespace, agent_id, name, version, enabled, in_force_from, planned_until, plan_at) on standing_orders to agentbus_auditor;
  grant select (order_id, version, enabled, in_force_from, actor_kind, actor, record_id, xact) on standing_order_versions to agentbus_auditor;
  grant select (id, namespace, name, agent_id, topic, enabled, version, updated_at) on subscriptions to agentbus_auditor;
  grant select (id, namespace, workflow, version, status, source_agent, dedupe_key, correlation_key, last_error, last_seq, created_by, created_at, finished_at) on workflow_runs to agentbus_auditor;
  grant select (run_id, step, status, job_id, approval_id, reason, started_at, finished_at) on workflow_steps to agentbus_auditor;
  grant select (finding_id, seq, kind, message_id, job_id, attempt_id, actor_kind, actor, at, record_id, xact) on finding_history to agentbus_auditor;
  grant select (namespace, name, version, hash, created_by, created_at, record_id, xact) on workflows to agentbus_auditor;
  grant select (namespace, project, version, status, agent_id, job_id, actor_kind, actor, at, record_id, xact) on project_statuses to agentbus_auditor;
  grant select (id, alert_id, seq, rule, notice, receiver_kind, receiver, status, tries, next_try_at, job_id, created_at, done_at) on alert_deliveries to agentbus_auditor;
  grant select (id, namespace, source_agent, theme, tags, status, last_seq, promoted_opportunity_id, dedupe_key, created_by, created_at, updated_at) on ideas to agentbus_auditor;
  grant select (id, namespace, source_agent, theme, impact_score, confidence_score, urgency_score, reversibility, owner_candidate, status, last_seq, triaged_by, triage_notes, triaged_at,
    converted_job_id, dedupe_key, created_by, created_at, updated_at) on opportunities to agentbus_auditor;
  grant select (id, namespace, source_agent, theme, impact_score, confidence_score, urgency_score, reversibility, owner_candidate, status, last_seq, triaged_by, triage_notes, triaged_at,
    converted_job_id, dedupe_key, created_by, created_at, updated_at) on open_opportunities_v to agentbus_auditor;
  grant select (id, namespace, source_agent, candidate_kind, scope, subject_key, confidence_score, stability, visibility, visible_to, status, last_seq, reviewer, review_notes,
    promoted_memory_id, dedupe_key, created_by, created_at, updated_at) on memory_candidates to agentbus_auditor;
  grant select (id, namespace, kind, scope, subject_key, owner_agent, source_candidate_id, confidence_score, stability, visibility, visible_to, status, last_seq, created_by, updated_by,
    valid_from, expires_at, next_review_at, supersedes_memory_id, dedupe_key, created_at, updated_at) on memories to agentbus_auditor;
  grant select (id, namespace, kind, scope, subject_key, owner_agent, source_candidate_id, confidence_score, stability, visibility, visible_to, status, last_seq, created_by, updated_by,
    valid_from, expires_at, next_review_at, supersedes_memory_id, dedupe_key, created_at, updated_at) on active_memories_v to agentbus_auditor;
  return true;
end $function$
;
CREATE OR REPLACE FUNCTION public.idea_words(i ideas)
 RETURNS bytea
 LANGUAGE sql
 STABLE
AS $function$
  select sha256(convert_to(jsonb_build_array(
    i.id, i.namespace, i.source_agent, i.theme, i.title, i.body, i.evidence, i.tags, i.dedupe_key, i.created_by
  )::text, 'UTF8'))
$function$
;
CREATE OR REPLACE FUNCTION public.ideas_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from ideas s cross join lateral (select count(*) as n, max(r.seq) as newest from idea_reviews r where r.idea_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from idea_reviews r where r.idea_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from idea_reviews r join idea_reviews p on p.idea_id = r.idea_id and p.seq = r.seq - 1
        where r.idea_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from idea_reviews r where r.idea_id = s.id and r.seq = 1 and r.words_hash = idea_words(s))
    )
  ) then
    raise exception 'idea % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.job_attempts_open_is_current()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if not exists (
    select from job_attempts a join jobs j on j.id = a.job_id
    where a.id = new.id and (a.finished_at is null) = (j.current_attempt_id is not distinct from a.id)
  ) then
    raise exception 'attempt % is open but does not hold its job, or holds it closed', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.job_move_is_legal(before job_status, after job_status)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case before
    when 'waiting' then after in ('queued', 'blocked', 'cancelled', 'dead')
    when 'queued' then after in ('leased', 'blocked', 'dead', 'cancelled')
    when 'leased' then after in ('queued', 'running', 'succeeded', 'blocked', 'failed', 'dead', 'cancelled')
    when 'running' then after in ('queued', 'succeeded', 'blocked', 'failed', 'dead', 'cancelled')
    when 'blocked' then after in ('queued', 'dead', 'cancelled')
    when 'failed' then after = 'queued'
    when 'dead' then after = 'queued'
    when 'cancelled' then after = 'queued'
    else false
  end
$function$
;
CREATE OR REPLACE FUNCTION public.job_rule_broken(j jobs)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case
    when not (j.priority between 1 and 1000) then 'jobs_priority_check'
    when not (j.attempt_count between 0 and j.max_attempts and j.max_attempts between 1 and 10000) then 'jobs_attempts_check'
    when not (j.generation >= 1 and j.last_seq >= 1) then 'jobs_generation_check'
    when (j.status in ('succeeded', 'failed', 'dead', 'cancelled')) <> (j.finished_at is not null) then 'jobs_terminal_iff_finished'
    when (j.status in ('leased', 'running')) <> (j.current_attempt_id is not null) then 'jobs_leased_iff_attempt'
    when (j.status = 'blocked') <> (j.blocked_reason is not null) or (j.status = 'blocked') <> (j.blocked_owner is not null) then 'jobs_blocked_iff_reason'
    when j.status <> 'blocked' and num_nonnulls(j.waits_for, j.look_again_at, j.unblock_action, j.blocked_at, j.escalate_at) > 0 then 'jobs_blocked_waits'
    when j.target_agent is null and (cardinality(j.capabilities) = 0 or j.current_attempt_id is not null) then 'jobs_agent_or_capabilities'
    when j.hops < 0 or cardinality(j.lineage) > j.hops then 'jobs_hops_check'
    when j.buried_at is not null and j.status not in ('failed', 'dead') then 'jobs_buried_when_over'
    when j.parent_job_id = j.id then 'jobs_not_own_parent'
    when j.pruned_by is not null and (j.finished_at is null or j.pruned_hash is null) then 'jobs_pruned_when_over'
  end
$function$
;
CREATE OR REPLACE FUNCTION public.job_transition_canonical(t job_transitions)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select jsonb_build_array(
    t.job_id, t.seq, t.kind, t.from_status, t.to_status, t.reason, t.note, t.attempt_id, t.actor_kind, t.actor, t.details,
    to_char(t.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
  )::text
$function$
;
CREATE OR REPLACE FUNCTION public.job_transitions_chain()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  prior record;
  broken text := case
    when (new.seq = 1) <> (new.from_status is null) or (new.seq = 1) <> (new.reason = 'created') then 'job_transitions_first_is_created'
    when not case
      when new.from_status is null then new.kind = 'move' and new.to_status in ('waiting', 'queued')
      when new.kind = 'note' then new.from_status = new.to_status
      else job_move_is_legal(new.from_status, new.to_status)
    end then 'job_transitions_legal_move'
  end;
begin
  if broken is not null then
    raise exception 'history of job % cannot go on from % to % at seq %: it violates "%"', new.job_id, new.from_status, new.to_status, new.seq, broken
      using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = broken;
  end if;
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
end $function$
;
CREATE OR REPLACE FUNCTION public.jobs_are_consistent()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  broken text := case
    when not (new.priority between 1 and 1000) then 'jobs_priority_check'
    when not (new.attempt_count between 0 and new.max_attempts and new.max_attempts between 1 and 10000) then 'jobs_attempts_check'
    when not (new.generation >= 1 and new.last_seq >= 1) then 'jobs_generation_check'
    when (new.status in ('succeeded', 'failed', 'dead', 'cancelled')) <> (new.finished_at is not null) then 'jobs_terminal_iff_finished'
    when (new.status in ('leased', 'running')) <> (new.current_attempt_id is not null) then 'jobs_leased_iff_attempt'
    when (new.status = 'blocked') <> (new.blocked_reason is not null) or (new.status = 'blocked') <> (new.blocked_owner is not null) then 'jobs_blocked_iff_reason'
    when new.status <> 'blocked' and num_nonnulls(new.waits_for, new.look_again_at, new.unblock_action, new.blocked_at, new.escalate_at) > 0 then 'jobs_blocked_waits'
    when new.target_agent is null and (cardinality(new.capabilities) = 0 or new.current_attempt_id is not null) then 'jobs_agent_or_capabilities'
    when new.hops < 0 or cardinality(new.lineage) > new.hops then 'jobs_hops_check'
    when new.buried_at is not null and new.status not in ('failed', 'dead') then 'jobs_buried_when_over'
    when new.parent_job_id = new.id then 'jobs_not_own_parent'
    when new.pruned_by is not null and (new.finished_at is null or new.pruned_hash is null) then 'jobs_pruned_when_over'
  end;
begin
  if broken is not null then
    raise exception 'job % would not be consistent: it violates "%"', new.id, broken
      using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = broken;
  end if;
  return new;
end $function$
;
CREATE OR REPLACE FUNCTION public.jobs_current_attempt_is_open()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if not exists (
    select from jobs j left join job_attempts a on a.id = j.current_attempt_id
    where j.id = new.id
      and (j.current_attempt_id is null or (a.job_id = j.id and a.finished_at is null and a.status::text = j.status::text))
  ) then
    raise exception 'job % points at an attempt that is not its own open one', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.jobs_move_their_slot()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.jobs_state_has_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if not exists (
    select from job_transitions t join jobs j on j.id = t.job_id
    where t.job_id = new.id and t.seq = j.last_seq and t.to_status = j.status
  ) then
    raise exception 'job % is % without a history row that says so', new.id, new.status using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.may_delegate(rules jsonb, source text, target text, job_type text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select rules is null or source = target or exists (
    select from jsonb_array_elements(rules) as rule
    where (rule -> 'to' ? '*' or rule -> 'to' ? target)
      and (not rule ? 'job_types' or exists (
        select from jsonb_array_elements_text(rule -> 'job_types') as allowed
        where allowed = job_type or (allowed like '%.*' and starts_with(job_type, left(allowed, -1)))
      ))
  )
$function$
;
CREATE OR REPLACE FUNCTION public.memories_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from memories s cross join lateral (select count(*) as n, max(r.seq) as newest from memory_reviews r where r.memory_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from memory_reviews r where r.memory_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from memory_reviews r join memory_reviews p on p.memory_id = r.memory_id and p.seq = r.seq - 1
        where r.memory_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from memory_reviews r where r.memory_id = s.id and r.seq = 1 and r.words_hash = memory_words(s))
    )
  ) then
    raise exception 'memory % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.memory_candidate_words(c memory_candidates)
 RETURNS bytea
 LANGUAGE sql
 STABLE
AS $function$
  select sha256(convert_to(jsonb_build_array(
    c.id, c.namespace, c.source_agent, c.candidate_kind, c.scope, c.subject_key, c.title, c.body, c.evidence, c.source_refs, c.confidence_score,
    c.stability, c.visibility, c.visible_to, c.dedupe_key, c.created_by
  )::text, 'UTF8'))
$function$
;
CREATE OR REPLACE FUNCTION public.memory_candidates_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from memory_candidates s cross join lateral (select count(*) as n, max(r.seq) as newest from memory_candidate_reviews r where r.memory_candidate_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from memory_candidate_reviews r where r.memory_candidate_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from memory_candidate_reviews r join memory_candidate_reviews p on p.memory_candidate_id = r.memory_candidate_id and p.seq = r.seq - 1
        where r.memory_candidate_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from memory_candidate_reviews r where r.memory_candidate_id = s.id and r.seq = 1 and r.words_hash = memory_candidate_words(s))
    )
  ) then
    raise exception 'memory candidate % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.memory_words(m memories)
 RETURNS bytea
 LANGUAGE sql
 STABLE
AS $function$
  select sha256(convert_to(jsonb_build_array(
    m.id, m.namespace, m.kind, m.scope, m.subject_key, m.title, m.body, m.owner_agent, m.source_candidate_id, m.source_refs, m.stability,
    m.visibility, m.visible_to, m.supersedes_memory_id, m.dedupe_key, m.created_by
  )::text, 'UTF8'))
$function$
;
CREATE OR REPLACE FUNCTION public.messages_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.move_slot(run uuid, target slot_status, why text, by_kind actor_kind, by_whom text, more jsonb, moved_at timestamp with time zone)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.opportunities_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from opportunities s cross join lateral (select count(*) as n, max(r.seq) as newest from opportunity_reviews r where r.opportunity_id = s.id) h
    where s.id = new.id and (
      h.n <> s.last_seq or h.newest is distinct from s.last_seq
      or not exists (select from opportunity_reviews r where r.opportunity_id = s.id and r.seq = s.last_seq and r.decision = s.status)
      or (s.last_seq > 1 and not exists (
        select from opportunity_reviews r join opportunity_reviews p on p.opportunity_id = r.opportunity_id and p.seq = r.seq - 1
        where r.opportunity_id = s.id and r.seq = s.last_seq and r.from_status = p.decision))
      or not exists (select from opportunity_reviews r where r.opportunity_id = s.id and r.seq = 1 and r.words_hash = opportunity_words(s))
    )
  ) then
    raise exception 'opportunity % is not what its history says', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.opportunity_words(o opportunities)
 RETURNS bytea
 LANGUAGE sql
 STABLE
AS $function$
  select sha256(convert_to(jsonb_build_array(
    o.id, o.namespace, o.source_agent, o.theme, o.title, o.why_now, o.evidence, o.impact_score, o.confidence_score, o.urgency_score, o.reversibility,
    o.owner_candidate, o.suggested_next_step, o.dedupe_key, o.created_by
  )::text, 'UTF8'))
$function$
;
CREATE OR REPLACE FUNCTION public.prune_canonical(p prunes)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  select concat_ws(E'\n', 'agentbus prune 1', p.seq, p.kind, to_char(p.before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), p.rows, p.first_key, p.last_key,
    encode(p.root, 'hex'), p.policy_version, p.actor_kind, p.actor, to_char(p.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
$function$
;
CREATE OR REPLACE FUNCTION public.prunes_chain()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  prior prunes;
begin
  select * into prior from prunes order by seq desc limit 1;
  if new.seq <> coalesce(prior.seq, 0) + 1 then
    raise exception 'prune % does not follow the one before', new.seq using errcode = 'integrity_constraint_violation';
  end if;
  new.xact := pg_current_xact_id();
  new.prev_hash := coalesce(prior.hash, decode(repeat('00', 32), 'hex'));
  new.hash := sha256(new.prev_hash || convert_to(prune_canonical(new), 'UTF8'));
  return new;
end $function$
;
CREATE OR REPLACE FUNCTION public.prunes_name_their_rows()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  found_rows bigint;
begin
  found_rows := case new.kind
    when 'prompts' then (select count(*) from prompts where pruned_by = new.seq)
    when 'jobs' then (select count(*) from jobs where pruned_by = new.seq)
    when 'attempts' then (select count(*) from job_attempts where pruned_by = new.seq)
    when 'events' then (select count(*) from events where pruned_by = new.seq)
    else new.rows
  end;
  if found_rows <> new.rows then
    raise exception 'prune % names % rows, % bear its number', new.seq, new.rows, found_rows using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception '% on % is refused: the table is append-only', tg_op, tg_table_name using errcode = 'restrict_violation';
end $function$
;
CREATE OR REPLACE FUNCTION public.refuse_change_but_pruning()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
declare
  emptied text[] := string_to_array(tg_argv[2], ' ') || array['pruned_by', 'pruned_hash'];
  old_row jsonb := to_jsonb(old);
  pruning prunes;
begin
  if tg_op = 'DELETE' then
    select * into pruning from prunes p where p.kind = tg_argv[0] and p.xact = pg_current_xact_id()
      and (old_row ->> 'id')::bigint between p.first_key::bigint and p.last_key::bigint;
    if found and (old_row ->> tg_argv[1])::timestamptz < pruning.before then
      return old;
    end if;
  elsif old_row ->> 'pruned_by' is null and new.pruned_by is not null then
    select * into pruning from prunes p where p.kind = tg_argv[0] and p.xact = pg_current_xact_id() and p.seq = new.pruned_by;
    if found and (old_row ->> tg_argv[1])::timestamptz < pruning.before and old_row - emptied = to_jsonb(new) - emptied then
      return new;
    end if;
  end if;
  raise exception '% on % is refused: the table is append-only', tg_op, tg_table_name using errcode = 'restrict_violation';
end $function$
;
CREATE OR REPLACE FUNCTION public.refuse_change_of_closed_attempt()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'attempt % is closed and cannot change', old.id using errcode = 'restrict_violation';
end $function$
;
CREATE OR REPLACE FUNCTION public.refuse_change_of_pruned_job()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if (new.payload, new.state, new.result, new.answer, new.pruned_hash) is distinct from (old.payload, old.state, old.result, old.answer, old.pruned_hash) then
    raise exception '% on % is refused: what was pruned stays so', tg_op, tg_table_name using errcode = 'restrict_violation';
  end if;
  return new;
end $function$
;
CREATE OR REPLACE FUNCTION public.refuse_unread()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  raise exception 'message % was read and cannot be unread', old.id using errcode = 'restrict_violation';
end $function$
;
CREATE OR REPLACE FUNCTION public.slot_may_move(from_status slot_status, to_status slot_status)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case from_status
    when 'expected' then to_status in ('started', 'skipped', 'missed')
    when 'started' then to_status in ('no_work', 'completed', 'blocked', 'failed')
    when 'blocked' then to_status in ('started', 'failed')
    when 'failed' then to_status = 'started'
    else false
  end
$function$
;
CREATE OR REPLACE FUNCTION public.slots_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
end $function$
;
CREATE OR REPLACE FUNCTION public.workflow_runs_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from workflow_runs r where r.id = new.id and (
      not exists (select from workflow_transitions t where t.run_id = r.id and t.seq = r.last_seq)
      or exists (select from workflow_transitions t where t.run_id = r.id and t.seq > r.last_seq)
      or (r.last_seq > 1 and not exists (select from workflow_transitions t where t.run_id = r.id and t.seq = r.last_seq - 1))
      or r.status::text is distinct from (
        select t.to_status from workflow_transitions t where t.run_id = r.id and t.step is null order by t.seq desc limit 1)
    )
  ) then
    raise exception 'workflow run % does not end where its history does', new.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;
CREATE OR REPLACE FUNCTION public.workflow_steps_have_history()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if exists (
    select from workflow_steps s where s.run_id = new.run_id and s.step = new.step and s.status::text is distinct from coalesce((
      select t.to_status from workflow_transitions t where t.run_id = s.run_id and t.step = s.step order by t.seq desc limit 1), 'pending')
  ) then
    raise exception 'step % of workflow run % is not what its history says', new.step, new.run_id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $function$
;

-- triggers

CREATE TRIGGER accesses_append_only BEFORE DELETE ON public.accesses FOR EACH ROW EXECUTE FUNCTION refuse_change_but_pruning('accesses', 'at', '');
CREATE TRIGGER accesses_no_truncate BEFORE TRUNCATE ON public.accesses FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER accesses_no_update BEFORE UPDATE ON public.accesses FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER agent_state_changes_append_only BEFORE DELETE OR UPDATE ON public.agent_state_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER agent_state_changes_no_truncate BEFORE TRUNCATE ON public.agent_state_changes FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_attempts_append_only BEFORE DELETE OR UPDATE ON public.alert_attempts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_attempts_no_truncate BEFORE TRUNCATE ON public.alert_attempts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_deliveries_done_are_final BEFORE UPDATE ON public.alert_deliveries FOR EACH ROW WHEN ((old.status <> 'pending'::alert_delivery_status)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_deliveries_no_delete BEFORE DELETE ON public.alert_deliveries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_deliveries_no_truncate BEFORE TRUNCATE ON public.alert_deliveries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_history_append_only BEFORE DELETE OR UPDATE ON public.alert_history FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_history_no_truncate BEFORE TRUNCATE ON public.alert_history FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_silences_lifted_are_final BEFORE UPDATE ON public.alert_silences FOR EACH ROW WHEN ((old.lifted_at IS NOT NULL)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_silences_no_delete BEFORE DELETE ON public.alert_silences FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alert_silences_no_truncate BEFORE TRUNCATE ON public.alert_silences FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER alerts_have_history AFTER INSERT OR UPDATE OF status, last_seq, acknowledged_at ON public.alerts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION alerts_have_history();
CREATE TRIGGER alerts_no_delete BEFORE DELETE ON public.alerts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alerts_no_truncate BEFORE TRUNCATE ON public.alerts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alerts_resolved_are_final BEFORE UPDATE ON public.alerts FOR EACH ROW WHEN ((old.status = 'resolved'::alert_status)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER approval_transitions_append_only BEFORE DELETE OR UPDATE ON public.approval_transitions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER approval_transitions_no_truncate BEFORE TRUNCATE ON public.approval_transitions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER approvals_decided_are_final BEFORE UPDATE ON public.approvals FOR EACH ROW WHEN ((old.status <> 'pending'::approval_status)) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER approvals_have_history AFTER INSERT OR UPDATE ON public.approvals DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_have_history();
CREATE TRIGGER approvals_no_delete BEFORE DELETE ON public.approvals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER approvals_no_truncate BEFORE TRUNCATE ON public.approvals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoint_jobs_append_only BEFORE DELETE OR UPDATE ON public.audit_checkpoint_jobs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoint_jobs_no_truncate BEFORE TRUNCATE ON public.audit_checkpoint_jobs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoint_records_append_only BEFORE DELETE OR UPDATE ON public.audit_checkpoint_records FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoint_records_no_truncate BEFORE TRUNCATE ON public.audit_checkpoint_records FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoints_append_only BEFORE DELETE OR UPDATE ON public.audit_checkpoints FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_checkpoints_chain BEFORE INSERT ON public.audit_checkpoints FOR EACH ROW EXECUTE FUNCTION audit_checkpoints_chain();
CREATE CONSTRAINT TRIGGER audit_checkpoints_name_their_jobs AFTER INSERT ON public.audit_checkpoints DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_checkpoints_name_their_jobs();
CREATE TRIGGER audit_checkpoints_no_truncate BEFORE TRUNCATE ON public.audit_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER control_changes_append_only BEFORE DELETE OR UPDATE ON public.control_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER control_changes_no_truncate BEFORE TRUNCATE ON public.control_changes FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER controls_begin_stays BEFORE UPDATE ON public.controls FOR EACH ROW WHEN (((((((((old.action IS DISTINCT FROM new.action) OR (old.scope IS DISTINCT FROM new.scope)) OR (old.target IS DISTINCT FROM new.target)) OR (old.reason IS DISTINCT FROM new.reason)) OR (old.set_by_kind IS DISTINCT FROM new.set_by_kind)) OR (old.set_by IS DISTINCT FROM new.set_by)) OR (old.set_at IS DISTINCT FROM new.set_at)) OR (old.until_at IS DISTINCT FROM new.until_at))) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER controls_have_history AFTER INSERT OR UPDATE ON public.controls DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION controls_have_history();
CREATE TRIGGER controls_lifted_are_final BEFORE UPDATE ON public.controls FOR EACH ROW WHEN ((old.lifted_at IS NOT NULL)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER controls_no_delete BEFORE DELETE ON public.controls FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER controls_no_truncate BEFORE TRUNCATE ON public.controls FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_append_only BEFORE UPDATE ON public.events FOR EACH ROW EXECUTE FUNCTION refuse_change_but_pruning('events', 'created_at', 'payload');
CREATE TRIGGER events_no_delete BEFORE DELETE ON public.events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER finding_history_append_only BEFORE DELETE OR UPDATE ON public.finding_history FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER finding_history_no_truncate BEFORE TRUNCATE ON public.finding_history FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER findings_have_history AFTER INSERT OR UPDATE ON public.findings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION findings_have_history();
CREATE TRIGGER findings_no_delete BEFORE DELETE ON public.findings FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER findings_no_truncate BEFORE TRUNCATE ON public.findings FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER findings_settled_are_final BEFORE UPDATE ON public.findings FOR EACH ROW WHEN ((old.status = 'settled'::finding_status)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fleet_versions_append_only BEFORE DELETE OR UPDATE ON public.fleet_versions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fleet_versions_no_truncate BEFORE TRUNCATE ON public.fleet_versions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER idea_reviews_append_only BEFORE DELETE OR UPDATE ON public.idea_reviews FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER idea_reviews_no_truncate BEFORE TRUNCATE ON public.idea_reviews FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ideas_decided_are_final BEFORE UPDATE ON public.ideas FOR EACH ROW WHEN ((old.status = ANY (ARRAY['promoted_to_opportunity'::idea_status, 'archived'::idea_status]))) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER ideas_have_history AFTER INSERT OR UPDATE ON public.ideas DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ideas_have_history();
CREATE TRIGGER ideas_no_delete BEFORE DELETE ON public.ideas FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ideas_no_truncate BEFORE TRUNCATE ON public.ideas FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ideas_words_stay BEFORE UPDATE ON public.ideas FOR EACH ROW WHEN (((((((((((old.id IS DISTINCT FROM new.id) OR (old.namespace IS DISTINCT FROM new.namespace)) OR (old.source_agent IS DISTINCT FROM new.source_agent)) OR (old.theme IS DISTINCT FROM new.theme)) OR (old.title IS DISTINCT FROM new.title)) OR (old.body IS DISTINCT FROM new.body)) OR (old.evidence IS DISTINCT FROM new.evidence)) OR (old.tags IS DISTINCT FROM new.tags)) OR (old.dedupe_key IS DISTINCT FROM new.dedupe_key)) OR (old.created_by IS DISTINCT FROM new.created_by))) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER inbox_messages_closed_are_final BEFORE UPDATE ON public.inbox_messages FOR EACH ROW WHEN ((old.status = ANY (ARRAY['acknowledged'::message_status, 'withdrawn'::message_status]))) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER inbox_messages_have_history AFTER INSERT OR UPDATE OF status, read_by ON public.inbox_messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION messages_have_history();
CREATE TRIGGER inbox_messages_no_delete BEFORE DELETE ON public.inbox_messages FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER inbox_messages_no_truncate BEFORE TRUNCATE ON public.inbox_messages FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER inbox_messages_stay_read BEFORE UPDATE ON public.inbox_messages FOR EACH ROW WHEN (((old.status = 'read'::message_status) AND (new.status = 'unread'::message_status))) EXECUTE FUNCTION refuse_unread();
CREATE TRIGGER job_attempts_closed_are_final BEFORE UPDATE ON public.job_attempts FOR EACH ROW WHEN ((old.finished_at IS NOT NULL)) EXECUTE FUNCTION refuse_change_but_pruning('attempts', 'finished_at', 'hook_response openclaw_meta');
CREATE CONSTRAINT TRIGGER job_attempts_hold_their_job AFTER INSERT OR UPDATE OF status, finished_at ON public.job_attempts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION job_attempts_open_is_current();
CREATE TRIGGER job_attempts_no_delete BEFORE DELETE ON public.job_attempts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER job_attempts_no_truncate BEFORE TRUNCATE ON public.job_attempts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER job_transitions_append_only BEFORE DELETE OR UPDATE ON public.job_transitions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER job_transitions_chain BEFORE INSERT ON public.job_transitions FOR EACH ROW EXECUTE FUNCTION job_transitions_chain();
CREATE TRIGGER job_transitions_no_truncate BEFORE TRUNCATE ON public.job_transitions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jobs_are_consistent BEFORE INSERT OR UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION jobs_are_consistent();
CREATE CONSTRAINT TRIGGER jobs_attempt_is_open AFTER INSERT OR UPDATE OF current_attempt_id, status ON public.jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.current_attempt_id IS NOT NULL)) EXECUTE FUNCTION jobs_current_attempt_is_open();
CREATE CONSTRAINT TRIGGER jobs_insert_has_history AFTER INSERT ON public.jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION jobs_state_has_history();
CREATE TRIGGER jobs_move_their_slot AFTER UPDATE OF status ON public.jobs FOR EACH ROW WHEN (((new.standing_order_run_id IS NOT NULL) AND (old.status IS DISTINCT FROM new.status))) EXECUTE FUNCTION jobs_move_their_slot();
CREATE TRIGGER jobs_no_delete BEFORE DELETE ON public.jobs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jobs_no_truncate BEFORE TRUNCATE ON public.jobs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER jobs_pruned_are_final BEFORE UPDATE ON public.jobs FOR EACH ROW WHEN ((old.pruned_by IS NOT NULL)) EXECUTE FUNCTION refuse_change_of_pruned_job();
CREATE TRIGGER jobs_pruned_by_a_prune BEFORE UPDATE ON public.jobs FOR EACH ROW WHEN ((new.pruned_by IS DISTINCT FROM old.pruned_by)) EXECUTE FUNCTION refuse_change_but_pruning('jobs', 'finished_at', 'payload state result answer');
CREATE CONSTRAINT TRIGGER jobs_update_has_history AFTER UPDATE OF status, last_seq ON public.jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((old.status IS DISTINCT FROM new.status) OR (old.last_seq IS DISTINCT FROM new.last_seq))) EXECUTE FUNCTION jobs_state_has_history();
CREATE CONSTRAINT TRIGGER memories_have_history AFTER INSERT OR UPDATE ON public.memories DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION memories_have_history();
CREATE TRIGGER memories_no_delete BEFORE DELETE ON public.memories FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memories_no_truncate BEFORE TRUNCATE ON public.memories FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memories_over_are_final BEFORE UPDATE ON public.memories FOR EACH ROW WHEN ((old.status = ANY (ARRAY['superseded'::memory_status, 'expired'::memory_status, 'archived'::memory_status]))) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memories_words_stay BEFORE UPDATE ON public.memories FOR EACH ROW WHEN (((((((((((((((((old.id IS DISTINCT FROM new.id) OR (old.namespace IS DISTINCT FROM new.namespace)) OR (old.kind IS DISTINCT FROM new.kind)) OR (old.scope IS DISTINCT FROM new.scope)) OR (old.subject_key IS DISTINCT FROM new.subject_key)) OR (old.title IS DISTINCT FROM new.title)) OR (old.body IS DISTINCT FROM new.body)) OR (old.owner_agent IS DISTINCT FROM new.owner_agent)) OR (old.source_candidate_id IS DISTINCT FROM new.source_candidate_id)) OR (old.source_refs IS DISTINCT FROM new.source_refs)) OR (old.stability IS DISTINCT FROM new.stability)) OR (old.visibility IS DISTINCT FROM new.visibility)) OR (old.visible_to IS DISTINCT FROM new.visible_to)) OR (old.supersedes_memory_id IS DISTINCT FROM new.supersedes_memory_id)) OR (old.dedupe_key IS DISTINCT FROM new.dedupe_key)) OR (old.created_by IS DISTINCT FROM new.created_by))) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_candidate_reviews_append_only BEFORE DELETE OR UPDATE ON public.memory_candidate_reviews FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_candidate_reviews_no_truncate BEFORE TRUNCATE ON public.memory_candidate_reviews FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_candidates_decided_are_final BEFORE UPDATE ON public.memory_candidates FOR EACH ROW WHEN ((old.status = ANY (ARRAY['promoted'::memory_candidate_status, 'rejected'::memory_candidate_status, 'archived'::memory_candidate_status]))) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER memory_candidates_have_history AFTER INSERT OR UPDATE ON public.memory_candidates DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION memory_candidates_have_history();
CREATE TRIGGER memory_candidates_no_delete BEFORE DELETE ON public.memory_candidates FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_candidates_no_truncate BEFORE TRUNCATE ON public.memory_candidates FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_candidates_words_stay BEFORE UPDATE ON public.memory_candidates FOR EACH ROW WHEN (((((((((((((((((old.id IS DISTINCT FROM new.id) OR (old.namespace IS DISTINCT FROM new.namespace)) OR (old.source_agent IS DISTINCT FROM new.source_agent)) OR (old.candidate_kind IS DISTINCT FROM new.candidate_kind)) OR (old.scope IS DISTINCT FROM new.scope)) OR (old.subject_key IS DISTINCT FROM new.subject_key)) OR (old.title IS DISTINCT FROM new.title)) OR (old.body IS DISTINCT FROM new.body)) OR (old.evidence IS DISTINCT FROM new.evidence)) OR (old.source_refs IS DISTINCT FROM new.source_refs)) OR (old.confidence_score IS DISTINCT FROM new.confidence_score)) OR (old.stability IS DISTINCT FROM new.stability)) OR (old.visibility IS DISTINCT FROM new.visibility)) OR (old.visible_to IS DISTINCT FROM new.visible_to)) OR (old.dedupe_key IS DISTINCT FROM new.dedupe_key)) OR (old.created_by IS DISTINCT FROM new.created_by))) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_reviews_append_only BEFORE DELETE OR UPDATE ON public.memory_reviews FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER memory_reviews_no_truncate BEFORE TRUNCATE ON public.memory_reviews FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER observations_append_only BEFORE DELETE ON public.observations FOR EACH ROW EXECUTE FUNCTION refuse_change_but_pruning('observations', 'at', '');
CREATE TRIGGER observations_no_truncate BEFORE TRUNCATE ON public.observations FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER observations_no_update BEFORE UPDATE ON public.observations FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER opportunities_decided_are_final BEFORE UPDATE ON public.opportunities FOR EACH ROW WHEN ((old.status = ANY (ARRAY['rejected'::opportunity_status, 'converted_to_job'::opportunity_status]))) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER opportunities_have_history AFTER INSERT OR UPDATE ON public.opportunities DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION opportunities_have_history();
CREATE TRIGGER opportunities_no_delete BEFORE DELETE ON public.opportunities FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER opportunities_no_truncate BEFORE TRUNCATE ON public.opportunities FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER opportunities_words_stay BEFORE UPDATE ON public.opportunities FOR EACH ROW WHEN ((((((((((((((((old.id IS DISTINCT FROM new.id) OR (old.namespace IS DISTINCT FROM new.namespace)) OR (old.source_agent IS DISTINCT FROM new.source_agent)) OR (old.theme IS DISTINCT FROM new.theme)) OR (old.title IS DISTINCT FROM new.title)) OR (old.why_now IS DISTINCT FROM new.why_now)) OR (old.evidence IS DISTINCT FROM new.evidence)) OR (old.impact_score IS DISTINCT FROM new.impact_score)) OR (old.confidence_score IS DISTINCT FROM new.confidence_score)) OR (old.urgency_score IS DISTINCT FROM new.urgency_score)) OR (old.reversibility IS DISTINCT FROM new.reversibility)) OR (old.owner_candidate IS DISTINCT FROM new.owner_candidate)) OR (old.suggested_next_step IS DISTINCT FROM new.suggested_next_step)) OR (old.dedupe_key IS DISTINCT FROM new.dedupe_key)) OR (old.created_by IS DISTINCT FROM new.created_by))) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER opportunity_reviews_append_only BEFORE DELETE OR UPDATE ON public.opportunity_reviews FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER opportunity_reviews_no_truncate BEFORE TRUNCATE ON public.opportunity_reviews FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER project_log_append_only BEFORE DELETE OR UPDATE ON public.project_log FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER project_log_no_truncate BEFORE TRUNCATE ON public.project_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER project_statuses_append_only BEFORE DELETE OR UPDATE ON public.project_statuses FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER project_statuses_no_truncate BEFORE TRUNCATE ON public.project_statuses FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER prompts_append_only BEFORE UPDATE ON public.prompts FOR EACH ROW EXECUTE FUNCTION refuse_change_but_pruning('prompts', 'created_at', 'body');
CREATE TRIGGER prompts_no_delete BEFORE DELETE ON public.prompts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER prompts_no_truncate BEFORE TRUNCATE ON public.prompts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER prunes_append_only BEFORE DELETE OR UPDATE ON public.prunes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER prunes_chain BEFORE INSERT ON public.prunes FOR EACH ROW EXECUTE FUNCTION prunes_chain();
CREATE CONSTRAINT TRIGGER prunes_name_their_rows AFTER INSERT ON public.prunes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION prunes_name_their_rows();
CREATE TRIGGER prunes_no_truncate BEFORE TRUNCATE ON public.prunes FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reactions_done_are_final BEFORE UPDATE ON public.reactions FOR EACH ROW WHEN ((old.status <> 'pending'::reaction_status)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reactions_no_delete BEFORE DELETE ON public.reactions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reactions_no_truncate BEFORE TRUNCATE ON public.reactions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER standing_order_run_transitions_append_only BEFORE DELETE OR UPDATE ON public.standing_order_run_transitions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER standing_order_run_transitions_no_truncate BEFORE TRUNCATE ON public.standing_order_run_transitions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER standing_order_runs_have_history AFTER INSERT OR UPDATE OF status, last_seq ON public.standing_order_runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.status <> 'expected'::slot_status) OR (new.last_seq > 0))) EXECUTE FUNCTION slots_have_history();
CREATE TRIGGER standing_order_runs_no_delete BEFORE DELETE ON public.standing_order_runs FOR EACH ROW WHEN ((old.status <> 'expected'::slot_status)) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER standing_order_runs_no_truncate BEFORE TRUNCATE ON public.standing_order_runs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER standing_order_versions_append_only BEFORE DELETE OR UPDATE ON public.standing_order_versions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER standing_order_versions_no_truncate BEFORE TRUNCATE ON public.standing_order_versions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER standing_orders_no_delete BEFORE DELETE ON public.standing_orders FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER subscriptions_no_delete BEFORE DELETE ON public.subscriptions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER subscriptions_no_truncate BEFORE TRUNCATE ON public.subscriptions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflow_runs_ended_are_final BEFORE UPDATE ON public.workflow_runs FOR EACH ROW WHEN ((old.status <> 'running'::workflow_run_status)) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER workflow_runs_have_history AFTER INSERT OR UPDATE ON public.workflow_runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION workflow_runs_have_history();
CREATE TRIGGER workflow_runs_no_delete BEFORE DELETE ON public.workflow_runs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflow_runs_no_truncate BEFORE TRUNCATE ON public.workflow_runs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflow_steps_ended_are_final BEFORE UPDATE ON public.workflow_steps FOR EACH ROW WHEN ((old.status <> ALL (ARRAY['pending'::workflow_step_status, 'running'::workflow_step_status]))) EXECUTE FUNCTION refuse_change();
CREATE CONSTRAINT TRIGGER workflow_steps_have_history AFTER INSERT OR UPDATE ON public.workflow_steps DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION workflow_steps_have_history();
CREATE TRIGGER workflow_steps_no_delete BEFORE DELETE ON public.workflow_steps FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflow_steps_no_truncate BEFORE TRUNCATE ON public.workflow_steps FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflow_transitions_append_only BEFORE DELETE OR UPDATE ON public.workflow_transitions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflow_transitions_no_truncate BEFORE TRUNCATE ON public.workflow_transitions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflows_append_only BEFORE DELETE OR UPDATE ON public.workflows FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workflows_no_truncate BEFORE TRUNCATE ON public.workflows FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- views

create view active_memories_v as
 SELECT id,
    namespace,
    kind,
    scope,
    subject_key,
    title,
    body,
    owner_agent,
    source_candidate_id,
    source_refs,
    confidence_score,
    stability,
    visibility,
    visible_to,
    status,
    last_seq,
    created_by,
    updated_by,
    valid_from,
    expires_at,
    next_review_at,
    supersedes_memory_id,
    dedupe_key,
    created_at,
    updated_at
   FROM memories
  WHERE ((status = 'active'::memory_status) AND ((expires_at IS NULL) OR (expires_at > now())));
create view agent_states_v as
 SELECT a.id AS agent_id,
    COALESCE(s.state, (
        CASE
            WHEN a.enabled THEN 'idle'::text
            ELSE 'disabled'::text
        END)::agent_state) AS state,
    s.since,
    a.gateway_id,
    a.capabilities,
    a.concurrency,
    s.assigned_count,
    s.last_assigned_at
   FROM (agents a
     LEFT JOIN agent_states s ON ((s.agent_id = a.id)));
create view blocked_work_v as
 SELECT id,
    namespace,
    target_agent,
    source_agent,
    subject,
    blocked_at,
    (now() - blocked_at) AS blocked_for,
    blocked_reason,
    blocked_owner,
    (waits_for ->> 'kind'::text) AS waits_for,
    waits_for AS waiting,
    unblock_action,
    look_again_at,
    escalate_at
   FROM jobs
  WHERE (status = 'blocked'::job_status)
  ORDER BY blocked_at;
create view controls_in_force_v as
 SELECT id,
    action,
    (scope)::text AS scope,
    NULLIF(target, ''::text) AS target,
    reason,
    set_by_kind,
    set_by,
    set_at,
    until_at,
    running,
    drained_at
   FROM controls
  WHERE ((lifted_at IS NULL) AND ((until_at IS NULL) OR (until_at > clock_timestamp())));
create view dispatcher_health_summary_v as
 SELECT namespace,
    dispatcher_id,
    host,
    pid,
    started_at,
    last_seen,
    leases_owned,
    busy_agents,
    metrics,
        CASE
            WHEN (stopped_at IS NOT NULL) THEN 'stopped'::text
            WHEN (last_seen < (now() - '00:00:20'::interval)) THEN 'stale'::text
            ELSE 'alive'::text
        END AS health
   FROM dispatcher_heartbeats;
create view fleet_changes_v as
 SELECT kind,
    id,
    version,
    valid_from,
    actor_kind,
    actor,
        CASE
            WHEN (kind <> 'subscription'::text) THEN (spec - 'token'::text)
            ELSE NULL::jsonb
        END AS spec
   FROM fleet_versions;
create view hand_offs_v as
 SELECT id AS job_id,
    source_agent,
    target_agent,
    subject,
    status,
    source_event_id,
    parent_job_id,
    correlation_key,
    hops,
    created_at,
    finished_at,
    (finished_at - created_at) AS took
   FROM jobs
  WHERE ((source_agent IS NOT NULL) AND (source_agent IS DISTINCT FROM target_agent));
create view idea_health_summary_v as
 SELECT namespace,
    count(*) FILTER (WHERE (status = 'new'::idea_status)) AS new_count,
    count(*) FILTER (WHERE (status = 'reviewed'::idea_status)) AS reviewed_count,
    count(*) FILTER (WHERE (status = 'promoted_to_opportunity'::idea_status)) AS promoted_count,
    count(*) FILTER (WHERE (status = 'archived'::idea_status)) AS archived_count,
    EXTRACT(epoch FROM (now() - min(created_at) FILTER (WHERE (status = 'new'::idea_status)))) AS oldest_new_age_seconds
   FROM ideas
  GROUP BY namespace;
create view inbox_open_v as
 SELECT m.id AS message_id,
    m.agent_id,
    f.topic,
    f.subject_key,
    m.level,
    m.tone,
    m.nag_level,
    m.status,
    m.read_by,
    m.created_at,
    f.first_seen_at,
    f.last_seen_at,
    f.count,
    (EXTRACT(epoch FROM (now() - m.created_at)))::bigint AS age_seconds
   FROM (inbox_messages m
     JOIN findings f ON ((f.id = m.finding_id)))
  WHERE (m.status = ANY (ARRAY['unread'::message_status, 'read'::message_status]));
create view open_opportunities_v as
 SELECT id,
    namespace,
    source_agent,
    theme,
    title,
    why_now,
    evidence,
    impact_score,
    confidence_score,
    urgency_score,
    reversibility,
    owner_candidate,
    suggested_next_step,
    status,
    last_seq,
    triaged_by,
    triage_notes,
    triaged_at,
    converted_job_id,
    dedupe_key,
    created_by,
    created_at,
    updated_at
   FROM opportunities
  WHERE (status = ANY (ARRAY['new'::opportunity_status, 'triaged'::opportunity_status, 'accepted'::opportunity_status, 'parked'::opportunity_status]));
create view opportunity_health_summary_v as
 SELECT namespace,
    count(*) FILTER (WHERE (status = 'new'::opportunity_status)) AS new_count,
    count(*) FILTER (WHERE (status = 'triaged'::opportunity_status)) AS triaged_count,
    count(*) FILTER (WHERE (status = 'accepted'::opportunity_status)) AS accepted_count,
    count(*) FILTER (WHERE (status = 'rejected'::opportunity_status)) AS rejected_count,
    count(*) FILTER (WHERE (status = 'parked'::opportunity_status)) AS parked_count,
    count(*) FILTER (WHERE (status = 'converted_to_job'::opportunity_status)) AS converted_count,
    EXTRACT(epoch FROM (now() - min(created_at) FILTER (WHERE (status = 'new'::opportunity_status)))) AS oldest_new_age_seconds
   FROM opportunities
  GROUP BY namespace;
create view queue_health_summary_v as
 SELECT j.namespace,
    j.target_agent,
    count(*) FILTER (WHERE (j.status = 'waiting'::job_status)) AS waiting_count,
    count(*) FILTER (WHERE (j.status = 'queued'::job_status)) AS queued_count,
    count(*) FILTER (WHERE (j.status = 'leased'::job_status)) AS leased_count,
    count(*) FILTER (WHERE (j.status = 'running'::job_status)) AS running_count,
    count(*) FILTER (WHERE (j.status = 'blocked'::job_status)) AS blocked_count,
    count(*) FILTER (WHERE ((j.attempt_count >= 3) AND (j.finished_at IS NULL))) AS retry_hotspot_count,
    EXTRACT(epoch FROM (now() - min(j.run_after) FILTER (WHERE ((j.status = 'queued'::job_status) AND (j.run_after <= now()))))) AS oldest_queued_age_seconds,
    EXTRACT(epoch FROM (now() - min(j.blocked_at) FILTER (WHERE (j.status = 'blocked'::job_status)))) AS oldest_blocked_age_seconds,
    count(*) FILTER (WHERE (j.status = 'failed'::job_status)) AS failed_count,
    count(*) FILTER (WHERE (j.status = 'dead'::job_status)) AS dead_count,
    count(a.id) AS expired_lease_count
   FROM (jobs j
     LEFT JOIN job_attempts a ON (((a.id = j.current_attempt_id) AND (a.finished_at IS NULL) AND (a.leased_until < now()))))
  WHERE ((j.finished_at IS NULL) OR ((j.status = ANY (ARRAY['failed'::job_status, 'dead'::job_status])) AND (j.buried_at IS NULL)))
  GROUP BY j.namespace, j.target_agent;
create view ready_jobs_v as
 SELECT id,
    namespace,
    parent_job_id,
    flow_key,
    correlation_key,
    source_agent,
    target_agent,
    job_type,
    subject,
    lane,
    priority,
    dedupe_key,
    payload,
    payload_hash,
    state,
    result,
    summary,
    status,
    last_seq,
    generation,
    run_after,
    attempt_count,
    max_attempts,
    timeout_seconds,
    lease_seconds,
    on_lost,
    on_dependency_death,
    current_attempt_id,
    held_reason,
    blocked_reason,
    blocked_owner,
    unblock_action,
    look_again_at,
    waits_for,
    last_error,
    last_error_code,
    created_by,
    created_at,
    updated_at,
    finished_at,
    buried_at,
    awaited,
    standing_order_run_id,
    session_mode,
    source_event_id,
    hops,
    lineage,
    capabilities,
    blocked_at,
    escalate_at,
    answer
   FROM jobs
  WHERE ((status = 'queued'::job_status) AND (run_after <= now()));
create view standing_order_daily_counts_v as
 SELECT ((r.slot_at AT TIME ZONE 'UTC'::text))::date AS day,
    o.namespace,
    o.agent_id,
    o.name,
    count(*) AS slots,
    count(*) FILTER (WHERE (r.status = 'no_work'::slot_status)) AS no_work,
    count(*) FILTER (WHERE (r.status = 'completed'::slot_status)) AS completed,
    count(*) FILTER (WHERE (r.status = 'blocked'::slot_status)) AS blocked,
    count(*) FILTER (WHERE (r.status = 'failed'::slot_status)) AS failed,
    count(*) FILTER (WHERE (r.status = 'skipped'::slot_status)) AS skipped,
    count(*) FILTER (WHERE (r.status = 'missed'::slot_status)) AS missed,
    count(*) FILTER (WHERE (r.status = ANY (ARRAY['expected'::slot_status, 'started'::slot_status]))) AS open
   FROM (standing_order_runs r
     JOIN standing_orders o ON ((o.id = r.order_id)))
  GROUP BY (((r.slot_at AT TIME ZONE 'UTC'::text))::date), o.namespace, o.agent_id, o.name;
create view standing_order_definitions_v as
 SELECT v.order_id,
    o.namespace,
    o.agent_id,
    o.name,
    v.version,
    v.enabled,
    v.in_force_from,
    v.actor_kind,
    v.actor,
    (v.definition - 'message'::text) AS definition
   FROM (standing_order_versions v
     JOIN standing_orders o ON ((o.id = v.order_id)));
create view standing_order_gaps_v as
 SELECT o.agent_id,
    o.name,
    r.id AS run_id,
    r.version,
    r.slot_at,
    r.grace_until,
    r.status,
    r.cause,
    r.details
   FROM (standing_order_runs r
     JOIN standing_orders o ON ((o.id = r.order_id)))
  WHERE ((r.status = 'missed'::slot_status) OR ((r.status = 'expected'::slot_status) AND (r.grace_until < now())));
create view standing_order_health_summary_v as
 SELECT o.id AS order_id,
    o.namespace,
    o.agent_id,
    o.name,
    o.version,
    o.enabled,
    n.slot_at AS next_slot_at,
    l.slot_at AS last_slot_at,
    l.status AS last_status,
    l.cause AS last_cause,
    d.slots AS slots_24h,
    d.no_work AS no_work_24h,
    d.completed AS completed_24h,
    d.blocked AS blocked_24h,
    d.failed AS failed_24h,
    d.skipped AS skipped_24h,
    d.missed AS missed_24h,
    d.runs AS runs_last_24h,
    d.completed AS completed_last_24h,
    d.no_work AS no_work_last_24h,
    d.blocked AS blocked_last_24h,
    d.failed AS failed_last_24h,
    d.missed AS missed_last_24h
   FROM (((standing_orders o
     LEFT JOIN LATERAL ( SELECT standing_order_runs.slot_at
           FROM standing_order_runs
          WHERE ((standing_order_runs.order_id = o.id) AND (standing_order_runs.slot_at > now()))
          ORDER BY standing_order_runs.slot_at
         LIMIT 1) n ON (true))
     LEFT JOIN LATERAL ( SELECT standing_order_runs.slot_at,
            standing_order_runs.status,
            standing_order_runs.cause
           FROM standing_order_runs
          WHERE ((standing_order_runs.order_id = o.id) AND (standing_order_runs.slot_at <= now()))
          ORDER BY standing_order_runs.slot_at DESC
         LIMIT 1) l ON (true))
     LEFT JOIN LATERAL ( SELECT count(*) AS slots,
            count(r.started_at) AS runs,
            count(*) FILTER (WHERE (r.status = 'no_work'::slot_status)) AS no_work,
            count(*) FILTER (WHERE (r.status = 'completed'::slot_status)) AS completed,
            count(*) FILTER (WHERE (r.status = 'blocked'::slot_status)) AS blocked,
            count(*) FILTER (WHERE (r.status = 'failed'::slot_status)) AS failed,
            count(*) FILTER (WHERE (r.status = 'skipped'::slot_status)) AS skipped,
            count(*) FILTER (WHERE (r.status = 'missed'::slot_status)) AS missed
           FROM standing_order_runs r
          WHERE ((r.order_id = o.id) AND (r.slot_at > (now() - '1 day'::interval)) AND (r.slot_at <= now()))) d ON (true));
create view stuck_jobs_v as
 SELECT j.id,
    j.namespace,
    j.parent_job_id,
    j.flow_key,
    j.correlation_key,
    j.source_agent,
    j.target_agent,
    j.job_type,
    j.subject,
    j.lane,
    j.priority,
    j.dedupe_key,
    j.payload,
    j.payload_hash,
    j.state,
    j.result,
    j.summary,
    j.status,
    j.last_seq,
    j.generation,
    j.run_after,
    j.attempt_count,
    j.max_attempts,
    j.timeout_seconds,
    j.lease_seconds,
    j.on_lost,
    j.on_dependency_death,
    j.current_attempt_id,
    j.held_reason,
    j.blocked_reason,
    j.blocked_owner,
    j.unblock_action,
    j.look_again_at,
    j.waits_for,
    j.last_error,
    j.last_error_code,
    j.created_by,
    j.created_at,
    j.updated_at,
    j.finished_at,
    j.buried_at,
    a.leased_until,
    a.lease_owner,
    a.attempt_no,
    j.awaited,
    j.standing_order_run_id,
    j.session_mode,
    j.source_event_id,
    j.hops,
    j.lineage,
    j.capabilities,
    j.blocked_at,
    j.escalate_at,
    j.answer
   FROM (jobs j
     JOIN job_attempts a ON (((a.job_id = j.id) AND (a.id = j.current_attempt_id))))
  WHERE ((a.finished_at IS NULL) AND (a.leased_until < now()));
create view system_health_snapshot_v as
 WITH queue AS (
         SELECT queue_health_summary_v.namespace,
            (sum(queue_health_summary_v.waiting_count))::bigint AS waiting_count,
            (sum(queue_health_summary_v.queued_count))::bigint AS queued_count,
            (sum(queue_health_summary_v.leased_count))::bigint AS leased_count,
            (sum(queue_health_summary_v.running_count))::bigint AS running_count,
            (sum(queue_health_summary_v.blocked_count))::bigint AS blocked_count,
            (sum(queue_health_summary_v.failed_count))::bigint AS failed_count,
            (sum(queue_health_summary_v.dead_count))::bigint AS dead_count,
            (sum(queue_health_summary_v.expired_lease_count))::bigint AS expired_lease_count,
            (sum(queue_health_summary_v.retry_hotspot_count))::bigint AS retry_hotspot_count,
            max(queue_health_summary_v.oldest_queued_age_seconds) AS oldest_queued_age_seconds,
            max(queue_health_summary_v.oldest_blocked_age_seconds) AS oldest_blocked_age_seconds
           FROM queue_health_summary_v
          GROUP BY queue_health_summary_v.namespace
        ), standing AS (
         SELECT o_1.namespace,
            count(r.started_at) AS runs_last_24h,
            count(*) FILTER (WHERE (r.status = 'completed'::slot_status)) AS completed_last_24h,
            count(*) FILTER (WHERE (r.status = 'no_work'::slot_status)) AS no_work_last_24h,
            count(*) FILTER (WHERE (r.status = 'blocked'::slot_status)) AS blocked_last_24h,
            count(*) FILTER (WHERE (r.status = 'failed'::slot_status)) AS failed_last_24h,
            count(*) FILTER (WHERE (r.status = 'skipped'::slot_status)) AS skipped_last_24h,
            count(*) FILTER (WHERE (r.status = 'missed'::slot_status)) AS missed_last_24h
           FROM (standing_orders o_1
             LEFT JOIN standing_order_runs r ON (((r.order_id = o_1.id) AND (r.slot_at > (now() - '1 day'::interval)) AND (r.slot_at <= now()))))
          GROUP BY o_1.namespace
        ), dispatchers AS (
         SELECT dispatcher_health_summary_v.namespace,
            count(*) AS dispatcher_count,
            count(*) FILTER (WHERE (dispatcher_health_summary_v.health = 'alive'::text)) AS healthy_dispatcher_count,
            count(*) FILTER (WHERE (dispatcher_health_summary_v.health = 'stale'::text)) AS stale_dispatcher_count,
            max(dispatcher_health_summary_v.last_seen) AS last_dispatcher_seen_at,
            EXTRACT(epoch FROM (now() - max(dispatcher_health_summary_v.last_seen))) AS seconds_since_last_dispatcher_seen,
            sum(dispatcher_health_summary_v.leases_owned) FILTER (WHERE (dispatcher_health_summary_v.health = 'alive'::text)) AS leases_owned_total,
            sum(dispatcher_health_summary_v.busy_agents) FILTER (WHERE (dispatcher_health_summary_v.health = 'alive'::text)) AS busy_agents_total
           FROM dispatcher_health_summary_v
          WHERE (dispatcher_health_summary_v.health <> 'stopped'::text)
          GROUP BY dispatcher_health_summary_v.namespace
        )
 SELECT namespace,
    COALESCE(q.waiting_count, (0)::bigint) AS waiting_count,
    COALESCE(q.queued_count, (0)::bigint) AS queued_count,
    COALESCE(q.leased_count, (0)::bigint) AS leased_count,
    COALESCE(q.running_count, (0)::bigint) AS running_count,
    COALESCE(q.blocked_count, (0)::bigint) AS blocked_count,
    COALESCE(q.failed_count, (0)::bigint) AS failed_count,
    COALESCE(q.dead_count, (0)::bigint) AS dead_count,
    COALESCE(q.expired_lease_count, (0)::bigint) AS expired_lease_count,
    COALESCE(q.retry_hotspot_count, (0)::bigint) AS retry_hotspot_count,
    q.oldest_queued_age_seconds,
    q.oldest_blocked_age_seconds,
    COALESCE(s.runs_last_24h, (0)::bigint) AS standing_runs_last_24h,
    COALESCE(s.completed_last_24h, (0)::bigint) AS standing_completed_last_24h,
    COALESCE(s.no_work_last_24h, (0)::bigint) AS standing_no_work_last_24h,
    COALESCE(s.blocked_last_24h, (0)::bigint) AS standing_blocked_last_24h,
    COALESCE(s.failed_last_24h, (0)::bigint) AS standing_failed_last_24h,
    COALESCE(s.skipped_last_24h, (0)::bigint) AS standing_skipped_last_24h,
    COALESCE(s.missed_last_24h, (0)::bigint) AS standing_missed_last_24h,
    COALESCE(d.dispatcher_count, (0)::bigint) AS dispatcher_count,
    COALESCE(d.healthy_dispatcher_count, (0)::bigint) AS healthy_dispatcher_count,
    COALESCE(d.stale_dispatcher_count, (0)::bigint) AS stale_dispatcher_count,
    d.last_dispatcher_seen_at,
    d.seconds_since_last_dispatcher_seen,
    COALESCE(d.leases_owned_total, (0)::bigint) AS leases_owned_total,
    COALESCE(d.busy_agents_total, (0)::bigint) AS busy_agents_total,
    COALESCE(o.new_count, (0)::bigint) AS opp_new_count,
    COALESCE(o.triaged_count, (0)::bigint) AS opp_triaged_count,
    COALESCE(o.accepted_count, (0)::bigint) AS opp_accepted_count,
    COALESCE(o.parked_count, (0)::bigint) AS opp_parked_count,
    COALESCE(o.converted_count, (0)::bigint) AS opp_converted_count,
    o.oldest_new_age_seconds AS opp_oldest_new_age_seconds,
    COALESCE(i.new_count, (0)::bigint) AS idea_new_count,
    COALESCE(i.reviewed_count, (0)::bigint) AS idea_reviewed_count,
    COALESCE(i.promoted_count, (0)::bigint) AS idea_promoted_count,
    COALESCE(i.archived_count, (0)::bigint) AS idea_archived_count,
    i.oldest_new_age_seconds AS idea_oldest_new_age_seconds
   FROM ((((queue q
     FULL JOIN standing s USING (namespace))
     FULL JOIN dispatchers d USING (namespace))
     FULL JOIN opportunity_health_summary_v o USING (namespace))
     FULL JOIN idea_health_summary_v i USING (namespace));
