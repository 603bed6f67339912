import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { systemClock } from '../config/clock.js'
import { createLogger } from '../config/logger.js'
import { loadSettings } from '../config/settings.js'
import { AgentConfig } from '../contracts/fleet.js'
import type { GatewayId } from '../contracts/ids.js'
import { createScriptedAgent } from '../openclaw/simulator/scripted-agent.js'
import { createSimulator, type Simulator } from '../openclaw/simulator/simulator.js'
import { AT_START, operatorToken, simulatorToken } from './bootstrap.js'
import { startBus, type Bus } from './bus.js'
import { Narrator } from './demo-narrator.js'
import { Story } from './demo-story.js'
import { startStores, type StartedStores } from './stores.js'
import { untilStopped } from './until-stopped.js'

export interface DemoOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: { write(text: string): unknown }
  /** `human`: about two minutes, for somebody who reads along. `fast`: without the pauses. */
  readonly pace: 'human' | 'fast'
}

/** `held`: the ledger says that everything happened as it should. */
export type DemoEnd = 'held' | 'broken' | 'stopped'

/** Plays a story on a fresh fleet in a temporary folder and tells it from the ledger. Ctrl-C ends it; nothing stays behind. */
export async function playDemo({ env, stdout, pace }: DemoOptions): Promise<DemoEnd> {
  const log = createLogger({ level: 'error', pretty: false })
  const stopping = untilStopped({ log })
  const abort = new AbortController()
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-demo-'))
  // PostgreSQL does not run as root: with a folder that its own user can walk into, nothing is put elsewhere.
  await chmod(folder, 0o755)
  const settings = loadSettings({
    ...pathOnly(env),
    AGENTBUS_DATA_DIR: path.join(folder, 'data'),
    AGENTBUS_PORT: '0',
    RETRY_SECONDS: '4',
    AGENTBUS_COMPLETION_GRACE_MS: '1500',
    AGENTBUS_PROBE_SECONDS: '1',
    AGENTBUS_LOG_LEVEL: 'error',
  })
  let stores: StartedStores | undefined
  let bus: Bus | undefined
  let gateway: Simulator | undefined
  try {
    stdout.write('Starting a PostgreSQL, a queue store, a gateway simulator and a bus, all in a temporary folder.\n')
    const started = await startStores(settings, log)
    stores = started
    void stopping.requested.then(() => started.letGo())
    gateway = createSimulator({ hookToken: simulatorToken(started.secret), agents: 'any', behave: createScriptedAgent() })
    await gateway.start()
    const url = gateway.url
    bus = await startBus({
      settings,
      env,
      stores: started,
      log,
      api: true,
      workers: true,
      simulatorToken: simulatorToken(started.secret),
      prepare: async ({ ledger }) => {
        await operatorToken(ledger, settings.dataDir)
        await ledger.applyFleet(
          AT_START,
          {
            version: 1,
            gateways: [{ id: 'simulator' as GatewayId, base_url: url, hook_path: '/hooks', token: 'simulator' }],
            agents: ['coordinator', 'auditor', 'devops', 'publisher'].map((id) => AgentConfig.parse({ id, gateway: 'simulator' })),
          },
          { dryRun: false, prune: false },
        )
      },
    })
    const teller = new Narrator({ stdout, clock: systemClock, pace, signal: abort.signal })
    const story = new Story({ ledger: bus.ledger, gateway, teller })
    const told = introduce(teller)
      .then(() => story.play())
      .then((held) => (held ? 'held' : 'broken'))
    // Once it is stopped, the telling breaks off at its next wait.
    return await Promise.race([told, stopping.requested.then(() => 'stopped' as const)])
  } finally {
    abort.abort()
    await bus?.stop()
    await gateway?.stop({ drain: false })
    await stores?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function introduce(teller: Narrator): Promise<void> {
  await teller.prose(
    'Four agents wait for work: coordinator, auditor, devops and publisher. They are simulated, everything else is real. A line with ▸ is something that happens; every other line is a row of the ledger, as a worker or an agent wrote it: time, agent, number in the job’s history, move, reason.',
  )
}

/** The demo takes no store and no gateway of yours. */
function pathOnly(env: DemoOptions['env']): Record<string, string> {
  return env['PATH'] === undefined ? {} : { PATH: env['PATH'] }
}
