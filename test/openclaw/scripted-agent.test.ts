import { describe, expect, test } from 'vitest'
import { BlockJobBody, CompleteJobBody, FailJobBody } from '../../contracts/closings.js'
import { renderJobMessage } from '../../openclaw/contract.js'
import { createScriptedAgent } from '../../openclaw/simulator/scripted-agent.js'
import type { Simulator } from '../../openclaw/simulator/simulator.js'
import { aClient, anHttpServer, aPost, aSimulator, bodies } from './support.js'

const JOB_ID = '0198f3a0-0000-7000-8000-000000000001'

interface Call {
  readonly method: string
  readonly path: string
  readonly authorization: string | undefined
  readonly body: unknown
}

/** A bus that has one job and writes down what it is told. */
async function aBus(payload: Record<string, unknown>, status = 200): Promise<{ url: string; calls: Call[]; closes: () => Call[] }> {
  const calls: Call[] = []
  const url = await anHttpServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      calls.push({ method: request.method ?? '', path: request.url ?? '', authorization: request.headers.authorization, body: text === '' ? undefined : JSON.parse(text) })
      response.writeHead(request.method === 'GET' ? 200 : status).end(JSON.stringify({ id: JOB_ID, payload }))
    })
  })
  return { url, calls, closes: () => calls.filter((call) => call.method === 'POST') }
}

function messageFor(apiUrl: string, attemptNo = 1): string {
  return renderJobMessage({
    job: {
      id: JOB_ID,
      namespace: 'default',
      target_agent: 'devops',
      source_agent: null,
      job_type: 'reactive',
      subject: 's',
      lane: 'reactive',
      priority: 100,
      correlation_key: null,
      payload: {},
      state: {},
    },
    attempt: { id: '0198f3a0-0000-7000-8000-000000000002', attempt_no: attemptNo, max: 5 },
    attemptToken: 'attempt-token',
    apiUrl,
  })
}

/** Has the agent carry out one order, and waits for the end of its run. */
async function carryOut(payload: Record<string, unknown>, { attemptNo = 1, status = 200 } = {}) {
  const bus = await aBus(payload, status)
  const gateway = await aSimulator({ behave: createScriptedAgent() })
  const outcome = await order(gateway, messageFor(bus.url, attemptNo))
  return { ...bus, gateway, outcome }
}

function order(gateway: Simulator, message: string) {
  return aClient().join(aPost(gateway.url, { body: bodies({ message }).join }))
}

test('by default it reads the job and completes it at once, saying loudly that nobody worked on it', async () => {
  const { calls, outcome } = await carryOut({})

  expect(outcome).toMatchObject({ kind: 'completed', completion: { status: 'ok' } })
  expect(calls).toEqual([
    { method: 'GET', path: `/v1/jobs/${JOB_ID}`, authorization: 'Bearer attempt-token', body: undefined },
    {
      method: 'POST',
      path: `/v1/jobs/${JOB_ID}/complete`,
      authorization: 'Bearer attempt-token',
      body: { summary: expect.stringContaining('SIMULATED'), result: { simulated: true } },
    },
  ])
  expect(CompleteJobBody.safeParse(calls[1]?.body).success).toBe(true)
})

describe('on a hint', () => {
  test('it completes with the result, events and follow-ups asked for, and cannot hide that it is simulated', async () => {
    const simulate = { result: { found: 3, simulated: false }, events: [{ topic: 'x.done' }], follow_ups: [{ target_agent: 'auditor', subject: 'check' }] }

    const { closes } = await carryOut({ simulate })

    expect(closes()).toMatchObject([{ body: { result: { found: 3, simulated: true }, events: [{ topic: 'x.done' }], follow_ups: [{ subject: 'check' }] } }])
    expect(CompleteJobBody.safeParse(closes()[0]?.body).success).toBe(true)
  })

  test('it blocks once, and completes when it was unblocked', async () => {
    const payload = { simulate: { outcome: 'block', blocked_reason: 'no key', waits_for: { kind: 'event', topic: 'key.given' } } }

    const first = await carryOut(payload)
    const second = await carryOut(payload, { attemptNo: 2 })

    expect(first.closes()).toMatchObject([{ path: `/v1/jobs/${JOB_ID}/block`, body: { blocked_reason: 'no key', blocked_owner: 'operator' } }])
    expect(BlockJobBody.safeParse(first.closes()[0]?.body).success).toBe(true)
    expect(second.closes()).toMatchObject([{ path: `/v1/jobs/${JOB_ID}/complete` }])
  })

  test('it fails for good, or asks for a retry', async () => {
    const forGood = await carryOut({ simulate: { outcome: 'fail' } })
    const retry = await carryOut({ simulate: { outcome: 'retry', retry_seconds: 9 } })

    expect(forGood.closes()).toMatchObject([{ path: `/v1/jobs/${JOB_ID}/fail` }])
    expect(forGood.closes()[0]?.body).not.toHaveProperty('retry_seconds')
    expect(retry.closes()).toMatchObject([{ path: `/v1/jobs/${JOB_ID}/fail`, body: { retry_seconds: 9 } }])
    expect(FailJobBody.safeParse(retry.closes()[0]?.body).success).toBe(true)
  })

  test.each([
    [1, 'fail'],
    [2, 'fail'],
    [3, 'complete'],
  ])('to fail twice, attempt %i ends with %s', async (attemptNo, end) => {
    const { closes } = await carryOut({ simulate: { fail_times: 2, retry_seconds: 1 } }, { attemptNo })

    expect(closes().map((call) => call.path)).toEqual([`/v1/jobs/${JOB_ID}/${end}`])
  })

  test('it ends its run in silence', async () => {
    const { closes, outcome } = await carryOut({ simulate: { outcome: 'silent' } })

    expect(outcome).toMatchObject({ kind: 'completed', completion: { status: 'ok' } })
    expect(closes()).toEqual([])
  })

  test('it closes late, after its run has ended', async () => {
    const { closes, gateway } = await carryOut({ simulate: { outcome: 'late', delay_ms: 200 } })

    expect(gateway.runs()[0]?.outcome).toBe('ok')
    expect(closes()).toEqual([])
    await expect.poll(() => closes().map((call) => call.path)).toEqual([`/v1/jobs/${JOB_ID}/complete`])
  })

  test('that makes no sense it fails the job and names the hint', async () => {
    const { closes } = await carryOut({ simulate: { outcome: 'explode' } })

    expect(closes()).toMatchObject([{ path: `/v1/jobs/${JOB_ID}/fail`, body: { last_error: expect.stringContaining('payload.simulate is not valid: outcome') } }])
  })
})

test('a refused close ends the run as a model would end it: quietly, with the job open', async () => {
  const { outcome, closes } = await carryOut({}, { status: 409 })

  expect(outcome).toMatchObject({ kind: 'completed', completion: { status: 'ok' } })
  expect(closes()).toHaveLength(1)
})

test('a message that is no order is answered and leads to nothing', async () => {
  const gateway = await aSimulator({ behave: createScriptedAgent() })

  expect(await order(gateway, 'hello')).toMatchObject({ kind: 'completed', completion: { status: 'ok' } })
})

test('an agent that waits when its gateway crashes closes nothing afterwards', async () => {
  const bus = await aBus({ simulate: { delay_ms: 600_000 } })
  const ended: string[] = []
  const agent = createScriptedAgent()
  const gateway = await aSimulator({
    behave: async (run) => {
      const end = await agent(run)
      ended.push(end.status)
      return end
    },
  })
  const waiting = order(gateway, messageFor(bus.url))
  await expect.poll(() => bus.calls.length).toBe(1)

  await gateway.crash()

  expect(await waiting).toMatchObject({ kind: 'broken' })
  await expect.poll(() => ended).toEqual(['error'])
  expect(bus.closes()).toEqual([])
})
