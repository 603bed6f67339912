import { request } from 'undici'
import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../config/clock.js'
import { HOOK_BODY_LIMIT } from '../../contracts/hooks.js'
import { BoundedLog } from '../../openclaw/simulator/bounded-log.js'
import type { Simulator } from '../../openclaw/simulator/simulator.js'
import { aSimulator, gate, TOKEN } from './support.js'

const RUN = { message: 'do it', agentId: 'devops', name: 'n', deliver: false, wakeMode: 'next-heartbeat', timeoutSeconds: 60 }

interface Sent {
  readonly method?: string
  readonly path?: string
  readonly key?: string
  readonly token?: string
  readonly signal?: AbortSignal
}

async function send(gateway: Simulator, body: unknown = RUN, { method = 'POST', path = '/hooks/agent', key, token = TOKEN, signal }: Sent = {}) {
  const response = await request(`${gateway.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(key === undefined ? {} : { 'idempotency-key': key }) },
    ...(method === 'GET' ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  })
  const text = await response.body.text()
  return {
    status: response.statusCode,
    text,
    retryAfter: response.headers['retry-after'],
    json: (text.startsWith('{') ? JSON.parse(text) : {}) as { runId?: string; [field: string]: unknown },
  }
}

describe('answers as the real gateway does', () => {
  test.each<[string, unknown, Sent, number, string]>([
    ['broken JSON', '{nope', {}, 400, '{"ok":false,"error":"Expected property name or'],
    ['no message', {}, {}, 400, '{"ok":false,"error":"message required"}'],
    ['an array', '[1]', {}, 400, '{"ok":false,"error":"message required"}'],
    ['no body', '', {}, 400, '{"ok":false,"error":"message required"}'],
    ['a blank message', { ...RUN, message: ' \n' }, {}, 400, '{"ok":false,"error":"message required"}'],
    ['an unknown agent', { ...RUN, agentId: 'zzz' }, {}, 400, '{"ok":false,"error":"unknown agentId \\"zzz\\""}'],
    ['an empty agent', { ...RUN, agentId: '' }, {}, 400, '{"ok":false,"error":"agentId must be a non-empty string"}'],
    ['no agent where there are several', { message: 'x' }, {}, 400, '{"ok":false,"error":"agentId is required when multiple agents are configured"}'],
    ['an agent in capitals and spaces', { ...RUN, agentId: ' DevOps ' }, {}, 200, '{"ok":true,"runId":"'],
    ['waitForCompletion in words', { ...RUN, waitForCompletion: 'true' }, {}, 400, '{"ok":false,"error":"waitForCompletion must be boolean"}'],
    ['a sessionKey, to which it was not opened', { ...RUN, sessionKey: 'hook:x' }, {}, 400, '{"ok":false,"error":"sessionKey is disabled for externally supplied'],
    ['a wrong token', RUN, { token: 'x' }, 401, 'Unauthorized'],
    ['an unknown hook', RUN, { path: '/hooks/nope' }, 404, 'Not Found'],
    ['an unknown hook and a wrong token', RUN, { path: '/hooks/nope', token: 'x' }, 401, 'Unauthorized'],
    ['an unknown path', RUN, { path: '/nope' }, 404, 'Not Found'],
    ['another method', RUN, { method: 'GET', token: 'x' }, 405, 'Method Not Allowed'],
    ['a body over the limit', { ...RUN, message: 'x'.repeat(HOOK_BODY_LIMIT) }, {}, 413, '{"ok":false,"error":"payload too large"}'],
    ['a wake without text', { agentId: 'devops' }, { path: '/hooks/wake' }, 400, '{"ok":false,"error":"text required"}'],
    ['a wake of an unknown mode', { agentId: 'devops', text: 'x', mode: 'zz' }, { path: '/hooks/wake' }, 200, '{"ok":true,"mode":"now","eventOutcome":"queued"}'],
    ['a liveness probe', '', { method: 'GET', path: '/healthz' }, 200, '{"ok":true,"status":"live"}'],
    ['a probe by POST', '', { path: '/readyz' }, 405, 'Method Not Allowed'],
    ['unknown fields and bad optional values', { ...RUN, timeoutSeconds: -1, deliver: 'zz', zzz: 1 }, {}, 200, '{"ok":true,"runId":"'],
  ])('to %s', async (_what, body, sent, status, text) => {
    const gateway = await aSimulator()

    const answer = await send(gateway, body, sent)

    expect(answer.status).toBe(status)
    expect(answer.text.startsWith(text)).toBe(true)
  })

  test('to the 21st wrong token within a minute: 429; a right one is let in and starts the count anew', async () => {
    const gateway = await aSimulator()
    const statuses: number[] = []

    for (let n = 0; n < 21; n += 1) statuses.push((await send(gateway, RUN, { token: 'wrong' })).status)

    expect(statuses).toEqual([...Array.from({ length: 20 }, () => 401), 429])
    expect(await send(gateway, RUN, { token: 'wrong' })).toMatchObject({ status: 429, text: 'Too Many Requests', retryAfter: '60' })
    expect(await send(gateway)).toMatchObject({ status: 200 })
    expect(await send(gateway, RUN, { token: 'wrong' })).toMatchObject({ status: 401 })
  })

  test('while draining: 503 before it looks at the token, for replays too, and probes tell', async () => {
    const gateway = await aSimulator()
    await send(gateway, RUN, { key: 'k' })

    gateway.setDraining(true)

    const refusal = { status: 503, retryAfter: '1', json: { error: { code: 'gateway_unavailable' } } }
    expect(await send(gateway, RUN, { key: 'k' })).toMatchObject(refusal)
    expect(await send(gateway, RUN, { token: 'wrong' })).toMatchObject(refusal)
    expect(await send(gateway, '', { method: 'GET', path: '/readyz' })).toMatchObject({ status: 503, json: { ready: false, failing: ['gateway-draining'] } })
    expect(await send(gateway, '', { method: 'GET', path: '/healthz' })).toMatchObject({ status: 200 })
  })
})

describe('remembers a key', () => {
  test.each<[string, Record<string, unknown>, boolean]>([
    ['the same body', {}, true],
    ['waitForCompletion', { waitForCompletion: true }, true],
    ['an unknown field', { zzz: 1 }, true],
    ['spaces around the message', { message: ' do it\n' }, true],
    ['another message', { message: 'do that' }, false],
    ['another name', { name: 'm' }, false],
    ['another agent', { agentId: 'auditor' }, false],
    ['another timeout', { timeoutSeconds: 61 }, false],
    ['another wakeMode', { wakeMode: 'now' }, false],
    ['another deliver', { deliver: true }, false],
  ])('and takes %s for the same run or a new one', async (_what, change, isSame) => {
    const gateway = await aSimulator()
    const first = await send(gateway, RUN, { key: 'k' })

    const second = await send(gateway, { ...RUN, ...change }, { key: 'k' })

    expect(second.json.runId === first.json.runId).toBe(isSame)
    expect(gateway.runs()).toHaveLength(isSame ? 1 : 2)
  })

  test.each([['x'.repeat(257)], [' '], [undefined]])('unless it is too long, blank or absent', async (key) => {
    const gateway = await aSimulator()

    const runs = [await send(gateway, RUN, key === undefined ? {} : { key }), await send(gateway, RUN, key === undefined ? {} : { key })]

    expect(runs[0]?.json.runId).not.toBe(runs[1]?.json.runId)
  })

  test('that stands in the body as well as in a header', async () => {
    const gateway = await aSimulator()

    const first = await send(gateway, { ...RUN, idempotencyKey: 'k' })

    expect((await send(gateway, RUN, { key: 'k' })).json.runId).toBe(first.json.runId)
  })

  test('for five minutes after the run has ended, and not a moment longer', async () => {
    const clock = new ManualClock()
    const gateway = await aSimulator({ clock, behave: async (run) => (await run.pause(600_000), { status: 'ok' }) })
    const joined = send(gateway, { ...RUN, waitForCompletion: true }, { key: 'k' })
    await clock.whenAsleep()
    await clock.advance(600_000)
    const { runId } = (await joined).json

    await clock.advance(299_999)
    const before = await send(gateway, RUN, { key: 'k' })
    await clock.advance(1)
    const after = await send(gateway, RUN, { key: 'k' })

    expect(before.json.runId).toBe(runId)
    expect(after.json.runId).not.toBe(runId)
  })
})

describe('runs eight at once', () => {
  test('and cancels the ninth with 503 when no place comes free in 15 s; its key may then be sent again', async () => {
    const clock = new ManualClock()
    const end = gate()
    const gateway = await aSimulator({ clock, behave: async () => (await end.passed, { status: 'ok' }) })
    for (let n = 0; n < 8; n += 1) expect(await send(gateway, RUN, { key: `k${n}` })).toMatchObject({ status: 200 })
    const ninth = send(gateway, RUN, { key: 'k8' })
    const joined = send(gateway, { ...RUN, waitForCompletion: true }, { key: 'k8' })
    await expect.poll(() => gateway.requests().length).toBe(10)
    await clock.whenAsleep()

    await clock.advance(15_000)
    const refused = { status: 503, json: { ok: false, error: 'hook agent run did not start before admission timeout', runId: (await ninth).json.runId } }
    expect(await ninth).toMatchObject(refused)
    expect(await joined).toMatchObject(refused)
    expect(gateway.runs()).toHaveLength(8)
    end.open()

    const again = await send(gateway, RUN, { key: 'k8' })
    expect(again.status).toBe(200)
    expect(again.json.runId).not.toBe(refused.json.runId)
  })

  test('and starts the one that waits longest when a place comes free', async () => {
    const ends = new Map<string, () => void>()
    const gateway = await aSimulator({
      maxRuns: 1,
      behave: async (run) => {
        const end = gate()
        ends.set(run.message, end.open)
        await end.passed
        return { status: 'ok' }
      },
    })
    const waiting = ['a', 'b', 'c'].map(async (message, at) => {
      await expect.poll(() => gateway.requests().length).toBe(at)
      return send(gateway, { ...RUN, message })
    })
    await expect.poll(() => gateway.requests().length).toBe(3)

    for (const message of ['a', 'b', 'c']) {
      await expect.poll(() => ends.has(message)).toBe(true)
      expect(ends.size).toBe(message.charCodeAt(0) - 96)
      ends.get(message)?.()
    }

    expect((await Promise.all(waiting)).map((answer) => answer.status)).toEqual([200, 200, 200])
    await expect.poll(() => gateway.runs().every((run) => run.outcome === 'ok')).toBe(true)
  })
})

describe('a run', () => {
  test('goes on when its client has gone', async () => {
    const end = gate()
    const gateway = await aSimulator({ behave: async () => (await end.passed, { status: 'ok' }) })
    const stop = new AbortController()
    const gone = send(gateway, { ...RUN, waitForCompletion: true }, { key: 'k', signal: stop.signal }).catch(() => 'gone')
    await expect.poll(() => gateway.runs().length).toBe(1)

    stop.abort()
    expect(await gone).toBe('gone')
    end.open()

    expect(await send(gateway, { ...RUN, waitForCompletion: true }, { key: 'k' })).toMatchObject({ status: 200, json: { completion: { status: 'ok' } } })
    expect(gateway.runs()).toHaveLength(1)
  })

  test('whose agent throws ends with status error', async () => {
    const gateway = await aSimulator({ behave: () => Promise.reject(new Error('boom')) })

    expect(await send(gateway, { ...RUN, waitForCompletion: true })).toMatchObject({ status: 200, json: { completion: { status: 'error' } } })
  })

  test('dies with a crash: its signal is aborted, its client is reset, and the next life knows nothing of it', async () => {
    const aborted = gate()
    const gateway = await aSimulator({
      behave: async (run) => {
        run.signal.addEventListener('abort', () => aborted.open())
        await run.pause(60_000)
        return { status: run.isAlive() ? 'ok' : 'error' }
      },
    })
    const { url } = gateway
    const waiting = send(gateway, { ...RUN, waitForCompletion: true }, { key: 'k' }).catch((error: unknown) => error)
    await expect.poll(() => gateway.runs().length).toBe(1)

    await gateway.crash()
    await gateway.start()

    await aborted.passed
    expect(await waiting).toBeInstanceOf(Error)
    expect(gateway.url).toBe(url)
    expect((await send(gateway, RUN, { key: 'k' })).json.runId).not.toBe(gateway.runs()[0]?.runId)
    expect(gateway.runs()).toMatchObject([{ outcome: 'crashed' }, { outcome: undefined }])
    expect(gateway.requests().map((record) => record.status)).toEqual([0, 200])
  })
})

test('a drain lets runs finish, with and without a key, and gives waiting clients their answers', async () => {
  const end = gate()
  const gateway = await aSimulator({ behave: async () => (await end.passed, { status: 'ok' }) })
  const waiting = [send(gateway, { ...RUN, waitForCompletion: true }, { key: 'k' }), send(gateway, { ...RUN, waitForCompletion: true })]
  await expect.poll(() => gateway.runs().length).toBe(2)

  const stopped = gateway.stop({ drain: true })
  expect(await send(gateway)).toMatchObject({ status: 503 })
  end.open()

  for (const answer of await Promise.all(waiting)) expect(answer).toMatchObject({ status: 200, json: { completion: { status: 'ok' } } })
  await stopped
  await expect(send(gateway)).rejects.toThrow('ECONNREFUSED')
})

test('a cut network resets old and new connections and keeps the runs', async () => {
  const gateway = await aSimulator()
  const { runId } = (await send(gateway, RUN, { key: 'k' })).json

  gateway.setDown(true)
  await expect(send(gateway, RUN, { key: 'k' })).rejects.toThrow()
  gateway.setDown(false)

  expect((await send(gateway, RUN, { key: 'k' })).json.runId).toBe(runId)
})

test('its uptime starts anew with every life', async () => {
  const clock = new ManualClock()
  const gateway = await aSimulator({ clock })
  const uptime = async () => (await send(gateway, '', { method: 'GET', path: '/readyz' })).json['uptimeMs']
  await clock.advance(90_000)

  expect(await uptime()).toBe(90_000)
  await gateway.crash()
  await gateway.start()

  expect(await uptime()).toBe(0)
})

test('a log keeps the newest entries, by number and by weight, and always the last one', () => {
  const byNumber = new BoundedLog<{ n: number }>({ entries: 3, weight: 1_000 })
  const byWeight = new BoundedLog<{ n: number }>({ entries: 100, weight: 10 })

  for (let n = 0; n < 9; n += 1) {
    byNumber.add({ n }, 1)
    byWeight.add({ n }, n === 8 ? 99 : 4)
  }

  expect(byNumber.entries()).toEqual([{ n: 6 }, { n: 7 }, { n: 8 }])
  expect(byWeight.entries()).toEqual([{ n: 8 }])
  expect([byNumber.dropped, byWeight.dropped]).toEqual([6, 8])
})
