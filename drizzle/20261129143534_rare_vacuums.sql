-- After each VACUUM and ANALYZE of a table every session plans the statements that name it anew, some dozens of them in a busy process. By
-- PostgreSQL's defaults a young and busy table goes through that every minute, and jobs of that moment wait for a tenth of a second. So it
-- begins when there is something to gain; for a large table the shares of its size, which stay as they are, say when.
ALTER TABLE jobs SET (autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_insert_threshold = 20000);--> statement-breakpoint
ALTER TABLE job_attempts SET (autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_insert_threshold = 20000);--> statement-breakpoint
ALTER TABLE job_transitions SET (autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_insert_threshold = 20000);--> statement-breakpoint
ALTER TABLE prompts SET (autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_insert_threshold = 20000);--> statement-breakpoint
ALTER TABLE outbox SET (autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_insert_threshold = 20000);
