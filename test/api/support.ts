import { Writable } from 'node:stream'
import type { Express, RequestHandler } from 'express'
import type { Logger } from 'pino'
import { Registry } from 'prom-client'
import { expect } from 'vitest'
import { createApp } from '../../api/app.js'
import type { Route } from '../../api/define-route.js'
import { Problem } from '../../api/problem.js'
import { routes } from '../../api/routes/index.js'
import { listen } from '../../api/server.js'
import { createLogger } from '../../config/logger.js'
import { freshLedger, type TestLedger } from '../support/ledger.js'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown>
}

export interface CallOptions {
  readonly token?: string | undefined
  readonly body?: unknown
  /** Sent as it is, with the content type JSON unless `headers` says otherwise. */
  readonly raw?: string | Buffer
  readonly headers?: Record<string, string>
}

export interface TestApi {
  readonly t: TestLedger
  readonly url: string
  /** Every line the API logged, at level debug. */
  readonly logged: string[]
  /** Moves the clock that the sign-in throttle reads. */
  readonly clock: { nowMs: number }
  /** Routes whose success was seen, and so checked against its schema. */
  readonly seen: Set<string>
  /** Sends a request; every answer of a route is held against the schema that the document shows for it. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>
  /** The same, signed in as operator. */
  operate(method: string, path: string, options?: CallOptions): Promise<Answer>
  count(table: 'jobs' | 'events' | 'observations' | 'api_tokens' | 'job_transitions' | 'project_log' | 'project_statuses'): Promise<number>
  /** The codes of the refusals recorded since the number of rows was `since`. */
  refusals(since: number): Promise<string[]>
  close(): Promise<void>
}

export interface StartOptions {
  readonly mount?: (app: Express, requireOperator: RequestHandler) => void
  readonly readiness?: () => Promise<string[]>
  readonly waitsPerToken?: number
  readonly commandsAtOnce?: number
  readonly trustedProxies?: readonly string[]
  /** Where and how it listens; not said: on any port of this machine. */
  readonly where?: Parameters<typeof listen>[1]
}

/** The real application on a port of its own, over a fresh ledger. */
export async function startApi(options: StartOptions = {}): Promise<TestApi> {
  const t = await freshLedger()
  await t.addAgent('security', { concurrency: 100 })
  const logged: string[] = []
  const clock = { nowMs: 1_000_000 }
  const app = createApp({
    ledger: t.ledger,
    log: logInto(logged),
    registry: new Registry(),
    readiness: options.readiness ?? (async () => []),
    nowMs: () => clock.nowMs,
    ...(options.waitsPerToken === undefined ? {} : { waitsPerToken: options.waitsPerToken }),
    ...(options.commandsAtOnce === undefined ? {} : { commandsAtOnce: options.commandsAtOnce }),
    trustedProxies: options.trustedProxies ?? [],
    ...(options.mount === undefined ? {} : { mount: options.mount }),
  })
  const server = await listen(app, options.where ?? { host: '127.0.0.1', port: 0 })
  const seen = new Set<string>()
  const call: TestApi['call'] = async (method, path, sent = {}) => {
    const answer = await send(server.url, method, path, sent)
    check(method, path, answer, seen)
    return answer
  }
  return {
    t,
    url: server.url,
    logged,
    clock,
    seen,
    call,
    operate: (method, path, sent = {}) => call(method, path, { token: t.operatorToken, ...sent }),
    count: async (table) => {
      const { rows } = await t.database.pool.query<{ n: number }>(`select count(*)::int as n from ${table}`)
      return rows[0]?.n ?? -1
    },
    refusals: async (since) => {
      const { rows } = await t.database.pool.query<{ code: string }>(`select code from observations where kind = 'refusal' order by id offset $1`, [since])
      return rows.map((row) => row.code)
    },
    close: async () => {
      await server.close()
      await t.close()
    },
  }
}

function logInto(lines: string[]): Logger {
  return createLogger({
    level: 'debug',
    destination: new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString())
        done()
      },
    }),
  })
}

async function send(url: string, method: string, path: string, { token, body, raw, headers }: CallOptions): Promise<Answer> {
  const content = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const response = await fetch(`${url}${path}`, {
    method,
    redirect: 'manual',
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(content === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(content === undefined ? {} : { body: content }),
  })
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('content-type') ?? '') && text !== ''
  return { status: response.status, headers: response.headers, text, body: isJson ? (JSON.parse(text) as Record<string, unknown>) : {} }
}

/** What a schema does not name would be stripped by parsing: an answer must come out of it as it went in. */
function check(method: string, path: string, answer: Answer, seen: Set<string>): void {
  if (answer.status >= 400 && answer.headers.get('content-type')?.includes('problem+json') === true && method !== 'HEAD') {
    expect(Problem.parse(answer.body)).toEqual(answer.body)
    expect(answer.body['status']).toBe(answer.status)
    return
  }
  const route = routeOf(method, path)
  if (route === undefined || answer.status >= 300 || answer.status === 204) return
  expect(route.spec.response.parse(answer.body)).toEqual(answer.body)
  seen.add(route.id)
}

function routeOf(method: string, path: string): Route | undefined {
  const [plain = ''] = path.split('?')
  const matching = routes.filter((route) => route.method === method.toLowerCase() && new RegExp(`^${route.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(plain))
  return matching.find((route) => !route.path.includes('{')) ?? matching[0]
}

/** A job's body, as short as it can be. */
export function aBody(overrides: Record<string, unknown> = {}): Record<string, unknown> {
  return { target_agent: 'devops', subject: 'a job', ...overrides }
}
