import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../contracts/actor.js'
import type { BusTopic } from '../contracts/bus-topics.js'
import type { AgentView } from '../contracts/fleet.js'
import { AGENT_STATE, OPEN_WORK } from './agent-state.js'
import type { Db, Tx } from './database.js'
import { emitEvent } from './emit-event.js'

/** Changes that one look takes down; the next look finds what is left. So a busy fleet does not drown in its own states. */
const PER_LOOK = 100

/** What matters most is told first. */
const WEIGHT: Readonly<Record<AgentView['state'], number>> = { offline: 0, disabled: 1, blocked: 2, working: 3, idle: 4, assigned: 5 }

export interface Change {
  readonly agent: string
  readonly from: AgentView['state'] | undefined
  readonly to: AgentView['state']
}

/**
 * Takes down what each agent does (by probes, leases and open work) where that is not what was taken down last. Each change is a row
 * and an event `agents.<state>`. What comes and goes between two looks is not seen. `seen` is what {@link changedAgents} has found
 * before; under their locks it is found anew. @returns the changes
 */
export async function watchAgents(tx: Tx, request: { readonly seen: readonly Change[]; readonly nowMs: number }): Promise<readonly Change[]> {
  // Whoever else has seen the same is waited for, and then finds it taken down.
  await tx.execute(sql`select from agent_states where agent_id = any(${sql.param(request.seen.map(({ agent }) => agent))}::text[]) order by agent_id for no key update`)
  const changes = [...(await changedAgents(tx))].sort((a, b) => Math.min(weight(a.from), weight(a.to)) - Math.min(weight(b.from), weight(b.to))).slice(0, PER_LOOK)
  if (changes.length === 0) return changes
  await write(tx, changes)
  for (const { agent, from, to } of changes) {
    // A first look at an agent is no change.
    if (from === undefined) continue
    await emitEvent(tx, { namespace: 'default', topic: `agents.${to}` satisfies BusTopic, payload: { agent, from, to } }, { actor: SYSTEM_ACTOR, nowMs: request.nowMs })
  }
  return changes
}

/** The agents whose state is not what was last taken down; most often there are none, however many agents there are. */
export async function changedAgents(db: Db | Tx): Promise<readonly Change[]> {
  const { rows } = await db.execute<{ id: string; known: AgentView['state'] | null; state: AgentView['state'] }>(sql`
    select * from (
      select a.id, s.state as known, ${AGENT_STATE} as state
      from agents a join gateways g on g.id = a.gateway_id
      left join agent_states s on s.agent_id = a.id
      left join ${OPEN_WORK} j on j.target_agent = a.id
    ) seen where state is distinct from known order by id`)
  return rows.map(({ id, known, state }) => ({ agent: id, from: known ?? undefined, to: state }))
}

function weight(state: AgentView['state'] | undefined): number {
  return state === undefined ? 6 : WEIGHT[state]
}

async function write(tx: Tx, changes: readonly Change[]): Promise<void> {
  const list = JSON.stringify(changes.map(({ agent, from, to }) => ({ agent_id: agent, from_state: from ?? null, to_state: to })))
  await tx.execute(sql`
    with seen as (
      select * from jsonb_to_recordset(${list}::jsonb) as w (agent_id text, from_state agent_state, to_state agent_state)
    ), logged as (
      insert into agent_state_changes (agent_id, from_state, to_state) select agent_id, from_state, to_state from seen order by agent_id
    )
    insert into agent_states (agent_id, state, since) select agent_id, to_state, clock_timestamp() from seen
    on conflict (agent_id) do update set state = excluded.state, since = excluded.since`)
}
