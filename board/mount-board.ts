import { createBullBoard } from '@bull-board/api'
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter'
import type { Queue } from 'bullmq'
import type { Express, NextFunction, Request, RequestHandler, Response } from 'express'
import type { Logger } from '../config/logger.js'
import { AgentbusError, ERRORS, messageOf } from '../contracts/errors.js'
import type { Ledger } from '../ledger/ledger.js'
import { DeliveryEntry } from '../queues/catalogue.js'
import type { QueueRegistry } from '../queues/queue-registry.js'
import { BoardCommands, parseBoardAction } from './board-commands.js'
import { OfflineAdapter } from './offline-adapter.js'

export interface Board {
  stop(): void
}

const BASE = '/board'
/** Bull Board writes style attributes; everything else comes from this origin. `base-uri` must allow its <base>. */
const CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; base-uri 'self'; frame-ancestors 'none'; form-action 'self'"

/**
 * Bull Board for all agent queues at /board. Reading goes to Bull Board; whatever changes something goes to the
 * ledger first and never straight to a queue.
 */
export function mountBoard(options: {
  readonly app: Express
  readonly requireOperator: RequestHandler
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly log: Logger
}): Board {
  const { app, ledger, queues, log } = options
  const adapter = new OfflineAdapter()
  adapter.setBasePath(BASE)
  const board = createBullBoard({ queues: [], serverAdapter: adapter, options: { uiConfig: { boardTitle: 'agentbus', hideRedisDetails: true, hideDocsLink: true } } })
  const commands = new BoardCommands({ ledger, queues })
  const shown = new Set<string>()

  const refresh = async (): Promise<void> => {
    try {
      for (const agent of await ledger.listAgents()) {
        if (shown.has(agent.id)) continue
        shown.add(agent.id)
        board.addQueue(await shownQueue(queues, agent.id))
      }
    } catch (error) {
      log.warn({ event: 'board.refresh_failed', err: messageOf(error) }, 'the board could not read the fleet')
    }
  }
  const unlisten = ledger.hints.listen((hint) => {
    if (hint.fleet === true) void refresh()
  })

  app.use(BASE, options.requireOperator, (_request: Request, response: Response, next: NextFunction) => {
    response.setHeader('Content-Security-Policy', CSP)
    next()
  })
  app.use(BASE, (request: Request, response: Response, next: NextFunction) => {
    if (request.method === 'GET' || request.method === 'HEAD') {
      void refresh().then(() => next())
      return
    }
    void change(commands, request, response, log)
  })
  app.use(BASE, adapter.getRouter() as RequestHandler)
  return { stop: unlisten }
}

/** People know a job by its subject; BullMQ's name of an entry is the same for all. */
async function shownQueue(queues: QueueRegistry, agentId: string): Promise<BullMQAdapter> {
  const adapter = new BullMQAdapter((await queues.get(agentId)) as unknown as Queue)
  adapter.setFormatter('name', (entry: { readonly name?: unknown; readonly data?: unknown }) => DeliveryEntry.safeParse(entry.data).data?.subject ?? String(entry.name ?? ''))
  return adapter
}

async function change(commands: BoardCommands, request: Request, response: Response, log: Logger): Promise<void> {
  const person = typeof response.locals['person'] === 'string' ? response.locals['person'] : 'operator'
  try {
    const action = parseBoardAction(request.method, request.path)
    if (action === undefined) throw await commands.refuse(`${request.method} ${request.path.slice(0, 200)}`, person)
    const reply = await commands.run(action, person)
    if (reply === undefined) response.status(204).end()
    else response.json(reply)
  } catch (error) {
    if (!(error instanceof AgentbusError)) log.error({ event: 'board.failed', err: messageOf(error) }, 'a board action failed')
    const told = error instanceof AgentbusError ? error : new AgentbusError('AGENTBUS_INTERNAL', 'The action failed inside agentbus.')
    if (told.status === 503) response.setHeader('Retry-After', '1')
    const instance = String(response.getHeader('X-Request-Id') ?? '')
    response
      .status(told.status)
      .type('application/problem+json')
      .send(JSON.stringify(boardProblem(told, instance)))
  }
}

/** A problem document as the API gives it. Bull Board shows `error` and, below it, `message` to the person who clicked. */
function boardProblem(error: AgentbusError, instance: string): Record<string, unknown> {
  const { code, status, message: detail, next } = error
  return { type: `/v1/errors#${code}`, title: ERRORS[code].title, status, code, instance, next, detail, error: detail, message: next }
}
