ALTER TYPE "public"."control_scope" ADD VALUE 'order';--> statement-breakpoint
ALTER TYPE "public"."control_scope" ADD VALUE 'promotions';--> statement-breakpoint
ALTER TYPE "public"."control_scope" ADD VALUE 'conversions';--> statement-breakpoint
ALTER TYPE "public"."transition_reason" ADD VALUE 'pause_ended' BEFORE 'late_answer_refused';--> statement-breakpoint
CREATE TABLE "control_changes" (
	"control_id" bigint NOT NULL,
	"seq" integer NOT NULL,
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "control_changes_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"change" text NOT NULL,
	"reason" text NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "control_changes_control_id_seq_pk" PRIMARY KEY("control_id","seq"),
	CONSTRAINT "control_changes_change_check" CHECK ("control_changes"."change" in ('set', 'running_cancelled', 'drained', 'resumed', 'expired', 'replaced') and ("control_changes"."change" = 'set') = ("control_changes"."seq" = 1))
);
--> statement-breakpoint
CREATE TABLE "rate_buckets" (
	"caller" text NOT NULL,
	"limit_name" text NOT NULL,
	"tokens" double precision NOT NULL,
	"filled_at" timestamp(6) with time zone NOT NULL,
	CONSTRAINT "rate_buckets_caller_limit_name_pk" PRIMARY KEY("caller","limit_name")
);
--> statement-breakpoint
ALTER TABLE "controls" DROP CONSTRAINT "controls_target_check";--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "action" text DEFAULT 'pause' NOT NULL;--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "until_at" timestamp(6) with time zone;--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "running" text DEFAULT 'leave' NOT NULL;--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "drained_at" timestamp(6) with time zone;--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "lifted_by_kind" "actor_kind";--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "lifted_because" text;--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "lift_reason" text;--> statement-breakpoint
ALTER TABLE "controls" ADD COLUMN "last_seq" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "held_by" bigint;--> statement-breakpoint
ALTER TABLE "reactions" ADD COLUMN "not_before" timestamp(6) with time zone;--> statement-breakpoint
ALTER TABLE "control_changes" ADD CONSTRAINT "control_changes_control_id_controls_id_fk" FOREIGN KEY ("control_id") REFERENCES "public"."controls"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "control_changes_id_idx" ON "control_changes" USING btree ("id");--> statement-breakpoint
CREATE INDEX "rate_buckets_filled_idx" ON "rate_buckets" USING btree ("filled_at");--> statement-breakpoint
CREATE INDEX "jobs_open_lane_idx" ON "jobs" USING btree ("lane","status") WHERE finished_at is null;--> statement-breakpoint
CREATE INDEX "jobs_open_source_idx" ON "jobs" USING btree ("source_agent") WHERE finished_at is null and source_agent is not null;--> statement-breakpoint
CREATE INDEX "jobs_parked_idx" ON "jobs" USING btree ("held_by","priority" DESC NULLS LAST,"run_after","id") WHERE status = 'queued' and held_by is not null;--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_action_check" CHECK ("controls"."action" in ('pause', 'drain', 'freeze') and ("controls"."action" <> 'drain' or "controls"."scope"::text = 'agent'));--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_freeze_check" CHECK (("controls"."action" = 'freeze') = ("controls"."scope"::text in ('promotions', 'conversions')));--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_running_check" CHECK ("controls"."running" in ('leave', 'cancel') and ("controls"."running" = 'leave' or "controls"."action" = 'pause'));--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_until_check" CHECK ("controls"."until_at" is null or "controls"."until_at" > "controls"."set_at");--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_drained_check" CHECK ("controls"."drained_at" is null or "controls"."action" = 'drain');--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_lifted_because_check" CHECK ("controls"."lifted_because" is null or ("controls"."lifted_because" in ('resumed', 'expired', 'replaced') and "controls"."lifted_at" is not null));--> statement-breakpoint
ALTER TABLE "controls" ADD CONSTRAINT "controls_target_check" CHECK (("controls"."scope"::text in ('everything', 'promotions', 'conversions')) = ("controls"."target" = ''));