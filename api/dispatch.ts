import { createHash } from 'node:crypto'
import type { Request, RequestHandler, Response } from 'express'
import type { z } from 'zod'
import { AgentbusError } from '../contracts/errors.js'
import type { Caller, CommandContext } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import type { Reply, Route, RouteDeps } from './define-route.js'
import { InvalidRequestError } from './problem.js'
import { requireRole } from './read-access.js'
import { goneOf, hasGone } from './gone.js'
import type { Turnstile } from './turnstile.js'

/** Turns a row of the route table into an Express handler: role, parse, handle, answer. Whoever gets here has signed in. */
export function dispatch(route: Route, deps: RouteDeps, turnstile: Turnstile): RequestHandler {
  return async (request: Request, response: Response): Promise<void> => {
    if (hasGone(response)) return
    const caller = response.locals['caller'] as Caller
    if (route.access === 'operator') await requireRole(deps.ledger, caller, ['operator'])
    if (route.access === 'operator or auditor') await requireRole(deps.ledger, caller, ['operator', 'auditor'])
    requireJson(route, request)
    const params = parse(route.spec.params, request.params, 'path')
    const query = parse(route.spec.query, request.query, 'query')
    const body = parse(route.spec.body, request.body ?? {}, 'body')
    const gone = goneOf(response)
    const handle = (): Promise<Reply> => route.handle({ params, query, body, caller, gone, context: contextOf(request, caller, query) }, deps)
    const reply = route.method === 'get' || isPatient(query) ? await handle() : await turnstile.within(gone, handle)
    if (reply === undefined) return
    if (route.method === 'get') noteRead(deps.ledger, route, caller, { ...asObject(params), ...asObject(query) }, reply.status)
    send(request, response, reply)
  }
}

/** A request that waits for the end of its job holds nothing meanwhile, and has a limit of its own. */
function isPatient(query: unknown): boolean {
  return asObject(query)['wait'] !== undefined
}

/**
 * Who read what is part of the story of an agent. It is written down later; nobody waits for it. Which job was read is said of
 * the routes that answer with that job: a filter may name one that is not there, and stands in the target.
 */
function noteRead(ledger: Ledger, route: Route, caller: Caller, target: Record<string, unknown>, status: number): void {
  const jobId = route.path.startsWith('/v1/jobs/{id}') ? target['id'] : undefined
  ledger.accesses.note({ atMs: ledger.nowMs(), caller, route: route.path, target, jobId: typeof jobId === 'string' ? jobId : undefined, status })
}

function asObject(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === 'object' ? { ...value } : {}
}

function parse(schema: z.ZodType | undefined, value: unknown, where: string): unknown {
  if (schema === undefined) return undefined
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw new InvalidRequestError(parsed.error, where)
  return parsed.data
}

function requireJson(route: Route, request: Request): void {
  if (route.spec.body === undefined) return
  const hasBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase()
  if (hasBody && request.headers['content-length'] !== '0' && type !== 'application/json') {
    throw new AgentbusError('AGENTBUS_UNSUPPORTED_MEDIA_TYPE', 'The body must be JSON, sent as application/json.')
  }
}

/** Idempotency-Key and If-Match, checked for form. @throws AGENTBUS_BAD_REQUEST */
function contextOf(request: Request, caller: Caller, query: unknown): CommandContext {
  return { caller, idempotency: idempotencyOf(request, query), ifVersion: versionOf(request) }
}

function idempotencyOf(request: Request, query: unknown): CommandContext['idempotency'] {
  const key = request.headers['idempotency-key']
  if (key === undefined || request.method === 'GET' || request.method === 'HEAD') return undefined
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(key)) {
    throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'Idempotency-Key must be 1 to 200 visible ASCII characters.', { header: 'Idempotency-Key' })
  }
  const requestHash = createHash('sha256')
    .update(JSON.stringify([request.method, request.path, sorted(request.body), ...saidInQuery(query)]))
    .digest('hex')
  return { key, requestHash }
}

/** What the query says of the command. How long a client waits for the end of its job is no part of it: a repeat may wait longer. */
function saidInQuery(query: unknown): unknown[] {
  const { wait: _wait, ...said } = asObject(query)
  return Object.keys(said).length === 0 ? [] : [sorted(said)]
}

/** The value with the fields of each object in one order: as a list of pairs, so that a list that looks like one is wrapped. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(sorted)
    return items.every(isPair) ? { list: items } : items
  }
  if (value === null || typeof value !== 'object') return value
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, item]) => [key, sorted(item)])
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string'
}

function versionOf(request: Request): number | undefined {
  const header = request.headers['if-match']
  if (header === undefined || header === '*') return undefined
  const version = /^"(\d{1,9})"$/.exec(header)?.[1]
  if (version === undefined) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'If-Match must be one ETag as it was answered, such as "3".', { header: 'If-Match' })
  return Number(version)
}

function send(request: Request, response: Response, reply: Reply): void {
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value)
  const etag = reply.headers?.['ETag']
  if ((request.method === 'GET' || request.method === 'HEAD') && etag !== undefined && reply.isLive !== true && isKnown(request.headers['if-none-match'], etag)) {
    response.status(304).end()
    return
  }
  response.status(reply.status).type('application/json').send(JSON.stringify(reply.body))
}

/** If-None-Match compares weakly and may list several (RFC 9110 section 13.1.2). */
function isKnown(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  if (header.trim() === '*') return true
  return header.split(',').some((one) => one.trim().replace(/^W\//, '') === etag)
}
