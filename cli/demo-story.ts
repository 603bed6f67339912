import { messageOf } from '../contracts/errors.js'
import type { JobId } from '../contracts/ids.js'
import { CreateJobBody, type JobView, type TransitionView } from '../contracts/jobs.js'
import type { Ledger } from '../ledger/ledger.js'
import type { Simulator } from '../openclaw/simulator/simulator.js'
import { AT_START } from './bootstrap.js'
import type { Narrator } from './demo-narrator.js'

/** A promise of the story. It is asked of the ledger at the end, and holds when the answer is what was wanted. */
interface Expectation {
  readonly says: string
  readonly wanted: string
  readonly found: () => Promise<string>
}

const CHAPTER_LIMIT_MS = 60_000
const LOOK_MS = 100

/** Seven chapters, and what the ledger says of them in the end. */
export class Story {
  readonly #ledger: Ledger
  readonly #gateway: Simulator
  readonly #teller: Narrator
  readonly #expectations: Expectation[] = []
  readonly #jobs: JobView[] = []
  readonly #told = new Map<JobId, number>()

  constructor(parts: { readonly ledger: Ledger; readonly gateway: Simulator; readonly teller: Narrator }) {
    this.#ledger = parts.ledger
    this.#gateway = parts.gateway
    this.#teller = parts.teller
  }

  /** @returns true only if every expectation holds */
  async play(): Promise<boolean> {
    await this.#plainWork()
    await this.#retry()
    await this.#blocked()
    await this.#deadLetter()
    await this.#handOff()
    await this.#outage()
    await this.#lostRun()
    return this.#verdict()
  }

  async #plainWork(): Promise<void> {
    await this.#teller.chapter(
      'Work is delivered, and only its agent can close it',
      'You hand a job to devops. A worker leases it and posts it to the gateway. It is done when the agent says so, not when the post was accepted.',
    )
    const job = await this.#enqueue('devops', 'check disk space', { delay_ms: 1_500, result: { free_gb: 41 } })
    await this.#follow([job], (j) => j.status === 'succeeded')
    this.#expect('A plain job is done at its first attempt', 'succeeded after: succeeded', () => this.#outcome(job.id))
  }

  async #retry(): Promise<void> {
    await this.#teller.chapter('A failed attempt is tried again', 'The first run will fail and ask for another try in three seconds. The job goes back to the queue and waits.')
    const job = await this.#enqueue('devops', 'rotate certificates', { delay_ms: 500, fail_times: 1, retry_seconds: 3 })
    await this.#follow([job], (j) => j.status === 'succeeded')
    this.#expect('The job that failed once is done at its second attempt', 'succeeded after: failed, succeeded', () => this.#outcome(job.id))
  }

  async #blocked(): Promise<void> {
    await this.#teller.chapter(
      'Blocked work says what is missing, and resumes by itself',
      'The publisher may not publish without an approval. It blocks its job, names who must act, and frees its place. The event that it waits for will wake it.',
    )
    const job = await this.#enqueue('publisher', 'publish the weekly note', {
      outcome: 'block',
      blocked_reason: 'the note has not been approved',
      blocked_owner: 'coordinator',
      waits_for: { kind: 'event', topic: 'note.approved' },
    })
    await this.#follow([job], (j) => j.status === 'blocked')
    await this.#teller.pause(3_000)
    await this.#ledger.jobs.emit(AT_START, { namespace: 'default', topic: 'note.approved', payload: {}, correlation_key: 'demo' })
    this.#teller.say('the coordinator emits the event note.approved')
    await this.#follow([job], (j) => j.status === 'succeeded')
    this.#expect('The blocked job resumed on its event, and on nothing else', 'succeeded after: blocked, succeeded; resumed by condition_met', async () => {
      const { transitions } = await this.#ledger.jobHistory(job.id)
      const resumed = transitions.filter((row) => row.from_status === 'blocked').map((row) => row.reason)
      return `${await this.#outcome(job.id)}; resumed by ${resumed.join(', ')}`
    })
  }

  async #deadLetter(): Promise<void> {
    await this.#teller.chapter(
      'Silence is not success',
      'This agent ends its run without closing the job. The gateway calls that run fine; the ledger does not. After the second and last attempt the job is a dead letter for a person to look at.',
    )
    const job = await this.#enqueue('auditor', 'audit that ends in silence', { outcome: 'silent', delay_ms: 300 }, { max_attempts: 2 })
    await this.#follow([job], (j) => j.status === 'dead')
    this.#expect('The silent job is dead after two attempts, and says why', 'dead after: failed, failed; ended_without_terminal_write', async () => {
      const { last_error_code } = await this.#ledger.getJob(job.id)
      return `${await this.#outcome(job.id)}; ${last_error_code ?? 'no code'}`
    })
  }

  async #handOff(): Promise<void> {
    await this.#teller.chapter(
      'A hand-off is part of the close',
      'The coordinator closes its job with an event and a follow-up for devops. Result, event and new job are written in one transaction: all of them exist, or none.',
    )
    const job = await this.#enqueue('coordinator', 'plan the release', {
      delay_ms: 1_000,
      events: [{ topic: 'plan.updated', payload: { release: 7 } }],
      follow_ups: [{ target_agent: 'devops', subject: 'roll out release 7', payload: { simulate: { delay_ms: 1_000 } } }],
    })
    await this.#follow([job], (j) => j.status === 'succeeded')
    const children = async (): Promise<JobView[]> => (await this.#ledger.listJobs({ parent_job_id: job.id, limit: 10 })).items
    const [child] = await children()
    if (child !== undefined) {
      this.#jobs.push(child)
      this.#teller.say(`the ledger has a new job: "${child.subject}", from ${child.source_agent ?? '?'} for ${child.target_agent}`)
      await this.#follow([child], (j) => j.status === 'succeeded')
    }
    this.#expect('One follow-up came of it, from the coordinator, and was done', 'coordinator → devops: succeeded', async () =>
      (await children()).map((one) => `${one.source_agent ?? '?'} → ${one.target_agent}: ${one.status}`).join(', '),
    )
    this.#expect('Its event is in the ledger, once', 'plan.updated', async () =>
      (await this.#ledger.listEvents({ source_job_id: job.id, order: 'asc', limit: 10 })).items.map((event) => event.topic).join(', '),
    )
  }

  async #outage(): Promise<void> {
    await this.#teller.chapter(
      'A gateway goes down: work waits, and no attempt is used up',
      'Now the gateway is killed while two jobs arrive. After a few refused posts its breaker opens: workers stop knocking and a probe looks for it instead.',
    )
    await this.#gateway.crash()
    this.#teller.say('the gateway is gone')
    const jobs = [await this.#enqueue('devops', 'restart the proxy', {}), await this.#enqueue('auditor', 'count the leases', {})]
    const breaker = async (): Promise<string> => (await this.#ledger.listGateways())[0]?.breaker ?? 'unknown'
    await this.#until(async () => {
      await this.#tellNews(jobs)
      return (await breaker()) === 'open'
    })
    const [agent] = await this.#ledger.listAgents('devops')
    this.#teller.say(`its breaker is ${await breaker()}; devops shows as ${agent?.state ?? 'unknown'}`)
    await this.#teller.pause(5_000)
    await this.#gateway.start()
    this.#teller.say('the gateway is back')
    await this.#follow(jobs, (j) => j.status === 'succeeded')
    this.#expect('Both jobs that waited were done, each with one attempt counted', 'succeeded 1, succeeded 1', async () => {
      const after = await Promise.all(jobs.map((job) => this.#ledger.getJob(job.id)))
      return after.map((job) => `${job.status} ${job.attempt_count}`).join(', ')
    })
    this.#expect('The breaker opened and closed again, each as an event', 'gateway.breaker_opened, gateway.breaker_closed', async () => {
      const topics = (await this.#ledger.listEvents({ topic: 'gateway.*', order: 'asc', limit: 100 })).items.map((event) => event.topic)
      return [...new Set(topics.filter((topic) => topic.startsWith('gateway.breaker_')))].join(', ')
    })
  }

  async #lostRun(): Promise<void> {
    await this.#teller.chapter(
      'A gateway restarts in mid-run: the run is lost, the job is not',
      'The gateway dies with a run inside it. The ledger closes that attempt as lost, never as done, and a second one does the work.',
    )
    const job = await this.#enqueue('devops', 'long migration', { delay_ms: 4_000 })
    await this.#follow([job], (j) => j.status === 'running')
    await this.#gateway.crash()
    await this.#gateway.start()
    this.#teller.say('the gateway was killed, and is up again')
    await this.#follow([job], (j) => j.status === 'succeeded')
    this.#expect('The lost run is an attempt of its own; the next one did the work', 'succeeded after: lost, succeeded', () => this.#outcome(job.id))
  }

  #expect(says: string, wanted: string, found: Expectation['found']): void {
    this.#expectations.push({ says, wanted, found })
  }

  async #enqueue(agent: string, subject: string, simulate: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<JobView> {
    const { job } = await this.#ledger.jobs.create(AT_START, CreateJobBody.parse({ target_agent: agent, subject, payload: { simulate }, correlation_key: 'demo', ...more }))
    this.#jobs.push(job)
    this.#teller.say(`you enqueue "${subject}" for ${agent}`)
    return job
  }

  /** Tells each row of the jobs' histories as it appears, until all of them are where they should be. */
  async #follow(jobs: readonly JobView[], arrived: (job: JobView) => boolean): Promise<void> {
    await this.#until(async () => (await this.#tellNews(jobs)).every(arrived))
  }

  async #tellNews(jobs: readonly JobView[]): Promise<JobView[]> {
    const histories = await Promise.all(jobs.map((job) => this.#ledger.jobHistory(job.id)))
    const news: { agent: string; row: TransitionView }[] = []
    for (const { job, transitions } of histories) {
      for (const row of transitions.slice(this.#told.get(job.id) ?? 0)) news.push({ agent: job.target_agent ?? '?', row })
      this.#told.set(job.id, transitions.length)
    }
    // Each history is in the order of its seq; only between two of them does time decide.
    news.sort((a, b) => Date.parse(a.row.at) - Date.parse(b.row.at))
    for (const { agent, row } of news) await this.#teller.row(agent, row)
    return histories.map(({ job }) => job)
  }

  /** Gives up quietly: what did not happen is for the expectations to say. */
  async #until(holds: () => Promise<boolean>): Promise<void> {
    const end = this.#teller.seconds + CHAPTER_LIMIT_MS / 1_000
    while (!(await holds())) {
      if (this.#teller.seconds > end) return
      await this.#teller.wait(LOOK_MS)
    }
  }

  /** How a job stands, and how each attempt at it ended. */
  async #outcome(id: JobId): Promise<string> {
    const { job, attempts } = await this.#ledger.jobHistory(id)
    return `${job.status} after: ${attempts.map((attempt) => attempt.status).join(', ')}`
  }

  async #verdict(): Promise<boolean> {
    this.#expect('Every history is whole: numbered without a gap, each row from the state before it', '0 broken', async () => {
      const histories = await Promise.all(this.#jobs.map((job) => this.#ledger.jobHistory(job.id)))
      return `${histories.filter(({ transitions }) => !isWhole(transitions)).length} broken`
    })
    this.#expect('Nothing is left open, in the ledger or on its way to the queue', '0 jobs, 0 outbox rows', async () => {
      const open = await this.#ledger.openCounts()
      return `${open.reduce((sum, { n }) => sum + n, 0)} jobs, ${(await this.#ledger.outboxLag()).rows} outbox rows`
    })
    // The relay may still be on its way with the last row.
    await this.#until(async () => (await this.#ledger.outboxLag()).rows === 0)
    this.#teller.print('\nWhat the story promised, and what the ledger says\n─────────────────────────────────────────────────\n\n')
    let broken = 0
    for (const [at, { says, wanted, found }] of this.#expectations.entries()) {
      const said = await found().catch(messageOf)
      if (said !== wanted) broken += 1
      await this.#teller.check(at + 1, { says, wanted, found: said })
    }
    const all = this.#expectations.length
    this.#teller.print(broken === 0 ? `\nAll ${all} hold: the ledger tells the same story.\n` : `\n${broken} of ${all} do not hold: the ledger does not agree with the story.\n`)
    return broken === 0
  }
}

function isWhole(transitions: readonly TransitionView[]): boolean {
  return transitions.length > 0 && transitions.every((row, at) => row.seq === at + 1 && row.from_status === (transitions[at - 1]?.to_status ?? null))
}
