import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { aJob } from '../support/ledger.js'
import { aBody, startApi, type TestApi } from './support.js'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

let keys = 0
const aKey = (): Record<string, string> => ({ 'idempotency-key': `key-${(keys += 1)}` })

describe('Idempotency-Key', () => {
  test('16 requests at once with one key are one job and one answer', { repeats: 5 }, async () => {
    const headers = aKey()
    const before = await api.count('jobs')

    const answers = await Promise.all(Array.from({ length: 16 }, () => api.operate('POST', '/v1/jobs', { body: aBody(), headers })))

    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1)
    expect(answers.map((answer) => answer.status)).toEqual(Array(16).fill(201))
    expect(answers.filter((answer) => answer.headers.get('idempotency-replayed') === 'true')).toHaveLength(15)
    expect(await api.count('jobs')).toBe(before + 1)
  })

  test('the order of fields makes no other request, their values do', async () => {
    const headers = aKey()
    const send = (raw: string) => api.operate('POST', '/v1/jobs', { raw, headers })
    const first = await send('{"target_agent":"devops","subject":"x","payload":{"a":1,"b":[1,2]}}')

    const same = await send('{"payload":{"b":[1,2],"a":1},"subject":"x","target_agent":"devops"}')
    const other = await send('{"payload":{"b":[2,1],"a":1},"subject":"x","target_agent":"devops"}')

    expect([same.status, same.body['id']]).toEqual([201, first.body['id']])
    expect([other.status, other.body['code']]).toEqual([422, 'AGENTBUS_IDEMPOTENCY_MISMATCH'])
  })

  test.each([
    ['{"a":1}', '[["a",1]]'],
    ['{}', '[]'],
    ['[{"a":1}]', '[[["a",1]]]'],
    ['[]', '{"list":[]}'],
  ])('%s and %s make two requests', async (one, another) => {
    const headers = aKey()
    const send = (value: string) => api.operate('POST', '/v1/jobs', { raw: `{"target_agent":"devops","subject":"x","payload":{"v":${value}}}`, headers })
    const first = await send(one)

    const [same, other] = [await send(one), await send(another)]

    expect([first.status, same.status, same.body['id']]).toEqual([201, 201, first.body['id']])
    expect([other.status, other.body['code']]).toEqual([422, 'AGENTBUS_IDEMPOTENCY_MISMATCH'])
  })

  test('another path under the same key is another request', async () => {
    const headers = aKey()
    await api.operate('POST', '/v1/jobs', { body: aBody(), headers })

    const other = await api.operate('POST', '/v1/events', { body: { topic: 'a.b' }, headers })

    expect(other.status).toBe(422)
  })

  test('another namespace in the query under the same key is another request, and is not answered with the run of the first', async () => {
    const headers = aKey()
    for (const namespace of ['left', 'right']) await api.operate('POST', '/v1/workflows', { body: { name: 'in-two', namespace, steps: [{ id: 'only', agent: 'devops' }] } })
    const start = (namespace: string) => api.operate('POST', `/v1/workflows/in-two/runs?namespace=${namespace}`, { body: {}, headers })
    const first = await start('left')

    const [same, other] = [await start('left'), await start('right')]

    expect([first.status, same.status, same.headers.get('idempotency-replayed')]).toEqual([201, 201, 'true'])
    expect(same.body['run']).toEqual(first.body['run'])
    expect([other.status, other.body['code']]).toEqual([422, 'AGENTBUS_IDEMPOTENCY_MISMATCH'])
  })

  test('another wait in the query is the same request', async () => {
    const headers = aKey()
    const first = await api.operate('POST', '/v1/jobs?wait=1ms', { body: aBody(), headers })

    const same = await api.operate('POST', '/v1/jobs?wait=2ms', { body: aBody(), headers })

    expect([same.status, same.body['id']]).toEqual([201, first.body['id']])
  })

  test('belongs to the token that sent it', async () => {
    const headers = aKey()
    const token = await api.t.agentToken('devops')

    const answers = [await api.operate('POST', '/v1/jobs', { body: aBody(), headers }), await api.call('POST', '/v1/jobs', { token, body: aBody(), headers })]

    expect(answers.map((answer) => answer.status)).toEqual([201, 201])
    expect(answers[0]?.body['id']).not.toBe(answers[1]?.body['id'])
  })

  test('is free again after a request that failed on its input', async () => {
    const headers = aKey()
    const failed = await api.operate('POST', '/v1/jobs', { body: aBody({ target_agent: 'nobody' }), headers })

    const corrected = await api.operate('POST', '/v1/jobs', { body: aBody(), headers })

    expect([failed.status, corrected.status]).toEqual([422, 201])
  })

  test('a repeated close answers as the first did, though the attempt has ended', async () => {
    const headers = aKey()
    const job = await aJob(api.t.ledger, 'running')
    const close = () => api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: { summary: 'done' }, headers })

    const answers = [await close(), await close()]

    expect(answers.map((answer) => answer.status)).toEqual([200, 200])
    expect(answers[1]?.body).toEqual(answers[0]?.body)
    expect((await api.t.ledger.jobHistory(job.id)).observations).toEqual([])
  })

  test('a repeated refusal is the same refusal, with one row', async () => {
    const job = await aJob(api.t.ledger, 'succeeded')
    const headers = aKey()
    const close = () => api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: {}, headers })

    const answers = [await close(), await close()]

    expect(answers.map((answer) => answer.body['code'])).toEqual(['AGENTBUS_ALREADY_CLOSED', 'AGENTBUS_ALREADY_CLOSED'])
    expect((await api.t.ledger.jobHistory(job.id)).observations).toHaveLength(1)
  })

  test('a claim that is repeated leases nothing more and gives the same token', async () => {
    await aJob(api.t.ledger, 'queued', { namespace: 'claims' })
    await aJob(api.t.ledger, 'queued', { namespace: 'claims' })
    const headers = aKey()
    const claim = () => api.operate('POST', '/v1/jobs/claim', { body: { lease_owner: 'me', namespace: 'claims' }, headers })

    const answers = [await claim(), await claim()]

    expect(answers[1]?.body).toEqual(answers[0]?.body)
    expect(answers[0]?.text).toContain('aat_')
    const { rows } = await api.t.database.pool.query(`select response::text as text from idempotency_keys where key = $1`, [headers['idempotency-key']])
    expect(String(rows[0]?.['text'])).not.toContain('aat_')
  })

  test('what is queued again by hand is not queued again by a repeat, which is answered as the first was', async () => {
    const expire = async () => {
      const { id } = await aJob(api.t.ledger, 'running', { namespace: 'expired' })
      await api.t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where job_id = $1`, [id])
      return id
    }
    const headers = aKey()
    const requeue = () => api.operate('POST', '/v1/jobs/requeue-expired', { body: { namespace: 'expired' }, headers })
    const first = await expire()
    const answers = [await requeue()]
    const later = await expire()

    answers.push(await requeue())

    expect(answers.map((answer) => (answer.body['items'] as { id: string }[]).map(({ id }) => id))).toEqual([[first], [first]])
    expect(answers[1]?.headers.get('idempotency-replayed')).toBe('true')
    expect((await api.t.ledger.getJob(later)).status).toBe('running')
  })

  test.each(['', ' ', 'two words', 'x'.repeat(201), 'schl\u00fcssel'])('%j is no key', async (key) => {
    const before = await api.count('jobs')

    const answer = await api.operate('POST', '/v1/jobs', { body: aBody(), headers: { 'idempotency-key': key } })

    expect([answer.status, answer.body['code']]).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
    expect(await api.count('jobs')).toBe(before)
  })

  test('of 200 characters is one', async () => {
    expect((await api.operate('POST', '/v1/jobs', { body: aBody(), headers: { 'idempotency-key': '~'.repeat(200) } })).status).toBe(201)
  })
})

describe('a dedupe key', () => {
  test('16 creations at once are one job: one is answered 201, the others 200', async () => {
    const answers = await Promise.all(Array.from({ length: 16 }, () => api.operate('POST', '/v1/jobs', { body: aBody({ dedupe_key: 'same' }) })))

    expect(answers.map((answer) => answer.status).sort()).toEqual([...Array<number>(15).fill(200), 201])
    expect(new Set(answers.map((answer) => answer.body['id'])).size).toBe(1)
  })

  test('an event that is known is answered 200 with the first', async () => {
    const send = () => api.operate('POST', '/v1/events', { body: { topic: 'a.fact', dedupe_key: 'k' } })

    const answers = [await send(), await send()]

    expect(answers.map((answer) => answer.status)).toEqual([201, 200])
    expect(answers[1]?.body).toEqual(answers[0]?.body)
  })
})

describe('versions', () => {
  test('the ETag of a job is its version, and rises with its history', async () => {
    const made = await api.operate('POST', '/v1/jobs', { body: aBody() })
    const path = `/v1/jobs/${String(made.body['id'])}`

    const cancelled = await api.operate('POST', `${path}/cancel`, { body: { reason: 'x' } })

    expect([made.headers.get('etag'), made.headers.get('location'), cancelled.headers.get('etag')]).toEqual(['"1"', path, '"2"'])
    expect((await api.operate('GET', path)).headers.get('etag')).toBe('"2"')
  })

  test('If-None-Match with the newest version is answered 304 without a body, with an old one 200', async () => {
    const { id } = await aJob(api.t.ledger, 'running')
    const read = (method: string, tag: string) => api.operate(method, `/v1/jobs/${id}`, { headers: { 'if-none-match': tag } })

    const answers = await Promise.all([
      read('GET', '"3"'),
      read('GET', '"2"'),
      read('GET', 'W/"3"'),
      read('GET', '"1", "3"'),
      read('GET', '*'),
      read('HEAD', '"3"'),
      read('GET', '3'),
    ])

    expect(answers.map((answer) => answer.status)).toEqual([304, 200, 304, 304, 304, 304, 200])
    expect(answers[0]?.text).toBe('')
    expect(answers[0]?.headers.get('etag')).toBe('"3"')
  })

  test('of an agent and of a standing order tell of their definitions alone: as their state changes without them, it is never answered 304', async () => {
    const order = '/v1/standing-orders/devops/known-by-its-tag'
    await api.operate('PUT', order, { body: { every_seconds: 3_600, message: 'Look.' } })

    const answers = []
    for (const path of ['/v1/agents/devops', order]) {
      const { headers } = await api.operate('GET', path)
      answers.push(await api.operate('GET', path, { headers: { 'if-none-match': String(headers.get('etag')) } }))
    }

    expect(answers.map((answer) => [answer.status, answer.headers.get('etag')])).toEqual([
      [200, expect.stringMatching(/^"\d+"$/)],
      [200, '"1"'],
    ])
  })

  test('the Location of a workflow leads to that workflow, in whatever namespace', async () => {
    const define = (namespace: string) => api.operate('POST', '/v1/workflows', { body: { name: 'found-again', namespace, steps: [{ id: 'only', agent: 'devops' }] } })
    const places = [await define('default'), await define('right')].map((made) => String(made.headers.get('location')))

    const found = await Promise.all(places.map((place) => api.operate('GET', place)))

    expect(found.map(({ status, body }) => [status, body['name'], body['namespace']])).toEqual([
      [200, 'found-again', 'default'],
      [200, 'found-again', 'right'],
    ])
  })

  test.each(['cancel', 'retry', 'bury', 'promote'])('%s with an old version in If-Match is answered 412 and changes nothing', async (verb) => {
    const { id } = await aJob(api.t.ledger, 'failed')
    const before = await api.t.ledger.getJob(id)

    const answer = await api.operate('POST', `/v1/jobs/${id}/${verb}`, { body: { reason: 'x' }, headers: { 'if-match': '"1"' } })

    expect([answer.status, answer.body['code'], answer.body['version']]).toEqual([412, 'AGENTBUS_VERSION_MISMATCH', before.version])
    expect(await api.t.ledger.getJob(id)).toEqual(before)
  })

  test('of 16 changes at once on the version all of them read, one happens', async () => {
    const { id } = await aJob(api.t.ledger, 'queued')

    const answers = await Promise.all(Array.from({ length: 16 }, () => api.operate('POST', `/v1/jobs/${id}/promote`, { body: { reason: 'x' }, headers: { 'if-match': '"1"' } })))

    expect(answers.map((answer) => answer.status).sort()).toEqual([200, ...Array<number>(15).fill(412)])
    expect((await api.t.ledger.getJob(id)).version).toBe(2)
  })

  test.each(['3', 'W/"3"', '"x"', '"1", "2"', ''])('If-Match %j is refused rather than ignored', async (tag) => {
    const { id } = await aJob(api.t.ledger, 'queued')

    const answer = await api.operate('POST', `/v1/jobs/${id}/cancel`, { body: { reason: 'x' }, headers: { 'if-match': tag } })

    expect([answer.status, (await api.t.ledger.getJob(id)).status]).toEqual([400, 'queued'])
  })
})

describe('pages', () => {
  interface Item {
    readonly id: string
  }

  test('over 250 jobs show each exactly once, while new ones are created', async () => {
    const created = await Promise.all(Array.from({ length: 250 }, () => api.operate('POST', '/v1/jobs', { body: aBody({ namespace: 'pages' }) })))
    const seen: string[] = []

    let cursor: unknown = ''
    while (cursor !== null) {
      const page = await api.operate('GET', `/v1/jobs?namespace=pages&limit=17${cursor === '' ? '' : `&cursor=${String(cursor)}`}`)
      seen.push(...(page.body['items'] as Item[]).map((item) => item.id))
      cursor = page.body['next_cursor']
      await api.operate('POST', '/v1/jobs', { body: aBody({ namespace: 'pages' }) })
    }

    expect(new Set(seen).size).toBe(seen.length)
    expect([...seen].sort()).toEqual(created.map((answer) => String(answer.body['id'])).sort())
    expect(seen).toEqual([...seen].sort().reverse())
  })

  test('over events go on from the cursor in both orders', async () => {
    for (let at = 0; at < 7; at += 1) await api.operate('POST', '/v1/events', { body: { topic: 'page.turned', namespace: 'pages' } })
    const walk = async (order: string): Promise<string[]> => {
      const seen: string[] = []
      let cursor: unknown = ''
      while (cursor !== null) {
        const page = await api.operate('GET', `/v1/events?namespace=pages&topic=page.*&order=${order}&limit=3${cursor === '' ? '' : `&cursor=${String(cursor)}`}`)
        seen.push(...(page.body['items'] as Item[]).map((item) => item.id))
        cursor = page.body['next_cursor']
      }
      return seen
    }

    const [up, down] = [await walk('asc'), await walk('desc')]

    expect(up).toHaveLength(7)
    expect(down).toEqual([...up].reverse())
  })

  test('that are exactly full have no next one', async () => {
    for (let at = 0; at < 3; at += 1) await api.operate('POST', '/v1/jobs', { body: aBody({ namespace: 'full' }) })

    const page = await api.operate('GET', '/v1/jobs?namespace=full&limit=3')

    expect([(page.body['items'] as Item[]).length, page.body['next_cursor']]).toEqual([3, null])
  })
})

describe('methods', () => {
  test.each([
    ['PUT', '/v1/jobs', 'GET, HEAD, POST'],
    ['DELETE', '/v1/jobs/0192f0c4-1111-7000-8000-00000000000a', 'GET, HEAD'],
    ['GET', '/v1/jobs/0192f0c4-1111-7000-8000-00000000000a/complete', 'POST'],
    ['HEAD', '/v1/jobs/0192f0c4-1111-7000-8000-00000000000a/complete', 'POST'],
    ['POST', '/v1/tokens/0192f0c4-1111-7000-8000-00000000000a', 'DELETE'],
    ['PATCH', '/v1/fleet', 'POST'],
    ['OPTIONS', '/v1/agents', 'GET, HEAD'],
  ])('%s %s is answered 405 with Allow: %s', async (method, path, allow) => {
    const answer = await api.operate(method, path)

    expect([answer.status, answer.headers.get('allow')]).toEqual([405, allow])
  })

  test('HEAD answers like GET, without the body', async () => {
    const { id } = await aJob(api.t.ledger, 'queued')

    const [got, head] = await Promise.all([api.operate('GET', `/v1/jobs/${id}`), api.operate('HEAD', `/v1/jobs/${id}`)])

    expect([head.status, head.text]).toEqual([200, ''])
    for (const name of ['content-type', 'content-length', 'etag']) expect([name, head.headers.get(name)]).toEqual([name, got.headers.get(name)])
  })
})
