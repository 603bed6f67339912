import { randomBytes } from 'node:crypto'
import { appendFile, chown, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { systemClock } from '../config/clock.js'
import type { Logger } from '../config/logger.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { loadOrCreateSecret } from './data-dir.js'
import { keepPostmaster } from './keep-postmaster.js'
import { postgresBinaries } from './postgres-binaries.js'
import { postgresHome } from './postgres-home.js'
import { adoptPostmaster, OWNER, startPostmaster, stopPostmaster, type Cluster } from './postmaster.js'
import { lastLine, runAs } from './run-as.js'

export interface EmbeddedPostgres {
  /** For any client; holds the password. */
  readonly url: string
  /** The folder of cluster, password and log. Root may have it outside the data folder, see `postgresHome`. */
  readonly home: string
  /** From then on the server is not started again when it ends. */
  letGo(): void
  /** Ends the server in order; to be called last, and harmless when repeated. */
  stop(): Promise<void>
}

/**
 * A real PostgreSQL from npm with its data below `dataDir`, which the caller holds (see `openDataDir`): made at
 * the first start, recovered after a crash, adopted when an earlier agentbus was killed and left it running.
 * It listens on 127.0.0.1 only, with scram-sha-256 and a random password kept beside the cluster.
 * With `keepUp` it is started again whenever it ends without being asked to.
 *
 * @throws AgentbusError AGENTBUS_CONFIG, AGENTBUS_STORE_UNREACHABLE or AGENTBUS_STORE_UNFIT, with what to do.
 */
export async function startEmbeddedPostgres({ dataDir, log, keepUp = false }: { dataDir: string; log: Logger; keepUp?: boolean }): Promise<EmbeddedPostgres> {
  const home = await postgresHome({ dataDir, log })
  const binaries = await postgresBinaries({ home: home.path, user: home.user, log })
  const isNew = (await stat(join(home.cluster, 'PG_VERSION')).catch(() => undefined)) === undefined
  const hasPassword = (await stat(join(home.path, 'password')).catch(() => undefined)) !== undefined
  if (!isNew && !hasPassword) {
    throw new AgentbusError('AGENTBUS_STORE_UNFIT', `the password of the embedded PostgreSQL, ${join(home.path, 'password')}, is missing; restore that file`, { home: home.path })
  }
  const password = await loadOrCreateSecret(home.path, 'password')
  const cluster: Cluster = { home, binaries, password, log, clock: systemClock }
  if (isNew) await initCluster(cluster)

  const adopted = await adoptPostmaster(cluster)
  const server = adopted ?? (await startPostmaster(cluster))
  try {
    await ensureDatabase(cluster, server.port)
  } catch (error) {
    if (adopted === undefined) await stopUnused(cluster)
    throw error
  }
  const keeper = keepUp ? keepPostmaster(cluster, server) : undefined
  return {
    url: urlOf(password, server.port),
    home: home.path,
    letGo() {
      keeper?.letGo()
    },
    async stop() {
      try {
        await keeper?.stop()
      } finally {
        await stopPostmaster(cluster)
      }
    },
  }
}

/** Never rejects: why the server is of no use is what has to be told. */
async function stopUnused(cluster: Cluster): Promise<void> {
  await stopPostmaster(cluster).catch((error: unknown) => cluster.log.error({ event: 'stop.failed', err: messageOf(error) }, 'could not stop a store'))
}

/** Into a draft folder that is renamed when whole, so that a kill in the middle leaves no half cluster. */
async function initCluster({ home, binaries, password, log }: Cluster): Promise<void> {
  for (const name of await readdir(home.path)) {
    if (/^(data-draft|init-password)-/.test(name)) await rm(join(home.path, name), { recursive: true, force: true })
  }
  const unique = randomBytes(6).toString('hex')
  const draft = join(home.path, `data-draft-${unique}`)
  const passwordFile = join(home.path, `init-password-${unique}`)
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' })
  if (home.user !== undefined) await chown(passwordFile, home.user.uid, home.user.gid)
  try {
    const args = [
      ...['--pgdata', draft, '--username', OWNER, '--pwfile', passwordFile, '--auth', 'scram-sha-256'],
      // Not from the language of the environment, which can mean SQL_ASCII.
      ...['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C', '--data-checksums'],
    ]
    const result = await runAs({ program: binaries.initdb, args, cwd: home.path, user: home.user })
    if (result.code !== 0) throw new Error(lastLine(result))
    await appendFile(join(draft, 'postgresql.conf'), "\ninclude 'agentbus.conf'\n")
    await rm(home.cluster, { recursive: true, force: true })
    await rename(draft, home.cluster)
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    throw new AgentbusError('AGENTBUS_CONFIG', `the embedded PostgreSQL could not be set up in ${home.path}: ${messageOf(error)}`, { home: home.path }, { cause: error })
  } finally {
    await rm(passwordFile, { force: true })
  }
  log.info({ event: 'embedded_postgres.created', home: home.path }, 'a new cluster was made')
}

async function ensureDatabase({ password, home }: Cluster, port: number): Promise<void> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: OWNER, password, database: 'postgres', connectionTimeoutMillis: 10_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [OWNER])
    if (rowCount === 0) await client.query(`create database ${OWNER}`)
  } catch (error) {
    throw new AgentbusError(
      'AGENTBUS_STORE_UNREACHABLE',
      `the embedded PostgreSQL in ${home.path} runs but refuses work: ${messageOf(error)}`,
      { home: home.path },
      { cause: error },
    )
  } finally {
    await client.end().catch(() => undefined)
  }
}

function urlOf(password: string, port: number): string {
  return `postgres://${OWNER}:${password}@127.0.0.1:${port}/${OWNER}`
}
