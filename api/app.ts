import { isUtf8 } from 'node:buffer'
import { randomUUID } from 'node:crypto'
import express, { type Express, type NextFunction, type Request, type RequestHandler, type Response } from 'express'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { Tracing } from '../config/tracing.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { LIMITS } from '../contracts/request-limits.js'
import { faultOfShape } from '../contracts/text.js'
import type { Caller } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import { Authenticator } from './auth.js'
import { dispatch } from './dispatch.js'
import { createMetrics, type HttpMetrics } from './metrics.js'
import { onlyIfThere, wholeBody } from './gone.js'
import { openApiOf } from './openapi.js'
import { NOT_UTF8, problemOf } from './problem.js'
import { requireRole } from './read-access.js'
import { tracedRequests } from './traced-requests.js'
import { routes } from './routes/index.js'
import { Turnstile } from './turnstile.js'
import { WaitingClients } from './waiting.js'

export const API_VERSION = '1.0.0'

export interface AppOptions {
  readonly ledger: Ledger
  readonly log: Logger
  readonly registry: Registry
  /** What keeps the process from being ready; empty when nothing does. */
  readonly readiness: () => Promise<string[]>
  /** Mounts pages behind sign-in, before the answer 404. */
  readonly mount?: (app: Express, requireOperator: RequestHandler) => void
  readonly nowMs?: () => number
  readonly tracing?: Tracing | undefined
  /** Requests of one token that may wait for jobs at once. */
  readonly waitsPerToken?: number
  /** Commands that are worked on at the same time; the others wait for their turn. */
  readonly commandsAtOnce?: number
  /** Our own proxies, whose `X-Forwarded-For` is believed. */
  readonly trustedProxies?: readonly string[]
}

/** The HTTP application: probes for anyone, everything else for those who hold a token. */
export function createApp(options: AppOptions): Express {
  const { ledger, log } = options
  const auth = new Authenticator({ ledger, log, nowMs: options.nowMs ?? (() => Date.now()), trustedProxies: options.trustedProxies ?? [] })
  const metrics = createMetrics(options.registry, ledger)
  const waiting = new WaitingClients(options.waitsPerToken)
  const turnstile = new Turnstile(options.commandsAtOnce === undefined ? {} : { most: options.commandsAtOnce })
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', 'simple')
  app.use(requestContext(metrics, log))

  app.get('/healthz', (_request, response) => void response.json({ ok: true }))
  const readiness = shared(options.readiness)
  app.get('/readyz', async (_request, response) => {
    const failing = await readiness()
    response.status(failing.length === 0 ? 200 : 503).json({ ready: failing.length === 0, failing })
  })
  options.mount?.(app, auth.requireOperator)

  app.use(onlyIfThere())
  // Signed in before a body is read: whoever holds no token costs little.
  app.use(async (request, response, next) => {
    response.locals['caller'] = await auth.caller(request)
    next()
  })
  if (options.tracing !== undefined) app.use(tracedRequests(options.tracing, ledger))
  app.get('/metrics', async (_request, response) => {
    await requireRole(ledger, response.locals['caller'] as Parameters<typeof requireRole>[1], ['operator', 'auditor'])
    response.type(options.registry.contentType).send(await options.registry.metrics())
  })
  const document = JSON.stringify(openApiOf(routes, API_VERSION))
  app.get('/v1/openapi.json', (_request, response) => void response.type('application/json').send(document))

  const [ordinary, fleet] = [jsonBody(LIMITS.bodyBytes), jsonBody(LIMITS.fleetBodyBytes)]
  app.use((request, response, next) => {
    const isOperator = (response.locals['caller'] as Caller).role === 'operator'
    return (request.path === '/v1/fleet' && isOperator ? fleet : ordinary)(request, response, next)
  })
  app.use(wholeBody('application/json'))
  app.use((request, _response, next) => {
    const fault = faultOfShape(request.body)
    if (fault !== undefined) throw new AgentbusError('AGENTBUS_BAD_REQUEST', `The body ${fault}.`)
    next()
  })
  for (const route of routes) {
    const path = route.path.replace(/\{(\w+)\}/g, ':$1')
    app[route.method](path, named(route.path), dispatch(route, { ledger, waiting }, turnstile))
  }
  for (const path of new Set(routes.map((route) => route.path))) {
    const methods = routes.filter((route) => route.path === path).map((route) => route.method.toUpperCase())
    const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].sort()
    app.all(path.replace(/\{(\w+)\}/g, ':$1'), (_request, response) => {
      response.setHeader('Allow', allow.join(', '))
      throw new AgentbusError('AGENTBUS_METHOD_NOT_ALLOWED', `This path takes ${allow.join(', ')}.`)
    })
  }
  app.use(() => {
    throw new AgentbusError('AGENTBUS_NOT_FOUND', 'There is nothing at this path.')
  })
  app.use(answerError(log))
  return app
}

/** One at a time: who asks meanwhile gets the same answer, so that nobody without a token makes the stores work. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | undefined
  return () => {
    underWay ??= ask().finally(() => {
      underWay = undefined
    })
    return underWay
  }
}

/** Reads a JSON body. Bytes that are no UTF-8 are refused: read anyhow, they would be stored as other text than was sent. */
function jsonBody(limit: number): RequestHandler {
  const verify = (_request: unknown, _response: unknown, bytes: Buffer): void => {
    if (!isUtf8(bytes)) throw Object.assign(new Error('the body is not UTF-8'), { type: NOT_UTF8 })
  }
  return express.json({ limit, inflate: false, strict: true, type: 'application/json', verify })
}

/** Gives the metrics the pattern of the route instead of its path: labels stay bounded. */
function named(pattern: string): RequestHandler {
  return (_request, response, next) => {
    response.locals['route'] = pattern
    next()
  }
}

const REQUEST_ID = /^[A-Za-z0-9._-]{1,100}$/

function requestContext(metrics: HttpMetrics, log: Logger): RequestHandler {
  return (request, response, next) => {
    const given = request.headers['x-request-id']
    const id = typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID()
    const started = performance.now()
    response.setHeader('X-Request-Id', id)
    response.setHeader('X-Content-Type-Options', 'nosniff')
    response.setHeader('Cache-Control', 'no-store')
    response.setHeader('Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'")
    response.setHeader('Referrer-Policy', 'no-referrer')
    response.on('finish', () => {
      const took = performance.now() - started
      const route = typeof response.locals['route'] === 'string' ? response.locals['route'] : 'other'
      metrics.observe({ method: request.method, route, status: response.statusCode, seconds: took / 1_000 })
      log.debug(
        { event: 'http.answered', request_id: id, ...idsOf(request, response), method: request.method, route, status: response.statusCode, ms: Math.round(took) },
        'answered',
      )
    })
    next()
  }
}

/** The job and the attempt that a request is about, where it says so: by its token, or by its path. */
function idsOf(request: Request, response: Response): Record<string, string> {
  const caller = response.locals['caller'] as Caller | undefined
  if (caller?.role === 'attempt') return { job_id: caller.jobId, attempt_id: caller.attemptId }
  const [, kind, id] = /^\/v1\/(jobs|attempts)\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\/|$)/i.exec(request.path) ?? []
  if (id === undefined) return {}
  return kind?.toLowerCase() === 'jobs' ? { job_id: id.toLowerCase() } : { attempt_id: id.toLowerCase() }
}

function answerError(log: Logger) {
  return (error: unknown, request: Request, response: Response, next: NextFunction): void => {
    if (response.headersSent) {
      next(error)
      return
    }
    const id = String(response.getHeader('X-Request-Id') ?? '')
    const problem = problemOf(error, id)
    if (problem.status >= 500)
      log.error({ event: 'http.failed', request_id: id, ...idsOf(request, response), method: request.method, code: problem.code, err: messageOf(error) }, 'a request failed')
    if (problem.status === 401) response.setHeader('WWW-Authenticate', 'Bearer realm="agentbus"')
    if (problem.status === 503) response.setHeader('Retry-After', '1')
    if (typeof problem['retry_after'] === 'number') response.setHeader('Retry-After', String(problem['retry_after']))
    // A body that was not read to its end would be taken for the next request.
    if (!request.complete) response.setHeader('Connection', 'close')
    response.status(problem.status).type('application/problem+json').send(JSON.stringify(problem))
  }
}
