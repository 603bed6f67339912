import { renderWakeBody } from '../../openclaw/render-hook.js'
import { describe, expect, test } from 'vitest'
import { aClient, aClosedPort, aPost, aSimulator, bodies, gate, TOKEN } from './support.js'

describe('admit', () => {
  test('resolves while the run still goes on', async () => {
    const end = gate()
    const gateway = await aSimulator({
      behave: async () => {
        await end.passed
        return { status: 'ok' }
      },
    })

    const outcome = await aClient().admit(aPost(gateway.url))

    expect(outcome).toMatchObject({ kind: 'admitted', httpStatus: 200, runId: gateway.runs()[0]?.runId })
    expect(gateway.runs()).toMatchObject([{ key: 'attempt-1', agentId: 'devops', bytes: bodies().admit, endedAtMs: undefined }])
    end.open()
  })

  test('keeps the completion when a gateway sends one at once', async () => {
    const gateway = await aSimulator()

    const outcome = await aClient().admit(aPost(gateway.url, { body: bodies().join }))

    expect(outcome).toMatchObject({ kind: 'admitted', completion: { status: 'ok', replyDisposition: 'visible' } })
  })

  test.each([
    [400, '{"ok":false,"error":"unknown agentId \\"x\\""}', '400 unknown agentId "x"'],
    [401, 'Unauthorized', '401 Unauthorized'],
    [404, 'Not Found', '404 Not Found'],
    [405, 'Method Not Allowed', '405 Method Not Allowed'],
    [413, '{"ok":false,"error":"payload too large"}', '413 payload too large'],
    [302, 'elsewhere', '302 a redirect, which is not followed'],
  ])('calls %i our mistake, in the words of the gateway', async (status, body, reason) => {
    const gateway = await aSimulator()
    gateway.setFault({ status, body })

    const outcome = await aClient().admit(aPost(gateway.url))

    expect(outcome).toMatchObject({ kind: 'refused', httpStatus: status, reason })
  })

  test.each([
    [408, true],
    [409, true],
    [429, true],
    [500, false],
    [502, true],
    [503, true],
    [504, false],
  ])('calls %i undelivered; surely so: %s', async (status, certain) => {
    const gateway = await aSimulator()
    gateway.setFault({ status, body: '{"ok":false,"error":"not now"}', retryAfter: '7' })

    const outcome = await aClient().admit(aPost(gateway.url))

    expect(outcome).toMatchObject({ kind: 'undelivered', certain, httpStatus: status, reason: `${status} not now`, retryAfterMs: 7_000 })
  })

  test('reads the other shape in which a draining gateway speaks', async () => {
    const gateway = await aSimulator()
    gateway.setDraining(true)

    const outcome = await aClient().admit(aPost(gateway.url))

    expect(outcome).toMatchObject({
      kind: 'undelivered',
      certain: true,
      httpStatus: 503,
      retryAfterMs: 1_000,
      reason: '503 Gateway is temporarily unavailable while suspending or restarting',
    })
  })

  test('is surely undelivered where nothing listens', async () => {
    const outcome = await aClient().admit(aPost(await aClosedPort()))

    expect(outcome).toMatchObject({ kind: 'undelivered', certain: true, reason: expect.stringContaining('ECONNREFUSED') })
  })

  test.each([
    ['a name that does not exist', 'http://gateway.invalid'],
    ['TLS spoken to a server without it', 'tls'],
    ['an address that is none', 'http://256.0.0.1:http'],
  ])('is surely undelivered at %s', async (_what, url) => {
    const gateway = await aSimulator()

    const outcome = await aClient().admit(aPost(url === 'tls' ? gateway.url.replace('http:', 'https:') : url))

    expect(outcome).toMatchObject({ kind: 'undelivered', certain: true })
    expect(gateway.runs()).toEqual([])
  })

  test('may have been delivered when the deadline passes after the request was sent', async () => {
    const gateway = await aSimulator({ maxRuns: 0 })

    const outcome = await aClient().admit(aPost(gateway.url, { deadlineMs: 200 }))

    expect(outcome).toEqual({ kind: 'undelivered', certain: false, reason: 'no answer in time' })
  })

  test('ends at once when the caller gives up, also when it had given up before', async () => {
    const gateway = await aSimulator({ maxRuns: 0 })
    const stop = new AbortController()
    const client = aClient()

    const waiting = client.admit(aPost(gateway.url, { signal: stop.signal }))
    await expect.poll(() => gateway.requests().length).toBe(1)
    stop.abort()

    expect(await waiting).toEqual({ kind: 'undelivered', certain: false, reason: 'given up by the sender' })
    expect(await client.admit(aPost(gateway.url, { signal: stop.signal }))).toMatchObject({ kind: 'undelivered', certain: true })
    expect(gateway.requests()).toHaveLength(1)
  })

  test('is surely undelivered when the deadline passes while every connection is taken', async () => {
    const gateway = await aSimulator({ maxRuns: 0 })
    const client = aClient()
    for (let n = 0; n < 32; n += 1) void client.admit(aPost(gateway.url, { idempotencyKey: `attempt-${n}` }))
    await expect.poll(() => gateway.requests().length).toBe(32)

    const outcome = await client.admit(aPost(gateway.url, { idempotencyKey: 'one too many', deadlineMs: 100 }))

    expect(outcome).toEqual({ kind: 'undelivered', certain: true, reason: 'no connection in time' })
    expect(gateway.requests()).toHaveLength(32)
  })

  test('sends the same bytes under the same key as one run, and the hook token in the header only', async () => {
    const gateway = await aSimulator()
    const client = aClient()

    const outcomes = await Promise.all(Array.from({ length: 8 }, () => client.admit(aPost(gateway.url))))

    expect(new Set(outcomes.map((outcome) => outcome.kind === 'admitted' && outcome.runId)).size).toBe(1)
    expect(gateway.runs()).toHaveLength(1)
    expect(gateway.requests().some((request) => request.body.includes(TOKEN) || request.path.includes(TOKEN))).toBe(false)
  })
})

describe('join', () => {
  test('gets the completion of the run that was admitted before', async () => {
    const end = gate()
    const gateway = await aSimulator({
      behave: async () => {
        await end.passed
        return { status: 'error' }
      },
    })
    const client = aClient()
    const admitted = await client.admit(aPost(gateway.url))

    const joining = client.join(aPost(gateway.url, { body: bodies().join }))
    await expect.poll(() => gateway.requests().length).toBe(2)
    end.open()

    expect(await joining).toMatchObject({ kind: 'completed', runId: admitted.kind === 'admitted' ? admitted.runId : '', completion: { status: 'error', delivered: false } })
    expect(gateway.runs()).toHaveLength(1)
  })

  test('says so when the gateway knows no completions', async () => {
    const gateway = await aSimulator({ completions: false })

    expect(await aClient().join(aPost(gateway.url, { body: bodies().join }))).toMatchObject({ kind: 'no_completion' })
  })

  test('that breaks leaves the run alive, and the next join finds it', async () => {
    const end = gate()
    const gateway = await aSimulator({
      behave: async () => {
        await end.passed
        return { status: 'ok' }
      },
    })
    const client = aClient()
    const post = aPost(gateway.url, { body: bodies().join })
    const broken = client.join(post)
    await expect.poll(() => gateway.runs().length).toBe(1)

    gateway.setDown(true)
    const first = await broken
    gateway.setDown(false)
    end.open()
    const second = await client.join(post)

    expect(first).toMatchObject({ kind: 'broken' })
    expect(second).toMatchObject({ kind: 'completed', runId: gateway.runs()[0]?.runId })
    expect(gateway.runs()).toHaveLength(1)
  })

  test('after a crash starts the run anew: the gateway has forgotten the key', async () => {
    const gateway = await aSimulator({
      behave: async (run) => {
        await run.pause(60_000)
        return { status: 'ok' }
      },
    })
    const client = aClient()
    const post = aPost(gateway.url, { body: bodies().join })
    const lost = client.join(post)
    await expect.poll(() => gateway.runs().length).toBe(1)

    await gateway.crash()
    expect(await lost).toMatchObject({ kind: 'broken' })
    await gateway.start()
    void client.join(post)

    await expect.poll(() => gateway.runs().length).toBe(2)
    expect(gateway.runs()[0]?.outcome).toBe('crashed')
    expect(gateway.runs()[0]?.runId).not.toBe(gateway.runs()[1]?.runId)
  })

  test('tells a deadline from a caller who gave up', async () => {
    const gateway = await aSimulator({ maxRuns: 0 })
    const client = aClient()
    const stop = new AbortController()
    const post = aPost(gateway.url, { body: bodies().join })

    const aborted = client.join({ ...post, signal: stop.signal })
    const late = await client.join({ ...post, deadlineMs: 100 })
    stop.abort()

    expect(late).toEqual({ kind: 'deadline' })
    expect(await aborted).toEqual({ kind: 'aborted' })
  })

  test.each([
    [401, 'refused'],
    [404, 'refused'],
    [429, 'broken'],
    [500, 'broken'],
    [503, 'broken'],
  ])('answered with %i is %s', async (status, kind) => {
    const gateway = await aSimulator()
    gateway.setFault({ status, body: 'no' })

    expect(await aClient().join(aPost(gateway.url))).toMatchObject({ kind, reason: `${status} no` })
  })
})

describe('probe', () => {
  test('tells when the gateway booted, and that it has booted again', async () => {
    const gateway = await aSimulator()
    const client = aClient()
    const before = await client.probe({ baseUrl: gateway.url, deadlineMs: 5_000 })

    await gateway.crash()
    const away = await client.probe({ baseUrl: gateway.url, deadlineMs: 5_000 })
    await gateway.start()
    const after = await client.probe({ baseUrl: `${gateway.url}/`, deadlineMs: 5_000 })

    expect(before).toMatchObject({ ready: true })
    expect(away).toMatchObject({ ready: false, reason: expect.stringContaining('ECONNREFUSED') })
    expect(bootOf(after)).toBeGreaterThanOrEqual(bootOf(before))
  })

  test('names what fails while the gateway drains', async () => {
    const gateway = await aSimulator()
    gateway.setDraining(true)

    expect(await aClient().probe({ baseUrl: gateway.url, deadlineMs: 5_000 })).toEqual({ ready: false, reason: '/readyz answered 503: gateway-draining' })
  })

  test('gets through while 128 joins hold their connections', async () => {
    const gateway = await aSimulator({ maxRuns: 1_000, behave: async (run) => (await run.pause(60_000), { status: 'ok' }) })
    const client = aClient()
    for (let n = 0; n < 200; n += 1) void client.join(aPost(gateway.url, { body: bodies().join, idempotencyKey: `attempt-${n}` }))
    await expect.poll(() => gateway.runs().length).toBe(128)

    expect(await client.probe({ baseUrl: gateway.url, deadlineMs: 5_000 })).toMatchObject({ ready: true })
    expect(await client.admit(aPost(gateway.url, { idempotencyKey: 'one more' }))).toMatchObject({ kind: 'admitted' })
    expect(await client.join(aPost(gateway.url, { signal: AbortSignal.abort() }))).toEqual({ kind: 'aborted' })
    expect(await client.join(aPost(gateway.url, { deadlineMs: 50 }))).toEqual({ kind: 'deadline' })
  })
})

describe('wake', () => {
  test('queues a turn in the main session, and coalesces the same words', async () => {
    const gateway = await aSimulator()
    const client = aClient()
    const wakeOf = (gatewayAgentId: string) => ({ ...aPost(gateway.url), body: renderWakeBody({ text: 'look', gatewayAgentId, mode: 'next-heartbeat' }) })
    const wake = wakeOf('devops')

    expect(await client.wake(wake)).toEqual({ kind: 'woken', body: { ok: true, mode: 'next-heartbeat', eventOutcome: 'queued' } })
    expect(await client.wake(wake)).toMatchObject({ kind: 'woken', body: { eventOutcome: 'coalesced' } })
    expect(await client.wake(wakeOf('nobody'))).toMatchObject({ kind: 'refused', reason: '400 unknown agentId "nobody"' })
    expect(gateway.wakes()).toHaveLength(2)
  })
})

function bootOf(outcome: { readonly ready: boolean; readonly bootedAtMs?: number }): number {
  return outcome.bootedAtMs ?? Number.NaN
}
