import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { inject } from 'vitest'
import { AgentConfig } from '../../contracts/fleet.js'
import type { GatewayId, JobId } from '../../contracts/ids.js'
import type { JobView } from '../../contracts/jobs.js'
import { openDatabase } from '../../ledger/database.js'
import { HintRelay } from '../../ledger/hint-relay.js'
import { Ledger } from '../../ledger/ledger.js'
import { mergeAgentsMd, renderWorkspaceFiles } from '../../openclaw/workspace.js'
import { BACKEND, until } from '../support/bus.js'
import { cloneDatabase, OPERATOR, renderForTests, TEST_SECRET } from '../support/ledger.js'
import { startModel, type MockModel } from './model.js'
import { createRealGateway, freePort, type RealGateway } from './real-gateway.js'
import { AGENT_TOKEN } from './scripts.js'

const EXECUTABLE = path.resolve('bin/agentbus.mjs')
const execute = promisify(execFile)

export interface RealBus {
  readonly url: string
  readonly ledger: Ledger
  readonly model: MockModel
  readonly gateway: RealGateway
  /** Enqueues over REST, with an operator's token. */
  enqueue(body?: Record<string, unknown>): Promise<JobView>
  /** Runs a command with an operator's token, as a process of its own. @returns what it printed; rejects unless it exits with 0 */
  agentbus(...argv: string[]): Promise<string>
  /** Gives an agent a bus token of its own, as the file {@link AGENT_TOKEN} in its workspace: the gateway's environment is one for all agents. */
  giveToken(agentId: string): Promise<void>
  /** Starts a further `agentbus worker` and resolves when it works. */
  startWorker(): Promise<ChildProcess>
  until(id: JobId, wanted: (job: JobView) => boolean, limitMs?: number): Promise<JobView>
  /** SIGKILL to every worker that runs. */
  killWorkers(): Promise<void>
  stop(): Promise<void>
}

/**
 * The bus as it is deployed, but small: `agentbus api` and workers as processes of their own, a real gateway, and
 * agents whose workspaces hold the files the product writes. Only the model behind the gateway is scripted.
 */
export async function startRealBus(): Promise<RealBus> {
  const databaseUrl = await cloneDatabase()
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-real-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  await writeFile(path.join(folder, 'agentbus'), `#!/bin/sh\nexec '${process.execPath}' '${EXECUTABLE}' "$@"\n`, { mode: 0o755 })

  const model = await startModel()
  const gateway = await createRealGateway({
    modelUrl: model.url,
    commands: folder,
    agents: Object.fromEntries(['devops', 'auditor'].map((agentId) => [agentId, workspaceOf(agentId, url)])),
  })
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    DATABASE_URL: databaseUrl,
    AGENTBUS_DATA_DIR: folder,
    AGENTBUS_SECRET: TEST_SECRET,
    AGENTBUS_PORT: String(port),
    AGENTBUS_PUBLIC_URL: url,
    AGENTBUS_QUEUE_PREFIX: `o${randomBytes(5).toString('hex')}`,
    // Locks, checks and probes as an installation has them; only the wait between attempts is shorter.
    RETRY_SECONDS: '1',
    REAL_HOOK_TOKEN: gateway.hookToken,
    WRONG_HOOK_TOKEN: 'not-the-token-of-this-gateway',
    ...(BACKEND === 'redis' ? { REDIS_URL: inject('redisUrl') } : { AGENTBUS_QUEUE_BACKEND: 'postgres' }),
  }
  const database = openDatabase({ url: databaseUrl, poolSize: 5, applicationName: 'openclaw-test', onError: () => undefined })
  const ledger = new Ledger({ database, secret: TEST_SECRET, retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
  const hints = new HintRelay({ bus: ledger.hints, url: databaseUrl, windowMs: 1, onError: () => undefined })
  await hints.start()
  await applyFleet(ledger, gateway.url)
  const { token } = await ledger.tokens.create(OPERATOR, { name: 'openclaw-test', role: 'operator' })

  const processes = new Set<ChildProcess>()
  const start = async (role: 'api' | 'worker'): Promise<ChildProcess> => {
    const child = spawn(process.execPath, [EXECUTABLE, role], { env, stdio: ['ignore', 'ignore', 'pipe'] })
    processes.add(child)
    child.on('exit', () => processes.delete(child))
    await saidThatItStarted(child)
    return child
  }
  const [api] = await Promise.all([start('api'), gateway.start()])
  const agentbus = async (...argv: string[]): Promise<string> => {
    const { stdout } = await execute(process.execPath, [EXECUTABLE, ...argv], { env: { HOME: folder, AGENTBUS_URL: url, AGENTBUS_TOKEN: token } })
    return stdout
  }

  return {
    url,
    ledger,
    model,
    gateway,
    enqueue: async (body = {}) => {
      const answer = await fetch(`${url}/v1/jobs`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ target_agent: 'devops', subject: 'a job', ...body }),
      })
      if (!answer.ok) throw new Error(`POST /v1/jobs answered ${answer.status}: ${await answer.text()}`)
      return jobIn(await answer.json())
    },
    agentbus,
    giveToken: async (agentId) => {
      const made = await agentbus('token', 'create', '--role', 'agent', '--agent', agentId, '--name', `${agentId}-own`)
      await gateway.leave(agentId, { path: AGENT_TOKEN, content: made.trim() })
    },
    startWorker: () => start('worker'),
    until: (id, wanted, limitMs = 60_000) => until(ledger, id, wanted, limitMs),
    killWorkers: async () => {
      await Promise.all([...processes].filter((child) => child !== api).map(kill))
    },
    stop: async () => {
      await Promise.all([...processes].map(kill))
      await gateway.stop()
      await model.stop()
      await hints.stop()
      await database.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function jobIn(answer: unknown): JobView {
  const body = answer as JobView | { job: JobView }
  return 'job' in body ? body.job : body
}

/** What an operator has after `agentbus workspace`: text of their own, with the contract block merged in. */
function workspaceOf(agentId: string, apiUrl: string): { path: string; content: string }[] {
  return renderWorkspaceFiles({ agentId, role: 'test agent', apiUrl, cliCommand: 'agentbus' }).map((file) =>
    file.path === 'AGENTS.md' ? { path: file.path, content: mergeAgentsMd('# House rules\n\nBe brief.\n', file.content) } : file,
  )
}

/** One gateway under its right and under a wrong token, and an agent that it does not know. */
async function applyFleet(ledger: Ledger, baseUrl: string): Promise<void> {
  const gateway = (id: string, token: string) => ({ id: id as GatewayId, base_url: baseUrl, hook_path: '/hooks', token })
  const agent = (fields: Record<string, unknown>): AgentConfig => AgentConfig.parse({ gateway: 'real', concurrency: 4, ...fields })
  await ledger.applyFleet(
    OPERATOR,
    {
      version: 1,
      gateways: [gateway('real', 'env:REAL_HOOK_TOKEN'), gateway('wrong-token', 'env:WRONG_HOOK_TOKEN')],
      agents: [
        agent({ id: 'devops' }),
        agent({ id: 'auditor' }),
        agent({ id: 'ghost', gateway_agent_id: 'nobody' }),
        agent({ id: 'stranger', gateway: 'wrong-token', gateway_agent_id: 'devops' }),
      ],
    },
    { dryRun: false, prune: false },
  )
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

async function saidThatItStarted(child: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000)
      if (said.includes('"event":"started"')) resolve()
    })
    child.on('exit', (code) => reject(new Error(`agentbus ended with ${code}: ${said}`)))
  })
}
