CREATE TYPE "public"."actor_kind" AS ENUM('operator', 'agent', 'attempt', 'auditor', 'worker', 'relay', 'reaper', 'reconciler', 'prober', 'board', 'system');--> statement-breakpoint
CREATE TYPE "public"."attempt_status" AS ENUM('leased', 'running', 'succeeded', 'blocked', 'failed', 'timed_out', 'lost', 'cancelled', 'released');--> statement-breakpoint
CREATE TYPE "public"."breaker_state" AS ENUM('closed', 'open');--> statement-breakpoint
CREATE TYPE "public"."control_scope" AS ENUM('everything', 'lane', 'gateway', 'agent');--> statement-breakpoint
CREATE TYPE "public"."job_status" AS ENUM('waiting', 'queued', 'leased', 'running', 'blocked', 'succeeded', 'failed', 'dead', 'cancelled');--> statement-breakpoint
CREATE TYPE "public"."lane" AS ENUM('reactive', 'scheduled', 'proactive', 'memory', 'idle', 'coding');--> statement-breakpoint
CREATE TYPE "public"."observation_kind" AS ENUM('refusal', 'late_answer', 'mend', 'drop', 'outside_change', 'operator_action');--> statement-breakpoint
CREATE TYPE "public"."on_dependency_death" AS ENUM('block', 'cancel', 'run');--> statement-breakpoint
CREATE TYPE "public"."on_lost" AS ENUM('retry', 'block');--> statement-breakpoint
CREATE TYPE "public"."outbox_kind" AS ENUM('publish', 'remove');--> statement-breakpoint
CREATE TYPE "public"."token_role" AS ENUM('operator', 'agent', 'auditor');--> statement-breakpoint
CREATE TYPE "public"."transition_kind" AS ENUM('move', 'note');--> statement-breakpoint
CREATE TYPE "public"."transition_reason" AS ENUM('created', 'dependencies_met', 'dependency_died', 'leased', 'admitted', 'completed_by_agent', 'blocked_by_agent', 'failed_by_agent', 'retry_asked_by_agent', 'ended_without_terminal_write', 'deadline_exceeded', 'lease_expired', 'run_lost', 'undelivered', 'refused_by_gateway', 'attempts_exhausted', 'unblocked', 'look_again', 'condition_met', 'operator_retry', 'operator_dead', 'cancelled', 'released', 'progress', 'marked_running', 'lease_renewed', 'reattached', 'held', 'late_answer_refused', 'close_repeated', 'run_replaced', 'requeued_by_reconciler', 'queue_entry_dropped', 'outside_change', 'duplicate_create', 'buried');--> statement-breakpoint
CREATE TABLE "agents" (
	"id" text PRIMARY KEY NOT NULL,
	"gateway_id" text NOT NULL,
	"gateway_agent_id" text NOT NULL,
	"role" text,
	"concurrency" integer DEFAULT 1 NOT NULL,
	"capabilities" text[] DEFAULT '{}'::text[] NOT NULL,
	"timeout_seconds" integer DEFAULT 600 NOT NULL,
	"lease_seconds" integer DEFAULT 600 NOT NULL,
	"enabled" boolean DEFAULT true NOT NULL,
	"version" integer DEFAULT 1 NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "agents_id_check" CHECK ("agents"."id" ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
	CONSTRAINT "agents_concurrency_check" CHECK ("agents"."concurrency" between 1 and 1000),
	CONSTRAINT "agents_seconds_check" CHECK ("agents"."timeout_seconds" between 1 and 86400 and "agents"."lease_seconds" between 5 and 86400)
);
--> statement-breakpoint
CREATE TABLE "controls" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "controls_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"scope" "control_scope" NOT NULL,
	"target" text DEFAULT '' NOT NULL,
	"reason" text NOT NULL,
	"set_by_kind" "actor_kind" NOT NULL,
	"set_by" text NOT NULL,
	"set_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"lifted_by" text,
	"lifted_at" timestamp(6) with time zone,
	CONSTRAINT "controls_target_check" CHECK (("controls"."scope" = 'everything') = ("controls"."target" = '')),
	CONSTRAINT "controls_lifted_check" CHECK (("controls"."lifted_at" is null) = ("controls"."lifted_by" is null))
);
--> statement-breakpoint
CREATE TABLE "dispatcher_heartbeats" (
	"namespace" text DEFAULT 'default' NOT NULL,
	"dispatcher_id" text NOT NULL,
	"host" text NOT NULL,
	"pid" integer NOT NULL,
	"started_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"last_seen" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"stopped_at" timestamp(6) with time zone,
	"leases_owned" integer DEFAULT 0 NOT NULL,
	"busy_agents" integer DEFAULT 0 NOT NULL,
	"metrics" jsonb DEFAULT '{}'::jsonb NOT NULL,
	CONSTRAINT "dispatcher_heartbeats_namespace_dispatcher_id_pk" PRIMARY KEY("namespace","dispatcher_id"),
	CONSTRAINT "dispatcher_heartbeats_counts_check" CHECK ("dispatcher_heartbeats"."leases_owned" >= 0 and "dispatcher_heartbeats"."busy_agents" >= 0)
);
--> statement-breakpoint
CREATE TABLE "fleet_versions" (
	"kind" text NOT NULL,
	"id" text NOT NULL,
	"version" integer NOT NULL,
	"spec" jsonb NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"valid_from" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "fleet_versions_kind_id_version_pk" PRIMARY KEY("kind","id","version"),
	CONSTRAINT "fleet_versions_kind_check" CHECK ("fleet_versions"."kind" in ('gateway', 'agent'))
);
--> statement-breakpoint
CREATE TABLE "gateways" (
	"id" text PRIMARY KEY NOT NULL,
	"base_url" text NOT NULL,
	"hook_path" text DEFAULT '/hooks' NOT NULL,
	"token_ref" text NOT NULL,
	"version" integer DEFAULT 1 NOT NULL,
	"breaker" "breaker_state" DEFAULT 'closed' NOT NULL,
	"breaker_reason" text,
	"breaker_changed_at" timestamp(6) with time zone,
	"failures" integer DEFAULT 0 NOT NULL,
	"reopened" integer DEFAULT 0 NOT NULL,
	"probe_after" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"last_ready_at" timestamp(6) with time zone,
	"last_down_at" timestamp(6) with time zone,
	"booted_at" timestamp(6) with time zone,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "gateways_id_check" CHECK ("gateways"."id" ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
	CONSTRAINT "gateways_token_ref_check" CHECK ("gateways"."token_ref" ~ '^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^[:space:]]+|simulator)$'),
	CONSTRAINT "gateways_open_breaker_says_why" CHECK (("gateways"."breaker" = 'open') = ("gateways"."breaker_reason" is not null)),
	CONSTRAINT "gateways_failures_check" CHECK ("gateways"."failures" >= 0 and "gateways"."reopened" >= 0)
);
--> statement-breakpoint
CREATE TABLE "job_attempts" (
	"id" uuid PRIMARY KEY NOT NULL,
	"job_id" uuid NOT NULL,
	"attempt_no" integer NOT NULL,
	"agent_id" text NOT NULL,
	"gateway_id" text NOT NULL,
	"status" "attempt_status" DEFAULT 'leased' NOT NULL,
	"slot" integer NOT NULL,
	"burned" boolean DEFAULT false NOT NULL,
	"lease_owner" text NOT NULL,
	"leased_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"leased_until" timestamp(6) with time zone NOT NULL,
	"gateway_booted_at" timestamp(6) with time zone,
	"deadline_at" timestamp(6) with time zone NOT NULL,
	"admitted_at" timestamp(6) with time zone,
	"finished_at" timestamp(6) with time zone,
	"outcome_code" text,
	"error" text,
	"summary" text,
	"prompt_hash" text NOT NULL,
	"contract_version" text NOT NULL,
	"payload_hash" text NOT NULL,
	"hook_status" integer,
	"hook_response" jsonb,
	"openclaw_task_ref" text,
	"openclaw_session_key" text,
	"openclaw_meta" jsonb DEFAULT '{}'::jsonb NOT NULL,
	CONSTRAINT "job_attempts_no_check" CHECK ("job_attempts"."attempt_no" >= 1),
	CONSTRAINT "job_attempts_open_iff_unfinished" CHECK (("job_attempts"."status" in ('leased', 'running')) = ("job_attempts"."finished_at" is null)),
	CONSTRAINT "job_attempts_outcome_iff_finished" CHECK (("job_attempts"."finished_at" is null) = ("job_attempts"."outcome_code" is null)),
	CONSTRAINT "job_attempts_lease_order" CHECK ("job_attempts"."leased_until" <= "job_attempts"."deadline_at"),
	CONSTRAINT "job_attempts_slot_check" CHECK ("job_attempts"."slot" between 1 and 1000)
);
--> statement-breakpoint
CREATE TABLE "job_dependencies" (
	"job_id" uuid NOT NULL,
	"depends_on_job_id" uuid NOT NULL,
	CONSTRAINT "job_dependencies_job_id_depends_on_job_id_pk" PRIMARY KEY("job_id","depends_on_job_id"),
	CONSTRAINT "job_dependencies_not_self" CHECK ("job_dependencies"."job_id" <> "job_dependencies"."depends_on_job_id")
);
--> statement-breakpoint
CREATE TABLE "jobs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"parent_job_id" uuid,
	"flow_key" text,
	"correlation_key" text,
	"source_agent" text,
	"target_agent" text NOT NULL,
	"job_type" text NOT NULL,
	"subject" text NOT NULL,
	"lane" "lane" DEFAULT 'reactive' NOT NULL,
	"priority" integer DEFAULT 100 NOT NULL,
	"dedupe_key" text,
	"payload" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"payload_hash" text NOT NULL,
	"state" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"result" jsonb,
	"summary" text,
	"status" "job_status" NOT NULL,
	"last_seq" integer NOT NULL,
	"generation" integer DEFAULT 1 NOT NULL,
	"run_after" timestamp(6) with time zone NOT NULL,
	"attempt_count" integer DEFAULT 0 NOT NULL,
	"max_attempts" integer DEFAULT 5 NOT NULL,
	"timeout_seconds" integer NOT NULL,
	"lease_seconds" integer NOT NULL,
	"on_lost" "on_lost" DEFAULT 'retry' NOT NULL,
	"on_dependency_death" "on_dependency_death" DEFAULT 'block' NOT NULL,
	"current_attempt_id" uuid,
	"held_reason" text,
	"blocked_reason" text,
	"blocked_owner" text,
	"unblock_action" text,
	"look_again_at" timestamp(6) with time zone,
	"waits_for" jsonb,
	"last_error" text,
	"last_error_code" text,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"finished_at" timestamp(6) with time zone,
	"buried_at" timestamp(6) with time zone,
	CONSTRAINT "jobs_priority_check" CHECK ("jobs"."priority" between 1 and 1000),
	CONSTRAINT "jobs_attempts_check" CHECK ("jobs"."attempt_count" between 0 and "jobs"."max_attempts" and "jobs"."max_attempts" between 1 and 10000),
	CONSTRAINT "jobs_generation_check" CHECK ("jobs"."generation" >= 1 and "jobs"."last_seq" >= 1),
	CONSTRAINT "jobs_terminal_iff_finished" CHECK (("jobs"."status" in ('succeeded', 'failed', 'dead', 'cancelled')) = ("jobs"."finished_at" is not null)),
	CONSTRAINT "jobs_leased_iff_attempt" CHECK (("jobs"."status" in ('leased', 'running')) = ("jobs"."current_attempt_id" is not null)),
	CONSTRAINT "jobs_blocked_iff_reason" CHECK (("jobs"."status" = 'blocked') = ("jobs"."blocked_reason" is not null) and ("jobs"."status" = 'blocked') = ("jobs"."blocked_owner" is not null)),
	CONSTRAINT "jobs_blocked_waits" CHECK ("jobs"."status" = 'blocked' or ("jobs"."waits_for" is null and "jobs"."look_again_at" is null and "jobs"."unblock_action" is null)),
	CONSTRAINT "jobs_buried_when_over" CHECK ("jobs"."buried_at" is null or "jobs"."status" in ('failed', 'dead')),
	CONSTRAINT "jobs_not_own_parent" CHECK ("jobs"."parent_job_id" is distinct from "jobs"."id")
);
--> statement-breakpoint
CREATE TABLE "prompts" (
	"hash" text PRIMARY KEY NOT NULL,
	"body" text NOT NULL,
	"bytes" integer NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "prompts_hash_check" CHECK ("prompts"."hash" ~ '^[0-9a-f]{64}$')
);
--> statement-breakpoint
CREATE TABLE "events" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "events_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"namespace" text DEFAULT 'default' NOT NULL,
	"topic" text NOT NULL,
	"source_agent" text,
	"source_job_id" uuid,
	"source_attempt_id" uuid,
	"dedupe_key" text,
	"correlation_key" text,
	"payload" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"hops" integer DEFAULT 0 NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "events_hops_check" CHECK ("events"."hops" >= 0)
);
--> statement-breakpoint
CREATE TABLE "job_transitions" (
	"job_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "job_transitions_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	"kind" "transition_kind" NOT NULL,
	"from_status" "job_status",
	"to_status" "job_status" NOT NULL,
	"reason" "transition_reason" NOT NULL,
	"note" text,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"prev_hash" "bytea" DEFAULT ''::bytea NOT NULL,
	"hash" "bytea" DEFAULT ''::bytea NOT NULL,
	CONSTRAINT "job_transitions_job_id_seq_pk" PRIMARY KEY("job_id","seq"),
	CONSTRAINT "job_transitions_first_is_created" CHECK (("job_transitions"."seq" = 1) = ("job_transitions"."from_status" is null) and ("job_transitions"."seq" = 1) = ("job_transitions"."reason" = 'created')),
	CONSTRAINT "job_transitions_legal_move" CHECK (case when "job_transitions"."from_status" is null then "job_transitions"."kind" = 'move' and "job_transitions"."to_status" in ('waiting', 'queued')
        when "job_transitions"."kind" = 'note' then "job_transitions"."from_status" = "job_transitions"."to_status"
        else ("job_transitions"."from_status", "job_transitions"."to_status") in (('waiting', 'queued'), ('waiting', 'blocked'), ('waiting', 'cancelled'), ('waiting', 'dead'), ('queued', 'leased'), ('queued', 'blocked'), ('queued', 'dead'), ('queued', 'cancelled'), ('leased', 'queued'), ('leased', 'running'), ('leased', 'succeeded'), ('leased', 'blocked'), ('leased', 'failed'), ('leased', 'dead'), ('leased', 'cancelled'), ('running', 'queued'), ('running', 'succeeded'), ('running', 'blocked'), ('running', 'failed'), ('running', 'dead'), ('running', 'cancelled'), ('blocked', 'queued'), ('blocked', 'dead'), ('blocked', 'cancelled'), ('failed', 'queued'), ('dead', 'queued'), ('cancelled', 'queued')) end)
);
--> statement-breakpoint
CREATE TABLE "observations" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "observations_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"kind" "observation_kind" NOT NULL,
	"code" text NOT NULL,
	"job_id" uuid,
	"attempt_id" uuid,
	"agent_id" text,
	"gateway_id" text,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"detail" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "api_tokens" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"role" "token_role" NOT NULL,
	"agent_id" text,
	"hash" "bytea" NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp(6) with time zone,
	"revoked_at" timestamp(6) with time zone,
	CONSTRAINT "api_tokens_agent_check" CHECK (("api_tokens"."role" = 'agent') = ("api_tokens"."agent_id" is not null)),
	CONSTRAINT "api_tokens_hash_check" CHECK (octet_length("api_tokens"."hash") = 32)
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"caller" text NOT NULL,
	"key" text NOT NULL,
	"request_hash" text NOT NULL,
	"response" json,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "idempotency_keys_caller_key_pk" PRIMARY KEY("caller","key")
);
--> statement-breakpoint
CREATE TABLE "ledger_meta" (
	"key" text PRIMARY KEY NOT NULL,
	"value" text NOT NULL,
	"set_at" timestamp(6) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "outbox" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "outbox_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"kind" "outbox_kind" NOT NULL,
	"job_id" uuid NOT NULL,
	"agent_id" text NOT NULL,
	"generation" integer NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"claimed_until" timestamp(6) with time zone DEFAULT '-infinity'::timestamptz NOT NULL,
	"tries" integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "queue_epochs" (
	"id" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"epoch" uuid NOT NULL,
	"tick" bigint DEFAULT 0 NOT NULL,
	"ticked_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	"rebuilds" integer DEFAULT 0 NOT NULL,
	"rebuilding_until" timestamp(6) with time zone,
	"rebuilding_by" text,
	CONSTRAINT "queue_epochs_single_row" CHECK ("queue_epochs"."id")
);
--> statement-breakpoint
ALTER TABLE "agents" ADD CONSTRAINT "agents_gateway_id_gateways_id_fk" FOREIGN KEY ("gateway_id") REFERENCES "public"."gateways"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD CONSTRAINT "job_attempts_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD CONSTRAINT "job_attempts_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD CONSTRAINT "job_attempts_gateway_id_gateways_id_fk" FOREIGN KEY ("gateway_id") REFERENCES "public"."gateways"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD CONSTRAINT "job_attempts_prompt_hash_prompts_hash_fk" FOREIGN KEY ("prompt_hash") REFERENCES "public"."prompts"("hash") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_dependencies" ADD CONSTRAINT "job_dependencies_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_dependencies" ADD CONSTRAINT "job_dependencies_depends_on_job_id_jobs_id_fk" FOREIGN KEY ("depends_on_job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_parent_job_id_jobs_id_fk" FOREIGN KEY ("parent_job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_target_agent_agents_id_fk" FOREIGN KEY ("target_agent") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "events" ADD CONSTRAINT "events_source_job_id_jobs_id_fk" FOREIGN KEY ("source_job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "events" ADD CONSTRAINT "events_source_attempt_id_job_attempts_id_fk" FOREIGN KEY ("source_attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_transitions" ADD CONSTRAINT "job_transitions_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_transitions" ADD CONSTRAINT "job_transitions_attempt_id_job_attempts_id_fk" FOREIGN KEY ("attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_tokens" ADD CONSTRAINT "api_tokens_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "outbox" ADD CONSTRAINT "outbox_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "agents_gateway_idx" ON "agents" USING btree ("gateway_id");--> statement-breakpoint
CREATE UNIQUE INDEX "controls_open_idx" ON "controls" USING btree ("scope","target") WHERE lifted_at is null;--> statement-breakpoint
CREATE INDEX "dispatcher_heartbeats_last_seen_idx" ON "dispatcher_heartbeats" USING btree ("last_seen");--> statement-breakpoint
CREATE INDEX "gateways_probe_idx" ON "gateways" USING btree ("probe_after");--> statement-breakpoint
CREATE UNIQUE INDEX "job_attempts_slot_idx" ON "job_attempts" USING btree ("agent_id","slot") WHERE finished_at is null;--> statement-breakpoint
CREATE UNIQUE INDEX "job_attempts_no_idx" ON "job_attempts" USING btree ("job_id","attempt_no");--> statement-breakpoint
CREATE UNIQUE INDEX "job_attempts_one_open_idx" ON "job_attempts" USING btree ("job_id") WHERE finished_at is null;--> statement-breakpoint
CREATE INDEX "job_attempts_expiry_idx" ON "job_attempts" USING btree ("leased_until") WHERE finished_at is null;--> statement-breakpoint
CREATE INDEX "job_attempts_agent_idx" ON "job_attempts" USING btree ("agent_id","leased_at" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "job_dependencies_on_idx" ON "job_dependencies" USING btree ("depends_on_job_id");--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_active_dedupe_idx" ON "jobs" USING btree ("namespace","target_agent","dedupe_key") WHERE dedupe_key is not null and finished_at is null;--> statement-breakpoint
CREATE INDEX "jobs_ready_idx" ON "jobs" USING btree ("target_agent","priority" DESC NULLS LAST,"run_after","id") WHERE status = 'queued';--> statement-breakpoint
CREATE INDEX "jobs_open_idx" ON "jobs" USING btree ("target_agent","status") WHERE finished_at is null;--> statement-breakpoint
CREATE INDEX "jobs_blocked_look_idx" ON "jobs" USING btree ("look_again_at") WHERE status = 'blocked' and look_again_at is not null;--> statement-breakpoint
CREATE INDEX "jobs_blocked_on_job_idx" ON "jobs" USING btree ((waits_for ->> 'job_id')) WHERE status = 'blocked' and waits_for ->> 'kind' = 'job';--> statement-breakpoint
CREATE INDEX "jobs_blocked_on_event_idx" ON "jobs" USING btree ((waits_for ->> 'topic')) WHERE status = 'blocked' and waits_for ->> 'kind' = 'event';--> statement-breakpoint
CREATE INDEX "jobs_dead_letters_idx" ON "jobs" USING btree ("finished_at" DESC NULLS LAST) WHERE status in ('failed', 'dead') and buried_at is null;--> statement-breakpoint
CREATE INDEX "jobs_created_idx" ON "jobs" USING btree ("namespace","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "jobs_target_created_idx" ON "jobs" USING btree ("target_agent","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "jobs_status_created_idx" ON "jobs" USING btree ("status","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "jobs_flow_idx" ON "jobs" USING btree ("flow_key","id" DESC NULLS LAST) WHERE flow_key is not null;--> statement-breakpoint
CREATE INDEX "jobs_correlation_idx" ON "jobs" USING btree ("correlation_key","id" DESC NULLS LAST) WHERE correlation_key is not null;--> statement-breakpoint
CREATE INDEX "jobs_parent_idx" ON "jobs" USING btree ("parent_job_id") WHERE parent_job_id is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "events_dedupe_idx" ON "events" USING btree ("namespace","topic","dedupe_key") WHERE dedupe_key is not null;--> statement-breakpoint
CREATE INDEX "events_topic_idx" ON "events" USING btree ("topic" text_pattern_ops,"id");--> statement-breakpoint
CREATE INDEX "events_source_job_idx" ON "events" USING btree ("source_job_id","id") WHERE source_job_id is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "job_transitions_id_idx" ON "job_transitions" USING btree ("id");--> statement-breakpoint
CREATE INDEX "job_transitions_at_idx" ON "job_transitions" USING btree ("at");--> statement-breakpoint
CREATE INDEX "job_transitions_actor_idx" ON "job_transitions" USING btree ("actor","at");--> statement-breakpoint
CREATE INDEX "observations_job_idx" ON "observations" USING btree ("job_id","id") WHERE job_id is not null;--> statement-breakpoint
CREATE INDEX "observations_kind_idx" ON "observations" USING btree ("kind","id");--> statement-breakpoint
CREATE INDEX "observations_at_idx" ON "observations" USING btree ("at");--> statement-breakpoint
CREATE UNIQUE INDEX "api_tokens_hash_idx" ON "api_tokens" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "idempotency_keys_created_idx" ON "idempotency_keys" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "outbox_job_idx" ON "outbox" USING btree ("job_id");--> statement-breakpoint
CREATE INDEX "outbox_claim_idx" ON "outbox" USING btree ("claimed_until","id");