import pg from 'pg'
import { databaseOn, openConnections, type Connections, type Database } from '../../ledger/database.js'

/**
 * Databases that a test has done with, emptied, with their connections: a new one costs a quarter of a second, most of it for catalogs that are read and statements that
 * are planned for the first time. Nothing of a test is left in what the next one gets, and nothing of it can reach there: what goes on after its end is refused.
 * Whatever a test has done to more than rows (the schema, settings, locks, connections of its own that are still open) ends the database instead.
 */
interface Warm {
  readonly url: string
  readonly connections: Connections
  readonly janitor: pg.Client
  /** Of the schema as it was. */
  readonly mark: string
  uses: number
}

/** Rows that are deleted leave their room behind: after so many tests a database is ended. */
const MOST_USES = 40
export const WARM_POOL_SIZE = 20

let idle: Warm[] = []

export interface WarmDatabase {
  readonly url: string
  readonly database: Database
  /** For the next test, if there is no reason against it. */
  giveBack(): Promise<void>
}

/** @param clone makes a database that is migrated and has no rows */
export async function warmDatabase(clone: () => Promise<string>): Promise<WarmDatabase> {
  const warm = idle.pop() ?? (await begin(await clone()))
  warm.uses += 1
  const { connections, state } = untilEnded(warm.connections)
  const database = databaseOn(connections)
  const known = touched(warm.connections)
  const end = async (): Promise<void> => {
    if (state.isOver) return
    state.isOver = true
    await endOne(warm)
  }
  return {
    url: warm.url,
    database: { ...database, close: end },
    giveBack: async () => {
      // A test that has closed it wanted it closed.
      if (state.isOver) return
      state.isOver = true
      if (touched(warm.connections) === known && warm.uses < MOST_USES && (await empty(warm).catch(() => false))) idle.push(warm)
      else await endOne(warm)
    },
  }
}

/** At the end of a file. Its databases are dropped afterwards. */
export async function endWarmDatabases(): Promise<void> {
  const all = idle
  idle = []
  await Promise.all(all.map(endOne))
}

async function begin(url: string): Promise<Warm> {
  const connections = openConnections({ url, poolSize: WARM_POOL_SIZE, applicationName: 'agentbus-test', onError: () => undefined })
  const janitor = new pg.Client({ connectionString: url, application_name: 'agentbus-test-janitor' })
  janitor.on('error', () => undefined)
  await janitor.connect()
  await janitor.query('set session_replication_role = replica')
  return { url, connections, janitor, mark: (await stand(janitor)).mark, uses: 0 }
}

async function endOne({ connections, janitor }: Warm): Promise<void> {
  // A test may have killed them.
  await Promise.allSettled([connections.pipelined.end(), connections.grouped.end(), connections.pool.end(), janitor.end()])
}

/** What a test can leave on these objects: listeners, and functions in the place of theirs. */
function touched({ pool, pipelined, grouped }: Connections): string {
  return JSON.stringify([pool.eventNames().map((name) => [String(name), pool.listenerCount(name)]), [pool, pipelined, grouped].map((one) => Object.keys(one).sort())])
}

interface Stand {
  readonly mark: string
  readonly connections: number
  readonly locks: number
}

/** By the transactions that have written to the catalogs: whatever changes the schema does, and so does what is counted for the planner. */
const CATALOGS = [
  'pg_class',
  'pg_attribute',
  'pg_attrdef',
  'pg_index',
  'pg_trigger',
  'pg_constraint',
  'pg_proc',
  'pg_rewrite',
  'pg_namespace',
  'pg_db_role_setting',
  'pg_statistic',
]

/** Tables whose rows stay: what they say of the schema. */
const KEPT = ['drizzle.__drizzle_migrations', 'bullmq.migration']

async function stand(janitor: pg.Client): Promise<Stand> {
  const marks = [...CATALOGS, ...KEPT].map((catalog) => `(select count(*) || ':' || coalesce(sum(xmin::text::bigint), 0) from ${catalog})`)
  const { rows } = await janitor.query<Stand>(`
    with others as (select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid())
    select concat_ws(' ', ${marks.join(', ')}, (select sum(relpages) || ':' || sum(reltuples) from pg_class where oid >= 16384)) as mark, (select count(*)::int from others) as connections,
      (select count(*)::int from pg_locks where pid in (select pid from others)) as locks`)
  return rows[0] as Stand
}

/** @returns false when it cannot be as it was */
async function empty({ connections: { pool, pipelined, grouped }, janitor, mark }: Warm): Promise<boolean> {
  if (pool.totalCount !== pool.idleCount || pool.waitingCount > 0 || pipelined.underWay + grouped.underWay > 0) return false
  const now = await stand(janitor)
  if (now.mark !== mark || now.locks > 0 || now.connections !== pool.totalCount + pipelined.connected + grouped.connected) return false
  const clients = await Promise.all(Array.from({ length: pool.totalCount }, () => pool.connect()))
  await Promise.all(clients.map((client) => client.query('reset all; unlisten *')))
  for (const client of clients) client.release()
  await janitor.query(`do $$ declare one record; begin
    for one in select oid::regclass as name from pg_class where relkind = 'r' and relnamespace in ('public'::regnamespace, 'bullmq'::regnamespace) and oid <> 'bullmq.migration'::regclass loop
      execute format('delete from %s', one.name);
    end loop;
    perform setval(format('%I.%I', schemaname, sequencename), start_value, false) from pg_sequences where schemaname in ('public', 'bullmq') and last_value is not null;
  end $$`)
  return true
}

/** The same connections; once `isOver` nothing is asked on them any more. */
function untilEnded(real: Connections): { readonly connections: Connections; readonly state: { isOver: boolean } } {
  const state = { isOver: false }
  const refuse = (): Promise<never> => Promise.reject(new Error('server closed the connection: the test is over'))
  const guarded = <T extends object>(target: T): T =>
    new Proxy(target, {
      get: (object, name) => {
        const value: unknown = Reflect.get(object, name)
        if (typeof value !== 'function') return value
        return state.isOver && (name === 'query' || name === 'connect') ? refuse : (value.bind(object) as unknown)
      },
    })
  const lanes = new WeakMap<object, object>()
  const grouped = new Proxy(real.grouped, {
    get: (object, name) => {
      if (name !== 'lane') return Reflect.get(guarded(object), name) as unknown
      return () => {
        const lane = object.lane()
        const known = lanes.get(lane) ?? guarded(lane)
        lanes.set(lane, known)
        return known
      }
    },
  })
  return { connections: { pool: guarded(real.pool), pipelined: guarded(real.pipelined), grouped }, state }
}
