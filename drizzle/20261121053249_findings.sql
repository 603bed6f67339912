CREATE TYPE "public"."finding_level" AS ENUM('info', 'warning', 'urgent');--> statement-breakpoint
CREATE TYPE "public"."finding_move" AS ENUM('filed', 'raised', 'read', 'returned', 'acknowledged', 'withdrawn', 'settled');--> statement-breakpoint
CREATE TYPE "public"."finding_status" AS ENUM('open', 'settled');--> statement-breakpoint
CREATE TYPE "public"."message_status" AS ENUM('unread', 'read', 'acknowledged', 'withdrawn');--> statement-breakpoint
CREATE TABLE "finding_history" (
	"finding_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"kind" "finding_move" NOT NULL,
	"message_id" uuid,
	"job_id" uuid,
	"attempt_id" uuid,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"at" timestamp(6) with time zone NOT NULL,
	CONSTRAINT "finding_history_finding_id_seq_pk" PRIMARY KEY("finding_id","seq"),
	CONSTRAINT "finding_history_seq_check" CHECK ("finding_history"."seq" >= 1 and ("finding_history"."seq" > 1 or "finding_history"."kind" = 'filed')),
	CONSTRAINT "finding_history_message_check" CHECK ("finding_history"."kind" in ('filed', 'settled') or "finding_history"."message_id" is not null)
);
--> statement-breakpoint
CREATE TABLE "findings" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"agent_id" text NOT NULL,
	"topic" text NOT NULL,
	"subject_key" text NOT NULL,
	"level" "finding_level" NOT NULL,
	"body" text NOT NULL,
	"data" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"source_agent" text,
	"since" timestamp(6) with time zone NOT NULL,
	"first_seen_at" timestamp(6) with time zone NOT NULL,
	"last_seen_at" timestamp(6) with time zone NOT NULL,
	"count" integer DEFAULT 1 NOT NULL,
	"last_raised_at" timestamp(6) with time zone,
	"nag_count" integer DEFAULT 0 NOT NULL,
	"nag_level" integer DEFAULT 0 NOT NULL,
	"raise_at" timestamp(6) with time zone,
	"status" "finding_status" DEFAULT 'open' NOT NULL,
	"settled_at" timestamp(6) with time zone,
	"settled_as" text,
	"last_seq" integer DEFAULT 0 NOT NULL,
	CONSTRAINT "findings_count_check" CHECK ("findings"."count" >= 1 and "findings"."nag_count" >= 0 and "findings"."nag_level" >= 0),
	CONSTRAINT "findings_seen_check" CHECK ("findings"."last_seen_at" >= "findings"."first_seen_at"),
	CONSTRAINT "findings_raised_check" CHECK (("findings"."nag_count" = 0) = ("findings"."nag_level" = 0) and ("findings"."nag_count" = 0 or "findings"."last_raised_at" is not null)),
	CONSTRAINT "findings_raise_at_check" CHECK ("findings"."raise_at" is null or ("findings"."nag_count" = 0 and "findings"."status" = 'open')),
	CONSTRAINT "findings_settled_check" CHECK (("findings"."status" = 'settled') = ("findings"."settled_at" is not null) and ("findings"."settled_at" is null) = ("findings"."settled_as" is null) and coalesce("findings"."settled_as" in ('settled', 'forgotten', 'answered'), true))
);
--> statement-breakpoint
CREATE TABLE "inbox_messages" (
	"id" uuid PRIMARY KEY NOT NULL,
	"finding_id" uuid NOT NULL,
	"agent_id" text NOT NULL,
	"level" "finding_level" NOT NULL,
	"tone" text NOT NULL,
	"nag_level" integer NOT NULL,
	"text" text NOT NULL,
	"status" "message_status" DEFAULT 'unread' NOT NULL,
	"created_at" timestamp(6) with time zone NOT NULL,
	"read_by" text,
	"read_attempt_id" uuid,
	"read_at" timestamp(6) with time zone,
	"read_until" timestamp(6) with time zone,
	"closed_at" timestamp(6) with time zone,
	"outcome" text,
	"note" text,
	CONSTRAINT "inbox_messages_read_check" CHECK (("inbox_messages"."read_by" is null) = ("inbox_messages"."read_at" is null) and ("inbox_messages"."status" not in ('read', 'acknowledged') or "inbox_messages"."read_by" is not null) and ("inbox_messages"."status" <> 'unread' or "inbox_messages"."read_by" is null)),
	CONSTRAINT "inbox_messages_holder_check" CHECK ("inbox_messages"."status" <> 'read' or ("inbox_messages"."read_attempt_id" is null) <> ("inbox_messages"."read_until" is null)),
	CONSTRAINT "inbox_messages_closed_check" CHECK (("inbox_messages"."status" in ('acknowledged', 'withdrawn')) = ("inbox_messages"."closed_at" is not null)),
	CONSTRAINT "inbox_messages_outcome_check" CHECK (("inbox_messages"."status" = 'acknowledged') = ("inbox_messages"."outcome" is not null) and coalesce("inbox_messages"."outcome" in ('delivered', 'dismissed', 'settled'), true))
);
--> statement-breakpoint
ALTER TABLE "fleet_versions" DROP CONSTRAINT "fleet_versions_kind_check";--> statement-breakpoint
ALTER TABLE "finding_history" ADD CONSTRAINT "finding_history_finding_id_findings_id_fk" FOREIGN KEY ("finding_id") REFERENCES "public"."findings"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "finding_history" ADD CONSTRAINT "finding_history_message_id_inbox_messages_id_fk" FOREIGN KEY ("message_id") REFERENCES "public"."inbox_messages"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "finding_history" ADD CONSTRAINT "finding_history_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "finding_history" ADD CONSTRAINT "finding_history_attempt_id_job_attempts_id_fk" FOREIGN KEY ("attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "findings" ADD CONSTRAINT "findings_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "inbox_messages" ADD CONSTRAINT "inbox_messages_finding_id_findings_id_fk" FOREIGN KEY ("finding_id") REFERENCES "public"."findings"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "inbox_messages" ADD CONSTRAINT "inbox_messages_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "inbox_messages" ADD CONSTRAINT "inbox_messages_read_attempt_id_job_attempts_id_fk" FOREIGN KEY ("read_attempt_id") REFERENCES "public"."job_attempts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "finding_history_attempt_idx" ON "finding_history" USING btree ("attempt_id") WHERE attempt_id is not null;--> statement-breakpoint
CREATE INDEX "finding_history_at_idx" ON "finding_history" USING btree ("at");--> statement-breakpoint
CREATE UNIQUE INDEX "findings_open_idx" ON "findings" USING btree ("namespace","agent_id","topic","subject_key") WHERE status = 'open';--> statement-breakpoint
CREATE INDEX "findings_raise_idx" ON "findings" USING btree ("raise_at") WHERE raise_at is not null;--> statement-breakpoint
CREATE INDEX "findings_pending_result_idx" ON "findings" USING btree ("subject_key") WHERE topic = 'pending_result' and status = 'open';--> statement-breakpoint
CREATE INDEX "findings_agent_idx" ON "findings" USING btree ("agent_id","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "findings_subject_idx" ON "findings" USING btree ("topic","subject_key","id" DESC NULLS LAST);--> statement-breakpoint
CREATE UNIQUE INDEX "inbox_messages_one_open_idx" ON "inbox_messages" USING btree ("finding_id") WHERE status in ('unread', 'read');--> statement-breakpoint
CREATE INDEX "inbox_messages_open_idx" ON "inbox_messages" USING btree ("agent_id","level" DESC NULLS LAST,"id") WHERE status in ('unread', 'read');--> statement-breakpoint
CREATE INDEX "inbox_messages_finding_idx" ON "inbox_messages" USING btree ("finding_id","id");--> statement-breakpoint
CREATE INDEX "inbox_messages_agent_idx" ON "inbox_messages" USING btree ("agent_id","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "jobs_handed_over_idx" ON "jobs" USING btree ("created_at") WHERE finished_at is null and source_agent is not null;--> statement-breakpoint
ALTER TABLE "fleet_versions" ADD CONSTRAINT "fleet_versions_kind_check" CHECK ("fleet_versions"."kind" in ('gateway', 'agent', 'inbox'));