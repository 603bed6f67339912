CREATE TYPE "public"."session_mode" AS ENUM('isolated', 'main');--> statement-breakpoint
CREATE TYPE "public"."slot_status" AS ENUM('expected', 'started', 'no_work', 'completed', 'blocked', 'failed', 'skipped', 'missed');--> statement-breakpoint
CREATE TABLE "presence" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "presence_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"component" text NOT NULL,
	"seen_from" timestamp(6) with time zone NOT NULL,
	"seen_until" timestamp(6) with time zone NOT NULL,
	CONSTRAINT "presence_order_check" CHECK ("presence"."seen_until" >= "presence"."seen_from")
);
--> statement-breakpoint
CREATE TABLE "standing_order_run_transitions" (
	"run_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"from_status" "slot_status" NOT NULL,
	"to_status" "slot_status" NOT NULL,
	"cause" text,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "standing_order_run_transitions_run_id_seq_pk" PRIMARY KEY("run_id","seq")
);
--> statement-breakpoint
CREATE TABLE "standing_order_runs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"order_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"agent_id" text NOT NULL,
	"slot_at" timestamp(6) with time zone NOT NULL,
	"grace_until" timestamp(6) with time zone NOT NULL,
	"look_at" timestamp(6) with time zone NOT NULL,
	"status" "slot_status" DEFAULT 'expected' NOT NULL,
	"cause" text,
	"trigger" text,
	"unstated" boolean DEFAULT false NOT NULL,
	"claimed" "slot_status",
	"summary" text,
	"evidence" jsonb,
	"details" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"last_seq" integer DEFAULT 0 NOT NULL,
	"started_at" timestamp(6) with time zone,
	"finished_at" timestamp(6) with time zone,
	"created_at" timestamp(6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "standing_order_runs_grace_check" CHECK ("standing_order_runs"."grace_until" > "standing_order_runs"."slot_at"),
	CONSTRAINT "standing_order_runs_cause_check" CHECK (("standing_order_runs"."status" in ('skipped', 'missed')) = ("standing_order_runs"."cause" is not null)),
	CONSTRAINT "standing_order_runs_started_check" CHECK (("standing_order_runs"."status" in ('expected', 'skipped', 'missed')) = ("standing_order_runs"."started_at" is null)),
	CONSTRAINT "standing_order_runs_trigger_check" CHECK (("standing_order_runs"."started_at" is null) = ("standing_order_runs"."trigger" is null) and coalesce("standing_order_runs"."trigger" in ('tick', 'keeper', 'catch_up'), true)),
	CONSTRAINT "standing_order_runs_finished_check" CHECK (("standing_order_runs"."status" in ('expected', 'started')) = ("standing_order_runs"."finished_at" is null)),
	CONSTRAINT "standing_order_runs_unstated_check" CHECK (not "standing_order_runs"."unstated" or "standing_order_runs"."status" = 'completed'),
	CONSTRAINT "standing_order_runs_claimed_check" CHECK (coalesce("standing_order_runs"."claimed" in ('no_work', 'completed', 'blocked', 'failed'), true))
);
--> statement-breakpoint
CREATE TABLE "standing_order_versions" (
	"order_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"definition" jsonb NOT NULL,
	"enabled" boolean NOT NULL,
	"in_force_from" timestamp(6) with time zone NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	CONSTRAINT "standing_order_versions_order_id_version_pk" PRIMARY KEY("order_id","version")
);
--> statement-breakpoint
CREATE TABLE "standing_orders" (
	"id" uuid PRIMARY KEY NOT NULL,
	"namespace" text DEFAULT 'default' NOT NULL,
	"agent_id" text NOT NULL,
	"name" text NOT NULL,
	"version" integer NOT NULL,
	"definition" jsonb NOT NULL,
	"enabled" boolean NOT NULL,
	"in_force_from" timestamp(6) with time zone NOT NULL,
	"planned_until" timestamp(6) with time zone NOT NULL,
	"plan_at" timestamp(6) with time zone NOT NULL,
	CONSTRAINT "standing_orders_name_check" CHECK ("standing_orders"."name" ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
	CONSTRAINT "standing_orders_version_check" CHECK ("standing_orders"."version" >= 1)
);
--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "standing_order_run_id" uuid;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "session_mode" "session_mode" DEFAULT 'isolated' NOT NULL;--> statement-breakpoint
ALTER TABLE "standing_order_run_transitions" ADD CONSTRAINT "standing_order_run_transitions_run_id_standing_order_runs_id_fk" FOREIGN KEY ("run_id") REFERENCES "public"."standing_order_runs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "standing_order_runs" ADD CONSTRAINT "standing_order_runs_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "standing_order_runs" ADD CONSTRAINT "standing_order_runs_order_id_version_standing_order_versions_order_id_version_fk" FOREIGN KEY ("order_id","version") REFERENCES "public"."standing_order_versions"("order_id","version") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "standing_order_versions" ADD CONSTRAINT "standing_order_versions_order_id_standing_orders_id_fk" FOREIGN KEY ("order_id") REFERENCES "public"."standing_orders"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "standing_orders" ADD CONSTRAINT "standing_orders_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "presence_component_idx" ON "presence" USING btree ("component","seen_until" DESC NULLS LAST);--> statement-breakpoint
CREATE UNIQUE INDEX "standing_order_runs_slot_idx" ON "standing_order_runs" USING btree ("order_id","slot_at");--> statement-breakpoint
CREATE INDEX "standing_order_runs_look_idx" ON "standing_order_runs" USING btree ("look_at") WHERE status = 'expected';--> statement-breakpoint
CREATE INDEX "standing_order_runs_open_idx" ON "standing_order_runs" USING btree ("order_id") WHERE status = 'started';--> statement-breakpoint
CREATE INDEX "standing_order_runs_slot_at_idx" ON "standing_order_runs" USING btree ("slot_at");--> statement-breakpoint
CREATE UNIQUE INDEX "standing_orders_name_idx" ON "standing_orders" USING btree ("namespace","agent_id","name");--> statement-breakpoint
CREATE INDEX "standing_orders_plan_idx" ON "standing_orders" USING btree ("plan_at") WHERE enabled;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_standing_order_run_id_standing_order_runs_id_fk" FOREIGN KEY ("standing_order_run_id") REFERENCES "public"."standing_order_runs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_standing_order_run_idx" ON "jobs" USING btree ("standing_order_run_id") WHERE standing_order_run_id is not null;