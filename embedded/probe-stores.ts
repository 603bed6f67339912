import { Redis } from 'ioredis'
import pg from 'pg'
import { z } from 'zod'
import { AgentbusError, messageOf, type ErrorCode } from '../contracts/errors.js'

const LIMIT_MS = 5_000
const OLDEST_POSTGRES = 140_000
const OLDEST_REDIS = [6, 2] as const

export interface PostgresFacts {
  readonly version: string
  readonly maxConnections: number
  readonly usedConnections: number
  readonly superuserReserved: number
}

export interface RedisFacts {
  readonly version: string
  /** `maxmemory-policy`, or undefined when the server does not tell. */
  readonly policy: string | undefined
  readonly aof: boolean
  readonly warnings: readonly string[]
}

/** The URL with `***` for its password, whether before the host or among the parameters. */
export function redactUrl(url: string): string {
  if (!URL.canParse(url)) return `${/^[a-z][a-z0-9+.-]*:\/\//i.exec(url)?.[0] ?? ''}***`
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/[^:/?#]*):[^/?#]*@/i, '$1:***@').replace(/([?&](?:password|sslpassword|pass)=)[^&#]*/gi, '$1***')
}

/**
 * Connects once, within 5 s, and checks that the server can hold a ledger. Meant to come before anything that
 * keeps a connection: BullMQ's PostgreSQL backend never recovers from a first connection that failed.
 *
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE, or AGENTBUS_STORE_UNFIT for an old, read-only or full
 * server or another encoding than UTF8; one sentence, without the password.
 */
export async function probePostgres(url: string): Promise<PostgresFacts> {
  const row = await askPostgres(url)
  const unfit = (why: string): AgentbusError => fault('AGENTBUS_STORE_UNFIT', `PostgreSQL at ${redactUrl(url)} ${why}`, url)
  if (row.number < OLDEST_POSTGRES) throw unfit(`is version ${row.version}; 14 or newer is needed`)
  if (row.encoding !== 'UTF8') throw unfit(`has a database in ${row.encoding}; create one with encoding UTF8`)
  if (row.standby) throw unfit('is a read-only standby; name the primary')
  return { version: row.version, maxConnections: row.most, usedConnections: row.used, superuserReserved: row.reserved }
}

const PostgresRow = z.object({
  version: z.string(),
  number: z.coerce.number(),
  encoding: z.string(),
  standby: z.boolean(),
  most: z.coerce.number(),
  used: z.coerce.number(),
  reserved: z.coerce.number(),
})

async function askPostgres(url: string): Promise<z.infer<typeof PostgresRow>> {
  let client: pg.Client | undefined
  try {
    client = new pg.Client({ connectionString: url, connectionTimeoutMillis: LIMIT_MS, query_timeout: LIMIT_MS, application_name: 'agentbus-probe' })
    client.on('error', () => undefined)
    await client.connect()
    const { rows } = await client.query(`
      select current_setting('server_version') as version,
             current_setting('server_version_num') as number,
             (select pg_encoding_to_char(encoding) from pg_database where datname = current_database()) as encoding,
             pg_is_in_recovery() as standby,
             current_setting('max_connections') as most,
             (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()) as used,
             current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true), '0')::int as reserved`)
    return PostgresRow.parse(rows[0])
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === '53300') throw fault('AGENTBUS_STORE_UNFIT', `PostgreSQL at ${redactUrl(url)} has no free connection: raise its max_connections or stop other clients`, url, error)
    throw fault('AGENTBUS_STORE_UNREACHABLE', `PostgreSQL at ${redactUrl(url)} cannot be reached: ${saidBy(error, url)}`, url, error)
  } finally {
    await client?.end().catch(() => undefined)
  }
}

/**
 * Connects once, within 5 s, and checks that the server can hold queues.
 *
 * @throws AgentbusError AGENTBUS_STORE_UNREACHABLE, or AGENTBUS_STORE_UNFIT for an old or read-only server
 * or one that would evict keys; one sentence, without the password.
 */
export async function probeRedis(url: string): Promise<RedisFacts> {
  const { info, configured } = await askRedis(url)
  const unfit = (why: string): AgentbusError => fault('AGENTBUS_STORE_UNFIT', `Redis at ${redactUrl(url)} ${why}`, url)
  const version = info.get('redis_version') ?? '0'
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor < OLDEST_REDIS[1])) throw unfit(`is version ${version}; 6.2 or newer is needed`)
  if (info.get('role') === 'slave') throw unfit('is a read-only replica; name the primary')
  const policy = configured ?? info.get('maxmemory_policy')
  if (policy !== undefined && policy !== 'noeviction') throw unfit(`has maxmemory-policy ${policy}; set it to noeviction, or jobs are thrown away when memory is short`)
  const aof = info.get('aof_enabled') === '1'
  const warnings = [
    ...(major < 7 ? [`Redis ${version} is older than 7`] : []),
    ...(policy === undefined ? ['Redis does not tell its maxmemory-policy; make sure that it is noeviction'] : []),
    ...(aof ? [] : ['Redis has no append-only file; after a crash of it the queues are rebuilt from the ledger']),
  ]
  return { version, policy, aof, warnings }
}

async function askRedis(url: string): Promise<{ info: Map<string, string>; configured: string | undefined }> {
  let redis: Redis | undefined
  try {
    redis = new Redis(url, { lazyConnect: true, connectTimeout: LIMIT_MS, commandTimeout: LIMIT_MS, maxRetriesPerRequest: 0, retryStrategy: () => null, enableReadyCheck: false })
    let firstFault: Error | undefined
    redis.on('error', (error: Error) => (firstFault ??= error))
    await redis.connect().catch((error: unknown) => {
      throw firstFault ?? error
    })
    const lines = (await redis.info()).split(/\r?\n/)
    const info = new Map(lines.filter((line) => line.includes(':')).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const))
    const answer = await redis.config('GET', 'maxmemory-policy').catch(() => [])
    return { info, configured: z.tuple([z.string(), z.string()]).safeParse(answer).data?.[1] }
  } catch (error) {
    throw fault('AGENTBUS_STORE_UNREACHABLE', `Redis at ${redactUrl(url)} cannot be reached: ${saidBy(error, url)}`, url, error)
  } finally {
    redis?.disconnect()
  }
}

/**
 * Refuses to start with fewer connections than will be used: a pool that runs dry can deadlock silently.
 *
 * @throws AgentbusError AGENTBUS_STORE_UNFIT
 */
export function checkConnectionBudget({ needed, available }: { needed: number; available: number }): void {
  if (needed <= available) return
  throw new AgentbusError(
    'AGENTBUS_STORE_UNFIT',
    `agentbus needs ${needed} PostgreSQL connections and ${available} are free: lower AGENTBUS_PG_POOL, raise max_connections of the server, or set REDIS_URL so that the queues need none`,
    { needed, available },
  )
}

/** No `cause`: a driver may have put the URL into its error. */
function fault(code: ErrorCode, sentence: string, url: string, cause?: unknown): AgentbusError {
  const reason = cause instanceof Error && 'code' in cause ? { reason: String(cause.code) } : {}
  return new AgentbusError(code, sentence.replaceAll(/\s+/g, ' '), { url: redactUrl(url), ...reason })
}

/** What a driver said, without the URL and its password. */
function saidBy(error: unknown, url: string): string {
  const passwords = URL.canParse(url) ? [new URL(url).password, decoded(new URL(url).password)] : []
  return [url, ...passwords].filter((text) => text !== '').reduce((text, secret) => text.replaceAll(secret, '***'), messageOf(error))
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
