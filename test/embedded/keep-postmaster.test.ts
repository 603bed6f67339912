import { once } from 'node:events'
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { ManualClock, systemClock } from '../../config/clock.js'
import { createLogger, type Logger } from '../../config/logger.js'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { keepPostmaster } from '../../embedded/keep-postmaster.js'
import { postgresBinaries } from '../../embedded/postgres-binaries.js'
import { postgresHome } from '../../embedded/postgres-home.js'
import { adoptPostmaster, startPostmaster, stopPostmaster, type Cluster, type Postmaster } from '../../embedded/postmaster.js'
import { isAlive } from '../../embedded/process-identity.js'
import { onCleanup, serverPid, silent, tempFolder } from './processes.js'

const HAS_ENDED: Postmaster = { port: 54_321, untilEnded: async () => undefined }

function aLog(): { log: Logger; said: () => string } {
  const lines: string[] = []
  return { log: createLogger({ level: 'warn', destination: { write: (line: string) => void lines.push(line) } }), said: () => lines.join('') }
}

/** The cluster of the embedded PostgreSQL in `path`, which was started once. */
async function clusterIn(path: string, log: Logger): Promise<Cluster> {
  const home = await postgresHome({ dataDir: path, log: silent })
  const binaries = await postgresBinaries({ home: home.path, user: home.user, log: silent })
  return { home, binaries, password: (await readFile(join(home.path, 'password'), 'utf8')).trim(), log, clock: systemClock }
}

async function startIn(path: string): Promise<EmbeddedPostgres> {
  await mkdir(path, { recursive: true })
  const store = await startEmbeddedPostgres({ dataDir: path, log: silent })
  onCleanup(() => store.stop())
  return store
}

/** STAND-IN for a PostgreSQL whose recovery takes long: it has its pid file, does not get ready, and ends at SIGINT. */
const RECOVERING = `#!/bin/sh
cd "$2" || exit 1
sleep 60 &
trap 'kill $!; rm -f postmaster.pid; exit 0' INT
printf '%s\\n%s\\n0\\n54321\\n\\n127.0.0.1\\n0\\nstarting\\n' "$$" "$2" > postmaster.pid
wait
`
/** STAND-IN for pg_ctl: ends that server and waits for it. */
const PG_CTL = `#!/bin/sh
pid=$(head -n 1 "$2/postmaster.pid")
kill -INT "$pid"
while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
`

async function recoveringCluster(log: Logger): Promise<Cluster> {
  const path = await realpath(await tempFolder())
  const cluster = join(path, 'data')
  const programs = { postgres: join(path, 'postgres'), pgCtl: join(path, 'pg_ctl') }
  await mkdir(cluster)
  await writeFile(programs.postgres, RECOVERING, { mode: 0o755 })
  await writeFile(programs.pgCtl, PG_CTL, { mode: 0o755 })
  return { home: { path, cluster, user: undefined }, binaries: { initdb: '/nowhere', ...programs }, password: '', log, clock: systemClock }
}

describe('a PostgreSQL that is kept up', { timeout: 60_000 }, () => {
  test('and was let go of is not started again, and its end is nothing to tell', async () => {
    const { log, said } = aLog()
    let end: () => void = () => undefined
    const ended = new Promise<void>((resolve) => (end = resolve))
    const keeper = keepPostmaster(await recoveringCluster(log), { port: 54_321, untilEnded: () => ended })

    keeper.letGo()
    end()
    await keeper.stop()

    expect(said()).toBe('')
  })

  test('and was let go of while a new start is waited for is not started', async () => {
    const { log, said } = aLog()
    const clock = new ManualClock()
    const cluster = { ...(await recoveringCluster(log)), clock }
    const keeper = keepPostmaster(cluster, HAS_ENDED)
    await clock.whenAsleep()

    keeper.letGo()
    await keeper.stop()

    await expect(readFile(join(cluster.home.cluster, 'postmaster.pid'))).rejects.toThrow('ENOENT')
    expect(said()).not.toContain('embedded_postgres.restarted')
  })

  test('and recovers for long does not hold up a stop, which ends it', async () => {
    const { log, said } = aLog()
    const cluster = await recoveringCluster(log)
    const pidFile = join(cluster.home.cluster, 'postmaster.pid')
    const keeper = keepPostmaster(cluster, HAS_ENDED)
    onCleanup(() => keeper.stop())
    await expect.poll(() => readFile(pidFile, 'utf8').catch(() => ''), { timeout: 20_000 }).toContain('starting')
    const pid = await serverPid(pidFile)

    await keeper.stop()
    const wasLeft = await isAlive(pid)
    await stopPostmaster(cluster)

    expect([wasLeft, await isAlive(pid)]).toEqual([true, false])
    expect(said()).not.toMatch(/restarted/)
  })

  test('and runs at another port is not up again: the log names both', async () => {
    const path = join(await tempFolder(), 'data')
    const found = Number(new URL((await startIn(path)).url).port)
    const wanted = found === 65_535 ? 1_024 : found + 1
    const { log, said } = aLog()

    const keeper = keepPostmaster(await clusterIn(path, log), { ...HAS_ENDED, port: wanted })
    onCleanup(() => keeper.stop())

    await expect.poll(said, { timeout: 20_000 }).toContain('embedded_postgres.not_restarted')
    await keeper.stop()
    expect(said()).toContain(`runs at port ${found} and is looked for at port ${wanted}`)
    expect(said()).not.toContain('embedded_postgres.restarted')
  })

  test('by a keeper that fails is told of, and can be stopped', async () => {
    const { log, said } = aLog()
    const failing: Postmaster = { port: 54_321, untilEnded: () => Promise.reject(new Error('a fault')) }
    const keeper = keepPostmaster(await recoveringCluster(log), failing)

    await keeper.stop()

    expect(said()).toContain('embedded_postgres.not_kept')
    expect(said()).toContain('a fault')
  })
})

describe('a start of PostgreSQL', { timeout: 60_000 }, () => {
  test('at a port that another program has taken says so, and what to do', async () => {
    const path = join(await tempFolder(), 'data')
    await (await startIn(path)).stop()
    const stranger = createServer().listen(0, '127.0.0.1')
    await once(stranger, 'listening')
    onCleanup(async () => stranger.close())
    const { port } = stranger.address() as AddressInfo

    const start = startPostmaster(await clusterIn(path, silent), { onlyPort: port })

    await expect(start).rejects.toMatchObject({
      code: 'AGENTBUS_STORE_UNREACHABLE',
      message: expect.stringContaining(`port ${port} is taken by another program; stop it or restart agentbus`) as string,
    })
  })

  test('that was broken off before it began starts nothing', async () => {
    const cluster = await recoveringCluster(silent)

    const start = startPostmaster(cluster, { onlyPort: 54_321, signal: AbortSignal.abort(new Error('stopped')) })

    await expect(start).rejects.toThrow('stopped')
    await expect(readFile(join(cluster.home.cluster, 'postmaster.pid'))).rejects.toThrow('ENOENT')
  })
})

test('a server that cannot be looked at counts as there: its pid file stays as it is, and its end is still waited for', { timeout: 60_000 }, async () => {
  const path = join(await tempFolder(), 'data')
  await startIn(path)
  const clock = new ManualClock()
  const cluster = { ...(await clusterIn(path, silent)), clock }
  const pidFile = join(cluster.home.cluster, 'postmaster.pid')
  const before = await readFile(pidFile, 'utf8')
  const adopted = await adoptPostmaster(cluster)
  const stopping = new AbortController()
  const asked = vi.spyOn(process, 'kill').mockImplementation(() => {
    throw Object.assign(new Error('too busy'), { code: 'EAGAIN' })
  })

  try {
    await expect(adoptPostmaster(cluster)).rejects.toThrow('too busy')
    const ended = adopted?.untilEnded(stopping.signal)
    await clock.whenAsleep()
    stopping.abort()
    await ended
  } finally {
    asked.mockRestore()
  }

  expect(await readFile(pidFile, 'utf8')).toBe(before)
})
