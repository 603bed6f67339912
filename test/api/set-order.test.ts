import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { planSlots } from '../../ledger/plan-slots.js'
import { startApi, type Answer, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

let names = 0
const aPath = (): string => `/v1/standing-orders/devops/order-${(names += 1)}`
const HOURLY = { every_seconds: 3_600, message: 'Look.' }

function put(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return api.operate('PUT', path, { body, headers })
}

/** Every version of an order, with whether it was enabled and who set it. */
async function versions(path: string): Promise<[number, boolean, string][]> {
  const { rows } = await api.t.database.pool.query<{ version: number; enabled: boolean; actor: string }>(
    `select v.version, v.enabled, v.actor from standing_order_versions v join standing_orders o on o.id = v.order_id where o.name = $1 order by v.version`,
    [path.split('/').at(-1)],
  )
  return rows.map(({ version, enabled, actor }) => [version, enabled, actor])
}

async function slotsOf(path: string): Promise<{ status: string; isDue: boolean }[]> {
  const { rows } = await api.t.database.pool.query<{ status: string; due: boolean }>(
    `select r.status, r.slot_at <= now() as due from standing_order_runs r join standing_orders o on o.id = r.order_id where o.name = $1 order by r.slot_at`,
    [path.split('/').at(-1)],
  )
  return rows.map(({ status, due }) => ({ status, isDue: due }))
}

describe('PUT of a standing order', () => {
  test('makes it, then changes nothing, then makes a new version of it', async () => {
    const path = aPath()

    const made = await put(path, HOURLY)
    const same = await put(path, { ...HOURLY, agent: 'devops', name: path.split('/').at(-1) })
    const changed = await put(path, { ...HOURLY, message: 'Look twice.' })

    expect([made.status, same.status, changed.status]).toEqual([201, 200, 200])
    expect([made, same, changed].map((answer) => answer.headers.get('etag'))).toEqual(['"1"', '"1"', '"2"'])
    expect([made, same, changed].map((answer) => (answer.body['change'] as { change: string }).change)).toEqual(['added', 'unchanged', 'changed'])
    expect(changed.body['change']).toMatchObject({ kind: 'standing_order', fields: { message: { from: 'Look.', to: 'Look twice.' } } })
    expect(changed.body['order']).toMatchObject({ version: 2, enabled: true, definition: { message: 'Look twice.' }, next_slot_at: expect.stringMatching(/:00:00\.000Z$/) })
    expect(await versions(path)).toEqual([
      [1, true, 'test-operator'],
      [2, true, 'test-operator'],
    ])
  })

  test('leaves what a fleet file would leave: applying the same order changes nothing', async () => {
    const path = aPath()
    await put(path, HOURLY)
    const order = { ...HOURLY, agent: 'devops', name: path.split('/').at(-1) }
    const gateways = [{ id: 'gw', base_url: 'http://127.0.0.1:9', token: 'env:TEST_HOOK_TOKEN' }]

    const applied = await api.operate('POST', '/v1/fleet', {
      body: { fleet: { gateways, agents: [{ id: 'devops', gateway: 'gw', concurrency: 100 }], standing_orders: [order] } },
    })

    expect((applied.body['changes'] as { change: string }[]).map(({ change }) => change)).toEqual(['unchanged', 'unchanged', 'unchanged'])
  })

  test('leaves every other order alone', async () => {
    const [one, other] = [aPath(), aPath()]
    await put(one, HOURLY)
    await put(other, HOURLY)

    await put(one, { ...HOURLY, priority: 900 })

    expect(await versions(other)).toHaveLength(1)
  })

  test('as a dry run shows the change and writes nothing', async () => {
    const path = aPath()

    const unmade = await put(`${path}?dry_run=true`, HOURLY)
    const missing = await api.operate('GET', path)
    await put(path, HOURLY)
    const unchanged = await put(`${path}?dry_run=true`, { ...HOURLY, priority: 900 })

    expect([unmade.status, unmade.body]).toMatchObject([200, { change: { change: 'added' }, order: null }])
    expect(missing.status).toBe(404)
    expect(unchanged.body).toMatchObject({ change: { change: 'changed', fields: { priority: { from: 100, to: 900 } } }, order: { version: 1, definition: { priority: 100 } } })
    expect(await versions(path)).toHaveLength(1)
  })

  test.each([
    ['cron', { cron: '61 * * * *', message: 'x' }],
    ['cron', { cron: 'every day', message: 'x' }],
    ['cron', { cron: '0 0 30 2 *', message: 'x' }],
    ['cron', { message: 'x' }],
    ['cron', { cron: '0 * * * *', every_seconds: 60, message: 'x' }],
    ['time_zone', { cron: '0 * * * *', time_zone: 'Mars/Base', message: 'x' }],
    ['message', { cron: '0 * * * *' }],
    ['lane', { ...HOURLY, lane: 'nowhere' }],
    ['agent', { ...HOURLY, agent: 'security', name: 'order-bad' }],
    ['name', { ...HOURLY, agent: 'devops', name: 'another' }],
    ['name', { ...HOURLY, agent: 'devops' }],
    ['agent', { ...HOURLY, name: 'order-bad' }],
    ['colour', { ...HOURLY, colour: 'red' }],
  ])('is refused with 400 that names %s for %j', async (field, body) => {
    const answer = await put('/v1/standing-orders/devops/order-bad', body)

    expect([answer.status, answer.body['code']]).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
    expect(answer.text).toContain(field)
    expect((await api.operate('GET', '/v1/standing-orders/devops/order-bad')).status).toBe(404)
  })

  test.each(['/v1/standing-orders/devops/Upper', '/v1/standing-orders/a%2Fb/x'])('is refused with 400 for the path %s', async (path) => {
    expect((await put(path, HOURLY)).status).toBe(400)
  })

  test('for an agent that nobody knows is answered 422, and makes nothing', async () => {
    const answer = await put('/v1/standing-orders/nobody/look', HOURLY)

    expect([answer.status, answer.body['code']]).toEqual([422, 'AGENTBUS_UNKNOWN_AGENT'])
    expect((await api.operate('GET', '/v1/standing-orders/nobody/look')).body['code']).toBe('AGENTBUS_ORDER_NOT_FOUND')
  })

  test('goes by If-Match: an old version, or none, is 412 and changes nothing', async () => {
    const path = aPath()

    const absent = await put(path, HOURLY, { 'if-match': '"1"' })
    const { headers } = await put(path, HOURLY)
    const matching = await put(path, { ...HOURLY, priority: 200 }, { 'if-match': String(headers.get('etag')) })
    const old = await put(path, { ...HOURLY, priority: 300 }, { 'if-match': '"1"' })
    const dry = await put(`${path}?dry_run=true`, { ...HOURLY, priority: 300 }, { 'if-match': '"1"' })

    expect([absent, matching, old, dry].map((answer) => answer.status)).toEqual([412, 200, 412, 412])
    expect(old.body).toMatchObject({ code: 'AGENTBUS_VERSION_MISMATCH', version: 2 })
    expect(await versions(path)).toHaveLength(2)
  })

  test('with one Idempotency-Key is carried out once, also when the order has changed since', async () => {
    const path = aPath()
    const headers = { 'idempotency-key': `put ${path}`.replace(' ', '-') }

    const first = await put(path, HOURLY, headers)
    await put(path, { ...HOURLY, priority: 900 })
    const again = await put(path, HOURLY, headers)
    const other = await put(path, { ...HOURLY, priority: 1 }, headers)
    const dry = await put(`${path}?dry_run=true`, HOURLY, headers)

    expect([first.status, again.status, again.text, again.headers.get('idempotency-replayed')]).toEqual([201, 201, first.text, 'true'])
    expect([other, dry].map((answer) => answer.body['code'])).toEqual(['AGENTBUS_IDEMPOTENCY_MISMATCH', 'AGENTBUS_IDEMPOTENCY_MISMATCH'])
    expect(await versions(path)).toHaveLength(2)
  })

  test('by 16 at once makes one order, and each change of it one version, without a gap', { repeats: 5 }, async () => {
    const path = aPath()

    const same = await Promise.all(Array.from({ length: 16 }, () => put(path, HOURLY)))
    const different = await Promise.all(Array.from({ length: 16 }, (_none, at) => put(path, { ...HOURLY, message: `Look ${at}.` })))

    expect(same.map((answer) => answer.status).sort()).toEqual([...Array<number>(15).fill(200), 201])
    expect(different.map((answer) => answer.status)).toEqual(Array(16).fill(200))
    expect((await versions(path)).map(([version]) => version)).toEqual(Array.from({ length: 17 }, (_none, at) => at + 1))
  })

  test('by 16 at once on one version lets one through', { repeats: 5 }, async () => {
    const path = aPath()
    await put(path, HOURLY)

    const answers = await Promise.all(Array.from({ length: 16 }, (_none, at) => put(path, { ...HOURLY, message: `Look ${at}.` }, { 'if-match': '"1"' })))

    expect(answers.map((answer) => answer.status).sort()).toEqual([200, ...Array<number>(15).fill(412)])
  })

  test('takes what was planned from the old version and is not due yet with it', async () => {
    const path = aPath()
    await put(path, { ...HOURLY, every_seconds: 60 })
    await api.t.ledger.run((tx) => planSlots(tx, { nowMs: Date.now(), horizonMs: 600_000, limit: 1_000 }))
    const planned = (await slotsOf(path)).length

    await put(path, { ...HOURLY, every_seconds: 120 })

    expect(planned).toBeGreaterThanOrEqual(10)
    expect((await slotsOf(path)).filter(({ isDue }) => !isDue)).toEqual([])
  })
})

describe('DELETE of a standing order', () => {
  test('disables it: a new version, no further slots, and all of its history', async () => {
    const path = aPath()
    await put(path, { ...HOURLY, every_seconds: 60 })
    await api.t.database.pool.query(`update standing_orders set planned_until = now() - interval '3 minutes' where name = $1`, [path.split('/').at(-1)])
    await api.t.ledger.run((tx) => planSlots(tx, { nowMs: Date.now(), horizonMs: 600_000, limit: 1_000 }))
    const before = await slotsOf(path)

    const gone = await api.operate('DELETE', path)

    expect([gone.status, gone.headers.get('etag')]).toEqual([200, '"2"'])
    expect(gone.body).toMatchObject({ change: { change: 'disabled', fields: { enabled: { from: true, to: false } } }, order: { enabled: false, version: 2, next_slot_at: null } })
    expect(before.some(({ isDue }) => isDue) && before.some(({ isDue }) => !isDue)).toBe(true)
    expect(await slotsOf(path)).toEqual(before.filter(({ isDue }) => isDue))
    expect((await api.operate('GET', path)).body).toMatchObject({ enabled: false, version: 2 })
    expect(await versions(path)).toEqual([
      [1, true, 'test-operator'],
      [2, false, 'test-operator'],
    ])
  })

  test('may be repeated, and PUT takes it back', async () => {
    const path = aPath()
    await put(path, HOURLY)
    await api.operate('DELETE', path)

    const again = await api.operate('DELETE', path)
    const back = await put(path, HOURLY)

    expect([again.status, again.body]).toMatchObject([200, { change: { change: 'unchanged', fields: {} }, order: { version: 2 } }])
    expect([back.status, back.body]).toMatchObject([200, { change: { change: 'changed', fields: { enabled: { from: false, to: true } } }, order: { version: 3, enabled: true } }])
  })

  test('with one Idempotency-Key is answered as the first time', async () => {
    const path = aPath()
    await put(path, HOURLY)
    const headers = { 'idempotency-key': `delete-${path}` }

    const answers = [await api.operate('DELETE', path, { headers }), await api.operate('DELETE', path, { headers })]

    expect(answers.map((answer) => (answer.body['change'] as { change: string }).change)).toEqual(['disabled', 'disabled'])
    expect(await versions(path)).toHaveLength(2)
  })

  test('goes by If-Match', async () => {
    const path = aPath()
    await put(path, HOURLY)

    const answers = [await api.operate('DELETE', path, { headers: { 'if-match': '"7"' } }), await api.operate('DELETE', path, { headers: { 'if-match': '"1"' } })]

    expect(answers.map((answer) => answer.status)).toEqual([412, 200])
  })

  test.each(['GET', 'DELETE'])('and %s of one that is not there are answered 404, each with its code', async (method) => {
    for (const path of ['/v1/standing-orders/devops/none', '/v1/standing-orders/nobody/none']) {
      const answer = await api.operate(method, path)

      expect([answer.status, answer.body['code']]).toEqual([404, 'AGENTBUS_ORDER_NOT_FOUND'])
    }
  })
})

test('a token is revoked once under one Idempotency-Key, and answered alike', async () => {
  const made = await api.operate('POST', '/v1/tokens', { body: { name: 'n', role: 'auditor' } })
  const path = `/v1/tokens/${String(made.body['id'])}`
  const headers = { 'idempotency-key': 'revoke-once' }

  const answers = [await api.operate('DELETE', path, { headers }), await api.operate('DELETE', path, { headers })]

  expect(answers.map((answer) => answer.status)).toEqual([200, 200])
  expect(answers[1]?.text).toBe(answers[0]?.text)
})
