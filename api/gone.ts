import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { AgentbusError } from '../contracts/errors.js'

/** Aborts when the client has gone. */
export function goneOf(response: Response): AbortSignal {
  const gone = new AbortController()
  if (hasGone(response)) gone.abort()
  else response.on('close', () => gone.abort())
  return gone.signal
}

/** True when nobody is there any more to be answered. */
export function hasGone(response: Response): boolean {
  return response.closed || response.destroyed || response.socket?.destroyed !== false
}

/**
 * Lets no request pass whose body was left out: Express's parsers skip it, and say nothing, when the connection has ended in
 * the meantime. A command would then be carried out with less than was sent.
 * @param type of the bodies that are parsed, such as `application/json`
 * @throws AGENTBUS_BAD_REQUEST
 */
export function wholeBody(type: string): RequestHandler {
  return (request, _response, next) => {
    const isLeftOut = request.body === undefined && typeof request.is(type) === 'string' && request.headers['content-length'] !== '0'
    next(isLeftOut ? new AgentbusError('AGENTBUS_BAD_REQUEST', 'The body did not arrive whole.') : undefined)
  }
}

/**
 * Begins nothing for a client that has gone: one that has given up asks again, and work that nobody waits for would keep those
 * who still wait from being served. A busy process finds request and farewell in the same moment, the request first.
 */
export function onlyIfThere(): RequestHandler {
  return (_request: Request, response: Response, next: NextFunction) => {
    setImmediate(() => {
      if (!hasGone(response)) next()
    })
  }
}
