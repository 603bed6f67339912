CREATE TYPE "public"."memory_candidate_status" AS ENUM('new', 'reviewed', 'promoted', 'rejected', 'archived');--> statement-breakpoint
CREATE TYPE "public"."idea_status" AS ENUM('new', 'reviewed', 'promoted_to_opportunity', 'archived');--> statement-breakpoint
CREATE TYPE "public"."memory_kind" AS ENUM('decision', 'preference', 'pattern', 'mistake', 'lesson', 'playbook', 'constraint', 'entity_fact', 'context');--> statement-breakpoint
CREATE TYPE "public"."memory_scope" AS ENUM('global', 'agent', 'project', 'person', 'service');--> statement-breakpoint
CREATE TYPE "public"."memory_stability" AS ENUM('volatile', 'medium', 'stable');--> statement-breakpoint
CREATE TYPE "public"."memory_status" AS ENUM('active', 'superseded', 'expired', 'archived');--> statement-breakpoint
CREATE TYPE "public"."memory_visibility" AS ENUM('shared', 'role_limited', 'agent_private', 'human_editable');--> statement-breakpoint
CREATE TYPE "public"."opportunity_reversibility" AS ENUM('high', 'medium', 'low');--> statement-breakpoint
CREATE TYPE "public"."opportunity_status" AS ENUM('new', 'triaged', 'accepted', 'rejected', 'parked', 'converted_to_job');--> statement-breakpoint
CREATE TABLE "idea_reviews" (
	"idea_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"from_status" "idea_status",
	"decision" "idea_status" NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"notes" text,
	"reviewer" text,
	"job_id" uuid,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"words_hash" "bytea",
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"record_id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "idea_reviews_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	CONSTRAINT "idea_reviews_idea_id_seq_pk" PRIMARY KEY("idea_id","seq"),
	CONSTRAINT "idea_reviews_legal_move" CHECK (case when "idea_reviews"."from_status" is null then "idea_reviews"."seq" = 1 and "idea_reviews"."decision" = 'new'
        else "idea_reviews"."seq" > 1 and ("idea_reviews"."from_status", "idea_reviews"."decision") in (('new', 'reviewed'), ('new', 'promoted_to_opportunity'), ('new', 'archived'), ('reviewed', 'promoted_to_opportunity'), ('reviewed', 'archived')) end),
	CONSTRAINT "idea_reviews_words_check" CHECK (("idea_reviews"."seq" = 1) = ("idea_reviews"."words_hash" is not null)),
	CONSTRAINT "idea_reviews_reviewer_check" CHECK ("idea_reviews"."reviewer" is null or "idea_reviews"."reviewer" = "idea_reviews"."actor")
);
--> statement-breakpoint
CREATE TABLE "ideas" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"source_agent" text,
	"theme" text NOT NULL,
	"title" text NOT NULL,
	"body" text NOT NULL,
	"evidence" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"tags" text[] DEFAULT '{}'::text[] NOT NULL,
	"status" "idea_status" DEFAULT 'new' NOT NULL,
	"promoted_opportunity_id" uuid,
	"dedupe_key" text,
	"last_seq" integer NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "ideas_seq_check" CHECK ("ideas"."last_seq" >= 1 and ("ideas"."status" = 'new') = ("ideas"."last_seq" = 1)),
	CONSTRAINT "ideas_promoted_check" CHECK (("ideas"."status" = 'promoted_to_opportunity') = ("ideas"."promoted_opportunity_id" is not null))
);
--> statement-breakpoint
CREATE TABLE "memories" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"kind" "memory_kind" NOT NULL,
	"scope" "memory_scope" NOT NULL,
	"subject_key" text NOT NULL,
	"title" text NOT NULL,
	"body" text NOT NULL,
	"owner_agent" text,
	"source_candidate_id" uuid NOT NULL,
	"source_refs" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"confidence_score" integer NOT NULL,
	"stability" "memory_stability" DEFAULT 'medium' NOT NULL,
	"visibility" "memory_visibility" DEFAULT 'shared' NOT NULL,
	"visible_to" text[] DEFAULT '{}'::text[] NOT NULL,
	"status" "memory_status" DEFAULT 'active' NOT NULL,
	"updated_by" text NOT NULL,
	"valid_from" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"expires_at" timestamp(6) with time zone,
	"next_review_at" timestamp(6) with time zone,
	"supersedes_memory_id" uuid,
	"dedupe_key" text,
	"last_seq" integer NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "memories_score_check" CHECK ("memories"."confidence_score" between 1 and 5),
	CONSTRAINT "memories_seq_check" CHECK ("memories"."last_seq" >= 1 and ("memories"."status" = 'active' or "memories"."last_seq" > 1)),
	CONSTRAINT "memories_visible_to_check" CHECK (("memories"."visibility" = 'role_limited') = (cardinality("memories"."visible_to") > 0)),
	CONSTRAINT "memories_private_check" CHECK ("memories"."visibility" <> 'agent_private' or "memories"."owner_agent" is not null),
	CONSTRAINT "memories_not_own_successor" CHECK ("memories"."supersedes_memory_id" is distinct from "memories"."id")
);
--> statement-breakpoint
CREATE TABLE "memory_candidate_reviews" (
	"memory_candidate_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"from_status" "memory_candidate_status",
	"decision" "memory_candidate_status" NOT NULL,
	"notes" text,
	"reviewer" text,
	"job_id" uuid,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"words_hash" "bytea",
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"record_id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "memory_candidate_reviews_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	CONSTRAINT "memory_candidate_reviews_memory_candidate_id_seq_pk" PRIMARY KEY("memory_candidate_id","seq"),
	CONSTRAINT "memory_candidate_reviews_legal_move" CHECK (case when "memory_candidate_reviews"."from_status" is null then "memory_candidate_reviews"."seq" = 1 and "memory_candidate_reviews"."decision" = 'new'
        else "memory_candidate_reviews"."seq" > 1 and ("memory_candidate_reviews"."from_status", "memory_candidate_reviews"."decision") in (('new', 'reviewed'), ('new', 'promoted'), ('new', 'rejected'), ('new', 'archived'), ('reviewed', 'promoted'), ('reviewed', 'rejected'), ('reviewed', 'archived')) end),
	CONSTRAINT "memory_candidate_reviews_words_check" CHECK (("memory_candidate_reviews"."seq" = 1) = ("memory_candidate_reviews"."words_hash" is not null)),
	CONSTRAINT "memory_candidate_reviews_reviewer_check" CHECK ("memory_candidate_reviews"."reviewer" is null or "memory_candidate_reviews"."reviewer" = "memory_candidate_reviews"."actor")
);
--> statement-breakpoint
CREATE TABLE "memory_candidates" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"source_agent" text,
	"candidate_kind" "memory_kind" NOT NULL,
	"scope" "memory_scope" NOT NULL,
	"subject_key" text NOT NULL,
	"title" text NOT NULL,
	"body" text NOT NULL,
	"evidence" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"source_refs" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"confidence_score" integer NOT NULL,
	"stability" "memory_stability" DEFAULT 'medium' NOT NULL,
	"visibility" "memory_visibility" DEFAULT 'shared' NOT NULL,
	"visible_to" text[] DEFAULT '{}'::text[] NOT NULL,
	"status" "memory_candidate_status" DEFAULT 'new' NOT NULL,
	"reviewer" text,
	"review_notes" text,
	"promoted_memory_id" uuid,
	"dedupe_key" text,
	"last_seq" integer NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "memory_candidates_score_check" CHECK ("memory_candidates"."confidence_score" between 1 and 5),
	CONSTRAINT "memory_candidates_seq_check" CHECK ("memory_candidates"."last_seq" >= 1 and ("memory_candidates"."status" = 'new') = ("memory_candidates"."last_seq" = 1)),
	CONSTRAINT "memory_candidates_promoted_check" CHECK (("memory_candidates"."status" = 'promoted') = ("memory_candidates"."promoted_memory_id" is not null)),
	CONSTRAINT "memory_candidates_reviewer_check" CHECK (("memory_candidates"."status" = 'new') = ("memory_candidates"."reviewer" is null) and ("memory_candidates"."reviewer" is not null or "memory_candidates"."review_notes" is null)),
	CONSTRAINT "memory_candidates_visible_to_check" CHECK (("memory_candidates"."visibility" = 'role_limited') = (cardinality("memory_candidates"."visible_to") > 0)),
	CONSTRAINT "memory_candidates_private_check" CHECK ("memory_candidates"."visibility" <> 'agent_private' or "memory_candidates"."source_agent" is not null)
);
--> statement-breakpoint
CREATE TABLE "memory_reviews" (
	"memory_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"from_status" "memory_status",
	"decision" "memory_status" NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"notes" text,
	"reviewer" text,
	"job_id" uuid,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"words_hash" "bytea",
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"record_id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "memory_reviews_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	CONSTRAINT "memory_reviews_memory_id_seq_pk" PRIMARY KEY("memory_id","seq"),
	CONSTRAINT "memory_reviews_legal_move" CHECK (case when "memory_reviews"."from_status" is null then "memory_reviews"."seq" = 1 and "memory_reviews"."decision" = 'active'
        else "memory_reviews"."seq" > 1 and ("memory_reviews"."from_status", "memory_reviews"."decision") in (('active', 'active'), ('active', 'superseded'), ('active', 'expired'), ('active', 'archived')) end),
	CONSTRAINT "memory_reviews_words_check" CHECK (("memory_reviews"."seq" = 1) = ("memory_reviews"."words_hash" is not null)),
	CONSTRAINT "memory_reviews_reviewer_check" CHECK ("memory_reviews"."reviewer" is null or "memory_reviews"."reviewer" = "memory_reviews"."actor")
);
--> statement-breakpoint
CREATE TABLE "opportunities" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"source_agent" text,
	"theme" text NOT NULL,
	"title" text NOT NULL,
	"why_now" text NOT NULL,
	"evidence" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"impact_score" integer NOT NULL,
	"confidence_score" integer NOT NULL,
	"urgency_score" integer NOT NULL,
	"reversibility" "opportunity_reversibility" NOT NULL,
	"owner_candidate" text,
	"suggested_next_step" text NOT NULL,
	"status" "opportunity_status" DEFAULT 'new' NOT NULL,
	"triaged_by" text,
	"triage_notes" text,
	"triaged_at" timestamp(6) with time zone,
	"converted_job_id" uuid,
	"dedupe_key" text,
	"last_seq" integer NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"updated_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "opportunities_scores_check" CHECK ("opportunities"."impact_score" between 1 and 5 and "opportunities"."confidence_score" between 1 and 5 and "opportunities"."urgency_score" between 1 and 5),
	CONSTRAINT "opportunities_seq_check" CHECK ("opportunities"."last_seq" >= 1 and ("opportunities"."status" = 'new') = ("opportunities"."last_seq" = 1)),
	CONSTRAINT "opportunities_converted_check" CHECK (("opportunities"."status" = 'converted_to_job') = ("opportunities"."converted_job_id" is not null)),
	CONSTRAINT "opportunities_triaged_check" CHECK (("opportunities"."status" = 'new') = ("opportunities"."triaged_at" is null) and ("opportunities"."triaged_at" is null) = ("opportunities"."triaged_by" is null) and ("opportunities"."triaged_at" is not null or "opportunities"."triage_notes" is null))
);
--> statement-breakpoint
CREATE TABLE "opportunity_reviews" (
	"opportunity_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"from_status" "opportunity_status",
	"decision" "opportunity_status" NOT NULL,
	"notes" text,
	"reviewer" text,
	"job_id" uuid,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"words_hash" "bytea",
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"record_id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "opportunity_reviews_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	CONSTRAINT "opportunity_reviews_opportunity_id_seq_pk" PRIMARY KEY("opportunity_id","seq"),
	CONSTRAINT "opportunity_reviews_legal_move" CHECK (case when "opportunity_reviews"."from_status" is null then "opportunity_reviews"."seq" = 1 and "opportunity_reviews"."decision" = 'new'
        else "opportunity_reviews"."seq" > 1 and ("opportunity_reviews"."from_status", "opportunity_reviews"."decision") in (('new', 'triaged'), ('new', 'accepted'), ('new', 'rejected'), ('new', 'parked'), ('new', 'converted_to_job'), ('triaged', 'accepted'), ('triaged', 'rejected'), ('triaged', 'parked'), ('triaged', 'converted_to_job'), ('accepted', 'triaged'), ('accepted', 'rejected'), ('accepted', 'parked'), ('accepted', 'converted_to_job'), ('parked', 'triaged'), ('parked', 'accepted'), ('parked', 'rejected'), ('parked', 'converted_to_job')) end),
	CONSTRAINT "opportunity_reviews_words_check" CHECK (("opportunity_reviews"."seq" = 1) = ("opportunity_reviews"."words_hash" is not null)),
	CONSTRAINT "opportunity_reviews_reviewer_check" CHECK ("opportunity_reviews"."reviewer" is null or "opportunity_reviews"."reviewer" = "opportunity_reviews"."actor")
);
--> statement-breakpoint
ALTER TABLE "idea_reviews" ADD CONSTRAINT "idea_reviews_idea_id_ideas_id_fk" FOREIGN KEY ("idea_id") REFERENCES "public"."ideas"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idea_reviews" ADD CONSTRAINT "idea_reviews_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idea_reviews" ADD CONSTRAINT "idea_reviews_attempt_id_job_attempts_id_fk" FOREIGN KEY ("attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ideas" ADD CONSTRAINT "ideas_source_agent_agents_id_fk" FOREIGN KEY ("source_agent") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ideas" ADD CONSTRAINT "ideas_promoted_opportunity_id_opportunities_id_fk" FOREIGN KEY ("promoted_opportunity_id") REFERENCES "public"."opportunities"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memories" ADD CONSTRAINT "memories_owner_agent_agents_id_fk" FOREIGN KEY ("owner_agent") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memories" ADD CONSTRAINT "memories_source_candidate_id_memory_candidates_id_fk" FOREIGN KEY ("source_candidate_id") REFERENCES "public"."memory_candidates"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memories" ADD CONSTRAINT "memories_supersedes_memory_id_memories_id_fk" FOREIGN KEY ("supersedes_memory_id") REFERENCES "public"."memories"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_candidate_reviews" ADD CONSTRAINT "memory_candidate_reviews_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_candidate_reviews" ADD CONSTRAINT "memory_candidate_reviews_attempt_id_job_attempts_id_fk" FOREIGN KEY ("attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_candidate_reviews" ADD CONSTRAINT "memory_candidate_reviews_candidate_fk" FOREIGN KEY ("memory_candidate_id") REFERENCES "public"."memory_candidates"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_candidates" ADD CONSTRAINT "memory_candidates_source_agent_agents_id_fk" FOREIGN KEY ("source_agent") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_candidates" ADD CONSTRAINT "memory_candidates_promoted_memory_id_memories_id_fk" FOREIGN KEY ("promoted_memory_id") REFERENCES "public"."memories"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_reviews" ADD CONSTRAINT "memory_reviews_memory_id_memories_id_fk" FOREIGN KEY ("memory_id") REFERENCES "public"."memories"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_reviews" ADD CONSTRAINT "memory_reviews_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "memory_reviews" ADD CONSTRAINT "memory_reviews_attempt_id_job_attempts_id_fk" FOREIGN KEY ("attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "opportunities" ADD CONSTRAINT "opportunities_source_agent_agents_id_fk" FOREIGN KEY ("source_agent") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "opportunities" ADD CONSTRAINT "opportunities_owner_candidate_agents_id_fk" FOREIGN KEY ("owner_candidate") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "opportunities" ADD CONSTRAINT "opportunities_converted_job_id_jobs_id_fk" FOREIGN KEY ("converted_job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "opportunity_reviews" ADD CONSTRAINT "opportunity_reviews_opportunity_id_opportunities_id_fk" FOREIGN KEY ("opportunity_id") REFERENCES "public"."opportunities"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "opportunity_reviews" ADD CONSTRAINT "opportunity_reviews_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "opportunity_reviews" ADD CONSTRAINT "opportunity_reviews_attempt_id_job_attempts_id_fk" FOREIGN KEY ("attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idea_reviews_reviewer_idx" ON "idea_reviews" USING btree ("reviewer","at") WHERE reviewer is not null;--> statement-breakpoint
CREATE INDEX "idea_reviews_xact_idx" ON "idea_reviews" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE UNIQUE INDEX "ideas_dedupe_idx" ON "ideas" USING btree ("namespace",(coalesce(source_agent, '')),"dedupe_key") WHERE dedupe_key is not null and status in ('new', 'reviewed');--> statement-breakpoint
CREATE INDEX "ideas_namespace_idx" ON "ideas" USING btree ("namespace","id");--> statement-breakpoint
CREATE INDEX "ideas_status_idx" ON "ideas" USING btree ("status","id");--> statement-breakpoint
CREATE INDEX "ideas_source_idx" ON "ideas" USING btree ("source_agent","id") WHERE source_agent is not null;--> statement-breakpoint
CREATE INDEX "ideas_theme_idx" ON "ideas" USING btree ("theme","id");--> statement-breakpoint
CREATE INDEX "ideas_tags_idx" ON "ideas" USING gin ("tags");--> statement-breakpoint
CREATE INDEX "ideas_counts_idx" ON "ideas" USING btree ("namespace","status","created_at");--> statement-breakpoint
CREATE UNIQUE INDEX "memories_dedupe_idx" ON "memories" USING btree ("namespace","dedupe_key") WHERE dedupe_key is not null and status = 'active';--> statement-breakpoint
CREATE UNIQUE INDEX "memories_candidate_idx" ON "memories" USING btree ("source_candidate_id");--> statement-breakpoint
CREATE UNIQUE INDEX "memories_supersedes_idx" ON "memories" USING btree ("supersedes_memory_id") WHERE supersedes_memory_id is not null;--> statement-breakpoint
CREATE INDEX "memories_namespace_idx" ON "memories" USING btree ("namespace","id");--> statement-breakpoint
CREATE INDEX "memories_status_idx" ON "memories" USING btree ("status","id");--> statement-breakpoint
CREATE INDEX "memories_subject_idx" ON "memories" USING btree ("subject_key","id");--> statement-breakpoint
CREATE INDEX "memories_review_idx" ON "memories" USING btree ("next_review_at") WHERE status = 'active' and next_review_at is not null;--> statement-breakpoint
CREATE INDEX "memories_expiry_idx" ON "memories" USING btree ("expires_at") WHERE status = 'active' and expires_at is not null;--> statement-breakpoint
CREATE INDEX "memory_candidate_reviews_reviewer_idx" ON "memory_candidate_reviews" USING btree ("reviewer","at") WHERE reviewer is not null;--> statement-breakpoint
CREATE INDEX "memory_candidate_reviews_xact_idx" ON "memory_candidate_reviews" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE UNIQUE INDEX "memory_candidates_dedupe_idx" ON "memory_candidates" USING btree ("namespace",(coalesce(source_agent, '')),"dedupe_key") WHERE dedupe_key is not null and status in ('new', 'reviewed');--> statement-breakpoint
CREATE INDEX "memory_candidates_namespace_idx" ON "memory_candidates" USING btree ("namespace","id");--> statement-breakpoint
CREATE INDEX "memory_candidates_status_idx" ON "memory_candidates" USING btree ("status","id");--> statement-breakpoint
CREATE INDEX "memory_candidates_source_idx" ON "memory_candidates" USING btree ("source_agent","id") WHERE source_agent is not null;--> statement-breakpoint
CREATE INDEX "memory_candidates_subject_idx" ON "memory_candidates" USING btree ("subject_key","id");--> statement-breakpoint
CREATE INDEX "memory_reviews_reviewer_idx" ON "memory_reviews" USING btree ("reviewer","at") WHERE reviewer is not null;--> statement-breakpoint
CREATE INDEX "memory_reviews_xact_idx" ON "memory_reviews" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE UNIQUE INDEX "opportunities_dedupe_idx" ON "opportunities" USING btree ("namespace","dedupe_key",(coalesce(source_agent, ''))) WHERE dedupe_key is not null and status in ('new', 'triaged', 'accepted', 'parked');--> statement-breakpoint
CREATE UNIQUE INDEX "opportunities_job_idx" ON "opportunities" USING btree ("converted_job_id") WHERE converted_job_id is not null;--> statement-breakpoint
CREATE INDEX "opportunities_open_idx" ON "opportunities" USING btree ("id") WHERE status in ('new', 'triaged', 'accepted', 'parked');--> statement-breakpoint
CREATE INDEX "opportunities_namespace_idx" ON "opportunities" USING btree ("namespace","id");--> statement-breakpoint
CREATE INDEX "opportunities_status_idx" ON "opportunities" USING btree ("status","id");--> statement-breakpoint
CREATE INDEX "opportunities_source_idx" ON "opportunities" USING btree ("source_agent","id") WHERE source_agent is not null;--> statement-breakpoint
CREATE INDEX "opportunities_theme_idx" ON "opportunities" USING btree ("theme","id");--> statement-breakpoint
CREATE INDEX "opportunities_counts_idx" ON "opportunities" USING btree ("namespace","status","created_at");--> statement-breakpoint
CREATE INDEX "opportunity_reviews_reviewer_idx" ON "opportunity_reviews" USING btree ("reviewer","at") WHERE reviewer is not null;--> statement-breakpoint
CREATE INDEX "opportunity_reviews_xact_idx" ON "opportunity_reviews" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "standing_order_runs_missed_idx" ON "standing_order_runs" USING btree ("slot_at","order_id","cause") WHERE status = 'missed';