import { Registry } from 'prom-client'
import { createApp } from '../../api/app.js'
import { listen } from '../../api/server.js'
import { mountConsole } from '../../board/console/mount-console.js'
import { createLogger } from '../../config/logger.js'
import { busyWeek, whatWaits } from './busy-week.js'
import { freshLedger, OPERATOR, type TestLedger } from './ledger.js'

export interface TestConsole {
  readonly t: TestLedger
  readonly url: string
  /** The token of an operator called anna. */
  readonly token: string
  readonly waits: Awaited<ReturnType<typeof whatWaits>>
  /** Ends every live stream; the browsers come again. */
  cut(): Promise<void>
  close(): Promise<void>
}

/** REST and the console over a ledger with a busy week, without queues or workers: nothing moves but by the console. */
export async function startConsole(): Promise<TestConsole> {
  const t = await freshLedger()
  await busyWeek(t.database.pool, Date.now())
  const waits = await whatWaits(t.ledger)
  return { ...(await serveConsole(t)), waits }
}

/** The console over any ledger. */
export async function serveConsole(t: TestLedger): Promise<Omit<TestConsole, 'waits'>> {
  const { token } = await t.ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })
  const log = createLogger({ level: 'silent' })
  const consoles: ReturnType<typeof mountConsole>[] = []
  const app = createApp({
    ledger: t.ledger,
    log,
    registry: new Registry(),
    readiness: async () => [],
    mount: (express, requireOperator) => void consoles.push(mountConsole({ app: express, requireOperator, ledger: t.ledger, log })),
  })
  const server = await listen(app, { host: '127.0.0.1', port: 0 })
  return {
    t,
    url: server.url,
    token,
    cut: async () => {
      for (const one of consoles) await one.stop()
    },
    close: async () => {
      for (const one of consoles) await one.stop()
      await server.close()
      await t.ledger.accesses.stop()
      await t.close()
    },
  }
}
