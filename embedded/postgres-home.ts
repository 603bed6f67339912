import { createHash } from 'node:crypto'
import { chmod, chown, mkdir, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Logger } from '../config/logger.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { runAs, type RunAs } from './run-as.js'

/** Where the cluster lives and who runs it. */
export interface PostgresHome {
  readonly path: string
  /** PGDATA. */
  readonly cluster: string
  /** undefined: this process's own user. */
  readonly user: RunAs | undefined
}

/** Whom PostgreSQL runs as when agentbus runs as root, which PostgreSQL refuses: the first that exists. */
const SERVER_USERS = ['postgres', 'nobody']

/**
 * The folder of the embedded PostgreSQL: `postgres` in the data folder. Root runs the server as another
 * user; when that user cannot reach the data folder (a project below a private folder), the cluster goes to
 * /var/lib/agentbus-<hash of the data folder>, and a log line says so. A cluster that exists stays where it is,
 * with its owner.
 *
 * @throws AgentbusError AGENTBUS_CONFIG
 */
export async function postgresHome({ dataDir, log }: { dataDir: string; log: Logger }): Promise<PostgresHome> {
  if (process.platform !== 'win32' && /["$`\\\n]/.test(dataDir)) {
    throw new AgentbusError('AGENTBUS_CONFIG', `the embedded PostgreSQL cannot live in ${dataDir}: choose an AGENTBUS_DATA_DIR without quotes, $ and backslashes`, { dataDir })
  }
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    const real = await realpath(dataDir)
    const uid = process.getuid?.()
    return uid === 0 ? await homeUnderRoot(real, log) : await homeOfOwnUser(real, uid)
  } catch (error) {
    if (error instanceof AgentbusError) throw error
    throw new AgentbusError('AGENTBUS_CONFIG', `no place for the embedded PostgreSQL below ${dataDir}: ${messageOf(error)}`, { dataDir }, { cause: error })
  }
}

async function homeOfOwnUser(dataDir: string, uid: number | undefined): Promise<PostgresHome> {
  const path = join(dataDir, 'postgres')
  const owner = await ownerOf(path)
  if (uid !== undefined && owner !== undefined && owner.uid !== uid) {
    throw new AgentbusError('AGENTBUS_CONFIG', `${path} belongs to user id ${owner.uid} and agentbus runs as ${uid}: run it as that user, or choose another AGENTBUS_DATA_DIR`, {
      path,
    })
  }
  await mkdir(path, { recursive: true, mode: 0o700 })
  return { path, cluster: join(path, 'data'), user: undefined }
}

async function homeUnderRoot(dataDir: string, log: Logger): Promise<PostgresHome> {
  const inside = join(dataDir, 'postgres')
  const outside = `/var/lib/agentbus-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`
  const insideOwner = await ownerOf(join(inside, 'data'))
  const outsideOwner = insideOwner === undefined ? await ownerOf(join(outside, 'data')) : undefined
  const user = insideOwner ?? outsideOwner ?? (await serverUser())

  const isReachable = await canEnter(dirname(dataDir), user)
  if (insideOwner !== undefined && !isReachable) {
    throw new AgentbusError('AGENTBUS_CONFIG', `user id ${user.uid}, who owns the embedded PostgreSQL, cannot reach ${inside}: make the folders above it passable (chmod o+x)`, {
      path: inside,
    })
  }
  const path = outsideOwner === undefined && isReachable ? inside : outside
  if (path === inside) {
    // The server's user must pass through; what lies in the folder stays private by its own modes.
    await chmod(dataDir, (await stat(dataDir)).mode | 0o011)
  } else {
    log.info({ event: 'embedded_postgres.placed_outside_data_dir', path, dataDir, uid: user.uid }, 'the user of PostgreSQL cannot reach the data folder')
  }
  await mkdir(path, { recursive: true, mode: 0o700 })
  await chown(path, user.uid, user.gid)
  const real = await realpath(path)
  return { path: real, cluster: join(real, 'data'), user }
}

async function ownerOf(path: string): Promise<RunAs | undefined> {
  const found = await stat(path).catch(() => undefined)
  return found === undefined ? undefined : { uid: found.uid, gid: found.gid }
}

async function serverUser(): Promise<RunAs> {
  for (const name of SERVER_USERS) {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((flag) => runAs({ program: 'id', args: [flag, name], cwd: '/', user: undefined })))
    if (uid?.code === 0 && gid?.code === 0) return { uid: Number(uid.output), gid: Number(gid.output) }
  }
  throw new AgentbusError(
    'AGENTBUS_CONFIG',
    `PostgreSQL does not run as root, and there is no user ${SERVER_USERS.join(' or ')}: run agentbus as a normal user, or set DATABASE_URL`,
  )
}

/** Asked of the system itself, which also knows access lists and what a container forbids. */
async function canEnter(dir: string, user: RunAs): Promise<boolean> {
  const { code } = await runAs({ program: '/bin/sh', args: ['-c', 'cd -- "$1"', 'sh', dir], cwd: '/', user })
  return code === 0
}
