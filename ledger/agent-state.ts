import { sql } from 'drizzle-orm'

/** Open work by agent and state, as `j`: joined to agents `a` on `j.target_agent = a.id`. */
export const OPEN_WORK = sql`(
  select target_agent, count(*) filter (where status = 'queued') as queued, count(*) filter (where status = 'leased') as leased,
    count(*) filter (where status = 'running') as running, count(*) filter (where status = 'blocked') as blocked
  from jobs where finished_at is null group by target_agent
)`

/** What an agent does now, of agents `a`, their gateways `g` and {@link OPEN_WORK} `j`. In SQL, so that who asks for changes gets only those. */
export const AGENT_STATE = sql`(case
  when not a.enabled then 'disabled'
  when g.breaker = 'open' then 'offline'
  when j.running > 0 then 'working'
  when j.leased > 0 then 'assigned'
  when j.blocked > 0 and j.queued = 0 then 'blocked'
  else 'idle' end)::agent_state`
