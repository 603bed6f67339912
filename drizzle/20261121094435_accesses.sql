CREATE TABLE "accesses" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "accesses_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"at" timestamp(6) with time zone NOT NULL,
	"actor_kind" "actor_kind" NOT NULL,
	"actor" text NOT NULL,
	"agent_id" text,
	"attempt_id" uuid,
	"job_id" uuid,
	"route" text NOT NULL,
	"target" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"status" integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX "accesses_agent_idx" ON "accesses" USING btree ("agent_id","at") WHERE agent_id is not null;--> statement-breakpoint
CREATE INDEX "accesses_job_idx" ON "accesses" USING btree ("job_id","at") WHERE job_id is not null;--> statement-breakpoint
CREATE INDEX "accesses_at_idx" ON "accesses" USING btree ("at");--> statement-breakpoint
CREATE INDEX "events_source_agent_idx" ON "events" USING btree ("source_agent","created_at") WHERE source_agent is not null;