import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../config/clock.js'
import { createLogger } from '../../config/logger.js'
import { HookClient } from '../../openclaw/hook-client.js'
import { AttemptWatches } from '../../processors/attempt-watches.js'
import { deliver } from '../../processors/deliver.js'
import { ShortLeases } from '../../processors/short-leases.js'
import { startApi, type TestApi } from '../api/support.js'
import { aJob } from '../support/ledger.js'

const HOOK_TOKEN = 'hook-token-that-must-never-be-logged'
const SECRET = 'tHe-SeCrEt-of-a-caller-0123456789'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

describe('a request', () => {
  test('leaves no secret in the log, wherever it stands: header, query, path, body, request id', async () => {
    const since = api.logged.length
    const headers = { authorization: `Bearer ${SECRET}`, cookie: `session=${SECRET}`, 'x-api-key': SECRET, 'x-request-id': `bad id ${SECRET}`, 'idempotency-key': SECRET }
    await api.call('GET', `/v1/jobs?token=${SECRET}`, { headers })
    await api.operate('GET', `/v1/jobs?cursor=${SECRET}`)
    await api.operate('GET', `/v1/jobs/${SECRET}`)
    await api.operate('POST', '/v1/jobs', { body: { target_agent: 'devops', subject: SECRET, payload: { password: SECRET } } })
    await api.operate('POST', '/v1/jobs', { raw: `{"subject": "${SECRET}` })
    await api.operate('GET', `/nowhere/${SECRET}`)

    const lines = api.logged.slice(since)
    expect(lines).toHaveLength(6)
    expect(lines.join('')).not.toContain(SECRET)
    expect(lines.join('')).not.toContain(api.t.operatorToken)
  })

  test('is logged with its own id when that is a plain one, and with a new one otherwise; the answer has the same', async () => {
    const ask = async (id: string) => {
      const answer = await api.operate('GET', '/v1/agents', { headers: { 'x-request-id': id } })
      return { answered: answer.headers.get('x-request-id'), logged: (JSON.parse(api.logged.at(-1) ?? '{}') as Record<string, unknown>)['request_id'] }
    }

    expect(await ask('client-42.a_b')).toEqual({ answered: 'client-42.a_b', logged: 'client-42.a_b' })
    for (const id of ['with space', 'x'.repeat(101), '{"a":1}']) {
      const { answered, logged } = await ask(id)
      expect(answered).toMatch(/^[0-9a-f-]{36}$/)
      expect(logged).toBe(answered)
    }
  })

  test('is logged with the job and the attempt that it is about', async () => {
    const job = await aJob(api.t.ledger, 'running')

    await api.call('POST', `/v1/jobs/${job.id}/progress`, { token: job.attemptToken, body: { note: 'x' } })
    const [byAttempt] = api.logged.slice(-1)
    await api.operate('GET', `/v1/jobs/${job.id}`)
    const [byPath] = api.logged.slice(-1)

    expect(JSON.parse(byAttempt ?? '{}')).toMatchObject({ job_id: job.id, attempt_id: job.attemptId })
    expect(JSON.parse(byPath ?? '{}')).toMatchObject({ job_id: job.id })
  })
})

describe('a delivery', () => {
  let server: Server
  let baseUrl = ''
  beforeAll(async () => {
    // A gateway that repeats all that it was sent, and its headers.
    server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () =>
        response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error: `${JSON.stringify(request.headers)} ${Buffer.concat(chunks).toString()}` })),
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => new Promise((resolve) => server.close(resolve)))

  test('is logged with job and attempt, and without the tokens that a gateway repeats', async () => {
    const lines: string[] = []
    const destination = new Writable({ write: (chunk, _encoding, done) => (lines.push(String(chunk)), done()) })
    const log = createLogger({ level: 'debug', destination })
    const { ledger } = api.t
    await api.t.addAgent('echoed', { baseUrl, concurrency: 2 })
    const { id } = await aJob(ledger, 'queued', { target_agent: 'echoed' })
    const hooks = new HookClient()
    const watches = new AttemptWatches({ ledger, log, pollMs: 1_000 })
    let attemptToken = ''
    const deps = {
      ...{ ledger, hooks, watches, log, clock: systemClock, workerId: 'w1', hookToken: () => HOOK_TOKEN, completionGraceMs: 10, deadlineMarginSeconds: 60 },
      ...{ breakerFailures: 3, failing: new Set<string>(), admissionTimeoutMs: 5_000, shortLeases: new ShortLeases({ lockMs: 8_000, stalledCheckMs: 3_000, log }) },
      ahead: { take: async () => undefined },
      hookBodies: async (attempt: { readonly id: string }) => {
        attemptToken = ledger.tokens.attempts.issue(attempt.id as never)
        return { admit: JSON.stringify({ message: attemptToken }), join: '{}' }
      },
    }

    await deliver(deps, { v: 1, job_id: id, generation: 1, subject: 'x' }, { slot: undefined }, new AbortController().signal)
    await hooks.close()
    watches.stop()

    const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    const attemptId = (await ledger.jobAttempts(id))[0]?.id
    expect(events.map(({ event }) => event)).toEqual(['delivery.began', 'hook.failed', 'delivery.ended'])
    expect(events.map(({ job_id, attempt_id }) => [job_id, attempt_id])).toEqual(Array(3).fill([id, attemptId]))
    expect(lines.join('')).not.toContain(HOOK_TOKEN)
    expect(attemptToken).toMatch(/^aat_/)
    expect(lines.join('')).not.toContain(attemptToken)
  })
})
