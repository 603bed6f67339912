import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLogger } from '../config/logger.js'
import { loadSettings } from '../config/settings.js'
import { AgentConfig } from '../contracts/fleet.js'
import type { GatewayId, JobId } from '../contracts/ids.js'
import { CreateJobBody, type JobView } from '../contracts/jobs.js'
import { createScriptedAgent } from '../openclaw/simulator/scripted-agent.js'
import { createSimulator, type Simulator } from '../openclaw/simulator/simulator.js'
import { AT_START, operatorToken, simulatorToken } from './bootstrap.js'
import { startBus, type Bus } from './bus.js'
import { startStores, type Stores } from './stores.js'

/** A promise of the story, checked against the ledger at the end. */
interface Expectation {
  readonly says: string
  readonly holds: () => Promise<boolean>
}

export interface DemoIo {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: { write(text: string): unknown }
}

/**
 * Plays a story of about two minutes on a fresh fleet in a temporary folder and tells it from the ledger.
 * @returns true only if the ledger says that everything happened as it should
 */
export async function playDemo(io: DemoIo): Promise<boolean> {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-demo-'))
  const settings = loadSettings({
    ...pathOnly(io.env),
    AGENTBUS_DATA_DIR: path.join(folder, 'data'),
    AGENTBUS_PORT: '0',
    RETRY_SECONDS: '4',
    AGENTBUS_COMPLETION_GRACE_MS: '1500',
    AGENTBUS_PROBE_SECONDS: '1',
    AGENTBUS_LOG_LEVEL: 'error',
  })
  const log = createLogger({ level: 'error', pretty: false })
  let stores: Stores | undefined
  let bus: Bus | undefined
  let gateway: Simulator | undefined
  try {
    stores = await startStores(settings, log)
    gateway = createSimulator({ hookToken: simulatorToken(stores.secret), agents: 'any', behave: createScriptedAgent() })
    await gateway.start()
    const url = gateway.url
    bus = await startBus({
      settings,
      env: io.env,
      stores,
      log,
      api: true,
      workers: true,
      simulatorToken: simulatorToken(stores.secret),
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
    return await new Story(bus, gateway, io).play()
  } finally {
    await bus?.stop()
    await gateway?.stop({ drain: false })
    await stores?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** The demo takes no store and no gateway of yours. */
function pathOnly(env: DemoIo['env']): Record<string, string> {
  return env['PATH'] === undefined ? {} : { PATH: env['PATH'] }
}

class Story {
  readonly #bus: Bus
  readonly #gateway: Simulator
  readonly #io: DemoIo
  readonly #expectations: Expectation[] = []
  readonly #startedMs = performance.now()
  readonly #told = new Map<string, number>()

  constructor(bus: Bus, gateway: Simulator, io: DemoIo) {
    this.#bus = bus
    this.#gateway = gateway
    this.#io = io
  }

  async play(): Promise<boolean> {
    this.#say('A fresh fleet: coordinator, auditor, devops and publisher, on the built-in gateway simulator.')
    await this.#plainWork()
    await this.#retry()
    await this.#blocked()
    await this.#deadLetter()
    await this.#handOff()
    await this.#outage()
    await this.#lostRun()
    return this.#verdict()
  }

  #say(text: string): void {
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(6)
    this.#io.stdout.write(`${seconds} s  ${text}\n`)
  }

  #chapter(text: string): void {
    this.#io.stdout.write(`\n== ${text}\n`)
  }

  #expect(says: string, holds: () => Promise<boolean>): void {
    this.#expectations.push({ says, holds })
  }

  async #enqueue(agent: string, subject: string, simulate: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<JobView> {
    const { job } = await this.#bus.ledger.jobs.create(AT_START, CreateJobBody.parse({ target_agent: agent, subject, payload: { simulate }, correlation_key: 'demo', ...more }))
    this.#say(`enqueued for ${agent}: "${subject}" (${job.id})`)
    return job
  }

  /** Follows a job in the ledger and tells each row of its history as it appears. */
  async #follow(job: JobView, until: (job: JobView) => boolean, limitMs = 40_000): Promise<JobView> {
    const endMs = performance.now() + limitMs
    for (;;) {
      const history = await this.#bus.ledger.jobHistory(job.id)
      const told = this.#told.get(job.id) ?? 0
      for (const row of history.transitions.slice(told)) {
        this.#say(`   ${row.from_status ?? 'new'} → ${row.to_status}: ${row.reason}${row.note === null ? '' : ` (${row.note})`}`)
      }
      this.#told.set(job.id, history.transitions.length)
      if (until(history.job) || performance.now() > endMs) return history.job
      await sleep(100)
    }
  }

  async #plainWork(): Promise<void> {
    this.#chapter('Work is delivered, and only the agent can close it')
    const job = await this.#enqueue('devops', 'check disk space', { delay_ms: 1_500, result: { free_gb: 41 } })
    await this.#follow(job, (j) => j.status === 'succeeded')
    this.#expect('the plain job succeeded at its first attempt', async () => (await this.#status(job.id)) === 'succeeded' && (await this.#attempts(job.id)) === 1)
  }

  async #retry(): Promise<void> {
    this.#chapter('A failed attempt is retried, with backoff')
    const job = await this.#enqueue('devops', 'rotate certificates', { delay_ms: 500, fail_times: 1, retry_seconds: 3 })
    await this.#follow(job, (j) => j.status === 'succeeded')
    this.#expect('the retried job took two attempts', async () => (await this.#status(job.id)) === 'succeeded' && (await this.#attempts(job.id)) === 2)
  }

  async #blocked(): Promise<void> {
    this.#chapter('Blocked work says what is missing, and resumes by itself')
    const job = await this.#enqueue('publisher', 'publish the weekly note', {
      outcome: 'block',
      blocked_reason: 'the note has not been approved',
      blocked_owner: 'coordinator',
      waits_for: { kind: 'event', topic: 'note.approved' },
    })
    const blocked = await this.#follow(job, (j) => j.status === 'blocked')
    this.#say(`it waits for ${blocked.blocked_owner ?? '?'}: ${blocked.blocked_reason ?? '?'}`)
    await sleep(3_000)
    this.#say('the coordinator emits note.approved')
    await this.#bus.ledger.jobs.emit(AT_START, { namespace: 'default', topic: 'note.approved', payload: {}, correlation_key: 'demo' })
    await this.#follow(job, (j) => j.status === 'succeeded')
    this.#expect('the blocked job resumed on its event', async () => {
      const { transitions } = await this.#bus.ledger.jobHistory(job.id)
      return (await this.#status(job.id)) === 'succeeded' && transitions.some((row) => row.reason === 'condition_met')
    })
  }

  async #deadLetter(): Promise<void> {
    this.#chapter('A run that never closes its job is a failed attempt; the last one makes a dead letter')
    const job = await this.#enqueue('auditor', 'audit that ends in silence', { outcome: 'silent', delay_ms: 300 }, { max_attempts: 2 })
    await this.#follow(job, (j) => j.status === 'dead')
    this.#expect('the silent job is dead after two attempts without a terminal write', async () => {
      const dead = await this.#bus.ledger.getJob(job.id)
      return dead.status === 'dead' && dead.last_error_code === 'ended_without_terminal_write' && (await this.#attempts(job.id)) === 2
    })
  }

  async #handOff(): Promise<void> {
    this.#chapter('A hand-off is part of the close: both happen, or neither')
    const job = await this.#enqueue('coordinator', 'plan the release', {
      delay_ms: 1_000,
      events: [{ topic: 'plan.updated', payload: { release: 7 } }],
      follow_ups: [{ target_agent: 'devops', subject: 'roll out release 7', payload: { simulate: { delay_ms: 1_000 } } }],
    })
    await this.#follow(job, (j) => j.status === 'succeeded')
    const child = (await this.#bus.ledger.listJobs({ parent_job_id: job.id, limit: 1 })).items[0]
    if (child !== undefined) {
      this.#say(`the ledger shows the job it handed on: "${child.subject}" (${child.id})`)
      await this.#follow(child, (j) => j.status === 'succeeded')
    }
    this.#expect('the follow-up exists, came from the coordinator, and was done', async () => {
      const found = (await this.#bus.ledger.listJobs({ parent_job_id: job.id, limit: 2 })).items
      return found.length === 1 && found[0]?.source_agent === 'coordinator' && found[0].status === 'succeeded'
    })
    this.#expect('the event plan.updated is in the ledger', async () => (await this.#bus.ledger.listEvents({ source_job_id: job.id, order: 'asc', limit: 2 })).items.length === 1)
  }

  async #outage(): Promise<void> {
    this.#chapter('A gateway goes down and comes back: no attempt is burned')
    await this.#gateway.crash()
    this.#say('the gateway is gone')
    const jobs = [await this.#enqueue('devops', 'restart the proxy', {}), await this.#enqueue('auditor', 'count the leases', {})]
    await this.#until(async () => (await this.#bus.ledger.listGateways())[0]?.breaker === 'open')
    const gateway = (await this.#bus.ledger.listGateways())[0]
    this.#say(`its breaker is ${gateway?.breaker ?? '?'}: ${gateway?.breaker_reason ?? ''}; agents show as ${(await this.#bus.ledger.listAgents('devops'))[0]?.state ?? '?'}`)
    await sleep(8_000)
    await this.#gateway.start()
    this.#say('the gateway is back')
    for (const job of jobs) await this.#follow(job, (j) => j.status === 'succeeded')
    this.#expect('what waited for the gateway was done at its first counted attempt', async () => {
      const after = await Promise.all(jobs.map((job) => this.#bus.ledger.getJob(job.id)))
      return after.every((job) => job.status === 'succeeded' && job.attempt_count === 1)
    })
    this.#expect('the breaker opened and closed, each as an event', async () => {
      const topics = (await this.#bus.ledger.listEvents({ topic: 'gateway.*', order: 'asc', limit: 100 })).items.map((event) => event.topic)
      return topics.includes('gateway.breaker_opened') && topics.includes('gateway.breaker_closed')
    })
  }

  async #lostRun(): Promise<void> {
    this.#chapter('A gateway restarts in mid-run: the run is lost, and the ledger says so')
    const job = await this.#enqueue('devops', 'long migration', { delay_ms: 4_000 })
    await this.#follow(job, (j) => j.status === 'running')
    await this.#gateway.crash()
    await this.#gateway.start()
    this.#say('the gateway was killed and started again')
    await this.#follow(job, (j) => j.status === 'succeeded', 60_000)
    this.#expect('the lost run is an attempt of its own, and a second one did the work', async () => {
      const attempts = await this.#bus.ledger.jobAttempts(job.id)
      return attempts.map((attempt) => attempt.status).join() === 'lost,succeeded'
    })
  }

  async #verdict(): Promise<boolean> {
    this.#chapter('What the ledger says')
    let good = true
    for (const { says, holds } of this.#expectations) {
      const held = await holds().catch(() => false)
      good = good && held
      this.#io.stdout.write(`  ${held ? 'yes' : 'NO '}  ${says}\n`)
    }
    this.#io.stdout.write(good ? '\nEverything happened as it should.\n' : '\nThe ledger does not agree with the story.\n')
    return good
  }

  async #status(id: JobId): Promise<string> {
    return (await this.#bus.ledger.getJob(id)).status
  }

  async #attempts(id: JobId): Promise<number> {
    return (await this.#bus.ledger.jobAttempts(id)).length
  }

  async #until(holds: () => Promise<boolean>): Promise<void> {
    const endMs = performance.now() + 30_000
    while (performance.now() < endMs && !(await holds())) await sleep(100)
  }
}
