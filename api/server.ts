import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { Server as NetServer, type AddressInfo } from 'node:net'
import type { Express } from 'express'
import { AgentbusError, messageOf } from '../contracts/errors.js'

export interface Listening {
  readonly url: string
  /**
   * Stops accepting, lets running requests finish (at most 5 s), then closes what is left. A connection ends with the answer to
   * what is asked on it, so that clients that keep theirs and go on asking find another server at once.
   */
  close(): Promise<void>
}

const CLOSE_LIMIT_MS = 5_000

/** Longer than the longest wait for a job, in which nothing is sent: a client that reads nothing of its answer holds it no longer. */
const SILENCE_LIMIT_MS = 330_000
/** Below the files that a process may usually open, so that connections of clients cannot take those to the stores. */
const MOST_CONNECTIONS = 10_000

/** How long clients may take to send, in ms; `headers` is at most `request`. */
export interface Patience {
  readonly headers: number
  readonly request: number
}

const PATIENCE: Patience = { headers: 10_000, request: 30_000 }

/**
 * Listens. Slow clients are cut off: 10 s for the headers and 30 s for a whole request unless `patience` says otherwise, looked at
 * at least every 5 s, and 5.5 minutes in which nothing moves. Connections beyond 10,000 are closed at once.
 * @throws AgentbusError AGENTBUS_CONFIG when the port is taken or not permitted, or the host is not one of this machine
 */
export async function listen(app: Express, where: { readonly host: string; readonly port: number; readonly patience?: Patience }): Promise<Listening> {
  const { headers: headersTimeout, request: requestTimeout } = where.patience ?? PATIENCE
  const connectionsCheckingInterval = Math.min(5_000, Math.ceil(headersTimeout / 2))
  const server = createServer({ headersTimeout, requestTimeout, connectionsCheckingInterval, keepAliveTimeout: 65_000, maxHeaderSize: 16_384 }, app)
  const answers = openAnswers(server)
  server.timeout = SILENCE_LIMIT_MS
  server.maxConnections = MOST_CONNECTIONS
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(faultOf(error, where)))
    server.listen(where.port, where.host, () => resolve())
  })
  const { port } = server.address() as AddressInfo
  return { url: urlOf({ host: where.host, port }), close: () => close(server, answers) }
}

/** The URL by which a server that listens there is reached from this machine: with brackets around IPv6, and the loopback address for one that listens everywhere. */
export function urlOf({ host, port }: { readonly host: string; readonly port: number }): string {
  const reached = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
}

function faultOf(error: unknown, { host, port }: { readonly host: string; readonly port: number }): AgentbusError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const place = `${host}:${port}`
  if (code === 'EADDRINUSE') return new AgentbusError('AGENTBUS_CONFIG', `Port ${port} on ${host} is taken; set AGENTBUS_PORT to another one (0 takes any free port).`, { place })
  if (code === 'EACCES') return new AgentbusError('AGENTBUS_CONFIG', `This user may not listen on ${place}; set AGENTBUS_PORT to one above 1023.`, { place })
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') return new AgentbusError('AGENTBUS_CONFIG', `${host} is not an address of this machine; correct AGENTBUS_HOST.`, { place })
  return new AgentbusError('AGENTBUS_CONFIG', `Cannot listen on ${place}: ${messageOf(error)}.`, { place }, { cause: error })
}

/** The answers that are not through, the last byte of each included. */
function openAnswers(server: Server): ReadonlySet<ServerResponse> {
  const open = new Set<ServerResponse>()
  server.prependListener('request', (_request, response) => {
    open.add(response)
    response.once('close', () => open.delete(response))
  })
  return open
}

async function close(server: Server, answers: ReadonlySet<ServerResponse>): Promise<void> {
  // Node lets a connection that is in use stay open and serves whatever else comes on it.
  server.prependListener('request', (_request, response) => endConnectionAfter(response))
  for (const answer of answers) endConnectionAfter(answer)
  const closed = once(server, 'close')
  // Not yet by its own `close`, which cuts idle connections: one whose answer is written and still on its way counts as such.
  NetServer.prototype.close.call(server)
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_LIMIT_MS)
  await untilSent(answers)
  server.close(() => undefined)
  await closed
  clearTimeout(timer)
}

/** Resolves when no answer is written and not sent. */
async function untilSent(answers: ReadonlySet<ServerResponse>): Promise<void> {
  for (;;) {
    const onTheirWay = [...answers].filter((answer) => answer.writableEnded && !answer.writableFinished)
    if (onTheirWay.length === 0) return
    await Promise.all(onTheirWay.map((answer) => once(answer, 'close')))
  }
}

function endConnectionAfter(answer: ServerResponse): void {
  if (!answer.headersSent) {
    answer.setHeader('Connection', 'close')
    return
  }
  // Its client has been told that the connection stays.
  const { socket } = answer
  answer.once('close', () => socket?.destroySoon())
}
