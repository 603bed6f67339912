import { AgentbusError, messageOf } from '../contracts/errors.js'
import { keepUp, type Keeper } from './keep-up.js'
import { adoptPostmaster, startPostmaster, type Cluster, type Postmaster } from './postmaster.js'

/**
 * Starts the server again whenever it ends without being asked to. What was committed is there again. It has to be at the same
 * port; until it is, the ledger is away.
 */
export function keepPostmaster(cluster: Cluster, first: Postmaster): Keeper {
  const { clock, home, log } = cluster
  const { port } = first
  return keepUp(first, {
    clock,
    startAgain: async (signal) => (await adoptAt(port, cluster, signal)) ?? (await startPostmaster(cluster, { onlyPort: port, signal })),
    onDied: () => log.error({ event: 'embedded_postgres.died', port, home: home.path }, 'the embedded PostgreSQL has ended and is started again'),
    onRestarted: () => log.warn({ event: 'embedded_postgres.restarted', port }, 'the embedded PostgreSQL is up again'),
    onNotRestarted: (error) =>
      log.error({ event: 'embedded_postgres.not_restarted', port, err: messageOf(error) }, 'the embedded PostgreSQL did not start again; it is tried again'),
    onNotKept: (error) => log.error({ event: 'embedded_postgres.not_kept', err: messageOf(error) }, 'nobody looks after the embedded PostgreSQL any more; restart agentbus'),
  })
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
