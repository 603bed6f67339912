import express, { type Express, type NextFunction, type Request, type RequestHandler, type Response } from 'express'
import { z } from 'zod'
import type { Logger } from '../../config/logger.js'
import { AgentbusError, ERRORS, messageOf } from '../../contracts/errors.js'
import { JobId } from '../../contracts/ids.js'
import { TopicPattern } from '../../contracts/topics.js'
import { canonicalJson } from '../../ledger/canonical.js'
import type { Ledger } from '../../ledger/ledger.js'
import type { Action, Told } from './action.js'
import { ACTIONS, contextOf } from './actions.js'
import { readAssets } from './assets.js'
import { queryOf, type PageHandler } from './deps.js'
import { html } from './html.js'
import { LiveStreams } from './live.js'
import { LONGEST_MARK } from './marks.js'
import { MinuteMarks } from './minute-marks.js'
import { documentOf, type Page } from './page.js'
import { eventRow } from './pages/events.js'
import { PAGES } from './pages/pages.js'

export interface Console {
  /** Ends every live page. */
  stop(): Promise<void>
}

/** Nothing from elsewhere, nothing inline, in no frame; forms go to this origin only. */
const CSP = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
const FORM_BYTES = 262_144

/** The operator's console: pages at `/` and below `/console`, for those who may use the board. Changes are the ledger's commands. */
export function mountConsole(options: { readonly app: Express; readonly requireOperator: RequestHandler; readonly ledger: Ledger; readonly log: Logger }): Console {
  const { app, requireOperator, ledger, log } = options
  const assets = readAssets()
  const live = new LiveStreams({ ledger, log, renderEvent: (event) => eventRow(event).text })
  const reads: ShowDeps = { ledger, noted: new MinuteMarks() }
  const guard: RequestHandler[] = [requireOperator, secured]
  const router = express.Router({ caseSensitive: true, strict: true })

  router.get('/assets/:name', (request, response, next) => {
    const asset = assets.get(request.params.name)
    if (asset === undefined) return next()
    // Small, and asked of this process each time: after an upgrade nobody sees the old script with the new page.
    response.setHeader('Cache-Control', 'no-cache')
    response.type(asset.type).send(asset.body)
  })
  router.get('/live', (request, response, next) => {
    response.locals['route'] = '/console/live'
    const query = queryOf(LiveQuery, request.query)
    const last = request.headers['last-event-id'] ?? query.last
    live
      .open(request, response, { person: personOf(response), topic: query.tail === undefined ? undefined : (query.topic ?? ''), last: typeof last === 'string' ? last : undefined })
      .catch(next)
  })
  for (const [path, handler] of PAGES) if (path !== '/') router.get(path.replace(/^\/console/, ''), show(reads, path, handler))
  router.post('/actions/:name', express.urlencoded({ extended: false, limit: FORM_BYTES, parameterLimit: 2_000, inflate: false }), (request, response, next) => {
    response.locals['route'] = '/console/actions/:name'
    act(ledger, request, response).catch(next)
  })
  router.use((_request, _response, next) => next(new AgentbusError('AGENTBUS_NOT_FOUND', 'There is nothing at this address.')))
  router.use(answerError(log))

  const home = PAGES.get('/')
  if (home === undefined) throw new Error('there is a page at /')
  app.get('/', ...guard, show(reads, '/', home), answerError(log))
  app.use('/console', ...guard, router)
  return { stop: () => live.stop() }
}

const LiveQuery = z.object({ tail: z.literal('1').optional(), topic: TopicPattern.optional(), last: z.string().max(LONGEST_MARK).optional() })

function secured(_request: Request, response: Response, next: NextFunction): void {
  response.setHeader('Content-Security-Policy', CSP)
  response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin')
  next()
}

const personOf = (response: Response): string => (typeof response.locals['person'] === 'string' ? response.locals['person'] : 'operator')

interface ShowDeps {
  readonly ledger: Ledger
  /** Reads of this minute that have their row. */
  readonly noted: MinuteMarks
}

function show({ ledger, noted }: ShowDeps, route: string, handler: PageHandler): RequestHandler {
  return (request, response, next) => {
    response.locals['route'] = route
    const params = request.params as Readonly<Record<string, string | undefined>>
    const answer = async (): Promise<void> => {
      const page = await handler({ params, query: request.query }, { ledger, nowMs: ledger.nowMs() })
      const person = personOf(response)
      noteRead({ ledger, noted }, { person, route, params, attempt: request.query['attempt'] })
      send(response, 200, documentOf(page, { path: request.originalUrl.split('?')[0] ?? '/', person, attention: await ledger.console.attention() }))
    }
    answer().catch(next)
  }
}

/** Who looked at what, once a minute: a page that reads itself anew is the same look for so long, and says nothing about itself that is believed. */
function noteRead(
  { ledger, noted }: ShowDeps,
  read: { readonly person: string; readonly route: string; readonly params: Readonly<Record<string, string | undefined>>; readonly attempt: unknown },
): void {
  const isJob = read.route === '/console/jobs/:id'
  const target = { ...read.params, ...(isJob && typeof read.attempt === 'string' && read.attempt !== '' ? { attempt: Number(read.attempt) } : {}) }
  const atMs = ledger.nowMs()
  if (!noted.isFirst(canonicalJson([read.person, read.route, target]), atMs)) return
  const caller = { role: 'internal', actor: { kind: 'board', id: read.person } } as const
  ledger.accesses.note({ atMs, caller, route: read.route, target, jobId: isJob ? read.params['id'] : undefined, status: 200 })
}

async function act(ledger: Ledger, request: Request, response: Response): Promise<void> {
  const name = String(request.params['name'])
  const action = ACTIONS.get(name)
  if (action === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', 'There is no such action.')
  if (request.is('application/x-www-form-urlencoded') === false) throw new AgentbusError('AGENTBUS_UNSUPPORTED_MEDIA_TYPE', 'An action takes a form.')
  // Express's parser leaves the body out when the connection has ended in the meantime.
  if (request.body === undefined) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The form did not arrive whole.')
  const { key, ...body } = request.body as Record<string, unknown>
  const context = contextOf(personOf(response), name, { key, ...body })
  const told = await action.run(body, { ledger, context }).catch(async (error: unknown) => {
    // Commands write down some of what they refuse, and none of what they refuse to the board about jobs: here all has its row.
    if (error instanceof AgentbusError && error.status < 500) await ledger.recordRefusalOnce(context.caller, error, aboutOf(action, body))
    throw error
  })
  if (wantsJson(request)) response.json(told)
  else send(response, 200, documentOf(toldPage(told), { path: '', person: personOf(response), attention: undefined }))
}

function aboutOf(action: Action, body: Readonly<Record<string, unknown>>): { jobId?: string } {
  const jobId = JobId.safeParse(body['id'])
  return action.isOnJob && jobId.success ? { jobId: jobId.data } : {}
}

function toldPage(told: Told): Page {
  return {
    title: 'Done',
    main: html`<p>${told.message}</p>
      <p><a class="button" href="/">To the fleet</a></p>`,
  }
}

const wantsJson = (request: Request): boolean => request.headers.accept?.includes('application/json') === true

function send(response: Response, status: number, document: string): void {
  response.status(status).type('text/html; charset=utf-8').send(document)
}

/** A refusal as a page; for the script as the problem document that the API would give. */
function answerError(log: Logger) {
  return (error: unknown, request: Request, response: Response, next: NextFunction): void => {
    if (response.headersSent) {
      next(error)
      return
    }
    const told = known(error)
    if (told.code === 'AGENTBUS_INTERNAL')
      log.error({ event: 'console.failed', request_id: String(response.getHeader('X-Request-Id') ?? ''), err: messageOf(error) }, 'a page of the console failed')
    if (told.status === 503) response.setHeader('Retry-After', '1')
    if (typeof told.fields['retry_after'] === 'number') response.setHeader('Retry-After', String(told.fields['retry_after']))
    if (!request.complete) response.setHeader('Connection', 'close')
    const instance = String(response.getHeader('X-Request-Id') ?? '')
    const { title } = ERRORS[told.code]
    if (wantsJson(request)) {
      const problem = { type: `/v1/errors#${told.code}`, title, status: told.status, code: told.code, detail: told.message, next: told.next, instance }
      response.status(told.status).type('application/problem+json').send(JSON.stringify(problem))
      return
    }
    const main = html`<div class="panel">
      <p role="alert"><strong>${told.message}</strong></p>
      <p>${told.next}</p>
      <p class="dim">${told.code} · request ${instance}</p>
    </div>`
    send(response, told.status, documentOf({ title, main }, { path: '', person: personOf(response), attention: undefined }))
  }
}

/** Express and its body reader throw errors of their own, with a status and a type. */
function known(error: unknown): AgentbusError {
  if (error instanceof AgentbusError) return error
  const { status, type } = error instanceof Error ? (error as Error & { status?: unknown; type?: unknown }) : { status: undefined, type: undefined }
  if (status === 413 || type === 'parameters.too.many') return new AgentbusError('AGENTBUS_TOO_LARGE', 'The form is too large.')
  if (typeof status === 'number' && status >= 400 && status < 500) return new AgentbusError('AGENTBUS_BAD_REQUEST', 'The request cannot be read.')
  return new AgentbusError('AGENTBUS_INTERNAL', 'The page failed inside agentbus.')
}
