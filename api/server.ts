import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
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
/** How often a server that closes looks for connections whose last request has been answered. */
const IDLE_CHECK_MS = 20

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
  server.timeout = SILENCE_LIMIT_MS
  server.maxConnections = MOST_CONNECTIONS
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(faultOf(error, where)))
    server.listen(where.port, where.host, () => resolve())
  })
  const { port } = server.address() as AddressInfo
  return { url: urlOf({ host: where.host, port }), close: () => close(server) }
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

async function close(server: Server): Promise<void> {
  // Node lets a connection that is in use stay open and serves whatever else comes on it.
  server.prependListener('request', (_request, response) => response.setHeader('Connection', 'close'))
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK_MS)
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_LIMIT_MS)
  await closed
  clearInterval(idle)
  clearTimeout(timer)
}
