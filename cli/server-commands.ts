import type { Command } from 'commander'
import { systemClock } from '../config/clock.js'
import { createLogger, type Logger } from '../config/logger.js'
import { loadSettings, unknownSettings, type Settings } from '../config/settings.js'
import { openToAuditors } from '../ledger/auditor-role.js'
import { inTransaction, openDatabase } from '../ledger/database.js'
import { createToken } from '../ledger/tokens.js'
import { createScriptedAgent } from '../openclaw/simulator/scripted-agent.js'
import { createSimulator } from '../openclaw/simulator/simulator.js'
import { applyFirstFleet, needsSimulator, operatorToken, simulatorToken } from './bootstrap.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { NO_AUDITORS } from './no-auditors.js'
import { startBus, type Bus } from './bus.js'
import { attachStores, startStores, type Stores } from './stores.js'
import { untilStopped } from './until-stopped.js'
import { welcome } from './welcome.js'

export interface ServerIo {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: { write(text: string): unknown }
}

/** The commands that run a server: they hold stores, queues and workers, so they are loaded only when asked for. */
export function registerServerCommands(program: Command, io: ServerIo): void {
  program
    .command('up')
    .description('run everything in one process: stores that are not configured, API, board, workers')
    .action(() => up(io))
  program
    .command('api')
    .description('serve REST and the board')
    .action(() => serve(io, { api: true, workers: false }))
  program
    .command('worker')
    .description('deliver work to agents; run as many as you like, on any machine')
    .action(() => serve(io, { api: false, workers: true }))
  program
    .command('demo')
    .description('play a two-minute story on a fresh fleet and check it against the ledger')
    .option('--fast', 'without the pauses for somebody who reads along')
    .action(async (values: { fast?: true }) => {
      const { playDemo } = await import('./demo.js')
      const end = await playDemo({ ...io, pace: values.fast === true ? 'fast' : 'human' })
      if (end !== 'held') throw new CliError(end === 'stopped' ? 'The demo was stopped; nothing of it is left.' : 'The demo failed.', EXIT.unexpected)
    })
  program
    .command('operator-token')
    .description('make an operator token straight in the ledger, for the first sign-in')
    .option('--name <name>', 'what it is for', 'operator')
    .action((values: { name: string }) => makeOperatorToken(io, values.name))
  program
    .command('migrate')
    .description('bring the schemas of ledger and queue store up to date')
    .action(() => migrate(io))
}

/** A first run shows what a person needs and no more; whoever sets the level gets what they asked for. */
function loggerFor(settings: Settings, env: ServerIo['env'], quiet: boolean): Logger {
  const level = quiet && env['AGENTBUS_LOG_LEVEL'] === undefined ? 'warn' : settings.logLevel
  return createLogger({ level, pretty: settings.logPretty })
}

/** A name that is mistyped would leave its setting at the default without a word. */
function tellOfUnknown(io: ServerIo, log: Logger): void {
  const names = unknownSettings(io.env)
  if (names.length > 0) log.warn({ event: 'settings.unknown', names }, `no setting has the name ${names.join(', ')}; .env.example has them all`)
}

async function up(io: ServerIo): Promise<void> {
  const settings = loadSettings(io.env)
  const log = loggerFor(settings, io.env, true)
  tellOfUnknown(io, log)
  const stopping = untilStopped({ log })
  const stores = await startStores(settings, log)
  // Also while the bus starts or stops: a logout signals everything at once, and a store that it ends must stay down.
  void stopping.requested.then(() => stores.letGo())
  let bus: Bus | undefined
  const extra: (() => Promise<void>)[] = []
  try {
    const announced = [...stores.announcements]
    const found = { token: '' }
    bus = await startBus({
      settings,
      env: io.env,
      stores,
      log,
      api: true,
      workers: true,
      simulatorToken: simulatorToken(stores.secret),
      prepare: async ({ ledger }) => {
        found.token = await operatorToken(ledger, settings.dataDir)
        const simulatorUrl = (await needsSimulator(ledger, settings)) ? await startSimulator(settings, stores, extra) : undefined
        if (simulatorUrl !== undefined) announced.push(`Gateway: THE BUILT-IN SIMULATOR at ${simulatorUrl} (no OpenClaw gateway is configured); its agents do no real work`)
        await applyFirstFleet(ledger, settings, { simulatorUrl, workers: true })
      },
    })
    io.stdout.write(welcome({ url: bus.url ?? '', token: found.token, announced, agents: await bus.ledger.listAgents() }))
    await stopping.requested
    io.stdout.write('agentbus: stopping\n')
  } finally {
    await bus?.stop()
    for (const stop of extra) await stop()
    await stores.stop()
  }
}

async function startSimulator(settings: Settings, stores: Stores, extra: (() => Promise<void>)[]): Promise<string> {
  const simulator = createSimulator({ hookToken: simulatorToken(stores.secret), port: settings.simPort, agents: 'any', behave: createScriptedAgent() })
  await simulator.start()
  extra.push(() => simulator.stop({ drain: false }))
  return simulator.url
}

async function serve(io: ServerIo, roles: { readonly api: boolean; readonly workers: boolean }): Promise<void> {
  const settings = loadSettings(io.env)
  const log = loggerFor(settings, io.env, false)
  tellOfUnknown(io, log)
  const stopping = untilStopped({ log })
  const stores = await attachStores(settings, log)
  const bus = await startBus({
    settings,
    env: io.env,
    stores,
    log,
    ...roles,
    simulatorToken: simulatorToken(stores.secret),
    prepare: async ({ ledger }) => {
      if (roles.api) await applyFirstFleet(ledger, settings, { simulatorUrl: undefined, workers: roles.workers })
    },
  })
  try {
    log.info({ event: 'started', ...roles, worker_id: bus.workerId, url: bus.url, queues: stores.queue.kind }, roles.api ? `serving on ${bus.url ?? ''}` : 'working')
    await stopping.requested
    log.info({ event: 'stopping' }, 'stopping')
  } finally {
    await bus.stop()
    await stores.stop()
  }
}

/** Characters that the name of a token may have; over REST as many. */
const MOST_NAME = 100

/** Whoever can reach the database may sign in: the first token cannot come over REST. */
async function makeOperatorToken(io: ServerIo, name: string): Promise<void> {
  if (name.trim() === '' || name.length > MOST_NAME) throw new CliError(`--name must say something, in at most ${MOST_NAME} characters.`, EXIT.usage)
  const settings = loadSettings(io.env)
  const log = loggerFor(settings, io.env, true)
  const stores = await attachStores(settings, log)
  const database = openDatabase({ url: stores.databaseUrl, poolSize: 3, applicationName: 'agentbus', onError: () => undefined })
  try {
    const { token } = await inTransaction(database.db, (tx) => createToken(tx, { name, role: 'operator', createdBy: 'agentbus operator-token', nowMs: systemClock.nowMs() }))
    io.stdout.write(`${token}\n`)
  } finally {
    await database.close()
    await stores.stop()
  }
}

async function migrate(io: ServerIo): Promise<void> {
  const settings = loadSettings(io.env)
  // Attaching probes and migrates both stores.
  const stores = await attachStores(settings, loggerFor(settings, io.env, false))
  await stores.stop()
  io.stdout.write('The schemas are up to date.\n')
  if (!(await openToAuditors(stores.databaseUrl))) io.stdout.write(NO_AUDITORS)
}
