import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { inject } from 'vitest'

export interface RealGateway {
  readonly url: string
  readonly hookToken: string
  /** Starts the process and resolves when `/readyz` says ready. @returns milliseconds it took */
  start(): Promise<number>
  /** SIGKILL, as a crash: the runs are gone, the state folder stays. */
  crash(): Promise<void>
  /** SIGTERM: the gateway drains. @returns a promise that resolves when the process has ended */
  drain(): { readonly ended: Promise<void> }
  /** Puts a file into the workspace of an agent, where its commands run. */
  leave(agent: string, file: { readonly path: string; readonly content: string }): Promise<void>
  /** Status of `/readyz`; undefined when nobody listens. */
  readiness(): Promise<number | undefined>
  stop(): Promise<void>
}

export interface RealGatewayOptions {
  readonly modelUrl: string
  /** Agents with the files of their workspaces, by relative path. */
  readonly agents: Readonly<Record<string, readonly { readonly path: string; readonly content: string }[]>>
  /** Folder with the commands an agent may call, put before PATH. */
  readonly commands: string
}

/** A real OpenClaw gateway with an empty state of its own, on a port of its own. */
export async function createRealGateway(options: RealGatewayOptions): Promise<RealGateway> {
  const { node, entry } = inject('openclaw')
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-openclaw-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const hookToken = randomBytes(24).toString('hex')
  const config = path.join(folder, 'openclaw.json')
  const output = path.join(folder, 'gateway.log')
  for (const [agent, files] of Object.entries(options.agents)) await writeFiles(path.join(folder, 'workspaces', agent), files)
  await mkdir(path.join(folder, 'home'))
  await writeFile(config, JSON.stringify(configOf({ folder, port, hookToken, modelUrl: options.modelUrl, agents: Object.keys(options.agents) })), { mode: 0o600 })
  let child: ChildProcess | undefined

  async function readiness(): Promise<number | undefined> {
    try {
      const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) })
      await answer.arrayBuffer()
      return answer.status
    } catch {
      return undefined
    }
  }

  async function start(): Promise<number> {
    const startedMs = performance.now()
    const log = openSync(output, 'a')
    child = spawn(node, [entry, 'gateway'], { stdio: ['ignore', log, log], env: environmentOf(folder, config, options.commands) })
    closeSync(log)
    while ((await readiness()) !== 200) {
      if (hasEnded(child)) throw new Error(`the gateway ended at its start: ${(await readFile(output, 'utf8')).slice(-2_000)}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return Math.round(performance.now() - startedMs)
  }

  function end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (child === undefined || hasEnded(child)) return Promise.resolve()
    const ended = once(child, 'exit').then(() => undefined)
    child.kill(signal)
    return ended
  }

  return {
    url,
    hookToken,
    start,
    leave: (agent, file) => writeFiles(path.join(folder, 'workspaces', agent), [file]),
    readiness,
    crash: () => end('SIGKILL'),
    drain: () => ({ ended: end('SIGTERM') }),
    stop: async () => {
      await end('SIGKILL')
      if (process.env['OPENCLAW_TEST_KEEP'] === undefined) await rm(folder, { recursive: true, force: true, maxRetries: 5 })
      else console.log(`kept: ${folder}`)
    },
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

/** The exec tool hands the gateway's environment on to every command of every agent: nothing secret may be in it. */
function environmentOf(folder: string, config: string, commands: string): Record<string, string> {
  return {
    PATH: `${commands}:/usr/local/bin:/usr/bin:/bin`,
    HOME: path.join(folder, 'home'),
    LANG: 'C.UTF-8',
    OPENCLAW_STATE_DIR: path.join(folder, 'state'),
    OPENCLAW_CONFIG_PATH: config,
    // One process, so that a signal reaches the gateway itself.
    OPENCLAW_NO_RESPAWN: '1',
    OPENCLAW_NO_AUTO_UPDATE: '1',
    OPENCLAW_SKIP_CHANNELS: '1',
    OPENCLAW_DISABLE_BONJOUR: '1',
    DO_NOT_TRACK: '1',
  }
}

/** The smallest gateway that takes hooks and runs agents: no channels, plug-ins, browser, updates or network beyond loopback. */
function configOf(of: { folder: string; port: number; hookToken: string; modelUrl: string; agents: readonly string[] }): Record<string, unknown> {
  const free = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 }
  const model = { id: 'scripted', name: 'Scripted', reasoning: false, input: ['text'], cost: free, contextWindow: 128_000, maxTokens: 4_096 }
  const workspaces = of.agents.map((id) => [id, { name: id, workspace: path.join(of.folder, 'workspaces', id) }])
  return {
    gateway: {
      mode: 'local',
      port: of.port,
      bind: 'loopback',
      auth: { mode: 'token', token: randomBytes(24).toString('hex') },
      controlUi: { enabled: false },
      terminal: { enabled: false },
      reload: { mode: 'off' },
    },
    hooks: { enabled: true, path: '/hooks', token: of.hookToken, allowedAgentIds: of.agents },
    agents: {
      ownership: 'explicit',
      defaults: { model: { primary: 'test/scripted' }, skipBootstrap: true, skills: ['agentbus'], heartbeat: { every: '30m' }, sandbox: { mode: 'off' }, timeoutSeconds: 300 },
      entries: Object.fromEntries(workspaces),
    },
    models: {
      mode: 'replace',
      catalogRefresh: { enabled: false },
      providers: { test: { baseUrl: of.modelUrl, apiKey: 'none', api: 'openai-completions', timeoutSeconds: 300, models: [model] } },
    },
    tools: { allow: ['exec', 'read'], toolSearch: false, exec: { host: 'gateway', mode: 'full', timeoutSeconds: 60 } },
    logging: { file: path.join(of.folder, 'openclaw.log') },
    plugins: { enabled: false },
    cron: { enabled: false },
    browser: { enabled: false },
    update: { checkOnStart: false },
    telemetry: { enabled: false },
    discovery: { mdns: { mode: 'off' } },
  }
}

async function writeFiles(folder: string, files: readonly { readonly path: string; readonly content: string }[]): Promise<void> {
  for (const file of files) {
    const where = path.join(folder, file.path)
    await mkdir(path.dirname(where), { recursive: true })
    await writeFile(where, file.content)
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
