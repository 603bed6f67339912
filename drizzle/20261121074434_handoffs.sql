CREATE TYPE "public"."agent_state" AS ENUM('offline', 'idle', 'assigned', 'working', 'blocked', 'disabled');--> statement-breakpoint
CREATE TYPE "public"."approval_status" AS ENUM('pending', 'approved', 'rejected', 'expired', 'withdrawn');--> statement-breakpoint
CREATE TYPE "public"."reaction_status" AS ENUM('pending', 'made', 'joined', 'cut', 'refused', 'failed');--> statement-breakpoint
CREATE TYPE "public"."workflow_run_status" AS ENUM('running', 'succeeded', 'failed', 'cancelled');--> statement-breakpoint
CREATE TYPE "public"."workflow_step_status" AS ENUM('pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled');--> statement-breakpoint
ALTER TYPE "public"."transition_reason" ADD VALUE 'assigned' BEFORE 'buried';--> statement-breakpoint
ALTER TYPE "public"."transition_reason" ADD VALUE 'given_back' BEFORE 'buried';--> statement-breakpoint
ALTER TYPE "public"."transition_reason" ADD VALUE 'escalated' BEFORE 'buried';--> statement-breakpoint
ALTER TYPE "public"."transition_reason" ADD VALUE 'answered' BEFORE 'buried';--> statement-breakpoint
CREATE TABLE "agent_state_changes" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "agent_state_changes_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"agent_id" text NOT NULL,
	"from_state" "agent_state",
	"to_state" "agent_state" NOT NULL,
	"reason" text,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "agent_states" (
	"agent_id" text PRIMARY KEY NOT NULL,
	"state" "agent_state" NOT NULL,
	"since" timestamp(6) with time zone NOT NULL,
	"last_assigned_at" timestamp(6) with time zone,
	"assigned_count" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "agent_states_assigned_check" CHECK ("agent_states"."assigned_count" >= 0)
);
--> statement-breakpoint
CREATE TABLE "project_log" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "project_log_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"namespace" text DEFAULT 'default' NOT NULL,
	"project" text NOT NULL,
	"entry" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"agent_id" text,
	"job_id" uuid,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "project_log_project_check" CHECK ("project_log"."project" ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$')
);
--> statement-breakpoint
CREATE TABLE "project_statuses" (
	"namespace" text DEFAULT 'default' NOT NULL,
	"project" text NOT NULL,
	"version" integer NOT NULL,
	"status" text NOT NULL,
	"body" text DEFAULT '' NOT NULL,
	"agent_id" text,
	"job_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "project_statuses_namespace_project_version_pk" PRIMARY KEY("namespace","project","version"),
	CONSTRAINT "project_statuses_project_check" CHECK ("project_statuses"."project" ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$' and "project_statuses"."version" >= 1)
);
--> statement-breakpoint
CREATE TABLE "reactions" (
	"event_id" bigint NOT NULL,
	"subscription_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"status" "reaction_status" DEFAULT 'pending' NOT NULL,
	"job_id" uuid,
	"finding_id" uuid,
	"detail" text,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"done_at" timestamp(6) with time zone,
	CONSTRAINT "reactions_event_id_subscription_id_pk" PRIMARY KEY("event_id","subscription_id"),
	CONSTRAINT "reactions_done_check" CHECK (("reactions"."status" = 'pending') = ("reactions"."done_at" is null)),
	CONSTRAINT "reactions_made_check" CHECK ("reactions"."status" not in ('made', 'joined') or "reactions"."job_id" is not null or "reactions"."finding_id" is not null),
	CONSTRAINT "reactions_detail_check" CHECK ("reactions"."status" not in ('cut', 'refused', 'failed') or "reactions"."detail" is not null)
);
--> statement-breakpoint
CREATE TABLE "subscriptions" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"name" text NOT NULL,
	"agent_id" text NOT NULL,
	"topic" text NOT NULL,
	"definition" jsonb NOT NULL,
	"enabled" boolean NOT NULL,
	"version" integer NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "subscriptions_name_check" CHECK ("subscriptions"."name" ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
	CONSTRAINT "subscriptions_version_check" CHECK ("subscriptions"."version" >= 1)
);
--> statement-breakpoint
CREATE TABLE "approval_transitions" (
	"approval_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"to_status" "approval_status" NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"note" text,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "approval_transitions_approval_id_seq_pk" PRIMARY KEY("approval_id","seq")
);
--> statement-breakpoint
CREATE TABLE "approvals" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"subject" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"agent_id" text,
	"job_id" uuid,
	"workflow_run_id" uuid,
	"step" text,
	"correlation_key" text,
	"status" "approval_status" DEFAULT 'pending' NOT NULL,
	"last_seq" integer DEFAULT 1 NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"expires_at" timestamp(6) with time zone,
	"decided_at" timestamp(6) with time zone,
	"decided_by" text,
	"note" text,
	CONSTRAINT "approvals_decided_check" CHECK (("approvals"."status" = 'pending') = ("approvals"."decided_at" is null) and ("approvals"."status" = 'pending') = ("approvals"."decided_by" is null)),
	CONSTRAINT "approvals_step_check" CHECK (("approvals"."workflow_run_id" is null) = ("approvals"."step" is null))
);
--> statement-breakpoint
CREATE TABLE "workflow_runs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"workflow" text NOT NULL,
	"version" integer NOT NULL,
	"status" "workflow_run_status" NOT NULL,
	"inputs" jsonb NOT NULL,
	"outputs" jsonb,
	"source_agent" text,
	"dedupe_key" text,
	"correlation_key" text NOT NULL,
	"last_error" text,
	"last_seq" integer NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"finished_at" timestamp(6) with time zone,
	CONSTRAINT "workflow_runs_finished_check" CHECK (("workflow_runs"."status" = 'running') = ("workflow_runs"."finished_at" is null))
);
--> statement-breakpoint
CREATE TABLE "workflow_steps" (
	"run_id" uuid NOT NULL,
	"step" text NOT NULL,
	"status" "workflow_step_status" DEFAULT 'pending' NOT NULL,
	"job_id" uuid,
	"approval_id" uuid,
	"result" jsonb,
	"reason" text,
	"started_at" timestamp(6) with time zone,
	"finished_at" timestamp(6) with time zone,
	CONSTRAINT "workflow_steps_run_id_step_pk" PRIMARY KEY("run_id","step"),
	CONSTRAINT "workflow_steps_finished_check" CHECK (("workflow_steps"."status" in ('pending', 'running')) = ("workflow_steps"."finished_at" is null)),
	CONSTRAINT "workflow_steps_started_check" CHECK ("workflow_steps"."status" <> 'running' or ("workflow_steps"."started_at" is not null and num_nonnulls("workflow_steps"."job_id", "workflow_steps"."approval_id") = 1))
);
--> statement-breakpoint
CREATE TABLE "workflow_transitions" (
	"run_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"step" text,
	"from_status" text,
	"to_status" text NOT NULL,
	"reason" text,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "workflow_transitions_run_id_seq_pk" PRIMARY KEY("run_id","seq")
);
--> statement-breakpoint
CREATE TABLE "workflows" (
	"namespace" text DEFAULT 'default' NOT NULL,
	"name" text NOT NULL,
	"version" integer NOT NULL,
	"definition" jsonb NOT NULL,
	"hash" text NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "workflows_namespace_name_version_pk" PRIMARY KEY("namespace","name","version"),
	CONSTRAINT "workflows_name_check" CHECK ("workflows"."name" ~ '^[a-z0-9][a-z0-9._-]{0,99}$' and "workflows"."version" >= 1)
);
--> statement-breakpoint
ALTER TABLE "fleet_versions" DROP CONSTRAINT "fleet_versions_kind_check";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_blocked_waits";--> statement-breakpoint
ALTER TABLE "events" DROP CONSTRAINT "events_hops_check";--> statement-breakpoint
DROP INDEX "jobs_active_dedupe_idx";--> statement-breakpoint
ALTER TABLE "jobs" ALTER COLUMN "target_agent" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "source_event_id" bigint;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "hops" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "lineage" uuid[] DEFAULT '{}'::uuid[] NOT NULL;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "capabilities" text[] DEFAULT '{}'::text[] NOT NULL;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "blocked_at" timestamp(6) with time zone;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "escalate_at" timestamp(6) with time zone;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "answer" jsonb;--> statement-breakpoint
ALTER TABLE "events" ADD COLUMN "lineage" uuid[] DEFAULT '{}'::uuid[] NOT NULL;--> statement-breakpoint
ALTER TABLE "agent_state_changes" ADD CONSTRAINT "agent_state_changes_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agent_states" ADD CONSTRAINT "agent_states_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "project_log" ADD CONSTRAINT "project_log_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "project_statuses" ADD CONSTRAINT "project_statuses_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reactions" ADD CONSTRAINT "reactions_event_id_events_id_fk" FOREIGN KEY ("event_id") REFERENCES "public"."events"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reactions" ADD CONSTRAINT "reactions_subscription_id_subscriptions_id_fk" FOREIGN KEY ("subscription_id") REFERENCES "public"."subscriptions"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "reactions" ADD CONSTRAINT "reactions_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "subscriptions" ADD CONSTRAINT "subscriptions_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "approval_transitions" ADD CONSTRAINT "approval_transitions_approval_id_approvals_id_fk" FOREIGN KEY ("approval_id") REFERENCES "public"."approvals"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "approvals" ADD CONSTRAINT "approvals_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "approvals" ADD CONSTRAINT "approvals_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "approvals" ADD CONSTRAINT "approvals_workflow_run_id_workflow_runs_id_fk" FOREIGN KEY ("workflow_run_id") REFERENCES "public"."workflow_runs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "workflow_runs" ADD CONSTRAINT "workflow_runs_namespace_workflow_version_workflows_namespace_name_version_fk" FOREIGN KEY ("namespace","workflow","version") REFERENCES "public"."workflows"("namespace","name","version") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "workflow_steps" ADD CONSTRAINT "workflow_steps_run_id_workflow_runs_id_fk" FOREIGN KEY ("run_id") REFERENCES "public"."workflow_runs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "workflow_steps" ADD CONSTRAINT "workflow_steps_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "workflow_steps" ADD CONSTRAINT "workflow_steps_approval_id_approvals_id_fk" FOREIGN KEY ("approval_id") REFERENCES "public"."approvals"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "workflow_transitions" ADD CONSTRAINT "workflow_transitions_run_id_workflow_runs_id_fk" FOREIGN KEY ("run_id") REFERENCES "public"."workflow_runs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "agent_state_changes_agent_idx" ON "agent_state_changes" USING btree ("agent_id","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "project_log_project_idx" ON "project_log" USING btree ("namespace","project","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "reactions_pending_idx" ON "reactions" USING btree ("event_id","subscription_id") WHERE status = 'pending';--> statement-breakpoint
CREATE INDEX "reactions_job_idx" ON "reactions" USING btree ("job_id") WHERE job_id is not null;--> statement-breakpoint
CREATE INDEX "reactions_subscription_idx" ON "reactions" USING btree ("subscription_id","event_id" DESC NULLS LAST);--> statement-breakpoint
CREATE UNIQUE INDEX "subscriptions_name_idx" ON "subscriptions" USING btree ("namespace","name");--> statement-breakpoint
CREATE INDEX "subscriptions_topic_idx" ON "subscriptions" USING btree ("namespace","topic") WHERE enabled;--> statement-breakpoint
CREATE INDEX "approvals_open_idx" ON "approvals" USING btree ("id" DESC NULLS LAST) WHERE status = 'pending';--> statement-breakpoint
CREATE INDEX "approvals_expiry_idx" ON "approvals" USING btree ("expires_at") WHERE status = 'pending' and expires_at is not null;--> statement-breakpoint
CREATE INDEX "approvals_job_idx" ON "approvals" USING btree ("job_id") WHERE job_id is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "workflow_runs_dedupe_idx" ON "workflow_runs" USING btree ("namespace","workflow","dedupe_key") WHERE dedupe_key is not null and finished_at is null;--> statement-breakpoint
CREATE INDEX "workflow_runs_open_idx" ON "workflow_runs" USING btree ("id") WHERE finished_at is null;--> statement-breakpoint
CREATE INDEX "workflow_runs_workflow_idx" ON "workflow_runs" USING btree ("namespace","workflow","id" DESC NULLS LAST);--> statement-breakpoint
CREATE UNIQUE INDEX "workflow_steps_job_idx" ON "workflow_steps" USING btree ("job_id") WHERE job_id is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "workflow_steps_approval_idx" ON "workflow_steps" USING btree ("approval_id") WHERE approval_id is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_routed_dedupe_idx" ON "jobs" USING btree ("namespace","dedupe_key") WHERE dedupe_key is not null and finished_at is null and cardinality(capabilities) > 0;--> statement-breakpoint
CREATE INDEX "jobs_unassigned_idx" ON "jobs" USING btree ("priority" DESC NULLS LAST,"run_after","id") WHERE status = 'queued' and target_agent is null;--> statement-breakpoint
CREATE INDEX "jobs_routed_idx" ON "jobs" USING btree ("target_agent") WHERE status = 'queued' and cardinality(capabilities) > 0;--> statement-breakpoint
CREATE INDEX "jobs_blocked_on_agent_idx" ON "jobs" USING btree ((waits_for ->> 'agent')) WHERE status = 'blocked' and waits_for ->> 'kind' = 'agent';--> statement-breakpoint
CREATE INDEX "jobs_blocked_on_approval_idx" ON "jobs" USING btree ((waits_for ->> 'approval_id')) WHERE status = 'blocked' and waits_for ->> 'kind' = 'approval';--> statement-breakpoint
CREATE INDEX "jobs_escalate_idx" ON "jobs" USING btree ("escalate_at") WHERE escalate_at is not null;--> statement-breakpoint
CREATE INDEX "jobs_blocked_idx" ON "jobs" USING btree ("blocked_at") WHERE status = 'blocked';--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_active_dedupe_idx" ON "jobs" USING btree ("namespace","target_agent","dedupe_key") WHERE dedupe_key is not null and finished_at is null and cardinality(capabilities) = 0;--> statement-breakpoint
ALTER TABLE "fleet_versions" ADD CONSTRAINT "fleet_versions_kind_check" CHECK ("fleet_versions"."kind" in ('gateway', 'agent', 'inbox', 'subscription', 'policy'));--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_agent_or_capabilities" CHECK ("jobs"."target_agent" is not null or (cardinality("jobs"."capabilities") > 0 and "jobs"."current_attempt_id" is null));--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_hops_check" CHECK ("jobs"."hops" >= 0 and cardinality("jobs"."lineage") <= "jobs"."hops");--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_blocked_waits" CHECK ("jobs"."status" = 'blocked' or num_nonnulls("jobs"."waits_for", "jobs"."look_again_at", "jobs"."unblock_action", "jobs"."blocked_at", "jobs"."escalate_at") = 0);--> statement-breakpoint
ALTER TABLE "events" ADD CONSTRAINT "events_hops_check" CHECK ("events"."hops" >= 0 and cardinality("events"."lineage") <= "events"."hops");