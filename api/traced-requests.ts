import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { parseTraceparent, withTraceparent, type Tracing } from '../config/tracing.js'
import type { Caller } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'

/**
 * A span for each request of somebody who has signed in. It goes on with the trace of its `traceparent` header; a request of
 * an attempt that has none goes on with the trace of its job, so that the end of a run stands where it began.
 */
export function tracedRequests(tracing: Tracing, ledger: Ledger): RequestHandler {
  return async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    const caller = response.locals['caller'] as Caller
    const parent = parseTraceparent(request.headers['traceparent']) ?? (await traceOfJob(ledger, caller))
    const who = caller.role === 'attempt' ? { 'agentbus.job_id': caller.jobId, 'agentbus.attempt_id': caller.attemptId } : {}
    const attributes = { 'http.request.method': request.method, 'agentbus.request_id': String(response.getHeader('X-Request-Id') ?? ''), ...who }
    const span = tracing.serve(request.method, { parent, attributes })
    response.on('finish', () => {
      const route = typeof response.locals['route'] === 'string' ? response.locals['route'] : 'other'
      span.set({ 'http.route': route, 'http.response.status_code': response.statusCode })
      span.end(response.statusCode >= 500 ? { error: String(response.statusCode) } : {})
    })
    withTraceparent(span.traceparent, () => next())
  }
}

/** No request fails for its trace. */
async function traceOfJob(ledger: Ledger, caller: Caller): Promise<string | undefined> {
  if (caller.role !== 'attempt') return undefined
  const known = await ledger.traceparentsOf([caller.jobId]).catch(() => new Map<string, string>())
  return parseTraceparent(known.get(caller.jobId))
}
