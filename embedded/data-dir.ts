import { randomBytes } from 'node:crypto'
import { access, chmod, constants, link, mkdir, readFile, realpath, stat, unlink, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { lockFolder } from './data-lock.js'

/** The data folder, held by this process alone until `release`. */
export interface DataDir {
  /** Absolute, without symbolic links. */
  readonly path: string
  release(): Promise<void>
}

/**
 * Creates the data folder (0700, so that the secrets and stores in it are private) and locks it. A lock left
 * by a process that was killed is taken over.
 *
 * @throws AgentbusError AGENTBUS_CONFIG when the folder cannot be made or written or its lock cannot be read, AGENTBUS_DATA_IN_USE
 * naming the pid of the process that holds it, or the lock file when that is damaged and somebody has just touched it.
 */
export async function openDataDir(path: string): Promise<DataDir> {
  const real = await prepare(path)
  try {
    const lock = await lockFolder(real)
    return { path: real, release: () => lock.release() }
  } catch (error) {
    if (error instanceof AgentbusError) throw error
    throw new AgentbusError('AGENTBUS_CONFIG', `AGENTBUS_DATA_DIR ${path} cannot be locked: ${messageOf(error)}`, { path }, { cause: error })
  }
}

/**
 * The secret in file `name`: 32 random bytes in hex, made at the first call and the same ever after, also
 * when two processes make it at once. The file is 0600.
 *
 * @throws AgentbusError AGENTBUS_CONFIG when the file cannot be read or does not hold such a secret: it is
 * never replaced, because what was derived from it would be lost.
 */
export async function loadOrCreateSecret(dir: string, name: string): Promise<string> {
  const path = join(dir, name)
  try {
    const existing = await readIfThere(path)
    if (existing !== undefined) return await checkedSecret(path, existing)
    const draft = `${path}.${process.pid}.${randomBytes(6).toString('hex')}`
    await writeFile(draft, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx', flush: true })
    await link(draft, path)
      .catch(ignoreExisting)
      .finally(() => unlink(draft))
    return await checkedSecret(path, await readFile(path, 'utf8'))
  } catch (error) {
    if (error instanceof AgentbusError) throw error
    throw new AgentbusError('AGENTBUS_CONFIG', `the secret file ${path} cannot be used (${messageOf(error)})`, { path }, { cause: error })
  }
}

/** Level by level: below /proc and the like, Node's recursive mkdir never returns. */
async function makeFolders(path: string): Promise<void> {
  const missing: string[] = []
  let at = resolve(path)
  while ((await stat(at).catch(() => undefined)) === undefined) {
    missing.push(at)
    if (dirname(at) === at) break
    at = dirname(at)
  }
  for (const folder of missing.reverse()) {
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    })
  }
}

async function prepare(path: string): Promise<string> {
  try {
    await makeFolders(path)
    if (!(await stat(path)).isDirectory()) throw new Error('it is not a folder')
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK)
    // A folder on a read-only or full disk passes access() for root, so write.
    const probe = join(path, `.probe.${process.pid}.${randomBytes(6).toString('hex')}`)
    await writeFile(probe, 'probe', { mode: 0o600, flag: 'wx' })
    await unlink(probe)
    return await realpath(path)
  } catch (error) {
    throw new AgentbusError('AGENTBUS_CONFIG', `AGENTBUS_DATA_DIR ${path} cannot be used: ${messageOf(error)}`, { path }, { cause: error })
  }
}

async function checkedSecret(path: string, text: string): Promise<string> {
  const secret = text.trim()
  if (!/^[0-9a-f]{64}$/.test(secret)) {
    throw new AgentbusError('AGENTBUS_CONFIG', `the secret file ${path} does not hold 64 hex digits; restore it, or remove it to have a new one made`, { path })
  }
  if (((await stat(path)).mode & 0o077) !== 0) await chmod(path, 0o600)
  return secret
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function ignoreExisting(error: unknown): void {
  if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return
  throw error
}
