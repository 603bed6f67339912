CREATE TABLE "audit_checkpoint_jobs" (
	"checkpoint_seq" integer NOT NULL,
	"job_id" uuid NOT NULL,
	"first_seq" integer NOT NULL,
	"last_seq" integer NOT NULL,
	"last_hash" "bytea" NOT NULL,
	CONSTRAINT "audit_checkpoint_jobs_checkpoint_seq_job_id_pk" PRIMARY KEY("checkpoint_seq","job_id"),
	CONSTRAINT "audit_checkpoint_jobs_seq_check" CHECK ("audit_checkpoint_jobs"."first_seq" between 1 and "audit_checkpoint_jobs"."last_seq")
);
--> statement-breakpoint
CREATE TABLE "audit_checkpoints" (
	"seq" integer PRIMARY KEY NOT NULL,
	"xact_from" "xid8" NOT NULL,
	"xact_to" "xid8" NOT NULL,
	"rows" integer NOT NULL,
	"jobs" integer NOT NULL,
	"first_id" bigint NOT NULL,
	"last_id" bigint NOT NULL,
	"root" "bytea" NOT NULL,
	"jobs_hash" "bytea" NOT NULL,
	"key_id" text,
	"created_at" timestamp(6) with time zone NOT NULL,
	"prev_hash" "bytea" NOT NULL,
	"hash" "bytea" NOT NULL,
	"signature" "bytea",
	CONSTRAINT "audit_checkpoints_range_check" CHECK ("audit_checkpoints"."seq" >= 1 and "audit_checkpoints"."xact_from" < "audit_checkpoints"."xact_to" and "audit_checkpoints"."rows" >= "audit_checkpoints"."jobs" and "audit_checkpoints"."jobs" >= 1),
	CONSTRAINT "audit_checkpoints_lengths_check" CHECK (octet_length("audit_checkpoints"."root") = 32 and octet_length("audit_checkpoints"."jobs_hash") = 32 and octet_length("audit_checkpoints"."hash") = 32),
	CONSTRAINT "audit_checkpoints_signed_check" CHECK (("audit_checkpoints"."key_id" is null) = ("audit_checkpoints"."signature" is null))
);
--> statement-breakpoint
ALTER TABLE "audit_checkpoint_jobs" ADD CONSTRAINT "audit_checkpoint_jobs_checkpoint_seq_audit_checkpoints_seq_fk" FOREIGN KEY ("checkpoint_seq") REFERENCES "public"."audit_checkpoints"("seq") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "job_transitions_xact_idx" ON "job_transitions" USING brin (((xact::text)::bigint)) WITH (pages_per_range=32,autosummarize=true);