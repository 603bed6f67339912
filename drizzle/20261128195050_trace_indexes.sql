CREATE INDEX "project_log_agent_idx" ON "project_log" USING btree ("agent_id","at") WHERE agent_id is not null;--> statement-breakpoint
CREATE INDEX "approval_transitions_actor_idx" ON "approval_transitions" USING btree ("actor","at");--> statement-breakpoint
CREATE INDEX "approvals_workflow_run_idx" ON "approvals" USING btree ("workflow_run_id") WHERE workflow_run_id is not null;