import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openApiOf } from '../../api/openapi.js'
import { routes } from '../../api/routes/index.js'
import { alertRules } from '../support/alerts.js'
import { aJob, aSlot } from '../support/ledger.js'
import { CANDIDATE, CONVERSION, IDEA, OPPORTUNITY, SCORED } from '../support/thoughts.js'
import { aBody, startApi, type Answer, type TestApi } from './support.js'

type Json = Record<string, unknown>

let api: TestApi
let document: Json
beforeAll(async () => {
  api = await startApi()
  document = (await api.operate('GET', '/v1/openapi.json')).body
})
afterAll(() => api.close())

/** Every object in a JSON value. */
function objectsIn(value: unknown): Json[] {
  if (Array.isArray(value)) return value.flatMap(objectsIn)
  if (value === null || typeof value !== 'object') return []
  return [value as Json, ...Object.values(value).flatMap(objectsIn)]
}

function at(root: unknown, pointer: string): unknown {
  return pointer
    .slice(2)
    .split('/')
    .reduce<unknown>((value, key) => (value as Json | undefined)?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], root)
}

interface Operation extends Json {
  readonly operationId: string
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required: boolean; readonly schema: Json }[]
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Json }> }
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema: Json }> }>
}

function operations(): { path: string; method: string; operation: Operation }[] {
  return Object.entries(document['paths'] as Record<string, Record<string, Operation>>).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  )
}

describe('the OpenAPI document', () => {
  test('says what it is, who may call, and has every route exactly once', () => {
    expect(document).toMatchObject({ openapi: '3.1.0', info: { title: 'agentbus', version: expect.any(String) }, security: [{ bearer: [] }] })
    expect(
      operations()
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
    ).toEqual(routes.map((route) => `${route.method} ${route.path}`).sort())
  })

  test('gives each operation a name of its own, a summary and an answer for failures', () => {
    const ids = operations().map(({ operation }) => operation.operationId)

    expect(new Set(ids).size).toBe(ids.length)
    for (const { operation } of operations()) {
      expect(operation['summary']).toMatch(/^[A-Z].{5,}/)
      expect(operation.responses['default']).toEqual({ $ref: '#/components/responses/Problem' })
      expect(
        Object.keys(operation.responses)
          .filter((status) => status !== 'default')
          .every((status) => /^20[012]$/.test(status)),
      ).toBe(true)
    }
  })

  test('has nothing at the end of no reference', () => {
    const references = objectsIn(document).flatMap((one) => (typeof one['$ref'] === 'string' ? [one['$ref']] : []))

    expect(references.length).toBeGreaterThan(30)
    for (const reference of references) {
      expect(reference).toMatch(/^#\/components\//)
      expect([reference, typeof at(document, reference)]).toEqual([reference, 'object'])
    }
  })

  test('has no schema that is only a reference to itself', () => {
    const schemas = (document['components'] as { schemas: Record<string, Json> }).schemas

    expect(Object.keys(schemas).filter((name) => schemas[name]?.['$ref'] !== undefined)).toEqual([])
  })

  test('refers to every schema it holds', () => {
    const text = JSON.stringify(document)

    const names = Object.keys((document['components'] as { schemas: Json }).schemas)

    expect(names.filter((name) => !text.includes(`"#/components/schemas/${name}"`))).toEqual([])
  })

  test('declares the parameters that stand in each path, as required, and no others', () => {
    for (const { path, operation } of operations()) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')

      expect([path, declared.map((parameter) => parameter.name)]).toEqual([path, inPath])
      expect(declared.every((parameter) => parameter.required)).toBe(true)
      const names = (operation.parameters ?? []).map((parameter) => `${parameter.in} ${parameter.name}`)
      expect(new Set(names).size).toBe(names.length)
    }
  })

  test('declares every key that a query may have, and If-Match where a version may be named', () => {
    const byId = new Map(operations().map(({ operation }) => [operation.operationId, operation.parameters ?? []]))
    for (const route of routes) {
      const namesIn = (where: string): string[] => (byId.get(route.id) ?? []).filter((parameter) => parameter.in === where).map(({ name }) => name)

      const { query } = route.spec
      const keys = query === undefined ? [] : Object.keys(query instanceof z.ZodObject ? query.shape : {})
      expect(query === undefined || keys.length > 0, route.id).toBe(true)
      expect([route.id, namesIn('query').sort()]).toEqual([route.id, keys.sort()])
      expect([route.id, namesIn('header').includes('If-Match')]).toEqual([route.id, route.isConditional])
    }
    expect(routes.filter(({ isConditional }) => isConditional).map(({ id }) => id)).toContain('cancelJob')
  })

  test('describes schemas with words of JSON Schema 2020-12 only', () => {
    const types = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']
    const stray = objectsIn((document['components'] as Json)['schemas']).filter((one) => {
      const type = one['type']
      // A property may itself be called `type`; a schema's is a word or a list of words.
      return (typeof type === 'string' && !types.includes(type)) || one['nullable'] !== undefined || typeof one['exclusiveMinimum'] === 'boolean'
    })

    expect(stray).toEqual([])
  })

  test('shows what a job to create needs and that nothing unknown passes', () => {
    const schema = at(document, '#/components/schemas/CreateJobInput') as Json

    expect(schema).toMatchObject({ type: 'object', required: ['subject'], additionalProperties: false })
    expect((schema['properties'] as Record<string, Json>)['payload']).toMatchObject({ type: 'object' })
  })

  test('is read back by a JSON Schema reader that then takes live answers and refuses broken ones', async () => {
    const { id } = await aJob(api.t.ledger, 'blocked')
    const history = await api.operate('GET', `/v1/jobs/${id}/history`)

    const schema = readerOf('JobHistory')

    expect(schema.safeParse(history.body).error).toBeUndefined()
    expect(schema.safeParse({ ...history.body, job: { ...(history.body['job'] as Json), status: 'asleep' } }).success).toBe(false)
    expect(schema.safeParse({ ...history.body, attempts: undefined }).success).toBe(false)
  })

  test('is looked through by a check that finds a missing schema', () => {
    const planted = openApiOf(routes, '1') as { components: { schemas: Json } }

    delete planted.components.schemas['Job']

    expect(at(planted, '#/components/schemas/Job')).toBeUndefined()
    expect(JSON.stringify(planted)).toContain('"#/components/schemas/Job"')
  })
})

/** A validator made from the document alone. */
function readerOf(name: string): z.ZodType {
  const inDefs = JSON.parse(JSON.stringify((document['components'] as Json)['schemas']).replaceAll('#/components/schemas/', '#/$defs/')) as Json
  return z.fromJSONSchema({ $schema: 'https://json-schema.org/draft/2020-12/schema', $ref: `#/$defs/${name}`, $defs: inDefs } as never)
}

const WORKFLOW = {
  name: 'two-steps',
  inputs: { what: { description: 'what it is about' }, how: { required: false, default: 'well' } },
  steps: [
    { id: 'one', agent: 'devops', subject: 'Do {{inputs.what}}', payload: { how: '{{inputs.how}}' } },
    { id: 'gate', needs: ['one'], if: { 'steps.one.status': 'succeeded' }, approval: { subject: 'Go on?' } },
  ],
  outputs: { by: '{{steps.gate.result.decided_by}}' },
}

test('every route has been answered with success and matches the schema of its document', async () => {
  const { ledger } = api.t
  const attemptOf = async (verb: string, body: Json): Promise<Answer> => {
    const job = await aJob(ledger, 'leased')
    return api.call('POST', `/v1/jobs/${job.id}/${verb}`, { token: job.attemptToken, body })
  }
  const running = await aJob(ledger, 'running')
  const slot = await aSlot(ledger)
  const failed = await aJob(ledger, 'failed')
  const dead = await aJob(ledger, 'dead', { max_attempts: 1 })
  const delayed = await aJob(ledger, 'queued', { run_after: '2099-01-01T00:00:00+02:00' })
  const expired = await aJob(ledger, 'running', { namespace: 'expired' })
  await api.t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where id = $1`, [expired.attemptId])
  await api.t.database.pool.query(`insert into dispatcher_heartbeats (namespace, dispatcher_id, host, pid) values ('default', 'w1', 'host', 1)`)
  const token = await api.operate('POST', '/v1/tokens', { body: { name: 'n', role: 'auditor', expires_at: '2099-01-01T00:00:00Z' } })
  const fleet = { gateways: [{ id: 'g2', base_url: 'http://127.0.0.1:1', token: 'env:X' }], agents: [{ id: 'new', gateway: 'g2', role: 'tester' }] }

  const filed = await api.operate('POST', '/v1/findings', { body: { topic: 'disk.full', subject_key: 'h1', body: 'full', level: 'urgent', data: { used: 91 }, to: 'devops' } })
  const findingId = String((filed.body['finding'] as Json)['id'])
  const read = await api.operate('POST', '/v1/inbox/read', { body: { agent: 'devops' } })

  const aboutAlerts = async (): Promise<Answer[]> => {
    await aJob(api.t.ledger, 'dead', { max_attempts: 1 })
    await alertRules(api.t.ledger, [{ clear_for_seconds: 3_600 }])
    await api.t.ledger.alerts.evaluate()
    await api.t.ledger.alerts.tellAgent('w1')
    const alerts = await api.operate('GET', '/v1/alerts')
    const id = String((alerts.body['items'] as Json[])[0]?.['id'])
    const until = new Date(Date.now() + 3_600_000).toISOString()
    const silence = await api.operate('POST', '/v1/alert-rules/dead-letters/silence', { body: { until, reason: 'x' } })
    return [
      alerts,
      silence,
      await api.operate('GET', '/v1/alert-silences'),
      await api.operate('POST', `/v1/alert-silences/${String(silence.body['id'])}/lift`, { body: { reason: 'x' } }),
      await api.operate('POST', '/v1/alert-rules/dead-letters/test'),
      await api.operate('POST', `/v1/alerts/${id}/acknowledge`, { body: { reason: 'x' } }),
      await api.operate('GET', `/v1/alerts/${id}`),
    ]
  }
  const aboutThoughts = async (): Promise<Answer[]> => {
    const send = (path: string, body: Json) => api.operate('POST', path, { body })
    const idOf = ({ body }: Answer, of?: string): string => String(of === undefined ? body['id'] : (body[of] as Json)['id'])
    const idea = await send('/v1/ideas', { ...IDEA, source_agent: 'devops', tags: ['ux'], evidence: { seen: 1 }, dedupe_key: 'pairs' })
    const opportunity = await send('/v1/opportunities', { ...OPPORTUNITY, owner_candidate: 'devops', evidence: { seen: 1 } })
    const candidate = await send('/v1/memory-candidates', { ...CANDIDATE, source_refs: { events: [1] }, visibility: 'role_limited', visible_to: ['devops'] })
    const old = await send(`/v1/memory-candidates/${idOf(await send('/v1/memory-candidates', CANDIDATE))}/promote`, { expires_at: '2099-01-01T00:00:00Z' })
    const place = { supersedes_memory_id: idOf(old, 'memory'), next_review_at: '2099-01-01T00:00:00+02:00', dedupe_key: 'db-move' }
    const reviewed = await send(`/v1/memory-candidates/${idOf(candidate)}/review`, { decision: 'reviewed', notes: 'once more' })
    const promoted = await send(`/v1/memory-candidates/${idOf(candidate)}/promote`, place)
    const memory = `/v1/memories/${idOf(promoted, 'memory')}`
    return [
      ...[idea, opportunity, candidate, old, reviewed, promoted],
      await send(`/v1/ideas/${idOf(idea)}/review`, { notes: 'nice' }),
      await send(`/v1/ideas/${idOf(idea)}/promote`, { ...SCORED, notes: 'it has matured' }),
      await send(`/v1/ideas/${idOf(await send('/v1/ideas', IDEA))}/archive`, {}),
      await api.operate('GET', `/v1/ideas/${idOf(idea)}`),
      await api.operate('GET', '/v1/ideas?tag=ux'),
      await send(`/v1/opportunities/${idOf(opportunity)}/triage`, { decision: 'accepted', notes: 'strong' }),
      await send(`/v1/opportunities/${idOf(opportunity)}/convert`, { ...CONVERSION, payload: { kind: 'experiment' } }),
      await api.operate('GET', `/v1/opportunities/${idOf(opportunity)}`),
      await api.operate('GET', '/v1/opportunities?open=true'),
      await api.operate('GET', `/v1/memory-candidates/${idOf(candidate)}`),
      await api.operate('GET', '/v1/memory-candidates?scope=service'),
      await send(`${memory}/refresh`, { notes: 'it holds', expires_at: '2099-06-01T00:00:00Z', confidence_score: 5 }),
      await send(`${memory}/mark-stale`, { notes: 'look' }),
      await send(`${memory}/retire`, { notes: 'it is over' }),
      await api.operate('GET', memory),
      await api.operate('GET', '/v1/memories?status=superseded'),
    ]
  }
  const anApproval = async (status?: string): Promise<string> =>
    String(((await api.operate('GET', `/v1/approvals${status === undefined ? '' : `?status=${status}`}`)).body['items'] as Json[])[0]?.['id'])
  const decide = async (how: string, body: Json): Promise<Answer> => api.operate('POST', `/v1/approvals/${await anApproval()}/${how}`, { body })
  const unblock = async (): Promise<Answer> => {
    const items = (await api.operate('GET', '/v1/blocked?limit=200')).body['items'] as Json[]
    const person = items.find((job) => (job['waits_for'] as Json)['kind'] === 'person')
    return api.operate('POST', `/v1/jobs/${String(person?.['id'])}/unblock`, { body: { reason: 'here', answer: { a: 1 } } })
  }
  const aRun = async (method: string, verb: string, body?: Json): Promise<Answer> => {
    const items = (await api.operate('GET', '/v1/workflow-runs')).body['items'] as Json[]
    return api.operate(method, `/v1/workflow-runs/${String(items[0]?.['id'])}${verb}`, body === undefined ? {} : { body })
  }

  const answers = [
    await api.operate('POST', '/v1/jobs', { body: aBody({ payload: { a: [1, null] }, state: { s: 1 }, flow_key: 'f', correlation_key: 'c', source_agent: 'security' }) }),
    await api.operate('POST', '/v1/job-batches', { body: { jobs: [aBody(), aBody()] } }),
    await api.operate('POST', '/v1/job-graphs', {
      body: {
        jobs: [
          { key: 'a', ...aBody() },
          { key: 'b', needs: ['a'], ...aBody() },
        ],
      },
    }),
    await api.operate('GET', '/v1/jobs'),
    await api.operate('POST', '/v1/jobs/claim', { body: { lease_owner: 'me', limit: 2 } }),
    await api.operate('POST', '/v1/jobs/requeue-expired', { body: { namespace: 'expired' } }),
    await api.operate('GET', `/v1/jobs/${running.id}`),
    await api.operate('GET', `/v1/jobs/${failed.id}/history`),
    await api.operate('GET', `/v1/jobs/${failed.id}/result?wait=1s`),
    await api.operate('GET', `/v1/jobs/${dead.id}/attempts`),
    await attemptOf('mark-running', { openclaw_task_ref: 'run-1', openclaw_meta: { a: 1 } }),
    await attemptOf('progress', { note: 'half', details: { of: 2 } }),
    await attemptOf('renew', { lease_seconds: 60 }),
    await attemptOf('complete', { summary: 'done', result: { ok: true }, events: [{ topic: 'a.done' }], follow_ups: [aBody()] }),
    await attemptOf('block', { blocked_reason: 'x', look_again_at: '2099-01-01T00:00:00Z' }),
    await attemptOf('fail', { last_error: 'x', retry_seconds: 5 }),
    await api.operate('POST', `/v1/jobs/${running.id}/cancel`, { body: { reason: 'x' } }),
    await api.operate('POST', `/v1/jobs/${failed.id}/retry`, { body: { reason: 'x', extra_attempts: 2 } }),
    await api.operate('POST', `/v1/jobs/${dead.id}/bury`, { body: { reason: 'x' } }),
    await api.operate('POST', `/v1/jobs/${(await aJob(ledger, 'running')).id}/dead`, { body: { reason: 'x' } }),
    await api.operate('POST', '/v1/flows/cancel', { body: { job_id: (await aJob(ledger, 'queued')).id, reason: 'x' } }),
    await api.operate('POST', `/v1/jobs/${delayed.id}/promote`, { body: { reason: 'x' } }),
    await api.operate('GET', `/v1/attempts/${String(running.attemptId)}`),
    await api.operate('GET', `/v1/attempts/${String(running.attemptId)}/prompt`),
    await api.operate('POST', '/v1/events', { body: { topic: 'a.b', payload: { x: 1 }, source_job_id: running.id } }),
    await api.operate('GET', '/v1/events?topic=a.*&order=desc'),
    await api.operate('GET', '/v1/agents'),
    await api.operate('GET', '/v1/agents/devops'),
    await api.operate('POST', '/v1/agents/devops/pause', { body: { reason: 'x' } }),
    await api.operate('POST', '/v1/agents/devops/resume', { body: { reason: 'x' } }),
    await api.operate('POST', '/v1/lanes/idle/pause', { body: { reason: 'x' } }),
    await api.operate('GET', '/v1/lanes'),
    await api.operate('POST', '/v1/lanes/idle/resume', { body: { reason: 'x' } }),
    await api.operate('POST', '/v1/controls', { body: { action: 'pause', scope: 'order', target: slot.order, reason: 'x' } }),
    await api.operate('GET', '/v1/controls'),
    await api.operate('POST', '/v1/controls/resume', { body: { scope: 'order', target: slot.order, reason: 'x' } }),
    await api.operate('GET', '/v1/controls/history'),
    await api.operate('GET', '/v1/gateways'),
    await api.operate('POST', '/v1/fleet', { body: { fleet } }),
    token,
    await api.operate('GET', '/v1/tokens'),
    await api.operate('DELETE', `/v1/tokens/${String(token.body['id'])}`),
    await api.operate('GET', '/v1/dispatchers'),
    await api.operate('GET', '/v1/health'),
    await api.operate('GET', '/v1/standing-orders'),
    await api.operate('GET', `/v1/standing-orders/${slot.order}`),
    await api.operate('PUT', '/v1/standing-orders/devops/hourly', { body: { cron: '0 * * * *', message: 'x' } }),
    await api.operate('DELETE', '/v1/standing-orders/devops/hourly'),
    await api.call('POST', `/v1/jobs/${slot.id}/start-standing-order`, { token: slot.attemptToken, body: {} }),
    await api.call('POST', `/v1/jobs/${slot.id}/finish-standing-order`, { token: slot.attemptToken, body: { outcome: 'no_work', summary: 'x', evidence: { n: 0 } } }),
    await api.operate('GET', '/v1/standing-order-runs?to=2099-01-01T00:00:00Z'),
    await api.operate('GET', `/v1/standing-order-runs/${slot.slotId}`),
    await api.operate('GET', '/v1/accountability?from=2026-01-01T00:00:00Z'),
    filed,
    read,
    await api.operate('POST', '/v1/inbox/acknowledge', { body: { ids: (read.body['items'] as { id: string }[]).map(({ id }) => id), note: 'told' } }),
    await api.operate('GET', '/v1/inbox?status=acknowledged'),
    await api.operate('GET', '/v1/findings?topic=disk.full'),
    await api.operate('GET', `/v1/findings/${findingId}`),
    await api.operate('POST', `/v1/findings/${findingId}/settle`, { body: { note: 'over' } }),
    await api.operate('PUT', '/v1/subscriptions/alerts', {
      body: { agent: 'devops', topic: 'alert.*', filter: { level: ['high'], n: { gte: 2 } }, payload: { host: '{{payload.host}}' } },
    }),
    await api.operate('GET', '/v1/subscriptions?agent=devops'),
    await api.operate('POST', '/v1/events', { body: { topic: 'alert.disk', payload: { level: 'high', n: 3, host: 'h1' } } }),
    await api.operate('GET', '/v1/reactions?status=made'),
    await api.operate('DELETE', '/v1/subscriptions/alerts'),
    await attemptOf('block', { blocked_reason: 'who?', waits_for: { kind: 'approval', subject: 'May I?' } }),
    await attemptOf('block', { blocked_reason: 'who?', waits_for: { kind: 'approval', subject: 'And now?', expires_in_seconds: 60 } }),
    await attemptOf('block', { blocked_reason: 'who?' }),
    await api.operate('GET', '/v1/blocked'),
    await api.operate('GET', '/v1/approvals'),
    await decide('approve', {}),
    await decide('reject', { note: 'no' }),
    await api.operate('GET', `/v1/approvals/${await anApproval('rejected')}`),
    await unblock(),
    await api.operate('GET', `/v1/trace?job_id=${failed.id}`),
    await api.operate('POST', '/v1/workflows', { body: WORKFLOW }),
    await api.operate('GET', '/v1/workflows'),
    await api.operate('GET', '/v1/workflows/two-steps?version=1'),
    await api.operate('POST', '/v1/workflows/two-steps/runs', { body: { inputs: { what: 'it' } } }),
    await api.operate('GET', '/v1/workflow-runs?status=running'),
    await aRun('GET', ''),
    await aRun('POST', '/cancel', { reason: 'x' }),
    await api.operate('POST', '/v1/projects/shop/log', { body: { entry: 'shipped', details: { version: '2.0' } } }),
    await api.operate('GET', '/v1/projects/shop/log'),
    await api.operate('PUT', '/v1/projects/shop/status', { body: { status: 'on track', body: '# Shop' } }),
    await api.operate('GET', '/v1/projects/shop/status'),
    await api.operate('GET', '/v1/projects/shop/statuses'),
    await api.operate('GET', '/v1/projects'),
    ...(await aboutThoughts()),
    ...(await aboutAlerts()),
  ]

  expect(answers.map((answer) => answer.status).filter((status) => status > 201)).toEqual([])
  expect(routes.map((route) => route.id).filter((id) => !api.seen.has(id))).toEqual([])
})

describe('/metrics', () => {
  const LINE = /^([a-z_:][a-z0-9_:]*)(\{([a-z_]+="([^"\\]|\\.)*",?)*\})? (NaN|[+-]?Inf|[-+0-9.e]+)$/i

  test('is in the text format, line by line', async () => {
    await aJob(api.t.ledger, 'queued')

    const answer = await api.operate('GET', '/metrics')

    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    for (const line of answer.text.split('\n').filter((text) => text !== '' && !text.startsWith('#'))) expect(line).toMatch(LINE)
    for (const name of [
      'agentbus_http_requests_total',
      'agentbus_http_request_seconds_count',
      'agentbus_jobs_open',
      'agentbus_outbox_rows',
      'agentbus_outbox_oldest_seconds',
      'agentbus_gateway_up',
      'agentbus_dispatchers',
    ]) {
      expect(answer.text).toContain(`\n${name}`)
    }
    expect(answer.text).toMatch(/agentbus_jobs_open\{agent="devops",status="queued"\} [1-9]/)
  })

  test('has no more series after a hundred different paths, ids and methods than after one', async () => {
    const series = async (): Promise<number> => (await api.operate('GET', '/metrics')).text.split('\n').filter((line) => line.startsWith('agentbus_http_requests_total')).length
    await api.operate('GET', '/nowhere/0')
    await api.operate('GET', '/v1/jobs/0192f0c4-1111-7000-8000-00000000000a')
    await api.call('GET', '/nowhere')
    await series()
    const before = await series()

    for (let at = 0; at < 100; at += 1) {
      await api.operate('GET', `/nowhere/${at}?q=${at}`)
      await api.operate('GET', `/v1/jobs/0192f0c4-1111-7000-8000-${String(at).padStart(12, '0')}`)
    }

    expect(await series()).toBe(before)
  })
})

describe('the probes', () => {
  test('say what keeps the process from being ready', async () => {
    const notReady = await startApi({ readiness: async () => ['the queue store cannot be reached'] })

    const answers = [await notReady.call('GET', '/readyz'), await notReady.call('GET', '/healthz')]

    expect(answers.map((answer) => [answer.status, answer.body])).toEqual([
      [503, { ready: false, failing: ['the queue store cannot be reached'] }],
      [200, { ok: true }],
    ])
    await notReady.close()
  })
})

test.each([
  ['GET', '/healthz'],
  ['GET', '/v1/jobs'],
  ['GET', '/nowhere'],
  ['PUT', '/v1/jobs'],
])('%s %s is answered with headers that keep browsers from doing harm', async (method, path) => {
  const { headers } = await api.operate(method, path)

  expect(
    Object.fromEntries(['x-content-type-options', 'cache-control', 'content-security-policy', 'referrer-policy', 'x-powered-by'].map((name) => [name, headers.get(name)])),
  ).toEqual({
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    'x-powered-by': null,
  })
  expect(headers.get('x-request-id')).not.toBeNull()
})

describe('the log', () => {
  test('tells of each request and holds no token, no payload and no subject', async () => {
    const job = await aJob(api.t.ledger, 'running')
    const attempt = job.attemptToken ?? ''
    const { body } = await api.operate('POST', '/v1/tokens', { body: { name: 'n', role: 'auditor' } })
    const before = api.logged.length
    const wrong = `abt_${'w'.repeat(43)}`

    await api.operate('POST', '/v1/jobs', { body: aBody({ subject: 'secret-subject', payload: { a: 'secret-payload' } }) })
    await api.call('POST', `/v1/jobs/${job.id}/complete`, { token: attempt, body: { summary: 'secret-summary' } })
    await api.call('GET', '/v1/jobs', { token: wrong })
    await api.call('GET', `/v1/jobs?token=${wrong}`, { token: String(body['token']) })
    await api.call('GET', `/${api.t.operatorToken}`, { token: attempt })
    await api.operate('POST', '/v1/jobs', { raw: `{"broken ${attempt}` })

    const said = api.logged.slice(before).join('')
    expect(api.logged.slice(before).filter((line) => line.includes('"event":"http.answered"'))).toHaveLength(6)
    for (const secret of [api.t.operatorToken, attempt, String(body['token']), wrong]) for (const part of [secret, secret.slice(4, 24)]) expect(said).not.toContain(part)
    expect(said).not.toMatch(/secret-|abt_|aat_/)
  })
})
