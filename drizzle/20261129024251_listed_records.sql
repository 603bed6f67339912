CREATE TABLE "audit_checkpoint_records" (
	"checkpoint_seq" integer NOT NULL,
	"history" text NOT NULL,
	"part" integer NOT NULL,
	"restored_to" bigint,
	"ids" bigint[] NOT NULL,
	"hashes" "bytea" NOT NULL,
	CONSTRAINT "audit_checkpoint_records_checkpoint_seq_history_part_pk" PRIMARY KEY("checkpoint_seq","history","part"),
	CONSTRAINT "audit_checkpoint_records_lengths_check" CHECK (octet_length("audit_checkpoint_records"."hashes") = 32 * cardinality("audit_checkpoint_records"."ids") and "audit_checkpoint_records"."part" >= 0)
);
--> statement-breakpoint
ALTER TABLE "audit_checkpoints" DROP CONSTRAINT "audit_checkpoints_range_check";--> statement-breakpoint
ALTER TABLE "fleet_versions" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "fleet_versions_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "fleet_versions" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "control_changes" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "events" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "observations" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "standing_order_run_transitions" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "standing_order_run_transitions_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "standing_order_versions" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "standing_order_versions_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "standing_order_versions" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "finding_history" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "finding_history_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "finding_history" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "agent_state_changes" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "project_log" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "project_statuses" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "project_statuses_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "project_statuses" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "approval_transitions" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "approval_transitions_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "approval_transitions" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "workflow_transitions" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "workflow_transitions_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "workflow_transitions" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "workflows" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "workflows_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "workflows" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "accesses" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "audit_checkpoints" ADD COLUMN "records" integer;--> statement-breakpoint
ALTER TABLE "audit_checkpoints" ADD COLUMN "records_hash" "bytea";--> statement-breakpoint
ALTER TABLE "alert_attempts" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "alert_attempts_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "alert_attempts" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
ALTER TABLE "alert_history" ADD COLUMN "record_id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (sequence name "alert_history_record_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1);--> statement-breakpoint
ALTER TABLE "alert_history" ADD COLUMN "xact" "xid8" DEFAULT pg_current_xact_id() NOT NULL;--> statement-breakpoint
CREATE INDEX "audit_checkpoint_records_restored_idx" ON "audit_checkpoint_records" USING btree ("checkpoint_seq") WHERE restored_to is not null;--> statement-breakpoint
CREATE INDEX "fleet_versions_xact_idx" ON "fleet_versions" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "control_changes_xact_idx" ON "control_changes" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "events_xact_idx" ON "events" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "observations_xact_idx" ON "observations" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "standing_order_versions_xact_idx" ON "standing_order_versions" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "finding_history_xact_idx" ON "finding_history" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "agent_state_changes_xact_idx" ON "agent_state_changes" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "project_log_xact_idx" ON "project_log" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "project_statuses_xact_idx" ON "project_statuses" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "approval_transitions_xact_idx" ON "approval_transitions" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "workflow_transitions_xact_idx" ON "workflow_transitions" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "workflows_xact_idx" ON "workflows" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "accesses_xact_idx" ON "accesses" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "prunes_xact_idx" ON "prunes" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "alert_attempts_xact_idx" ON "alert_attempts" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
CREATE INDEX "alert_history_xact_idx" ON "alert_history" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);--> statement-breakpoint
ALTER TABLE "audit_checkpoints" ADD CONSTRAINT "audit_checkpoints_records_check" CHECK (("audit_checkpoints"."records" is null) = ("audit_checkpoints"."records_hash" is null) and ("audit_checkpoints"."records_hash" is null or octet_length("audit_checkpoints"."records_hash") = 32));--> statement-breakpoint
ALTER TABLE "audit_checkpoints" ADD CONSTRAINT "audit_checkpoints_range_check" CHECK ("audit_checkpoints"."seq" >= 1 and "audit_checkpoints"."rows" >= "audit_checkpoints"."jobs" and case when "audit_checkpoints"."restored_to" is null then "audit_checkpoints"."xact_from" < "audit_checkpoints"."xact_to" and "audit_checkpoints"."jobs" + coalesce("audit_checkpoints"."records", 0) >= 1
        else "audit_checkpoints"."xact_from" <= "audit_checkpoints"."xact_to" and "audit_checkpoints"."jobs" >= 0 and "audit_checkpoints"."restored_to" >= 0 end);