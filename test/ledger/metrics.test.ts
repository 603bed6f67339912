import { Registry } from 'prom-client'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FailJobBody } from '../../contracts/closings.js'
import { createMetrics, MOST_NAMED } from '../../api/metrics.js'
import { countAll } from '../support/count-all.js'
import { advanceTransactions, transactionOf } from '../support/dumped-ledger.js'
import { aJob, aSlot, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { tamper } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

/** One scrape, as the value of each series. */
async function scrape(): Promise<Map<string, number>> {
  const registry = new Registry()
  createMetrics(registry, t.ledger)
  const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith('agentbus_'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

test('jobs, answers of hooks, waits and runs are counted from their histories, once each', async () => {
  await aJob(t.ledger, 'succeeded', { lane: 'coding' })
  await aJob(t.ledger, 'dead', { max_attempts: 1 })
  await aJob(t.ledger, 'queued')
  const retried = await aJob(t.ledger, 'running')
  await t.ledger.jobs.fail(retried.as, retried.id, FailJobBody.parse({ last_error: 'again', retry_seconds: 60 }))

  await countAll(t)
  const first = await scrape()
  await t.ledger.upkeep.countMetrics()
  const second = await scrape()

  expect(first.get('agentbus_jobs_created_total{lane="coding"}')).toBe(1)
  expect(first.get('agentbus_jobs_created_total{lane="reactive"}')).toBe(3)
  expect(first.get('agentbus_jobs_created_total{lane="idle"}')).toBe(0)
  expect(first.get('agentbus_jobs_ended_total{lane="coding",outcome="succeeded"}')).toBe(1)
  expect(first.get('agentbus_jobs_ended_total{lane="reactive",outcome="dead"}')).toBe(1)
  expect(first.get('agentbus_hook_answers_total{class="admitted"}')).toBe(3)
  expect(first.get('agentbus_job_lease_latency_seconds_count{lane="reactive"}')).toBe(2)
  expect(first.get('agentbus_job_lease_latency_seconds_bucket{lane="coding",le="+Inf"}')).toBe(1)
  expect(first.get('agentbus_run_seconds_count{lane="coding"}')).toBe(1)
  expect(first.get('agentbus_job_retries_total{reason="retry_asked_by_agent"}')).toBe(1)
  expect(first.get('agentbus_queue_depth{lane="reactive"}')).toBe(1)
  expect(first.get('agentbus_dead_letters')).toBeGreaterThanOrEqual(1)
  for (const [name, value] of first) if (/_total|_count|_bucket/.test(name)) expect([name, second.get(name)]).toEqual([name, value])
})

test('the buckets of a histogram rise to its count, and its sum is what was waited', async () => {
  const job = await aJob(t.ledger, 'queued', { lane: 'memory' })
  await t.ledger.jobs.cancel(OPERATOR, job.id, 'x')
  for (let at = 0; at < 5; at += 1) await aJob(t.ledger, 'succeeded', { lane: 'memory' })
  await countAll(t)

  const found = [...(await scrape())].filter(([name]) => name.includes('lease_latency') && name.includes('memory'))
  const buckets = found.filter(([name]) => name.includes('_bucket')).map(([, value]) => value)
  const sum = found.find(([name]) => name.includes('_sum'))?.[1] ?? -1

  expect(buckets).toEqual([...buckets].sort((a, b) => a - b))
  expect(buckets.at(-1)).toBe(5)
  expect(sum).toBeGreaterThan(0)
  expect(sum).toBeLessThan(60)
})

test('slots are counted by how they ended', async () => {
  const slot = await aSlot(t.ledger)
  await t.ledger.jobs.finishStandingOrder(slot.as, slot.id, { outcome: 'no_work', summary: 'nothing', evidence: {}, findings: [], events: [], follow_ups: [] } as never)

  await countAll(t)

  expect((await scrape()).get('agentbus_slots_total{status="no_work"}')).toBe(1)
})

test('many counters at once count each row once, and an open transaction is waited for', async () => {
  const client = await t.database.pool.connect()
  await client.query('begin')
  await client.query('select pg_current_xact_id()')
  for (let at = 0; at < 10; at += 1) await aJob(t.ledger, 'queued')
  await Promise.all(Array.from({ length: 8 }, () => t.ledger.upkeep.countMetrics()))
  const during = (await scrape()).get('agentbus_jobs_created_total{lane="reactive"}')

  await client.query('commit')
  client.release()
  for (let round = 0; round < 3; round += 1) await Promise.all(Array.from({ length: 16 }, () => t.ledger.upkeep.countMetrics()))
  await countAll(t)

  expect(during).toBe(0)
  expect((await scrape()).get('agentbus_jobs_created_total{lane="reactive"}')).toBe(10)
})

test('a ledger that was restored into a cluster with lower numbers counts what comes, and nothing again that was counted before', { timeout: 60_000 }, async () => {
  await aJob(t.ledger, 'succeeded')
  await countAll(t)
  const now = await transactionOf(t.url)
  // As such a restore leaves it: the rows and the mark have numbers that this cluster has yet to come to.
  await tamper(t.url, `update job_transitions set xact = '${now + 20_000n}'`, `update metric_marks set xact = '${now + 25_000n}'`)
  await t.ledger.upkeep.countMetrics()

  await aJob(t.ledger, 'succeeded')
  await advanceTransactions(t.url, now + 30_000n)
  await countAll(t)

  const found = await scrape()
  expect(found.get('agentbus_jobs_created_total{lane="reactive"}')).toBe(2)
  expect(found.get('agentbus_run_seconds_count{lane="reactive"}')).toBe(2)
})

test('a count that finds nothing writes nothing, until many transactions have gone by', { timeout: 60_000 }, async () => {
  await aJob(t.ledger, 'succeeded')
  await countAll(t)
  const written = async (): Promise<unknown> => (await t.database.pool.query(`select xact::text, xmin::text from metric_marks where source = 'job_transitions'`)).rows
  const before = await written()

  await t.database.pool.query('select pg_current_xact_id()')
  await t.ledger.upkeep.countMetrics()
  const idle = await written()
  await t.database.pool.query('do $$ begin for n in 1..2600 loop perform pg_current_xact_id(); commit; end loop; end $$')

  expect(idle).toEqual(before)
  // Transactions that run anywhere on the shared server are waited for.
  await expect
    .poll(
      async () => {
        await t.ledger.upkeep.countMetrics()
        return written()
      },
      { timeout: 25_000 },
    )
    .not.toEqual(before)
  await aJob(t.ledger, 'succeeded')
  await countAll(t)
  expect((await scrape()).get('agentbus_jobs_created_total{lane="reactive"}')).toBe(2)
})

test('agents and gateways have series up to a bound, and the rest one together', async () => {
  await t.database.pool.query(`insert into gateways (id, base_url, token_ref) select 'g' || n, 'http://127.0.0.1:9', 'env:X' from generate_series(1, 300) n`)
  await t.database.pool.query(`insert into agents (id, gateway_id, gateway_agent_id) select 'a' || n, 'gw', 'a' || n from generate_series(1, 300) n`)
  for (let at = 1; at <= 260; at += 1) await aJob(t.ledger, 'queued', { target_agent: `a${at}` })

  const found = await scrape()
  const agents = [...found].filter(([name]) => name.startsWith('agentbus_jobs_open'))

  expect(agents).toHaveLength(MOST_NAMED + 1)
  expect(agents.reduce((sum, [, value]) => sum + value, 0)).toBe(260)
  expect([...found].filter(([name]) => name.startsWith('agentbus_gateway_up'))).toHaveLength(MOST_NAMED + 1)
})

test('a scrape reads what is open from indexes, however many jobs are over', { timeout: 120_000 }, async () => {
  const client = await t.database.pool.connect()
  await client.query('set session_replication_role = replica')
  await client.query(`
    insert into jobs (id, target_agent, job_type, subject, payload_hash, status, last_seq, run_after, timeout_seconds, lease_seconds, created_by, finished_at, lane)
    select gen_random_uuid(), 'devops', 't', 's', '', (case when n % 50 = 0 then 'queued' else 'succeeded' end)::job_status, 1, now(), 600, 600, 'test',
      case when n % 50 = 0 then null else now() end, (array['reactive', 'coding', 'idle'])[1 + n % 3]::lane
    from generate_series(1, 50000) n`)
  await client.query('reset session_replication_role')
  await client.query('vacuum analyze jobs')
  client.release()
  const plan = async (query: string): Promise<string> => JSON.stringify((await t.database.pool.query(`explain (format json) ${query}`)).rows)

  const plans = [
    await plan(`select lane, count(*), min(run_after) from jobs where status = 'queued' and run_after <= clock_timestamp() group by lane`),
    await plan(`select target_agent, status, count(*) from jobs where finished_at is null group by 1, 2`),
    await plan(`select count(*) from (select from jobs where status in ('failed', 'dead') and buried_at is null order by finished_at desc limit 10000) dead`),
  ]

  for (const text of plans) expect(text).not.toContain('Seq Scan')
  expect(plans[0]).toContain('jobs_queued_idx')
})
