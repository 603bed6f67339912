-- What was read stays read.

create trigger accesses_append_only before update or delete on accesses for each row execute function refuse_change();
--> statement-breakpoint
create trigger accesses_no_truncate before truncate on accesses for each statement execute function refuse_change();
