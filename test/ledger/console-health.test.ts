import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SetControlBody } from '../../contracts/controls.js'
import { uuidv7 } from '../../contracts/ids.js'
import type { JobStatus, Lane } from '../../contracts/job-states.js'
import { HISTORY_BUDGET, LATENCY_SAMPLE, type LaneLine } from '../../ledger/console/health-board.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
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
