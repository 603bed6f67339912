import type { CheckResult } from '../../ledger/verify/report.js'
import type { Audit } from './audit.js'
import type { Command, Failure } from './command-log.js'
import type { GatewayRun } from './gateways.js'
import { excuseOf, firstRuns, latenessOf } from './late-runs.js'
import type { LedgerFacts } from './ledger-facts.js'
import type { GracefulEnd } from './member.js'
import type { PlayedTrouble } from './schedule.js'

/** Everything a verdict may rest on. The logs of clients and gateways are their own; the ledger is what they are held against. */
export interface Evidence {
  readonly commands: readonly Command[]
  readonly failures: readonly Failure[]
  /** What the API has logged of the requests it could not serve, by request id. For the reader of a verdict only. */
  readonly reasons: ReadonlyMap<string, string>
  readonly runs: readonly GatewayRun[]
  /** How many runs the log of each gateway no longer holds. */
  readonly droppedRuns: Readonly<Record<string, number>>
  /** What the nemesis did, and when it was mended. */
  readonly troubles: readonly PlayedTrouble[]
  /** When each gateway lost its memory. */
  readonly memoryLosses: Readonly<Record<string, readonly number[]>>
  readonly gatewayOf: Readonly<Record<string, string>>
  readonly ledger: LedgerFacts
  readonly audit: Audit
  readonly settling: { readonly tookMs: number; readonly boundMs: number; readonly open: readonly string[] }
  /** Processes that ended while nobody had touched them. */
  readonly untouchedExits: readonly string[]
  /** Processes that were asked to end, and how they did. */
  readonly gracefulEnds: readonly GracefulEnd[]
}

export interface Verdict {
  readonly name: string
  readonly holds: boolean
  /** How many things were looked at: a verdict over nothing is worth nothing. */
  readonly checked: number
  /** The first one that refutes it. */
  readonly counterexample: string | undefined
}

/** Decides. Each verdict holds, or names the first thing that refutes it. */
export function judge(evidence: Evidence): Verdict[] {
  const index = indexOf(evidence)
  return [
    verdict('no acknowledged command is lost', acknowledged(evidence), (command) => lossOf(command, index)),
    verdict('a command sent many times has one effect', [...index.jobsByMarker], ([marker, jobs]) =>
      jobs.length > 1 ? `${jobs.length} jobs of ${marker}: ${jobs.map(({ id }) => id).join(', ')}` : undefined,
    ),
    verdict('nothing is there that nobody asked for', [...index.jobsByMarker.keys()], (marker) =>
      index.asked.has(marker) ? undefined : `a job of ${marker}, which no command ever named`,
    ),
    verdict('an acknowledged close stands', acknowledged(evidence).filter(isClose), (command) => fallOf(command, index)),
    verdict('one attempt is closed once', [...groups(acknowledged(evidence).filter(isClose), ({ attemptId }) => attemptId ?? '')], ([attempt, closes]) => {
      const keys = [...new Set(closes.map(({ key }) => key))]
      return keys.length > 1 ? `attempt ${attempt} was told under ${keys.length} keys that its close counts: ${keys.join(', ')}` : undefined
    }),
    verdict(
      'nothing succeeds that no agent has closed',
      evidence.ledger.jobs.filter(({ status }) => status === 'succeeded'),
      ({ id }) => (index.completing.has(id) ? undefined : `job ${id} has succeeded, and no agent ever sent its completion`),
    ),
    verdict(
      'a refusal has a reason',
      evidence.commands.filter(({ outcome }) => outcome === 'refused'),
      (command) => refusalFault(command, index),
    ),
    verdict('a failure says what it is', evidence.failures, ({ request, status, code, requestId }) =>
      status === 503 && code === 'AGENTBUS_UNAVAILABLE'
        ? undefined
        : `${request} was answered ${status} ${code ?? 'without a code'}; the log says: ${evidence.reasons.get(requestId) ?? 'nothing'}`,
    ),
    verdict('every run is explained by an attempt', evidence.runs, (run) => unexplained(run, evidence, index)),
    verdict('a run is doubled only where the gateway had lost its memory', [...groups(evidence.runs, ({ key }) => key ?? '')], ([key, runs]) => doubled(key, runs, evidence)),
    verdict('no run begins after its attempt has ended', firstRuns(evidence.runs), (run) => lateFault(run, evidence, index)),
    verdict('what is done is not done again', evidence.runs, (run) => {
      const done = index.doneBy.get(run.jobId)
      return done !== undefined && run.attemptNo > done
        ? `job ${run.jobId} was completed by attempt ${done} and run again as attempt ${run.attemptNo}, run ${run.runId}`
        : undefined
    }),
    verdict('every slot is a row with an end', dueSlots(evidence.ledger), (atMs) => slotFault(atMs, evidence.ledger)),
    ...evidence.ledger.books.map(({ name, checked, counterexample }) => ({ name, holds: counterexample === undefined, checked, counterexample })),
    auditVerdict(
      'the books verify',
      evidence.audit.ledger,
      evidence.audit.ledger.reduce((rows, { examined }) => rows + examined, 0),
    ),
    auditVerdict('queues equal the ledger', evidence.audit.queues, evidence.audit.queues.length),
    verdict('the evidence is whole', Object.entries(evidence.droppedRuns), ([gateway, dropped]) =>
      dropped === 0 ? undefined : `the log of ${gateway} has dropped its ${dropped} oldest runs`,
    ),
    verdict('everything is settled within the bound', [evidence.settling], ({ open, boundMs }) =>
      open.length === 0 ? undefined : `${open.length} open after ${boundMs / 1_000} s, first: ${open[0] ?? ''}`,
    ),
    verdict('no process ends that nobody has touched', [evidence.untouchedExits], ([first]) => first),
    verdict('a process that is asked to end does so', evidence.gracefulEnds, ({ fault }) => fault),
  ]
}

type Job = LedgerFacts['jobs'][number]

interface Index {
  readonly jobs: ReadonlyMap<string, Job>
  readonly jobsByMarker: ReadonlyMap<string, readonly Job[]>
  readonly eventsByMarker: ReadonlyMap<string, readonly { readonly id: string }[]>
  readonly runsByMarker: ReadonlyMap<string, readonly { readonly id: string; readonly status: string }[]>
  readonly attempts: ReadonlyMap<string, LedgerFacts['attempts'][number]>
  readonly slots: ReadonlyMap<string, LedgerFacts['slots'][number]>
  /** Markers of every job that some command, answered or not, may have led to. */
  readonly asked: ReadonlySet<string>
  /** Jobs for which an agent has sent a completion. */
  readonly completing: ReadonlySet<string>
  /** The attempt whose completion of the job was acknowledged. */
  readonly doneBy: ReadonlyMap<string, number>
  readonly cancelled: ReadonlyMap<string, Command['outcome']>
  readonly closesOf: ReadonlyMap<string, readonly Command[]>
}

function indexOf({ commands, ledger }: Evidence): Index {
  return {
    jobs: new Map(ledger.jobs.map((job) => [job.id, job])),
    jobsByMarker: groups(
      ledger.jobs.filter(({ marker }) => marker !== null),
      ({ marker }) => marker ?? '',
    ),
    eventsByMarker: groups(ledger.events, ({ marker }) => marker ?? ''),
    runsByMarker: groups(ledger.workflowRuns, ({ marker }) => marker),
    attempts: new Map(ledger.attempts.map((attempt) => [attempt.id, attempt])),
    slots: new Map(ledger.slots.map((slot) => [slot.id, slot])),
    asked: new Set(commands.flatMap((command) => effectsOf(command).jobs)),
    completing: new Set(commands.filter(({ kind, outcome }) => (kind === 'complete' || kind === 'finish') && outcome !== 'refused').map(({ jobId }) => jobId ?? '')),
    doneBy: new Map(commands.filter(({ kind, outcome }) => (kind === 'complete' || kind === 'finish') && outcome === 'acknowledged').map((c) => [c.jobId ?? '', c.attemptNo ?? 0])),
    cancelled: new Map(commands.filter(({ kind }) => kind === 'cancel').map(({ marker, outcome }) => [marker, outcome])),
    closesOf: groups(commands.filter(isClose), ({ attemptId }) => attemptId ?? ''),
  }
}

export const STEPS = ['plan', 'left', 'right', 'report'] as const

/** What a command leads to when it is carried out: the markers of jobs, events and workflow runs. */
function effectsOf({ kind, marker, body }: Command): { readonly jobs: readonly string[]; readonly events: readonly string[]; readonly runs: readonly string[] } {
  switch (kind) {
    case 'create':
      return { jobs: [marker], events: [], runs: [] }
    case 'emit':
      return { jobs: body['topic'] === 'chaos.news' ? [`reaction:${marker}`] : [], events: [marker.replace(/:gate$/, '')], runs: [] }
    case 'start_workflow':
      return { jobs: STEPS.map((step) => `${marker}:${step}`), events: [], runs: [marker] }
    case 'complete':
      if (body['follow_ups'] !== undefined) return { jobs: [`${marker}:handed-on`], events: [], runs: [] }
      if (body['events'] !== undefined) return { jobs: [`reaction:${marker}:news`], events: [`${marker}:news`], runs: [] }
      return { jobs: [], events: [], runs: [] }
    case 'cancel':
    case 'block':
    case 'fail':
    case 'finish':
      return { jobs: [], events: [], runs: [] }
  }
}

function lossOf(command: Command, index: Index): string | undefined {
  const name = `${command.kind} ${command.marker} (${command.actor}, answered ${command.tries > 1 ? `at try ${command.tries}` : 'at once'})`
  const effects = effectsOf(command)
  for (const marker of effects.jobs) {
    const [job, ...more] = index.jobsByMarker.get(marker) ?? []
    if (job === undefined) return `${name}: there is no job of ${marker}`
    if (more.length > 0) return `${name}: ${more.length + 1} jobs of ${marker}`
    const wanted = wantedStatus(command, marker, index)
    if (wanted !== undefined && job.status !== wanted) return `${name}: job ${job.id} of ${marker} is ${job.status}, not ${wanted}`
  }
  for (const marker of effects.events) {
    const found = index.eventsByMarker.get(marker)?.length ?? 0
    if (found !== 1) return `${name}: ${found} events of ${marker}`
  }
  for (const marker of effects.runs) {
    const found = index.runsByMarker.get(marker) ?? []
    if (found.length !== 1 || found[0]?.status !== 'succeeded') return `${name}: workflow runs ${JSON.stringify(found)}`
  }
  if (command.kind === 'create' && command.id !== undefined && !index.jobs.has(command.id)) return `${name}: the job it was answered, ${command.id}, does not exist`
  if (command.kind === 'cancel' && index.jobs.get(command.id ?? '')?.status !== 'cancelled') return `${name}: job ${command.id ?? ''} is not cancelled`
  return undefined
}

/** How the job must have ended; undefined when a cancellation without an answer leaves that open. */
function wantedStatus(command: Command, marker: string, index: Index): string | undefined {
  if (command.kind !== 'create') return 'succeeded'
  const cancelled = index.cancelled.get(marker)
  if (cancelled === 'open') return undefined
  if (cancelled === 'acknowledged') return 'cancelled'
  return (command.body['payload'] as Record<string, unknown> | undefined)?.['plan'] === 'give_up' ? 'failed' : 'succeeded'
}

const ATTEMPT_AFTER: Partial<Record<Command['kind'], string>> = { complete: 'succeeded', finish: 'succeeded', block: 'blocked', fail: 'failed' }

function fallOf(command: Command, index: Index): string | undefined {
  const name = `${command.kind} of job ${command.jobId ?? ''} by attempt ${command.attemptId ?? ''}`
  const attempt = index.attempts.get(command.attemptId ?? '')
  const wanted = ATTEMPT_AFTER[command.kind]
  if (attempt?.status !== wanted) return `${name}: the attempt is ${attempt?.status ?? 'unknown'}, not ${wanted ?? ''}`
  const job = index.jobs.get(command.jobId ?? '')
  if (command.kind === 'complete' && (job?.status !== 'succeeded' || job.resultAttempt !== command.attemptNo))
    return `${name}: the job is ${job?.status ?? 'unknown'} with the result of attempt ${job?.resultAttempt ?? 'none'}, not ${command.attemptNo ?? ''}`
  if (command.kind === 'finish') {
    const slot = index.slots.get(job?.slotId ?? '')
    if (slot?.status !== 'no_work') return `${name}: its slot is ${slot?.status ?? 'unknown'}, not no_work`
  }
  return undefined
}

const LATE = ['AGENTBUS_STALE_ATTEMPT', 'AGENTBUS_LEASE_EXPIRED', 'AGENTBUS_ALREADY_CLOSED']

function refusalFault(command: Command, index: Index): string | undefined {
  const name = `${command.kind} ${command.marker} (${command.actor}) was refused with ${command.code ?? ''} at try ${command.tries}`
  if (command.kind === 'cancel') return command.code === 'AGENTBUS_ILLEGAL_TRANSITION' ? undefined : name
  if (!isClose(command) || !LATE.includes(command.code ?? '')) return name
  if (command.code !== 'AGENTBUS_ALREADY_CLOSED') return undefined
  // Its own earlier try would have been answered again; so another close of the same attempt has to be there.
  const others = (index.closesOf.get(command.attemptId ?? '') ?? []).filter((other) => other !== command && other.outcome !== 'refused')
  return others.length > 0 ? undefined : `${name}, and no other close of that attempt was ever sent`
}

/** Clocks of the machine are one, but the ledger's times are taken a moment before the log's. */
const CLOCK_SLACK_MS = 50

function unexplained(run: GatewayRun, { gatewayOf }: Evidence, index: Index): string | undefined {
  const name = `run ${run.runId} of ${run.agent} on ${run.gateway}`
  if (run.key === undefined) return `${name} came without a key`
  const attempt = index.attempts.get(run.key)
  if (attempt === undefined) return `${name}: no attempt ${run.key}`
  if (run.attemptId !== run.key || attempt.jobId !== run.jobId || attempt.no !== run.attemptNo)
    return `${name}: its message names attempt ${run.attemptId} of job ${run.jobId}, its key ${run.key}`
  if (attempt.agent !== run.agent || gatewayOf[attempt.agent] !== run.gateway) return `${name}: attempt ${attempt.id} is for ${attempt.agent}`
  if (run.startedMs < attempt.leasedMs - CLOCK_SLACK_MS) return `${name} began before attempt ${attempt.id} was leased`
  return undefined
}

function lateFault(run: GatewayRun, { troubles }: Evidence, index: Index): string | undefined {
  const attempt = index.attempts.get(run.key ?? '')
  const lateMs = latenessOf(run, attempt)
  if (attempt === undefined || lateMs === undefined || excuseOf(run, attempt, troubles) !== undefined) return undefined
  return `run ${run.runId} of ${run.agent} on ${run.gateway} began ${Math.round(lateMs)} ms after attempt ${attempt.id} had ended, and no cut or pause lay on its way`
}

function doubled(key: string, runs: readonly GatewayRun[], { memoryLosses }: Evidence): string | undefined {
  const inOrder = [...runs].sort((a, b) => a.startedMs - b.startedMs)
  for (const [at, second] of inOrder.entries()) {
    const first = inOrder[at - 1]
    if (first === undefined) continue
    const forgot = first.gateway === second.gateway && (memoryLosses[first.gateway] ?? []).some((atMs) => atMs >= first.startedMs && atMs <= second.startedMs)
    if (!forgot) return `attempt ${key} ran as ${first.runId} on ${first.gateway} and as ${second.runId} on ${second.gateway}, which had not lost its memory in between`
  }
  return undefined
}

function dueSlots({ slotsWanted: { everyMs, fromMs, untilMs } }: LedgerFacts): number[] {
  const due: number[] = []
  for (let atMs = Math.ceil(fromMs / everyMs) * everyMs; atMs < untilMs; atMs += everyMs) due.push(atMs)
  return due
}

function slotFault(atMs: number, { slots, jobs }: LedgerFacts): string | undefined {
  const name = `slot ${new Date(atMs).toISOString()}`
  const found = slots.filter((slot) => Math.round(slot.atMs) === atMs)
  const [slot] = found
  if (slot === undefined || found.length > 1) return `${name} has ${found.length} rows`
  const own = jobs.filter(({ slotId }) => slotId === slot.id).length
  if (slot.status === 'no_work') return own === 1 ? undefined : `${name} has ${own} jobs`
  if ((slot.status === 'missed' || slot.status === 'skipped') && slot.cause !== null && own === 0) return undefined
  return `${name} is ${slot.status} (${slot.cause ?? 'no cause'}) with ${own} jobs`
}

function isClose({ kind }: Command): boolean {
  return kind === 'complete' || kind === 'block' || kind === 'fail' || kind === 'finish'
}

function acknowledged({ commands }: Evidence): Command[] {
  return commands.filter(({ outcome }) => outcome === 'acknowledged')
}

/** Of checks that were carried out elsewhere. What could not be checked proves nothing, and neither do no checks at all. */
function auditVerdict(name: string, results: readonly CheckResult[], checked: number): Verdict {
  const bad = results.find(({ verdict: said }) => said === 'violated' || said === 'unchecked')
  const why = bad === undefined ? undefined : `${bad.check}: ${bad.violations[0]?.what ?? bad.note ?? bad.verdict}`
  const counterexample = results.length === 0 ? 'nothing was checked' : why
  return { name, holds: counterexample === undefined, checked, counterexample }
}

function verdict<T>(name: string, things: readonly T[], refute: (thing: T) => string | undefined): Verdict {
  for (const thing of things) {
    const counterexample = refute(thing)
    if (counterexample !== undefined) return { name, holds: false, checked: things.length, counterexample }
  }
  return { name, holds: true, checked: things.length, counterexample: undefined }
}

function groups<T>(things: readonly T[], by: (thing: T) => string): Map<string, T[]> {
  const grouped = new Map<string, T[]>()
  for (const thing of things) {
    const group = grouped.get(by(thing))
    if (group === undefined) grouped.set(by(thing), [thing])
    else group.push(thing)
  }
  return grouped
}
