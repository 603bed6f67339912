import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest'
import { isAlive } from '../../embedded/process-identity.js'
import { copyCluster } from '../support/prepared-postgres.js'

const MAIN = path.resolve('dist/cli/main.js')
const run = promisify(execFile)

let folder: string
const children: ChildProcess[] = []
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-up-'))
  await chmod(folder, 0o755)
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
  }
  await rm(folder, { recursive: true, force: true })
})

interface Up {
  readonly child: ChildProcess
  readonly output: () => string
  readonly url: string
  readonly token: string
}

/** As after an earlier start with nothing done: a test that is not about the first one need not wait until a cluster is made and migrated. */
const startedBefore = (): Promise<void> => copyCluster(inject('preparedPostgres'), path.join(folder, 'data'))

/** `withRedis: false` hides redis-server, as on a machine that has none. */
function environment(extra: Record<string, string> = {}, { withRedis = true } = {}): Record<string, string> {
  const node = path.dirname(process.execPath)
  return {
    PATH: withRedis ? (process.env['PATH'] ?? '') : node.startsWith('/usr/bin') ? '/bin-without-redis' : node,
    HOME: folder,
    AGENTBUS_DATA_DIR: path.join(folder, 'data'),
    AGENTBUS_PORT: '0',
    ...extra,
  }
}

/** `inTerminal`: below `script`, which gives it a terminal and closes that when it ends. */
async function up(extra: Record<string, string> = {}, options: { withRedis?: boolean; inTerminal?: boolean } = {}): Promise<Up> {
  const inTerminal = ['-qec', `'${process.execPath}' '${MAIN}' up`, '/dev/null']
  const [program, args]: [string, string[]] = options.inTerminal === true ? ['script', inTerminal] : [process.execPath, [MAIN, 'up']]
  const child = spawn(program, args, { env: environment(extra, options), stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  let said = ''
  await new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      said += chunk.toString()
      if (said.includes('Ctrl-C stops everything')) resolve()
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.on('exit', (code) => reject(new Error(`up ended with ${code}: ${said}`)))
  })
  const token = /Token:\s+(\S+)/.exec(said)?.[1] ?? ''
  const url = /API:\s+(\S+)\/v1\s/.exec(said)?.[1] ?? ''
  return { child, output: () => said, url, token }
}

/** A start that is expected to fail. @returns its exit code and what it said */
async function failingUp(extra: Record<string, string>): Promise<{ code: number; said: string }> {
  try {
    await run(process.execPath, [MAIN, 'up'], { env: environment(extra), timeout: 30_000 })
  } catch (error) {
    const failed = error as { code: number; stderr: string; stdout: string }
    return { code: failed.code, said: `${failed.stdout}${failed.stderr}` }
  }
  throw new Error('the start succeeded')
}

async function cli(bus: Up, ...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [MAIN, ...args], { env: { ...environment(), AGENTBUS_URL: bus.url, AGENTBUS_TOKEN: bus.token } })
  return stdout
}

async function call(bus: Up, method: 'GET' | 'POST', where: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(`${bus.url}${where}`, {
    method,
    headers: { authorization: `Bearer ${bus.token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

const get = (bus: Up, where: string) => call(bus, 'GET', where)
const post = (bus: Up, where: string, body: unknown) => call(bus, 'POST', where, body)

/** For the report of a failure: the jobs by state, the history of one that is held, and what its queue says. */
async function whatIsStuck(bus: Up, states: ReadonlyMap<string, string>): Promise<string> {
  const open = [...states].filter(([, status]) => status !== 'succeeded')
  const held = open.find(([, status]) => status === 'leased' || status === 'running') ?? open[0]
  const { body } = await get(bus, `/v1/jobs/${held?.[0] ?? ''}/history`)
  const authorization = `Basic ${Buffer.from(`x:${bus.token}`).toString('base64')}`
  const active = await fetch(`${bus.url}/board/api/queues?activeQueue=agent-devops&status=active`, { headers: { authorization } })
  return [`${open.length} jobs did not end`, JSON.stringify(body), await active.text(), bus.output().slice(-3_000)].join('\n')
}

/** SIGKILL to everything that works on the folder: agentbus, and the stores it started. */
async function killAll(inFolder: string): Promise<void> {
  const processes = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .map(async (pid) => {
        const [command, environ, cwd] = await Promise.all([
          readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
          readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
          readlink(`/proc/${pid}/cwd`).catch(() => ''),
        ])
        return { pid: Number(pid), isOurs: [command, environ, cwd].some((text) => text.includes(inFolder)) }
      }),
  )
  for (const { pid } of processes.filter(({ isOurs }) => isOurs)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      // It has ended since it was looked at, as children of a killed server do.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }
}

/** The process of its embedded PostgreSQL. */
async function postmaster(): Promise<number> {
  const file = await readFile(path.join(folder, 'data', 'postgres', 'data', 'postmaster.pid'), 'utf8')
  return Number(file.split('\n')[0])
}

/** The process of its private Redis. */
async function redisServer(): Promise<number> {
  return Number(await readFile(path.join(folder, 'data', 'redis', 'redis.pid'), 'utf8'))
}

async function stop(bus: Up): Promise<number | null> {
  bus.child.kill('SIGINT')
  const [code] = (await once(bus.child, 'exit')) as [number | null]
  return code
}

describe('agentbus up', () => {
  test.each([
    ['with a private Redis', true],
    ["on BullMQ's PostgreSQL backend when there is no Redis", false],
  ])(
    'brings everything up, finds its data again, and recovers from kill -9 %s',
    async (_how, withRedis) => {
      const first = await up({}, { withRedis })
      const story = await cli(first, 'enqueue-job', '--target-agent', 'devops', '--subject', 'say hello', '--follow')
      const id = /^id\s+(\S+)/m.exec(story)?.[1] ?? ''
      const code = await stop(first)

      const second = await up({}, { withRedis })
      const found = await cli(second, 'job', id)
      second.child.kill('SIGKILL')
      await once(second.child, 'exit')

      const third = await up({}, { withRedis })
      const again = await cli(third, 'enqueue-job', '--target-agent', 'devops', '--subject', 'still here', '--follow')
      expect(first.output()).toContain(withRedis ? 'private redis-server' : 'PostgreSQL backend')
      expect(first.output()).toContain('SIMULATOR')
      // An agent may close before its worker has written that it runs.
      expect(story).toMatch(/(leased|running) → succeeded/)
      expect(code).toBe(0)
      expect(found).toContain('succeeded')
      expect(third.token).toBe(first.token)
      expect(again).toMatch(/(leased|running) → succeeded/)
      expect(await stop(third)).toBe(0)
    },
    90_000,
  )

  test.each([
    ['its Redis and its PostgreSQL', true],
    ['its PostgreSQL, on which its queues are too,', false],
  ])(
    'and %s killed at once under load: a new start loses nothing that was acknowledged',
    async (_what, withRedis) => {
      // A lost run is noticed and tried again within seconds: what is waited for is the recovery, and neither a lock nor a backoff.
      const soon = { RETRY_SECONDS: '1', AGENTBUS_LOCK_MS: '2000', AGENTBUS_STALLED_CHECK_MS: '1000' }
      await startedBefore()
      const first = await up(soon, { withRedis })
      const acknowledged: string[] = []
      let isUp = true
      const client = async (): Promise<void> => {
        while (isUp) {
          const created = await post(first, '/v1/jobs', { target_agent: 'devops', subject: 'under load', payload: { simulate: { delay_ms: 50 } } }).catch(() => undefined)
          if (created?.status === 201) acknowledged.push(String(created.body['id']))
        }
      }
      const clients = Array.from({ length: 4 }, client)
      while (acknowledged.length < 60) await new Promise((resolve) => setTimeout(resolve, 20))
      await killAll(folder)
      isUp = false
      await Promise.all(clients)

      const startedMs = performance.now()
      const second = await up(soon, { withRedis })
      const states = new Map<string, string>()
      while (acknowledged.some((id) => states.get(id) !== 'succeeded')) {
        for (const id of acknowledged.filter((one) => states.get(one) !== 'succeeded')) states.set(id, String((await get(second, `/v1/jobs/${id}`)).body['status']))
        if (performance.now() - startedMs > 120_000) throw new Error(await whatIsStuck(second, states))
      }
      console.log(`[up] ${acknowledged.length} acknowledged jobs were all done ${((performance.now() - startedMs) / 1000).toFixed(1)} s after the new start began`)

      for (const id of acknowledged) {
        const { transitions } = (await get(second, `/v1/jobs/${id}/history`)).body as { transitions: { seq: number; to_status: string }[] }
        expect(transitions.map(({ seq }) => seq)).toEqual(transitions.map((_row, at) => at + 1))
      }
    },
    180_000,
  )

  test.each(['SIGHUP', 'SIGINT'] as const)(
    'stops its stores at %s, also when nobody reads any more what it says',
    async (signal) => {
      await startedBefore()
      const bus = await up()
      const pid = await postmaster()

      bus.child.stdout?.destroy()
      bus.child.stderr?.destroy()
      bus.child.kill(signal)
      const [code] = (await once(bus.child, 'exit')) as [number | null]
      const isLeft = await isAlive(pid)
      await killAll(folder)

      expect([code, isLeft]).toEqual([0, false])
    },
    60_000,
  )

  test('leaves its PostgreSQL down when both are asked to end at once, as at a logout', async () => {
    await startedBefore()
    const bus = await up()
    const pid = await postmaster()

    bus.child.kill('SIGTERM')
    process.kill(pid, 'SIGTERM')
    const [code] = (await once(bus.child, 'exit')) as [number | null]
    const isLeft = await isAlive(pid)
    // Its pid file is gone with it, and there is none of another.
    const next = await postmaster().catch(() => undefined)
    await killAll(folder)

    expect([code, isLeft, next]).toEqual([0, false, undefined])
    expect(bus.output()).not.toMatch(/embedded_postgres\.|has ended|is up again/)
  }, 60_000)

  test('starts its Redis again when that is killed, and its queues go on', async () => {
    const bus = await up()
    const before = await redisServer()

    process.kill(before, 'SIGKILL')
    await expect.poll(bus.output, { timeout: 30_000 }).toContain('the private Redis is up again')
    const after = await redisServer()
    const story = await cli(bus, 'enqueue-job', '--target-agent', 'devops', '--subject', 'after the kill', '--follow')
    const code = await stop(bus)

    expect(story).toMatch(/(leased|running) → succeeded/)
    expect([after === before, code, await isAlive(after)]).toEqual([false, 0, false])
  }, 90_000)

  test('stops its stores when its terminal is closed', async ({ skip }) => {
    const script = await run('script', ['--version']).catch(() => undefined)
    skip(script === undefined, 'script, which gives it a terminal, is not installed')
    await startedBefore()
    const bus = await up({}, { inTerminal: true })
    const pid = await postmaster()

    bus.child.kill('SIGKILL')
    const isGone = await expect
      .poll(() => isAlive(pid), { timeout: 25_000 })
      .toBe(false)
      .then(
        () => true,
        () => false,
      )
    await killAll(folder)

    expect(isGone).toBe(true)
  }, 60_000)

  test('refuses a second start on the same data folder, naming the first', async () => {
    await startedBefore()
    const first = await up()

    const { code, said } = await failingUp({})

    expect(code).toBe(1)
    expect(said).toContain(String(first.child.pid))
    expect(said.trim().split('\n')).toHaveLength(1)
  }, 60_000)

  test('says in one line that its port is taken, and stops what it had started', async () => {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const port = (server.address() as { port: number }).port

    await startedBefore()
    const { code, said } = await failingUp({ AGENTBUS_PORT: String(port) })
    server.close()

    expect(code).toBe(1)
    expect(said).toContain(`Port ${port} on 127.0.0.1 is taken`)
    expect(said.trim().split('\n')).toHaveLength(1)
    // The data folder is free again, so its stores were stopped.
    const next = await up()
    expect(await stop(next)).toBe(0)
  }, 90_000)

  test.each([
    ['a database that nobody serves', { DATABASE_URL: 'postgres://someone:hunter2secret@127.0.0.1:9/agentbus' }],
    ['a Redis that nobody serves', { REDIS_URL: 'redis://:hunter2secret@127.0.0.1:9/0' }],
    ['a database URL that is none', { DATABASE_URL: 'hunter2secret' }],
    ['a folder that cannot be', { AGENTBUS_DATA_DIR: '/proc/nowhere' }],
    ['a port that is none', { AGENTBUS_PORT: 'many' }],
  ])('says in one line what is wrong with %s, and no secret', async (_what, env) => {
    const { code, said } = await failingUp(env)

    expect(code).toBe(1)
    expect(said.trim().split('\n')).toHaveLength(1)
    expect(said).toMatch(/^agentbus: /)
    expect(said).not.toContain('hunter2secret')
  })
})
