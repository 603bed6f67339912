import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CompleteJobBody } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody, type JobView } from '../../contracts/jobs.js'
import { DelegationRule } from '../../contracts/fleet.js'
import { SubscriptionConfig, ReactionsConfig } from '../../contracts/subscriptions.js'
import type { CommandContext } from '../../ledger/caller.js'
import { attemptCaller, freshLedger, leaseAs, OPERATOR, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  for (const id of ['auditor', 'coordinator']) await t.addAgent(id, { concurrency: 100 })
})
afterEach(() => t.close())

const agent = (id: string): CommandContext => ({ caller: { role: 'agent', tokenId: id, name: id, agentId: id as never } })
const subscribe = (...list: Record<string, unknown>[]) =>
  t.ledger.applyFleet(
    OPERATOR,
    { version: 1, gateways: [], agents: [], subscriptions: list.map((one) => SubscriptionConfig.parse({ name: 'on-security', agent: 'devops', topic: 'security.*', ...one })) },
    { dryRun: false, prune: false },
  )
const limits = (reactions: Partial<ReactionsConfig>) =>
  t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], reactions: ReactionsConfig.parse(reactions) }, { dryRun: false, prune: false })
const emit = (topic: string, more: Record<string, unknown> = {}, as: CommandContext = OPERATOR) => t.ledger.jobs.emit(as, EmitEventBody.parse({ topic, ...more }))
const jobsOf = async (target: string): Promise<JobView[]> => (await t.ledger.listJobs({ target_agent: target as never, limit: 200 })).items
const reactions = async () => (await t.ledger.listReactions({ limit: 200 })).items

/** Leases the one queued job of an agent and closes it with these events. */
async function closeWith(target: string, events: Record<string, unknown>[]): Promise<JobView> {
  const job = (await jobsOf(target)).find(({ status }) => status === 'queued')
  if (job === undefined) throw new Error(`${target} has nothing to do`)
  const leased = await leaseAs(t.ledger, job.id, job.generation)
  if (leased.kind !== 'start') throw new Error(`not leased: ${leased.kind}`)
  const as: CommandContext = { caller: attemptCaller(leased.attempt.id as never, job.id, target) }
  return t.ledger.jobs.complete(as, job.id, CompleteJobBody.parse({ events }))
}

describe('a subscription', () => {
  test.each([
    ['security.*', 'security.alert', true],
    ['security.*', 'security.alert.high', true],
    ['security.*', 'security', false],
    ['security.*', 'securityx.alert', false],
    ['security.alert', 'security.alert', true],
    ['security.alert', 'security.alert.high', false],
    ['*', 'anything.at.all', true],
  ])('to %s and an event %s: %s', async (topic, emitted, reacts) => {
    await subscribe({ topic })

    await emit(emitted)

    expect(await jobsOf('devops')).toHaveLength(reacts ? 1 : 0)
  })

  test('makes the job that its template says, in the chain and the matter of the event, under the version that matched', async () => {
    await subscribe({
      subject: 'Look at {{payload.host}}: {{payload.finding.title}}',
      payload: { level: '{{payload.finding.level}}', where: { host: '{{payload.host}}' }, from: '{{event.source_agent}}', fixed: 7 },
      job_type: 'security.look',
      lane: 'proactive',
      priority: 900,
      max_attempts: 2,
    })

    const { event } = await emit('security.alert', { correlation_key: 'incident-1', payload: { host: 'web-1', finding: { title: 'open port', level: 3 } } }, agent('auditor'))

    const [job] = await jobsOf('devops')
    expect(job).toMatchObject({
      subject: 'Look at web-1: open port',
      payload: { level: 3, where: { host: 'web-1' }, from: 'auditor', fixed: 7 },
      job_type: 'security.look',
      lane: 'proactive',
      priority: 900,
      max_attempts: 2,
      source_agent: 'auditor',
      correlation_key: 'incident-1',
      source_event_id: event.id,
      hops: 1,
      status: 'queued',
      created_by: 'system:subscription:on-security',
    })
    expect(await reactions()).toMatchObject([{ event_id: event.id, topic: 'security.alert', subscription: 'on-security', status: 'made', job_id: job?.id, version: 1 }])
    const { rows } = await t.database.pool.query('select kind, generation from outbox where job_id = $1', [job?.id])
    expect(rows).toEqual([{ kind: 'publish', generation: 1 }])
  })

  test.each([
    [{ level: 'high' }, { level: 'high' }, true],
    [{ level: 'high' }, { level: 'low' }, false],
    [{ level: ['high', 'urgent'] }, { level: 'urgent' }, true],
    [{ 'count.open': { gte: 3, lt: 10 } }, { count: { open: 9 } }, true],
    [{ 'count.open': { gte: 3, lt: 10 } }, { count: { open: 10 } }, false],
    [{ 'count.open': { gte: 3 } }, { count: { open: '4' } }, false],
    [{ host: { exists: false } }, {}, true],
    [{ host: { exists: false } }, { host: null }, false],
    [{ tags: { contains: 'prod' } }, { tags: ['prod', 'web'] }, true],
    [{ host: { starts_with: 'web-' } }, { host: 'db-1' }, false],
    [{ host: { ne: 'db-1' } }, {}, true],
    [{ constructor: { exists: true } }, {}, false],
  ])('with the filter %j and the payload %j reacts: %s', async (filter, payload, reacts) => {
    await subscribe({ filter })

    await emit('security.alert', { payload })

    expect(await jobsOf('devops')).toHaveLength(reacts ? 1 : 0)
  })

  test('for the inbox files a finding, and with a key the same one again', async () => {
    await subscribe({ as: 'inbox', subject: 'Port {{payload.port}} is open', dedupe: 'port-{{payload.port}}', level: 'warning' })

    await emit('security.port', { payload: { port: 22 } })
    await emit('security.port', { payload: { port: 22 } })
    await emit('security.port', { payload: { port: 80 } })

    const { items } = await t.ledger.listFindings({ agent: 'devops' as never, limit: 50 })
    expect(items.map(({ subject_key, count, body, level }) => ({ subject_key, count, body, level }))).toEqual([
      { subject_key: 'port-80', count: 1, body: 'Port 80 is open', level: 'warning' },
      { subject_key: 'port-22', count: 2, body: 'Port 22 is open', level: 'warning' },
    ])
    expect((await reactions()).map(({ status }) => status)).toEqual(['made', 'joined', 'made'])
    expect(await jobsOf('devops')).toHaveLength(0)
  })

  test('with a key joins the open job, and makes another when that is over', async () => {
    await subscribe({ dedupe: '{{payload.host}}' })

    await emit('security.alert', { payload: { host: 'a' } })
    await emit('security.alert', { payload: { host: 'a' } })
    await closeWith('devops', [])
    await emit('security.alert', { payload: { host: 'a' } })

    expect((await reactions()).map(({ status }) => status)).toEqual(['made', 'joined', 'made'])
    expect(await jobsOf('devops')).toHaveLength(2)
  })

  test('does not tell an agent what it said itself, unless it asks for that', async () => {
    await subscribe({ agent: 'auditor' }, { name: 'own', agent: 'auditor', own_events: true })

    await emit('security.alert', {}, agent('auditor'))

    expect((await reactions()).map(({ subscription }) => subscription)).toEqual(['own'])
  })

  test('an event that is known already by its key makes nothing new', async () => {
    await subscribe({})

    await emit('security.alert', { dedupe_key: 'x' })
    await emit('security.alert', { dedupe_key: 'x' })

    expect(await jobsOf('devops')).toHaveLength(1)
  })

  test('is bound by the delegation rules of whoever emitted the event: a refusal is a row, and the event stands', async () => {
    await t.addAgent('auditor', { delegation: [DelegationRule.parse({ to: ['coordinator'] })] })
    await subscribe({})

    const { event } = await emit('security.alert', {}, agent('auditor'))

    expect(await reactions()).toMatchObject([
      { event_id: event.id, status: 'refused', job_id: null, detail: 'auditor may not send reactive to devops; it may send anything to coordinator.' },
    ])
    const { rows } = await t.database.pool.query(`select kind, actor from observations where code = 'reaction_refused'`)
    expect(rows).toEqual([{ kind: 'refusal', actor: 'subscription:on-security' }])
  })

  test('whose payload cannot be a job fails with a row, and leaves the event and the others alone', async () => {
    await subscribe({ name: 'a-bad', subject: '{{payload.nothing}}' }, { name: 'b-good' })

    await emit('security.alert')

    expect((await reactions()).map(({ subscription, status }) => [subscription, status]).sort()).toEqual([
      ['a-bad', 'failed'],
      ['b-good', 'made'],
    ])
  })

  test('is versioned, shown as a difference, disabled when no longer named, and set and disabled alone', async () => {
    const [added] = await subscribe({})
    const [changed] = await subscribe({ priority: 500 })
    const [same] = await subscribe({ priority: 500 })
    expect([added?.change, changed?.change, same?.change]).toEqual(['added', 'changed', 'unchanged'])
    expect(changed?.fields).toEqual({ priority: { from: 100, to: 500 } })

    const alone = await t.ledger.handOffs.setSubscription(OPERATOR, SubscriptionConfig.parse({ name: 'other', agent: 'auditor', topic: 'a.b' }), { dryRun: false })
    expect(alone).toMatchObject({ change: { kind: 'subscription', id: 'other', change: 'added' }, subscription: { version: 1 } })
    await expect(t.ledger.handOffs.disableSubscription({ ...OPERATOR, ifVersion: 7 }, { namespace: 'default', name: 'other' })).rejects.toMatchObject({
      code: 'AGENTBUS_VERSION_MISMATCH',
    })
    await t.ledger.handOffs.disableSubscription(OPERATOR, { namespace: 'default', name: 'other' })
    await expect(t.ledger.handOffs.disableSubscription(OPERATOR, { namespace: 'default', name: 'none' })).rejects.toMatchObject({ code: 'AGENTBUS_SUBSCRIPTION_NOT_FOUND' })
    await emit('a.b')
    expect(await jobsOf('auditor')).toHaveLength(0)
    const { rows } = await t.database.pool.query(`select id, version from fleet_versions where kind = 'subscription' order by id, version`)
    expect(rows).toEqual([
      { id: 'on-security', version: 1 },
      { id: 'on-security', version: 2 },
      { id: 'other', version: 1 },
      { id: 'other', version: 2 },
    ])
  })
})

describe('a storm', () => {
  test('in which two agents wake each other ends by the repeats, with a row and an event', async () => {
    await limits({ max_hops: 100, max_repeats: 2 })
    await subscribe({ name: 'ping', agent: 'devops', topic: 'ping.done' }, { name: 'pong', agent: 'auditor', topic: 'pong.done' })

    await emit('ping.done')
    let turns = 0
    for (; turns < 50; turns += 1) {
      const next = [...(await jobsOf('devops')), ...(await jobsOf('auditor'))].find(({ status }) => status === 'queued')
      if (next === undefined) break
      await closeWith(String(next.target_agent), [{ topic: next.target_agent === 'devops' ? 'pong.done' : 'ping.done' }])
    }

    expect(turns).toBe(4)
    expect((await reactions()).map(({ subscription, status }) => `${subscription} ${status}`)).toEqual(['ping cut', 'pong made', 'ping made', 'pong made', 'ping made'])
    const { items } = await t.ledger.listEvents({ topic: 'reactions.cut', order: 'asc', limit: 10 })
    expect(items).toMatchObject([
      { payload: { subscription: 'ping', topic: 'ping.done', because: 'the subscription has reacted 2 times in this chain; reactions.max_repeats is 2' }, hops: 4 },
    ])
    const { rows } = await t.database.pool.query(`select kind, agent_id from observations where code = 'reaction_cut'`)
    expect(rows).toEqual([{ kind: 'drop', agent_id: 'devops' }])
  })

  test('ends by the number of hops, also when follow-ups lie between', async () => {
    await limits({ max_hops: 2, max_repeats: 100 })
    await subscribe({ name: 'loop', agent: 'devops', topic: 'loop.done', own_events: true })

    await emit('loop.done')
    await closeWith('devops', [{ topic: 'loop.done' }])
    const job = (await jobsOf('devops')).find(({ status }) => status === 'queued')
    const leased = await leaseAs(t.ledger, job?.id as never, 1)
    if (leased.kind !== 'start') throw new Error('not leased')
    await t.ledger.jobs.complete({ caller: attemptCaller(leased.attempt.id as never, job?.id as never, 'devops') }, job?.id as never, {
      ...CompleteJobBody.parse({}),
      follow_ups: [CreateJobBody.parse({ target_agent: 'auditor', subject: 'between' })],
    })
    await closeWith('auditor', [{ topic: 'loop.done' }])

    expect((await reactions()).map(({ status }) => status)).toEqual(['cut', 'made', 'made'])
  })

  test('whoever subscribes to the cut is told, once, and cannot go on with the chain', async () => {
    await limits({ max_hops: 1 })
    await subscribe({ name: 'loop', agent: 'devops', topic: 'loop.done', own_events: true }, { name: 'alarm', agent: 'coordinator', topic: 'reactions.*' })

    await emit('loop.done')
    await closeWith('devops', [{ topic: 'loop.done' }])
    expect(await jobsOf('coordinator')).toHaveLength(1)
    await closeWith('coordinator', [{ topic: 'loop.done' }])

    expect(await jobsOf('coordinator')).toHaveLength(1)
    expect(await jobsOf('devops')).toHaveLength(1)
  })

  test('of 60 subscribers is made in pages, each once, whoever makes them', async () => {
    await subscribe(...Array.from({ length: 60 }, (_none, at) => ({ name: `s-${at}` })))

    await emit('security.alert')
    const atOnce = (await jobsOf('devops')).length
    const made = await Promise.all([t.ledger.upkeep.reactToStorm(15), t.ledger.upkeep.reactToStorm(15), t.ledger.upkeep.reactToStorm(15)])

    expect(atOnce).toBe(20)
    expect(made.reduce((sum, n) => sum + n, 0)).toBe(40)
    expect((await reactions()).map(({ status }) => status)).toEqual(Array.from({ length: 60 }, () => 'made'))
    expect(new Set((await reactions()).map(({ job_id: id }) => id)).size).toBe(60)
  })

  test('beyond the fan-out is cut, with a row and an event', async () => {
    await limits({ max_fan_out: 5 })
    await subscribe(...Array.from({ length: 8 }, (_none, at) => ({ name: `s-${at}` })))

    await emit('security.alert')

    expect(await jobsOf('devops')).toHaveLength(5)
    const { items } = await t.ledger.listEvents({ topic: 'reactions.cut', order: 'asc', limit: 10 })
    expect(items).toMatchObject([{ payload: { matched: 8, made: 5 } }])
  })
})

test('what a reaction came to cannot be changed or taken away', async () => {
  await subscribe({})
  await emit('security.alert')

  await expect(t.database.pool.query(`update reactions set status = 'cut', detail = 'x'`)).rejects.toThrow()
  await expect(t.database.pool.query('delete from reactions')).rejects.toThrow()
})
