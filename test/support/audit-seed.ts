import { vi } from 'vitest'
import { AuthorityConfig } from '../../contracts/authority.js'
import { DelegationRule } from '../../contracts/fleet.js'
import { AcknowledgeBody, FileFindingBody, ReadInboxBody } from '../../contracts/findings.js'
import { BlockJobBody, CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { StandingOrderConfig, type MissCause, type SkipCause, type SlotStatus } from '../../contracts/standing-orders.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import type { CommandContext } from '../../ledger/caller.js'
import { reportAdmitted, reportEndedWithoutClose } from '../../ledger/deliver-attempt.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import { attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from './ledger.js'
import { conversion, decision, keeping, note, promotion, propose, retirement, suggest } from './thoughts.js'
import { REHASH, tamper } from './verify.js'

/** The day that all of it happens on. */
export const DAY = '2026-11-10'
const ANNA: CommandContext = { caller: { role: 'operator', tokenId: 'anna', name: 'anna' } }
const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })

interface Held {
  readonly job: JobView
  readonly as: CommandContext
}

/**
 * One night of a small fleet, made by the ledger's own commands: a scan that hands a job on, a retry, a death, an approval, a
 * block, duplicates, refusals, standing orders that were missed, ideas and what became of them, memories. Times are moved afterwards to
 * those of a list by hand, row by row, and the histories are hashed anew, so that the ledger holds and every answer is known beforehand.
 */
export async function aNight(): Promise<TestLedger> {
  const t = await freshLedger()
  const { ledger } = t
  for (const id of ['coordinator', 'publisher', 'security']) await t.addAgent(id, { concurrency: 5 })
  await t.addAgent('publisher', { concurrency: 2, delegation: [DelegationRule.parse({ to: ['coordinator'] })] })
  const subscription = SubscriptionConfig.parse({ name: 'tell-people', agent: 'publisher', topic: 'security.*', subject: 'tell people' })
  const authority = AuthorityConfig.parse({ triage: ['coordinator'], promote: ['coordinator'] })
  await ledger.applyFleet(ANNA, { version: 1, gateways: [], agents: [], subscriptions: [subscription], authority }, { dryRun: false, prune: false })

  const create = async (target: string, subject: string, more: Record<string, unknown> = {}, by: CommandContext = OPERATOR): Promise<JobView> =>
    (await ledger.jobs.create(by, CreateJobBody.parse({ target_agent: target, subject, ...more }))).job
  const hold = async (job: JobView): Promise<Held> => {
    const current = await ledger.getJob(job.id)
    const leased = await leaseAs(ledger, job.id, current.generation)
    if (leased.kind !== 'start') throw new Error(`${job.subject} was not leased: ${leased.kind}`)
    const attemptId = leased.attempt.id as never
    await ledger.run((tx) => reportAdmitted(tx, report(job, attemptId), { runId: 'run', httpStatus: 200, response: { ok: true } }))
    return { job: current, as: { caller: attemptCaller(attemptId, job.id, String(job.target_agent)) } }
  }
  const report = (job: JobView, attemptId: never) => ({ jobId: job.id, attemptId, actor: { kind: 'worker' as const, id: 'worker-1' }, random: 0, retryBaseSeconds: 0 })
  const attemptOf = ({ as }: Held): never => (as.caller.role === 'attempt' ? as.caller.attemptId : '') as never
  const complete = (held: Held, body: Record<string, unknown> = {}) => ledger.jobs.complete(held.as, held.job.id, CompleteJobBody.parse(body))
  const found = async (subject: string): Promise<JobView> => {
    const job = (await ledger.listJobs({ limit: 200 })).items.find((one) => one.subject === subject)
    if (job === undefined) throw new Error(`no job ${subject}`)
    return job
  }

  // A scan hands a job on and tells of what it found; a subscription makes a third job.
  const scan = await hold(await create('security', 'scan the edge', { lane: 'scheduled', correlation_key: 'edge' }))
  await complete(scan, {
    summary: 'one open port',
    events: [{ topic: 'security.finding', payload: { password: 'not for auditors' } }],
    follow_ups: [{ target_agent: 'devops', subject: 'close port 8080' }],
  })
  await complete(await hold(await found('close port 8080')), { summary: 'closed' })
  await complete(await hold(await found('tell people')))
  // A run that ends without a word, and its retry; a job that dies of one; one that the agent gives up.
  const keys = await create('devops', 'rotate keys', { lane: 'coding' })
  const silent = await hold(keys)
  await ledger.run((tx) => reportEndedWithoutClose(tx, report(keys, attemptOf(silent)), { status: 'ok', response: {} }))
  await complete(await hold(keys), { summary: 'rotated' })
  const move = await hold(await create('devops', 'move the database', { lane: 'coding', max_attempts: 1 }))
  await ledger.run((tx) => reportEndedWithoutClose(tx, report(move.job, attemptOf(move)), { status: 'ok', response: {} }))
  const parse = await hold(await create('publisher', 'publish the empty notes'))
  await ledger.jobs.fail(parse.as, parse.job.id, FailJobBody.parse({ last_error: 'there are no notes' }))
  // Approved and done; blocked still.
  const notes = await hold(await create('publisher', 'publish release notes'))
  await ledger.jobs.block(notes.as, notes.job.id, BlockJobBody.parse({ blocked_reason: 'needs a yes', waits_for: { kind: 'approval', subject: 'Publish the notes?' } }))
  const approval = (await ledger.listApprovals({ limit: 1 })).items[0]
  if (approval === undefined) throw new Error('nothing was asked')
  await ledger.handOffs.decide(ANNA, approval.id, 'approved', 'read twice')
  await complete(await hold(notes.job))
  const web = await hold(await create('devops', 'restart the web server'))
  await ledger.jobs.block(web.as, web.job.id, BlockJobBody.parse({ blocked_reason: 'nobody knows the window', blocked_owner: 'anna', unblock_action: 'name a window' }))
  // Asked for twice; delivered twice; cancelled while it ran, and answered too late.
  await create('coordinator', 'plan the week', { dedupe_key: 'week-46' })
  await create('coordinator', 'plan the week', { dedupe_key: 'week-46' })
  const plan = await found('plan the week')
  await hold(plan)
  await leaseAs(ledger, plan.id, plan.generation, 'w2')
  const long = await hold(await create('devops', 'rebuild everything'))
  await ledger.jobs.cancel(ANNA, long.job.id, 'not now')
  await complete(long).catch(() => undefined)
  // Not allowed.
  await create('devops', 'do my work', {}, agent('publisher')).catch(() => undefined)
  // Operators at work, readers, a finding with its way to an end.
  await ledger.setPaused(ANNA, { scope: 'agent', target: 'publisher', reason: 'maintenance', paused: true })
  await ledger.setPaused(ANNA, { scope: 'agent', target: 'publisher', reason: 'done', paused: false })
  const { view } = await ledger.tokens.create(ANNA, { name: 'old laptop', role: 'auditor' })
  await ledger.tokens.revoke(ANNA, view.id)
  for (const route of ['GET /v1/jobs', 'GET /v1/jobs/{id}'])
    ledger.accesses.note({
      atMs: Date.parse(`${DAY}T03:00:00Z`),
      caller: agent('security').caller,
      route,
      target: {},
      jobId: route.endsWith('}') ? scan.job.id : undefined,
      status: 200,
    })
  await ledger.accesses.flush()
  await ledger.inbox.file(agent('security'), FileFindingBody.parse({ topic: 'disk.full', subject_key: 'web-1', body: 'full', level: 'urgent', to: 'devops' }))
  const [message] = (await ledger.inbox.read(agent('devops'), ReadInboxBody.parse({}))).items
  if (message !== undefined) await ledger.inbox.acknowledge(agent('devops'), AcknowledgeBody.parse({ ids: [message.id], note: 'cleaned' }))
  // An entry that comes a second time, when its job is over: the worker drops it.
  const closed = await found('close port 8080')
  await leaseAs(ledger, closed.id, closed.generation, 'w2')

  await thoughts(t)
  await slots(t)
  await moveTimes(t)
  // A transaction of another test on the same server can hold the newest rows back for a moment.
  await vi.waitFor(
    async () => {
      await takeCheckpoint(t.database.db, { signer: undefined })
      const { rows } = await t.database.pool.query(
        'select 1 from job_transitions t where t.xact >= (select coalesce(max(xact_to::text::bigint), 0) from audit_checkpoints)::text::xid8',
      )
      if (rows.length > 0) throw new Error('not all rows are covered yet')
    },
    { timeout: 30_000, interval: 50 },
  )
  return t
}

/** Slots of two orders: due time, what became of it, why. */
const SLOTS = [
  ['security', 'night-scan', '01:00:00', 'missed', 'worker_down'],
  ['security', 'night-scan', '02:00:00', 'missed', 'worker_down'],
  ['security', 'night-scan', '03:00:00', 'missed', 'agent_offline'],
  ['security', 'night-scan', '04:00:00', 'no_work', null],
  ['devops', 'disk-check', '01:00:00', 'completed', null],
  ['devops', 'disk-check', '02:00:00', 'missed', 'worker_down'],
  ['devops', 'disk-check', '03:00:00', 'no_work', null],
  ['devops', 'disk-check', '04:00:00', 'skipped', 'paused'],
] as const satisfies readonly (readonly [string, string, string, SlotStatus, MissCause | SkipCause | null])[]

async function slots(t: TestLedger): Promise<void> {
  const orders = [...new Set(SLOTS.map(([who, name]) => `${who}/${name}`))].map((key) => {
    const [owner, name] = key.split('/')
    return StandingOrderConfig.parse({ agent: owner, name, cron: '0 * * * *', message: 'Look around.' })
  })
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], standing_orders: orders }, { dryRun: false, prune: false })
  for (const [owner, name, at, status, cause] of SLOTS) {
    const { rows } = await t.database.pool.query<{ id: string }>(
      `insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at)
       select gen_random_uuid(), id, version, agent_id, $3::timestamptz, $3::timestamptz + interval '5 minutes', $3::timestamptz from standing_orders where agent_id = $1 and name = $2 returning id`,
      [owner, name, `${DAY}T${at}Z`],
    )
    const moved = `${DAY}T${at.replace(':00:00', ':06:00')}Z`
    const move = (to: string, why: string | null, [kind, who]: readonly [string, string], more = '{}') =>
      t.database.pool.query('select move_slot($1, $2, $3, $4, $5, $6, $7)', [rows[0]?.id, to, why, kind, who, more, moved])
    if (status === 'completed' || status === 'no_work') {
      // Started by a tick, ended by what the agent claimed when it closed.
      await move('started', null, ['worker', 'worker-1'], '{"trigger": "tick"}')
      await t.database.pool.query('update standing_order_runs set claimed = $2 where id = $1', [rows[0]?.id, status])
      await move('completed', null, ['attempt', owner])
    } else await move(status, cause, ['system', 'keeper'])
  }
}

/** Ideas of security and publisher, opportunities, and memories: one that took the place of another, one that ended the same night, one of the day before. */
async function thoughts({ ledger }: TestLedger): Promise<void> {
  const { ideas, opportunities, memories } = ledger
  const [coordinator, security] = [agent('coordinator'), agent('security')]
  const idea = async (as: CommandContext, theme: string) => (await note(ledger, as, { theme, title: `an idea about ${theme}` })).idea.id
  const opportunity = async (as: CommandContext, theme: string) => (await propose(ledger, as, { theme, title: `a proposal about ${theme}` })).opportunity.id
  const candidate = async (as: CommandContext, title: string, body: Record<string, unknown>) => (await suggest(ledger, as, { title, ...body })).candidate.id
  const aboutDatabase = { candidate_kind: 'lesson', scope: 'service', subject_key: 'db-1' }

  // One becomes an opportunity and then a job, one is given up by whose it is, one waits.
  const login = await idea(security, 'login')
  await ideas.review(coordinator, login, { notes: 'fits the complaints' })
  const promoted = await ideas.promote(coordinator, login, promotion({ title: 'a proposal about login', notes: 'two complaints' }))
  await ideas.archive(security, await idea(security, 'ports'), { notes: 'done already' })
  await idea(security, 'logs')
  await idea(agent('publisher'), 'notes')
  await opportunities.triage(coordinator, promoted.opportunity.id, decision('triaged'))
  await opportunities.triage(ANNA, promoted.opportunity.id, decision('accepted', 'worth a day'))
  await opportunities.convert(ANNA, promoted.opportunity.id, conversion({ target_agent: 'coordinator', subject: 'plan fewer passwords' }))
  await opportunities.triage(coordinator, await opportunity(agent('devops'), 'backups'), decision('rejected', 'not now'))
  await opportunities.triage(coordinator, await opportunity(agent('publisher'), 'mirror'), decision('parked', 'after the release'))
  await opportunity(agent('devops'), 'tests')
  const first = await memories.promote(coordinator, await candidate(agent('devops'), 'vacuum first', aboutDatabase), keeping())
  await memories.promote(coordinator, await candidate(agent('devops'), 'vacuum twice', aboutDatabase), keeping({ supersedes_memory_id: first.memory.id }))
  for (const title of ['only in the morning', 'only in the evening']) {
    const about = { candidate_kind: 'preference', scope: 'person', subject_key: 'anna' }
    const { memory } = await memories.promote(ANNA, await candidate(security, title, about), keeping())
    await memories.retire(ANNA, memory.id, retirement({ as: 'archived' }))
  }
}

/** When each review of a thought was written, by its title; on the day itself unless a whole time stands there. */
const THOUGHT_TIMES: Readonly<Record<string, { readonly reviews: string; readonly key: string; readonly times: Readonly<Record<string, readonly string[]>> }>> = {
  ideas: {
    reviews: 'idea_reviews',
    key: 'idea_id',
    times: {
      'an idea about login': ['01:00:00', '01:30:00', '02:00:00'],
      'an idea about ports': ['01:10:00', '01:40:00'],
      'an idea about logs': ['01:20:00'],
      'an idea about notes': ['01:25:00'],
    },
  },
  opportunities: {
    reviews: 'opportunity_reviews',
    key: 'opportunity_id',
    times: {
      'a proposal about login': ['02:00:00', '02:30:00', '05:00:00', '05:10:00'],
      'a proposal about backups': ['03:00:00', '03:10:00'],
      'a proposal about tests': ['03:20:00'],
      'a proposal about mirror': ['04:00:00', '04:45:00'],
    },
  },
  memory_candidates: {
    reviews: 'memory_candidate_reviews',
    key: 'memory_candidate_id',
    times: {
      'vacuum first': ['03:30:00', '03:40:00'],
      'vacuum twice': ['05:00:00', '05:20:00'],
      'only in the morning': ['02:10:00', '02:20:00'],
      'only in the evening': ['2026-11-09T01:00:00Z', '2026-11-09T01:10:00Z'],
    },
  },
  memories: {
    reviews: 'memory_reviews',
    key: 'memory_id',
    times: {
      'vacuum first': ['03:40:00', '05:20:00'],
      'vacuum twice': ['05:20:00'],
      'only in the morning': ['02:20:00', '02:50:00'],
      'only in the evening': ['2026-11-09T01:10:00Z', '2026-11-09T04:00:00Z'],
    },
  },
}

/** Puts the reviews of every thought at their times, and its own times with them. */
async function thoughtTimes(t: TestLedger): Promise<(string | readonly [string, unknown[]])[]> {
  const statements: (string | readonly [string, unknown[]])[] = []
  for (const [table, { reviews, key, times }] of Object.entries(THOUGHT_TIMES)) {
    const { rows } = await t.database.pool.query<{ id: string; title: string; n: number }>(`select id, title, last_seq as n from ${table}`)
    const at: [string, number, string][] = []
    for (const { id, title, n } of rows) {
      const wanted = times[title]
      if (wanted?.length !== n) throw new Error(`${table}: ${title} has ${n} reviews, ${wanted?.length ?? 0} times are written for it`)
      for (const [index, time] of wanted.entries()) at.push([id, index + 1, time.includes('T') ? time : `${DAY}T${time}Z`])
    }
    statements.push(
      [
        `update ${reviews} r set at = w.at from unnest($1::uuid[], $2::int[], $3::timestamptz[]) as w (id, seq, at) where r.${key} = w.id and r.seq = w.seq`,
        [at.map(([id]) => id), at.map(([, seq]) => seq), at.map(([, , time]) => time)],
      ],
      `update ${table} x set created_at = h.first, updated_at = h.last
       from (select ${key} as id, min(at) as first, max(at) as last from ${reviews} group by 1) h where h.id = x.id`,
    )
  }
  return [...statements, 'update memories set valid_from = created_at', 'update opportunities set triaged_at = updated_at where triaged_at is not null']
}

/** When each row of a job's history happened. */
const TIMES: Readonly<Record<string, readonly string[]>> = {
  'scan the edge': ['02:10:00', '02:10:05', '02:10:06', '02:14:00'],
  'close port 8080': ['02:14:00', '02:16:30', '02:16:31', '02:20:00'],
  'tell people': ['02:14:00', '02:14:10', '02:14:11', '02:14:40'],
  'rotate keys': ['03:00:00', '03:00:10', '03:00:11', '03:10:10', '03:12:00', '03:12:01', '03:20:00'],
  'move the database': ['03:30:00', '03:45:00', '03:45:01', '03:50:00'],
  'publish the empty notes': ['04:00:00', '04:00:30', '04:00:31', '04:01:00'],
  'publish release notes': ['05:00:00', '05:00:10', '05:00:11', '05:02:00', '05:32:00', '05:33:00', '05:33:01', '05:35:00'],
  'restart the web server': ['05:40:00', '05:41:00', '05:41:01', '05:45:00'],
  'plan the week': ['06:00:00', '06:00:02', '06:00:03', '06:10:00'],
  'rebuild everything': ['06:20:00', '06:20:20', '06:20:21', '06:25:00'],
  'plan fewer passwords': ['05:10:00'],
}

/** Puts every history at its hand-written times, and all that says when something was with it; then hashes anew. */
async function moveTimes(t: TestLedger): Promise<void> {
  const { rows } = await t.database.pool.query<{ id: string; subject: string; n: number }>('select id, subject, last_seq as n from jobs')
  const at: [string, number, string][] = []
  for (const { id, subject, n } of rows) {
    const times = TIMES[subject]
    if (times?.length !== n) throw new Error(`${subject} has ${n} rows, ${times?.length ?? 0} times are written for it`)
    for (const [index, time] of times.entries()) at.push([id, index + 1, `${DAY}T${time}Z`])
  }
  await tamper(
    t.url,
    [
      `update job_transitions t set at = w.at from unnest($1::uuid[], $2::int[], $3::timestamptz[]) as w (id, seq, at) where t.job_id = w.id and t.seq = w.seq`,
      [at.map(([id]) => id), at.map(([, seq]) => seq), at.map(([, , time]) => time)],
    ],
    `update jobs j set created_at = h.first, updated_at = h.last, finished_at = case when j.finished_at is not null then h.moved end, blocked_at = case when j.blocked_at is not null then h.moved end
     from (select job_id, min(at) as first, max(at) as last, max(at) filter (where kind = 'move') as moved from job_transitions group by job_id) h where h.job_id = j.id`,
    `update job_attempts a set leased_at = h.leased, admitted_at = h.admitted, finished_at = case when a.finished_at is not null then h.ended end,
       leased_until = h.leased + interval '50 years', deadline_at = h.leased + interval '50 years'
     from (select attempt_id, min(at) filter (where reason = 'leased') as leased, min(at) filter (where reason = 'admitted') as admitted,
       max(at) filter (where kind = 'move') as ended from job_transitions group by attempt_id) h where h.attempt_id = a.id`,
    `update prompts p set created_at = a.leased_at from job_attempts a where a.prompt_hash = p.hash`,
    `update events e set created_at = j.finished_at from jobs j where j.id = e.source_job_id`,
    `update reactions r set created_at = e.created_at, done_at = e.created_at from events e where e.id = r.event_id`,
    `update approvals set created_at = '${DAY}T05:02:00Z', decided_at = '${DAY}T05:32:00Z'`,
    `update approval_transitions set at = case seq when 1 then timestamptz '${DAY}T05:02:00Z' else '${DAY}T05:32:00Z' end`,
    `update observations set at = timestamptz '${DAY}T06:00:00Z' + id * interval '1 minute'`,
    `update controls set set_at = '${DAY}T06:04:00Z', lifted_at = '${DAY}T06:05:00Z'`,
    `update fleet_versions set valid_from = '${DAY}T00:30:00Z'`,
    `update api_tokens set created_at = '${DAY}T07:00:00Z', revoked_at = case when revoked_at is not null then timestamptz '${DAY}T07:30:00Z' end`,
    `update finding_history set at = timestamptz '${DAY}T03:30:00Z' + seq * interval '10 minutes'`,
    `update standing_order_versions set in_force_from = '${DAY}T00:30:00Z'`,
    ...(await thoughtTimes(t)),
    REHASH,
  )
}
