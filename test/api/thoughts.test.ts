import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DelegationRule } from '../../contracts/fleet.js'
import { LimitsConfig } from '../../contracts/limits.js'
import { aJob, OPERATOR } from '../support/ledger.js'
import { agent, aMemory, CANDIDATE, CONVERSION, freeze, IDEA, OPPORTUNITY, pagesOf, rights, rowsIn, SCORED, suggest, unfreeze } from '../support/thoughts.js'
import { startApi, type Answer, type TestApi } from './support.js'

let api: TestApi
let devops = ''
let curator = ''
beforeAll(async () => {
  api = await startApi()
  await api.t.addAgent('curator', { concurrency: 10 })
  devops = await api.t.agentToken('devops')
  curator = await api.t.agentToken('curator')
  await rights(api.t.ledger, { triage: ['curator'], convert: ['curator'], promote: ['curator'] })
})
afterAll(() => api.close())

const NOBODY = '0192f0c4-1111-7000-8000-00000000000a'
const TABLES = ['ideas', 'idea_reviews', 'opportunities', 'opportunity_reviews', 'memory_candidates', 'memory_candidate_reviews', 'memories', 'memory_reviews', 'jobs']
/** A sum over everything that a request about thoughts could have written. */
const everything = () => Promise.all(TABLES.map((table) => rowsIn(api.t, table)))
const post = (path: string, body: unknown, headers: Record<string, string> = {}, token = api.t.operatorToken): Promise<Answer> => api.call('POST', path, { token, body, headers })
const told = ({ status, body }: Answer) => [status, body['code']]
const made = async (path: string, body: unknown): Promise<string> => `${path}/${String((await post(path, body)).body['id'])}`
let keys = 0
const aKey = (): string => `thought-${(keys += 1)}`

describe.each([
  ['/v1/ideas', IDEA],
  ['/v1/opportunities', OPPORTUNITY],
  ['/v1/memory-candidates', CANDIDATE],
])('POST %s', (path, body) => {
  test('answers 201 with where it is and its version, and 200 with the open one of that key', async () => {
    const keyed = { ...body, dedupe_key: aKey() }

    const [first, again, other] = [await post(path, keyed), await post(path, keyed), await post(path, body)]

    expect([first, again, other].map(({ status, headers }) => [status, headers.get('etag')])).toEqual([
      [201, '"1"'],
      [200, '"1"'],
      [201, '"1"'],
    ])
    expect(again.body).toEqual(first.body)
    expect(other.body['id']).not.toBe(first.body['id'])
    const found = await api.operate('GET', String(first.headers.get('location')))
    expect(JSON.stringify(found.body)).toContain(String(first.body['id']))
    expect(found.headers.get('etag')).toBe('"1"')
  })

  test('at the same moment with one key makes one: one is answered 201, the others 200', async () => {
    const keyed = { ...body, dedupe_key: aKey() }

    const answers = await Promise.all(Array.from({ length: 16 }, () => post(path, keyed, {}, devops)))

    expect(answers.map(({ status }) => status).sort()).toEqual([...Array<number>(15).fill(200), 201])
    expect(new Set(answers.map((answer) => answer.body['id'])).size).toBe(1)
  })

  test('with one Idempotency-Key is one, and answered the same again', async () => {
    const once = { 'idempotency-key': aKey() }
    const before = await everything()

    const [first, again, other] = [await post(path, body, once), await post(path, body, once), await post(path, { ...body, title: 'another' }, once)]

    expect([again.status, again.text, again.headers.get('idempotency-replayed')]).toEqual([first.status, first.text, 'true'])
    expect(told(other)).toEqual([422, 'AGENTBUS_IDEMPOTENCY_MISMATCH'])
    expect((await everything()).reduce((sum, rows) => sum + rows)).toBe(before.reduce((sum, rows) => sum + rows) + 2)
  })

  test('is of the agent whose token it is, or of nobody', async () => {
    const run = await aJob(api.t.ledger, 'running')

    const answers = [await post(path, body, {}, devops), await post(path, body, {}, run.attemptToken), await post(path, body)]

    expect(answers.map((answer) => [answer.status, answer.body['source_agent'], answer.body['created_by']])).toEqual([
      [201, 'devops', 'agent:devops'],
      [201, 'devops', 'attempt:devops'],
      [201, null, 'operator:test-operator'],
    ])
  })

  test.each([
    ['U+0000 in its title', { title: 'a\0b' }, 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 deep in its evidence', { evidence: { a: [{ b: '\0' }] } }, 'AGENTBUS_UNSTORABLE_TEXT'],
    ['U+0000 in its key', { dedupe_key: '\0' }, 'AGENTBUS_UNSTORABLE_TEXT'],
    ['evidence that is an array', { evidence: [] }, 'AGENTBUS_BAD_REQUEST'],
    ['evidence of more than 16 KiB', { evidence: { a: 'x'.repeat(16_384 - '{"a":""}'.length + 1) } }, 'AGENTBUS_BAD_REQUEST'],
    ['an empty title', { title: '' }, 'AGENTBUS_BAD_REQUEST'],
    ['a title of 501 characters', { title: 'x'.repeat(501) }, 'AGENTBUS_BAD_REQUEST'],
    ['an empty key', { dedupe_key: '' }, 'AGENTBUS_BAD_REQUEST'],
    ['a namespace with a space', { namespace: 'a b' }, 'AGENTBUS_BAD_REQUEST'],
    ['an agent that cannot be', { source_agent: '../x' }, 'AGENTBUS_BAD_REQUEST'],
    ['a state of its own', { status: 'archived' }, 'AGENTBUS_BAD_REQUEST'],
    ['a version of its own', { version: 7 }, 'AGENTBUS_BAD_REQUEST'],
    ['an agent that nobody knows', { source_agent: 'nobody' }, 'AGENTBUS_UNKNOWN_AGENT'],
  ])('with %s is refused, and nothing is written', async (_what, change, code) => {
    const before = await everything()

    const answer = await post(path, { ...body, ...change })

    expect(told(answer)).toEqual([code === 'AGENTBUS_UNKNOWN_AGENT' ? 422 : 400, code])
    expect(await everything()).toEqual(before)
  })

  test.each([
    ['in the body', (text: string) => text.replace('{', '{"__proto__":{"status":"accepted"},')],
    ['in its evidence', (text: string) => text.replace(/}$/, ',"evidence":{"__proto__":{"x":1}}}')],
    ['deep in its evidence', (text: string) => text.replace(/}$/, ',"evidence":{"a":[{"__proto__":1}]}}')],
  ])('with __proto__ %s is refused, and nothing is written', async (_where, change) => {
    const before = await everything()
    const { evidence: _evidence, ...plain } = body

    const answer = await api.operate('POST', path, { raw: change(JSON.stringify(plain)) })

    expect(told(answer)).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
    expect(await everything()).toEqual(before)
    expect(({} as Record<string, unknown>)['status']).toBeUndefined()
  })

  test('takes evidence of 16 KiB', async () => {
    const evidence = { a: 'x'.repeat(16_384 - '{"a":""}'.length) }

    const answer = await post(path, { ...body, evidence })

    expect([answer.status, answer.body['evidence']]).toEqual([201, evidence])
  })

  test('text comes back as it was sent, in every plane and direction', async () => {
    const said = { title: '\u{1F600} é é \u202e \u{10FFFF} "\\\' --', evidence: { '': 1, ключ: ['\u2028', 1e21, -0.5, true, null], nested: { constructor: 'y' } } }

    const answer = await post(path, { ...body, ...said })

    expect([answer.status, answer.body]).toMatchObject([201, said])
  })

  test('is paged newest first over the list, and a page that is exactly full has no next one', async () => {
    const namespace = `pages-${path.slice(4)}`
    const ids: string[] = []
    for (let at = 0; at < 5; at += 1) ids.push(String((await post(path, { ...body, namespace })).body['id']))
    const read = async (page: { limit: number; cursor?: string }) => {
      const query = new URLSearchParams({ namespace, limit: String(page.limit), ...(page.cursor === undefined ? {} : { cursor: page.cursor }) })
      return (await api.operate('GET', `${path}?${query.toString()}`)).body as { items: { id: string }[]; next_cursor: string | null }
    }

    const pages = await pagesOf(2, read)
    const full = await read({ limit: 5 })

    expect(pages.map((page) => page.length)).toEqual([2, 2, 1])
    expect(pages.flat().map(({ id }) => id)).toEqual(ids.toSorted().toReversed())
    expect([full.items.length, full.next_cursor]).toEqual([5, null])
  })

  test.each(['cursor=x', 'cursor=0192f0c4', `cursor=${'-'.repeat(36)}`, 'limit=0', 'limit=201', 'status=asleep', 'source_agent=%00', 'colour=red', 'namespace=a%20b'])(
    'is not listed by %s',
    async (query) => {
      expect(told(await api.operate('GET', `${path}?${query}`))).toEqual([400, expect.stringMatching(/^AGENTBUS_(BAD_REQUEST|UNSTORABLE_TEXT)$/)])
    },
  )

  test.each(['not-an-id', "0192f0c4-1111-7000-8000-00000000000a'--", '%00'])('is not found by the id %s', async (id) => {
    expect(told(await api.operate('GET', `${path}/${id}`))).toEqual([400, 'AGENTBUS_BAD_REQUEST'])
  })

  test('that nobody has sent is not there', async () => {
    expect(told(await api.operate('GET', `${path}/${NOBODY}`))).toEqual([404, 'AGENTBUS_NOT_FOUND'])
  })
})

test.each([
  ['/v1/opportunities', { ...OPPORTUNITY, impact_score: 0 }],
  ['/v1/opportunities', { ...OPPORTUNITY, confidence_score: 6 }],
  ['/v1/opportunities', { ...OPPORTUNITY, urgency_score: 2.5 }],
  ['/v1/opportunities', { ...OPPORTUNITY, impact_score: '4' }],
  ['/v1/opportunities', { ...OPPORTUNITY, reversibility: 'no' }],
  ['/v1/opportunities', { ...OPPORTUNITY, why_now: '' }],
  ['/v1/opportunities', { ...IDEA }],
  ['/v1/ideas', { ...IDEA, impact_score: 3 }],
  ['/v1/ideas', { ...IDEA, body: 'x'.repeat(8_001) }],
  ['/v1/ideas', { ...IDEA, tags: Array.from({ length: 21 }, (_each, at) => `t${at}`) }],
  ['/v1/ideas', { ...IDEA, tags: 'ux' }],
  ['/v1/memory-candidates', { ...CANDIDATE, candidate_kind: 'guess' }],
  ['/v1/memory-candidates', { ...CANDIDATE, scope: 'planet' }],
  ['/v1/memory-candidates', { ...CANDIDATE, source_refs: { a: 'x'.repeat(16_384) } }],
  ['/v1/memory-candidates', { ...CANDIDATE, visibility: 'role_limited' }],
  ['/v1/memory-candidates', { ...CANDIDATE, visible_to: ['security'] }],
  ['/v1/memory-candidates', { ...CANDIDATE, visibility: 'agent_private' }],
])('POST %s with %j is refused, and nothing is written', async (path, body) => {
  const before = await everything()

  expect(told(await post(path, body))).toEqual([400, 'AGENTBUS_BAD_REQUEST'])

  expect(await everything()).toEqual(before)
})

describe('each decision', () => {
  test('carries the version that it has led to', async () => {
    const [idea, opportunity, candidate] = [await made('/v1/ideas', IDEA), await made('/v1/opportunities', OPPORTUNITY), await made('/v1/memory-candidates', CANDIDATE)]

    const answers = [
      await post(`${idea}/review`, {}),
      await post(`${idea}/promote`, SCORED),
      await post(`${opportunity}/triage`, { decision: 'accepted' }),
      await post(`${opportunity}/convert`, CONVERSION),
      await post(`${candidate}/review`, { decision: 'reviewed' }),
      await post(`${candidate}/promote`, {}),
    ]
    const memory = `/v1/memories/${String((answers[5]?.body['memory'] as { id: string }).id)}`
    for (const verb of ['refresh', 'mark-stale', 'retire']) answers.push(await post(`${memory}/${verb}`, { notes: 'x' }))

    expect(answers.map(({ status, headers }) => [status, headers.get('etag')])).toEqual(['2', '3', '2', '3', '2', '3', '2', '3', '4'].map((version) => [200, `"${version}"`]))
    const histories = await Promise.all([idea, opportunity, candidate, memory].map((path) => api.operate('GET', path)))
    expect(histories.map(({ headers, body }) => [headers.get('etag'), (body['reviews'] as unknown[]).length])).toEqual([3, 3, 3, 4].map((version) => [`"${version}"`, version]))
  })

  test('is made only on the version that was seen', async () => {
    const memory = `/v1/memories/${(await aMemory(api.t.ledger)).id}`
    const moves = [
      [`${await made('/v1/ideas', IDEA)}/review`, {}],
      [`${await made('/v1/ideas', IDEA)}/archive`, {}],
      [`${await made('/v1/ideas', IDEA)}/promote`, SCORED],
      [`${await made('/v1/opportunities', OPPORTUNITY)}/triage`, { decision: 'parked' }],
      [`${await made('/v1/opportunities', OPPORTUNITY)}/convert`, CONVERSION],
      [`${await made('/v1/memory-candidates', CANDIDATE)}/review`, { decision: 'archived' }],
      [`${await made('/v1/memory-candidates', CANDIDATE)}/promote`, {}],
      [`${memory}/refresh`, { notes: 'x' }],
      [`${memory}/mark-stale`, { notes: 'x' }],
      [`${memory}/retire`, { notes: 'x' }],
    ] as const
    const before = await everything()

    for (const [path, body] of moves) {
      const late = await post(path, body, { 'if-match': '"7"' })
      expect([path, ...told(late), late.body['version']]).toEqual([path, 412, 'AGENTBUS_VERSION_MISMATCH', 1])
      expect([path, (await post(path, body, { 'if-match': '7' })).status]).toEqual([path, 400])
    }

    expect(await everything()).toEqual(before)
    for (const [path, body] of moves.slice(0, 7)) expect([path, (await post(path, body, { 'if-match': '"1"' })).status]).toEqual([path, 200])
  })

  test('is known by its version: a history that was seen is answered with 304, but for that of a memory, whose time runs out by itself', async () => {
    const idea = await made('/v1/ideas', IDEA)
    const memory = `/v1/memories/${(await aMemory(api.t.ledger)).id}`
    const read = (path: string) => api.operate('GET', path, { headers: { 'if-none-match': '"1"' } })

    const before = [await read(idea), await read(memory)]
    await post(`${idea}/review`, {})

    expect([...before, await read(idea)].map(({ status }) => status)).toEqual([304, 200, 200])
  })

  test('about what is decided already is refused', async () => {
    const [idea, opportunity, candidate] = [await made('/v1/ideas', IDEA), await made('/v1/opportunities', OPPORTUNITY), await made('/v1/memory-candidates', CANDIDATE)]
    const memory = `/v1/memories/${(await aMemory(api.t.ledger)).id}`
    const moves = [
      [`${idea}/archive`, {}],
      [`${opportunity}/triage`, { decision: 'rejected', notes: 'too weak' }],
      [`${candidate}/promote`, {}],
      [`${memory}/retire`, { notes: 'it is over' }],
    ] as const
    for (const [path, body] of moves) expect([path, (await post(path, body)).status]).toEqual([path, 200])
    const before = await everything()

    const again = []
    for (const [path, body] of moves) again.push(await post(path, body))

    expect(again.map(told)).toEqual(Array(4).fill([409, 'AGENTBUS_REVIEW_OVER']))
    expect(await everything()).toEqual(before)
  })

  test('needs what it is about: 404 for what is not there, 400 for a body that says something else', async () => {
    const opportunity = await made('/v1/opportunities', OPPORTUNITY)
    const [idea, candidate] = [await made('/v1/ideas', IDEA), await made('/v1/memory-candidates', CANDIDATE)]
    const before = await everything()

    const missing = [
      await post(`/v1/ideas/${NOBODY}/review`, {}),
      await post(`/v1/opportunities/${NOBODY}/convert`, CONVERSION),
      await post(`/v1/memory-candidates/${NOBODY}/promote`, {}),
      await post(`/v1/memories/${NOBODY}/retire`, { notes: 'x' }),
    ]
    const wrong = [
      await post(`${idea}/promote`, { ...SCORED, evidence: { a: 'x'.repeat(16_384) } }),
      await post(`${candidate}/promote`, { supersedes_version: 1 }),
      await post(`${candidate}/promote`, { supersedes_memory_id: NOBODY, supersedes_version: 0 }),
      await post(`${opportunity}/triage`, { decision: 'rejected' }),
      await post(`${opportunity}/triage`, { decision: 'rejected', notes: ' \n ' }),
      await post(`${opportunity}/triage`, { decision: 'converted_to_job' }),
      await post(`${opportunity}/triage`, { decision: 'new' }),
      await post(`${opportunity}/convert`, { ...CONVERSION, lane: 'coding' }),
      await post(`${opportunity}/convert`, { ...CONVERSION, source_agent: 'security' }),
      await post(`${opportunity}/convert`, { ...CONVERSION, payload: { a: '\0' } }),
      await post(`${opportunity}/convert`, { subject: 'x' }),
    ]

    expect(missing.map(told)).toEqual(Array(4).fill([404, 'AGENTBUS_NOT_FOUND']))
    expect(wrong.map(({ status }) => status)).toEqual(Array(11).fill(400))
    expect(await everything()).toEqual(before)
  })
})

describe('a conversion', () => {
  test('answers with the opportunity and its job, which is the one that is listed under its correlation key', async () => {
    const opportunity = await made('/v1/opportunities', OPPORTUNITY)

    const answer = await post(`${opportunity}/convert`, { ...CONVERSION, payload: { origin: 'me', kind: 'experiment' } }, {}, curator)

    const job = answer.body['job'] as Record<string, unknown>
    const { items } = (await api.operate('GET', `/v1/jobs?correlation_key=opportunity:${opportunity.split('/').pop() ?? ''}`)).body as { items: unknown[] }
    expect(answer.status).toBe(200)
    expect(answer.body['opportunity']).toMatchObject({ status: 'converted_to_job', converted_job_id: job['id'] })
    expect(job).toMatchObject({ lane: 'proactive', source_agent: 'curator', payload: { origin: 'opportunity', kind: 'experiment' } })
    expect(items).toEqual([job])
  })

  test('sent twice at the same moment with one Idempotency-Key is one job; with two keys the second is refused', async () => {
    const [first, second] = [await made('/v1/opportunities', OPPORTUNITY), await made('/v1/opportunities', OPPORTUNITY)]
    const [jobs, one] = [await rowsIn(api.t, 'jobs'), { 'idempotency-key': aKey() }]

    const same = await Promise.all(Array.from({ length: 8 }, () => post(`${first}/convert`, CONVERSION, one)))
    const each = await Promise.all(Array.from({ length: 8 }, () => post(`${second}/convert`, CONVERSION, { 'idempotency-key': aKey() })))

    expect(same.map(({ status }) => status)).toEqual(Array(8).fill(200))
    expect(new Set(same.map(({ text }) => text)).size).toBe(1)
    expect(same.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(7)
    expect(each.map(({ status }) => status).sort()).toEqual([200, ...Array<number>(7).fill(409)])
    expect(await rowsIn(api.t, 'jobs')).toBe(jobs + 2)
  })

  test('that a limit, a rule or a freeze forbids leaves it open, and the same request goes through when that is lifted', async () => {
    const opportunity = await made('/v1/opportunities', OPPORTUNITY)
    const once = { 'idempotency-key': aKey() }
    const convert = () => post(`${opportunity}/convert`, CONVERSION, once, curator)
    const limits = (config: Record<string, unknown>) =>
      api.t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], limits: LimitsConfig.parse(config) }, { dryRun: false, prune: false })
    const jobs = await rowsIn(api.t, 'jobs')

    await limits({ lanes: { proactive: 0 }, retry_after_seconds: 7 })
    const full = await convert()
    await limits({})
    await api.t.addAgent('curator', { concurrency: 10, delegation: [DelegationRule.parse({ to: ['security'] })] })
    const forbidden = await convert()
    await api.t.addAgent('curator', { concurrency: 10 })
    await freeze(api.t.ledger, 'conversions')
    const frozen = await convert()
    const during = (await api.operate('GET', opportunity)).body['opportunity']
    await unfreeze(api.t.ledger, 'conversions')
    const free = await convert()

    expect([full, forbidden, frozen].map(told)).toEqual([
      [429, 'AGENTBUS_LIMIT_REACHED'],
      [403, 'AGENTBUS_DELEGATION_REFUSED'],
      [409, 'AGENTBUS_FROZEN'],
    ])
    expect(full.headers.get('retry-after')).toBe('7')
    expect(during).toMatchObject({ status: 'new', version: 1, converted_job_id: null })
    expect([free.status, free.headers.get('idempotency-replayed'), await rowsIn(api.t, 'jobs')]).toEqual([200, null, jobs + 1])
  })
})

describe('a promotion', () => {
  test('of an idea says whether it has made the opportunity or found it open, and the history of the idea names it', async () => {
    const key = { ...SCORED, dedupe_key: aKey() }
    const [first, second] = [await made('/v1/ideas', IDEA), await made('/v1/ideas', { ...IDEA, source_agent: 'security' })]

    const answers = [await post(`${first}/promote`, key), await post(`${second}/promote`, key)]

    const [opportunity, same] = answers.map(({ body }) => (body['opportunity'] as { id: string }).id)
    expect(answers.map(({ status, body }) => [status, body['created']])).toEqual([
      [200, true],
      [200, false],
    ])
    expect(same).toBe(opportunity)
    const { reviews } = (await api.operate('GET', second)).body as { reviews: { details: unknown }[] }
    expect(reviews.map(({ details }) => details)).toEqual([{}, { opportunity_id: opportunity }])
  })

  test('of an idea is refused while promotions are frozen, and of a candidate as well', async () => {
    const [idea, candidate] = [await made('/v1/ideas', IDEA), await made('/v1/memory-candidates', CANDIDATE)]
    const promote = async () => [await post(`${idea}/promote`, SCORED, {}, curator), await post(`${candidate}/promote`, {}, {}, curator)]
    const before = await everything()
    await freeze(api.t.ledger, 'promotions')

    const during = await promote()

    expect(during.map(told)).toEqual(Array(2).fill([409, 'AGENTBUS_FROZEN']))
    expect(await everything()).toEqual(before)
    await unfreeze(api.t.ledger, 'promotions')
    expect((await promote()).map(({ status }) => status)).toEqual([200, 200])
  })

  test('of what nothing speaks for is refused', async () => {
    const candidate = await made('/v1/memory-candidates', { ...CANDIDATE, evidence: {} })

    const answer = await post(`${candidate}/promote`, {})

    expect([...told(answer), answer.body['detail']]).toEqual([400, 'AGENTBUS_BAD_REQUEST', expect.stringContaining('evidence')])
  })

  test('under the key of a memory that is in force is refused, unless it takes its place', async () => {
    const [first, second] = [await made('/v1/memory-candidates', CANDIDATE), await made('/v1/memory-candidates', CANDIDATE)]
    const dedupe_key = aKey()
    const { memory } = (await post(`${first}/promote`, { dedupe_key })).body as { memory: { id: string } }

    const refused = await post(`${second}/promote`, { dedupe_key })
    const taken = await post(`${second}/promote`, { dedupe_key, supersedes_memory_id: memory.id })

    expect([told(refused), taken.status]).toEqual([[409, 'AGENTBUS_MEMORY_EXISTS'], 200])
    expect((await api.operate('GET', `/v1/memories/${memory.id}`)).body['memory']).toMatchObject({ status: 'superseded', in_force: false })
  })
})

test('a memory that one may not see is not there: neither by its id, nor in a list, nor by what it takes to change it', async () => {
  const namespace = 'secrets'
  const { candidate } = await suggest(api.t.ledger, agent('security'), { visibility: 'agent_private', namespace, title: 'a secret' })
  const { memory } = (await post(`/v1/memory-candidates/${candidate.id}/promote`, {})).body as { memory: { id: string } }
  const run = await aJob(api.t.ledger, 'running')
  const paths = [`/v1/memories/${memory.id}`, `/v1/memory-candidates/${candidate.id}`, `/v1/memories?namespace=${namespace}`, `/v1/memory-candidates?namespace=${namespace}`]
  const seen = async (token: string | undefined) => {
    const answers = await Promise.all(paths.map((path) => api.call('GET', path, { token })))
    return answers.map(({ status, text }) => [status, text.includes('a secret')])
  }

  const hidden = [
    [404, false],
    [404, false],
    [200, false],
    [200, false],
  ]
  expect([await seen(devops), await seen(run.attemptToken)]).toEqual([hidden, hidden])
  for (const token of [curator, await api.t.agentToken('security'), await api.t.auditorToken(), api.t.operatorToken]) expect(await seen(token)).toEqual(Array(4).fill([200, true]))
  const change = await post(`/v1/memories/${memory.id}/refresh`, { notes: 'x' }, {}, devops)
  expect([change.status, change.text.includes('a secret')]).toEqual([403, false])
})
