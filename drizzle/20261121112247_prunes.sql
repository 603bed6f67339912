CREATE TABLE "prunes" (
	"seq" integer PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"before" timestamp(6) with time zone NOT NULL,
	"rows" integer NOT NULL,
	"first_key" text NOT NULL,
	"last_key" text NOT NULL,
	"root" "bytea" NOT NULL,
	"policy_version" integer NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	"prev_hash" "bytea" DEFAULT '\x'::bytea NOT NULL,
	"hash" "bytea" DEFAULT '\x'::bytea NOT NULL,
	CONSTRAINT "prunes_kind_check" CHECK ("prunes"."kind" in ('prompts', 'jobs', 'attempts', 'events', 'accesses', 'observations')),
	CONSTRAINT "prunes_rows_check" CHECK ("prunes"."seq" >= 1 and "prunes"."rows" >= 1),
	CONSTRAINT "prunes_lengths_check" CHECK (octet_length("prunes"."root") = 32 and octet_length("prunes"."prev_hash") = 32 and octet_length("prunes"."hash") = 32)
);
--> statement-breakpoint
ALTER TABLE "job_attempts" ADD COLUMN "pruned_by" integer;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD COLUMN "pruned_hash" "bytea";--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "pruned_by" integer;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "pruned_hash" "bytea";--> statement-breakpoint
ALTER TABLE "prompts" ADD COLUMN "pruned_by" integer;--> statement-breakpoint
ALTER TABLE "events" ADD COLUMN "pruned_by" integer;--> statement-breakpoint
ALTER TABLE "events" ADD COLUMN "pruned_hash" "bytea";--> statement-breakpoint
CREATE INDEX "job_attempts_pruned_idx" ON "job_attempts" USING btree ("pruned_by") WHERE pruned_by is not null;--> statement-breakpoint
CREATE INDEX "jobs_pruned_idx" ON "jobs" USING btree ("pruned_by") WHERE pruned_by is not null;--> statement-breakpoint
CREATE INDEX "prompts_pruned_idx" ON "prompts" USING btree ("pruned_by") WHERE pruned_by is not null;--> statement-breakpoint
CREATE INDEX "events_pruned_idx" ON "events" USING btree ("pruned_by") WHERE pruned_by is not null;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD CONSTRAINT "job_attempts_pruned_when_closed" CHECK ("job_attempts"."pruned_by" is null or ("job_attempts"."finished_at" is not null and "job_attempts"."pruned_hash" is not null));--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_pruned_when_over" CHECK ("jobs"."pruned_by" is null or ("jobs"."finished_at" is not null and "jobs"."pruned_hash" is not null));--> statement-breakpoint
ALTER TABLE "prompts" ADD CONSTRAINT "prompts_pruned_check" CHECK ("prompts"."pruned_by" is null or "prompts"."body" = '');