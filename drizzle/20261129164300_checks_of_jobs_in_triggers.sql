ALTER TABLE "jobs" DROP CONSTRAINT "jobs_priority_check";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_attempts_check";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_generation_check";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_terminal_iff_finished";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_leased_iff_attempt";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_blocked_iff_reason";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_blocked_waits";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_agent_or_capabilities";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_hops_check";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_buried_when_over";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_not_own_parent";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_pruned_when_over";--> statement-breakpoint
ALTER TABLE "job_transitions" DROP CONSTRAINT "job_transitions_first_is_created";--> statement-breakpoint
ALTER TABLE "job_transitions" DROP CONSTRAINT "job_transitions_legal_move";