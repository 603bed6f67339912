import { Registry } from 'prom-client'
import { createApp } from '../api/app.js'
import { listen } from '../api/server.js'
import { mountConsole, type Console } from '../board/console/mount-console.js'
import { mountBoard, type Board } from '../board/mount-board.js'
import type { Logger } from '../config/logger.js'
import type { Tracing } from '../config/tracing.js'
import type { Settings } from '../config/settings.js'
import type { Ledger } from '../ledger/ledger.js'
import type { QueueRegistry } from '../queues/queue-registry.js'

export interface ServeOptions {
  readonly settings: Settings
  readonly log: Logger
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly tracing?: Tracing | undefined
  readonly isReady: () => boolean
}

/** Serves REST, the console and the board. @throws AgentbusError AGENTBUS_CONFIG when the port is taken */
export async function serveApi({ settings, log, ...parts }: ServeOptions): Promise<{ url: string; close(): Promise<void> }> {
  const boards: Board[] = []
  const consoles: Console[] = []
  const app = createApp({
    ledger: parts.ledger,
    log,
    trustedProxies: settings.trustedProxies ?? [],
    registry: new Registry(),
    tracing: parts.tracing,
    readiness: async () => {
      const failing = parts.isReady() ? [] : ['starting']
      const ledger = await parts.ledger.ready()
      if (!ledger.ok) failing.push(ledger.reason ?? 'ledger')
      await parts.queues.backend.ping(2_000).catch(() => failing.push('the queue store cannot be reached'))
      return failing
    },
    mount: (express, requireOperator) => {
      boards.push(mountBoard({ app: express, requireOperator, ledger: parts.ledger, queues: parts.queues, log }))
      consoles.push(mountConsole({ app: express, requireOperator, ledger: parts.ledger, log }))
    },
  })
  const server = await listen(app, whereOf(settings))
  return {
    url: server.url,
    close: async () => {
      for (const board of boards) board.stop()
      for (const one of consoles) await one.stop()
      parts.ledger.waits.stop()
      await server.close()
      await parts.ledger.accesses.stop()
    },
  }
}

/** Where the settings let the API listen, and how long it waits for slow clients. */
export function whereOf({ host, port, headersTimeoutMs, requestTimeoutMs }: Settings): Parameters<typeof listen>[1] {
  return { host, port, patience: { headers: headersTimeoutMs, request: requestTimeoutMs } }
}
