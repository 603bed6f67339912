CREATE TYPE "public"."alert_delivery_status" AS ENUM('pending', 'delivered', 'failed');--> statement-breakpoint
CREATE TYPE "public"."alert_level" AS ENUM('warning', 'urgent');--> statement-breakpoint
CREATE TYPE "public"."alert_move" AS ENUM('opened', 'told', 'acknowledged', 'resolved');--> statement-breakpoint
CREATE TYPE "public"."alert_notice" AS ENUM('opened', 'reminder', 'resolved', 'test');--> statement-breakpoint
CREATE TYPE "public"."alert_receiver" AS ENUM('webhook', 'agent');--> statement-breakpoint
CREATE TYPE "public"."alert_status" AS ENUM('open', 'resolved');--> statement-breakpoint
CREATE TABLE "alert_attempts" (
	"delivery_id" uuid NOT NULL,
	"try_no" integer NOT NULL,
	"ok" boolean NOT NULL,
	"http_status" integer,
	"error" text,
	"ms" integer NOT NULL,
	"worker" text NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "alert_attempts_delivery_id_try_no_pk" PRIMARY KEY("delivery_id","try_no"),
	CONSTRAINT "alert_attempts_error_check" CHECK ("alert_attempts"."ok" = ("alert_attempts"."error" is null))
);
--> statement-breakpoint
CREATE TABLE "alert_deliveries" (
	"id" uuid PRIMARY KEY NOT NULL,
	"alert_id" uuid,
	"seq" integer,
	"rule" text NOT NULL,
	"notice" "alert_notice" NOT NULL,
	"receiver_kind" "alert_receiver" NOT NULL,
	"receiver" text NOT NULL,
	"body" jsonb NOT NULL,
	"status" "alert_delivery_status" DEFAULT 'pending' NOT NULL,
	"tries" integer DEFAULT 0 NOT NULL,
	"next_try_at" timestamp(6) with time zone NOT NULL,
	"job_id" uuid,
	"created_at" timestamp(6) with time zone NOT NULL,
	"done_at" timestamp(6) with time zone,
	CONSTRAINT "alert_deliveries_done_check" CHECK (("alert_deliveries"."status" = 'pending') = ("alert_deliveries"."done_at" is null)),
	CONSTRAINT "alert_deliveries_alert_check" CHECK (("alert_deliveries"."notice" = 'test') = ("alert_deliveries"."alert_id" is null) and ("alert_deliveries"."alert_id" is null) = ("alert_deliveries"."seq" is null)),
	CONSTRAINT "alert_deliveries_job_check" CHECK ("alert_deliveries"."job_id" is null or "alert_deliveries"."receiver_kind" = 'agent')
);
--> statement-breakpoint
CREATE TABLE "alert_history" (
	"alert_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"move" "alert_move" NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"note" text,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"at" timestamp(6) with time zone NOT NULL,
	CONSTRAINT "alert_history_alert_id_seq_pk" PRIMARY KEY("alert_id","seq")
);
--> statement-breakpoint
CREATE TABLE "alert_silences" (
	"id" uuid PRIMARY KEY NOT NULL,
	"rule" text NOT NULL,
	"subject" text,
	"until" timestamp(6) with time zone NOT NULL,
	"reason" text NOT NULL,
	"created_by" text NOT NULL,
	"created_at" timestamp(6) with time zone NOT NULL,
	"lifted_at" timestamp(6) with time zone,
	"lifted_by" text,
	"lift_reason" text,
	CONSTRAINT "alert_silences_lifted_check" CHECK (num_nonnulls("alert_silences"."lifted_at", "alert_silences"."lifted_by", "alert_silences"."lift_reason") in (0, 3))
);
--> statement-breakpoint
CREATE TABLE "alert_watches" (
	"rule" text NOT NULL,
	"subject" text NOT NULL,
	"since" timestamp(6) with time zone NOT NULL,
	CONSTRAINT "alert_watches_rule_subject_pk" PRIMARY KEY("rule","subject")
);
--> statement-breakpoint
CREATE TABLE "alerts" (
	"id" uuid PRIMARY KEY NOT NULL,
	"rule" text NOT NULL,
	"figure" text NOT NULL,
	"subject" text NOT NULL,
	"level" "alert_level" NOT NULL,
	"status" "alert_status" DEFAULT 'open' NOT NULL,
	"value" double precision NOT NULL,
	"peak" double precision NOT NULL,
	"threshold" double precision NOT NULL,
	"since" timestamp(6) with time zone NOT NULL,
	"opened_at" timestamp(6) with time zone NOT NULL,
	"clear_since" timestamp(6) with time zone,
	"resolved_at" timestamp(6) with time zone,
	"resolved_as" text,
	"acknowledged_at" timestamp(6) with time zone,
	"acknowledged_by" text,
	"note" text,
	"tell_at" timestamp(6) with time zone,
	"told" integer DEFAULT 0 NOT NULL,
	"last_seq" integer DEFAULT 1 NOT NULL,
	CONSTRAINT "alerts_resolved_check" CHECK (("alerts"."status" = 'resolved') = ("alerts"."resolved_at" is not null) and ("alerts"."status" = 'resolved') = ("alerts"."resolved_as" is not null)),
	CONSTRAINT "alerts_acknowledged_check" CHECK (num_nonnulls("alerts"."acknowledged_at", "alerts"."acknowledged_by", "alerts"."note") in (0, 3)),
	CONSTRAINT "alerts_told_check" CHECK ("alerts"."told" >= 0 and "alerts"."peak" >= "alerts"."value"),
	CONSTRAINT "alerts_tell_check" CHECK ("alerts"."tell_at" is null or ("alerts"."status" = 'open' and "alerts"."acknowledged_at" is null))
);
--> statement-breakpoint
CREATE TABLE "metric_marks" (
	"source" text PRIMARY KEY NOT NULL,
	"xact" "xid8" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "metric_totals" (
	"name" text NOT NULL,
	"labels" jsonb NOT NULL,
	"bucket" text DEFAULT '' NOT NULL,
	"count" bigint NOT NULL,
	"sum" double precision DEFAULT 0 NOT NULL,
	CONSTRAINT "metric_totals_name_labels_bucket_pk" PRIMARY KEY("name","labels","bucket"),
	CONSTRAINT "metric_totals_count_check" CHECK ("metric_totals"."count" >= 0)
);
--> statement-breakpoint
ALTER TABLE "standing_order_run_transitions" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "alert_attempts" ADD CONSTRAINT "alert_attempts_delivery_id_alert_deliveries_id_fk" FOREIGN KEY ("delivery_id") REFERENCES "public"."alert_deliveries"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "alert_deliveries" ADD CONSTRAINT "alert_deliveries_alert_id_alerts_id_fk" FOREIGN KEY ("alert_id") REFERENCES "public"."alerts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "alert_deliveries" ADD CONSTRAINT "alert_deliveries_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "alert_history" ADD CONSTRAINT "alert_history_alert_id_alerts_id_fk" FOREIGN KEY ("alert_id") REFERENCES "public"."alerts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "alert_deliveries_once_idx" ON "alert_deliveries" USING btree ("alert_id","seq","receiver_kind","receiver") WHERE alert_id is not null;--> statement-breakpoint
CREATE INDEX "alert_deliveries_due_idx" ON "alert_deliveries" USING btree ("next_try_at") WHERE status = 'pending';--> statement-breakpoint
CREATE INDEX "alert_history_at_idx" ON "alert_history" USING btree ("at");--> statement-breakpoint
CREATE INDEX "alert_silences_until_idx" ON "alert_silences" USING btree ("rule","until");--> statement-breakpoint
CREATE UNIQUE INDEX "alerts_one_open_idx" ON "alerts" USING btree ("rule","subject") WHERE status = 'open';--> statement-breakpoint
CREATE INDEX "alerts_rule_idx" ON "alerts" USING btree ("rule","id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "jobs_queued_idx" ON "jobs" USING btree ("lane","target_agent","run_after") WHERE status = 'queued';--> statement-breakpoint
CREATE INDEX "standing_order_run_transitions_xact_idx" ON "standing_order_run_transitions" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);