import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { uuidv7 } from '../../contracts/ids.js'
import type { JobStatus, Lane } from '../../contracts/job-states.js'
import { HISTORY_BUDGET, LATENCY_SAMPLE, type LaneLine } from '../../ledger/console/health-board.js'
import { STEP_ROWS, type Took } from '../../ledger/console/latency-over-time.js'
import { countAll } from '../support/count-all.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { pastJobs } from '../support/past-jobs.js'
import { tamper } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const MINUTE = 60_000
const HOUR = 60 * MINUTE

interface Past {
  readonly lane: Lane
  readonly status: JobStatus
  /** Milliseconds before now. */
  readonly made: number
  readonly ended?: number
  /** When it ended other than the last time, as dead. */
  readonly died?: number
  /** Milliseconds from its making to its first attempt. */
  readonly waited?: number
}

/** Jobs of the past with their moves and first attempts, as commands would have left them then. */
async function lived(jobs: readonly Past[]): Promise<void> {
  const nowMs = Date.now()
  const at = (ms: number): string => new Date(nowMs - ms).toISOString()
  const rows = jobs.map(({ lane, status, made, ended, died, waited }) => ({
    id: uuidv7(nowMs - made),
    attempt: uuidv7(nowMs - made),
    lane,
    status,
    made: at(made),
    ended: ended === undefined ? null : at(ended),
    died: died === undefined ? null : at(died),
    leased: waited === undefined ? null : at(made - waited),
  }))
  const given = `jsonb_to_recordset($1::jsonb) as g (id uuid, attempt uuid, lane lane, status job_status, made timestamptz, ended timestamptz, died timestamptz, leased timestamptz)`
  const values = [JSON.stringify(rows)]
  await tamper(
    t.url,
    [
      `insert into jobs (id, target_agent, lane, job_type, subject, payload_hash, status, timeout_seconds, lease_seconds, last_seq, created_by, created_at, updated_at, run_after, finished_at)
       select id, 'devops', lane, 'past', 'of the past', '', status, 60, 60, 3, 'operator:x', made, made, made, ended from ${given}`,
      values,
    ],
    [
      `insert into job_attempts (id, job_id, attempt_no, agent_id, gateway_id, slot, status, lease_owner, leased_at, leased_until, deadline_at, finished_at, outcome_code, prompt_hash, contract_version, payload_hash)
       select attempt, id, 1, 'devops', 'gw', 1, 'failed', 'w', leased, leased + interval '1 hour', leased + interval '1 hour', leased, 'x', 'h', 'x', '' from ${given} where leased is not null`,
      values,
    ],
    [
      `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, at)
       select id, 1, 'move'::transition_kind, null::job_status, 'queued'::job_status, 'created'::transition_reason, 'operator'::actor_kind, 'x', made from ${given}
       union all select id, 2, 'move', 'queued', 'dead', 'operator_dead', 'operator', 'x', died from ${given} where died is not null
       union all select id, 3, 'move', 'queued', status, 'cancelled', 'operator', 'x', ended from ${given} where ended is not null and status = 'cancelled'
       union all select id, 3, 'move', 'running', status, 'completed_by_agent', 'operator', 'x', ended from ${given} where ended is not null and status <> 'cancelled'`,
      values,
    ],
  )
}

const window = (ms: number) => ({ fromMs: Date.now() - ms, toMs: Date.now() + MINUTE, columns: 12 })
const lanes = async (ms = HOUR): Promise<Map<Lane, LaneLine>> => new Map((await t.ledger.console.health(window(ms))).lanes.lines.map((line) => [line.lane, line]))

describe('a lane on the page of health', () => {
  test('counts what ended in the window, however long ago it was made, and nothing else', async () => {
    await lived([
      { lane: 'coding', status: 'succeeded', made: 10 * HOUR, ended: 10 * MINUTE },
      { lane: 'coding', status: 'failed', made: 9 * HOUR, ended: 20 * MINUTE },
      { lane: 'coding', status: 'cancelled', made: 30 * MINUTE, ended: 5 * MINUTE },
      { lane: 'coding', status: 'succeeded', made: 3 * HOUR, died: 30 * MINUTE, ended: 10 * MINUTE },
      // Over before the window, still open, and queued again since.
      { lane: 'coding', status: 'succeeded', made: 3 * HOUR, ended: 2 * HOUR },
      { lane: 'coding', status: 'queued', made: 20 * MINUTE },
      { lane: 'coding', status: 'queued', made: 3 * HOUR, died: 30 * MINUTE },
    ])

    const board = await lanes()

    expect(board.get('coding')).toMatchObject({ created: 2, succeeded: 2, failed: 2, queued: 2, sample: 4 })
    expect(board.get('memory')).toMatchObject({ created: 0, succeeded: 0, failed: 0, queued: 0, sample: 0, wait: null, total: null })
  })

  test('shows the times of those that ended, the slow one among them', async () => {
    await lived([
      { lane: 'idle', status: 'succeeded', made: 10 * HOUR, ended: MINUTE, waited: 4 * HOUR },
      { lane: 'idle', status: 'failed', made: 12 * MINUTE, ended: 2 * MINUTE, waited: 2 * MINUTE },
      { lane: 'idle', status: 'cancelled', made: 4 * MINUTE, ended: 3 * MINUTE },
    ])

    const line = (await lanes()).get('idle')

    expect(line?.sample).toBe(3)
    expect(line?.total?.[0]).toBeCloseTo(600, 1)
    expect(line?.total?.[2]).toBeGreaterThan(9 * 3_600)
    expect(line?.wait?.[0]).toBeCloseTo(7_260, 1)
  })

  test('that is quiet keeps its own sample beside one that is busy', async () => {
    const many = LATENCY_SAMPLE + 200
    await lived([
      { lane: 'memory', status: 'succeeded', made: 50 * MINUTE, ended: 40 * MINUTE, waited: 5 * MINUTE },
      // Those that ended last took a second each; the 200 before them, which the sample leaves out, a minute.
      ...Array.from({ length: many }, (_, n) => ({ lane: 'reactive', status: 'succeeded', made: n < LATENCY_SAMPLE ? n + 1_001 : n + MINUTE, ended: n + 1, waited: 500 }) as const),
    ])

    const board = await lanes()

    expect(board.get('memory')).toMatchObject({ succeeded: 1, sample: 1, total: [600, 600, 600], wait: [300, 300, 300] })
    expect(board.get('reactive')).toMatchObject({ created: many, succeeded: many, sample: LATENCY_SAMPLE, wait: [0.5, 0.5, 0.5] })
    expect(board.get('reactive')?.total?.[2]).toBeCloseTo(1, 3)
  })

  test('says when the window holds more history than is read', async () => {
    await lived([{ lane: 'idle', status: 'queued', made: MINUTE }])
    const { lanes: whole } = await t.ledger.console.health(window(HOUR))
    await tamper(
      t.url,
      `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, at)
       select id, 1 + n, 'note', 'queued', 'queued', 'progress', 'operator', 'x', now() from jobs, generate_series(1, ${HISTORY_BUDGET}) n`,
    )

    const { lanes: part } = await t.ledger.console.health(window(HOUR))

    expect([whole.cut, part.cut]).toEqual([false, true])
  })
})

/** An hour of the past in twelve steps of five minutes. */
const START = Date.parse('2026-11-02T10:00:00Z')
const STEP = 5 * MINUTE
const PAST = { fromMs: START, toMs: START + HOUR, columns: 12 }

test('open jobs are counted back step by step from what is open now, and what is later than the window is in its last step', async () => {
  await pastJobs(t.url, [
    { made: START - HOUR, attempts: [{ leased: START + MINUTE, ended: START + 7 * MINUTE }] },
    { made: START + MINUTE, attempts: [{ leased: START + MINUTE, ended: START + 2 * STEP }] },
    // The edge of a step belongs to the later one. This one is open.
    { made: START + STEP },
    { made: START + 2 * HOUR, attempts: [{ leased: START + 2 * HOUR, ended: START + 3 * HOUR }] },
  ])

  const { points } = (await t.ledger.console.health(PAST)).depth

  expect(points.map(({ at }) => at)).toEqual(Array.from({ length: 12 }, (_none, n) => new Date(START + (n + 1) * STEP).toISOString()))
  expect(points.map(({ open, created, closed }) => [open, created, closed])).toEqual([[2, 1, 0], [2, 1, 1], [1, 0, 1], ...Array.from({ length: 8 }, () => [1, 0, 0]), [1, 1, 1]])
})

describe('how long it took over time', () => {
  type Figures = [step: number, wait: number[] | null, run: number[] | null]

  /** The steps in which anything was measured: half, 95 of 100, and of how many. */
  const latency = async (): Promise<{ figures: Figures[]; cut: boolean }> => {
    const { points, cut } = (await t.ledger.console.health(PAST)).latency
    const list = (took: Took | null): number[] | null => (took === null ? null : [Number(took.half.toFixed(3)), Number(took.most.toFixed(3)), took.of])
    expect(points).toHaveLength(12)
    return { figures: points.flatMap(({ wait, run }, step): Figures[] => (wait === null && run === null ? [] : [[step, list(wait), list(run)]])), cut }
  }

  test('is told by the step in which it was over: a wait by that of the lease, a run by that of its end', async () => {
    const [leased, ended] = [START + 2 * STEP + 10_000, START + 4 * STEP + MINUTE]
    // Waits of one to five seconds, runs of one to five minutes.
    await pastJobs(
      t.url,
      [1, 2, 3, 4, 5].map((n) => ({ made: leased - n * 1_000, attempts: [{ leased, admitted: ended - n * MINUTE, ended }] })),
    )

    expect(await latency()).toEqual({
      figures: [
        [2, [3, 4.8, 5], null],
        [4, null, [180, 288, 5]],
      ],
      cut: false,
    })
  })

  test('counts the edge of a step to the later one, and nothing that lies beyond the window', async () => {
    const edges = [START - 1, START, START + STEP - 1, START + STEP, START + HOUR - 1, START + HOUR]
    await pastJobs(
      t.url,
      edges.flatMap((ms, n) => [
        { made: ms - 2 ** n * 1_000, attempts: [{ leased: ms }] },
        { made: START - HOUR, attempts: [{ leased: START - HOUR, admitted: ms - 2 ** n * MINUTE, ended: ms }] },
      ]),
    )

    expect((await latency()).figures).toEqual([
      [0, [3, 3.9, 2], [180, 234, 2]],
      [1, [8, 8, 1], [480, 480, 1]],
      [11, [16, 16, 1], [960, 960, 1]],
    ])
  })

  test('has each attempt wait for itself, from when it was due, and no run of what no gateway took', async () => {
    await pastJobs(t.url, [
      {
        made: START,
        due: START + 630_000,
        attempts: [
          // Held and noted meanwhile; when it is due now is not what this attempt waited for.
          { noted: START + 5_000, leased: START + 7_000, admitted: START + 8_000, ended: START + 360_000 },
          { leased: START + 633_000, ended: START + 660_000 },
        ],
      },
      { made: START + 1_200_000, due: START + 1_210_000, attempts: [{ leased: START + 1_212_000 }] },
    ])

    expect((await latency()).figures).toEqual([
      [0, [7, 7, 1], null],
      [1, null, [352, 352, 1]],
      [2, [3, 3, 1], null],
      [4, [2, 2, 1], null],
    ])
  })

  const BURST = Math.floor(STEP_ROWS / 5)

  test('reads a burst whole, and of a step with more than that every part: a jam in the middle shows', async () => {
    const run = (leased: number, waited: number) => ({ made: leased - waited, attempts: [{ leased, admitted: leased + 100, ended: leased + 200 }] })
    const [busy, quiet] = [START + 3 * STEP, START + 7 * STEP]
    await pastJobs(t.url, [
      // A job every 1.5 seconds: 800 rows. Those of the second tenth of the step had waited a minute, all others a second.
      ...Array.from({ length: 200 }, (_none, n) => run(busy + n * 1_500, n >= 20 && n < 40 ? MINUTE : 1_000)),
      // As many rows as are read of a step without parts, or a few less.
      ...Array.from({ length: BURST }, (_none, n) => run(quiet + n * 5, 10_000)),
    ])

    const { figures, cut } = await latency()
    const [jam, burst] = [figures.find(([step]) => step === 3)?.[1], figures.find(([step]) => step === 7)?.[1]]

    expect(cut).toBe(true)
    expect(jam?.slice(0, 2)).toEqual([1, 60])
    // Three or four rows of what is read tell of each job.
    expect(jam?.[2]).toBeGreaterThan(STEP_ROWS / 5)
    expect(jam?.[2]).toBeLessThan(STEP_ROWS / 3)
    expect(burst).toEqual([10, 10, BURST])
  })

  test('is what the metrics count', async () => {
    await aJob(t.ledger, 'succeeded')
    await countAll(t)

    const { points } = (await t.ledger.console.health(window(HOUR))).latency
    const { rows } = await t.database.pool.query<{ name: string; count: string; sum: number }>(
      `select name, count, sum from metric_totals where name in ('lease_latency', 'run') and bucket = '+Inf' and count > 0 order by name`,
    )

    const [wait, run] = [points.flatMap((point) => point.wait ?? []), points.flatMap((point) => point.run ?? [])]
    expect([wait.map(({ of }) => of), run.map(({ of }) => of)]).toEqual([[1], [1]])
    expect(rows.map(({ name, count }) => [name, Number(count)])).toEqual([
      ['lease_latency', 1],
      ['run', 1],
    ])
    expect(wait[0]?.half).toBeCloseTo(rows[0]?.sum ?? -1, 6)
    expect(run[0]?.half).toBeCloseTo(rows[1]?.sum ?? -1, 6)
  })
})

test('a control whose time has passed counts no more, also before anybody has put that down', async () => {
  for (const target of ['idle', 'memory'])
    await t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', scope: 'lane', target, reason: 'the move', for_seconds: 3_600 }))
  const before = { paused: (await t.ledger.console.attention()).paused, idle: (await lanes()).get('idle')?.paused }

  await tamper(t.url, `update controls set set_at = now() - interval '2 hours', until_at = now() - interval '1 hour' where target = 'idle'`)

  const board = await lanes()
  expect(before).toEqual({ paused: 2, idle: true })
  expect((await t.ledger.console.attention()).paused).toBe(1)
  expect([board.get('idle')?.paused, board.get('memory')?.paused]).toEqual([false, true])
})
