import { afterEach, beforeEach, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { CreateBatchBody } from '../../contracts/jobs.js'
import { FLOW_BUDGET, MOST_EDGES } from '../../ledger/console/hand-off-flow.js'
import type { LaneLine } from '../../ledger/console/health-board.js'
import { SURROUNDINGS_SHOWN } from '../../ledger/console/job-surroundings.js'
import { serveConsole, type TestConsole } from '../support/console.js'
import { anIdleWriter } from '../support/idle-writer.js'
import { aJob, freshLedger, OPERATOR } from '../support/ledger.js'
import { pastJobs } from '../support/past-jobs.js'
import { tamper } from '../support/verify.js'

let c: Omit<TestConsole, 'waits'>
beforeEach(async () => {
  c = await serveConsole(await freshLedger())
})
afterEach(() => c.close())

const pageAt = async (path: string): Promise<string> => (await fetch(c.url + path, { headers: { authorization: `Bearer ${c.token}` } })).text()
const reactive = async (): Promise<LaneLine | undefined> => {
  const { lanes } = await c.t.ledger.console.health({ fromMs: Date.now() - 3_600_000, toMs: Date.now() + 60_000, columns: 12 })
  return lanes.lines.find(({ lane }) => lane === 'reactive')
}

test('the page of a job with a long history shows its newest rows and its moves, and leaves out details that are large', async () => {
  const { id } = await aJob(c.t.ledger, 'queued')
  await tamper(
    c.t.url,
    `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, note, actor_kind, actor, details, at)
     select id, 1 + n, 'note', 'queued', 'queued', 'progress', 'note number ' || n, 'operator', 'x',
       case when n = 10050 then jsonb_build_object('text', (select string_agg(md5(i::text), '') from generate_series(1, 1000) i)) else '{}'::jsonb end, now()
     from jobs, generate_series(1, 10050) n`,
    `update jobs set last_seq = 10051`,
  )

  const page = await pageAt(`/console/jobs/${id}`)

  expect([9_850, 9_851, 10_050].map((n) => page.includes(`<bdi>note number ${n}</bdi>`))).toEqual([false, true, true])
  expect(page).toContain('The last 200 of 10,051 rows.')
  expect(page).toContain('aria-label="Time line: queued ')
  expect(page.match(/too large for this page/g)).toHaveLength(1)
})

test('what has waited longest for a decision is the first to decide, page after page', async () => {
  for (const subject of ['asked first', 'asked later']) {
    const { as, id } = await aJob(c.t.ledger, 'running')
    await c.t.ledger.jobs.block(as, id, {
      blocked_reason: 'a yes',
      blocked_owner: 'operator',
      waits_for: { kind: 'approval', subject, details: {} },
      result: {},
      findings: [],
      events: [],
      follow_ups: [],
    })
  }

  const page = await pageAt('/console/blocked')
  const first = await c.t.ledger.console.approvals({ limit: 1 })
  const second = await c.t.ledger.console.approvals({ limit: 1, cursor: first.next_cursor ?? '' })

  expect([...page.matchAll(/<bdi>(asked (?:first|later))<\/bdi><\/h3>/g)].map(([, subject]) => subject)).toEqual(['asked first', 'asked later'])
  expect([...first.items, ...second.items].map(({ subject }) => subject)).toEqual(['asked first', 'asked later'])
  expect(second.next_cursor).toBeNull()
})

test('the oldest that waits is what has been due longest, and what is not due yet is not old', async () => {
  const oldest = async (): Promise<unknown[]> => [(await c.t.ledger.console.fleet()).lines[0]?.depth[0]?.oldest_at, (await reactive())?.oldest_at]
  await aJob(c.t.ledger, 'queued', { run_after: '2099-01-01T00:00:00Z' })

  const before = await oldest()
  const { job } = await aJob(c.t.ledger, 'queued')

  expect(before).toEqual([null, null])
  expect(await oldest()).toEqual([job.run_after, job.run_after])
})

test('a job has waited since it was due; a time that a retry has set since says nothing of its first attempt', async () => {
  const { id } = await aJob(c.t.ledger, 'succeeded')
  await tamper(c.t.url, [`update jobs set created_at = created_at - interval '1 hour' where id = $1`, [id]])

  const due = await reactive()
  await tamper(c.t.url, [`update jobs set run_after = finished_at + interval '1 minute' where id = $1`, [id]])
  const retried = await reactive()

  expect(due?.wait?.[0]).toBeLessThan(60)
  expect(due?.total?.[0]).toBeGreaterThan(3_600)
  expect(retried?.wait?.[0]).toBeGreaterThan(3_600)
})

test('health draws waits and runs over time, tells them in words and as a table, and says so when there are none', async () => {
  const before = await pageAt('/console/health?window=1h')
  const leased = Date.now() - 30 * 60_000
  await pastJobs(c.t.url, [{ made: leased - 2_500, attempts: [{ leased, admitted: leased + 1_000, ended: leased + 241_000 }] }])

  const page = await pageAt('/console/health?window=1h')

  expect(before).toContain('No worker took anything in this window, and no run ended.')
  expect(page).toContain('aria-label="Wait until a worker took it, over time: lately 2.5 s at most for half and 2.5 s for 95 of 100; at its worst 2.5 s"')
  expect(page).toContain('aria-label="Run until it ended, over time: lately 4 min at most for half and 4 min for 95 of 100; at its worst 4 min"')
  // One step of each line has a figure. The others have none, which is not the same as zero.
  expect([page.match(/<circle class="spot /g)?.length, page.match(/<path class="line (half|most)"/g)]).toEqual([4, null])
  const cells = (name: string): unknown[] => [...page.matchAll(new RegExp(`<td data-label="${name}" class="number"><div>([^<]+)</div></td>`, 'g'))].map(([, text]) => text)
  expect([cells('Wait 50 / 95'), cells('Run 50 / 95')]).toEqual([['2.5 s / 2.5 s'], ['4 min / 4 min']])
  expect([cells('Taken').filter((text) => text !== '0'), cells('Ended').filter((text) => text !== '0')]).toEqual([['1'], ['1']])
  expect(cells('Taken')).toHaveLength(48)
})

test('the sums of the fleet are those of the lists to which they lead', async () => {
  for (const status of ['leased', 'running', 'running'] as const) await aJob(c.t.ledger, status)

  const page = await pageAt('/')

  const sums = [...page.matchAll(/href="\/console\/jobs\?status=(leased|running)"><strong>(\d+)<\/strong> (\w+)</g)]
  expect(sums.map(([, ...found]) => found)).toEqual([
    ['leased', '1', 'leased'],
    ['running', '2', 'running'],
  ])
})

test('a drain that a transaction of somebody else holds up says so, among the controls and in the fleet', async () => {
  const foreign = await anIdleWriter(c.t.url)
  await c.t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'drain', scope: 'agent', target: 'devops', reason: 'moving' }))

  const heldUp = [await pageAt('/console/controls'), await pageAt('/')]
  await foreign.end()
  const free = [await pageAt('/console/controls'), await pageAt('/')]

  for (const page of heldUp) expect(page).toContain(`waits for 1 transaction that writes attempts, the oldest for <time datetime="${foreign.since}"`)
  expect(free[0]).toContain('nothing of it runs any more')
  expect(free[1]).toContain('0 still running')
})

/** Jobs that ended with success within the last seconds; `from` says in SQL who has sent the n-th. */
async function sent(many: number, from: string): Promise<void> {
  await tamper(
    c.t.url,
    `insert into jobs (id, source_agent, target_agent, job_type, subject, payload_hash, status, last_seq, run_after, timeout_seconds, lease_seconds, created_by, finished_at)
     select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - n / 100), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
       ${from}, 'devops', 'task', 'x', '', 'succeeded', 1, now(), 60, 60, 'operator:x', now()
     from generate_series(1, ${many}) n`,
    'analyze jobs',
  )
}

test('the flow lists the heaviest pairs, and says that there are others', async () => {
  await sent(MOST_EDGES + 1, `'sender-' || n`)

  const page = await pageAt('/console/flow')

  expect(page.match(/href="\/console\/jobs\?agent=sender-/g)).toHaveLength(MOST_EDGES)
  expect(page).toContain(`The ${MOST_EDGES} heaviest are listed`)
})

test('a flow in which nothing is found says when it has not looked at all jobs of its window', { timeout: 120_000 }, async () => {
  await sent(10, 'null::text')
  const whole = await pageAt('/console/flow')
  await sent(FLOW_BUDGET, 'null::text')

  const part = await pageAt('/console/flow')

  expect(whole).toContain('Nobody handed anything to anybody in this window.')
  expect(part).toContain('Nobody handed anything to anybody among the newest 150,000 jobs of this window.')
})

test('the page of a job that led to more than it shows says so, and leads to all of it', async () => {
  const parent = await aJob(c.t.ledger, 'succeeded')
  const { items } = await c.t.ledger.jobs.createBatch(
    OPERATOR,
    CreateBatchBody.parse({ jobs: Array.from({ length: SURROUNDINGS_SHOWN + 1 }, (_none, n) => ({ target_agent: 'devops', subject: `child ${n}`, parent_job_id: parent.id })) }),
  )

  const page = await pageAt(`/console/jobs/${parent.id}`)
  const child = await pageAt(`/console/jobs/${items[0]?.job.id ?? ''}`)

  expect(page.match(/<bdi>child \d+<\/bdi>/g)).toHaveLength(SURROUNDINGS_SHOWN)
  expect(page).toContain(`<a href="/console/jobs?parent=${parent.id}">All that it led to</a>`)
  expect(child).not.toContain('All that it led to')
})
