import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import path from 'node:path'
import { existsSync } from 'node:fs'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { migrate } from 'drizzle-orm/node-postgres/migrator'
import pg from 'pg'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { ADVISORY } from './advisory-locks.js'
import { PipelinedClients } from './pipelined-clients.js'
import { prepareStatements, StatementNames } from './prepared-statements.js'
import { endWhenSilent, SILENCE_MS } from './silence.js'
import * as schema from './schema/index.js'

export type Db = NodePgDatabase<typeof schema>

/** A transaction. A pool handle has no `rollback` and does not type-check in its place. */
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]

export interface Database {
  readonly pool: pg.Pool
  readonly db: Db
  /**
   * For statements that are each a transaction of their own. Never inside a transaction of `db`: a statement here may wait
   * for its locks, and those behind it wait with it.
   */
  readonly single: Db
  /**
   * For the statements of the hot path, which each serve many jobs at once. Their plans are made once and have to be right for
   * an empty ledger and for one with a million jobs, so they always go by an index.
   */
  readonly grouped: Db
  /** One connection of those: what is asked of it is done in the order in which it was asked, whatever came of what was before it. */
  readonly inOrder: () => Db
  close(): Promise<void>
}

export interface DatabaseOptions {
  readonly url: string
  /** Connections at most, three or more. Four of them (two below eight) are pipelined, the others are for transactions. */
  readonly poolSize: number
  readonly applicationName: string
  readonly onError: (error: Error) => void
  /** Milliseconds after which a connection that owes an answer and says nothing counts as lost. */
  readonly silenceMs?: number
}

/**
 * Plans that do not turn bad as the tables grow under a prepared statement: by index, row by row, and made once. And no waiting
 * for a job that a transaction holds: the other jobs of the statement would wait with it.
 */
const BY_INDEX = '-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c lock_timeout=200'

/** The connections of a {@link Database}. */
export interface Connections {
  readonly pool: pg.Pool
  readonly pipelined: PipelinedClients
  readonly grouped: PipelinedClients
}

/** Opens a pool. Nothing connects before the first query; errors of idle connections go to `onError`. */
export function openDatabase(options: DatabaseOptions): Database {
  return databaseOn(openConnections(options))
}

/** As {@link openDatabase}, for {@link databaseOn}. */
export function openConnections(options: DatabaseOptions): Connections {
  const config = {
    connectionString: options.url,
    application_name: options.applicationName,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    options: '-c timezone=UTC -c statement_timeout=30000 -c idle_in_transaction_session_timeout=30000',
  }
  const lanes = options.poolSize < 8 ? 1 : 2
  const silenceMs = options.silenceMs ?? SILENCE_MS
  const pool = new pg.Pool({ ...config, max: Math.max(1, options.poolSize - 2 * lanes), idleTimeoutMillis: 30_000 })
  const lane = { size: lanes, onError: options.onError, silenceMs }
  const pipelined = new PipelinedClients({ ...lane, config, send: 'together' })
  const grouped = new PipelinedClients({ ...lane, config: { ...config, options: `${config.options} ${BY_INDEX}` }, send: 'at once' })
  const names = new StatementNames()
  pool.on('error', options.onError)
  // The pool listens for errors of idle clients only: one that breaks while a transaction holds it would end the process.
  pool.on('connect', (client) => {
    client.on('error', options.onError)
    prepareStatements(client, names)
    endWhenSilent(client, silenceMs)
  })
  return { pool, pipelined, grouped }
}

/** A database on connections that are there. */
export function databaseOn({ pool, pipelined, grouped }: Connections): Database {
  const db = drizzle(pool, { schema })
  pools.set(db, pool)
  return {
    pool,
    db,
    single: drizzle(pipelined as unknown as pg.Client, { schema }),
    grouped: drizzle(grouped as unknown as pg.Client, { schema }),
    inOrder: () => ofLane(grouped.lane()),
    close: async () => {
      await Promise.all([pipelined.end(), grouped.end()])
      await pool.end()
    },
  }
}

const perLane = new WeakMap<object, Db>()

function ofLane(lane: object): Db {
  const known = perLane.get(lane) ?? drizzle(lane as unknown as pg.Client, { schema })
  perLane.set(lane, known)
  return known
}

const pools = new WeakMap<Db, pg.Pool>()
const perClient = new WeakMap<pg.PoolClient, Db>()

/**
 * One transaction on a client that is given back whatever happens. Drizzle's own transaction on a pool keeps the client
 * for good when BEGIN fails, as it does on each client after the server was killed: the pool then runs dry.
 */
async function transact<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  const pool = pools.get(db)
  if (pool === undefined) throw new Error('a transaction needs a database from openDatabase')
  const client = await pool.connect()
  let broken = false
  try {
    const known = perClient.get(client)
    const own = known ?? drizzle(client, { schema })
    if (known === undefined) perClient.set(client, own)
    return await own.transaction(work)
  } catch (error) {
    broken = isAway(error)
    throw error
  } finally {
    client.release(broken)
  }
}

/** SQLSTATEs after which the same transaction may simply run again, and why. */
const RETRYABLE = new Map([
  ['40001', 'serialization failure: another transaction committed first'],
  ['40P01', 'deadlock: the other one was let through'],
])

/**
 * The lease numbers its attempt from what it read while it waited for the job's lock. When another attempt was opened and
 * ended in that time, the number is taken; a fresh transaction reads the next one.
 */
const OVERTAKEN = 'job_attempts_no_idx'

/** SQLSTATEs and socket errors that say: the database is away or lets nobody in, nothing is known to be wrong with the request. */
const AWAY = new Set([
  '28000',
  '28P01',
  '3D000',
  '57P01',
  '57P02',
  '57P03',
  '08000',
  '08001',
  '08003',
  '08006',
  '53300',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
])

/**
 * The statement, or the transaction between two statements, has taken longer than it may: it waited behind another one, or
 * the machine has too much to do. PostgreSQL has undone it.
 */
const TOO_SLOW = new Set(['57014', '25P03', '55P03'])

/** The SQLSTATE or errno of a thrown value, looking through Drizzle's wrapper; undefined when there is none. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if ('code' in error && typeof error.code === 'string') return error.code
  return error.cause === undefined ? undefined : sqlStateOf(error.cause)
}

/** The name of the violated constraint, if the error is a constraint violation. */
export function constraintOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if ('constraint' in error && typeof error.constraint === 'string') return error.constraint
  return error.cause === undefined ? undefined : constraintOf(error.cause)
}

/** AGENTBUS_UNAVAILABLE for an error that only says that this is a bad moment; any other error as it is. */
function whatToTell(error: unknown): unknown {
  if (error instanceof AgentbusError) return error
  if (isAway(error)) return new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.', {}, { cause: error })
  // U+0000 in a filter or a cursor: no text that is stored can hold it, so nothing would be found.
  if (sqlStateOf(error) === '22021') return new AgentbusError('AGENTBUS_UNSTORABLE_TEXT', 'A text contains U+0000 or is not valid UTF-8.', {}, { cause: error })
  if (TOO_SLOW.has(sqlStateOf(error) ?? '')) return new AgentbusError('AGENTBUS_UNAVAILABLE', 'The ledger did not get to it in time; it has undone this.', {}, { cause: error })
  return error
}

/** True when the database server cannot be reached at the moment. */
export function isAway(error: unknown): boolean {
  const state = sqlStateOf(error)
  if (state !== undefined && AWAY.has(state)) return true
  return /connection terminated|timeout exceeded when trying to connect|is not queryable|server closed the connection/i.test(
    messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error),
  )
}

/** True when the statement gave up on a lock that another transaction held for longer than `lock_timeout`. */
export function isLockTimeout(error: unknown): boolean {
  return sqlStateOf(error) === '55P03'
}

/**
 * True when PostgreSQL itself refused the statement, so that nothing of it was written. False for a connection that broke:
 * whether the statement was carried out is then not known.
 */
export function isServerRefusal(error: unknown): boolean {
  return /^[0-9A-Z]{5}$/.test(sqlStateOf(error) ?? '') && !isAway(error)
}

/**
 * Runs `work` in one transaction, again after a deadlock or serialization failure (at most five times).
 * @throws AgentbusError AGENTBUS_UNAVAILABLE when the server is away or too slow; nothing was acknowledged then.
 */
export async function inTransaction<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await transact(db, work)
    } catch (error) {
      const state = sqlStateOf(error)
      const again = (state !== undefined && RETRYABLE.has(state)) || constraintOf(error) === OVERTAKEN
      if (again && tries < 5) continue
      throw whatToTell(error)
    }
  }
}

/**
 * Runs one statement that is a transaction of its own: three round trips less than BEGIN, statement, COMMIT.
 * @throws AgentbusError AGENTBUS_UNAVAILABLE when the server is away or too slow
 */
export async function inOneStatement<T>(db: Db, work: (db: Db) => Promise<T>): Promise<T> {
  try {
    return await work(db)
  } catch (error) {
    throw whatToTell(error)
  }
}

/** The folder of the committed migrations, from the sources and from the build alike. */
export function migrationsFolder(): string {
  const here = path.dirname(fileURLToPath(import.meta.url))
  const candidates = [path.join(here, '..', 'drizzle'), path.join(here, '..', '..', 'drizzle')]
  const found = candidates.find((folder) => existsSync(path.join(folder, 'meta', '_journal.json')))
  if (found === undefined) throw new AgentbusError('AGENTBUS_CONFIG', 'The folder drizzle/ with the migrations is missing from this installation.')
  return found
}

/** Brings the schema up to date. Safe to call from many processes at once: one migrates, the others wait. */
export async function migrateLedger(url: string): Promise<{ applied: number }> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    await client.query('select pg_advisory_lock($1)', [ADVISORY.migrate])
    const before = await countApplied(client)
    await migrate(drizzle(client), { migrationsFolder: migrationsFolder() })
    return { applied: (await countApplied(client)) - before }
  } finally {
    await client.end()
  }
}

async function countApplied(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ present: boolean }>(`select to_regclass('drizzle.__drizzle_migrations') is not null as present`)
  if (rows[0]?.present !== true) return 0
  const counted = await client.query<{ n: number }>('select count(*)::int as n from drizzle.__drizzle_migrations')
  return counted.rows[0]?.n ?? 0
}

/** How many migrations this build knows and how many the database has. */
export async function migrationState(pool: pg.Pool): Promise<{ known: number; applied: number }> {
  const journal: unknown = JSON.parse(await readFile(path.join(migrationsFolder(), 'meta', '_journal.json'), 'utf8'))
  const entries = journal !== null && typeof journal === 'object' && 'entries' in journal && Array.isArray(journal.entries) ? journal.entries.length : 0
  const { rows } = await pool.query<{ present: boolean }>(`select to_regclass('drizzle.__drizzle_migrations') is not null as present`)
  if (rows[0]?.present !== true) return { known: entries, applied: 0 }
  const counted = await pool.query<{ n: number }>('select count(*)::int as n from drizzle.__drizzle_migrations')
  return { known: entries, applied: counted.rows[0]?.n ?? 0 }
}
