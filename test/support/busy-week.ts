import type pg from 'pg'
import { SetControlBody } from '../../contracts/controls.js'
import { uuidv7 } from '../../contracts/ids.js'
import type { Ledger } from '../../ledger/ledger.js'
import { anIdea, anOpportunity } from './thoughts.js'
import { alertRules } from './alerts.js'
import { aJob, OPERATOR } from './ledger.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const AGENTS = [
  ['coordinator', 'plans and assigns', 'gw-main'],
  ['devops', 'keeps the servers', 'gw-main'],
  ['security', 'looks for intruders', 'gw-main'],
  ['research', 'reads the web', 'gw-lab'],
  ['coder', 'writes patches', 'gw-lab'],
  ['reviewer', 'reads patches', 'gw-lab'],
  ['writer', 'drafts and publishes', 'gw-main'],
  ['finance', 'books and bills', 'gw-office'],
  ['support', 'answers people', 'gw-office'],
  ['archivist', 'keeps the memory', 'gw-office'],
  ['calendar', 'knows the dates', 'gw-office'],
  ['night-watch', null, 'gw-edge'],
] as const
const LANES = ['reactive', 'reactive', 'reactive', 'scheduled', 'scheduled', 'proactive', 'memory', 'coding', 'idle'] as const
const WORK = [
  'Look at the disks of %',
  'Answer ticket %',
  'Review patch %',
  'Summarise thread %',
  'Rotate the keys of %',
  'Book invoice %',
  'Check the backup of %',
  'Draft the note on %',
  'Index notes of %',
] as const
const THINGS = ['db-1', 'web-3', 'the newsletter', 'customer 4711', 'build 982', 'Q3', 'mail-2', 'the audit', 'release 2.4'] as const
const HANDS: readonly (readonly [string, string])[] = [
  ['coordinator', 'devops'],
  ['coordinator', 'coder'],
  ['coordinator', 'research'],
  ['coder', 'reviewer'],
  ['reviewer', 'coder'],
  ['security', 'devops'],
  ['research', 'writer'],
  ['support', 'finance'],
  ['support', 'coordinator'],
  ['writer', 'archivist'],
]
const FAULTS = [
  ['refused_by_gateway', 'Agent answered 404 for session 8842'],
  ['deadline_exceeded', 'No close within 600 s, run 17 was given up'],
  ['failed_by_agent', 'Cannot reach "db-1.internal": connection refused on port 5432'],
] as const

/** Numbers that look random and are the same each time. */
function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Row = Record<string, unknown>

/**
 * A week of a fleet of twelve agents, ending now: finished work, work under way, hand-offs, dead letters of three causes,
 * standing orders with every outcome, events. The same at each call but for the time. Every job has the history that leads
 * to its state, with its chain.
 */
export async function busyWeek(pool: pg.Pool, nowMs: number, { jobs: count = 1_500 }: { readonly jobs?: number } = {}): Promise<void> {
  const random = dice(7)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const at = (ms: number): string => new Date(ms).toISOString()
  const rows: Record<'jobs' | 'attempts' | 'prompts' | 'moves' | 'orders' | 'versions' | 'slots' | 'slotMoves' | 'events', Row[]> = {
    jobs: [],
    attempts: [],
    prompts: [],
    moves: [],
    orders: [],
    versions: [],
    slots: [],
    slotMoves: [],
    events: [],
  }
  const slotOf = new Map<string, number>()

  const addJob = (end: 'succeeded' | 'failed' | 'dead' | 'cancelled' | 'queued' | 'running', createdMs: number, more: Row = {}): string => {
    const id = uuidv7(Math.floor(createdMs))
    const handed = random() < 0.45 ? pick(HANDS) : undefined
    const agent = String(more['target_agent'] ?? handed?.[1] ?? pick(AGENTS)[0])
    const gateway = AGENTS.find(([name]) => name === agent)?.[2] ?? 'gw-main'
    const tries = end === 'dead' ? 3 : end === 'succeeded' && random() < 0.08 ? 2 : 1
    // Some wait long, and whatever is over was over before now.
    const room = (nowMs - createdMs) / (tries * 3)
    const waitMs = Math.min(200 + random() ** 3 * (random() < 0.3 ? 9_000_000 : 90_000), room)
    const runMs = Math.min(2_000 + random() ** 2 * 240_000, room)
    const fault = pick(FAULTS)
    let seq = 0
    let whenMs = createdMs
    let status: string | null = null
    const move = (to: string, reason: string, ms: number, attempt: string | null, actor: readonly [string, string], note: string | null = null): void => {
      seq += 1
      whenMs = Math.max(whenMs, ms)
      rows.moves.push({
        job_id: id,
        seq,
        kind: 'move',
        from_status: status,
        to_status: to,
        reason,
        note,
        attempt_id: attempt,
        actor_kind: actor[0],
        actor: actor[1],
        details: {},
        at: at(whenMs),
      })
      status = to
    }
    move('queued', 'created', createdMs, null, handed === undefined ? ['operator', 'anna'] : ['agent', handed[0]])
    let held: string | null = null
    let attempts = 0
    if (end !== 'queued' && end !== 'cancelled') {
      for (attempts = 1; attempts <= tries; attempts += 1) {
        const attempt = uuidv7(Math.floor(whenMs + waitMs))
        const leasedMs = whenMs + waitMs
        move('leased', 'leased', leasedMs, attempt, ['worker', 'worker-1'])
        move('running', 'admitted', leasedMs + 400, attempt, ['worker', 'worker-1'])
        const isLast = attempts === tries
        const isOpen = isLast && end === 'running'
        const endMs = leasedMs + 400 + runMs
        const ended = isOpen ? 'running' : isLast ? (end === 'dead' ? 'timed_out' : end) : 'failed'
        const prompt = `You are agent ${agent}.\nJob ${id}, attempt ${attempts}.\n\nDo the work and close it with the token [cut].`
        rows.prompts.push({ hash: attempt.replaceAll('-', '').repeat(2), body: prompt, bytes: prompt.length })
        const slot = isOpen ? (slotOf.get(agent) ?? 0) + 1 : 1
        if (isOpen) slotOf.set(agent, slot)
        rows.attempts.push({
          id: attempt,
          job_id: id,
          attempt_no: attempts,
          agent_id: agent,
          gateway_id: gateway,
          status: ended,
          slot,
          lease_owner: 'worker-1',
          leased_at: at(leasedMs),
          leased_until: at(isOpen ? nowMs + DAY : leasedMs + 600_000),
          deadline_at: at(isOpen ? nowMs + DAY : leasedMs + 900_000),
          admitted_at: at(leasedMs + 400),
          finished_at: isOpen ? null : at(endMs),
          outcome_code: isOpen ? null : ended === 'succeeded' ? 'completed_by_agent' : fault[0],
          error: isOpen || ended === 'succeeded' ? null : fault[1],
          summary: ended === 'succeeded' ? 'Done. Everything is as it should be.' : null,
          prompt_hash: attempt.replaceAll('-', '').repeat(2),
          contract_version: 'test',
          payload_hash: '',
          hook_status: 200,
          openclaw_task_ref: `run-${attempts}`,
          openclaw_meta: {},
        })
        if (isOpen) held = attempt
        else if (!isLast) move('queued', 'retry_asked_by_agent', endMs, attempt, ['attempt', agent])
        else if (end === 'succeeded') move('succeeded', 'completed_by_agent', endMs, attempt, ['attempt', agent])
        else if (end === 'failed') move('failed', 'failed_by_agent', endMs, attempt, ['attempt', agent], fault[1])
        else move('dead', 'attempts_exhausted', endMs, attempt, ['worker', 'worker-1'], fault[1])
      }
      attempts -= 1
    }
    if (end === 'cancelled') move('cancelled', 'cancelled', createdMs + waitMs, null, ['operator', 'anna'], 'not needed any more')
    const isOver = end !== 'queued' && end !== 'running'
    const thing = pick(THINGS)
    rows.jobs.push({
      id,
      namespace: 'default',
      correlation_key: random() < 0.5 ? `case-${Math.floor(random() * 200)}` : null,
      source_agent: handed?.[0] ?? null,
      target_agent: agent,
      job_type: 'reactive',
      subject: pick(WORK).replace('%', thing),
      lane: pick(LANES),
      priority: 100,
      payload: { about: thing, urgency: Math.floor(random() * 5) },
      payload_hash: '',
      state: {},
      result: end === 'succeeded' ? { ok: true, looked_at: Math.floor(random() * 40) } : null,
      summary: end === 'succeeded' ? 'Done. Everything is as it should be.' : null,
      status: end,
      last_seq: seq,
      generation: tries,
      run_after: at(createdMs),
      attempt_count: attempts,
      max_attempts: 3,
      timeout_seconds: 600,
      lease_seconds: 600,
      current_attempt_id: held,
      last_error: end === 'failed' || end === 'dead' ? fault[1] : null,
      last_error_code: end === 'failed' || end === 'dead' ? fault[0] : null,
      created_by: handed === undefined ? 'operator:anna' : `agent:${handed[0]}`,
      created_at: at(createdMs),
      updated_at: at(whenMs),
      finished_at: isOver ? at(whenMs) : null,
      hops: 0,
      ...more,
    })
    return id
  }

  for (let n = 0; n < count; n += 1) {
    // More by day than by night, and all of it over before now.
    const agoMs = 20 * MINUTE + random() * (7 * DAY - 20 * MINUTE)
    const roll = random()
    addJob(roll < 0.95 ? 'succeeded' : roll < 0.965 ? 'cancelled' : roll < 0.985 ? 'failed' : 'dead', nowMs - agoMs)
  }
  for (const [agent] of AGENTS.slice(1, 7)) addJob('running', nowMs - (6 + random() * 3) * MINUTE, { target_agent: agent })
  for (let n = 0; n < 40; n += 1) addJob('queued', nowMs - random() ** 2 * 5 * HOUR)

  for (const [agent] of AGENTS) {
    for (const [name, minutes] of [
      ['look-around', 60],
      ['tidy-notes', 360],
    ] as const) {
      const order = uuidv7(Math.floor(nowMs - 8 * DAY))
      const definition = { namespace: 'default', agent, name, every_seconds: minutes * 60, message: 'Look around and report.', lane: 'scheduled' }
      const fact = { version: 1, definition, enabled: true, in_force_from: at(nowMs - 8 * DAY) }
      rows.orders.push({ id: order, namespace: 'default', agent_id: agent, name, ...fact, planned_until: at(nowMs + DAY), plan_at: at(nowMs + 12 * HOUR) })
      rows.versions.push({ order_id: order, ...fact, actor_kind: 'operator', actor: 'anna' })
      const everyMs = minutes * MINUTE
      for (let slotMs = Math.ceil((nowMs - 7 * DAY) / everyMs) * everyMs; slotMs < nowMs + 3 * HOUR; slotMs += everyMs) {
        const roll = random()
        const isFuture = slotMs > nowMs
        const status = isFuture
          ? 'expected'
          : agent === 'night-watch' && nowMs - slotMs < 5 * HOUR
            ? 'missed'
            : roll < 0.55
              ? 'no_work'
              : roll < 0.9
                ? 'completed'
                : roll < 0.93
                  ? 'skipped'
                  : roll < 0.96
                    ? 'failed'
                    : roll < 0.98
                      ? 'missed'
                      : 'blocked'
        const id = uuidv7(Math.floor(slotMs))
        const isRun = !isFuture && status !== 'missed' && status !== 'skipped'
        rows.slots.push({
          id,
          order_id: order,
          version: 1,
          agent_id: agent,
          slot_at: at(slotMs),
          grace_until: at(slotMs + 10 * MINUTE),
          look_at: at(slotMs + 10 * MINUTE),
          status,
          cause: status === 'missed' ? 'agent_offline' : status === 'skipped' ? 'agent_not_idle' : null,
          trigger: isRun ? 'tick' : null,
          unstated: false,
          summary: status === 'completed' ? 'Two things found and put right.' : null,
          evidence: status === 'completed' ? { files: ['notes/today.md'], found: 2 } : null,
          details: {},
          last_seq: isFuture ? 0 : isRun ? 2 : 1,
          started_at: isRun ? at(slotMs + 900) : null,
          finished_at: isFuture ? null : at(slotMs + 30_000 + random() * 200_000),
        })
        if (isFuture) continue
        const told = { run_id: id, cause: null, actor_kind: 'worker', actor: 'worker-1', details: {} }
        if (isRun) rows.slotMoves.push({ ...told, seq: 1, from_status: 'expected', to_status: 'started', at: at(slotMs + 900) })
        rows.slotMoves.push({ ...told, seq: isRun ? 2 : 1, from_status: isRun ? 'started' : 'expected', to_status: status, at: at(slotMs + 60_000) })
      }
    }
  }
  for (let n = 0; n < 160; n += 1) {
    const topic = pick(['security.finding', 'build.finished', 'mail.arrived', 'disk.low', 'jobs.escalated'])
    rows.events.push({
      namespace: 'default',
      topic,
      source_agent: pick(AGENTS)[0],
      payload: { about: pick(THINGS), n },
      hops: 0,
      created_by: 'agent:devops',
      created_at: at(nowMs - (160 - n) * 11 * MINUTE),
      lineage: [],
    })
  }
  await write(pool, nowMs, rows)
}

async function write(pool: pg.Pool, nowMs: number, rows: Record<string, Row[]>): Promise<void> {
  const client = await pool.connect()
  const put = async (table: string, list: readonly Row[]): Promise<void> => {
    const names = Object.keys(list[0] ?? {})
    for (let from = 0; from < list.length; from += 2_000) {
      await client.query(`insert into ${table} (${names.join(', ')}) select ${names.join(', ')} from jsonb_populate_recordset(null::${table}, $1::jsonb)`, [
        JSON.stringify(list.slice(from, from + 2_000)),
      ])
    }
  }
  try {
    await client.query('begin')
    // Rows of a past that was: the guards of the commands do not apply to what is filled in, the chain of the history does.
    await client.query('set local session_replication_role = replica')
    const since = new Date(nowMs - 8 * DAY).toISOString()
    for (const [id, isOpen] of [
      ['gw-main', false],
      ['gw-lab', false],
      ['gw-office', false],
      ['gw-edge', true],
    ] as const) {
      await client.query(
        `insert into gateways (id, base_url, token_ref, breaker, breaker_reason, breaker_changed_at, last_ready_at) values ($1, 'http://127.0.0.1:9', 'env:TEST_HOOK_TOKEN', $2, $3, $4, $5)`,
        [
          id,
          isOpen ? 'open' : 'closed',
          isOpen ? 'three hooks in a row were refused: connect ECONNREFUSED' : null,
          isOpen ? new Date(nowMs - 5 * HOUR).toISOString() : null,
          new Date(nowMs - (isOpen ? 5 * HOUR : 9_000)).toISOString(),
        ],
      )
    }
    for (const [id, role, gateway] of AGENTS) {
      await client.query(
        `insert into agents (id, gateway_id, gateway_agent_id, role, concurrency, created_at, updated_at) values ($1, $2, $1, $3, 4, $4, $4)
          on conflict (id) do update set gateway_id = excluded.gateway_id, role = excluded.role`,
        [id, gateway, role, since],
      )
    }
    await client.query(
      `insert into dispatcher_heartbeats (dispatcher_id, host, pid, started_at, last_seen, leases_owned, busy_agents) values ('worker-1', 'host-a', 4242, $1, now() + interval '1 hour', 6, 6), ('worker-2', 'host-b', 4243, $1, now() - interval '4 minutes', 0, 0)`,
      [since],
    )
    await put('jobs', rows['jobs'] ?? [])
    await put('prompts', rows['prompts'] ?? [])
    await put('job_attempts', rows['attempts'] ?? [])
    await put('standing_orders', rows['orders'] ?? [])
    await put('standing_order_versions', rows['versions'] ?? [])
    await put('standing_order_runs', rows['slots'] ?? [])
    await put('standing_order_run_transitions', rows['slotMoves'] ?? [])
    await put('events', rows['events'] ?? [])
    await client.query('set local session_replication_role = origin')
    await put('job_transitions', rows['moves'] ?? [])
    await client.query('commit')
    await client.query('analyze')
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

/** What waits for a person, made by the commands themselves: two approvals to decide, and two jobs that are blocked. */
export async function whatWaits(ledger: Ledger): Promise<{ readonly approvalJob: string; readonly blockedJob: string }> {
  const rest = { result: {}, findings: [], events: [], follow_ups: [] }
  const asking = await aJob(ledger, 'running', { target_agent: 'devops', subject: 'Restart the database of the shop', correlation_key: 'case-17', source_agent: 'coordinator' })
  await ledger.jobs.block(asking.as, asking.id, {
    blocked_reason: 'a restart needs a yes',
    blocked_owner: 'operator',
    waits_for: { kind: 'approval', subject: 'Restart the database of the shop at 03:00', details: { host: 'db-1', downtime_seconds: 40 } },
    ...rest,
  })
  const other = await aJob(ledger, 'running', { target_agent: 'finance', subject: 'Pay invoice 2291' })
  await ledger.jobs.block(other.as, other.id, {
    blocked_reason: 'more than the limit',
    blocked_owner: 'operator',
    waits_for: { kind: 'approval', subject: 'Pay 12,400 EUR to a new payee', details: { iban: 'DE00 0000', due: 'Friday' } },
    ...rest,
  })
  const blocked = await aJob(ledger, 'running', { target_agent: 'coder', subject: 'Move the cache to the new host' })
  await ledger.jobs.block(blocked.as, blocked.id, {
    blocked_reason: 'The new host does not answer; nobody knows whether it was handed over.',
    blocked_owner: 'operator',
    unblock_action: 'Say which host it is, or that it is late.',
    waits_for: { kind: 'person' },
    ...rest,
  })
  const waiting = await aJob(ledger, 'running', { target_agent: 'research', subject: 'Compare the three suppliers' })
  await ledger.jobs.block(waiting.as, waiting.id, {
    blocked_reason: 'Waits for the offers.',
    blocked_owner: 'support',
    waits_for: { kind: 'event', topic: 'offers.complete', filter: {} },
    ...rest,
  })
  await ledger.setPaused(OPERATOR, { scope: 'lane', target: 'idle', reason: 'month-end close', paused: true })
  await ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'drain', scope: 'agent', target: 'calendar', reason: 'moves to another host' }))
  await ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', scope: 'gateway', target: 'gw-edge', reason: 'its certificate is renewed', for_seconds: 14_400 }))
  await alertRules(ledger, [
    { name: 'dead-letters', above: 5, window_seconds: 604_800, notify: [] },
    { name: 'gateway-down', figure: 'breaker_open_seconds', above: 60, level: 'urgent', notify: [] },
  ])
  await ledger.alerts.evaluate()
  await anOpportunity(ledger, 'new', { title: 'Rotate the keys of the shop by themselves' })
  await anOpportunity(ledger, 'accepted', { title: 'One dashboard for both shops' })
  await anIdea(ledger, 'new', { title: 'Ask new customers where they come from' })
  await anIdea(ledger, 'archived', { title: 'Print the monthly report' })
  return { approvalJob: asking.id, blockedJob: blocked.id }
}
