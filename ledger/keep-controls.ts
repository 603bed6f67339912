import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import type { JobId } from '../contracts/ids.js'
import { change, expire, type ControlRow } from './controls.js'
import { ATTEMPT_WRITERS, OPEN_IN_SCOPE } from './control-queries.js'
import type { Db, Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import { isFound, whichHold } from './is-found.js'
import { observe } from './observe.js'
import { cancelJob } from './operate-job.js'
import { orderOfJob, pausedBy } from './paused-by.js'
import { lockJob } from './transition.js'

/** Jobs of one page: each page is a transaction, so that no lock is held for long. */
const PAGE = 500
const CANCEL_PAGE = 20
/** How often it is looked whether leases that were under way have committed, and how many times: they do so within milliseconds. */
const WRITERS_EVERY_MS = 10
const WRITERS_LOOKS = 25

export interface KeptControls {
  readonly expired: number
  readonly cancelled: number
  readonly drained: readonly string[]
  readonly woken: number
}

/** A control `c` that drains what nothing runs of any more. */
const DRAINED = sql`c.lifted_at is null and c.action = 'drain' and c.drained_at is null and not exists (select from ${OPEN_IN_SCOPE})`

/** The four pieces of work of {@link keepControls}, and when there are any. */
const WORK = {
  expired: sql`exists (select from controls where lifted_at is null and until_at <= clock_timestamp())`,
  cancel: sql`exists (select from controls c where c.lifted_at is null and c.running = 'cancel' and exists (select from ${OPEN_IN_SCOPE}))`,
  drain: sql`exists (select from controls c where ${DRAINED})`,
  parked: isFound(sql`jobs where status = 'queued' and held_by is not null order by held_by`),
}

/** Whether {@link keepControls} has anything to do. */
export const CONTROLS_DUE = sql`(${sql.join(Object.values(WORK), sql` or `)})`

/**
 * What controls ask for after they were set, and when they end: those whose time has come are put down as expired, what
 * still runs under one that cancels is cancelled, an agent that is drained is told, and jobs that no pause holds any more
 * are published again. Everything is found in the ledger, so any process may do it at any time, also after a crash.
 */
export async function keepControls(run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>, db: Db): Promise<KeptControls> {
  const work = await whichHold(db, WORK)
  const expired = work.has('expired') ? await run(expireDue) : 0
  let cancelled = 0
  if (work.has('cancel')) {
    const { rows } = await db.execute<{ id: number }>(sql`select id from controls where lifted_at is null and running = 'cancel'`)
    for (const { id } of rows) cancelled += await cancelRunning(run, Number(id))
  }
  const woken = work.has('parked') ? await wakeParked(run, db) : 0
  // The last, for it may wait.
  const drained = work.has('drain') ? await drain(run, db) : []
  return { expired, cancelled, drained, woken }
}

async function expireDue(tx: Tx): Promise<number> {
  const { rows } = await tx.execute(sql`select * from controls where lifted_at is null and until_at <= clock_timestamp() order by id for update skip locked`)
  for (const row of rows) await expire(tx, row as unknown as ControlRow)
  return rows.length
}

/**
 * Cancels what holds an attempt in the scope of a control, while that is in force. A lease that was under way when the
 * control was set is found by the next look. @returns how many
 */
export async function cancelRunning(run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>, controlId: number): Promise<number> {
  let total = 0
  for (;;) {
    const page = await run((tx) => cancelPage(tx, controlId))
    total += page.cancelled
    if (page.seen < CANCEL_PAGE) return total
  }
}

/** How many a control has cancelled since a change of it, whoever did it. */
export async function cancelledSince(db: Db, since: { readonly controlId: number; readonly seq: number }): Promise<number> {
  const { rows } = await db.execute<{ n: number }>(sql`
    select coalesce(sum(jsonb_array_length(details -> 'jobs')), 0)::int as n from control_changes
    where control_id = ${since.controlId} and seq > ${since.seq} and change = 'running_cancelled' and details ? 'jobs'`)
  return rows[0]?.n ?? 0
}

async function cancelPage(tx: Tx, controlId: number): Promise<{ seen: number; cancelled: number }> {
  const { rows: found } = await tx.execute(sql`
    select * from controls where id = ${controlId} and running = 'cancel' and lifted_at is null and (until_at is null or until_at > clock_timestamp()) for update`)
  const control = found[0] as unknown as ControlRow | undefined
  if (control === undefined) return { seen: 0, cancelled: 0 }
  const { rows } = await tx.execute<{ id: JobId }>(sql`
    select j.id from controls c cross join lateral (select j.id from ${OPEN_IN_SCOPE}) j where c.id = ${controlId} order by j.id limit ${CANCEL_PAGE}`)
  const actor: Actor = { kind: control.set_by_kind, id: control.set_by }
  const place = control.target === '' ? control.scope : `${control.scope} ${control.target}`
  const ids: string[] = []
  for (const { id } of rows) {
    const job = await lockJob(tx, id)
    // It has ended since.
    if (job.status !== 'leased' && job.status !== 'running') continue
    await cancelJob(tx, job, { actor, reason: `${place} was paused: ${control.reason}`, details: { control_id: Number(control.id) } })
    ids.push(id)
  }
  if (ids.length > 0) await change(tx, control, { kind: 'running_cancelled', reason: control.reason, actor, details: { jobs: ids } })
  return { seen: rows.length, cancelled: ids.length }
}

/**
 * A lease that looked for controls before the drain was there shows no attempt until it commits. Its transaction has held the
 * table of attempts since before that look: once all that hold it after the drain was seen have ended, the attempts that began
 * in spite of it can be seen, and no other can begin. What takes longer is left to the next look; until then `waits_for` of the control
 * tells of it, and the session that holds it up may be anybody's.
 * @returns the agents that are drained now
 */
async function drain(run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>, db: Db): Promise<string[]> {
  const { rows } = await db.execute<{ id: number }>(sql`select c.id from controls c where ${DRAINED}`)
  let writers = await attemptWriters(db)
  for (let looks = 0; writers.length > 0; looks += 1) {
    if (looks === WRITERS_LOOKS) return []
    await delay(WRITERS_EVERY_MS)
    const still = new Set(await attemptWriters(db))
    writers = writers.filter((writer) => still.has(writer))
  }
  const ids = rows.map(({ id }) => Number(id))
  return run((tx) => markDrained(tx, ids))
}

async function attemptWriters(db: Db): Promise<string[]> {
  const { rows } = await db.execute<{ writer: string }>(sql`select distinct writer from (${ATTEMPT_WRITERS}) w`)
  return rows.map(({ writer }) => writer)
}

async function markDrained(tx: Tx, ids: readonly number[]): Promise<string[]> {
  const { rows } = await tx.execute(sql`
    select * from controls c where c.id = any(${sql.param([...ids])}::bigint[]) and ${DRAINED} and (c.until_at is null or c.until_at > clock_timestamp())
    order by c.id for update of c skip locked`)
  for (const row of rows as unknown as ControlRow[]) {
    await change(tx, row, { kind: 'drained', reason: 'Nothing of it runs any more.', actor: SYSTEM_ACTOR, set: sql`drained_at = clock_timestamp()` })
    await observe(tx, {
      kind: 'operator_action',
      code: 'drained',
      actor: SYSTEM_ACTOR,
      agentId: row.target,
      detail: `Agent ${row.target} is drained.`,
      details: { control_id: Number(row.id) },
    })
    hintAfterCommit(tx, { fleet: true })
  }
  return (rows as unknown as ControlRow[]).map(({ target }) => target)
}

/**
 * Publishes again what was held by controls that are over, the most urgent first. What another control holds as well goes
 * over to that one. @returns how many were published
 */
async function wakeParked(run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>, db: Db): Promise<number> {
  let woken = 0
  for (const controlId of await controlsOver(db)) {
    for (;;) {
      const page = await run((tx) => wakePage(tx, controlId))
      woken += page.woken
      if (page.seen < PAGE) break
    }
  }
  return woken
}

/** The controls that hold jobs and are over. Steps from one to the next in the index, however many jobs each holds. */
async function controlsOver(db: Db): Promise<number[]> {
  const next = sql`(select min(held_by) from jobs where status = 'queued' and held_by is not null`
  const { rows } = await db.execute<{ id: number }>(sql`
    with recursive held as (
      select ${next}) as id
      union all
      select ${next} and held_by > held.id) from held where held.id is not null
    )
    select held.id from held left join controls c on c.id = held.id
    where held.id is not null and (c.id is null or c.lifted_at is not null or c.until_at <= clock_timestamp())`)
  return rows.map(({ id }) => Number(id))
}

async function wakePage(tx: Tx, controlId: number): Promise<{ seen: number; woken: number }> {
  const place = { lane: sql`j.lane::text`, agent: sql`j.target_agent`, gateway: sql`(select a.gateway_id from agents a where a.id = j.target_agent)` }
  const { rows } = await tx.execute<{ seen: number; woken: number }>(sql`
    with picked as (
      select j.id, ${pausedBy({ ...place, order: orderOfJob(sql`j.standing_order_run_id`) })} as still
      from jobs j where j.status = 'queued' and j.held_by = ${controlId}
      order by j.priority desc, j.run_after, j.id limit ${PAGE} for update of j skip locked
    ), passed_on as (
      update jobs set held_by = split_part(picked.still, ':', 2)::bigint, held_reason = split_part(picked.still, ':', 1) || '_paused'
      from picked where jobs.id = picked.id and picked.still is not null
    ), raised as (
      update jobs set generation = generation + 1, last_seq = last_seq + 1, updated_at = clock_timestamp(), held_by = null, held_reason = null
      from picked where jobs.id = picked.id and picked.still is null
      returning jobs.*
    ), logged as (
      insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, details)
      select id, last_seq, 'note', status, status, 'pause_ended', ${SYSTEM_ACTOR.kind}::actor_kind, ${SYSTEM_ACTOR.id}, jsonb_build_object('control_id', ${controlId}::bigint)
      from raised
    ), queued as (
      insert into outbox (kind, job_id, agent_id, generation)
      select 'publish', id, target_agent, generation from raised where target_agent is not null order by priority desc, run_after, id
    )
    select (select count(*)::int from picked) as seen, (select count(*)::int from raised) as woken`)
  const page = rows[0] ?? { seen: 0, woken: 0 }
  if (page.woken > 0) hintAfterCommit(tx, { outbox: true })
  return page
}
