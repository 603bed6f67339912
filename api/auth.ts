import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { Logger } from 'pino'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import type { Caller } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import { ClientAddresses } from './client-address.js'
import { problemOf } from './problem.js'
import { SignInThrottle } from './throttle.js'

/** The token of a request: a bearer token, or, for browsers, the password of HTTP Basic. */
function tokenOf(request: Request, { allowBasic }: { readonly allowBasic: boolean }): string | undefined {
  const header = request.headers.authorization
  if (header === undefined) return undefined
  const bearer = /^Bearer ([\x21-\x7e]{1,500})$/i.exec(header)?.[1]
  if (bearer !== undefined) return bearer
  if (!allowBasic) return undefined
  const basic = /^Basic ([A-Za-z0-9+/=]{1,1000})$/i.exec(header)?.[1]
  if (basic === undefined) return undefined
  const decoded = Buffer.from(basic, 'base64').toString('utf8')
  return decoded.slice(decoded.indexOf(':') + 1)
}

/** From one address in a minute, then 429. */
export const WRONG_TOKENS = 20
export const WITHOUT_TOKEN = 600

/** Finds out who is asking, and throttles those who guess. */
export class Authenticator {
  readonly #ledger: Ledger
  readonly #log: Logger
  readonly #wrong: SignInThrottle
  readonly #missing: SignInThrottle
  readonly #clients: ClientAddresses

  constructor(options: { readonly ledger: Ledger; readonly log: Logger; readonly nowMs: () => number; readonly trustedProxies: readonly string[] }) {
    this.#ledger = options.ledger
    this.#log = options.log
    this.#wrong = new SignInThrottle({ limit: WRONG_TOKENS, nowMs: options.nowMs })
    this.#missing = new SignInThrottle({ limit: WITHOUT_TOKEN, nowMs: options.nowMs })
    this.#clients = new ClientAddresses(options.trustedProxies)
  }

  /** @throws AGENTBUS_UNAUTHORIZED, AGENTBUS_TOO_MANY_REQUESTS (with retry_after in seconds). A right token always works. */
  async caller(request: Request, options: { readonly allowBasic: boolean } = { allowBasic: false }): Promise<Caller> {
    const token = tokenOf(request, options)
    const caller = token === undefined ? undefined : await this.#ledger.tokens.authenticate(token)
    if (caller !== undefined) return caller
    // Asking without any token is what browsers do first; it guesses nothing, so that it takes more of it to be held up.
    const waitSeconds = (token === undefined ? this.#missing : this.#wrong).fail(this.#clients.of(request))
    if (waitSeconds !== undefined) {
      const what = token === undefined ? 'requests without a token' : 'wrong tokens'
      throw new AgentbusError('AGENTBUS_TOO_MANY_REQUESTS', `Too many ${what} came from this address.`, { retry_after: waitSeconds })
    }
    throw new AgentbusError('AGENTBUS_UNAUTHORIZED', token === undefined ? 'No bearer token was sent.' : 'The token is not known, has expired, or was revoked.')
  }

  /** For pages: an operator by bearer token or HTTP Basic; changes only from this very origin. */
  readonly requireOperator: RequestHandler = (request: Request, response: Response, next: NextFunction) => {
    this.#operator(request, response).then(
      () => next(),
      (error: unknown) => {
        const requestId = String(response.getHeader('X-Request-Id') ?? '')
        const problem = problemOf(error, requestId)
        // Answered here, in the words of a browser's sign-in, so that no page has to know them; in the log it stands like any other.
        if (problem.status >= 500) {
          this.#log.error({ event: 'http.failed', request_id: requestId, method: request.method, code: problem.code, err: messageOf(error) }, 'a request failed')
        }
        if (problem.status === 401) response.setHeader('WWW-Authenticate', 'Basic realm="agentbus", charset="UTF-8"')
        if (problem.status === 503) response.setHeader('Retry-After', '1')
        if (typeof problem['retry_after'] === 'number') response.setHeader('Retry-After', String(problem['retry_after']))
        response.status(problem.status).type('application/problem+json').send(JSON.stringify(problem))
      },
    )
  }

  async #operator(request: Request, response: Response): Promise<void> {
    const caller = await this.caller(request, { allowBasic: true })
    if (caller.role !== 'operator') {
      const error = new AgentbusError('AGENTBUS_FORBIDDEN', 'Only an operator may use this page.', { role: caller.role })
      await this.#ledger.recordRefusal(caller, error, {})
      throw error
    }
    response.locals['person'] = caller.name
    if (request.method !== 'GET' && request.method !== 'HEAD' && !isSameOrigin(request)) {
      const error = new AgentbusError('AGENTBUS_FORBIDDEN', 'The request came from another site.')
      await this.#ledger.recordRefusal(caller, error, {})
      throw error
    }
  }
}

/**
 * A browser says where a request comes from; a program that sends neither header is no browser. Where it has judged itself (on HTTPS and
 * on this machine) its word holds, which no page can change: a proxy in between may have written another `Host`.
 */
function isSameOrigin(request: Request): boolean {
  const site = request.headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  const origin = request.headers.origin
  if (origin === undefined) return true
  try {
    return new URL(origin).host === request.headers.host
  } catch {
    return false
  }
}
