import { AgentbusError, messageOf } from '../contracts/errors.js'
import { adoptPostmaster, startPostmaster, type Cluster, type Postmaster } from './postmaster.js'

/** Before a new start, in milliseconds; twice as long after each that did not last. */
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 30_000
/** One that was up for so long has not failed again, but anew. */
const LASTED_MS = 60_000

export interface Keeper {
  /** From then on an end is not undone. */
  letGo(): void
  /** Lets go, and breaks off a start that is under way: it may be in a long recovery. Its server is left to whoever stops the cluster. */
  stop(): Promise<void>
}

/**
 * Starts the server again whenever it ends without being asked to, as when the system is short of memory and kills it. What was
 * committed is there again. It has to be at the same port, for everybody has that in a URL; until it is, the ledger is away.
 */
export function keepPostmaster(cluster: Cluster, first: Postmaster): Keeper {
  const stopping = new AbortController()
  const kept = keep(cluster, first, stopping.signal).catch((error: unknown) => {
    cluster.log.error({ event: 'embedded_postgres.not_kept', err: messageOf(error) }, 'nobody looks after the embedded PostgreSQL any more; restart agentbus')
  })
  return {
    letGo() {
      stopping.abort()
    },
    async stop() {
      stopping.abort()
      await kept
    },
  }
}

async function keep(cluster: Cluster, first: Postmaster, stopping: AbortSignal): Promise<void> {
  const { clock, home, log } = cluster
  let server: Postmaster | undefined = first
  let waitMs = FIRST_WAIT_MS
  while (!stopping.aborted) {
    const sinceMs = clock.nowMs()
    await server?.untilEnded(stopping)
    if (stopping.aborted) return
    if (server !== undefined) log.error({ event: 'embedded_postgres.died', port: first.port, home: home.path }, 'the embedded PostgreSQL has ended and is started again')
    if (clock.nowMs() - sinceMs >= LASTED_MS) waitMs = FIRST_WAIT_MS
    await clock.sleep(waitMs, stopping).catch(() => undefined)
    waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)
    server = stopping.aborted ? undefined : await startAgain(cluster, first.port, stopping)
  }
}

/** @returns undefined when it does not start, which is logged, or when that was broken off */
async function startAgain(cluster: Cluster, port: number, stopping: AbortSignal): Promise<Postmaster | undefined> {
  const { log } = cluster
  try {
    const server = (await adoptAt(port, cluster, stopping)) ?? (await startPostmaster(cluster, { onlyPort: port, signal: stopping }))
    log.warn({ event: 'embedded_postgres.restarted', port: server.port }, 'the embedded PostgreSQL is up again')
    return server
  } catch (error) {
    if (stopping.aborted) return undefined
    log.error({ event: 'embedded_postgres.not_restarted', port, err: messageOf(error) }, 'the embedded PostgreSQL did not start again; it is tried again')
    return undefined
  }
}

/** @throws AgentbusError AGENTBUS_STORE_UNREACHABLE when somebody has started it elsewhere: nobody who has the URL finds it there */
async function adoptAt(port: number, cluster: Cluster, stopping: AbortSignal): Promise<Postmaster | undefined> {
  const found = await adoptPostmaster(cluster, stopping)
  if (found === undefined || found.port === port) return found
  throw new AgentbusError('AGENTBUS_STORE_UNREACHABLE', `the embedded PostgreSQL runs at port ${found.port} and is looked for at port ${port}; stop it or restart agentbus`, {
    port,
    found: found.port,
  })
}
