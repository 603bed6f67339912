import { describe, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import { AgentConfig } from '../../contracts/fleet.js'
import type { GatewayId, JobId } from '../../contracts/ids.js'
import { EmitEventBody } from '../../contracts/events.js'
import { SubscriptionConfig } from '../../contracts/subscriptions.js'
import { StartWorkflowBody } from '../../contracts/workflows.js'
import { createSimulator, type Simulator } from '../../openclaw/simulator/simulator.js'
import { BACKEND, busOfTest, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

const wait = (hands: { block: (body: never) => Promise<unknown> }, waits_for: Record<string, unknown>) => hands.block({ blocked_reason: 'waits', waits_for } as never)
const apply = (t: TestBus, fleet: Record<string, unknown>) => t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], ...fleet }, { dryRun: false, prune: false })

// Side by side: each has a bus of its own, and one of them waits for a gateway to be missed.
describe.concurrent('hand-offs', () => {
  test('a job that asks for an approval goes on with the decision in its message', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished })
    const messages: string[] = []
    t.behave(async (hands) => {
      messages.push(hands.run.message)
      if (hands.attemptNo === 1) await wait(hands, { kind: 'approval', subject: 'Publish?', details: {} })
      else await hands.complete()
    })
    const job = await t.enqueue({ correlation_key: 'matter' })
    await t.until(job.id, ({ status }) => status === 'blocked')
    const [approval] = (await t.ledger.listApprovals({ limit: 1 })).items

    await t.ledger.handOffs.decide(OPERATOR, approval?.id as never, 'approved', 'after six')

    await t.until(job.id, ({ status }) => status === 'succeeded')
    expect(messages).toHaveLength(2)
    expect(messages[0]).not.toContain('"answer"')
    for (const part of ['"decision": "approved"', '"note": "after six"', '"decided_by": "operator:test-operator"']) expect(messages[1]).toContain(part)
  })

  test('events carry work through three agents, each in the chain of the one before', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished }, { agents: { devops: {}, auditor: {}, publisher: {} } })
    await apply(t, {
      subscriptions: [
        SubscriptionConfig.parse({ name: 'audit', agent: 'auditor', topic: 'build.done', subject: 'Audit {{payload.version}}' }),
        SubscriptionConfig.parse({ name: 'publish', agent: 'publisher', topic: 'audit.done', filter: { ok: true }, subject: 'Publish' }),
      ],
    })
    t.behave(async ({ run, complete }) => {
      const agent = /^Agent: +(\S+)$/m.exec(run.message)?.[1]
      const event = agent === 'devops' ? { topic: 'build.done', payload: { version: '1.4' } } : agent === 'auditor' ? { topic: 'audit.done', payload: { ok: true } } : undefined
      await complete(event === undefined ? {} : { events: [EmitEventBody.parse(event)] })
    })
    const startedMs = performance.now()

    const job = await t.enqueue({ correlation_key: 'release-1.4' })
    const done = async () => (await t.ledger.listJobs({ correlation_key: 'release-1.4', status: 'succeeded', limit: 5 })).items
    await expect.poll(async () => (await done()).length, { timeout: 20_000, interval: 5 }).toBe(3)

    console.log(`[${BACKEND}] three agents, two hand-offs by event: ${Math.round(performance.now() - startedMs)} ms`)
    const { jobs } = await t.ledger.trace({ job_id: job.id, prompts: 'false' })
    expect(jobs.map(({ target_agent: agent, source_agent: from, depth, subject }) => [agent, from, depth, subject])).toEqual([
      ['devops', null, 0, 'a job'],
      ['auditor', 'devops', 1, 'Audit 1.4'],
      ['publisher', 'auditor', 2, 'Publish'],
    ])
  })

  test('a job that waits for an agent goes on when that one’s gateway is back, and the states are rows', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished })
    let away: Simulator = createSimulator({ hookToken: 'test-hook-token', agents: 'any', behave: async () => ({ status: 'ok' }) })
    await away.start()
    const { port } = new URL(away.url)
    await apply(t, {
      gateways: [{ id: 'far' as GatewayId, base_url: away.url, hook_path: '/hooks', token: 'env:TEST_HOOK_TOKEN' }],
      agents: [AgentConfig.parse({ id: 'publisher', gateway: 'far' })],
    })
    const stateOf = async () => (await t.ledger.listAgents('publisher'))[0]?.state
    await away.stop({ drain: false })
    await expect.poll(stateOf, { timeout: 20_000 }).toBe('offline')
    t.behave(async (hands) => {
      if (hands.attemptNo === 1) await wait(hands, { kind: 'agent', agent: 'publisher' })
      else await hands.complete()
    })
    const job = await t.enqueue()
    expect((await t.until(job.id, ({ status }) => status === 'blocked' || status === 'succeeded')).status).toBe('blocked')

    away = createSimulator({ hookToken: 'test-hook-token', agents: 'any', port: Number(port), behave: async () => ({ status: 'ok' }) })
    await away.start()
    await expect.poll(stateOf, { timeout: 20_000, interval: 10 }).not.toBe('offline')
    const onlineMs = performance.now()
    await t.until(job.id, ({ status }) => status === 'succeeded')

    console.log(`[${BACKEND}] done ${Math.round(performance.now() - onlineMs)} ms after the agent was online`)
    expect((await t.ledger.getJob(job.id)).answer).toEqual({ kind: 'agent', agent: 'publisher', online: true })
    await expect
      .poll(
        async () =>
          (await t.ledger.listEvents({ topic: 'agents.*', order: 'asc', limit: 50 })).items.filter(({ payload }) => payload['agent'] === 'publisher').map(({ topic }) => topic),
        { timeout: 10_000 },
      )
      .toEqual(['agents.offline', 'agents.idle'])
    await away.stop({ drain: false })
  })

  test('a workflow runs over the bus, a branch of it by whoever is able', async ({ expect, onTestFinished }) => {
    const t = await busOfTest({ onTestFinished }, { agents: { devops: {}, auditor: { capabilities: ['review'] } } })
    const parsed = parseWorkflow(
      'name: w\ninputs: { v: {} }\nsteps:\n  - { id: a, agent: devops, payload: { v: "{{inputs.v}}" } }\n  - { id: b, capabilities: [review], needs: [a], payload: { from: "{{steps.a.result.got}}" } }\n  - { id: c, agent: devops, needs: [a] }\noutputs: { b: "{{steps.b.result.got}}" }',
    )
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
    t.behave(async ({ run, complete }) => {
      await complete({ result: { got: /"(?:v|from)": (\d+)/.exec(run.message)?.[1] ?? 'nothing' } })
    })
    await t.ledger.workflows.define(OPERATOR, parsed.workflow)

    const { run } = await t.ledger.workflows.start(OPERATOR, { namespace: 'default', name: 'w' }, StartWorkflowBody.parse({ inputs: { v: 7 } }))

    await expect.poll(async () => (await t.ledger.runHistory(run.run.id)).run.status, { timeout: 20_000 }).toBe('succeeded')
    const { steps, run: ended } = await t.ledger.runHistory(run.run.id)
    expect(steps.map(({ step, status, agent }) => [step, status, agent])).toEqual([
      ['a', 'succeeded', 'devops'],
      ['b', 'succeeded', 'auditor'],
      ['c', 'succeeded', 'devops'],
    ])
    expect(ended.outputs).toEqual({ b: expect.any(String) as string })
    const routed = await t.ledger.jobHistory(steps[1]?.job_id as JobId)
    expect(routed.transitions.map(({ reason }) => reason)).toContain('assigned')
  })
})
