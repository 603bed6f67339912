import pg from 'pg'
import { LEGAL_MOVES } from '../../contracts/job-states.js'
import { NEWS } from './clients.js'

/** What the ledger says, for comparison with what its users say. Times are milliseconds since 1970. */
export interface LedgerFacts {
  readonly jobs: readonly { readonly id: string; readonly marker: string | null; readonly status: string; readonly resultAttempt: number | null; readonly slotId: string | null }[]
  readonly attempts: readonly {
    readonly id: string
    readonly jobId: string
    readonly no: number
    readonly agent: string
    readonly status: string
    readonly leasedMs: number
    readonly finishedMs: number | null
  }[]
  readonly events: readonly { readonly id: string; readonly marker: string | null; readonly topic: string }[]
  readonly workflowRuns: readonly { readonly id: string; readonly marker: string; readonly status: string }[]
  readonly slots: readonly { readonly id: string; readonly atMs: number; readonly status: string; readonly cause: string | null }[]
  /** Every slot of the standing order that was due in this time has to be there. */
  readonly slotsWanted: { readonly everyMs: number; readonly fromMs: number; readonly untilMs: number }
  /** Checks of the books against themselves. */
  readonly books: readonly { readonly name: string; readonly checked: number; readonly counterexample: string | undefined }[]
}

/** What has to come to an end before the facts are read; empty when all is quiet. */
export async function unsettled(db: pg.Pool): Promise<string[]> {
  const { rows } = await db.query<{ what: string }>(`
    select 'job ' || id || ' (' || subject || ') is ' || status || coalesce(': ' || last_error, '') as what from jobs where finished_at is null
    union all select 'attempt ' || id || ' is ' || status from job_attempts where finished_at is null
    union all select 'workflow run ' || id || ' is ' || status from workflow_runs where finished_at is null
    union all select 'slot of ' || slot_at || ' is ' || status from standing_order_runs where finished_at is null and slot_at <= now()
    union all select 'the outbox holds ' || count(*) || ' rows' from outbox having count(*) > 0`)
  return rows.map(({ what }) => what)
}

export async function readFacts(db: pg.Pool, slotsWanted: LedgerFacts['slotsWanted']): Promise<LedgerFacts> {
  const jobs = await db.query<LedgerFacts['jobs'][number]>(`
    select id, payload ->> 'marker' as marker, status::text, (result ->> 'attempt')::int as "resultAttempt", standing_order_run_id as "slotId" from jobs`)
  const attempts = await db.query<LedgerFacts['attempts'][number]>(`
    select id, job_id as "jobId", attempt_no as no, agent_id as agent, status::text, extract(epoch from leased_at)::float8 * 1000 as "leasedMs",
      extract(epoch from finished_at)::float8 * 1000 as "finishedMs"
    from job_attempts`)
  const events = await db.query<LedgerFacts['events'][number]>(
    `select id::text, payload ->> 'marker' as marker, topic from events where topic like 'chaos.%' and payload ? 'marker'`,
  )
  const runs = await db.query<LedgerFacts['workflowRuns'][number]>(`select id, correlation_key as marker, status::text from workflow_runs`)
  const slots = await db.query<LedgerFacts['slots'][number]>(`
    select id, extract(epoch from slot_at)::float8 * 1000 as "atMs", status::text, cause from standing_order_runs`)
  return {
    jobs: jobs.rows,
    attempts: attempts.rows,
    events: events.rows,
    workflowRuns: runs.rows,
    slots: slots.rows,
    slotsWanted,
    books: await Promise.all(BOOKS.map(async ({ name, over, fault }) => checkBook(db, name, over, fault))),
  }
}

async function checkBook(db: pg.Pool, name: string, over: string, fault: string): Promise<LedgerFacts['books'][number]> {
  const { rows: counted } = await db.query<{ n: string }>(`select count(*) as n from ${over}`)
  const { rows } = await db.query<Record<string, unknown>>(`${fault} limit 1`)
  return { name, checked: Number(counted[0]?.n ?? 0), counterexample: rows[0] === undefined ? undefined : JSON.stringify(rows[0]) }
}

const LEGAL = Object.entries(LEGAL_MOVES)
  .flatMap(([from, tos]) => tos.map((to) => `('${from}', '${to}')`))
  .join(', ')

/** Each statement selects what must not be there. */
const BOOKS = [
  {
    name: 'history is gapless',
    over: 'jobs',
    fault: `select j.id, j.last_seq, count(t.seq), min(t.seq), max(t.seq) from jobs j left join job_transitions t on t.job_id = j.id
      group by j.id having count(t.seq) <> j.last_seq or min(t.seq) is distinct from 1 or max(t.seq) is distinct from j.last_seq`,
  },
  {
    name: 'state equals the last transition',
    over: 'jobs',
    fault: `select j.id, j.status, t.to_status from jobs j join job_transitions t on t.job_id = j.id and t.seq = j.last_seq where t.to_status <> j.status`,
  },
  {
    name: 'every move is legal and starts where the one before ended',
    over: 'job_transitions',
    fault: `select * from (
        select job_id, seq, kind, from_status, to_status, lag(to_status) over w as before, prev_hash, lag(hash) over w as before_hash
        from job_transitions window w as (partition by job_id order by seq)) t
      where seq > 1 and (from_status is distinct from before or prev_hash is distinct from before_hash
        or (kind = 'move' and (from_status::text, to_status::text) not in (${LEGAL})))`,
  },
  {
    name: 'no two attempts of a job at the same time',
    over: 'job_attempts',
    fault: `select * from (
        select job_id, attempt_no, leased_at, lag(coalesce(finished_at, 'infinity')) over (partition by job_id order by attempt_no) as before_ended from job_attempts) a
      where leased_at < before_ended`,
  },
  {
    name: 'no agent has more runs open than it may',
    over: 'job_attempts',
    fault: `select a.id, g.concurrency, count(*) from job_attempts a join agents g on g.id = a.agent_id
      join job_attempts o on o.agent_id = a.agent_id and o.leased_at <= a.leased_at and coalesce(o.finished_at, 'infinity') > a.leased_at
      group by a.id, g.concurrency having count(*) > g.concurrency`,
  },
  {
    name: 'a job has one success, and only when it has succeeded',
    over: 'jobs',
    fault: `select j.id, j.status, count(a.id) from jobs j left join job_attempts a on a.job_id = j.id and a.status = 'succeeded'
      group by j.id having count(a.id) <> case when j.status = 'succeeded' then 1 else 0 end`,
  },
  {
    name: 'every event of interest was reacted to once',
    over: `events where topic = '${NEWS}'`,
    fault: `select e.id, count(r.event_id) from events e left join reactions r on r.event_id = e.id and r.status = 'made'
      where e.topic = '${NEWS}' group by e.id having count(r.event_id) <> 1`,
  },
] as const
