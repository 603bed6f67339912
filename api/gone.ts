import type { NextFunction, Request, RequestHandler, Response } from 'express'

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
