import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DelegationRule } from '../../contracts/fleet.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import type { CommandContext } from '../../ledger/caller.js'
import { lostEntries, republishBatch } from '../../ledger/queue-parity.js'
import { attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('ana', { capabilities: ['code', 'review'] })
  await t.addAgent('ben', { capabilities: ['code'] })
})
afterEach(() => t.close())

const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
const need = async (capabilities: string[], more: Record<string, unknown> = {}, as: CommandContext = OPERATOR): Promise<JobView> =>
  (await t.ledger.jobs.create(as, CreateJobBody.parse({ capabilities, subject: 'a job', ...more }))).job
const agentOf = async (job: JobView) => (await t.ledger.getJob(job.id)).target_agent
const reasons = async (job: JobView) => (await t.ledger.jobHistory(job.id)).transitions.map(({ reason }) => reason)

async function work(job: JobView): Promise<void> {
  const now = await t.ledger.getJob(job.id)
  const leased = await leaseAs(t.ledger, now.id, now.generation)
  if (leased.kind !== 'start') throw new Error(`not leased: ${leased.kind}`)
  await t.ledger.jobs.complete({ caller: attemptCaller(leased.attempt.id as never, now.id, String(now.target_agent)) }, now.id, CompleteJobBody.parse({}))
}

describe('a job that names capabilities', () => {
  test('is in no queue until an able agent has a free place; the choice and why are in its history', async () => {
    const job = await need(['review'])
    expect(job).toMatchObject({ target_agent: null, capabilities: ['review'], status: 'queued' })
    const before = await t.database.pool.query('select 1 from outbox where job_id = $1', [job.id])
    expect(before.rowCount).toBe(0)

    await t.ledger.upkeep.assign(10)

    expect(await agentOf(job)).toBe('ana')
    const { transitions } = await t.ledger.jobHistory(job.id)
    expect(transitions.at(-1)).toMatchObject({ reason: 'assigned', details: { agent: 'ana', because: 'least_loaded', load: 0, concurrency: 1, able: 1 } })
    const after = await t.database.pool.query('select kind, agent_id, generation from outbox where job_id = $1', [job.id])
    expect(after.rows).toEqual([{ kind: 'publish', agent_id: 'ana', generation: 2 }])
  })

  test('is left out when the queues are rebuilt before it has an agent: the others are published', async () => {
    const [unassigned, { job }] = [await need(['review']), await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'ben', subject: 'a job' }))]

    const entries = await lostEntries(t.ledger.db, { after: undefined, limit: 10 })
    const published = await republishBatch(t.ledger.db, { actor: { kind: 'reconciler', id: 'r' }, epoch: 'e', entries })

    expect([entries, published]).toEqual([[{ jobId: job.id, generation: 1, priority: 100 }], 1])
    const { rows } = await t.database.pool.query('select job_id, generation from outbox')
    expect(rows).toEqual([{ job_id: job.id, generation: 2 }])
    expect(await reasons(unassigned)).not.toContain('requeued_by_reconciler')
  })

  test('waits while all able agents are busy, and goes to the first that is free', async () => {
    const [first, second] = [await need(['review']), await need(['review'])]
    await t.ledger.upkeep.assign(10)
    expect([await agentOf(first), await agentOf(second)]).toEqual(['ana', null])

    await work(first)
    await t.ledger.upkeep.assign(10)

    expect(await agentOf(second)).toBe('ana')
  })

  test('goes by urgency, then by age; one that nobody can do now does not hold up the others', async () => {
    await need(['review'])
    const old = await need(['code'])
    const urgent = await need(['code'], { priority: 900 })
    const stuck = await need(['review'], { priority: 1000 })
    await t.database.pool.query(`update agents set enabled = false where id = 'ana'`)

    await t.ledger.upkeep.assign(10)

    expect([await agentOf(urgent), await agentOf(old), await agentOf(stuck)]).toEqual(['ben', null, null])
  })

  test('is refused when nobody is able, or nobody whom its sender may ask', async () => {
    await expect(need(['flying'])).rejects.toMatchObject({ code: 'AGENTBUS_NO_ABLE_AGENT', status: 422 })
    await expect(need(['code', 'flying'])).rejects.toMatchObject({ code: 'AGENTBUS_NO_ABLE_AGENT' })
    await t.addAgent('devops', { delegation: [DelegationRule.parse({ to: ['ben'] })] })
    await expect(need(['review'], {}, agent('devops'))).rejects.toMatchObject({
      code: 'AGENTBUS_DELEGATION_REFUSED',
      message: 'devops may not send reactive to any agent that can do review (ana).',
    })
    const { rows } = await t.database.pool.query(`select kind from observations where code = 'AGENTBUS_DELEGATION_REFUSED'`)
    expect(rows).toEqual([{ kind: 'refusal' }])
  })

  test('goes only to whom its sender may ask', async () => {
    await t.addAgent('devops', { delegation: [DelegationRule.parse({ to: ['ben'] })] })
    const jobs = [await need(['code'], {}, agent('devops')), await need(['code'], {}, agent('devops'))]

    await t.ledger.upkeep.assign(10)

    expect([await agentOf(jobs[0] as JobView), await agentOf(jobs[1] as JobView)]).toEqual(['ben', null])
  })

  test('with a dedupe key is one job, whoever it was given to', async () => {
    const job = await need(['code'], { dedupe_key: 'k' })
    await t.ledger.upkeep.assign(10)

    expect((await need(['code'], { dedupe_key: 'k' })).id).toBe(job.id)
    await work(job)
    expect((await need(['code'], { dedupe_key: 'k' })).id).not.toBe(job.id)
  })

  test('names either an agent or capabilities', () => {
    expect(CreateJobBody.safeParse({ subject: 'x' }).success).toBe(false)
    expect(CreateJobBody.safeParse({ subject: 'x', target_agent: 'ana', capabilities: ['code'] }).success).toBe(false)
  })

  test('comes back from an agent that goes offline before it has begun, and goes to another', async () => {
    await t.database.pool.query(`insert into gateways (id, base_url, token_ref) values ('gw2', 'http://127.0.0.1:9', 'env:X')`)
    await t.database.pool.query(`update agents set gateway_id = 'gw2' where id = 'ben'`)
    await t.database.pool.query(`update agents set capabilities = '{review}' where id = 'ana'`)
    const job = await need(['code'])
    await t.ledger.upkeep.assign(10)
    expect(await agentOf(job)).toBe('ben')
    await t.database.pool.query(`update agents set capabilities = '{code}' where id = 'ana'`)
    await t.database.pool.query(`update gateways set breaker = 'open', breaker_reason = 'test' where id = 'gw2'`)

    await t.ledger.upkeep.assign(10)

    expect(await agentOf(job)).toBe('ana')
    expect(await reasons(job)).toEqual(['created', 'assigned', 'given_back', 'assigned'])
    await work(job)
  })

  test('that has begun stays with its agent', async () => {
    const job = await need(['review'])
    await t.ledger.upkeep.assign(10)
    const leased = await leaseAs(t.ledger, job.id, 2)
    expect(leased.kind).toBe('start')
    await t.database.pool.query(`update gateways set breaker = 'open', breaker_reason = 'test'`)

    await t.ledger.upkeep.assign(10)

    expect(await t.ledger.getJob(job.id)).toMatchObject({ target_agent: 'ana', status: 'leased' })
  })
})

test('20 tasks for 4 equal agents end within 2 of each other, however many assign at once', async () => {
  for (const id of ['w1', 'w2', 'w3', 'w4']) await t.addAgent(id, { capabilities: ['task'] })
  const jobs = await Promise.all(Array.from({ length: 20 }, () => need(['task'])))
  const done = new Map<string, number>()

  for (let round = 0; done.size === 0 || [...done.values()].reduce((sum, n) => sum + n, 0) < 20; round += 1) {
    if (round > 20) throw new Error('some were never assigned')
    await Promise.all([t.ledger.upkeep.assign(100), t.ledger.upkeep.assign(100), t.ledger.upkeep.assign(100)])
    for (const job of jobs) {
      const now = await t.ledger.getJob(job.id)
      if (now.status !== 'queued' || now.target_agent === null) continue
      done.set(now.target_agent, (done.get(now.target_agent) ?? 0) + 1)
      await work(job)
    }
  }

  expect([...done.values()].sort()).toEqual([5, 5, 5, 5])
})

test('three that assign at once give no place twice', async () => {
  const jobs = await Promise.all(Array.from({ length: 12 }, () => need(['code'])))

  await Promise.all([t.ledger.upkeep.assign(100), t.ledger.upkeep.assign(100), t.ledger.upkeep.assign(100)])

  const assigned = (await Promise.all(jobs.map(agentOf))).filter((id) => id !== null)
  expect(assigned.sort()).toEqual(['ana', 'ben'])
})

describe('the watch of agents', () => {
  test('takes down each change once, as a row and an event, and shows since when', async () => {
    await t.ledger.upkeep.watchAgents()
    expect((await t.ledger.listEvents({ topic: 'agents.*', order: 'asc', limit: 10 })).items).toEqual([])
    const job = await need(['review'])
    await t.ledger.upkeep.assign(10)
    await leaseAs(t.ledger, job.id, 2)
    await t.ledger.upkeep.watchAgents()
    expect(await t.ledger.upkeep.watchAgents()).toBe(0)
    await t.database.pool.query(`update gateways set breaker = 'open', breaker_reason = 'test'`)
    await t.ledger.upkeep.watchAgents()

    const { items } = await t.ledger.listEvents({ topic: 'agents.*', order: 'asc', limit: 10 })
    expect(items.map(({ topic, payload }) => [topic, payload['agent'], payload['from']])).toEqual([
      ['agents.assigned', 'ana', 'idle'],
      ['agents.offline', 'ana', 'assigned'],
      ['agents.offline', 'ben', 'idle'],
      ['agents.offline', 'devops', 'idle'],
    ])
    const { rows } = await t.database.pool.query(`select from_state, to_state from agent_state_changes where agent_id = 'ana' order by id`)
    expect(rows).toEqual([
      { from_state: null, to_state: 'idle' },
      { from_state: 'idle', to_state: 'assigned' },
      { from_state: 'assigned', to_state: 'offline' },
    ])
    const [ana] = await t.ledger.listAgents('ana')
    expect(ana).toMatchObject({ state: 'offline', state_since: expect.stringMatching(/^2\d{3}-/) as string })
  })
})
