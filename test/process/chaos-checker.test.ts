import { expect, test } from 'vitest'
import type { CheckResult } from '../../ledger/verify/report.js'
import { judge, type Evidence } from '../chaos/checker.js'
import type { Command } from '../chaos/command-log.js'
import type { GatewayRun } from '../chaos/gateways.js'
import { randomOf } from '../chaos/random.js'
import { excusedRuns, LATE_SLACK_MS } from '../chaos/late-runs.js'
import { KINDS, planDeeds, planTroubles, TEST_SEEDS, TEST_STORM_MS, type Backend, type PlayedTrouble, type Trouble } from '../chaos/schedule.js'

const created: Command = {
  actor: 'client',
  kind: 'create',
  key: 'create:m',
  marker: 'm',
  body: { payload: { marker: 'm', plan: 'hand_on' } },
  firstSentMs: 1_000,
  tries: 1,
  outcome: 'acknowledged',
  answeredMs: 1_001,
  id: 'job-1',
}
const completed: Command = {
  actor: 'attempt a-1',
  kind: 'complete',
  key: 'close:a-1',
  marker: 'm',
  body: { follow_ups: [{}] },
  firstSentMs: 1_200,
  tries: 1,
  outcome: 'acknowledged',
  answeredMs: 1_201,
  id: 'job-1',
  jobId: 'job-1',
  attemptId: 'a-1',
  attemptNo: 1,
}
const handedOn: Command = { ...completed, actor: 'attempt a-2', key: 'close:a-2', marker: 'm:handed-on', body: {}, id: 'job-2', jobId: 'job-2', attemptId: 'a-2' }
const run: GatewayRun = { gateway: 'gw-1', runId: 'run-1', key: 'a-1', agent: 'amber', attemptId: 'a-1', attemptNo: 1, jobId: 'job-1', startedMs: 1_100 }
const secondRun: GatewayRun = { ...run, runId: 'run-2', key: 'a-2', attemptId: 'a-2', jobId: 'job-2', startedMs: 1_300 }

/** A small storm in which all went well. */
function evidence(doctored: Partial<Evidence> = {}): Evidence {
  return {
    commands: [created, completed, handedOn],
    failures: [{ request: 'POST /v1/jobs', status: 503, code: 'AGENTBUS_UNAVAILABLE', requestId: 'r1', atMs: 1_000 }],
    reasons: new Map([['r2', 'a statement that is not there']]),
    runs: [run, secondRun],
    droppedRuns: { 'gw-1': 0 },
    troubles: [],
    memoryLosses: { 'gw-1': [] },
    gatewayOf: { amber: 'gw-1' },
    ledger: {
      jobs: [
        { id: 'job-1', marker: 'm', status: 'succeeded', resultAttempt: 1, slotId: null },
        { id: 'job-2', marker: 'm:handed-on', status: 'succeeded', resultAttempt: 1, slotId: null },
        { id: 'job-3', marker: null, status: 'failed', resultAttempt: null, slotId: 'slot-1' },
      ],
      attempts: [
        { id: 'a-1', jobId: 'job-1', no: 1, agent: 'amber', status: 'succeeded', leasedMs: 1_050, finishedMs: 1_200 },
        { id: 'a-2', jobId: 'job-2', no: 1, agent: 'amber', status: 'succeeded', leasedMs: 1_250, finishedMs: 1_400 },
      ],
      events: [],
      workflowRuns: [],
      slots: [{ id: 'slot-2', atMs: 2_000, status: 'missed', cause: 'worker_down' }],
      slotsWanted: { everyMs: 2_000, fromMs: 1_000, untilMs: 3_000 },
      books: [{ name: 'history is gapless', checked: 3, counterexample: undefined }],
    },
    audit: {
      ledger: [{ check: 'chains', verdict: 'ok', examined: 9, violations: [] }],
      queues: [{ check: 'queues', verdict: 'ok', examined: 0, violations: [] }],
    },
    settling: { tookMs: 10, boundMs: 1_000, open: [] },
    untouchedExits: [],
    gracefulEnds: [{ process: 'worker-1', fault: undefined }],
    ...doctored,
  }
}

const whole = evidence()
const withLedger = (changed: Partial<Evidence['ledger']>): Partial<Evidence> => ({ ledger: { ...whole.ledger, ...changed } })
const broken = (doctored: Partial<Evidence>): string[] =>
  judge(evidence(doctored))
    .filter(({ holds }) => !holds)
    .map(({ name, counterexample }) => `${name}: ${counterexample ?? ''}`)

test('a storm in which all went well breaks no verdict', () => {
  expect(broken({})).toEqual([])
})

/** The first run begins this long after its attempt has ended at 1,200. */
const late = (lateMs: number): GatewayRun[] => [{ ...run, startedMs: 1_200 + lateMs }, secondRun]
const violated = (check: string, what: string): CheckResult => ({
  check,
  verdict: 'violated',
  examined: 9,
  violations: [{ kind: 'broken', what, row: {}, next: 'look', count: 1 }],
})
const withAudit = (changed: Partial<Evidence['audit']>): Partial<Evidence> => ({ audit: { ...whole.audit, ...changed } })

const DOCTORED: [what: string, Partial<Evidence>, expected: RegExp][] = [
  [
    'an acknowledged job that is not there',
    { commands: [...whole.commands, { ...created, marker: 'n', key: 'create:n', id: 'job-9' }] },
    /^no acknowledged command is lost: create n .*there is no job of n$/,
  ],
  [
    'a hand-off that got lost between two calls',
    { ...withLedger({ jobs: whole.ledger.jobs.filter(({ id }) => id !== 'job-2') }), commands: [created, completed] },
    /^no acknowledged command is lost: complete m .*there is no job of m:handed-on$/,
  ],
  [
    'an acknowledged cancellation that did not last',
    { commands: [...whole.commands, { ...created, kind: 'cancel', key: 'cancel:m', body: {} }] },
    /^no acknowledged command is lost: .*job job-1 of m is succeeded, not cancelled$/,
  ],
  [
    'a command that was carried out twice',
    withLedger({ jobs: [...whole.ledger.jobs, { ...whole.ledger.jobs[0], id: 'job-4' } as never] }),
    /has one effect: 2 jobs of m: job-1, job-4$/,
  ],
  [
    'a job that nobody asked for',
    withLedger({ jobs: [...whole.ledger.jobs, { ...whole.ledger.jobs[0], id: 'job-4', marker: 'ghost', status: 'failed' } as never] }),
    /nobody asked for: a job of ghost/,
  ],
  [
    'a completion that the books have forgotten',
    withLedger({ attempts: whole.ledger.attempts.map((attempt) => ({ ...attempt, status: 'lost' })) }),
    /^an acknowledged close stands: complete of job job-1 by attempt a-1: the attempt is lost, not succeeded$/,
  ],
  ['an attempt that was closed twice', { commands: [...whole.commands, { ...completed, key: 'again:a-1' }] }, /^one attempt is closed once: attempt a-1 was told under 2 keys/],
  [
    'a success that nobody has sent',
    { commands: [created, { ...completed, outcome: 'refused', code: 'AGENTBUS_STALE_ATTEMPT' }, handedOn] },
    /^nothing succeeds that no agent has closed: job job-1/,
  ],
  [
    'a refusal of what had only been said once',
    { commands: [...whole.commands, { ...completed, kind: 'fail', attemptId: 'a-3', outcome: 'refused', code: 'AGENTBUS_ALREADY_CLOSED', tries: 2 }] },
    /^a refusal has a reason: fail m .* at try 2, and no other close of that attempt was ever sent$/,
  ],
  [
    'a run of no attempt',
    { runs: [...whole.runs, { ...run, runId: 'run-9', key: 'a-9', attemptId: 'a-9' }] },
    /^every run is explained by an attempt: run run-9 of amber on gw-1: no attempt a-9$/,
  ],
  ['a run on the wrong gateway', { runs: [{ ...run, gateway: 'gw-2' }, secondRun] }, /^every run is explained by an attempt: .*attempt a-1 is for amber$/],
  ['a run before its lease', { runs: [{ ...run, startedMs: 900 }, secondRun] }, /^every run is explained by an attempt: .*began before attempt a-1 was leased$/],
  [
    'a duplicate on a gateway that remembered',
    { runs: [...whole.runs, { ...run, runId: 'run-9', startedMs: 1_150 }] },
    /^a run is doubled only where the gateway had lost its memory: attempt a-1 ran as run-1 on gw-1 and as run-9 on gw-1/,
  ],
  [
    'a job that ran again after it was done',
    { runs: [...whole.runs, { ...run, runId: 'run-9', key: 'a-9', attemptId: 'a-9', attemptNo: 2 }] },
    /^what is done is not done again: job job-1 .* run again as attempt 2/,
  ],
  ['a slot without a row', withLedger({ slots: [] }), /^every slot is a row with an end: slot 1970-01-01T00:00:02.000Z has 0 rows$/],
  ['books that do not add up', withLedger({ books: [{ name: 'history is gapless', checked: 3, counterexample: '{"id":"job-1"}' }] }), /^history is gapless: \{"id":"job-1"\}$/],
  [
    'books that verify refuses',
    withAudit({ ledger: [...whole.audit.ledger, violated('state', 'Job job-1 is not what its last row says.')] }),
    /^the books verify: state: Job job-1 is not/,
  ],
  [
    'books that could not be verified',
    withAudit({ ledger: [{ check: 'prompts', verdict: 'unchecked', examined: 0, violations: [], note: 'no secret' }] }),
    /^the books verify: prompts: no secret$/,
  ],
  ['books that nobody has verified', withAudit({ ledger: [] }), /^the books verify: nothing was checked$/],
  [
    'a queue with an entry of nothing',
    withAudit({ queues: [violated('queues', 'Entry e-1 in the queue of amber belongs to nothing.')] }),
    /^queues equal the ledger: queues: Entry e-1 in the queue of amber belongs to nothing\.$/,
  ],
  ['a log of runs that is not whole', { droppedRuns: { 'gw-1': 0, 'gw-2': 3 } }, /^the evidence is whole: the log of gw-2 has dropped its 3 oldest runs$/],
  [
    'a run that began after its attempt had ended',
    { runs: late(LATE_SLACK_MS + 1) },
    /^no run begins after its attempt has ended: run run-1 of amber on gw-1 began 5001 ms after attempt a-1 had ended, and no cut or pause lay on its way$/,
  ],
  [
    'a job that never ends',
    { settling: { tookMs: 1_001, boundMs: 1_000, open: ['job job-1 is queued'] } },
    /^everything is settled within the bound: 1 open after 1 s, first: job job-1 is queued$/,
  ],
  [
    'an error that says nothing',
    { failures: [...whole.failures, { request: 'POST /v1/jobs', status: 500, code: 'AGENTBUS_INTERNAL', requestId: 'r2', atMs: 1_000 }] },
    /^a failure says what it is: POST \/v1\/jobs was answered 500 AGENTBUS_INTERNAL; the log says: a statement that is not there$/,
  ],
  ['a worker that fell over', { untouchedExits: ['worker-1 ended by itself'] }, /^no process ends that nobody has touched: worker-1 ended by itself$/],
  [
    'a worker that did not end when it was asked to',
    { gracefulEnds: [...whole.gracefulEnds, { process: 'worker-2', fault: 'worker-2 was still there 30 s after SIGTERM' }] },
    /^a process that is asked to end does so: worker-2 was still there 30 s after SIGTERM$/,
  ],
]

test.each(DOCTORED)('the checker names %s', (_what, doctored, expected) => {
  expect(broken(doctored)).toEqual(expect.arrayContaining([expect.stringMatching(expected)]))
})

test('a duplicate on a gateway that had lost its memory in between is explained', () => {
  expect(broken({ runs: [...whole.runs, { ...run, runId: 'run-9', startedMs: 1_150 }], memoryLosses: { 'gw-1': [1_120] } })).toEqual([])
})

test.each<[what: string, runs: readonly GatewayRun[], memoryLosses: Evidence['memoryLosses'], first: string, second: string]>([
  ['no memory was lost', [{ ...run, runId: 'run-9', startedMs: 1_150 }], { 'gw-1': [] }, 'run-1', 'run-9'],
  ['the memory was lost before the first run', [{ ...run, runId: 'run-9', startedMs: 1_150 }], { 'gw-1': [1_090] }, 'run-1', 'run-9'],
  ['the memory was lost after the second run', [{ ...run, runId: 'run-9', startedMs: 1_150 }], { 'gw-1': [1_160] }, 'run-1', 'run-9'],
  ['another gateway lost its memory', [{ ...run, runId: 'run-9', startedMs: 1_150 }], { 'gw-1': [], 'gw-2': [1_120] }, 'run-1', 'run-9'],
  [
    'the memory was lost once and the run came a third time',
    [
      { ...run, runId: 'run-8', startedMs: 1_150 },
      { ...run, runId: 'run-9', startedMs: 1_170 },
    ],
    { 'gw-1': [1_120] },
    'run-8',
    'run-9',
  ],
])('a duplicate is named when %s', (_when, more, memoryLosses, first, second) => {
  expect(broken({ runs: [...whole.runs, ...more], memoryLosses })).toEqual([
    expect.stringMatching(`^a run is doubled only where the gateway had lost its memory: attempt a-1 ran as ${first} on gw-1 and as ${second} on gw-1`),
  ])
})

test('a run may begin a little after its attempt has ended, and an attempt that is still open ends no time', () => {
  const open = withLedger({ attempts: whole.ledger.attempts.map((attempt) => ({ ...attempt, finishedMs: null })) })

  expect([broken({ runs: late(LATE_SLACK_MS) }), broken({ ...open, runs: late(60_000) })]).toEqual([[], []])
})

const PAUSE = { atMs: 0, forMs: 0, kind: 'pause', target: 'worker-2' } as const satisfies Trouble
const CUT = { atMs: 0, forMs: 0, kind: 'cut', cut: 'half_open', target: 'gw-1' } as const satisfies Trouble
const played = (trouble: Trouble, fromMs: number, untilMs: number): PlayedTrouble => ({ trouble, fromMs, untilMs })

test.each<[what: string, trouble: PlayedTrouble]>([
  ['a worker was stopped in between', played(PAUSE, 1_060, 9_000)],
  ['the ledger was stopped in between', played({ ...PAUSE, target: 'ledger' }, 1_060, 9_000)],
  ['a worker was stopped, and the queues were wiped meanwhile', played({ ...PAUSE, kind: 'wipe_in_pause', target: 'worker-1' }, 1_060, 9_000)],
  ['its gateway was cut off', played(CUT, 1_000, 9_900)],
  ['a worker was cut off from the ledger', played({ ...CUT, target: 'worker-3>postgres' }, 1_060, 9_000)],
])('a run that began late is excused when %s, and counted', (_when, trouble) => {
  const runs = late(9_000)
  const troubles = [trouble]

  expect(broken({ runs, troubles })).toEqual([])
  expect(excusedRuns({ runs, attempts: whole.ledger.attempts, troubles })).toEqual([runs[0]])
})

test.each<[what: string, trouble: PlayedTrouble]>([
  ['the trouble was over before its lease', played(PAUSE, 900, 1_040)],
  ['the trouble began after it', played(PAUSE, 10_300, 12_000)],
  ['the trouble was long over when it began', played(PAUSE, 1_060, 10_200 - LATE_SLACK_MS - 1)],
  ['only the API was stopped', played({ ...PAUSE, target: 'api' }, 1_060, 9_000)],
  ['only the clients were cut off', played({ ...CUT, target: 'clients>api' }, 1_060, 9_000)],
  ['only its agents were cut off from the API', played({ ...CUT, target: 'gw-1>api' }, 1_060, 9_000)],
  ['only the API was cut off from the ledger', played({ ...CUT, target: 'api>postgres' }, 1_060, 9_000)],
  ['another gateway was cut off', played({ ...CUT, target: 'gw-2' }, 1_060, 9_000)],
  ['its gateway got every request and only its answers were cut off', played({ atMs: 0, forMs: 0, kind: 'deaf', target: 'gw-1' }, 1_060, 9_000)],
  ['a worker was killed', played({ atMs: 0, forMs: 0, kind: 'kill', target: 'worker-1' }, 1_060, 9_000)],
])('a run that began late is named when %s', (_when, trouble) => {
  const runs = late(9_000)

  expect(broken({ runs, troubles: [trouble] })).toEqual([expect.stringMatching(/^no run begins after its attempt has ended: run run-1/)])
  expect(excusedRuns({ runs, attempts: whole.ledger.attempts, troubles: [trouble] })).toEqual([])
})

test('a run that a gateway without memory begins once more is not taken for a late one', () => {
  const again: GatewayRun = { ...run, runId: 'run-9', startedMs: 20_000 }

  expect(broken({ runs: [...whole.runs, again], memoryLosses: { 'gw-1': [10_000] } })).toEqual([])
})

test('a doubled run that repeats its close under the same key closes nothing twice', () => {
  expect(broken({ commands: [...whole.commands, completed] })).toEqual([])
})

test('a seed gives the same troubles and the same load, another seed others', () => {
  const plan = (seed: number): unknown => [planTroubles(seed, 'redis', 60_000), planDeeds(seed, 60_000, 3)]

  expect(plan(7)).toEqual(plan(7))
  expect(plan(7)).not.toEqual(plan(8))
})

test('a longer storm begins as a shorter one of the same seed', () => {
  const short = planTroubles(7, 'postgres', 30_000)

  expect(planTroubles(7, 'postgres', 120_000).slice(0, short.length)).toEqual(short)
})

test.each(['redis', 'postgres'] as const)('the storm of the tests has its gravest troubles on %s, and both together have every kind', (backend) => {
  const kinds = (of: Backend): string[] => planTroubles(TEST_SEEDS[of], of, TEST_STORM_MS).map(({ kind }) => kind)
  const troubles = planTroubles(TEST_SEEDS[backend], backend, TEST_STORM_MS)

  expect(troubles.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['kill', 'restart', 'restart_ledger', 'gateway_forgets']))
  expect(troubles.some(({ kind }) => kind === 'wipe_store' || kind === 'wipe_in_pause')).toBe(true)
  expect(troubles.some(({ kind, target }) => (kind === 'cut' || kind === 'deaf') && target.endsWith('>api'))).toBe(true)
  expect([...new Set([...kinds('redis'), ...kinds('postgres')])].sort()).toEqual([...KINDS].sort())
})

test('no two troubles of one target overlap', () => {
  const until = new Map<string, number>()
  for (const { target, atMs, forMs } of planTroubles(7, 'redis', 600_000)) {
    expect(atMs).toBeGreaterThan(until.get(target) ?? 0)
    until.set(target, atMs + forMs)
  }
})

test('two actors of one seed draw different numbers', () => {
  const drawn = (actor: string): number[] => {
    const random = randomOf(7, actor)
    return Array.from({ length: 5 }, () => random.next())
  }

  expect(drawn('nemesis')).toEqual(drawn('nemesis'))
  expect(drawn('nemesis')).not.toEqual(drawn('load'))
})
